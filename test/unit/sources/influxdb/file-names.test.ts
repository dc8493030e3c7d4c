import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fileOfEntry, isOfIndex, parseFileName, unexplained } from "../../../../lib/sources/influxdb/file-names.ts";

const place = { database: "my db", policy: "auto/gen", shard: 7 };
const badEntry = expect.objectContaining({ kind: "retry", code: "bad-entry" });

describe("a file's name", () => {
  test.each([
    ["000000001-000000002.tsm", { generation: 1, sequence: 2, kind: "tsm" }],
    ["000000012-000000003.tombstone", { generation: 12, sequence: 3, kind: "tombstone" }],
    ["1234567890-000000003.tsm", { generation: 1_234_567_890, sequence: 3, kind: "tsm" }],
  ])("%s tells generation, sequence and kind", (name, parsed) => {
    expect(parseFileName(name)).toEqual(parsed);
  });

  test.each([
    "",
    "000000001-000000002",
    "1-2.tsm",
    "000000001-000000002.tsm.tmp",
    "000000001-000000002.TSM",
    "a00000001-000000002.tsm",
    "fields.idx",
    "../000000001-000000002.tsm",
  ])("%j is none", (name) => {
    expect(() => parseFileName(name)).toThrow(badEntry);
  });

  test("is that of an entry in the shard's own folder, and of no other", () => {
    const file = "000000001-000000002.tsm";
    expect(fileOfEntry(`my db/auto/gen/7/${file}`, place)).toBe(file);
    for (const entry of [
      file,
      `my db/auto/gen/77/${file}`,
      `my db/auto/gen/8/${file}`,
      `my db/auto/gen/7/x/${file}`,
      `my db/auto/gen/7/../8/${file}`,
      `/my db/auto/gen/7/${file}`,
      "my db/auto/gen/7/",
    ]) {
      expect(() => fileOfEntry(entry, place)).toThrow(badEntry);
    }
  });
});

test.each([
  ["my db/auto/gen/7/index/MANIFEST", true],
  ["my db/auto/gen/7/index/L0-00000001.tsl", true],
  ["my db/auto/gen/7/index/L12-00000123.tsi", true],
  ["my db/auto/gen/8/index/MANIFEST", false],
  ["my db/auto/gen/7/index/../../8/MANIFEST", false],
  ["my db/auto/gen/7/index/000000001-000000001.tsm", false],
  ["my db/auto/gen/7/MANIFEST", false],
])("whether %s is of the shard's index: %s", (entry, is) => {
  expect(isOfIndex(entry, place)).toBe(is);
});

const name = (generation: number, sequence: number, kind = "tsm") => `${String(generation).padStart(9, "0")}-${String(sequence).padStart(9, "0")}.${kind}`;

describe("a file that a later list lacks", () => {
  const a1 = name(1, 1);
  const a2 = name(1, 2);
  const b1 = name(2, 1);
  const c4 = name(3, 4);
  test.each<[string, readonly string[], readonly string[], readonly string[]]>([
    ["is unexplained if nothing new is there", [a1, b1], [b1], [a1]],
    ["is explained by a higher sequence of its generation", [a1, b1], [a2, b1], []],
    ["is explained by a new file of a higher generation, which a compaction of several makes", [a1, b1, name(3, 1)], [c4], []],
    ["is not explained by a file of a lower generation", [b1], [a2], [b1]],
    ["is not explained by a lower sequence", [a2], [a1], [a2]],
    ["is not explained by a flush, which takes nothing away", [a1], [b1], [a1]],
    ["is not explained by a compaction across a file that is left", [a1, b1], [b1, c4], [a1]],
    ["is not explained by a file that was there before", [a1, c4], [c4], [a1]],
    ["is not explained by a new tombstone", [a1], [name(2, 1, "tombstone")], [a1]],
    ["takes its tombstone along when it is compacted", [a1, name(1, 1, "tombstone")], [a2], []],
    ["does not take its tombstone along when it stays", [a1, name(1, 1, "tombstone")], [a1], [name(1, 1, "tombstone")]],
    ["is each that a whole list lost", [a1, b1], [], [a1, b1]],
    ["is none of a list that only grew", [a1], [a1, b1], []],
  ])("%s", (_, earlier, later, expected) => {
    expect(unexplained(earlier, later)).toEqual(expected);
  });

  test("is not explained by one that was seen before and has come back", () => {
    const b2 = name(2, 2);
    expect([unexplained([a1], [b2]), unexplained([a1], [b2], new Set([a1, b2]))]).toEqual([[], [a1]]);
  });

  const names = fc.uniqueArray(
    fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 4 }), fc.constantFrom("tsm", "tombstone")).map((parts) => name(...parts)),
    { maxLength: 8 },
  );

  test("is one of the earlier list, never of the later; a list explains itself", () => {
    fc.assert(
      fc.property(names, names, (earlier, later) => {
        const found = unexplained(earlier, later);
        for (const one of found) expect([earlier.includes(one), later.includes(one)]).toEqual([true, false]);
        expect(unexplained(earlier, earlier)).toEqual([]);
      }),
    );
  });

  test("is explained after any row of compactions, each of some files into the next sequence of the highest generation among them", () => {
    const steps = fc.array(fc.record({ from: fc.nat(), count: fc.integer({ min: 1, max: 4 }) }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 7 }), steps, (files, compactions) => {
        const earlier = Array.from({ length: files }, (_, at) => ({ generation: at + 1, sequence: 1 }));
        let now = [...earlier];
        for (const { from, count } of compactions) {
          const some = now.slice(from % now.length, (from % now.length) + count);
          const made = { generation: some[some.length - 1].generation, sequence: Math.max(...some.map(({ sequence }) => sequence)) + 1 };
          now = now.flatMap((file) => (file === some[some.length - 1] ? [made] : some.includes(file) ? [] : [file]));
        }
        const listed = (list: typeof earlier) => list.map(({ generation, sequence }) => name(generation, sequence));
        expect(unexplained(listed(earlier), listed(now))).toEqual([]);
      }),
    );
  });
});
