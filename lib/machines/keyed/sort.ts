// Puts the fold's entries in key order, by memcmp of the keys' bytes.
//
// Guarantees: the time grows with the bytes of the keys, whatever keys they are, and memory with their count alone (I10).
// How: entries that arrived in order are only checked. Else a range of entries is sorted by the eight bytes behind the
// range's common prefix, as two numbers, by radix from the lowest digit to the highest; entries that agree in these eight
// bytes are a range of their own, sorted the same way by what follows.
// Hot: nothing is allocated per entry. bench/fold.ts measures it.

import { release } from "../../model/memory.ts";
import { ENTRY_WORDS, type FoldEntries, KEY_LENGTH, KEY_START } from "./entries.ts";

const WINDOW_BYTES = 8;
/** Up to so many entries are sorted by insertion. */
const INSERTION_MAX = 24;
/** From so many entries on, digits have 16 bits, else 8: counting 2^16 digits is not worth it for few entries. */
const WIDE_DIGITS_MIN = 1 << 15;

/** The numbers of the entries in key order. */
export function keyOrder(entries: FoldEntries): Uint32Array {
  const order = new Uint32Array(entries.count);
  for (let place = 0; place < order.length; place += 1) order[place] = place;
  if (isSorted(entries, order)) return order;
  const scratch: Scratch = {
    high: new Uint32Array(entries.count),
    low: new Uint32Array(entries.count),
    places: new Uint32Array(entries.count),
    otherPlaces: new Uint32Array(entries.count),
    moved: new Uint32Array(entries.count),
    counts: new Uint32Array(1 << digitBitsFor(entries.count)),
  };
  // Ranges still to sort, as from, to and the bytes their keys have in common at least. Not recursion: keys may agree in
  // many windows.
  const ranges = [0, entries.count, 0];
  while (ranges.length > 0) {
    const [from, to, depth] = ranges.splice(-3);
    if (to - from <= INSERTION_MAX) sortByInsertion(entries, order, from, to, depth);
    else sortByWindow(entries, order, from, to, depth, scratch, ranges);
  }
  for (const view of Object.values(scratch)) release(view);
  return order;
}

interface Scratch {
  /** The first and last four bytes of each entry's window, by place in the range. */
  readonly high: Uint32Array;
  readonly low: Uint32Array;
  readonly places: Uint32Array;
  readonly otherPlaces: Uint32Array;
  readonly moved: Uint32Array;
  readonly counts: Uint32Array;
}

function sortByWindow(entries: FoldEntries, order: Uint32Array, from: number, to: number, depth: number, scratch: Scratch, ranges: number[]): void {
  const start = commonPrefix(entries, order, from, to, depth);
  const { high, low, moved } = scratch;
  const count = to - from;
  for (let place = 0; place < count; place += 1) {
    const word = order[from + place] * ENTRY_WORDS;
    const key = entries.words[word + KEY_START];
    const end = key + entries.words[word + KEY_LENGTH];
    high[place] = fourBytes(entries.bytes, key + start, end);
    low[place] = fourBytes(entries.bytes, key + start + 4, end);
  }
  const places = sortPlaces(count, scratch);
  for (let place = 0; place < count; place += 1) moved[place] = order[from + places[place]];
  order.set(moved.subarray(0, count), from);
  let rangeStart = 0;
  for (let place = 1; place <= count; place += 1) {
    if (place < count && high[places[place]] === high[places[place - 1]] && low[places[place]] === low[places[place - 1]]) continue;
    // A key that ends inside of the window equals one that goes on with zeros there: hence not the window's end.
    if (place - rangeStart > 1) pushRange(entries, order, from + rangeStart, from + place, start, ranges);
    rangeStart = place;
  }
}

/** Keys of one window agree in it as far as they go. Those that end in it sort by length, before those that go on. */
function pushRange(entries: FoldEntries, order: Uint32Array, from: number, to: number, start: number, ranges: number[]): void {
  if (to - from <= INSERTION_MAX) {
    sortByInsertion(entries, order, from, to, start);
    return;
  }
  const inWindow = moveEndedFirst(entries, order, from, to, start + WINDOW_BYTES);
  sortByInsertion(entries, order, from, inWindow, start);
  if (to - inWindow > 1) ranges.push(inWindow, to, start + WINDOW_BYTES);
}

/** Moves keys of at most `length` bytes to the front; at most WINDOW_BYTES + 1 of equal windows are that short, as keys differ. */
function moveEndedFirst(entries: FoldEntries, order: Uint32Array, from: number, to: number, length: number): number {
  let next = from;
  for (let place = from; place < to; place += 1) {
    const entry = order[place];
    if (entries.words[entry * ENTRY_WORDS + KEY_LENGTH] > length) continue;
    order[place] = order[next];
    order[next] = entry;
    next += 1;
  }
  return next;
}

/** Places 0…count of the range in the order of their windows: radix, the lowest digit first, digits that all agree passed over. */
function sortPlaces(count: number, scratch: Scratch): Uint32Array {
  const digitBits = digitBitsFor(count);
  let places = scratch.places;
  let target = scratch.otherPlaces;
  for (let place = 0; place < count; place += 1) places[place] = place;
  for (const numbers of [scratch.low, scratch.high]) {
    for (let shift = 0; shift < 32; shift += digitBits) {
      if (!sortByDigit(numbers, shift, digitBits, places, target, count, scratch.counts)) continue;
      [places, target] = [target, places];
    }
  }
  return places;
}

function digitBitsFor(count: number): number {
  return count >= WIDE_DIGITS_MIN ? 16 : 8;
}

/** False, and nothing is moved, if all digits agree. */
function sortByDigit(numbers: Uint32Array, shift: number, bits: number, places: Uint32Array, target: Uint32Array, count: number, counts: Uint32Array): boolean {
  const digits = 1 << bits;
  const mask = digits - 1;
  counts.fill(0, 0, digits);
  for (let place = 0; place < count; place += 1) counts[(numbers[place] >>> shift) & mask] += 1;
  if (counts[(numbers[0] >>> shift) & mask] === count) return false;
  let next = 0;
  for (let digit = 0; digit < digits; digit += 1) {
    const start = next;
    next += counts[digit];
    counts[digit] = start;
  }
  for (let at = 0; at < count; at += 1) {
    const place = places[at];
    target[counts[(numbers[place] >>> shift) & mask]++] = place;
  }
  return true;
}

function sortByInsertion(entries: FoldEntries, order: Uint32Array, from: number, to: number, depth: number): void {
  for (let place = from + 1; place < to; place += 1) {
    const entry = order[place];
    let at = place;
    for (; at > from && compareEntries(entries, order[at - 1], entry, depth) > 0; at -= 1) order[at] = order[at - 1];
    order[at] = entry;
  }
}

/** How many bytes the range's keys have in common, of which `depth` are known. */
function commonPrefix(entries: FoldEntries, order: Uint32Array, from: number, to: number, depth: number): number {
  const { words, bytes } = entries;
  const first = words[order[from] * ENTRY_WORDS + KEY_START];
  let common = words[order[from] * ENTRY_WORDS + KEY_LENGTH];
  for (let place = from + 1; place < to && common > depth; place += 1) {
    const word = order[place] * ENTRY_WORDS;
    const start = words[word + KEY_START];
    const limit = Math.min(common, words[word + KEY_LENGTH]);
    let at = depth;
    while (at < limit && bytes[first + at] === bytes[start + at]) at += 1;
    common = at;
  }
  return common;
}

function isSorted(entries: FoldEntries, order: Uint32Array): boolean {
  for (let place = 1; place < order.length; place += 1) {
    if (compareEntries(entries, order[place - 1], order[place], 0) > 0) return false;
  }
  return true;
}

/** Compares the keys of two entries that agree in their first `depth` bytes. */
function compareEntries({ words, bytes }: FoldEntries, one: number, other: number, depth: number): number {
  const oneWord = one * ENTRY_WORDS;
  const otherWord = other * ENTRY_WORDS;
  const oneStart = words[oneWord + KEY_START];
  const otherStart = words[otherWord + KEY_START];
  const oneLength = words[oneWord + KEY_LENGTH];
  const otherLength = words[otherWord + KEY_LENGTH];
  const shared = Math.min(oneLength, otherLength);
  for (let at = depth; at < shared; at += 1) {
    const difference = bytes[oneStart + at] - bytes[otherStart + at];
    if (difference !== 0) return difference;
  }
  return oneLength - otherLength;
}

/** Four bytes as a number whose order is theirs; zeros behind `end`. */
function fourBytes(bytes: Buffer, start: number, end: number): number {
  if (start + 4 <= end) return ((bytes[start] << 24) | (bytes[start + 1] << 16) | (bytes[start + 2] << 8) | bytes[start + 3]) >>> 0;
  let number = 0;
  for (let at = start; at < start + 4; at += 1) number = (number << 8) | (at < end ? bytes[at] : 0);
  return number >>> 0;
}
