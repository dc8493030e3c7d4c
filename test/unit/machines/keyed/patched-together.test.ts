// Patches of large values, which a fold applies many at a time.

import fc from "fast-check";
import { expect, test } from "vitest";
import { rowsCollector } from "../../../../lib/machines/keyed/collect.ts";
import type { SortedFold } from "../../../../lib/machines/keyed/entries.ts";
import { keyedFold } from "../../../../lib/machines/keyed/fold.ts";
import { mergeRows } from "../../../../lib/machines/keyed/merge.ts";
import { type Change, logRecords, modelState, type StateRow, stateOf, timeOf } from "./log.ts";

/** A value of so many kB with two members that patches name. */
const large = (kilobytes: number): string => JSON.stringify({ a: 1, filling: "x".repeat(kilobytes * 1_000), b: { c: 1 } });

function contentOf(fold: SortedFold): readonly StateRow[] {
  const collector = rowsCollector();
  const merge = mergeRows(fold, collector);
  for (const _ of merge.end());
  return stateOf(collector.take());
}

const key = fc.constantFrom("a", "b", "c", "d");
const patch = fc.oneof(
  fc.constantFrom('{"a":2}', '{"a":null}', '{"b":{"c":{"d":1}}}', '{"b":5}', '{"new":[1]}', '{"new":null}', "{}", "7", '"text"'),
  fc.integer({ min: 1, max: 20 }).map((kilobytes) => JSON.stringify({ more: "y".repeat(kilobytes * 1_000) })),
);
const change: fc.Arbitrary<Change> = fc.oneof(
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("put" as const), key, value: fc.integer({ min: 0, max: 12 }).map(large) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("delete" as const), key }) },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("patch" as const), key, value: patch }) },
);
const bytesMax = fc.constantFrom(20_000, 50_000, 100_000, undefined);

test("many patches of large values make what each of them makes, however often it is looked at, and whatever the fold may take", () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 60 }), bytesMax, fc.nat(20), (changes, most, lookEvery) => {
      const fold = keyedFold({ codec: "json", ...(most !== undefined && { bytesMax: most }) });
      const records = logRecords(changes);
      for (let place = 0; place < changes.length; place += 1) {
        fold.apply(records, place, place + 1, place + 1, timeOf(place + 1));
        if (place % (lookEvery + 1) === lookEvery) fold.sorted();
      }
      const end = fold.end?.toString() ?? "e";
      expect(contentOf(fold.sorted())).toEqual(modelState(changes).filter((row) => row.key < end));
    }),
    { numRuns: 500 },
  );
});

test("a document that is put and patched 100,000 times costs as many walks over it as it has bytes of patches for", () => {
  const members = Array.from({ length: 10_000 }, (_, number) => [`user/${number}`, { seen: number }]);
  const changes: readonly Change[] = [
    { kind: "put", key: "k", value: JSON.stringify(Object.fromEntries(members)) },
    ...Array.from({ length: 100_000 }, (_, number): Change => ({ kind: "patch", key: "k", value: `{"user/${(number * 7) % 10_000}":{"seen":${number}}}` })),
  ];
  const fold = keyedFold({ codec: "json" });
  fold.apply(logRecords(changes), 0, changes.length, 1, 0);
  const [{ value, index }] = contentOf(fold.sorted());
  expect([Object.keys(JSON.parse(value)).length, JSON.parse(value)["user/7"], index]).toEqual([10_000, { seen: 90_001 }, 100_001]);
});

test.each([
  ["the value", '{"a":'.padEnd(10_000), "{}"],
  ["the patch", large(10), '{"a":'],
])("%s that is no JSON is refused where the patch is, not where the fold is looked at", (_, value, text) => {
  const fold = keyedFold({ codec: "json" });
  const records = logRecords([
    { kind: "put", key: "k", value },
    { kind: "patch", key: "k", value: text },
  ]);
  fold.apply(records, 0, 1, 1, 0);
  expect(() => fold.apply(records, 1, 2, 2, 0)).toThrow(RangeError);
});
