// 20,000 seeds of the simulation, and the canonical stories with every fault and against each other, over threads; what they
// met is printed once, at the end.

import { describe, expect, test } from "vitest";
import { describeMet, exhaustiveTasks, play, seedTasks } from "./crew.ts";
import { runSchedule } from "./schedule.ts";

const FIRST_SEED = 1;
const SCHEDULES = 20_000;
const STEPS_MIN = 70;
const SEEDS_RUN_TWICE = 40;
/** The long run (nightly.ts) plays them all. */
const RACES_ONE_IN = 10;
const CASES_MIN = 3_000;

/** Things without which a schedule proves little, and how often all of them together must have met each at least. */
const MET_AT_LEAST: Readonly<Record<string, number>> = {
  acknowledged: 60_000,
  commits: 12_000,
  adoptions: 2_500,
  "captures resumed": 2_000,
  "captures aborted": 80,
  "parts copied": 200,
  "captures spread": 200,
  "sections sectionDone": 80,
  "sections completed": 5,
  marks: 5_000,
  ghosts: 150,
  fences: 200,
  fallbacks: 500,
  damages: 300,
  "damages of the log": 2_500,
  misread: 300,
  alarms: 1_500,
  stalls: 30_000,
  twice: 8_000,
  "late effects": 6_000,
  "clock jumps": 8_000,
  lost: 7_000,
  failed: 4_000,
  full: 1_500,
  "crash-before": 1_000,
  "crash-after": 1_000,
  "crash-late": 1_000,
  "captures outOfDate": 150,
  "captures rejected": 5_000,
  "cleanups outrun": 120,
  "readers starting over": 5,
  "leases lost": 600,
  "lives ended": 300,
  strays: 100,
  sealed: 250,
  recoveries: 18_000,
  verifications: 500,
  "careless batches refused": 500,
  "stopped captures aborted": 30,
  "batches with attachments": 300,
  "attachments read": 300,
  "attachments damaged": 30,
  "batches over several shards": 300,
  "captures asked for": 200,
  "captures carried out": 200,
  rounds: 100,
  status: 150,
  requests: 80,
  "cleanup tasks": 100,
  explanations: 150,
  "look-ups": 100,
  "recoveries of tables": 80,
  repairs: 150,
  "repairs repaired": 20,
  alterations: 250,
  forgeries: 80,
  strangers: 25,
  "large values": 30,
  crowds: 1,
};

describe("the simulation", () => {
  test("a seed decides everything: run twice, it logs the same steps", async () => {
    for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS_RUN_TWICE; seed++) {
      const [once, again] = [await runSchedule(seed, { logged: true }), await runSchedule(seed, { logged: true })];
      expect(again.log).toEqual(once.log);
      expect(once.log.length).toBeGreaterThan(STEPS_MIN);
    }
  });

  test(`${SCHEDULES} schedules of at least ${STEPS_MIN} steps break no promise`, { timeout: 30 * 60_000 }, async () => {
    const sum = await play(seedTasks(FIRST_SEED, SCHEDULES));
    console.log(describeMet(sum));
    expect(sum.violations).toEqual([]);
    expect(sum.steps).toBeGreaterThanOrEqual(SCHEDULES * STEPS_MIN);
    const tooFew = Object.entries(MET_AT_LEAST).filter(([what, least]) => (sum.counts.get(what) ?? 0) < least);
    expect(tooFew.map(([what, least]) => `${what}: ${sum.counts.get(what) ?? 0} of at least ${least}`)).toEqual([]);
  });

  test(`every fault at every step of the stories, and one in ${RACES_ONE_IN} of their races, break no promise`, { timeout: 30 * 60_000 }, async () => {
    const sum = await play(exhaustiveTasks({ everyStep: false, oneIn: RACES_ONE_IN }));
    console.log(describeMet(sum));
    expect(sum.violations).toEqual([]);
    expect(sum.schedules).toBeGreaterThanOrEqual(CASES_MIN);
  });
});
