// What several processes do to one store, and what is left when they are killed.

import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { initLocalStore, openLocalStore } from "../../../../lib/adapters/local/store.ts";
import { bodyOfKey } from "./bodies.ts";

const WORKER = fileURLToPath(new URL("./worker.ts", import.meta.url));
const PROCESSES = 4;
const LONG = { timeout: 120_000 };

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "tidemark-local-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

test("of several processes that make one store, one makes it and all have it", LONG, async () => {
  const path = join(directory, "a", "b");
  const kinds = await Promise.all(range(PROCESSES).map((number) => resultOf(start("init", path, `${number}`))));
  expect(kinds.sort()).toEqual(["created", ...Array(PROCESSES - 1).fill("exists")]);
  await (await openLocalStore(path)).close();
});

test("of several processes that race for a key, exactly one wins it", LONG, async () => {
  await initLocalStore(directory);
  const won = await Promise.all(range(PROCESSES).map(async (number) => resultOf(start("claim", directory, `${number}`))));
  const store = await openLocalStore(directory);
  const { objects } = await store.objects.list({ prefix: "race/" });
  expect(won.flat().sort()).toEqual(objects.map(({ key }) => key).sort());
  expect(objects).toHaveLength(60);
  for (const [number, keys] of won.entries()) {
    for (const key of keys as string[]) expect(await store.objects.get(key)).toEqual({ kind: "found", body: Buffer.from(`${number}`), size: 1 });
  }
  expect(await readdir(join(directory, "tmp"))).toEqual([]);
  await store.close();
});

test("a creator loses nothing to processes that prune the directory under it", LONG, async () => {
  await initLocalStore(directory);
  expect(await Promise.all(range(PROCESSES).map((number) => resultOf(start("churn", directory, `${number}`))))).toEqual(Array(PROCESSES).fill(0));
  expect(await readdir(join(directory, "objects"))).toEqual([]);
});

test("conditional writes of several processes lose no count", LONG, async () => {
  await initLocalStore(directory);
  await Promise.all(range(PROCESSES).map((number) => resultOf(start("count", directory, `own ${number}`))));
  const store = await openLocalStore(directory);
  expect((await store.checkpoints.query({ partition: "p" })).items.map(({ attributes }) => attributes.count)).toEqual([60, 60, 60, 60, 240]);
  await store.close();
});

test("a writer killed at any moment leaves whole objects only, and the next to open sweeps what it was at", LONG, async () => {
  await initLocalStore(directory);
  let leftBehind = 0;
  let written = 0;
  for (const [round, job] of ["write", "upload", "write", "upload", "write", "upload", "write", "upload"].entries()) {
    const worker = start(job, directory, `${round}`);
    await once(worker, "message");
    await pause(60 + round * 23);
    worker.kill("SIGKILL");
    await once(worker, "exit");
    leftBehind += (await temporaries(directory)).length;

    const store = await openLocalStore(directory);
    expect(await temporaries(directory)).toEqual([]);
    const { objects } = await store.objects.list({ prefix: "" });
    written += objects.length;
    for (const { key, size } of objects) {
      const found = await store.objects.get(key);
      expect(size).toBe(key.startsWith("o/") ? 3_000_000 : 6_000_000);
      expect(found.kind === "found" && found.body.equals(bodyOfKey(key, size)), key).toBe(true);
    }
    const open = await store.objects.listUploads({ prefix: "" });
    for (const upload of open.uploads) await store.objects.abortUpload(upload);
    expect(await readdir(join(directory, "uploads"))).toEqual([]);
    await store.objects.deleteMany(objects.map(({ key }) => key));
    await store.close();
  }
  expect(written).toBeGreaterThan(0);
  expect(leftBehind).toBeGreaterThan(0);
});

test("what a running process is at is not swept", LONG, async () => {
  await initLocalStore(directory);
  const worker = start("write", directory, "live");
  await once(worker, "message");
  for (let opened = 0; opened < 20; opened++) await (await openLocalStore(directory)).close();
  expect(worker.exitCode).toBeNull();
  worker.kill("SIGKILL");
  await once(worker, "exit");
});

test("where there is no space the fault says so, names the directory, and nothing is left half-written", LONG, async () => {
  await initLocalStore(directory);
  // The limit of a file's size stands for a full disk: it needs no rights, and reaches the adapter by the same way.
  const limited = `ulimit -f 2048; exec "$0" "$@"`;
  const worker = spawn("sh", ["-c", limited, process.execPath, WORKER, "overflow", directory, "0"], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const { faults, created } = (await resultOf(worker)) as { faults: { kind: string; code: string; message: string }[]; created: unknown };
  for (const fault of faults) {
    expect(fault).toMatchObject({ kind: "wait", code: "no-space" });
    expect(fault.message).toContain(directory);
  }
  expect(faults).toHaveLength(2);
  expect(created).toEqual({ kind: "created" });
  expect(await temporaries(directory)).toEqual([]);
  const store = await openLocalStore(directory);
  expect((await store.objects.list({ prefix: "" })).objects).toEqual([{ key: "full/small", size: 10 }]);
  await store.close();
});

test("the store keeps the warning about SQLite back, and no other", LONG, async () => {
  await initLocalStore(directory);
  expect(await resultOf(start("warnings", directory, "0"))).toEqual(["another warning"]);
});

function start(job: string, path: string, name: string): ChildProcess {
  return fork(WORKER, [job, path, name]);
}

async function resultOf(worker: ChildProcess): Promise<unknown> {
  const exit = once(worker, "exit");
  const messages: unknown[] = [];
  worker.on("message", (message) => messages.push(message));
  expect((await exit)[0]).toBe(0);
  const last = messages.at(-1) as { result: unknown };
  return last.result;
}

/** Everything that is not finished, wherever it lies. */
async function temporaries(path: string): Promise<string[]> {
  return (await readdir(path, { recursive: true })).filter((name) => name.endsWith(".tmp") && !/\.tmp\/./.test(name));
}

function range(length: number): number[] {
  return Array.from({ length }, (_, place) => place);
}
