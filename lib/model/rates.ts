// How fast a shard recovers: read its snapshot, then replay its log, of which each redo file costs a round trip and each
// mutation its work. Captures do both, so they measure; until one did, cautious rates are taken for granted.
//
// A measurement counts only if it took a second, or was expected to: in a shorter one, what else the capture waits for
// would weigh more than what is measured. Whichever of round trips and work is expected to take longer is what a replay's
// time is laid to, and never with less than half of it; so a shard's rates follow its habits, many small redo files or few
// large ones, and repeated measurements of the same come to expect what is measured.

import { MEASURED_MS_MIN } from "./limits.ts";

/** Whole numbers, each absent until a capture measured it. */
export interface Rates {
  /** Mutations replayed in a second. */
  readonly replayPerSecond?: number;
  /** Microseconds that a redo file takes beside its mutations: the round trip. */
  readonly fileMicros?: number;
  /** Bytes of a snapshot read in a second. */
  readonly readPerSecond?: number;
}

/** S3 from a function in the same region, as cautious as one may be without having measured. */
export const ASSUMED_RATES: Required<Rates> = { replayPerSecond: 200_000, fileMicros: 20_000, readPerSecond: 40_000_000 };

export interface Measurement {
  readonly mutations: number;
  readonly files: number;
  /** What it took to replay them. */
  readonly replayMs: number;
  /** Bytes of snapshot that were read in `readMs`. */
  readonly bytes: number;
  readonly readMs: number;
}

export interface Recovery {
  readonly snapshotMs: number;
  readonly replayMs: number;
}

/** What a recovery is expected to take, by the rates. */
export function recoveryOf(rates: Rates, load: { readonly snapshotBytes: number; readonly files: number; readonly mutations: number }): Recovery {
  const { filesMs, mutationsMs } = replayOf(rates, load);
  const { readPerSecond } = { ...ASSUMED_RATES, ...rates };
  return { snapshotMs: Math.round((load.snapshotBytes * 1e3) / readPerSecond), replayMs: Math.round(filesMs + mutationsMs) };
}

/** The rates once a capture has measured again. */
export function measured(rates: Rates, { mutations, files, replayMs, bytes, readMs }: Measurement): Rates {
  const { filesMs, mutationsMs } = replayOf(rates, { files, mutations });
  const read = says(readMs, recoveryOf(rates, { snapshotBytes: bytes, files: 0, mutations: 0 }).snapshotMs);
  const replay = says(replayMs, filesMs + mutationsMs);
  return {
    ...rates,
    ...(read && { readPerSecond: smoothed(rates.readPerSecond, bytes / readMs) }),
    ...(replay && filesMs < mutationsMs && { replayPerSecond: smoothed(rates.replayPerSecond, mutations / Math.max(replayMs - filesMs, replayMs / 2)) }),
    ...(replay && filesMs >= mutationsMs && { fileMicros: smoothedTime(rates.fileMicros, Math.max(replayMs - mutationsMs, replayMs / 2) / files) }),
  };
}

function replayOf(rates: Rates, { files, mutations }: { readonly files: number; readonly mutations: number }) {
  const { replayPerSecond, fileMicros } = { ...ASSUMED_RATES, ...rates };
  return { filesMs: (files * fileMicros) / 1e3, mutationsMs: (mutations * 1e3) / replayPerSecond };
}

/** A clock that stands still measures nothing. */
function says(tookMs: number, expectedMs: number): boolean {
  return tookMs > 0 && Math.max(tookMs, expectedMs) >= MEASURED_MS_MIN;
}

/** Share of a new measurement; the first stands alone. */
const NEW = 1 / 4;

/** By the time that one takes, so that one slow measurement weighs no less than a quick one. */
function smoothed(before: number | undefined, perMs: number): number {
  const sample = perMs * 1e3;
  return whole(before, before === undefined ? sample : 1 / ((1 - NEW) / before + NEW / sample));
}

function smoothedTime(before: number | undefined, ms: number): number {
  const sample = ms * 1e3;
  return whole(before, before === undefined ? sample : (1 - NEW) * before + NEW * sample);
}

/** Rounded on towards where it goes: a small one would stand still. */
function whole(before: number | undefined, after: number): number {
  return Math.max(1, before !== undefined && after > before ? Math.ceil(after) : Math.floor(after));
}
