import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ChangeStream } from "../../examples/change-stream.ts";
import { gitHistory } from "../../examples/git-history.ts";
import { ndjsonFile } from "../../examples/ndjson-file.ts";
import { counting, runStream } from "../../examples/run-stream.ts";
import { json, openTable } from "../../lib/index.ts";
import { memory } from "../../lib/memory.ts";
import { makeRepository } from "./synthetic-repository.ts";

const ROOT = join(import.meta.dirname, "../..");
const COMMITS = 3_200;

let directory: string;
let repository: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "tidemark-examples-"));
  repository = await made("repository");
  makeRepository(repository, { commits: COMMITS });
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function made(name: string): Promise<string> {
  const path = join(directory, name);
  await mkdir(path);
  return path;
}

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function start(args: readonly string[], root = ROOT): Promise<Ran> {
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [join(root, "examples/main-job.ts"), ...args], {
      env: { ...process.env, TMPDIR: directory },
    });
    return { code: 0, stdout, stderr };
  } catch (error) {
    return error as Ran;
  }
}

describe("the main job on a repository of several thousand commits", () => {
  test("agrees with git at 20 commits spread over its history, while the superseded log expires", async () => {
    const ran = await start(["--repo", repository, "--json"]);
    expect(ran).toMatchObject({ code: 0, stderr: "" });
    const report = JSON.parse(ran.stdout);
    expect(report).toMatchObject({ steps: COMMITS, differences: 0, resumedAfter: 0 });
    expect(report.sections).toHaveLength(20);
    const places: number[] = report.sections.map(({ comparison }: { comparison: { place: number } }) => comparison.place);
    expect(places).toEqual(Array.from({ length: 20 }, (_, section) => 80 + section * 160));
    expect(report.sections.every(({ comparison }: { comparison: { records: number } }) => comparison.records > 20)).toBe(true);
    expect(report.sections.some(({ comparison }: { comparison: { from: number; replayed: number } }) => comparison.from > 0 && comparison.replayed > 0)).toBe(
      true,
    );
    expect(report.snapshots).toBeGreaterThanOrEqual(10);
    expect(report.expiredRedoFiles).toBeGreaterThan(report.redoFiles / 2);
    expect(report.refused.length + report.final.length).toBe(21);
    expect(report.refused.length).toBeGreaterThan(10);
    expect(report.notes).toEqual(["1 paths were left out: a key is UTF-8 text of at most 1024 bytes"]);
  });

  test("appends nothing twice when it is run again on the same store, and goes on where it stopped", async () => {
    const store = memory();
    const create = { captureAfterMutations: 1_000 };
    const stream = await gitHistory(repository);
    const half: ChangeStream = { ...stream, steps: COMMITS / 2, read: () => firstSteps(stream, COMMITS / 2) };
    for (const [run, resumedAfter, total] of [
      [half, 0, COMMITS / 2],
      [stream, COMMITS / 2, COMMITS],
      [stream, COMMITS, COMMITS],
    ] as const) {
      const { tally } = counting();
      await using table = await openTable({ name: "history", codec: json<unknown>(), store, create });
      const outcome = await runStream({ table, stream: run, tally, comparisons: 3, onSection: () => undefined });
      expect(outcome).toMatchObject({ resumedAfter, differences: 0 });
      expect(outcome.final.at(-1)?.place).toBe(total);
    }
  });

  test("refuses a store that holds another history", async () => {
    const other = await made("other");
    makeRepository(other, { commits: 40 }, 2);
    const store = `file:${join(directory, "one-store")}`;
    expect((await start(["--repo", other, "--store", store])).code).toBe(0);
    const again = await start(["--repo", repository, "--store", store]);
    expect(again.code).toBe(2);
    expect(again.stderr).toContain("name another store");
  });
});

async function* firstSteps(stream: ChangeStream, count: number): ReturnType<ChangeStream["read"]> {
  for await (const step of stream.read()) {
    yield step;
    if (step.place === count) return;
  }
}

test("a state that differs from what the witness says is told, with the key", async () => {
  const stream = await ndjsonFile(join(ROOT, "examples/european-union.ndjson"));
  const lying: ChangeStream = {
    ...stream,
    stateAfter: async (place) => (place < stream.steps ? stream.stateAfter(place) : new Map([...(await stream.stateAfter(place)), ["FR", { name: "Gaul" }]])),
  };
  await using table = await openTable({ name: "history", codec: json<unknown>(), store: memory(), create: { captureAfterMutations: 5 } });
  const outcome = await runStream({ table, stream: lying, tally: counting().tally, comparisons: 4, onSection: () => undefined });
  expect(outcome.differences).toBe(1);
  expect(outcome.final.at(-1)?.differences).toEqual([expect.stringMatching(/^FR is .*France.* has \{"name":"Gaul"\}$/)]);
});

describe("the main job", () => {
  test("runs on a file of changes, and compares with a model of its own", async () => {
    const file = join(directory, "changes.ndjson");
    const lines = Array.from({ length: 3_000 }, (_, n) => {
      const key = `k/${(n * 7) % 500}`;
      if (n % 11 === 0) return JSON.stringify({ op: "delete", key });
      return JSON.stringify(n % 3 === 0 ? { op: "patch", key, value: { n, gone: n % 2 === 0 ? null : [n] } } : { key, value: { n, at: { n } } });
    });
    await writeFile(file, `${lines.map((line, n) => (n % 90 === 89 ? `${line}\n` : line)).join("\n")}\n`);
    const ran = await start([file, "--check", "7"]);
    expect(ran).toMatchObject({ code: 0, stderr: "" });
    expect(ran.stdout).toContain("with a model in plain JavaScript everywhere");
    expect(ran.stdout.match(/all equal/g)).toHaveLength(7);
  });

  test("uses the data set among the examples in a copy without git history", async () => {
    const copy = await made("copy");
    for (const folder of ["lib", "cli", "examples"]) await cp(join(ROOT, folder), join(copy, folder), { recursive: true });
    await cp(join(ROOT, "package.json"), join(copy, "package.json"));
    await symlink(join(ROOT, "node_modules"), join(copy, "node_modules"));
    const ran = await start([], copy);
    expect(ran).toMatchObject({ code: 0, stderr: "" });
    expect(ran.stdout).toContain("European Union");
    expect(ran.stdout).toContain("27 records now");
  });

  test.each([
    ["an unknown flag", ["--nonsense"], "--nonsense"],
    ["two streams", ["--repo", ".", "file.ndjson"], "name one stream"],
    ["no number", ["--check", "many"], "--check"],
    ["a store that is no file", ["--store", "ftp://x"], "file:PATH"],
    ["a path without a repository", ["--repo", "/"], "no git repository"],
    ["a file that is not there", ["nowhere.ndjson"], "nowhere.ndjson"],
  ])("refuses %s in one line, and appends nothing", async (_, args, told) => {
    const ran = await start(args);
    expect(ran).toMatchObject({ code: 2, stdout: "" });
    expect(ran.stderr).toContain(told);
    expect(ran.stderr.trim().split("\n")).toHaveLength(1);
  });

  test("refuses a line that it does not understand before anything is appended, and says which", async () => {
    const file = join(directory, "bad.ndjson");
    await writeFile(file, '{"key":"a","value":1}\n{"key":"b","value":}\n');
    const ran = await start([file]);
    expect(ran).toMatchObject({ code: 2, stdout: "" });
    expect(ran.stderr).toContain("line 2");
  });
});
