// Rows by columns: whatever is cut out of them is what a list of records would give.

import fc from "fast-check";
import { expect, test } from "vitest";
import { keyOfRow, releaseRows, rowAtOrBehind, sliceRows } from "../../../lib/model/rows.ts";
import { rowsOf as columnsOf } from "../machines/keyed/log.ts";

interface Row {
  readonly key: string;
  readonly value: string;
}

/** The first has index 1 and time 10, the next 2 and 20, and so on. */
const rowsOf = (records: readonly Row[]) => columnsOf(records.map((record, at) => ({ ...record, index: at + 1, timeMs: 10 * (at + 1) })));

const records = fc
  .uniqueArray(fc.string({ minLength: 1, maxLength: 4, unit: fc.constantFrom(..."abc") }), { maxLength: 12 })
  .map((keys) => keys.sort().map((key): Row => ({ key, value: key.repeat(2) })));

test("a stretch of rows is what the list of records has there, of its own columns", () => {
  fc.assert(
    fc.property(records, fc.nat(12), fc.nat(12), (list, one, other) => {
      const [from, to] = [one, other].map((place) => Math.min(place, list.length)).sort((a, b) => a - b);
      const { indexes, times, ...slice } = sliceRows(rowsOf(list), from, to);
      const { indexes: _, times: __, ...expected } = rowsOf(list.slice(from, to));
      expect(slice).toEqual(expected);
      expect([[...indexes], [...times]]).toEqual([list.map((___, at) => at + 1).slice(from, to), list.map((___, at) => 10 * (at + 1)).slice(from, to)]);
    }),
  );
});

test("all of the rows are the rows themselves, and a stretch leaves them as they were", () => {
  const rows = rowsOf([
    { key: "a", value: "1" },
    { key: "bb", value: "22" },
  ]);
  expect(sliceRows(rows, 0, 2)).toBe(rows);
  sliceRows(rows, 1, 2);
  expect([...rows.keyEnds, ...rows.valueEnds]).toEqual([1, 3, 1, 3]);
});

test("each key is found at its place, and one between two at the latter's", () => {
  fc.assert(
    fc.property(records, fc.string({ maxLength: 4, unit: fc.constantFrom(..."abcd") }), (list, sought) => {
      const rows = rowsOf(list);
      expect(list.map((_, row) => keyOfRow(rows, row).toString())).toEqual(list.map(({ key }) => key));
      expect(rowAtOrBehind(rows, Buffer.from(sought))).toBe(list.filter(({ key }) => key < sought).length);
    }),
  );
});

test("rows that are released hold no memory any more", () => {
  const bytes = Buffer.allocUnsafeSlow(10_000);
  const ends = new Uint32Array(1_000);
  releaseRows({ count: 0, keys: bytes, keyEnds: ends, values: bytes, valueEnds: ends, indexes: new Float64Array(1_000), times: new Float64Array(1) });
  expect([bytes.length, ends.length]).toEqual([0, 0]);
});
