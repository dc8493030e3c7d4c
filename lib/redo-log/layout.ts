// The redo file's numbers, as docs/format-redo.md has them, and the bounds that follow from the limits (I10).

import { assert } from "../model/assert.ts";
import { PRODUCER_BYTES_MAX, REDO_FILE_BATCHES_MAX, REDO_FILE_BYTES_MAX, REDO_FILE_MUTATIONS_MAX, SEQUENCE_BITS } from "../model/limits.ts";

export const REDO_MAGIC = Buffer.from("TIDEREDO", "latin1");
export const REDO_FORMAT_VERSION = 1;

/** Magic, format version and header length: what stands before the header. */
export const PREAMBLE_BYTES = 14;
export const DIGEST_BYTES = 32;
export const WRITE_ID_BYTES = 16;
export const INCARNATION_BYTES = 8;
export const SEQUENCE_BYTES = SEQUENCE_BITS / 8;
/** Header bytes before the table's name. */
export const FIXED_HEADER_BYTES = 132;
export const HEADER_BYTES_MAX = 1024 * 1024;

export const ENCODING_ZSTD = 1;
export const FLAG_PRODUCER = 1;

/** Kind (1), key length (at most 2) and value length (at most 4) of a mutation. */
const RECORD_OVERHEAD_BYTES_MAX = 7;
export const RAW_BODY_BYTES_MAX = REDO_FILE_BYTES_MAX + RECORD_OVERHEAD_BYTES_MAX * REDO_FILE_MUTATIONS_MAX;
export const COMPRESSED_BODY_BYTES_MAX = compressBound(RAW_BODY_BYTES_MAX);

const VARINT_BYTES_MAX = 8;
const BATCH_ENTRY_BYTES_MAX = 3 * VARINT_BYTES_MAX + 2 + PRODUCER_BYTES_MAX + SEQUENCE_BYTES;

/** No zstd frame of `rawBytes` is longer (zstd's own ZSTD_COMPRESSBOUND, and room for its frame's header). */
export function compressBound(rawBytes: number): number {
  return rawBytes + Math.ceil(rawBytes / 256) + 1024;
}

assert(FIXED_HEADER_BYTES + 256 + REDO_FILE_BATCHES_MAX * BATCH_ENTRY_BYTES_MAX <= HEADER_BYTES_MAX, "the longest batch table fits a header");
