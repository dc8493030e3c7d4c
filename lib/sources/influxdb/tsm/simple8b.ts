// Simple-8b (Anh and Moffat, "Index compression using 64-bit words", 2010) as InfluxDB has it: a word of 64 bits holds a selector
// of 4 bits and as many numbers of one width as fit into the other 60, the first in the lowest bits. Selectors 0 and 1 stand for
// runs of 240 and 120 ones. A word is always full, so counts are exact.
//
// Hot: works on pairs of halves; nothing is allocated per number.

import { HIGH, LOW } from "./words.ts";

const COUNTS = [240, 120, 60, 30, 20, 15, 12, 10, 8, 7, 6, 5, 4, 3, 2, 1];
const WIDTHS = [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30, 60];
const WORD_BYTES = 8;
/** Where a pair is above 60 bits, its upper half is at least this. */
const TOO_WIDE = 0x1000_0000;

/** How many numbers the words of `bytes` from `at` on hold. */
export function countPacked(bytes: Buffer, at: number): number {
  if ((bytes.length - at) % WORD_BYTES !== 0) throw new RangeError("the packed numbers are cut");
  let count = 0;
  for (; at < bytes.length; at += WORD_BYTES) count += COUNTS[bytes[at] >>> 4];
  return count;
}

/** Unpacks all words of `bytes` from `at` on into `pairs`, from number `to` on, which has room for `countPacked` of them. */
export function unpack(bytes: Buffer, at: number, pairs: Uint32Array, to: number): void {
  for (; at < bytes.length; at += WORD_BYTES) {
    const high = bytes.readUInt32BE(at);
    const low = bytes.readUInt32BE(at + 4);
    const selector = high >>> 28;
    const width = WIDTHS[selector];
    const end = to + COUNTS[selector];
    if (width === 60) {
      pairs[2 * to + LOW] = low;
      pairs[2 * to + HIGH] = high & 0x0fff_ffff;
    } else {
      const mask = (1 << width) - 1;
      for (let i = to, bit = 0; i < end; i++, bit += width) {
        let value = 1;
        if (width > 0) {
          if (bit >= 32) value = (high >>> (bit - 32)) & mask;
          else value = (bit + width <= 32 ? low >>> bit : (low >>> bit) | (high << (32 - bit))) & mask;
        }
        pairs[2 * i + LOW] = value;
        pairs[2 * i + HIGH] = 0;
      }
    }
    to = end;
  }
}

/** Whether a number of `pairs`, from `from` on, has more than the 60 bits that can be packed. */
export function isTooWide(pairs: Uint32Array, from: number): boolean {
  for (let i = 2 * from; i < pairs.length; i += 2) if (pairs[i + HIGH] >= TOO_WIDE) return true;
  return false;
}

/** Most bytes that `pack` writes. */
export function packedBytesMax(count: number): number {
  return count * WORD_BYTES;
}

/** Packs the numbers of `pairs` from `from` up to `end`, each of at most 60 bits; returns where it ended. */
export function pack(pairs: Uint32Array, from: number, end: number, out: Buffer, at: number): number {
  while (from < end) {
    const selector = selectorFor(pairs, from, end);
    at = packWord(pairs, from, selector, out, at);
    from += COUNTS[selector];
  }
  return at;
}

/** The one that takes the most numbers. Where some fit, fewer of them do too, as they may be wider: so one look at each is enough. */
function selectorFor(pairs: Uint32Array, from: number, end: number): number {
  const ones = onesFrom(pairs, from, Math.min(end, from + COUNTS[0]));
  if (ones === COUNTS[0]) return 0;
  if (ones >= COUNTS[1]) return 1;
  let selector = COUNTS.length - 1;
  if (pairs[2 * from + HIGH] >= TOO_WIDE) throw new RangeError("a number has more than 60 bits");
  if (pairs[2 * from + HIGH] !== 0) return selector;
  let any = 0;
  let seen = from;
  for (; selector > 2; selector--) {
    const to = from + COUNTS[selector - 1];
    if (to > end) break;
    for (; seen < to; seen++) any |= pairs[2 * seen + HIGH] !== 0 ? -1 : pairs[2 * seen + LOW];
    if (32 - Math.clz32(any) > WIDTHS[selector - 1]) break;
  }
  return selector;
}

function onesFrom(pairs: Uint32Array, from: number, end: number): number {
  let at = from;
  while (at < end && pairs[2 * at + LOW] === 1 && pairs[2 * at + HIGH] === 0) at++;
  return at - from;
}

function packWord(pairs: Uint32Array, from: number, selector: number, out: Buffer, at: number): number {
  const width = WIDTHS[selector];
  let low = 0;
  let high = selector << 28;
  if (width === 60) {
    low = pairs[2 * from + LOW];
    high |= pairs[2 * from + HIGH];
  } else if (width > 0) {
    for (let i = 0, bit = 0; i < COUNTS[selector]; i++, bit += width) {
      const value = pairs[2 * (from + i) + LOW];
      if (bit >= 32) high |= value << (bit - 32);
      else {
        low |= value << bit;
        if (bit + width > 32) high |= value >>> (32 - bit);
      }
    }
  }
  out.writeUInt32BE(high >>> 0, at);
  return out.writeUInt32BE(low >>> 0, at + 4);
}
