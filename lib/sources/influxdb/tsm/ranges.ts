// What is removed of one key: ranges of time, both ends included, in order and without touching each other. So a block is gone
// exactly where one range covers it, and what is kept of a block's ascending times is a few runs, found by halving.

import { TIME_MAX, TIME_MIN } from "./layout.ts";
import { HIGH, LOW, pairsOf } from "./words.ts";

/** Range n is from `firsts[n]` to `lasts[n]`. */
export interface Ranges {
  readonly firsts: readonly bigint[];
  readonly lasts: readonly bigint[];
}

/** Both ends are included; one that ends before it begins is empty. */
export interface TimeRange {
  readonly min: bigint;
  readonly max: bigint;
}

export function rangesOf(ranges: readonly TimeRange[]): Ranges {
  const ordered = ranges.filter(({ min, max }) => min <= max).sort((one, other) => (one.min < other.min ? -1 : one.min > other.min ? 1 : 0));
  const firsts: bigint[] = [];
  const lasts: bigint[] = [];
  for (const { min, max } of ordered) {
    const before = lasts.length - 1;
    if (before >= 0 && min <= lasts[before] + 1n) {
      if (max > lasts[before]) lasts[before] = max;
    } else {
      firsts.push(min);
      lasts.push(max);
    }
  }
  return { firsts, lasts };
}

/** What is outside of a range. */
export function outside({ min, max }: TimeRange): readonly TimeRange[] {
  if (min > max) return [{ min: TIME_MIN, max: TIME_MAX }];
  return [
    { min: TIME_MIN, max: min - 1n },
    { min: max + 1n, max: TIME_MAX },
  ];
}

/** What the ranges do to points of which all that is known is their first and their last time. */
export function touch({ firsts, lasts }: Ranges, first: bigint, last: bigint): "all" | "none" | "some" {
  const at = firstAtOrAbove(lasts, first, lasts.length);
  if (at === lasts.length || firsts[at] > last) return "none";
  return firsts[at] <= first && lasts[at] >= last ? "all" : "some";
}

/** Of the ascending `times`, those that no range holds, as runs: from, end, from, end … */
export function keptRuns({ firsts, lasts }: Ranges, times: BigInt64Array): readonly number[] {
  const runs: number[] = [];
  let from = 0;
  for (let at = firstAtOrAbove(lasts, times[0], lasts.length); at < firsts.length && from < times.length; at++) {
    const end = firstAtOrAbove(times, firsts[at], times.length);
    const next = firstAtOrAbove(times, lasts[at] + 1n, times.length);
    // A range between two points removes none: the run goes on.
    if (next === end) continue;
    if (end > from) runs.push(from, end);
    from = next;
  }
  if (from < times.length) runs.push(from, times.length);
  return runs;
}

/** By halves: every time of a block that is cut is looked at. */
export function ascends(times: BigInt64Array): boolean {
  const pairs = pairsOf(times);
  for (let i = 2; i < pairs.length; i += 2) {
    const rise = (pairs[i + HIGH] | 0) - (pairs[i - 2 + HIGH] | 0);
    if (rise < 0 || (rise === 0 && pairs[i + LOW] < pairs[i - 2 + LOW])) return false;
  }
  return true;
}

function firstAtOrAbove(ascending: ArrayLike<bigint>, bound: bigint, length: number): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ascending[middle] < bound) low = middle + 1;
    else high = middle;
  }
  return low;
}
