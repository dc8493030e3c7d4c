// One data page: its header and its payload as stored. A header has one right form (docs/format-snapshot.md), so a
// reader makes it again from what it should say and compares: no byte of a page escapes (I8).

import { constants, crc32, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { CODEC_ZSTD, type Column, ENCODING_RLE, PAGE_BYTES_MAX } from "./layout.ts";
import { readThrift, thriftWriter } from "./thrift.ts";

const PAGE_TYPE_DATA = 0;
const HEADER_BYTES_MAX = 64;
/** Room behind the expected bytes, so that one call of the decompressor sees the end of its frame. */
const DECOMPRESS_SLACK_BYTES = 64;
const LEVEL_1 = { [constants.ZSTD_c_compressionLevel]: 1 };

export interface Page {
  readonly header: Buffer;
  readonly payload: Buffer;
  /** CRC-32 of the payload, unsigned. */
  readonly checksum: number;
  readonly rawByteLength: number;
}

/** `raw` is copied or compressed: it can be used again. */
export function makePage(column: Column, rows: number, raw: Buffer): Page {
  const payload = column.codec === CODEC_ZSTD ? compress(raw) : Buffer.from(raw);
  const checksum = crc32(payload);
  const header = pageHeader(column, rows, raw.length, payload.length, checksum);
  return { header, payload, checksum, rawByteLength: header.length + raw.length };
}

/**
 * The raw bytes of the page that `stored` holds from its first byte to its last. Throws RangeError where it is not the
 * page that it must be; `checksum` is the one that the tail vouches for.
 */
export function openPage(column: Column, rows: number, checksum: number, stored: Buffer): Buffer {
  const { struct, end } = readThrift(stored.subarray(0, HEADER_BYTES_MAX));
  const rawLength = struct.integer(2);
  if (rawLength < 0 || rawLength > PAGE_BYTES_MAX) throw new RangeError(`a page of ${rawLength} bytes is larger than any page`);
  const payload = stored.subarray(end);
  const expected = pageHeader(column, rows, rawLength, payload.length, checksum);
  if (!expected.equals(stored.subarray(0, end))) throw new RangeError("a page header differs from what the tail says of the page");
  if (crc32(payload) !== checksum) throw new RangeError("a page fails its CRC-32");
  const raw = column.codec === CODEC_ZSTD ? decompress(payload, rawLength) : payload;
  if (raw.length !== rawLength) throw new RangeError(`a page has ${raw.length} bytes where its header says ${rawLength}`);
  return raw;
}

function pageHeader(column: Column, rows: number, rawLength: number, storedLength: number, checksum: number): Buffer {
  const header = thriftWriter(HEADER_BYTES_MAX);
  header.i32(1, PAGE_TYPE_DATA);
  header.i32(2, rawLength);
  header.i32(3, storedLength);
  header.i32(4, checksum | 0);
  header.struct(5, () => {
    header.i32(1, rows);
    header.i32(2, column.encoding);
    header.i32(3, ENCODING_RLE);
    header.i32(4, ENCODING_RLE);
  });
  return header.end();
}

/** One frame in one call: an output of this size is never outgrown (ZSTD_COMPRESSBOUND), so zstd works without buffers of its own. */
export function compress(raw: Buffer): Buffer {
  return zstdCompressSync(raw, { params: LEVEL_1, chunkSize: raw.length + (raw.length >>> 8) + 128 });
}

/** Throws RangeError for what is not zstd, or has more than `rawLength` bytes. */
export function decompress(stored: Buffer, rawLength: number): Buffer {
  try {
    return zstdDecompressSync(stored, { maxOutputLength: Math.max(rawLength, 1), chunkSize: rawLength + DECOMPRESS_SLACK_BYTES });
  } catch (cause) {
    throw new RangeError("a zstd frame is damaged", { cause });
  }
}
