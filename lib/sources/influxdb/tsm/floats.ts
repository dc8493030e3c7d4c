// Floats as Facebook's Gorilla has them (Pelkonen et al., VLDB 2015): the bits in which a number differs from the one before, less
// its zeros in front and behind. A NaN of one bit pattern ends the stream, so that one is no value.
//
// Works on bits, not on numbers: what is read and written again is the same, other NaNs and -0 too. Hot: nothing is allocated per
// number.

import { HIGH, LOW, pairsOf } from "./words.ts";

const GORILLA = 1;
/** The NaN that ends the stream. */
const END_HIGH = 0x7ff8_0000;
const END_LOW = 1;
/** Of one number: two flags, zeros in front (5 bits), length (6 bits), 64 bits. */
const NUMBER_BITS_MAX = 2 + 5 + 6 + 64;

export function floatsBytesMax(count: number): number {
  return 1 + 8 + Math.ceil((count * NUMBER_BITS_MAX) / 8) + 1;
}

// State of one call; the codec is synchronous.
let stream: Buffer = Buffer.alloc(0);
let bit = 0;

/** Reads exactly as many floats as `into` takes, and the end behind them; throws RangeError for other bytes. */
export function decodeFloats(bytes: Buffer, into: Float64Array): void {
  if (bytes[0] >>> 4 !== GORILLA) throw new RangeError("floats have an unknown encoding");
  stream = bytes;
  bit = 8;
  const pairs = pairsOf(into);
  let high = readBits(32);
  let low = readBits(32);
  let leading = 0;
  let trailing = 0;
  for (let i = 0; ; i += 2) {
    const ended = high === END_HIGH && low === END_LOW;
    if (ended !== (i === pairs.length)) throw new RangeError(`there are ${ended ? i / 2 : "more"} floats for ${pairs.length / 2} times`);
    if (ended) return;
    pairs[i + LOW] = low;
    pairs[i + HIGH] = high;
    if (readBits(1) === 0) continue;
    if (readBits(1) === 1) {
      leading = readBits(5);
      const length = readBits(6);
      trailing = 64 - leading - (length === 0 ? 64 : length);
      if (trailing < 0) throw new RangeError("a float has more than 64 bits");
    }
    const length = 64 - leading - trailing;
    const upper = length > 32 ? readBits(length - 32) : 0;
    const lower = readBits(Math.min(length, 32));
    if (trailing >= 32) high = (high ^ (lower << (trailing - 32))) >>> 0;
    else {
      low = (low ^ (lower << trailing)) >>> 0;
      high = (high ^ (trailing === 0 ? upper : (upper << trailing) | (lower >>> (32 - trailing)))) >>> 0;
    }
  }
}

/** Up to 32 bits. */
function readBits(count: number): number {
  if (count > 16) return (readFew(count - 16) * 0x1_0000 + readFew(16)) >>> 0;
  return readFew(count);
}

/** Up to 16 bits lie within three bytes. */
function readFew(count: number): number {
  const end = bit + count;
  if (end > stream.length * 8) throw new RangeError("the floats are cut");
  const at = bit >>> 3;
  const three = (stream[at] << 16) | (at + 1 < stream.length ? stream[at + 1] << 8 : 0) | (at + 2 < stream.length ? stream[at + 2] : 0);
  const value = (three >>> (24 - (bit & 7) - count)) & ((1 << count) - 1);
  bit = end;
  return value;
}

/** Writes the floats (at least one) as InfluxDB would, within `floatsBytesMax`; returns where it ended. */
export function encodeFloats(floats: Float64Array, out: Buffer, at: number): number {
  const pairs = pairsOf(floats);
  stream = out;
  out[at] = GORILLA << 4;
  bit = 8 * (at + 1);
  let high = 0;
  let low = 0;
  let leading = -1;
  let trailing = 0;
  for (let i = 0; i <= pairs.length; i += 2) {
    const isEnd = i === pairs.length;
    const nextHigh = isEnd ? END_HIGH : pairs[i + HIGH];
    const nextLow = isEnd ? END_LOW : pairs[i + LOW];
    if (!isEnd && nextHigh === END_HIGH && nextLow === END_LOW) throw new RangeError("InfluxDB has no such NaN as a value");
    const differsHigh = (nextHigh ^ high) >>> 0;
    const differsLow = (nextLow ^ low) >>> 0;
    high = nextHigh;
    low = nextLow;
    if (i === 0) {
      writeBits(high, 32);
      writeBits(low, 32);
      continue;
    }
    if (differsHigh === 0 && differsLow === 0) {
      writeBits(0, 1);
      continue;
    }
    // Five bits hold the zeros in front: of 32 and more, InfluxDB tells as many as remain.
    const zerosAhead = differsHigh !== 0 ? Math.clz32(differsHigh) : Math.clz32(differsLow) & 0x1f;
    const zerosBehind = differsLow !== 0 ? zerosBelow(differsLow) : 32 + zerosBelow(differsHigh);
    if (leading >= 0 && zerosAhead >= leading && zerosBehind >= trailing) writeBits(0b10, 2);
    else {
      leading = zerosAhead;
      trailing = zerosBehind;
      writeBits(0b11, 2);
      writeBits(leading, 5);
      writeBits((64 - leading - trailing) & 0x3f, 6);
    }
    writeMiddle(differsHigh, differsLow, 64 - leading - trailing, trailing);
  }
  return (bit + 7) >>> 3;
}

function zerosBelow(half: number): number {
  return 31 - Math.clz32(half & -half);
}

/** `length` bits of a pair, without the `trailing` bits below them. */
function writeMiddle(high: number, low: number, length: number, trailing: number): void {
  let upper = high;
  let lower = low;
  if (trailing >= 32) {
    upper = 0;
    lower = high >>> (trailing - 32);
  } else if (trailing > 0) {
    upper = high >>> trailing;
    lower = ((low >>> trailing) | (high << (32 - trailing))) >>> 0;
  }
  if (length > 32) writeBits(upper, length - 32);
  writeBits(lower, Math.min(length, 32));
}

/** The lowest `count` bits, up to 32. */
function writeBits(value: number, count: number): void {
  for (let left = count; left > 0; ) {
    const at = bit >>> 3;
    const free = 8 - (bit & 7);
    const taken = Math.min(free, left);
    const bits = (value >>> (left - taken)) & ((1 << taken) - 1);
    if (free === 8) stream[at] = bits << (8 - taken);
    else stream[at] |= bits << (free - taken);
    left -= taken;
    bit += taken;
  }
}
