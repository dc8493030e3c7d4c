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

/** Where pages and row groups end. */
export interface GroupSizes {
  /** Rows of a page: at most PAGE_ROWS_MAX. */
  readonly pageRows: number;
  /** Stored bytes that a row group should have. It is cut there only once half as much follows, so that a run leaves no sliver behind. */
  readonly groupBytes: number;
}

export function splitBytes({ groupBytes }: Pick<GroupSizes, "groupBytes">): number {
  return groupBytes * 1.5;
}

/** A row group ends at these raw bytes, however few they are when they are stored. */
export const GROUP_RAW_BYTES = 16 * MIB;
/** Index and time of a row, before they are encoded. */
export const ROW_NUMBER_BYTES = 16;

/** A small row group is written anew once its neighbour is. One whose many raw bytes shrink far is none. */
export function isSmall(
  { byteLength, rows, columns }: Pick<RowGroup, "byteLength" | "rows" | "columns">,
  { groupBytes }: Pick<GroupSizes, "groupBytes">,
): boolean {
  const rawBytes = columns[KEY].rawByteLength + columns[VALUE].rawByteLength + ROW_NUMBER_BYTES * rows;
  return byteLength < groupBytes / 2 && rawBytes < GROUP_RAW_BYTES / 2;
}

// What a reader takes: checked before anything of that size is fetched or made (I10).
export const PAGE_BYTES_MAX = 10 * MIB;
export const GROUP_BYTES_MAX = 32 * MIB;
export const FOOT_BYTES_MAX = 256 * MIB;
/** Of one row group: keys of 1 KiB, and pages as short as the largest values make them. */
export const PAGE_INDEX_BYTES_MAX = 16 * MIB;

/** Room for the lengths of one page, DELTA_BINARY_PACKED: at most 33 bits each, a header, and 14 bytes a block. */
export const LENGTHS_BYTES_MAX = 8 * KIB;

assert(VALUE_BYTES_MAX + PAGE_VALUE_BYTES + LENGTHS_BYTES_MAX < PAGE_BYTES_MAX, "a page with the largest value is one that a reader takes");
assert(PAGE_ROWS_MAX * KEY_BYTES_MAX + LENGTHS_BYTES_MAX < PAGE_BYTES_MAX, "a page of the largest keys is one that a reader takes");
assert(GROUP_RAW_BYTES + VALUE_BYTES_MAX + PAGE_VALUE_BYTES + MIB < GROUP_BYTES_MAX, "the largest row group is one that a reader takes");

// Numbers of parquet.thrift.
export const PHYSICAL_INT64 = 2;
export const PHYSICAL_BYTE_ARRAY = 6;
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
const NUMBER = { physical: PHYSICAL_INT64, codec: CODEC_ZSTD, encoding: ENCODING_DELTA_BINARY_PACKED };

/** In the order of KEY, VALUE, INDEX, TIME. */
export const COLUMNS: readonly Column[] = [
  { name: "key", fieldId: 1, ...TEXT },
  { name: "value", fieldId: 2, ...TEXT },
  { name: "index", fieldId: 3, ...NUMBER },
  { name: "time", fieldId: 4, ...NUMBER },
];

/** How the columns of a row group lie one behind the other: the narrow ones together, so that one range has a record's pages of three. */
export const FILE_ORDER: readonly number[] = [KEY, INDEX, TIME, VALUE];

/** The pages of one column in one row group; they lie one behind the other. */
export interface ColumnChunk {
  /** From the start of the row group. */
  readonly offset: number;
  readonly byteLength: number;
  /** Page headers and payloads before compression. */
  readonly rawByteLength: number;
}

/** What the footer tells of a row group. Carried over to another object, `offset` and `carried` change. */
export interface RowGroup {
  /** Where its first byte lies in the object. */
  readonly offset: number;
  readonly byteLength: number;
  readonly rows: number;
  /** Of its bytes: SHA-256, 64 hex digits, and CRC-32, unsigned. */
  readonly sha256: string;
  readonly crc32: number;
  readonly firstKey: Buffer;
  readonly lastKey: Buffer;
  /** By KEY, VALUE, INDEX, TIME. */
  readonly columns: readonly ColumnChunk[];
  /** Generations that it was carried through since its bytes were last read back. */
  readonly carried: number;
}

/** What the page index tells of a row group, wherever it lies. */
export interface GroupPages {
  /** Rows of each page, the same for all columns. */
  readonly rows: readonly number[];
  /** First and last key of each page. */
  readonly firstKeys: readonly Buffer[];
  readonly lastKeys: readonly Buffer[];
  /** By KEY, VALUE, INDEX, TIME. */
  readonly columns: readonly ColumnPages[];
}

export interface ColumnPages {
  /** Bytes of each page, header and payload. */
  readonly bytes: readonly number[];
  /** CRC-32 of each page's payload, unsigned. */
  readonly checksums: readonly number[];
}
