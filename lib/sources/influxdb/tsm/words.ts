// 64-bit integers as pairs of 32-bit halves: a Uint32Array over the same memory as a BigInt64Array or a Float64Array.
// So the arithmetic is exact and wraps as Go's does, without a bigint per number.

const LITTLE_ENDIAN = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;
/** Where the halves of pair n lie: at 2n + LOW and 2n + HIGH. */
export const LOW = LITTLE_ENDIAN ? 0 : 1;
export const HIGH = LITTLE_ENDIAN ? 1 : 0;

export const TWO_32 = 4_294_967_296;
/** Numbers whose upper half is below this are safe integers. */
export const SAFE_UPPER = 0x20_0000;

export type Numbers64 = BigInt64Array | BigUint64Array | Float64Array;

export function pairsOf(numbers: Numbers64): Uint32Array {
  return new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length * 2);
}

export function writePair(pairs: Uint32Array, at: number, out: Buffer, offset: number): number {
  out.writeUInt32BE(pairs[2 * at + HIGH], offset);
  return out.writeUInt32BE(pairs[2 * at + LOW], offset + 4);
}

export function readPair(bytes: Buffer, offset: number, pairs: Uint32Array, at: number): void {
  if (offset + 8 > bytes.length) throw new RangeError("the numbers are cut");
  pairs[2 * at + HIGH] = bytes.readUInt32BE(offset);
  pairs[2 * at + LOW] = bytes.readUInt32BE(offset + 4);
}

/** Each number from `from` on becomes the sum of itself and all before it. */
export function addUp(pairs: Uint32Array, from: number, count: number): void {
  let low = from === 0 ? 0 : pairs[2 * from - 2 + LOW];
  let high = from === 0 ? 0 : pairs[2 * from - 2 + HIGH];
  for (let i = from; i < count; i++) {
    const sum = low + pairs[2 * i + LOW];
    high = (high + pairs[2 * i + HIGH] + (sum >= TWO_32 ? 1 : 0)) >>> 0;
    low = sum >>> 0;
    pairs[2 * i + LOW] = low;
    pairs[2 * i + HIGH] = high;
  }
}

/** Each number from `from` on becomes the same one. */
export function fillFrom(pairs: Uint32Array, from: number, value: bigint): void {
  const low = Number(value & 0xffff_ffffn);
  const high = Number(value >> 32n);
  for (let i = 2 * from; i < pairs.length; i += 2) {
    pairs[i + LOW] = low;
    pairs[i + HIGH] = high;
  }
}

/** The differences of neighbours, the first number before them as it is: what `addUp` undoes. */
export function differences(numbers: Numbers64): Uint32Array {
  const pairs = pairsOf(numbers);
  const deltas = new Uint32Array(pairs.length);
  let low = 0;
  let high = 0;
  for (let i = 0; i < pairs.length; i += 2) {
    const thisLow = pairs[i + LOW];
    const thisHigh = pairs[i + HIGH];
    deltas[i + LOW] = thisLow - low;
    deltas[i + HIGH] = thisHigh - high - (thisLow < low ? 1 : 0);
    low = thisLow;
    high = thisHigh;
  }
  return deltas;
}

/** Whether the numbers from the second on are all the same. */
export function areEqual(pairs: Uint32Array): boolean {
  for (let i = 4; i < pairs.length; i++) if (pairs[i] !== pairs[i - 2]) return false;
  return true;
}

export function pairAt(pairs: Uint32Array, at: number): bigint {
  return (BigInt(pairs[2 * at + HIGH]) << 32n) | BigInt(pairs[2 * at + LOW]);
}

export function setPair(pairs: Uint32Array, at: number, value: bigint): void {
  pairs[2 * at + HIGH] = Number((value >> 32n) & 0xffff_ffffn);
  pairs[2 * at + LOW] = Number(value & 0xffff_ffffn);
}
