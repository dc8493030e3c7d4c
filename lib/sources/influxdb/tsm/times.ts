// The times of a block, in nanoseconds: differences of neighbours, either 8 bytes each (raw), or one difference and how often
// (run), or packed by simple-8b. The latter two are divided by a power of ten, whose exponent the first byte tells, and which
// lets times of seconds or minutes take few bits. A time is a signed number of 64 bits; sums wrap as they do in InfluxDB.

import { BLOCK_POINTS_MAX } from "./limits.ts";
import { countPacked, isTooWide, pack, packedBytesMax, unpack } from "./simple8b.ts";
import { readLength, readWide, VARINT_BYTES_MAX, writeLength, writeWide } from "./varint.ts";
import { addUp, areEqual, differences, fillFrom, HIGH, LOW, pairAt, pairsOf, readPair, SAFE_UPPER, setPair, TWO_32, writePair } from "./words.ts";

const RAW = 0;
const PACKED = 1;
const RUN = 2;
const FIRST_END = 9;
/** The largest power of ten that InfluxDB divides by. */
const EXPONENT_MAX = 12;
const POWERS = Array.from({ length: EXPONENT_MAX + 1 }, (_, exponent) => 10 ** exponent);

export function timesBytesMax(count: number): number {
  return FIRST_END + packedBytesMax(count) + 2 * VARINT_BYTES_MAX;
}

/** Throws RangeError for bytes that are no times, or those of more points than a block may have. */
export function decodeTimes(bytes: Buffer): BigInt64Array {
  const encoding = bytes[0] >>> 4;
  const factor = 10 ** (bytes[0] & 0x0f);
  if (encoding === RAW) return decodeRaw(bytes);
  if (encoding === PACKED) return decodePacked(bytes, factor);
  if (encoding === RUN) return decodeRun(bytes, factor);
  throw new RangeError(`times have the unknown encoding ${encoding}`);
}

function decodeRaw(bytes: Buffer): BigInt64Array {
  if (bytes.length % 8 !== 1) throw new RangeError("the times are cut");
  const { times, pairs } = room((bytes.length - 1) / 8);
  for (let i = 0; i < times.length; i++) readPair(bytes, 1 + 8 * i, pairs, i);
  addUp(pairs, 0, times.length);
  return times;
}

function decodePacked(bytes: Buffer, factor: number): BigInt64Array {
  if (bytes.length < FIRST_END) throw new RangeError("the times are cut");
  const { times, pairs } = room(1 + countPacked(bytes, FIRST_END));
  readPair(bytes, 1, pairs, 0);
  unpack(bytes, FIRST_END, pairs, 1);
  if (factor > 1) multiply(pairs, factor);
  addUp(pairs, 1, times.length);
  return times;
}

function decodeRun(bytes: Buffer, factor: number): BigInt64Array {
  if (bytes.length < FIRST_END) throw new RangeError("the times are cut");
  const cursor = { at: FIRST_END };
  const delta = readWide(bytes, cursor, "a difference of times");
  const count = readLength(bytes, cursor, BLOCK_POINTS_MAX, "a count of times");
  if (cursor.at !== bytes.length) throw new RangeError("bytes stand behind the times");
  const { times, pairs } = room(count);
  readPair(bytes, 1, pairs, 0);
  fillFrom(pairs, 1, BigInt.asUintN(64, delta * BigInt(factor)));
  addUp(pairs, 1, count);
  return times;
}

function room(count: number): { readonly times: BigInt64Array; readonly pairs: Uint32Array } {
  if (count === 0) throw new RangeError("there are no times");
  if (count > BLOCK_POINTS_MAX) throw new RangeError(`there are ${count} times, above ${BLOCK_POINTS_MAX}`);
  const times = new BigInt64Array(count);
  return { times, pairs: pairsOf(times) };
}

/** All but the first. Doubles are exact for what usual times have; bigints do the rest. */
function multiply(pairs: Uint32Array, factor: number): void {
  for (let i = 1; 2 * i < pairs.length; i++) {
    const product = (pairs[2 * i + HIGH] * TWO_32 + pairs[2 * i + LOW]) * factor;
    if (product < SAFE_UPPER * TWO_32) {
      pairs[2 * i + LOW] = product;
      pairs[2 * i + HIGH] = product / TWO_32;
    } else setPair(pairs, i, BigInt.asUintN(64, pairAt(pairs, i) * BigInt(factor)));
  }
}

/** Writes the times (at least one) as InfluxDB would, within `timesBytesMax`; returns where it ended. */
export function encodeTimes(times: BigInt64Array, out: Buffer, at: number): number {
  const deltas = differences(times);
  if (times.length > 1 && areEqual(deltas)) return encodeRun(deltas, out, at);
  if (isTooWide(deltas, 1)) return encodeRaw(deltas, out, at);
  const exponent = exponentOf(deltas);
  if (exponent > 0) divide(deltas, POWERS[exponent]);
  out[at] = (PACKED << 4) | exponent;
  return pack(deltas, 1, times.length, out, writePair(deltas, 0, out, at + 1));
}

function encodeRun(deltas: Uint32Array, out: Buffer, at: number): number {
  const exponent = exponentOf(deltas.subarray(0, 4));
  out[at] = (RUN << 4) | exponent;
  at = writePair(deltas, 0, out, at + 1);
  at = writeWide(pairAt(deltas, 1) / 10n ** BigInt(exponent), out, at);
  return writeLength(deltas.length / 2, out, at);
}

function encodeRaw(deltas: Uint32Array, out: Buffer, at: number): number {
  out[at++] = RAW << 4;
  for (let i = 0; 2 * i < deltas.length; i++) at = writePair(deltas, i, out, at);
  return at;
}

/** Of the largest power of ten that divides all differences. */
function exponentOf(deltas: Uint32Array): number {
  let exponent = EXPONENT_MAX;
  for (let i = 1; 2 * i < deltas.length && exponent > 0; i++) {
    while (exponent > 0 && !divides(deltas, i, POWERS[exponent])) exponent--;
  }
  return exponent;
}

function divides(deltas: Uint32Array, at: number, divisor: number): boolean {
  const high = deltas[2 * at + HIGH];
  if (high < SAFE_UPPER) return (high * TWO_32 + deltas[2 * at + LOW]) % divisor === 0;
  return pairAt(deltas, at) % BigInt(divisor) === 0n;
}

/** All but the first; each is a multiple of `divisor`. */
function divide(deltas: Uint32Array, divisor: number): void {
  for (let i = 1; 2 * i < deltas.length; i++) {
    const high = deltas[2 * i + HIGH];
    if (high < SAFE_UPPER) {
      const quotient = (high * TWO_32 + deltas[2 * i + LOW]) / divisor;
      deltas[2 * i + LOW] = quotient;
      deltas[2 * i + HIGH] = quotient / TWO_32;
    } else setPair(deltas, i, pairAt(deltas, i) / BigInt(divisor));
  }
}
