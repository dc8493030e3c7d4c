// Two streams of rows are equal where their records are, however they are cut into pages.

import { expect, test } from "vitest";
import type { Rows } from "../../../lib/model/rows.ts";
import { firstDifference } from "../../../lib/recovery/compare.ts";
import { rowsOf } from "../machines/keyed/log.ts";

type Record = readonly [key: string, value: string, index: number, timeMs: number];

async function* streamOf(...pages: readonly (readonly Record[])[]): AsyncGenerator<Rows> {
  for (const page of pages) yield rowsOf(page.map(([key, value, index, timeMs]) => ({ key, value, index, timeMs })));
}

const RECORDS: readonly Record[] = [
  ["a", "1", 1, 10],
  ["bb", "", 2, 20],
  ["c", "333", 3, 30],
];
const [a, b, c] = RECORDS;

test.each([
  ["one page and one a record", [RECORDS], [[a], [b], [c]]],
  ["empty pages among them", [[], RECORDS], [[a, b], [], [c], []]],
  ["nothing, and an empty page", [], [[]]],
])("the same records are no difference: %s", async (_, one, other) => {
  expect(await firstDifference(streamOf(...one), streamOf(...other))).toBeUndefined();
  expect(await firstDifference(streamOf(...other), streamOf(...one))).toBeUndefined();
});

test.each<[string, Record]>([
  ["the key", ["bc", "", 2, 20]],
  ["the value", ["bb", "2", 2, 20]],
  ["the index", ["bb", "", 4, 20]],
  ["the time", ["bb", "", 2, 21]],
])("what differs first is named: %s", async (what, changed) => {
  expect(await firstDifference(streamOf(RECORDS), streamOf([a, changed], [c]))).toBe(`${what} of key "bb" differs`);
});

test("a record that only one of them has is named, whichever it is", async () => {
  expect(await firstDifference(streamOf(RECORDS), streamOf([a, b]))).toBe('key "c" is in one of them only');
  expect(await firstDifference(streamOf([a]), streamOf([a], [b]))).toBe('key "bb" is in one of them only');
});
