// Integers of 64 bits, signed or not: differences of neighbours (which wrap), zigzagged, so that small ones of either sign are
// small; either 8 bytes each (raw), or one difference and how often (run), or packed by simple-8b.

import { countPacked, isTooWide, pack, packedBytesMax, unpack } from "./simple8b.ts";
import { readLength, readWide, VARINT_BYTES_MAX, writeLength, writeWide } from "./varint.ts";
import { addUp, areEqual, differences, fillFrom, HIGH, LOW, pairAt, pairsOf, readPair, writePair } from "./words.ts";

const RAW = 0;
const PACKED = 1;
const RUN = 2;
const FIRST_END = 9;

export function integersBytesMax(count: number): number {
  return FIRST_END + packedBytesMax(count) + 2 * VARINT_BYTES_MAX;
}

/** Reads exactly as many integers as `into` takes; throws RangeError for other bytes. */
export function decodeIntegers(bytes: Buffer, into: BigInt64Array | BigUint64Array): void {
  const encoding = bytes[0] >>> 4;
  const pairs = pairsOf(into);
  if (encoding === RAW) readRaw(bytes, pairs);
  else if (encoding === PACKED) readPacked(bytes, pairs);
  else if (encoding === RUN) readRun(bytes, pairs);
  else throw new RangeError(`integers have the unknown encoding ${encoding}`);
  unfold(pairs);
  addUp(pairs, 0, into.length);
}

function readRaw(bytes: Buffer, pairs: Uint32Array): void {
  expectCount((bytes.length - 1) / 8, pairs);
  for (let i = 0; 2 * i < pairs.length; i++) readPair(bytes, 1 + 8 * i, pairs, i);
}

function readPacked(bytes: Buffer, pairs: Uint32Array): void {
  if (bytes.length < FIRST_END) throw new RangeError("the integers are cut");
  expectCount(1 + countPacked(bytes, FIRST_END), pairs);
  readPair(bytes, 1, pairs, 0);
  unpack(bytes, FIRST_END, pairs, 1);
}

function readRun(bytes: Buffer, pairs: Uint32Array): void {
  if (bytes.length < FIRST_END) throw new RangeError("the integers are cut");
  const cursor = { at: FIRST_END };
  const delta = readWide(bytes, cursor, "a difference of integers");
  expectCount(1 + readLength(bytes, cursor, Number.MAX_SAFE_INTEGER, "a count of integers"), pairs);
  if (cursor.at !== bytes.length) throw new RangeError("bytes stand behind the integers");
  readPair(bytes, 1, pairs, 0);
  fillFrom(pairs, 1, delta);
}

function expectCount(count: number, pairs: Uint32Array): void {
  if (2 * count !== pairs.length) throw new RangeError(`there are ${count} integers for ${pairs.length / 2} times`);
}

/** Zigzag, undone. */
function unfold(pairs: Uint32Array): void {
  for (let i = 0; i < pairs.length; i += 2) {
    const low = pairs[i + LOW];
    const high = pairs[i + HIGH];
    const sign = -(low & 1);
    pairs[i + LOW] = ((low >>> 1) | (high << 31)) ^ sign;
    pairs[i + HIGH] = (high >>> 1) ^ sign;
  }
}

function fold(pairs: Uint32Array): void {
  for (let i = 0; i < pairs.length; i += 2) {
    const low = pairs[i + LOW];
    const high = pairs[i + HIGH];
    const sign = (high | 0) >> 31;
    pairs[i + LOW] = (low << 1) ^ sign;
    pairs[i + HIGH] = ((high << 1) | (low >>> 31)) ^ sign;
  }
}

/** Writes the integers (at least one) as InfluxDB would, within `integersBytesMax`; returns where it ended. */
export function encodeIntegers(integers: BigInt64Array | BigUint64Array, out: Buffer, at: number): number {
  const deltas = differences(integers);
  fold(deltas);
  if (integers.length > 2 && areEqual(deltas)) {
    out[at] = RUN << 4;
    at = writePair(deltas, 0, out, at + 1);
    at = writeWide(pairAt(deltas, 1), out, at);
    return writeLength(integers.length - 1, out, at);
  }
  // The first stands unpacked in every encoding.
  if (isTooWide(deltas, 1)) {
    out[at++] = RAW << 4;
    for (let i = 0; i < integers.length; i++) at = writePair(deltas, i, out, at);
    return at;
  }
  out[at] = PACKED << 4;
  return pack(deltas, 1, integers.length, out, writePair(deltas, 0, out, at + 1));
}
