// Proves that the tests of the promises test them: plants each mutant in a copy of the repository, and sees the tests that
// are named for it fail there, and the simulation find it.
//   node test/promises/prove.ts [--only ID,ID] [--schedules N] [--no-tests] [--lanes N]
//     --schedules  the simulation must find each within so many; 0 leaves it out; default: 20,000
//     --no-tests   the named tests are left out
//     --lanes      mutants that are proved at a time; default: 2

import { execFile } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { MUTANTS, type Mutant } from "./mutants.ts";
import { PLANTED } from "./planted.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const COPIED = ["cli", "infra", "lib", "test", "package.json", "tsconfig.json", "vitest.config.ts"];
/** A mutant may make the core loop. */
const TESTS_TIMEOUT_MS = 900_000;
const SCHEDULE_TIMEOUT_MS = 200;
/** Other seeds than those of the tests. */
const FIRST_SEED = 1_000_001;

type Proved = Omit<Mutant, "tests"> & Partial<Pick<Mutant, "tests">>;

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    schedules: { type: "string", default: "20000" },
    "no-tests": { type: "boolean", default: false },
    lanes: { type: "string", default: "2" },
  },
});
const schedules = Number(values.schedules);
const only = values.only?.split(",");
const waiting: Proved[] = [...MUTANTS, ...PLANTED].filter(({ id }) => only?.includes(id) ?? true);
const missed: string[] = [];
await Promise.all(Array.from({ length: Number(values.lanes) }, lane));
console.log(missed.length === 0 ? "every mutant was found" : `not found: ${missed.join(", ")}`);
process.exitCode = missed.length === 0 ? 0 : 1;

/** Proves one mutant after the other, in a copy of its own. */
async function lane(): Promise<void> {
  const copy = mkdtempSync(join(tmpdir(), "tidemark-mutants-"));
  try {
    for (const name of COPIED) cpSync(join(ROOT, name), join(copy, name), { recursive: true });
    symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"));
    if (!values["no-tests"] && !(await testsPass(copy, "[abdefgin][0-9]|I[1-9] "))) throw new Error("the tests must pass before they are to fail");
    for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
      if (!(await isFound(copy, mutant))) missed.push(mutant.id);
    }
  } finally {
    rmSync(copy, { recursive: true });
  }
}

async function isFound(copy: string, mutant: Proved): Promise<boolean> {
  const path = join(copy, mutant.file);
  const source = readFileSync(path, "utf8");
  const places = source.split(mutant.find).length - 1;
  if (places !== 1) throw new Error(`the text of mutant ${mutant.id} occurs ${places} times in ${mutant.file}`);
  writeFileSync(
    path,
    source.replace(mutant.find, () => mutant.replace),
  );
  try {
    const byTests = mutant.tests === undefined || values["no-tests"] ? "-" : (await testsPass(copy, `^.*${escaped(mutant.tests)}`)) ? "MISSED" : "found";
    const bySimulation = schedules === 0 || mutant.notSimulated !== undefined ? `- ${mutant.notSimulated ?? ""}` : await simulated(copy);
    console.log(`${mutant.id.padEnd(12)} tests: ${byTests.padEnd(7)} simulation: ${bySimulation.padEnd(100)} ${mutant.what}`);
    return byTests !== "MISSED" && !bySimulation.startsWith("MISSED");
  } finally {
    writeFileSync(path, source);
  }
}

async function testsPass(copy: string, pattern: string): Promise<boolean> {
  const files = ["holes", "promises", "bounded"].map((name) => `test/promises/${name}.test.ts`);
  return (await run(copy, TESTS_TIMEOUT_MS, ["node_modules/vitest/vitest.mjs", "run", ...files, "-t", pattern])).code === 0;
}

/** How many schedules it took, and which promise was broken. */
async function simulated(copy: string): Promise<string> {
  const { code, stderr } = await run(copy, schedules * SCHEDULE_TIMEOUT_MS, ["test/simulation/replay.ts", String(FIRST_SEED), "--count", String(schedules)]);
  if (code === 0) return `MISSED in ${schedules} schedules`;
  const found = /seed (\d+), after \d+ steps: (.*)/.exec(stderr);
  if (found === null) return `MISSED: ${stderr.slice(-80).trim()}`;
  return `${Number(found[1]) - FIRST_SEED + 1}: ${found[2]}`.slice(0, 100);
}

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

function run(cwd: string, timeout: number, args: readonly string[]): Promise<{ readonly code: number | null; readonly stderr: string }> {
  const { promise, resolve } = Promise.withResolvers<{ readonly code: number | null; readonly stderr: string }>();
  const child = execFile(process.execPath, args, { cwd, timeout, maxBuffer: 1 << 28 }, (_, __, stderr) => resolve({ code: child.exitCode, stderr }));
  return promise;
}
