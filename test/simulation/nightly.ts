// The long run of the simulation: every pair of steps of the canonical stories, then as many schedules as are asked for.
//   node test/simulation/nightly.ts [--schedules N] [--first SEED] [--no-exhaustive]
//     --schedules  1,000,000 by default
//     --first      the first seed; by default one of those that no other run uses: the day's number, times 10,000,000

import { parseArgs } from "node:util";
import { describeMet, exhaustiveTasks, play, seedTasks } from "./crew.ts";
import type { Task, TaskResult } from "./worker.ts";

const MS_PER_DAY = 86_400_000;
const SAY_EVERY_MS = 60_000;

const { values } = parseArgs({
  options: {
    schedules: { type: "string", default: "1000000" },
    first: { type: "string", default: String(Math.floor(Date.now() / MS_PER_DAY) * 10_000_000) },
    "no-exhaustive": { type: "boolean", default: false },
  },
});
const first = Number(values.first);
const count = Number(values.schedules);
if (!Number.isSafeInteger(first) || !Number.isSafeInteger(count) || count < 0) {
  console.error("usage: node test/simulation/nightly.ts [--schedules N] [--first SEED] [--no-exhaustive]");
  process.exit(2);
}
if (!values["no-exhaustive"]) await run("every fault and every pair of steps", exhaustiveTasks({ everyStep: true, oneIn: 1 }));
await run(`${count} schedules from seed ${first} on`, seedTasks(first, count));

async function run(what: string, tasks: readonly Task[]): Promise<void> {
  const startedAtMs = performance.now();
  let saidAtMs = startedAtMs;
  const say = (sum: TaskResult): void => console.log(`${what}: ${sum.schedules} in ${Math.round((performance.now() - startedAtMs) / 1000)} s`);
  const sum = await play(tasks, (soFar) => {
    if (performance.now() - saidAtMs > SAY_EVERY_MS) {
      saidAtMs = performance.now();
      say(soFar);
    }
    return soFar.violations.length === 0;
  });
  say(sum);
  console.log(describeMet(sum));
  for (const violation of sum.violations) console.error(violation);
  if (sum.violations.length > 0) process.exit(1);
}
