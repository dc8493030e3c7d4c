// Runs a range of seeds in a thread of its own; see simulation.test.ts.

import { parentPort, workerData } from "node:worker_threads";
import { runSchedule } from "./schedule.ts";

export interface SeedRange {
  readonly from: number;
  /** Excluded. */
  readonly to: number;
}

export interface RangeResult {
  readonly schedules: number;
  readonly steps: number;
  readonly counts: ReadonlyMap<string, number>;
  readonly violations: readonly { readonly seed: number; readonly violation: string }[];
}

const VIOLATIONS_MAX = 5;

async function runRange({ from, to }: SeedRange): Promise<RangeResult> {
  const counts = new Map<string, number>();
  const violations: { seed: number; violation: string }[] = [];
  let steps = 0;
  let seed = from;
  for (; seed < to && violations.length < VIOLATIONS_MAX; seed++) {
    const result = await runSchedule(seed);
    steps += result.steps;
    for (const [what, times] of result.counts) counts.set(what, (counts.get(what) ?? 0) + times);
    if (result.violation !== undefined) violations.push({ seed, violation: result.violation });
  }
  return { schedules: seed - from, steps, counts, violations };
}

parentPort?.postMessage(await runRange(workerData as SeedRange));
