// Cuts a schedule that breaks a promise down to what it takes: decisions are left out, and faults taken back, as long as the same
// promise is broken. What is left is the trace that a reader wants.

import { type Decision, runSchedule, type ScheduleResult } from "./schedule.ts";

export interface Shrunk {
  /** The schedule that is left, logged. */
  readonly result: ScheduleResult;
  /** Decisions before and behind. */
  readonly from: number;
  readonly to: number;
  /** Schedules that were played for it. */
  readonly runs: number;
}

const RUNS_MAX = 4_000;

export interface ShrinkOptions {
  readonly runsMax?: number;
  /** Plays a schedule, and judges it. */
  readonly run?: typeof runSchedule;
}

/** The seed breaks a promise. */
export async function shrink(seed: number, { runsMax = RUNS_MAX, run = runSchedule }: ShrinkOptions = {}): Promise<Shrunk> {
  const whole = await run(seed);
  if (whole.violation === undefined) throw new Error(`seed ${seed} breaks no promise: there is nothing to shrink`);
  const kind = kindOf(whole.violation);
  let runs = 0;
  const fails = async (decisions: readonly Decision[]): Promise<boolean> => {
    runs += 1;
    const { violation } = await run(seed, { decisions });
    return violation !== undefined && kindOf(violation) === kind;
  };
  const mayRun = (): boolean => runs < runsMax;

  let left = whole.decisions;
  for (let before: readonly Decision[] = []; left !== before && mayRun(); ) {
    before = left;
    left = await withoutGroups(left, fails, mayRun);
    left = await smallest(left, fails, mayRun);
    left = await calmed(left, fails, mayRun);
  }
  const result = await run(seed, { decisions: left, logged: true });
  return { result, from: whole.decisions.length, to: left.length, runs };
}

/** Its trace, a line a step. */
export function describeShrunk({ result, from, to, runs }: Shrunk): string {
  return [`${from} decisions cut down to ${to}, in ${runs} schedules:`, ...result.log].join("\n");
}

/** Which promise is broken, or which error is thrown, whatever the names and numbers in it. */
function kindOf(violation: string): string {
  return /^BrokenPromise: I\d+/.exec(violation)?.[0] ?? violation.replaceAll(/[0-9a-f]*\d[0-9a-f]*/g, "#");
}

/** Leaves out all that one process does, or all that happens beside them. */
async function withoutGroups(decisions: readonly Decision[], fails: Fails<Decision>, mayRun: () => boolean): Promise<readonly Decision[]> {
  let left = decisions;
  for (const name of new Set(decisions.map(({ play }) => play?.process))) {
    const others = left.filter(({ play }) => play?.process !== name);
    if (mayRun() && (await fails(others))) left = others;
  }
  return left;
}

/** Takes back each fault and each wait. */
async function calmed(decisions: readonly Decision[], fails: Fails<Decision>, mayRun: () => boolean): Promise<readonly Decision[]> {
  let left = decisions;
  for (const [place, { play, ...about }] of decisions.entries()) {
    if (play === undefined || play.how === "answered") continue;
    const calm = left.with(place, { ...about, play: { ...play, how: "answered" } });
    if (mayRun() && (await fails(calm))) left = calm;
  }
  return left;
}

type Fails<T> = (some: readonly T[]) => Promise<boolean>;

/** Leaves out runs of items, then ever shorter ones, as long as what is left still fails: Zeller's delta debugging. */
export async function smallest<T>(items: readonly T[], fails: Fails<T>, mayRun: () => boolean = () => true): Promise<readonly T[]> {
  let left = items;
  for (let length = Math.ceil(left.length / 2); length >= 1; length = length === 1 ? 0 : Math.ceil(length / 2)) {
    // From the end: what comes behind the cause goes first.
    for (let end = left.length; end > 0 && mayRun(); end -= length) {
      const others = [...left.slice(0, Math.max(0, end - length)), ...left.slice(end)];
      if (await fails(others)) left = others;
    }
  }
  return left;
}
