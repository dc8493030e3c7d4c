// Snappy's block format (google/snappy, format_description.txt): the length, then literals and copies of what came before. Reads
// all of it. Writes literals and copies of up to 64 bytes out of the last 64 KiB, which any reader takes.

import { readLength, VARINT_BYTES_MAX, writeLength } from "./varint.ts";

/** A copy makes at most 64 bytes of 2. */
const RATIO_MAX = 32;
const FRAGMENT_BYTES = 64 * 1024;
const COPY_MIN = 4;
const COPY_MAX = 64;
/** Copies of fewer bytes than this, from nearer than that, take two bytes. */
const SHORT_END = 12;
const NEAR_END = 2048;
const HASH_BITS = 14;

/** The bytes behind `at`, unpacked. Throws RangeError for what is not snappy's, or has more than `lengthMax` bytes. */
export function unpackSnappy(bytes: Buffer, from: number, lengthMax: number): Buffer {
  const cursor = { at: from };
  const length = readLength(bytes, cursor, Math.min(lengthMax, (bytes.length - from) * RATIO_MAX), "the length of the unpacked bytes");
  const out = Buffer.allocUnsafeSlow(length);
  let at = cursor.at;
  let to = 0;
  while (at < bytes.length) {
    const tag = bytes[at++];
    const kind = tag & 3;
    if (kind === 0) {
      let count = tag >>> 2;
      if (count >= 60) {
        const lengthBytes = count - 59;
        if (at + lengthBytes > bytes.length) throw new RangeError("packed bytes are cut");
        count = bytes.readUIntLE(at, lengthBytes);
        at += lengthBytes;
      }
      count += 1;
      if (at + count > bytes.length || to + count > length) throw new RangeError("packed bytes are cut, or more than they say");
      bytes.copy(out, to, at, at + count);
      at += count;
      to += count;
      continue;
    }
    const offsetBytes = kind === 1 ? 1 : kind === 2 ? 2 : 4;
    if (at + offsetBytes > bytes.length) throw new RangeError("packed bytes are cut");
    const count = kind === 1 ? 4 + ((tag >>> 2) & 7) : 1 + (tag >>> 2);
    const distance = bytes.readUIntLE(at, offsetBytes) + (kind === 1 ? (tag >>> 5) << 8 : 0);
    at += offsetBytes;
    if (distance === 0 || distance > to || to + count > length) throw new RangeError("packed bytes copy from where nothing is, or are more than they say");
    if (distance >= count) out.copyWithin(to, to - distance, to - distance + count);
    else for (let i = 0; i < count; i++) out[to + i] = out[to + i - distance];
    to += count;
  }
  if (to !== length) throw new RangeError(`packed bytes are ${to} where they say ${length}`);
  return out;
}

export function snappyBytesMax(length: number): number {
  return VARINT_BYTES_MAX + length + Math.ceil(length / 6) + 32;
}

const table = new Int32Array(1 << HASH_BITS);

/** Writes `bytes` packed, within `snappyBytesMax`; returns where it ended. */
export function packSnappy(bytes: Buffer, out: Buffer, at: number): number {
  at = writeLength(bytes.length, out, at);
  for (let from = 0; from < bytes.length; from += FRAGMENT_BYTES) {
    at = packFragment(bytes, from, Math.min(bytes.length, from + FRAGMENT_BYTES), out, at);
  }
  return at;
}

/** Copies stay within the fragment, so that their distances fit 16 bits. */
function packFragment(bytes: Buffer, start: number, end: number, out: Buffer, at: number): number {
  table.fill(-1);
  let pending = start;
  let from = start;
  // The longer nothing is found, the wider the steps.
  let misses = 32;
  while (from + COPY_MIN <= end) {
    const four = bytes.readUInt32LE(from);
    const hash = hashOf(four);
    const earlier = table[hash];
    table[hash] = from;
    if (earlier < 0 || bytes.readUInt32LE(earlier) !== four) {
      from += misses++ >>> 5;
      continue;
    }
    at = writeLiteral(bytes, pending, from, out, at);
    let length = COPY_MIN;
    while (from + length < end && bytes[earlier + length] === bytes[from + length]) length++;
    at = writeCopies(from - earlier, length, out, at);
    from += length;
    pending = from;
    if (from + COPY_MIN <= end) table[hashOf(bytes.readUInt32LE(from - 1))] = from - 1;
    misses = 32;
  }
  return writeLiteral(bytes, pending, end, out, at);
}

function hashOf(four: number): number {
  return Math.imul(four, 0x1e35_a7bd) >>> (32 - HASH_BITS);
}

function writeLiteral(bytes: Buffer, from: number, to: number, out: Buffer, at: number): number {
  const length = to - from;
  if (length === 0) return at;
  if (length <= 60) out[at++] = (length - 1) << 2;
  else if (length <= 0x100) {
    out[at++] = 60 << 2;
    out[at++] = length - 1;
  } else {
    out[at++] = 61 << 2;
    at = out.writeUInt16LE(length - 1, at);
  }
  return at + bytes.copy(out, at, from, to);
}

function writeCopies(distance: number, length: number, out: Buffer, at: number): number {
  for (let left = length; left > 0; left -= COPY_MAX) {
    const count = Math.min(left, COPY_MAX);
    if (count >= COPY_MIN && count < SHORT_END && distance < NEAR_END) {
      out[at++] = ((distance >>> 8) << 5) | ((count - COPY_MIN) << 2) | 1;
      out[at++] = distance;
    } else {
      out[at++] = ((count - 1) << 2) | 2;
      at = out.writeUInt16LE(distance, at);
    }
  }
  return at;
}
