import { hash } from "node:crypto";
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import { VALUE_BYTES_MAX } from "../../../../lib/model/limits.ts";
import { toIndex } from "../../../../lib/model/position.ts";
import { decodeGroup } from "../../../../lib/snapshot/parquet/decode.ts";
import { decodeFoot, type SnapshotFooter } from "../../../../lib/snapshot/parquet/footer.ts";
import { ascends, type FinishedGroup, rowGroupEncoder } from "../../../../lib/snapshot/parquet/groups.ts";
import {
  GROUP_BYTES_MAX,
  GROUP_STORED_BYTES,
  type GroupPages,
  MAGIC,
  PAGE_ROWS_MAX,
  PAGE_VALUE_BYTES,
  type RowGroup,
  splitBytes,
} from "../../../../lib/snapshot/parquet/layout.ts";
import { decodePageIndex } from "../../../../lib/snapshot/parquet/page-index.ts";
import { anyRecords, assembled, description, encodeRecords, jsonRecords, type TestRecord, toRecords, toRows, type WholeSnapshot } from "./records.ts";

interface Stored {
  readonly bytes: Buffer;
  readonly footerSha256: string;
}

function footerOf({ bytes, footerSha256 }: Stored): SnapshotFooter {
  const finding = decodeFoot({ object: "snapshot", size: bytes.length, last: bytes, footerSha256 });
  if (finding.kind !== "foot") throw new Error("the whole snapshot holds its foot");
  return finding.footer;
}

async function decodeAll(snapshot: Stored): Promise<readonly TestRecord[]> {
  const records: TestRecord[] = [];
  for (const group of footerOf(snapshot).groups) {
    const { offset, byteLength } = group.index;
    const pages = decodePageIndex("snapshot", group, group.index, snapshot.bytes.subarray(offset, offset + byteLength));
    const bytes = snapshot.bytes.subarray(group.offset, group.offset + group.byteLength);
    for await (const rows of decodeGroup("snapshot", group, pages, bytes)) records.push(...toRecords(rows));
  }
  return records;
}

/** Which of the encoder's calls follow one another: a run of rows (0: a single one), and whether the groups are taken then, after so many turns of the loop. */
interface Step {
  readonly run: number;
  readonly takenAfter: number | undefined;
}

async function encodeInPieces(records: readonly TestRecord[], steps: readonly Step[]): Promise<WholeSnapshot> {
  const rows = toRows(records);
  const encoder = rowGroupEncoder();
  const groups: FinishedGroup[] = [];
  for (let at = 0, i = 0; at < records.length; i++) {
    const { run, takenAfter } = steps[i % steps.length];
    if (run === 0) {
      const { key, value, index, timeMs } = records[at++];
      encoder.pushRow(key, 0, key.length, value, 0, value.length, index, timeMs);
    } else {
      encoder.push(rows, at, Math.min(records.length, at + run));
      at += run;
    }
    for (let turn = 0; turn < (takenAfter ?? 0); turn++) await new Promise((resolve) => setImmediate(resolve));
    if (takenAfter !== undefined) groups.push(...(await encoder.take()));
  }
  encoder.cut();
  groups.push(...(await encoder.drain()));
  return assembled(groups);
}

/** For comparing many records at once. */
function textOf(records: readonly TestRecord[]): string {
  return records.map(({ key, value, index, timeMs }) => `${key.toString("hex")} ${value.toString("latin1")} ${index} ${timeMs}`).join("\n");
}

const large = [
  ...jsonRecords(2_500),
  ...[0, 1, PAGE_VALUE_BYTES, PAGE_VALUE_BYTES + 1, VALUE_BYTES_MAX, 0, 300_000, 300_000].map((length, i) => ({
    key: Buffer.from(`value/${i}`),
    value: Buffer.alloc(length, `${i}`),
    index: i + 1,
    timeMs: i,
  })),
];

test("a snapshot reads back as the records that were pushed, however small its pages and row groups are", async () => {
  await fc.assert(
    fc.asyncProperty(anyRecords(60), fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 2_000 }), async (records, pageRows, groupBytes) => {
      for (const snapshot of [await encodeRecords(records), await encodeRecords(records, description, { pageRows, groupBytes })]) {
        expect(textOf(await decodeAll(snapshot))).toBe(textOf(records));
      }
    }),
  );
});

test("many pages and the largest values read back as they were pushed", async () => {
  const encoded = await encodeRecords(large);
  expect(textOf(await decodeAll(encoded)) === textOf(large)).toBe(true);
  expect(encoded.rows).toBe(large.length);
});

test("the description comes back as it went in, sessions by last index", async () => {
  expect(footerOf(await encodeRecords([])).description).toEqual(description);
  const first = { ...description, codec: "json" as const, sessions: [], splices: 0, base: undefined };
  const { base: _, ...expected } = first;
  expect(footerOf(await encodeRecords(jsonRecords(3), expected)).description).toEqual(expected);
  const reversed = { ...description, sessions: description.sessions.toReversed() };
  expect((await encodeRecords([], reversed)).bytes).toEqual((await encodeRecords([], description)).bytes);
});

test("the bytes do not depend on how the rows were handed over, nor on when a page's compression ends", async () => {
  const whole = (await encodeRecords(large)).bytes;
  const step = fc.record({ run: fc.constantFrom(0, 0, 1, 7, 1_000, 3_000), takenAfter: fc.constantFrom(undefined, undefined, 0, 1, 5) });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 9 }), async (steps) => {
      expect((await encodeInPieces(large, steps)).bytes.equals(whole)).toBe(true);
    }),
    { numRuns: 20 },
  );
});

test("what the encoder says of the bytes is what they are", async () => {
  const { bytes, size, footerSha256, footerBytes, groups, rows } = await encodeRecords(large, description, { pageRows: 256, groupBytes: 5_000 });
  expect(groups.length).toBeGreaterThan(2);
  expect(size).toBe(bytes.length);
  expect(footerSha256).toBe(hash("sha256", bytes.subarray(size - footerBytes), "hex"));
  const footer = footerOf({ bytes, footerSha256 });
  expect(footer.groups).toEqual(groups.map(({ group, index, indexLengths }, i) => ({ ...group, index: placeOfIndex(groups, i, index, indexLengths) })));
  expect(footer.rows).toBe(rows);
  for (const { group, index } of groups) {
    const stored = bytes.subarray(group.offset, group.offset + group.byteLength);
    expect([group.sha256, group.crc32]).toEqual([hash("sha256", stored, "hex"), crc32(stored)]);
    expect(bytes.includes(index)).toBe(true);
  }
});

/** Row groups lie behind the head, their page indexes behind the last of them, in the same order. */
function placeOfIndex(groups: WholeSnapshot["groups"], place: number, index: Buffer, lengths: readonly number[]) {
  const groupsEnd = groups.reduce((end, { group }) => end + group.byteLength, MAGIC.length);
  const offset = groups.slice(0, place).reduce((at, before) => at + before.index.length, groupsEnd);
  return { offset, byteLength: index.length, sha256: hash("sha256", index, "hex"), lengths };
}

test("the bytes of a row group do not depend on where it lies, nor on the runs before it", async () => {
  const records = jsonRecords(4_000);
  const encoder = rowGroupEncoder();
  for (const from of [0, 1_500, 2_600]) {
    encoder.push(toRows(records), from, from + 1_000);
    encoder.cut();
  }
  const groups = await encoder.drain();
  expect(groups.map(({ group, open }) => [group.rows, open])).toEqual([1, 2, 3].map(() => [1_000, false]));
  for (const [i, from] of [0, 1_500, 2_600].entries()) {
    const alone = await encodeRecords(records.slice(from, from + 1_000));
    expect(groups[i].bytes.equals(alone.bytes.subarray(MAGIC.length, MAGIC.length + groups[i].bytes.length))).toBe(true);
  }
});

test("pages and row groups end within their bounds, and a run leaves no sliver behind", async () => {
  const noise = Array.from({ length: 9_000 }, (_, i) => ({
    key: Buffer.from(String(i).padStart(6, "0")),
    value: Buffer.from(Array.from({ length: 12 }, (_value, part) => hash("sha512", `${i}/${part}`, "hex")).join(""), "hex"),
    index: i,
    timeMs: i,
  }));
  const sizes = { groupBytes: GROUP_STORED_BYTES };
  for (const count of [noise.length, 3_000, 2_500, 2_400, 1_000]) {
    const { groups } = await encodeRecords(noise.slice(0, count));
    if (count === noise.length) expect(groups.length).toBeGreaterThan(3);
    for (const [i, { group, index, indexLengths }] of groups.entries()) {
      expect(group.byteLength).toBeLessThan(Math.min(GROUP_BYTES_MAX, splitBytes(sizes) + 1.1 * PAGE_VALUE_BYTES));
      if (groups.length > 1) expect(group.byteLength).toBeGreaterThanOrEqual(GROUP_STORED_BYTES / 2 - 1.1 * PAGE_VALUE_BYTES);
      if (i < groups.length - 1) {
        expect(group.byteLength).toBeGreaterThanOrEqual(GROUP_STORED_BYTES);
        expect(group.byteLength).toBeLessThan(GROUP_STORED_BYTES + 1.1 * PAGE_VALUE_BYTES);
      }
      for (const rows of pagesOf(group, index, indexLengths)) expect(rows).toBeLessThanOrEqual(PAGE_ROWS_MAX);
    }
  }
});

function pagesOfGroup(group: RowGroup, index: Buffer, lengths: readonly number[]): GroupPages {
  return decodePageIndex("snapshot", group, { offset: 0, byteLength: index.length, sha256: hash("sha256", index, "hex"), lengths }, index);
}

function pagesOf(group: RowGroup, index: Buffer, lengths: readonly number[]): readonly number[] {
  return pagesOfGroup(group, index, lengths).rows;
}

test("a row group whose bytes shrink far ends where its raw bytes are many", async () => {
  const zeros = Array.from({ length: 100 }, (_, i) => ({ key: Buffer.from(`k${i + 100}`), value: Buffer.alloc(PAGE_VALUE_BYTES), index: i, timeMs: i }));
  const encoder = rowGroupEncoder();
  encoder.push(toRows(zeros), 0, zeros.length);
  encoder.cut();
  const groups = await encoder.drain();
  expect(groups.map(({ group, open }) => [group.rows, open])).toEqual([
    [32, true],
    [32, true],
    [32, true],
    [4, false],
  ]);
});

test("a page ends with the value that fills it, and rows that come one by one make the same pages as a run", async () => {
  const half = PAGE_VALUE_BYTES / 2;
  const sizes = { pageRows: 4, groupBytes: GROUP_STORED_BYTES };
  const records = [PAGE_VALUE_BYTES + 1, half, half, 1, half, half - 1, 1, 1, 1, 1, 1, 1].map((length, i) => ({
    key: Buffer.from(`k${10 + i}`),
    value: Buffer.alloc(length, `${i}`),
    index: i,
    timeMs: i,
  }));
  const whole = await encodeRecords(records, description, sizes);
  const [{ group, index, indexLengths }] = whole.groups;
  expect(pagesOf(group, index, indexLengths)).toEqual([1, 2, 3, 4, 2]);

  const { keys, keyEnds, values, valueEnds, indexes, times } = toRows(records);
  const encoder = rowGroupEncoder(sizes);
  for (const row of records.keys()) {
    const [keyStart, valueStart] = row === 0 ? [0, 0] : [keyEnds[row - 1], valueEnds[row - 1]];
    encoder.pushRow(keys, keyStart, keyEnds[row], values, valueStart, valueEnds[row], indexes[row], times[row]);
  }
  encoder.cut();
  expect(assembled(await encoder.drain()).bytes.equals(whole.bytes)).toBe(true);
});

test("a row group ends with the page with which it has its bytes, once half as many follow, and then the run may go on", async () => {
  const records = jsonRecords(12);
  const [{ group, index, indexLengths }] = (await encodeRecords(records, description, { pageRows: 2, groupBytes: GROUP_STORED_BYTES })).groups;
  const { columns } = pagesOfGroup(group, index, indexLengths);
  const pageBytes = [0, 1, 2, 3, 4, 5].map((page) => columns.reduce((sum, { bytes }) => sum + bytes[page], 0));
  const rowsWith = async (groupBytes: number) => {
    const encoder = rowGroupEncoder({ pageRows: 2, groupBytes });
    encoder.push(toRows(records), 0, records.length);
    encoder.cut();
    return (await encoder.drain()).map(({ group: { rows }, open }) => [rows, open]);
  };
  const two = pageBytes[0] + pageBytes[1];
  const first = [4, true];
  expect((await rowsWith(two))[0]).toEqual(first);
  expect((await rowsWith(two - 1))[0]).toEqual(first);
  expect((await rowsWith(two + 1))[0]).toEqual([6, true]);
  const all = pageBytes.reduce((sum, bytes) => sum + bytes, 0);
  expect(await rowsWith(all / 1.5 + 1)).toEqual([[12, false]]);
  expect((await rowsWith(all / 1.5))[0][1]).toBe(true);
});

test("keys ascend where each is above the one before, byte by byte, and is more than its beginning", () => {
  const some = ["a", "aa", "ab", "b", "ba"];
  const lists = some.flatMap((one) => [[one], ...some.flatMap((two) => [[one, two], ...some.map((three) => [one, two, three])])]);
  for (const [place, keys] of lists.entries()) {
    let end = 0;
    const ends = Uint32Array.from(keys, (key) => (end += key.length));
    const base = place % 3;
    const bytes = Buffer.from(`${"z".repeat(base)}${keys.join("")}${"ab".repeat(place % 2)}`);
    expect(ascends(bytes, base, ends, keys.length), keys.join()).toBe(keys.every((key, i) => i === 0 || keys[i - 1] < key));
  }
});

test("rows out of order, equal keys and numbers that are no safe integers stop the encoder", async () => {
  const [a, b] = jsonRecords(2);
  const bug = expect.objectContaining({ kind: "bug" });
  for (const wrong of [[b, a], [a, a], [{ ...a, index: -1 }], [{ ...a, timeMs: 0.5 }], [{ ...a, timeMs: 2 ** 53 }]]) {
    await expect(encodeRecords(wrong)).rejects.toEqual(bug);
  }
  const page = jsonRecords(PAGE_ROWS_MAX);
  await expect(encodeRecords([...page, page[PAGE_ROWS_MAX - 1]])).rejects.toEqual(bug);
});

test("forgotten and remembered producers up to the bound fit", async () => {
  const sessions = Array.from({ length: 16_384 }, (_, i) => ({ producer: `${i}`.padStart(128, "p"), sequence: BigInt(i) << 100n, lastIndex: toIndex(i) }));
  expect(footerOf(await encodeRecords([], { ...description, sessions })).description.sessions).toEqual(sessions);
});
