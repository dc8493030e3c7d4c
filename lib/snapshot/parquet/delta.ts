// DELTA_BINARY_PACKED for 64-bit integers, on two 32-bit halves: exact over the whole range, without bigint.
// Hot: nothing is allocated per value or page. Measured by bench/parquet.ts.
//
// The model's numbers are safe integers, not negative. A column stores them times `scale` (1, or 1,000 for a time in
// microseconds), which fits 64 bits for every safe integer. Encode and decode agree on the one layout that the
// format allows: blocks of 128 in 4 miniblocks, and no bytes for miniblocks that hold no value.

const BLOCK_VALUES = 128;
const MINIBLOCKS = 4;
const MINIBLOCK_VALUES = BLOCK_VALUES / MINIBLOCKS;
const TWO_32 = 4_294_967_296;
/** Safe integers have 53 bits: 21 of them in the upper half. */
const SAFE_UPPER = 0x20_0000;

export type Scale = 1 | 1_000;

/** Twice such a number, and the difference of any two, is exact as a double. */
const NARROW_MAX = 2 ** 52;

// Scratch of one call; the codec is synchronous. The block at hand, as two halves, less its smallest delta.
const lower = new Uint32Array(BLOCK_VALUES);
const upper = new Int32Array(BLOCK_VALUES);
const deltas = new Float64Array(BLOCK_VALUES);
const words = new Uint32Array(64 + 2);
/** The smallest delta of the block at hand, or what the last readVarint or readZigzag read. */
let pairLow = 0;
let pairHigh = 0;

/** Most bytes that `encodeDelta` writes for `count` values. */
export function deltaBytesMax(count: number): number {
  return 32 + Math.ceil(count / BLOCK_VALUES) * (10 + MINIBLOCKS + BLOCK_VALUES * 8);
}

/** Writes `count` (at least 1) of `values` to `out` at `at`; returns where it ended. */
export function encodeDelta(values: Float64Array, count: number, scale: Scale, out: Buffer, at: number): number {
  at = writeVarint(out, at, 0, BLOCK_VALUES);
  at = writeVarint(out, at, 0, MINIBLOCKS);
  at = writeVarint(out, at, 0, count);
  at = writeZigzag(out, at, highHalf(values[0], scale), lowHalf(values[0], scale));
  const wide = isWide(values, count, scale);
  for (let from = 1; from < count; from += BLOCK_VALUES) {
    const inBlock = Math.min(BLOCK_VALUES, count - from);
    const allEqual = wide ? wideDeltas(values, from, inBlock, scale) : narrowDeltas(values, from, inBlock, scale);
    at = writeZigzag(out, at, pairHigh, pairLow);
    at = allEqual ? writeZeros(out, at) : writeBlock(inBlock, out, at);
  }
  return at;
}

function isWide(values: Float64Array, count: number, scale: Scale): boolean {
  for (let i = 0; i < count; i++) if (values[i] * scale > NARROW_MAX) return true;
  return false;
}

/** Takes the block apart by doubles, which are exact here. Returns whether all deltas are the same. */
function narrowDeltas(values: Float64Array, from: number, inBlock: number, scale: Scale): boolean {
  let previous = values[from - 1] * scale;
  let min = Infinity;
  let max = -Infinity;
  for (let i = 0; i < inBlock; i++) {
    const value = values[from + i] * scale;
    const delta = value - previous;
    deltas[i] = delta;
    if (delta < min) min = delta;
    if (delta > max) max = delta;
    previous = value;
  }
  pairLow = min >>> 0;
  pairHigh = Math.floor(min / TWO_32);
  if (min === max) return true;
  if (max - min < TWO_32) {
    for (let i = 0; i < inBlock; i++) lower[i] = deltas[i] - min;
    upper.fill(0, 0, inBlock);
  } else {
    for (let i = 0; i < inBlock; i++) {
      const above = deltas[i] - min;
      lower[i] = above;
      upper[i] = above / TWO_32;
    }
  }
  return false;
}

/** The same by halves, for any 64-bit numbers. */
function wideDeltas(values: Float64Array, from: number, inBlock: number, scale: Scale): boolean {
  let previousLow = lowHalf(values[from - 1], scale);
  let previousHigh = highHalf(values[from - 1], scale);
  let minLow = 0xffff_ffff;
  let minHigh = 0x7fff_ffff;
  for (let i = 0; i < inBlock; i++) {
    const low = lowHalf(values[from + i], scale);
    const high = highHalf(values[from + i], scale);
    const deltaLow = (low - previousLow) >>> 0;
    const deltaHigh = (high - previousHigh - (low < previousLow ? 1 : 0)) | 0;
    lower[i] = deltaLow;
    upper[i] = deltaHigh;
    if (deltaHigh < minHigh || (deltaHigh === minHigh && deltaLow < minLow)) {
      minHigh = deltaHigh;
      minLow = deltaLow;
    }
    previousLow = low;
    previousHigh = high;
  }
  for (let i = 0; i < inBlock; i++) {
    const borrow = lower[i] < minLow ? 1 : 0;
    lower[i] -= minLow;
    upper[i] = upper[i] - minHigh - borrow;
  }
  pairLow = minLow;
  pairHigh = minHigh;
  return false;
}

function writeZeros(out: Buffer, at: number): number {
  for (let mini = 0; mini < MINIBLOCKS; mini++) out[at++] = 0;
  return at;
}

/** Four widths, then the miniblocks. */
function writeBlock(inBlock: number, out: Buffer, at: number): number {
  const widthsAt = at;
  at += MINIBLOCKS;
  for (let mini = 0; mini < MINIBLOCKS; mini++) {
    const from = mini * MINIBLOCK_VALUES;
    const to = Math.min(from + MINIBLOCK_VALUES, inBlock);
    let anyLow = 0;
    let anyHigh = 0;
    for (let i = from; i < to; i++) {
      anyLow |= lower[i];
      anyHigh |= upper[i];
    }
    const width = anyHigh !== 0 ? 64 - Math.clz32(anyHigh) : 32 - Math.clz32(anyLow);
    out[widthsAt + mini] = width;
    if (width > 0) at = packMiniblock(from, to, width, out, at);
  }
  return at;
}

/** 32 values of `width` bits are `width` words of 32 bits. */
function packMiniblock(from: number, to: number, width: number, out: Buffer, at: number): number {
  words.fill(0, 0, width + 2);
  for (let i = from, bit = 0; i < to; i++, bit += width) {
    const word = bit >>> 5;
    const shift = bit & 31;
    const low = lower[i];
    words[word] |= low << shift;
    if (shift > 0) words[word + 1] |= low >>> (32 - shift);
    if (width > 32) {
      const high = upper[i];
      words[word + 1] |= high << shift;
      if (shift > 0) words[word + 2] |= high >>> (32 - shift);
    }
  }
  for (let i = 0; i < width; i++) {
    const word = words[i];
    out[at++] = word;
    out[at++] = word >>> 8;
    out[at++] = word >>> 16;
    out[at++] = word >>> 24;
  }
  return at;
}

/**
 * Reads exactly `count` values of `bytes` from `at` into `values`; returns where they end. Throws RangeError for
 * anything that `encodeDelta` cannot have written, before it reads behind `bytes`.
 */
export function decodeDelta(bytes: Buffer, at: number, count: number, scale: Scale, values: Float64Array): number {
  at = expectVarint(bytes, at, BLOCK_VALUES);
  at = expectVarint(bytes, at, MINIBLOCKS);
  at = expectVarint(bytes, at, count);
  at = readZigzag(bytes, at);
  let low = pairLow;
  let high = pairHigh;
  values[0] = toNumber(high, low, scale);
  for (let from = 1; from < count; from += BLOCK_VALUES) {
    at = readZigzag(bytes, at);
    const minLow = pairLow;
    const minHigh = pairHigh;
    const inBlock = Math.min(BLOCK_VALUES, count - from);
    at = readBlock(bytes, at, inBlock);
    for (let i = 0; i < inBlock; i++) {
      let sum = low + lower[i] + minLow;
      let carry = 0;
      while (sum >= TWO_32) {
        sum -= TWO_32;
        carry++;
      }
      low = sum;
      high = (high + upper[i] + minHigh + carry) | 0;
      values[from + i] = toNumber(high, low, scale);
    }
  }
  return at;
}

/** Unpacks a block into `lower` and `upper`. */
function readBlock(bytes: Buffer, at: number, inBlock: number): number {
  const widthsAt = at;
  at += MINIBLOCKS;
  if (at > bytes.length) throw new RangeError("the numbers are cut");
  for (let mini = 0; mini < MINIBLOCKS; mini++) {
    const from = mini * MINIBLOCK_VALUES;
    const to = Math.min(from + MINIBLOCK_VALUES, inBlock);
    const width = bytes[widthsAt + mini];
    if (width > 64 || (from >= inBlock && width > 0)) throw new RangeError("a miniblock has an impossible width");
    if (at + width * 4 > bytes.length) throw new RangeError("the numbers are cut");
    if (width > 0) unpackMiniblock(bytes, at, from, to, width);
    else if (from < to) {
      lower.fill(0, from, to);
      upper.fill(0, from, to);
    }
    at += width * 4;
  }
  return at;
}

function unpackMiniblock(bytes: Buffer, at: number, from: number, to: number, width: number): void {
  for (let i = 0; i < width; i++, at += 4) words[i] = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
  const lowMask = width >= 32 ? -1 : (1 << width) - 1;
  const highMask = width <= 32 ? 0 : width === 64 ? -1 : (1 << (width - 32)) - 1;
  for (let i = from, bit = 0; i < to; i++, bit += width) {
    const word = bit >>> 5;
    const shift = bit & 31;
    if (shift === 0) {
      lower[i] = words[word] & lowMask;
      upper[i] = words[word + 1] & highMask;
    } else {
      lower[i] = ((words[word] >>> shift) | (words[word + 1] << (32 - shift))) & lowMask;
      upper[i] = ((words[word + 1] >>> shift) | (words[word + 2] << (32 - shift))) & highMask;
    }
  }
}

function lowHalf(value: number, scale: Scale): number {
  return scale === 1 ? value >>> 0 : ((value >>> 0) * scale) >>> 0;
}

function highHalf(value: number, scale: Scale): number {
  const high = Math.floor(value / TWO_32);
  return scale === 1 ? high : high * scale + Math.floor(((value >>> 0) * scale) / TWO_32);
}

function toNumber(high: number, low: number, scale: Scale): number {
  const whole = scale === 1 ? high : Math.floor(high / scale);
  const rest = scale === 1 ? low : ((high - whole * scale) * TWO_32 + low) / scale;
  if (whole < 0 || whole >= SAFE_UPPER || (scale !== 1 && !Number.isInteger(rest))) throw new RangeError("a number is out of range");
  return whole * TWO_32 + rest;
}

function writeVarint(out: Buffer, at: number, high: number, low: number): number {
  while (high !== 0 || low > 0x7f) {
    out[at++] = (low & 0x7f) | 0x80;
    low = ((low >>> 7) | (high << 25)) >>> 0;
    high >>>= 7;
  }
  out[at++] = low;
  return at;
}

function writeZigzag(out: Buffer, at: number, high: number, low: number): number {
  const sign = high >> 31;
  return writeVarint(out, at, ((high << 1) | (low >>> 31)) ^ sign, ((low << 1) ^ sign) >>> 0);
}

function readVarint(bytes: Buffer, at: number): number {
  let low = 0;
  let high = 0;
  for (let shift = 0; shift < 70; shift += 7) {
    if (at >= bytes.length) throw new RangeError("the numbers are cut");
    const byte = bytes[at++];
    const bits = byte & 0x7f;
    if (shift < 32) low |= bits << shift;
    if (shift > 25) high |= shift < 32 ? bits >>> (32 - shift) : bits << (shift - 32);
    if (byte <= 0x7f) {
      pairLow = low >>> 0;
      pairHigh = high;
      return at;
    }
  }
  throw new RangeError("a number has more than 64 bits");
}

function readZigzag(bytes: Buffer, at: number): number {
  const end = readVarint(bytes, at);
  const sign = -(pairLow & 1);
  const low = ((pairLow >>> 1) | (pairHigh << 31)) ^ sign;
  pairHigh = (pairHigh >>> 1) ^ sign;
  pairLow = low >>> 0;
  return end;
}

function expectVarint(bytes: Buffer, at: number, expected: number): number {
  const end = readVarint(bytes, at);
  if (pairHigh !== 0 || pairLow !== expected) throw new RangeError("the numbers have an unexpected header");
  return end;
}
