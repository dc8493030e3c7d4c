// The numbers of the snapshot format (docs/format-snapshot.md) and what a row group is apart from its bytes.

import { assert } from "../../model/assert.ts";
import { KEY_BYTES_MAX, VALUE_BYTES_MAX } from "../../model/limits.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

export const FORMAT_VERSION = 1;

/** The four bytes at both ends of a Parquet file. */
export const MAGIC = Buffer.from("PAR1", "latin1");
/** Behind the footer: its length and the magic. */
export const TRAILER_BYTES = 8;
export const SHA256_BYTES = 32;
export const CHECKSUM_BYTES = 4;

// Where pages and row groups end. Part of the encoder version: other numbers make other bytes.
export const PAGE_ROWS_MAX = 1_024;
export const PAGE_VALUE_BYTES = 512 * KIB;
export const GROUP_STORED_BYTES = 1_750_000;
export const GROUP_RAW_BYTES = 16 * MIB;
/** Index and time of a row, before they are encoded. */
export const ROW_NUMBER_BYTES = 16;

// What a reader takes: checked before anything of that size is fetched or made (I10).
export const PAGE_BYTES_MAX = 10 * MIB;
export const GROUP_BYTES_MAX = 32 * MIB;
export const TAIL_BYTES_MAX = 256 * MIB;

/** Room for the lengths of one page, DELTA_BINARY_PACKED: at most 33 bits each, a header, and 14 bytes a block. */
export const LENGTHS_BYTES_MAX = 8 * KIB;

assert(VALUE_BYTES_MAX + PAGE_VALUE_BYTES + LENGTHS_BYTES_MAX < PAGE_BYTES_MAX, "a page with the largest value is one that a reader takes");
assert(PAGE_ROWS_MAX * KEY_BYTES_MAX + LENGTHS_BYTES_MAX < PAGE_BYTES_MAX, "a page of the largest keys is one that a reader takes");
assert(GROUP_RAW_BYTES + VALUE_BYTES_MAX + PAGE_VALUE_BYTES + MIB < GROUP_BYTES_MAX, "the largest row group is one that a reader takes");

// Numbers of parquet.thrift.
export const PHYSICAL_INT64 = 2;
export const PHYSICAL_BYTE_ARRAY = 6;
export const CODEC_UNCOMPRESSED = 0;
export const CODEC_ZSTD = 6;
export const ENCODING_RLE = 3;
export const ENCODING_DELTA_BINARY_PACKED = 5;
export const ENCODING_DELTA_LENGTH_BYTE_ARRAY = 6;

export const KEY = 0;
export const VALUE = 1;
export const INDEX = 2;
export const TIME = 3;

export interface Column {
  readonly name: string;
  readonly fieldId: number;
  readonly physical: number;
  readonly codec: number;
  readonly encoding: number;
}

const TEXT = { physical: PHYSICAL_BYTE_ARRAY, codec: CODEC_ZSTD, encoding: ENCODING_DELTA_LENGTH_BYTE_ARRAY };
const NUMBER = { physical: PHYSICAL_INT64, codec: CODEC_UNCOMPRESSED, encoding: ENCODING_DELTA_BINARY_PACKED };

/** In file order, which is the order of KEY, VALUE, INDEX, TIME. */
export const COLUMNS: readonly Column[] = [
  { name: "key", fieldId: 1, ...TEXT },
  { name: "value", fieldId: 2, ...TEXT },
  { name: "index", fieldId: 3, ...NUMBER },
  { name: "time", fieldId: 4, ...NUMBER },
];

/** The pages of one column in one row group; they lie one behind the other. */
export interface ColumnChunk {
  /** From the start of the row group. */
  readonly offset: number;
  readonly byteLength: number;
  /** Page headers and payloads before compression. */
  readonly rawByteLength: number;
  /** Bytes of each page, header and payload. */
  readonly pageBytes: readonly number[];
  /** CRC-32 of each page's payload, unsigned. */
  readonly pageChecksums: readonly number[];
}

/** Everything that is known of a row group apart from its bytes. Carried over to another object, only `offset` changes. */
export interface RowGroup {
  /** Where its first byte lies in the object. */
  readonly offset: number;
  readonly byteLength: number;
  readonly rows: number;
  /** Of its bytes, 64 hex digits. */
  readonly sha256: string;
  /** Rows of each page, the same for all columns. */
  readonly pageRows: readonly number[];
  /** First and last key of each page. */
  readonly firstKeys: readonly Buffer[];
  readonly lastKeys: readonly Buffer[];
  /** By KEY, VALUE, INDEX, TIME. */
  readonly columns: readonly ColumnChunk[];
}

export function firstKey(group: RowGroup): Buffer {
  return group.firstKeys[0];
}

export function lastKey(group: RowGroup): Buffer {
  return group.lastKeys[group.lastKeys.length - 1];
}
