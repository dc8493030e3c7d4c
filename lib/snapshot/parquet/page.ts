// One data page: its header and its payload as stored. A header has one right form (docs/format-snapshot.md), so a
// reader makes it again from what it should say and compares: no byte of a page escapes (I8).

// zstd leaves the main thread for pages that are worth it, so that a second core, where there is one, does that part of the
// work. Smaller ones cost more to hand over than to work on.

import { constants, crc32, zstdCompress, zstdCompressSync, zstdDecompress, zstdDecompressSync } from "node:zlib";
import { type Column, ENCODING_RLE, PAGE_BYTES_MAX } from "./layout.ts";
import { readThrift, thriftWriter } from "./thrift.ts";

const PAGE_TYPE_DATA = 0;
const HEADER_BYTES_MAX = 64;
/** Room behind the expected bytes, so that one call of the decompressor sees the end of its frame. */
const DECOMPRESS_SLACK_BYTES = 64;
/** Smaller outputs would lie in Node's pool together with others, and be freed by the garbage collector alone. */
const OWN_BYTES_MIN = Buffer.poolSize >>> 1;
/** Outputs up to this may lie there: they are not worth memory of their own. */
const POOLED_BYTES_MAX = 2 * 1024;
/** A frame of unknown length is taken in pieces of so many times its stored bytes, and no more than these. */
const UNKNOWN_GROWTH = 8;
const UNKNOWN_CHUNK_BYTES = 32 * 1024;
const LEVEL_1 = { [constants.ZSTD_c_compressionLevel]: 1 };
const LEVEL_1_CHECKED = { ...LEVEL_1, [constants.ZSTD_c_checksumFlag]: 1 };
/** Raw bytes from which on a page leaves the main thread. A usual one is not worth it: bench/README.md has what was measured. */
const HAND_OVER_BYTES = 1024 * 1024;

export interface Page {
  readonly header: Buffer;
  readonly payload: Buffer;
  /** CRC-32 of the payload, unsigned. */
  readonly checksum: number;
  readonly rawByteLength: number;
}

/** A page, or the promise of one that is compressed elsewhere: then `raw` must stay as it is until that is kept. */
export function makePage(column: Column, rows: number, raw: Buffer): Page | Promise<Page> {
  if (raw.length < HAND_OVER_BYTES) return pageOf(column, rows, raw.length, compress(raw));
  return compressElsewhere(raw).then((payload) => pageOf(column, rows, raw.length, payload));
}

function pageOf(column: Column, rows: number, rawLength: number, payload: Buffer): Page {
  const checksum = crc32(payload);
  const header = Buffer.from(pageHeader(column, rows, rawLength, payload.length, checksum));
  return { header, payload, checksum, rawByteLength: header.length + rawLength };
}

/**
 * The raw bytes of the page that `stored` holds from its first byte to its last. Throws RangeError where it is not the
 * page that it must be; `checksum` is the one that the footer vouches for.
 */
export function openPage(column: Column, rows: number, checksum: number, stored: Buffer): Buffer {
  const { payload, rawLength } = checkPage(column, rows, checksum, stored);
  return ofLength(decompress(payload, rawLength), rawLength);
}

/** The same, or the promise of it where it is decompressed elsewhere. */
export function openPageElsewhere(column: Column, rows: number, checksum: number, stored: Buffer): Buffer | Promise<Buffer> {
  const { payload, rawLength } = checkPage(column, rows, checksum, stored);
  if (rawLength < HAND_OVER_BYTES) return ofLength(decompress(payload, rawLength), rawLength);
  return decompressElsewhere(payload, rawLength).then((raw) => ofLength(raw, rawLength));
}

function checkPage(column: Column, rows: number, checksum: number, stored: Buffer): { readonly payload: Buffer; readonly rawLength: number } {
  const { struct, end } = readThrift(stored.subarray(0, HEADER_BYTES_MAX));
  const rawLength = struct.integer(2);
  if (rawLength < 0 || rawLength > PAGE_BYTES_MAX) throw new RangeError(`a page of ${rawLength} bytes is larger than any page`);
  const payload = stored.subarray(end);
  const expected = pageHeader(column, rows, rawLength, payload.length, checksum);
  if (!expected.equals(stored.subarray(0, end))) throw new RangeError("a page header differs from what the footer says of the page");
  if (crc32(payload) !== checksum) throw new RangeError("a page fails its CRC-32");
  return { payload, rawLength };
}

function ofLength(raw: Buffer, rawLength: number): Buffer {
  if (raw.length !== rawLength) throw new RangeError(`a page has ${raw.length} bytes where its header says ${rawLength}`);
  return raw;
}

/** One for all: a header is made for each page that is written or read. */
const headerWriter = thriftWriter(HEADER_BYTES_MAX);

/** The bytes stand until the next call. */
function pageHeader(column: Column, rows: number, rawLength: number, storedLength: number, checksum: number): Buffer {
  headerWriter.i32(1, PAGE_TYPE_DATA);
  headerWriter.i32(2, rawLength);
  headerWriter.i32(3, storedLength);
  headerWriter.i32(4, checksum | 0);
  headerWriter.struct(5, () => {
    headerWriter.i32(1, rows);
    headerWriter.i32(2, column.encoding);
    headerWriter.i32(3, ENCODING_RLE);
    headerWriter.i32(4, ENCODING_RLE);
  });
  return headerWriter.end();
}

/** One frame in one call: an output of this size is never outgrown (ZSTD_COMPRESSBOUND), so zstd works without buffers of its own. */
export function compress(raw: Buffer): Buffer {
  return zstdCompressSync(raw, compression(raw));
}

function compressElsewhere(raw: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    // A copy of its own size, as the result is a view of a buffer of the size of `raw`.
    zstdCompress(raw, compression(raw), (error, frame) => (error === null ? resolve(Buffer.from(frame)) : reject(error)));
  });
}

/** The same in a frame that has a checksum of its content, for what no other hash covers. */
export function compressChecked(raw: Buffer): Buffer {
  return zstdCompressSync(raw, { ...compression(raw), params: LEVEL_1_CHECKED });
}

function compression(raw: Buffer): { readonly params: typeof LEVEL_1; readonly chunkSize: number } {
  return { params: LEVEL_1, chunkSize: outputBytes(raw.length + (raw.length >>> 8) + 128) };
}

/** Throws RangeError for what is not zstd, or has more than `rawLength` bytes. */
export function decompress(stored: Buffer, rawLength: number): Buffer {
  return inflated(stored, decompression(rawLength));
}

/** The same for a frame of which is known only that it has no more than `rawMax` bytes: takes memory as it has them. */
export function decompressUpTo(stored: Buffer, rawMax: number): Buffer {
  return inflated(stored, {
    maxOutputLength: rawMax,
    chunkSize: Math.max(constants.Z_MIN_CHUNK, Math.min(rawMax, UNKNOWN_CHUNK_BYTES, stored.length * UNKNOWN_GROWTH)),
  });
}

function inflated(stored: Buffer, options: Decompression): Buffer {
  try {
    return zstdDecompressSync(stored, options);
  } catch (cause) {
    throw damagedFrame(cause);
  }
}

function decompressElsewhere(stored: Buffer, rawLength: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    zstdDecompress(stored, decompression(rawLength), (error, raw) => (error === null ? resolve(raw) : reject(damagedFrame(error))));
  });
}

interface Decompression {
  readonly maxOutputLength: number;
  readonly chunkSize: number;
}

function decompression(rawLength: number): Decompression {
  return { maxOutputLength: Math.max(rawLength, 1), chunkSize: outputBytes(rawLength + DECOMPRESS_SLACK_BYTES) };
}

/** Room for an output of so many bytes. */
function outputBytes(bytes: number): number {
  return bytes <= POOLED_BYTES_MAX ? bytes : Math.max(OWN_BYTES_MIN, bytes);
}

function damagedFrame(cause: unknown): RangeError {
  return new RangeError("a zstd frame is damaged", { cause });
}
