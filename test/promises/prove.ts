// Proves that the tests of the promises test them: plants each mutant in a copy of the repository, and sees the named tests
// fail there, and how many schedules the simulation takes to find it.
//   node test/promises/prove.ts [--only ID,ID] [--schedules N]     (N: 0 leaves the simulation out; 1,000 by default)

import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { MUTANTS, type Mutant } from "./mutants.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const COPIED = ["lib", "test", "package.json", "tsconfig.json", "vitest.config.ts"];
/** A mutant may make the core loop. */
const TIMEOUT_MS = 300_000;

const { values } = parseArgs({ options: { only: { type: "string" }, schedules: { type: "string", default: "1000" } } });
const only = values.only?.split(",");
const copy = mkdtempSync(join(tmpdir(), "tidemark-mutants-"));
try {
  for (const name of COPIED) cpSync(join(ROOT, name), join(copy, name), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"));
  if (!testsPass("[abdefginI][0-9]")) throw new Error("the tests must pass before they are to fail");
  const missed = MUTANTS.filter(({ id }) => only?.includes(id) ?? true).filter((mutant) => !isFound(mutant));
  console.log(missed.length === 0 ? "every mutant was found by its tests" : `not found: ${missed.map(({ id }) => id).join(", ")}`);
  process.exitCode = missed.length === 0 ? 0 : 1;
} finally {
  rmSync(copy, { recursive: true });
}

function isFound(mutant: Mutant): boolean {
  const path = join(copy, mutant.file);
  const source = readFileSync(path, "utf8");
  const places = source.split(mutant.find).length - 1;
  if (places !== 1) throw new Error(`the text of mutant ${mutant.id} occurs ${places} times in ${mutant.file}`);
  writeFileSync(
    path,
    source.replace(mutant.find, () => mutant.replace),
  );
  try {
    const found = !testsPass(`^.*${mutant.tests.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")}`);
    const simulated = simulate(Number(values.schedules));
    console.log(`${mutant.id.padEnd(12)} ${(found ? "found" : "MISSED").padEnd(7)} ${simulated.padEnd(90)} ${mutant.what}`);
    return found;
  } finally {
    writeFileSync(path, source);
  }
}

function testsPass(pattern: string): boolean {
  const files = ["test/promises/holes.test.ts", "test/promises/promises.test.ts"];
  return run(["node_modules/vitest/vitest.mjs", "run", ...files, "-t", pattern]).status === 0;
}

function simulate(schedules: number): string {
  if (schedules === 0) return "";
  const { status, stderr } = run(["test/simulation/replay.ts", "1", "--count", String(schedules)]);
  if (status === 0) return `not in ${schedules} schedules`;
  const [, seed, violation] = /seed (\d+), after \d+ steps: (.*)/.exec(stderr) ?? [undefined, "?", status === null ? "no end" : stderr.slice(-80)];
  return `seed ${seed}: ${violation}`.slice(0, 90);
}

function run(args: readonly string[]): { readonly status: number | null; readonly stderr: string } {
  return spawnSync(process.execPath, args, { cwd: copy, encoding: "utf8", timeout: TIMEOUT_MS });
}
