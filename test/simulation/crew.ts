// Spreads schedules over threads, and adds up what they met.

import { once } from "node:events";
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { PASTS } from "./stories.ts";
import type { Task, TaskResult } from "./worker.ts";

const THREADS_MAX = 8;
/** Few enough that no thread waits long for the last one. */
const TASK_SEEDS = 250;

export function seedTasks(first: number, count: number): readonly Task[] {
  return Array.from({ length: Math.ceil(count / TASK_SEEDS) }, (_, place) => {
    const from = first + place * TASK_SEEDS;
    return { kind: "seeds", from, to: Math.min(from + TASK_SEEDS, first + count) };
  });
}

/** Of the races all pairs of steps, or one in so many of those that change something. */
export function exhaustiveTasks(races: { readonly everyStep: boolean; readonly oneIn: number }): readonly Task[] {
  return [...PASTS.keys()].flatMap((past): Task[] => [
    { kind: "races", past, timePasses: true, ...races },
    { kind: "races", past, timePasses: false, ...races },
    { kind: "faults", past },
  ]);
}

/** @param onDone called behind each task with the sum so far; false to stop there */
export async function play(tasks: readonly Task[], onDone: (sum: TaskResult) => boolean = () => true): Promise<TaskResult> {
  const waiting = [...tasks];
  let sum: TaskResult = { schedules: 0, steps: 0, counts: new Map(), violations: [] };
  const lane = async (): Promise<void> => {
    const worker = new Worker(new URL("./worker.ts", import.meta.url));
    const ended = endOf(worker);
    ended.catch(() => undefined);
    try {
      for (let task = waiting.shift(); task !== undefined; task = waiting.shift()) {
        worker.postMessage(task);
        const [result] = (await Promise.race([once(worker, "message"), ended])) as [TaskResult];
        sum = added(sum, result);
        if (!onDone(sum)) waiting.splice(0);
      }
    } finally {
      await worker.terminate();
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, Math.min(THREADS_MAX, availableParallelism())) }, lane));
  return sum;
}

/** "met 3, of that 4" */
export function describeMet({ schedules, steps, counts }: TaskResult): string {
  const met = [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([what, times]) => `${what} ${times}`);
  return `${schedules} schedules, ${steps} steps; ${met.join(", ")}`;
}

async function endOf(worker: Worker): Promise<never> {
  const [code] = await once(worker, "exit");
  throw new Error(`a thread of the simulation ended with code ${code} and no result`);
}

function added(one: TaskResult, other: TaskResult): TaskResult {
  const counts = new Map(one.counts);
  for (const [what, times] of other.counts) counts.set(what, (counts.get(what) ?? 0) + times);
  return {
    schedules: one.schedules + other.schedules,
    steps: one.steps + other.steps,
    counts,
    violations: [...one.violations, ...other.violations],
  };
}
