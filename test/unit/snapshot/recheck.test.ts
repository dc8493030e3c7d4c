import { crc32 } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import { CARRIED_MAX } from "../../../lib/model/limits.ts";
import { carriedHold, dueForReading, groupsBetween } from "../../../lib/snapshot/recheck.ts";
import { description, encodeRecords, jsonRecords } from "./parquet/records.ts";

interface Group {
  readonly carried: number;
}

/** A generation: which row groups are carried over, by turns, and how many are encoded. What is due is read, and counts anew. */
function nextGeneration(
  groups: readonly Group[],
  carries: readonly boolean[],
  fresh: number,
): { readonly groups: readonly Group[]; readonly read: readonly number[] } {
  const carriedOver = groups.filter((_, place) => carries[place % carries.length]).map(({ carried }) => ({ carried: carried + 1 }));
  const all = [...carriedOver, ...Array.from({ length: fresh }, () => ({ carried: 0 }))];
  const read = dueForReading(all);
  return { groups: all.map((group, place) => (read.includes(place) ? { carried: 0 } : group)), read };
}

test("a row group is carried over through fewer than CARRIED_MAX generations before it is read back", () => {
  const generation = fc.record({ carries: fc.array(fc.boolean(), { minLength: 1, maxLength: 7 }), fresh: fc.nat(30) });
  fc.assert(
    fc.property(fc.array(generation, { minLength: 1, maxLength: 80, size: "max" }), (generations) => {
      let groups: readonly Group[] = [];
      for (const { carries, fresh } of generations) {
        // Mostly carried over, or nothing would come of age.
        const next = nextGeneration(groups, [...carries, true, true, true, true], fresh);
        groups = next.groups;
        expect(groups.every(({ carried }) => carried < CARRIED_MAX)).toBe(true);
        expect(next.read).toEqual([...new Set(next.read)].sort((a, b) => a - b));
      }
    }),
  );
});

test("where all is carried over, each generation reads as many, and all are read in turn", () => {
  let groups: readonly Group[] = Array.from({ length: 100 }, () => ({ carried: 0 }));
  const reads: number[] = [];
  const seen = new Set<number>();
  for (let generation = 0; generation < CARRIED_MAX; generation++) {
    const next = nextGeneration(groups, [true], 0);
    groups = next.groups;
    reads.push(next.read.length);
    for (const place of next.read) seen.add(place);
  }
  expect(new Set(reads)).toEqual(new Set([Math.ceil(100 / CARRIED_MAX)]));
  expect(seen.size).toBe(100);
});

test("what was encoded is not due: it is read because it was sent", () => {
  expect(dueForReading([{ carried: 0 }, { carried: 0 }])).toEqual([]);
  expect(dueForReading([{ carried: 0 }, { carried: 2 }, { carried: 7 }])).toEqual([2]);
  expect(dueForReading([{ carried: CARRIED_MAX }, { carried: 0 }, { carried: CARRIED_MAX + 3 }, { carried: 1 }])).toEqual([0, 2]);
});

test("the row groups that a part holds bytes of are told by the part's borders", () => {
  const groups = [
    { offset: 4, byteLength: 10 },
    { offset: 14, byteLength: 5 },
    { offset: 19, byteLength: 1 },
  ];
  expect(groupsBetween(groups, 0, 4)).toEqual([]);
  expect(groupsBetween(groups, 0, 5)).toEqual([0]);
  expect(groupsBetween(groups, 13, 15)).toEqual([0, 1]);
  expect(groupsBetween(groups, 14, 19)).toEqual([1]);
  expect(groupsBetween(groups, 18, 100)).toEqual([1, 2]);
  expect(groupsBetween(groups, 20, 100)).toEqual([]);
});

test("parts hold what was encoded if their CRC-32s, one behind the other, are those of its bytes; one that is not known proves nothing", async () => {
  const encoded = await encodeRecords(jsonRecords(20), description, { pageRows: 2, groupBytes: 300 });
  const cuts = [0, 3, 100, 101, encoded.size];
  const parts = cuts.slice(1).map((end, i) => ({ length: end - cuts[i], crc32: crc32(encoded.bytes.subarray(cuts[i], end)) }));
  expect(encoded.groups.length).toBeGreaterThan(2);
  expect(carriedHold(parts, encoded)).toBe(true);
  for (const place of parts.keys()) {
    expect(carriedHold(parts.with(place, { ...parts[place], crc32: parts[place].crc32 ^ 1 }), encoded)).toBe(false);
    expect(carriedHold(parts.with(place, { ...parts[place], length: parts[place].length + 1 }), encoded)).toBe(place === 0);
    expect(carriedHold([...parts.slice(0, place), { length: 1 }, ...parts.slice(place + 1)], encoded)).toBe(true);
  }
  expect(carriedHold(parts.slice(1), encoded)).toBe(false);
});
