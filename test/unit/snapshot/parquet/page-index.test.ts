import { hash } from "node:crypto";
import { expect, test } from "vitest";
import { COLUMNS, PAGE_BYTES_MAX, PAGE_INDEX_BYTES_MAX, PAGE_ROWS_MAX, type RowGroup } from "../../../../lib/snapshot/parquet/layout.ts";
import { checkIndexSize, checkTiles, pagesOfIndex, placeGroup, verifyPageIndex } from "../../../../lib/snapshot/parquet/page-index.ts";
import { thriftWriter } from "../../../../lib/snapshot/parquet/thrift.ts";

const column = (offset: number, byteLength: number) => ({ offset, byteLength, rawByteLength: byteLength });

/** Three pages of two, one and three rows; its columns lie as key, index, time and value, from 1,000 on. */
const group: RowGroup = {
  offset: 1_000,
  byteLength: 1_000,
  rows: 6,
  sha256: "0".repeat(64),
  crc32: 7,
  firstKey: Buffer.from("a"),
  lastKey: Buffer.from("f"),
  columns: [column(0, 100), column(600, 400), column(100, 200), column(300, 300)],
  carried: 0,
};

interface Location {
  readonly offset: number;
  readonly bytes: number;
  readonly firstRow: number;
}

/** What an index says, before it is bytes. */
interface Said {
  readonly firstKeys: readonly string[];
  readonly lastKeys: readonly string[];
  readonly locations: readonly (readonly Location[])[];
  readonly checksums: readonly number[];
}

const pagesAt = (offset: number, sizes: readonly number[]): readonly Location[] =>
  sizes.map((bytes, page) => ({ offset: offset + sizes.slice(0, page).reduce((sum, each) => sum + each, 0), bytes, firstRow: [0, 2, 3][page] }));

const said: Said = {
  firstKeys: ["a", "c", "d"],
  lastKeys: ["b", "c", "f"],
  locations: [pagesAt(1_000, [40, 20, 40]), pagesAt(1_600, [100, 100, 200]), pagesAt(1_100, [80, 60, 60]), pagesAt(1_300, [99, 101, 100])],
  checksums: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0xffff_ffff],
};

function bytesOf({ firstKeys, lastKeys, locations, checksums }: Said) {
  const keys = thriftWriter();
  keys.booleans(
    1,
    firstKeys.map(() => false),
  );
  keys.binaries(2, firstKeys);
  keys.binaries(3, lastKeys);
  keys.i32(4, 1);
  keys.i64s(
    5,
    firstKeys.map(() => 0),
  );
  const parts = [
    keys.end(),
    ...locations.map((pages) => {
      const writer = thriftWriter();
      writer.structs(1, pages, ({ offset, bytes, firstRow }) => {
        writer.i64(1, offset);
        writer.i32(2, bytes);
        writer.i64(3, firstRow);
      });
      return writer.end();
    }),
  ];
  const numbers = Buffer.alloc(4 * checksums.length);
  for (const [i, checksum] of checksums.entries()) numbers.writeUInt32LE(checksum, 4 * i);
  return { bytes: Buffer.concat([...parts, numbers]), lengths: parts.map(({ length }) => length) };
}

function pagesOf(change: Partial<Said>, of: RowGroup = group) {
  const { bytes, lengths } = bytesOf({ ...said, ...change });
  return pagesOfIndex("snapshot", of, bytes, lengths);
}

/** The locations of all columns, that of one page of one column changed. */
function withPage(of: number, page: number, change: Partial<Location>): Partial<Said> {
  return { locations: said.locations.map((pages, i) => pages.map((each, j) => (i === of && j === page ? { ...each, ...change } : each))) };
}

function withRows(firstRows: readonly number[]): Partial<Said> {
  return { locations: said.locations.map((pages) => pages.map((each, page) => ({ ...each, firstRow: firstRows[page] }))) };
}

test("a page index tells rows, keys, bytes and checksums of each page, and is the one that is made of them", () => {
  const pages = pagesOf({});
  expect(pages).toEqual({
    rows: [2, 1, 3],
    firstKeys: said.firstKeys.map((key) => Buffer.from(key)),
    lastKeys: said.lastKeys.map((key) => Buffer.from(key)),
    columns: [
      { bytes: [40, 20, 40], checksums: [1, 2, 3] },
      { bytes: [100, 100, 200], checksums: [4, 5, 6] },
      { bytes: [80, 60, 60], checksums: [7, 8, 9] },
      { bytes: [99, 101, 100], checksums: [10, 11, 0xffff_ffff] },
    ],
  });
  const { bytes, lengths } = bytesOf(said);
  expect(placeGroup(group, pages, 1_000)).toEqual({ group, index: bytes, indexLengths: lengths });
  expect(placeGroup(group, pages, 1_000).group).toBe(group);
});

test("placed elsewhere, a page index differs in its offsets alone", () => {
  const moved = { ...group, offset: 4 };
  const locations = said.locations.map((pages) => pages.map((each) => ({ ...each, offset: each.offset - 996 })));
  const { bytes, lengths } = bytesOf({ ...said, locations });
  expect(placeGroup(group, pagesOf({}), 4)).toEqual({ group: moved, index: bytes, indexLengths: lengths });
});

test("a page index that is made holds no memory but its own, as a capture keeps those of all row groups", () => {
  const { index } = placeGroup(group, pagesOf({}), 4);
  expect(index.buffer.byteLength).toBe(index.length);
});

test("pages have from one row to as many as a page may have", () => {
  const most = { ...group, rows: 3 + PAGE_ROWS_MAX };
  expect(pagesOf({}, most).rows).toEqual([2, 1, PAGE_ROWS_MAX]);
  expect(() => pagesOf({}, { ...most, rows: most.rows + 1 })).toThrow("do not add up");
});

test("pages have from one byte to as many as a page may have", () => {
  const sizesOf = (first: number, second: number) => {
    const columns = group.columns.map((each, i) => (i === 1 ? column(600, first + second + 200) : each));
    const locations = said.locations.map((pages, i) => (i === 1 ? pagesAt(1_600, [first, second, 200]) : pages));
    return pagesOf({ locations }, { ...group, columns }).columns[1].bytes;
  };
  expect([sizesOf(1, PAGE_BYTES_MAX), sizesOf(PAGE_BYTES_MAX, 1)]).toEqual([
    [1, PAGE_BYTES_MAX, 200],
    [PAGE_BYTES_MAX, 1, 200],
  ]);
  expect(() => sizesOf(0, 200)).toThrow("do not tile");
  expect(() => sizesOf(PAGE_BYTES_MAX + 1, 200)).toThrow("do not tile");
});

test.each<[string, Partial<Said>, string]>([
  ["whose first page does not begin with the first row", withRows([1, 2, 3]), "do not add up"],
  ["with a page of no rows", withRows([0, 2, 2]), "do not add up"],
  ["whose last page has no rows", withRows([0, 2, 6]), "do not add up"],
  ["whose first page lies elsewhere", withPage(0, 0, { offset: 999 }), "do not tile"],
  ["with a gap between two pages", withPage(2, 1, { offset: 1_181 }), "do not tile"],
  ["whose pages end before their column", withPage(3, 2, { bytes: 99 }), "do not tile"],
  ["whose pages end behind their column", withPage(1, 2, { bytes: 201 }), "do not tile"],
  ["of which one column has other rows", withPage(2, 1, { firstRow: 1 }), "columns differ"],
  ["with too many checksums", { checksums: [...said.checksums, 13] }, "another number of checksums"],
  ["with too many first keys", { firstKeys: [...said.firstKeys, "g"] }, "another number of pages"],
  ["with too few last keys", { lastKeys: said.lastKeys.slice(1) }, "another number of pages"],
  ["with another first key", { firstKeys: ["A", "c", "d"] }, "other keys"],
  ["with another last key", { lastKeys: ["b", "c", "g"] }, "other keys"],
])("an index %s is damaged", (_, change, why) => {
  expect(() => pagesOf(change)).toThrow(expect.objectContaining({ kind: "repair", object: "snapshot", message: expect.stringContaining(why) }));
});

test("an index is verified by its length and its SHA-256", () => {
  const { bytes, lengths } = bytesOf(said);
  const place = { offset: 0, byteLength: bytes.length, sha256: hash("sha256", bytes, "hex"), lengths };
  verifyPageIndex("snapshot", group, place, bytes);
  const damaged = expect.objectContaining({ kind: "repair", object: "snapshot" });
  expect(() => verifyPageIndex("snapshot", group, { ...place, byteLength: bytes.length + 1 }, bytes)).toThrow(damaged);
  expect(() => verifyPageIndex("snapshot", group, { ...place, sha256: "0".repeat(64) }, bytes)).toThrow(damaged);
});

test("columns tile their row group in the order of the file", () => {
  checkTiles(group);
  for (const [i, { offset, byteLength }] of group.columns.entries()) {
    const changed = (each: ReturnType<typeof column>) => ({ ...group, columns: COLUMNS.map((_, j) => (i === j ? each : group.columns[j])) });
    expect(() => checkTiles(changed(column(offset + 1, byteLength))), `column ${i}`).toThrow(RangeError);
    expect(() => checkTiles(changed(column(offset, byteLength + 1))), `column ${i}`).toThrow(RangeError);
  }
});

test("a page index has no more bytes than a reader takes", () => {
  checkIndexSize(PAGE_INDEX_BYTES_MAX);
  expect(() => checkIndexSize(PAGE_INDEX_BYTES_MAX + 1)).toThrow(RangeError);
});
