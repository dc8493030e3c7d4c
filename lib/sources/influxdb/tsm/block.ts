// A block: up to some thousand points of one key, in ascending order of time. Guarantee: what is decoded and encoded again is the
// same points, to the bit; what does not hold as many values as times is a RangeError.

import { booleansBytesMax, decodeBooleans, encodeBooleans } from "./booleans.ts";
import { decodeFloats, encodeFloats, floatsBytesMax } from "./floats.ts";
import { decodeIntegers, encodeIntegers, integersBytesMax } from "./integers.ts";
import { BOOLEAN, FLOAT, INTEGER, STRING, UNSIGNED } from "./layout.ts";
import { decodeStrings, encodeStrings, type Strings, stringsBytesMax } from "./strings.ts";
import { decodeTimes, encodeTimes, timesBytesMax } from "./times.ts";
import { readLength, VARINT_BYTES_MAX, writeLength } from "./varint.ts";

/** The values as InfluxDB has them; a boolean is 0 or 1. */
export type Values =
  | { readonly type: typeof FLOAT; readonly values: Float64Array }
  | { readonly type: typeof INTEGER; readonly values: BigInt64Array }
  | { readonly type: typeof UNSIGNED; readonly values: BigUint64Array }
  | { readonly type: typeof BOOLEAN; readonly values: Uint8Array }
  | { readonly type: typeof STRING; readonly values: Strings };

/** Nanoseconds since 1970, and as many values. */
export type Points = Values & { readonly times: BigInt64Array };

/** The points of a block's bytes without its CRC; throws RangeError for other bytes. */
export function decodeBlock(block: Buffer): Points {
  const cursor = { at: 1 };
  const timesLength = readLength(block, cursor, block.length, "the length of the times");
  const end = cursor.at + timesLength;
  if (end > block.length) throw new RangeError("the times are cut");
  const times = decodeTimes(block.subarray(cursor.at, end));
  return { times, ...decodeValues(block[0], block.subarray(end), times.length) };
}

function decodeValues(type: number, bytes: Buffer, count: number): Values {
  if (type === FLOAT) return filled({ type, values: new Float64Array(count) }, ({ values }) => decodeFloats(bytes, values));
  if (type === INTEGER) return filled({ type, values: new BigInt64Array(count) }, ({ values }) => decodeIntegers(bytes, values));
  if (type === UNSIGNED) return filled({ type, values: new BigUint64Array(count) }, ({ values }) => decodeIntegers(bytes, values));
  if (type === BOOLEAN) return filled({ type, values: new Uint8Array(count) }, ({ values }) => decodeBooleans(bytes, values));
  if (type === STRING) return { type, values: decodeStrings(bytes, count) };
  throw new RangeError(`a block has the unknown type ${type}`);
}

function filled<T>(values: T, fill: (values: T) => void): T {
  fill(values);
  return values;
}

/** The bytes of a block without its CRC. There is at least one point. */
export function encodeBlock(points: Points): Buffer {
  const { times } = points;
  const timesOut = Buffer.allocUnsafe(timesBytesMax(times.length));
  const timesLength = encodeTimes(times, timesOut, 0);
  const out = Buffer.allocUnsafe(1 + VARINT_BYTES_MAX + timesLength + valuesBytesMax(points));
  out[0] = points.type;
  let at = writeLength(timesLength, out, 1);
  at += timesOut.copy(out, at, 0, timesLength);
  return out.subarray(0, encodeValues(points, out, at));
}

function valuesBytesMax(points: Points): number {
  const count = points.times.length;
  switch (points.type) {
    case FLOAT:
      return floatsBytesMax(count);
    case INTEGER:
    case UNSIGNED:
      return integersBytesMax(count);
    case BOOLEAN:
      return booleansBytesMax(count);
    case STRING:
      return stringsBytesMax(points.values);
  }
}

function encodeValues(points: Points, out: Buffer, at: number): number {
  switch (points.type) {
    case FLOAT:
      return encodeFloats(points.values, out, at);
    case INTEGER:
    case UNSIGNED:
      return encodeIntegers(points.values, out, at);
    case BOOLEAN:
      return encodeBooleans(points.values, out, at);
    case STRING:
      return encodeStrings(points.values, out, at);
  }
}

/** The points of some runs (from, end, from, end …, ascending) in the memory of all, which are lost. */
export function onlyRuns(points: Points, runs: readonly number[]): Points {
  const times = packRuns(points.times, runs);
  switch (points.type) {
    case FLOAT:
      return { type: points.type, times, values: packRuns(points.values, runs) };
    case INTEGER:
      return { type: points.type, times, values: packRuns(points.values, runs) };
    case UNSIGNED:
      return { type: points.type, times, values: packRuns(points.values, runs) };
    case BOOLEAN:
      return { type: points.type, times, values: packRuns(points.values, runs) };
    case STRING: {
      const { bytes, starts, ends } = points.values;
      return { type: points.type, times, values: { bytes, starts: packRuns(starts, runs), ends: packRuns(ends, runs) } };
    }
  }
}

interface Packable<T> {
  copyWithin(to: number, from: number, end: number): unknown;
  subarray(from: number, end: number): T;
}

function packRuns<T extends Packable<T>>(numbers: T, runs: readonly number[]): T {
  let to = 0;
  for (let i = 0; i < runs.length; i += 2) {
    numbers.copyWithin(to, runs[i], runs[i + 1]);
    to += runs[i + 1] - runs[i];
  }
  return numbers.subarray(0, to);
}
