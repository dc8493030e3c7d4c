// Runs tests for Stryker without starting anything for a mutant: the test files are loaded once, by Node itself, and a
// mutant is a switch in the code that they have loaded. Stryker's own runner for vitest starts a worker and evaluates the
// files again for each, which takes a hundred times as long.
//
// A test may only fail where the code is wrong: what a mutant leaves behind must not reach the next one. So files keep no
// state between tests but in hooks, and those are run again each time, `beforeAll` too.

import { registerHooks } from "node:module";
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { pathToFileURL } from "node:url";
import { INSTRUMENTER_CONSTANTS, type InstrumenterContext, type MutantCoverage } from "@stryker-mutator/api/core";
import {
  determineHitLimitReached,
  type DryRunOptions,
  type DryRunResult,
  DryRunStatus,
  type MutantRunOptions,
  type MutantRunResult,
  type TestResult,
  type TestRunner,
  type TestRunnerCapabilities,
  TestStatus,
  toMutantRunResult,
} from "@stryker-mutator/api/test-runner";
import { limitRuns } from "./properties.ts";
import type { Scope, Test } from "./suite.ts";

/** The tests that are to notice a mutant, by the folder of lib/ that it is in: its own, and quick ones that stand on it. */
const TESTS: Readonly<Record<string, readonly string[]>> = {
  model: ["test/unit/model/*.test.ts", "test/unit/machines/keyed/patch.test.ts"],
  checkpoint: ["test/unit/checkpoint/*.test.ts"],
  cleanup: ["test/unit/cleanup/*.test.ts"],
  planner: ["test/unit/planner/*.test.ts"],
  attachments: ["test/unit/attachments/*.test.ts"],
  "redo-log": ["test/unit/redo-log/*.test.ts"],
  recovery: ["test/unit/recovery/*.test.ts", "test/unit/jobs/repair.test.ts"],
  jobs: ["test/unit/jobs/*.test.ts"],
  machines: ["test/unit/machines/keyed/*.test.ts"],
  snapshot: ["test/unit/snapshot/*.test.ts", "test/unit/snapshot/parquet/damage.test.ts"],
  "snapshot/parquet": ["test/unit/snapshot/parquet/*.test.ts", "test/unit/snapshot/read.test.ts"],
};
/** Those of the protocol's known holes, for every folder. */
const HOLES = "test/promises/holes.test.ts";
/** They start another engine, which takes seconds. */
const LEFT_OUT = ["test/unit/snapshot/parquet/engines.test.ts", "test/unit/snapshot/parquet/splices.test.ts"];
/** Titles of tests of large values or of time, which take seconds as well where the code counts what it does. */
const LONG = new RegExp(
  [
    "takes time by the bytes|result would be too large|whatever the order of commits, captures, cleanups|the deepest patch of the deepest",
    "refuses nesting beyond the limit, and|the largest keys, values and batches pass",
    "memcmp's, whatever the keys are|so many keys that digits are wide|live keys and values, however often they change|long values, superseded often",
    "the patches of an unknown base once a put|a log of many keys whose values come and go",
    "however often a snapshot is spliced|every flipped byte of a snapshot with (several|rows)|every flipped byte is found where|no flipped byte changes",
    "a snapshot that was cut|ranges that cross pages and row groups|one record of a million|a point read finds each record as it is",
  ].join("|"),
);
/** Runs of a property at most; where each run makes snapshots, fewer. */
const RUNS_MAX = 100;
const SNAPSHOT_RUNS_MAX = 5;
/** Where in the sandbox a process tells the next one how long each test took, and how often it reached each mutant. */
const DURATIONS = "durations.json";
const HITS = "hits.json";
/**
 * Code that runs ten times as often in a test as without the mutant counts as endless, if that is often; Stryker itself waits for
 * a hundred times as often as in all tests together.
 */
const HITS_TIMES = 10;
const HITS_MIN = 10_000;
/** A test waits for what never comes once the event loop had next to nothing to do for so many looks, one after the other. */
const IDLE_LOOKS = 3;
const LOOK_EVERY_MS = 200;
const IDLE_BELOW = 0.02;

const stryker: InstrumenterContext = {};
Object.assign(globalThis, { [INSTRUMENTER_CONSTANTS.NAMESPACE]: stryker });

registerHooks({
  resolve(specifier, context, next) {
    const isTest = context.parentURL?.includes("/test/") && !context.parentURL.startsWith(import.meta.dirname, "file://".length);
    if (isTest && specifier === "vitest") return next(new URL("suite.ts", import.meta.url).href, context);
    if (isTest && specifier === "fast-check") return next(new URL("properties.ts", import.meta.url).href, context);
    return next(specifier, context);
  },
});

export class LoadedOnceRunner implements TestRunner {
  private tests = new Map<string, Test>();
  private durations: Record<string, number> = {};
  private hits: MutantCoverage["perTest"] = {};

  capabilities(): TestRunnerCapabilities {
    return { reloadEnvironment: false };
  }

  async dryRun({ files = [] }: DryRunOptions): Promise<DryRunResult> {
    await this.load(files.map(folderOf));
    const tests = await this.run([...this.tests.values()]);
    const mutantCoverage = withHooksShared(stryker.mutantCoverage, [...this.tests.values()]);
    // A copy: the code goes on counting.
    this.hits = structuredClone(mutantCoverage.perTest);
    writeFileSync(DURATIONS, JSON.stringify(this.durations));
    writeFileSync(HITS, JSON.stringify(this.hits));
    return { status: DryRunStatus.Complete, tests, mutantCoverage };
  }

  async mutantRun({ activeMutant, sandboxFileName, testFilter, hitLimit, mutantActivation }: MutantRunOptions): Promise<MutantRunResult> {
    if (mutantActivation === "static") stryker.activeMutant = activeMutant.id;
    await this.load([folderOf(sandboxFileName)]);
    const tests = [...this.tests.values()].filter(({ id }) => testFilter?.includes(id) ?? true);
    tests.sort((a, b) => (this.durations[a.id] ?? 0) - (this.durations[b.id] ?? 0));
    Object.assign(stryker, { activeMutant: activeMutant.id });
    const results = await this.run(tests, (test) =>
      Math.min(hitLimit ?? Infinity, Math.max(HITS_MIN, HITS_TIMES * (this.hits[test.id]?.[activeMutant.id] ?? 0))),
    );
    const reached = determineHitLimitReached(stryker.hitCount, stryker.hitLimit);
    Object.assign(stryker, { activeMutant: undefined, hitCount: undefined, hitLimit: undefined });
    const hung = results.some((one) => one.status === TestStatus.Failed && one.failureMessage === HUNG);
    if (hung) return toMutantRunResult({ status: DryRunStatus.Timeout, reason: HUNG });
    return toMutantRunResult(reached ?? { status: DryRunStatus.Complete, tests: results });
  }

  private async load(folders: readonly string[]): Promise<void> {
    if (this.tests.size > 0) return;
    const patterns = new Set([...folders.flatMap((folder) => TESTS[folder]), HOLES]);
    const { testsOf } = await import("./suite.ts");
    for (const path of globSync([...patterns]).sort()) {
      if (LEFT_OUT.includes(path)) continue;
      for (const test of await testsOf(path, () => import(pathToFileURL(path).href))) {
        if (!LONG.test(test.id)) this.tests.set(test.id, test);
      }
    }
    try {
      this.durations = JSON.parse(readFileSync(DURATIONS, "utf8"));
      this.hits = JSON.parse(readFileSync(HITS, "utf8"));
    } catch {
      this.durations = {};
    }
  }

  /** All tests; or, with a mutant, up to the first that fails, and each until it reaches the mutant more often than `hitLimitOf` it. */
  private async run(tests: readonly Test[], hitLimitOf?: (test: Test) => number): Promise<TestResult[]> {
    const results: TestResult[] = [];
    const prepared = new Set<Scope>();
    for (const test of tests) {
      limitRuns(test.file.startsWith("test/unit/snapshot/") ? SNAPSHOT_RUNS_MAX : RUNS_MAX);
      const before = process.cpuUsage();
      if (hitLimitOf !== undefined) Object.assign(stryker, { hitCount: 0, hitLimit: hitLimitOf(test) });
      const result = await outcomeOf(test, prepared);
      results.push(result);
      if (hitLimitOf === undefined) this.durations[test.id] = process.cpuUsage(before).user / 1000;
      if (hitLimitOf !== undefined && result.status === TestStatus.Failed) break;
    }
    return results;
  }
}

const HUNG = "it waited for what never came";

async function outcomeOf(test: Test, prepared: Set<Scope>): Promise<TestResult> {
  const startedAtMs = performance.now();
  const told = () => ({ id: test.id, name: test.id, fileName: test.file, timeSpentMs: Math.round(performance.now() - startedAtMs) });
  const stray = Promise.withResolvers<never>();
  const onStray = (error: unknown) => stray.reject(error);
  process.on("unhandledRejection", onStray);
  process.on("uncaughtException", onStray);
  const watch = idleWatch(() => stray.reject(new Error(HUNG)));
  try {
    await Promise.race([runTest(test, prepared), stray.promise]);
    return { ...told(), status: TestStatus.Success };
  } catch (error) {
    return { ...told(), status: TestStatus.Failed, failureMessage: error instanceof Error ? error.message : String(error) };
  } finally {
    watch[Symbol.dispose]();
    process.off("unhandledRejection", onStray);
    process.off("uncaughtException", onStray);
    delete stryker.currentTestId;
  }
}

async function runTest(test: Test, prepared: Set<Scope>): Promise<void> {
  const scopes = scopesOf(test.scope);
  for (const scope of scopes.filter((one) => !prepared.has(one))) {
    prepared.add(scope);
    stryker.currentTestId = hooksId(test.file);
    for (const hook of scope.beforeAll) await hook(CONTEXT);
  }
  stryker.currentTestId = test.id;
  for (const hook of scopes.flatMap(({ beforeEach }) => beforeEach)) await hook(CONTEXT);
  try {
    await test.body(CONTEXT);
  } finally {
    for (const hook of scopes.toReversed().flatMap(({ afterEach }) => afterEach)) await hook(CONTEXT);
  }
}

const CONTEXT = {
  skip: (why?: string) => {
    throw new Error(`skipped: ${why}`);
  },
};

function scopesOf(scope: Scope | undefined): readonly Scope[] {
  return scope === undefined ? [] : [...scopesOf(scope.parent), scope];
}

function idleWatch(onIdle: () => void): Disposable {
  let before = performance.eventLoopUtilization();
  let idle = 0;
  const timer = setInterval(() => {
    const now = performance.eventLoopUtilization();
    idle = performance.eventLoopUtilization(now, before).utilization < IDLE_BELOW ? idle + 1 : 0;
    before = now;
    if (idle >= IDLE_LOOKS) onIdle();
  }, LOOK_EVERY_MS);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

function hooksId(file: string): string {
  return `${file}#before all`;
}

/** What the hooks before all tests of a file reach is reached by each of its tests. */
function withHooksShared(coverage: MutantCoverage | undefined, tests: readonly Test[]): MutantCoverage {
  const { static: atLoad, perTest } = coverage ?? { static: {}, perTest: {} };
  for (const { id, file } of tests) perTest[id] = { ...perTest[hooksId(file)], ...perTest[id] };
  for (const { file } of tests) delete perTest[hooksId(file)];
  // Of a mutant that tests reach as well, these are to tell: it needs no new process, in which it would be there at load.
  for (const mutant of Object.values(perTest).flatMap((reached) => Object.keys(reached))) delete atLoad[mutant];
  return { static: atLoad, perTest };
}

function folderOf(path: string): string {
  return /\blib\/(snapshot\/parquet|[^/]+)\//.exec(path)?.[1] ?? "";
}
