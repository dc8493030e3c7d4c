// Everything behind the last row group, from descriptions alone: pure, so that a spliced snapshot, whose row groups lie in
// several objects, gets its tail by the same function as one written from first to last.

import type { SnapshotDescription } from "../../model/snapshot.ts";
import type { ValueCodec } from "../../model/mutation.ts";
import { assert } from "../../model/assert.ts";
import { ENCODER_VERSION, encodeMetadata } from "./description.ts";
import { CHECKSUM_BYTES, COLUMNS, type Column, type ColumnChunk, ENCODING_RLE, firstKey, KEY, lastKey, MAGIC, type RowGroup, TIME, VALUE } from "./layout.ts";
import { sealTail } from "./seal.ts";
import { type ThriftWriter, thriftWriter } from "./thrift.ts";

const REPETITION_REQUIRED = 0;
const CONVERTED_UTF8 = 0;
const CONVERTED_TIMESTAMP_MICROS = 10;
const CONVERTED_JSON = 19;
const LOGICAL_STRING = 1;
const LOGICAL_TIMESTAMP = 8;
const LOGICAL_JSON = 12;
const UNIT_MICROS = 2;
const BOUNDARY_ASCENDING = 1;
const PARQUET_VERSION = 2;
const TYPE_DEFINED_ORDER = 1;

/** Where the page indexes of a row group lie in the object. */
interface IndexPlaces {
  readonly columnIndex: Place;
  /** By column. */
  readonly offsetIndexes: readonly Place[];
}

interface Place {
  readonly offset: number;
  readonly byteLength: number;
}

/** The tail of a snapshot whose row groups are `groups`, in key order and at their offsets. */
export function encodeTail(description: SnapshotDescription, groups: readonly RowGroup[]): Buffer {
  const tailStart = checkPlaces(groups);
  const indexes: Buffer[] = [];
  let at = tailStart;
  function place(bytes: Buffer): Place {
    indexes.push(bytes);
    at += bytes.length;
    return { offset: at - bytes.length, byteLength: bytes.length };
  }
  const places = groups.map((group): IndexPlaces => {
    const columnIndex = place(encodeColumnIndex(group));
    const offsetIndexes = group.columns.map((chunk) => place(encodeOffsetIndex(group, chunk)));
    place(encodeChecksums(group));
    return { columnIndex, offsetIndexes };
  });
  return sealTail(indexes, encodeFooter(description, groups, places), tailStart);
}

/** Row groups lie one behind the other from the head on, and their keys ascend. Returns where they end. */
function checkPlaces(groups: readonly RowGroup[]): number {
  let end = MAGIC.length;
  for (const [i, group] of groups.entries()) {
    assert(group.offset === end, "row groups lie one behind the other");
    assert(i === 0 || Buffer.compare(lastKey(groups[i - 1]), firstKey(group)) < 0, "keys ascend from row group to row group");
    end += group.byteLength;
  }
  return end;
}

function encodeColumnIndex(group: RowGroup): Buffer {
  const index = thriftWriter();
  index.booleans(
    1,
    group.pageRows.map(() => false),
  );
  index.binaries(2, group.firstKeys);
  index.binaries(3, group.lastKeys);
  index.i32(4, BOUNDARY_ASCENDING);
  index.i64s(
    5,
    group.pageRows.map(() => 0),
  );
  return index.end();
}

function encodeOffsetIndex(group: RowGroup, chunk: ColumnChunk): Buffer {
  let offset = group.offset + chunk.offset;
  let firstRow = 0;
  const locations = chunk.pageBytes.map((byteLength, page) => {
    const location = { offset, byteLength, firstRow };
    offset += byteLength;
    firstRow += group.pageRows[page];
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

function encodeChecksums(group: RowGroup): Buffer {
  const bytes = Buffer.allocUnsafe(COLUMNS.length * group.pageRows.length * CHECKSUM_BYTES);
  let at = 0;
  for (const chunk of group.columns) for (const checksum of chunk.pageChecksums) at = bytes.writeUInt32LE(checksum, at);
  return bytes;
}

function encodeFooter(description: SnapshotDescription, groups: readonly RowGroup[], places: readonly IndexPlaces[]): Buffer {
  const footer = thriftWriter(4_096 + groups.length * 512);
  const metadata = encodeMetadata(
    description,
    groups.map((group) => group.sha256),
  );
  footer.i32(1, PARQUET_VERSION);
  footer.structs(2, [undefined, ...COLUMNS], (column) => {
    if (column === undefined) writeRoot(footer);
    else writeColumn(footer, column, description.codec);
  });
  footer.i64(
    3,
    groups.reduce((sum, group) => sum + group.rows, 0),
  );
  footer.structs(
    4,
    groups.map((group, i) => ({ group, places: places[i] })),
    (entry) => writeRowGroup(footer, entry.group, entry.places),
  );
  footer.structs(5, metadata, ([key, value]) => {
    footer.binary(1, key);
    footer.binary(2, value);
  });
  footer.binary(6, `tidemark version 1.0.0 (build ${ENCODER_VERSION})`);
  footer.structs(7, COLUMNS, () => footer.struct(TYPE_DEFINED_ORDER, () => {}));
  return footer.end();
}

function writeRoot(footer: ThriftWriter): void {
  footer.binary(4, "schema");
  footer.i32(5, COLUMNS.length);
}

function writeColumn(footer: ThriftWriter, column: Column, codec: ValueCodec): void {
  footer.i32(1, column.physical);
  footer.i32(3, REPETITION_REQUIRED);
  footer.binary(4, column.name);
  if (column === COLUMNS[KEY]) writeMeaning(CONVERTED_UTF8, () => footer.struct(LOGICAL_STRING, () => {}));
  else if (column === COLUMNS[VALUE] && codec === "json") writeMeaning(CONVERTED_JSON, () => footer.struct(LOGICAL_JSON, () => {}));
  else if (column === COLUMNS[TIME]) writeMeaning(CONVERTED_TIMESTAMP_MICROS, () => footer.struct(LOGICAL_TIMESTAMP, writeTimestamp));
  else footer.i32(9, column.fieldId);

  function writeMeaning(converted: number, logical: () => void): void {
    footer.i32(6, converted);
    footer.i32(9, column.fieldId);
    footer.struct(10, logical);
  }
  function writeTimestamp(): void {
    footer.boolean(1, true);
    footer.struct(2, () => footer.struct(UNIT_MICROS, () => {}));
  }
}

function writeRowGroup(footer: ThriftWriter, group: RowGroup, places: IndexPlaces): void {
  footer.structs(
    1,
    group.columns.map((chunk, column) => ({ chunk, column })),
    ({ chunk, column }) => {
      footer.i64(2, group.offset + chunk.offset);
      footer.struct(3, () => writeChunk(footer, group, chunk, column));
      footer.i64(4, places.offsetIndexes[column].offset);
      footer.i32(5, places.offsetIndexes[column].byteLength);
      if (column === KEY) {
        footer.i64(6, places.columnIndex.offset);
        footer.i32(7, places.columnIndex.byteLength);
      }
    },
  );
  footer.i64(
    2,
    group.columns.reduce((sum, chunk) => sum + chunk.rawByteLength, 0),
  );
  footer.i64(3, group.rows);
  footer.structs(4, [KEY], (column) => {
    footer.i32(1, column);
    footer.boolean(2, false);
    footer.boolean(3, false);
  });
  footer.i64(5, group.offset);
  footer.i64(6, group.byteLength);
}

function writeChunk(footer: ThriftWriter, group: RowGroup, chunk: ColumnChunk, column: number): void {
  const { name, physical, codec, encoding } = COLUMNS[column];
  footer.i32(1, physical);
  footer.i32s(2, [encoding, ENCODING_RLE]);
  footer.binaries(3, [name]);
  footer.i32(4, codec);
  footer.i64(5, group.rows);
  footer.i64(6, chunk.rawByteLength);
  footer.i64(7, chunk.byteLength);
  footer.i64(9, group.offset + chunk.offset);
  if (column === KEY) {
    footer.struct(12, () => {
      footer.i64(3, 0);
      footer.binary(5, lastKey(group));
      footer.binary(6, firstKey(group));
      footer.boolean(7, true);
      footer.boolean(8, true);
    });
  }
}
