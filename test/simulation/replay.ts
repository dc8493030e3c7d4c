// Replays one schedule of the simulation: node test/simulation/replay.ts SEED [--log]
// Cuts one that breaks a promise down to the steps that it takes: node test/simulation/replay.ts SEED --shrink
// Or looks for the first seed that breaks a promise: node test/simulation/replay.ts FIRST --count N [--shrink]

import { parseArgs } from "node:util";
import { runSchedule } from "./schedule.ts";
import { describeShrunk, shrink } from "./shrink.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { log: { type: "boolean", default: false }, shrink: { type: "boolean", default: false }, count: { type: "string", default: "1" } },
});
const first = Number(positionals[0]);
if (!Number.isSafeInteger(first)) {
  console.error("usage: node test/simulation/replay.ts SEED [--log] [--shrink] [--count N]");
  process.exit(2);
}
for (let seed = first; seed < first + Number(values.count); seed++) {
  const result = await runSchedule(seed, { logged: values.log });
  for (const line of result.log) console.log(line);
  if (result.violation !== undefined) {
    console.error(`seed ${seed}, after ${result.steps} steps: ${result.violation}`);
    if (values.shrink) console.log(describeShrunk(await shrink(seed)));
    process.exit(1);
  }
}
console.log(`${values.count} schedule(s) from seed ${first} on: every promise held`);
