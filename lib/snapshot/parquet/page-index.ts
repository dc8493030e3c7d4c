// The page index of one row group: its ColumnIndex of `key`, the four OffsetIndexes, and the CRC-32 of each page. Its offsets
// are absolute, as Parquet has them, so it is made anew for each place that the row group is carried to (splice).

import { hash } from "node:crypto";
import { damagedObject } from "../../model/errors.ts";
import {
  CHECKSUM_BYTES,
  COLUMNS,
  type ColumnPages,
  FILE_ORDER,
  type GroupPages,
  PAGE_BYTES_MAX,
  PAGE_INDEX_BYTES_MAX,
  PAGE_ROWS_MAX,
  type RowGroup,
} from "./layout.ts";
import { orDamaged } from "./faults.ts";
import { readThrift, thriftWriter } from "./thrift.ts";

const BOUNDARY_ASCENDING = 1;

/** A row group at its place in an object, with its page index for that place. */
export interface PlacedGroup {
  readonly group: RowGroup;
  readonly index: Buffer;
  /** Bytes of the ColumnIndex and of each column's OffsetIndex in `index`, in that order; the checksums are the rest. */
  readonly indexLengths: readonly number[];
}

/** Where a stored page index lies, and what it must be. */
export interface IndexPlace {
  readonly offset: number;
  readonly byteLength: number;
  /** 64 hex digits. */
  readonly sha256: string;
  /** As in `PlacedGroup`. */
  readonly lengths: readonly number[];
}

/** The row group with its first byte at `offset`. */
export function placeGroup(group: RowGroup, pages: GroupPages, offset: number): PlacedGroup {
  const placed = group.offset === offset ? group : { ...group, offset };
  const parts = [encodeColumnIndex(pages), ...COLUMNS.map((_, column) => encodeOffsetIndex(placed, pages, column))];
  return { group: placed, index: inMemoryOfItsOwn([...parts, encodeChecksums(pages)]), indexLengths: parts.map(({ length }) => length) };
}

/** A capture holds the page indexes of all row groups to its end: one in Node's pool would hold what was written beside it, several times its bytes. */
function inMemoryOfItsOwn(parts: readonly Buffer[]): Buffer {
  const bytes = Buffer.allocUnsafeSlow(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) at += part.copy(bytes, at);
  return bytes;
}

function encodeColumnIndex({ rows, firstKeys, lastKeys }: GroupPages): Buffer {
  const index = thriftWriter();
  index.booleans(
    1,
    rows.map(() => false),
  );
  index.binaries(2, firstKeys);
  index.binaries(3, lastKeys);
  index.i32(4, BOUNDARY_ASCENDING);
  index.i64s(
    5,
    rows.map(() => 0),
  );
  return index.end();
}

function encodeOffsetIndex(group: RowGroup, pages: GroupPages, column: number): Buffer {
  let offset = group.offset + group.columns[column].offset;
  let firstRow = 0;
  const locations = pages.columns[column].bytes.map((byteLength, page) => {
    const location = { offset, byteLength, firstRow };
    offset += byteLength;
    firstRow += pages.rows[page];
    return location;
  });
  const index = thriftWriter();
  index.structs(1, locations, (location) => {
    index.i64(1, location.offset);
    index.i32(2, location.byteLength);
    index.i64(3, location.firstRow);
  });
  return index.end();
}

function encodeChecksums({ rows, columns }: GroupPages): Buffer {
  const bytes = Buffer.allocUnsafe(COLUMNS.length * rows.length * CHECKSUM_BYTES);
  let at = 0;
  for (const { checksums } of columns) for (const checksum of checksums) at = bytes.writeUInt32LE(checksum, at);
  return bytes;
}

/** The pages of a stored row group. `bytes` are its page index; throws `damagedObject` where they are not what the footer says. */
export function decodePageIndex(object: string, group: RowGroup, place: IndexPlace, bytes: Buffer): GroupPages {
  verifyPageIndex(object, group, place, bytes);
  return pagesOfIndex(object, group, bytes, place.lengths);
}

/** Throws unless `bytes` are the row group's page index. */
export function verifyPageIndex(object: string, { offset }: RowGroup, { byteLength, sha256 }: IndexPlace, bytes: Buffer): void {
  if (bytes.length !== byteLength || hash("sha256", bytes, "hex") !== sha256)
    throw damagedObject(object, `the page index of the row group at ${offset} fails its SHA-256`);
}

/** The same as `decodePageIndex` for a page index that is known to be what it must be; `lengths` as in `PlacedGroup`. */
export function pagesOfIndex(object: string, group: RowGroup, bytes: Buffer, lengths: readonly number[]): GroupPages {
  return orDamaged(object, () => readPageIndex(group, bytes, lengths));
}

function readPageIndex(group: RowGroup, bytes: Buffer, lengths: readonly number[]): GroupPages {
  let at = 0;
  const structs = lengths.map((length) => {
    at += length;
    return readThrift(bytes.subarray(at - length, at)).struct;
  });
  const [columnIndex, ...offsetIndexes] = structs;
  const firstKeys = columnIndex.binaries(2);
  const lastKeys = columnIndex.binaries(3);
  const columns: (ColumnPages & { readonly rows: readonly number[] })[] = [];
  for (const column of COLUMNS.keys()) {
    const { offset, byteLength } = group.columns[column];
    const locations = offsetIndexes[column].structs(1);
    const firstRows = locations.map((location) => location.integer(3));
    const rows = firstRows.map((first, page) => (page + 1 < firstRows.length ? firstRows[page + 1] : group.rows) - first);
    if (firstRows[0] !== 0 || rows.some((count) => count < 1 || count > PAGE_ROWS_MAX)) throw new RangeError("the rows of a row group's pages do not add up");
    let end = group.offset + offset;
    const sizes = locations.map((location) => {
      const size = location.integer(2);
      if (location.integer(1) !== end || size < 1 || size > PAGE_BYTES_MAX) throw new RangeError("the pages of a row group do not tile it");
      end += size;
      return size;
    });
    if (end !== group.offset + offset + byteLength) throw new RangeError("the pages of a row group do not tile it");
    const checksumsAt = at + column * rows.length * CHECKSUM_BYTES;
    columns.push({ rows, bytes: sizes, checksums: rows.map((_, page) => bytes.readUInt32LE(checksumsAt + page * CHECKSUM_BYTES)) });
  }
  const { rows } = columns[0];
  if (columns.some((other) => other.rows.join() !== rows.join())) throw new RangeError("the pages of a row group's columns differ");
  if (at + COLUMNS.length * rows.length * CHECKSUM_BYTES !== bytes.length) throw new RangeError("a page index has another number of checksums than of pages");
  if (firstKeys.length !== rows.length || lastKeys.length !== rows.length) throw new RangeError("a column index has another number of pages");
  if (!firstKeys[0].equals(group.firstKey) || !lastKeys[rows.length - 1].equals(group.lastKey))
    throw new RangeError("a column index has other keys than the footer");
  return { rows, firstKeys, lastKeys, columns: columns.map(({ bytes: sizes, checksums }) => ({ bytes: sizes, checksums })) };
}

/** Throws RangeError where the chunks of a row group do not tile it in the file's order. */
export function checkTiles({ byteLength, columns }: Pick<RowGroup, "byteLength" | "columns">): void {
  let end = 0;
  for (const column of FILE_ORDER) {
    if (columns[column].offset !== end) throw new RangeError("the chunks of a row group do not tile it");
    end += columns[column].byteLength;
  }
  if (end !== byteLength) throw new RangeError("the chunks of a row group do not tile it");
}

export function checkIndexSize(byteLength: number): void {
  if (byteLength > PAGE_INDEX_BYTES_MAX) throw new RangeError(`a page index has ${byteLength} bytes`);
}
