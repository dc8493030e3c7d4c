// Everything behind the last row group, from descriptions alone: pure, so that a spliced snapshot, whose row groups come from
// several objects, gets its tail by the same function as one written from first to last.

import { hash } from "node:crypto";
import type { SnapshotDescription } from "../../model/snapshot.ts";
import type { ValueCodec } from "../../model/mutation.ts";
import { assert } from "../../model/assert.ts";
import { ENCODER_VERSION, encodeMetadata } from "./description.ts";
import { COLUMNS, type Column, ENCODING_RLE, KEY, MAGIC, type RowGroup, TIME, VALUE } from "./layout.ts";
import type { PlacedGroup } from "./page-index.ts";
import { sealFooter } from "./seal.ts";
import { type ThriftWriter, thriftWriter } from "./thrift.ts";

const REPETITION_REQUIRED = 0;
const CONVERTED_UTF8 = 0;
const CONVERTED_TIMESTAMP_MICROS = 10;
const CONVERTED_JSON = 19;
const LOGICAL_STRING = 1;
const LOGICAL_TIMESTAMP = 8;
const LOGICAL_JSON = 12;
const UNIT_MICROS = 2;
const PARQUET_VERSION = 2;
const TYPE_DEFINED_ORDER = 1;

export interface Tail {
  /** The page indexes, then the foot. */
  readonly chunks: readonly Buffer[];
  readonly byteLength: number;
  /** SHA-256 of the foot, 64 hex digits, and its bytes: what the checkpoint records. */
  readonly footerSha256: string;
  readonly footerBytes: number;
  readonly rows: number;
}

/** The tail of a snapshot whose row groups lie one behind the other from its head on, in key order. */
export function encodeTail(description: SnapshotDescription, groups: readonly PlacedGroup[]): Tail {
  const indexesStart = checkPlaces(groups);
  const rows = groups.reduce((sum, { group }) => sum + group.rows, 0);
  const foot = sealFooter(encodeFooter(description, groups, indexesStart, rows), indexesStart);
  const chunks = [...groups.map(({ index }) => index), foot];
  return {
    chunks,
    byteLength: chunks.reduce((sum, { length }) => sum + length, 0),
    footerSha256: hash("sha256", foot, "hex"),
    footerBytes: foot.length,
    rows,
  };
}

/** Row groups lie one behind the other from the head on, and their keys ascend. Returns where they end. */
function checkPlaces(groups: readonly PlacedGroup[]): number {
  let end = MAGIC.length;
  for (const [i, { group }] of groups.entries()) {
    assert(group.offset === end, "row groups lie one behind the other");
    assert(i === 0 || Buffer.compare(groups[i - 1].group.lastKey, group.firstKey) < 0, "keys ascend from row group to row group");
    end += group.byteLength;
  }
  return end;
}

function encodeFooter(description: SnapshotDescription, groups: readonly PlacedGroup[], indexesStart: number, rows: number): Buffer {
  const footer = thriftWriter(4_096 + groups.length * 512);
  const metadata = encodeMetadata(
    description,
    groups.map(({ group: { sha256, crc32, carried }, index }) => ({ sha256, crc32, carried, indexSha256: hash("sha256", index, "hex") })),
  );
  let indexAt = indexesStart;
  footer.i32(1, PARQUET_VERSION);
  footer.structs(2, [undefined, ...COLUMNS], (column) => {
    if (column === undefined) writeRoot(footer);
    else writeColumn(footer, column, description.codec);
  });
  footer.i64(3, rows);
  footer.structs(4, groups, (placed) => {
    writeRowGroup(footer, placed, indexAt);
    indexAt += placed.index.length;
  });
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

/** `indexAt` is where the page index of the row group begins. */
function writeRowGroup(footer: ThriftWriter, { group, indexLengths }: PlacedGroup, indexAt: number): void {
  const [columnIndexBytes] = indexLengths;
  let offsetIndexAt = indexAt + columnIndexBytes;
  footer.structs(1, [...COLUMNS.keys()], (column) => {
    footer.i64(2, group.offset + group.columns[column].offset);
    footer.struct(3, () => writeChunk(footer, group, column));
    footer.i64(4, offsetIndexAt);
    footer.i32(5, indexLengths[1 + column]);
    offsetIndexAt += indexLengths[1 + column];
    if (column === KEY) {
      footer.i64(6, indexAt);
      footer.i32(7, columnIndexBytes);
    }
  });
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

function writeChunk(footer: ThriftWriter, group: RowGroup, column: number): void {
  const { name, physical, codec, encoding } = COLUMNS[column];
  const chunk = group.columns[column];
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
      footer.binary(5, group.lastKey);
      footer.binary(6, group.firstKey);
      footer.boolean(7, true);
      footer.boolean(8, true);
    });
  }
}
