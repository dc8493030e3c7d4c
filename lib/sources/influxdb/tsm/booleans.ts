// Booleans: their count, then a bit each, the first in the highest bit of its byte.

import { readLength, VARINT_BYTES_MAX, writeLength } from "./varint.ts";

const BITS = 1;

export function booleansBytesMax(count: number): number {
  return 1 + VARINT_BYTES_MAX + Math.ceil(count / 8);
}

/** Reads exactly as many booleans (0 or 1) as `into` takes; throws RangeError for other bytes. */
export function decodeBooleans(bytes: Buffer, into: Uint8Array): void {
  if (bytes[0] >>> 4 !== BITS) throw new RangeError("booleans have an unknown encoding");
  const cursor = { at: 1 };
  const count = readLength(bytes, cursor, Number.MAX_SAFE_INTEGER, "a count of booleans");
  if (count !== into.length) throw new RangeError(`there are ${count} booleans for ${into.length} times`);
  if (bytes.length - cursor.at !== Math.ceil(count / 8)) throw new RangeError("the booleans are cut, or bytes stand behind them");
  for (let i = 0; i < count; i++) into[i] = (bytes[cursor.at + (i >>> 3)] >>> (7 - (i & 7))) & 1;
}

/** Writes the booleans within `booleansBytesMax`; returns where it ended. */
export function encodeBooleans(booleans: Uint8Array, out: Buffer, at: number): number {
  out[at] = BITS << 4;
  at = writeLength(booleans.length, out, at + 1);
  const end = at + Math.ceil(booleans.length / 8);
  out.fill(0, at, end);
  for (let i = 0; i < booleans.length; i++) out[at + (i >>> 3)] |= booleans[i] << (7 - (i & 7));
  return end;
}
