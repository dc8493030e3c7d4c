// 20,000 seeds of the simulation, and the canonical stories with every fault and against each other, over threads; what they
// met is printed once, at the end.

import { describe, expect, test } from "vitest";
import { describeMet, exhaustiveTasks, play, seedTasks } from "./crew.ts";
import { runSchedule } from "./schedule.ts";
import { STEPS_MIN } from "./settings.ts";

const FIRST_SEED = 1;
const SCHEDULES = 20_000;
const SEEDS_RUN_TWICE = 40;
/** The long run (nightly.ts) plays them all. */
const RACES_ONE_IN = 10;
const CASES_MIN = 3_000;

/** Things without which a schedule proves little, and how often all of them together must have met each at least. */
const MET_AT_LEAST: Readonly<Record<string, number>> = {
  acknowledged: 130_000,
  commits: 28_000,
  adoptions: 6_000,
  "captures resumed": 5_000,
  "captures aborted": 250,
  "parts copied": 1_000,
  "captures spread": 350,
  "sections sectionDone": 180,
  "sections completed": 15,
  marks: 10_000,
  ghosts: 330,
  fences: 750,
  fallbacks: 1_100,
  damages: 600,
  "damages of the log": 7_500,
  misread: 1_100,
  alarms: 5_000,
  stalls: 100_000,
  twice: 23_000,
  "late effects": 19_000,
  "clock jumps": 22_000,
  lost: 21_000,
  failed: 12_000,
  full: 4_400,
  outages: 500,
  "crash-before": 3_000,
  "crash-after": 3_000,
  "crash-late": 3_000,
  "captures outOfDate": 950,
  "captures rejected": 25_000,
  "cleanups outrun": 500,
  "readers starting over": 50,
  "leases lost": 3_800,
  "lives ended": 500,
  strays: 230,
  sealed: 480,
  recoveries: 30_000,
  verifications: 1_500,
  "careless batches refused": 2_900,
  "stopped captures aborted": 220,
  "batches with attachments": 1_400,
  "attachments read": 2_000,
  "attachments damaged": 400,
  "batches over several shards": 1_600,
  "captures asked for": 800,
  "captures carried out": 1_000,
  rounds: 550,
  status: 700,
  requests: 360,
  "cleanup tasks": 560,
  explanations: 800,
  "look-ups": 590,
  "recoveries of tables": 430,
  repairs: 660,
  "repairs repaired": 120,
  alterations: 1_700,
  forgeries: 450,
  strangers: 180,
  "large values": 200,
  crowds: 3,
  views: 25,
  "vain calls": 80,
  loops: 65,
  "deletions of tables": 60,
  "many shards": 30,
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
    breakNoPromise(sum.violations);
    expect(sum.steps).toBeGreaterThanOrEqual(SCHEDULES * STEPS_MIN);
    const tooFew = Object.entries(MET_AT_LEAST).filter(([what, least]) => (sum.counts.get(what) ?? 0) < least);
    expect(tooFew.map(([what, least]) => `${what}: ${sum.counts.get(what) ?? 0} of at least ${least}`)).toEqual([]);
  });

  test(`every fault at every step of the stories, and one in ${RACES_ONE_IN} of their races, break no promise`, { timeout: 30 * 60_000 }, async () => {
    const sum = await play(exhaustiveTasks({ everyStep: false, oneIn: RACES_ONE_IN }));
    console.log(describeMet(sum));
    breakNoPromise(sum.violations);
    expect(sum.schedules).toBeGreaterThanOrEqual(CASES_MIN);
  });
});

/** Their traces are printed as they are: an assertion would quote them. */
function breakNoPromise(violations: readonly string[]): void {
  for (const violation of violations) console.error(violation);
  expect(violations.map((violation) => violation.split("\n")[0])).toEqual([]);
}
