// Which branches of the core the simulation takes, by V8's own count, and those that it does not.
//   node test/simulation/coverage.ts [--schedules N] [--first SEED] [--stories] [--least PERCENT]
//     --stories  each fault of the canonical stories as well
//     --least    ends with code 1 where fewer branches are taken
//
// A branch is a block that V8 counts; a function that is never called is one that is not taken. `c8 report` says the same of
// NODE_V8_COVERAGE, but for functions that are never called.

import { readFileSync } from "node:fs";
import { Session } from "node:inspector/promises";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const CORE = /^lib\/(model|checkpoint|cleanup|planner|redo-log|snapshot|recovery|machines|jobs|attachments)\//;
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const LINE_MAX = 120;

const { values } = parseArgs({
  options: {
    schedules: { type: "string", default: "1500" },
    first: { type: "string", default: "1" },
    stories: { type: "boolean", default: false },
    least: { type: "string", default: "0" },
  },
});

const session = new Session();
session.connect();
await session.post("Profiler.enable");
await session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
await play();
const { result } = await session.post("Profiler.takePreciseCoverage");

const folders = new Map<string, { branches: number; taken: number }>();
for (const { url, functions } of result) {
  if (!url.startsWith("file:")) continue;
  const file = relative(ROOT, fileURLToPath(url));
  const [, folder] = CORE.exec(file) ?? [];
  if (folder === undefined) continue;
  const sums = folders.get(folder) ?? { branches: 0, taken: 0 };
  folders.set(folder, sums);
  const text = readFileSync(fileURLToPath(url), "utf8");
  for (const { ranges } of functions) {
    for (const { count, startOffset } of ranges) {
      sums.branches += 1;
      if (count > 0) sums.taken += 1;
      else console.log(`${file}:${text.slice(0, startOffset).split("\n").length}  ${lineAt(text, startOffset)}`);
    }
  }
}
for (const [folder, sums] of [...folders].sort()) console.log(describe(folder, sums));
const all = [...folders.values()].reduce((sum, { branches, taken }) => ({ branches: sum.branches + branches, taken: sum.taken + taken }), {
  branches: 0,
  taken: 0,
});
console.log(describe("the core", all));
if ((all.taken * 100) / all.branches < Number(values.least)) process.exitCode = 1;

/** Loaded behind the beginning of the count, so that what runs while modules load is counted as well. */
async function play(): Promise<void> {
  const { runSchedule } = await import("./schedule.ts");
  const first = Number(values.first);
  for (let seed = first; seed < first + Number(values.schedules); seed++) {
    const { violation } = await runSchedule(seed);
    if (violation !== undefined) throw new Error(`seed ${seed}: ${violation}`);
  }
  if (!values.stories) return;
  const { everyFault } = await import("./exhaustive.ts");
  const { PASTS } = await import("./stories.ts");
  for (const past of PASTS) await everyFault(past);
}

function describe(what: string, { branches, taken }: { readonly branches: number; readonly taken: number }): string {
  return `${what.padEnd(12)} ${taken} of ${branches} branches, ${((taken * 100) / branches).toFixed(2)} %`;
}

/** What stands where a range begins, from there to its line's end. */
function lineAt(text: string, offset: number): string {
  const rest = text.slice(offset, offset + LINE_MAX).trimStart();
  return rest.split("\n")[0];
}
