// Plays its share of the schedules in a thread of its own; see crew.ts.

import { parentPort } from "node:worker_threads";
import { everyFault, everyRace } from "./exhaustive.ts";
import { runSchedule } from "./schedule.ts";
import { describeShrunk, shrink } from "./shrink.ts";
import { PASTS } from "./stories.ts";

/** `seeds`: from `from` to `to`, which is excluded. The others go through all cases behind one past, by its place among PASTS. */
export type Task =
  | { readonly kind: "seeds"; readonly from: number; readonly to: number }
  | { readonly kind: "faults"; readonly past: number }
  | { readonly kind: "races"; readonly past: number; readonly timePasses: boolean; readonly everyStep: boolean; readonly oneIn: number };

export interface TaskResult {
  readonly schedules: number;
  readonly steps: number;
  readonly counts: ReadonlyMap<string, number>;
  /** How to play each again; behind the first of a task, what it was cut down to. */
  readonly violations: readonly string[];
}

const VIOLATIONS_MAX = 5;

async function seeds(from: number, to: number): Promise<TaskResult> {
  const counts = new Map<string, number>();
  const violations: string[] = [];
  let steps = 0;
  let seed = from;
  for (; seed < to && violations.length < VIOLATIONS_MAX; seed++) {
    const result = await runSchedule(seed);
    steps += result.steps;
    for (const [what, times] of result.counts) counts.set(what, (counts.get(what) ?? 0) + times);
    if (result.violation === undefined) continue;
    const trace = violations.length === 0 ? `\n${describeShrunk(await shrink(seed))}` : "";
    violations.push(`node test/simulation/replay.ts ${seed} --log   # ${result.violation}${trace}`);
  }
  return { schedules: seed - from, steps, counts, violations };
}

async function cases(task: Exclude<Task, { kind: "seeds" }>): Promise<TaskResult> {
  const past = PASTS[task.past];
  const { cases: schedules, violations } = task.kind === "faults" ? await everyFault(past) : await everyRace(past, task);
  return { schedules, steps: 0, counts: new Map([[task.kind, schedules]]), violations: violations.slice(0, VIOLATIONS_MAX) };
}

async function answer(task: Task): Promise<void> {
  parentPort?.postMessage(task.kind === "seeds" ? await seeds(task.from, task.to) : await cases(task));
}

// What it throws ends the thread, and is told by that.
parentPort?.on("message", (task: Task) => void answer(task));
