import { expect, test } from "vitest";
import { GROUP_RAW_BYTES, isSmall, ROW_NUMBER_BYTES } from "../../../../lib/snapshot/parquet/layout.ts";

/** A row group by its stored bytes and the raw ones of its columns. */
function small(byteLength: number, rows: number, raw: readonly number[]): boolean {
  const columns = raw.map((rawByteLength) => ({ offset: 0, byteLength: 0, rawByteLength }));
  return isSmall({ byteLength, rows, columns }, { groupBytes: 100 });
}

test("a row group is small that has less than half the stored bytes that it should have", () => {
  expect([0, 49, 50, 100].map((bytes) => small(bytes, 1, [10, 10, 10, 10]))).toEqual([true, true, false, false]);
});

test("a row group is not small that has half the raw bytes that end one, by its keys, its values and the number of its rows", () => {
  const half = GROUP_RAW_BYTES / 2;
  const ofRows = 3 * ROW_NUMBER_BYTES;
  const much = 10 * GROUP_RAW_BYTES;
  expect(small(1, 3, [100, half - 100 - ofRows - 1, much, much])).toBe(true);
  expect(small(1, 3, [100, half - 100 - ofRows, much, much])).toBe(false);
  expect(small(1, 3, [half - ofRows, 0, 0, 0])).toBe(false);
});
