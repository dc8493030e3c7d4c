// 5,000 seeds of the simulation, cut into ranges over threads; what they met is printed once, at the end.

import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { describe, expect, test } from "vitest";
import { runSchedule } from "./schedule.ts";
import type { RangeResult, SeedRange } from "./worker.ts";

const FIRST_SEED = 1;
const SCHEDULES = 5_000;
const STEPS_MIN = 200;
const THREADS = Math.max(1, Math.min(4, availableParallelism()));
/** Ranges are small, so that no thread waits long for the last one. */
const RANGE_SEEDS = 250;
const SEEDS_RUN_TWICE = 40;

/** Things without which a schedule proves little, and how often all of them together must have met each at least. */
const MET_AT_LEAST: Readonly<Record<string, number>> = {
  acknowledged: 20_000,
  commits: 5_000,
  adoptions: 500,
  "captures resumed": 500,
  "parts copied": 200,
  "captures spread": 100,
  "sections sectionDone": 50,
  "sections completed": 5,
  marks: 2_000,
  ghosts: 30,
  fences: 100,
  fallbacks: 200,
  damages: 100,
  stalls: 5_000,
  "late effects": 2_000,
  "clock jumps": 2_000,
  lost: 2_000,
  failed: 2_000,
  "crash-before": 500,
  "crash-after": 500,
  "crash-late": 500,
  "captures outOfDate": 50,
  "captures rejected": 500,
  "cleanups outrun": 100,
  "readers starting over": 5,
  "leases lost": 50,
  recoveries: 10_000,
};

describe("the simulation", () => {
  test("a seed decides everything: run twice, it logs the same steps", async () => {
    for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS_RUN_TWICE; seed++) {
      const [once, again] = [await runSchedule(seed, { logged: true }), await runSchedule(seed, { logged: true })];
      expect(again.log).toEqual(once.log);
      expect(once.log.length).toBeGreaterThan(STEPS_MIN);
    }
  });

  test(`${SCHEDULES} schedules of at least ${STEPS_MIN} steps break no promise`, { timeout: 20 * 60_000 }, async () => {
    const results = await runAll();
    const violations = results.flatMap((result) => result.violations);
    const steps = results.reduce((sum, result) => sum + result.steps, 0);
    const counts = new Map<string, number>();
    for (const result of results) for (const [what, times] of result.counts) counts.set(what, (counts.get(what) ?? 0) + times);
    const met = [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([what, times]) => `${what} ${times}`);
    console.log(`${results.reduce((sum, { schedules }) => sum + schedules, 0)} schedules, ${steps} steps; ${met.join(", ")}`);

    expect(violations.map(({ seed, violation }) => `node test/simulation/replay.ts ${seed} --log   # ${violation}`)).toEqual([]);
    expect(steps).toBeGreaterThanOrEqual(SCHEDULES * STEPS_MIN);
    const tooFew = Object.entries(MET_AT_LEAST).filter(([what, least]) => (counts.get(what) ?? 0) < least);
    expect(tooFew.map(([what, least]) => `${what}: ${counts.get(what) ?? 0} of at least ${least}`)).toEqual([]);
  });
});

async function runAll(): Promise<readonly RangeResult[]> {
  const ranges: SeedRange[] = [];
  for (let from = FIRST_SEED; from < FIRST_SEED + SCHEDULES; from += RANGE_SEEDS)
    ranges.push({ from, to: Math.min(from + RANGE_SEEDS, FIRST_SEED + SCHEDULES) });
  const results: RangeResult[] = [];
  const lane = async (): Promise<void> => {
    for (let range = ranges.shift(); range !== undefined; range = ranges.shift()) results.push(await runInThread(range));
  };
  await Promise.all(Array.from({ length: THREADS }, lane));
  return results;
}

function runInThread(range: SeedRange): Promise<RangeResult> {
  const { promise, resolve, reject } = Promise.withResolvers<RangeResult>();
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { workerData: range });
  worker.once("message", resolve);
  worker.once("error", reject);
  worker.once("exit", (code) => reject(new Error(`the thread of seeds ${range.from}… ended with code ${code} and no result`)));
  return promise;
}
