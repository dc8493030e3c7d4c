// Strings: each with its length before it, all together packed by snappy. They are bytes: InfluxDB does not ask for UTF-8.

import { BLOCK_STRINGS_BYTES_MAX } from "./limits.ts";
import { packSnappy, snappyBytesMax, unpackSnappy } from "./snappy.ts";
import { readLength, VARINT_BYTES_MAX, writeLength } from "./varint.ts";

const SNAPPY = 1;

/** String n lies in `bytes` from `starts[n]` up to `ends[n]`. */
export interface Strings {
  readonly bytes: Buffer;
  readonly starts: Uint32Array;
  readonly ends: Uint32Array;
}

/** Reads exactly `count` strings; throws RangeError for other bytes. */
export function decodeStrings(packed: Buffer, count: number): Strings {
  if (packed[0] >>> 4 !== SNAPPY) throw new RangeError("strings have an unknown encoding");
  const bytes = unpackSnappy(packed, 1, BLOCK_STRINGS_BYTES_MAX);
  const starts = new Uint32Array(count);
  const ends = new Uint32Array(count);
  const cursor = { at: 0 };
  for (let i = 0; i < count; i++) {
    if (cursor.at === bytes.length) throw new RangeError(`there are ${i} strings for ${count} times`);
    const length = readLength(bytes, cursor, BLOCK_STRINGS_BYTES_MAX, "the length of a string");
    starts[i] = cursor.at;
    cursor.at += length;
    if (cursor.at > bytes.length) throw new RangeError("the strings are cut");
    ends[i] = cursor.at;
  }
  if (cursor.at !== bytes.length) throw new RangeError(`there are more than ${count} strings for ${count} times`);
  return { bytes, starts, ends };
}

export function stringsBytesMax(strings: Strings): number {
  return 1 + snappyBytesMax(rawBytesMax(strings));
}

function rawBytesMax({ starts, ends }: Strings): number {
  let length = 0;
  for (let i = 0; i < starts.length; i++) length += VARINT_BYTES_MAX + ends[i] - starts[i];
  return length;
}

/** Writes the strings within `stringsBytesMax`; returns where it ended. */
export function encodeStrings(strings: Strings, out: Buffer, at: number): number {
  const { bytes, starts, ends } = strings;
  const raw = Buffer.allocUnsafeSlow(rawBytesMax(strings));
  let length = 0;
  for (let i = 0; i < starts.length; i++) {
    length = writeLength(ends[i] - starts[i], raw, length);
    length += bytes.copy(raw, length, starts[i], ends[i]);
  }
  out[at] = SNAPPY << 4;
  return packSnappy(raw.subarray(0, length), out, at + 1);
}
