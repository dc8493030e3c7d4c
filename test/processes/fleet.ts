// Starts, kills and stops the processes of a test.

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { initLocalStore } from "../../lib/adapters/local/store.ts";
import { createTable } from "../../lib/jobs/tables.ts";
import { freedOf, openWorld, SHARD, storeOf } from "./world.ts";

const WORKER = fileURLToPath(new URL("./worker.ts", import.meta.url));

const running = new Set<ChildProcess>();

export interface Worker {
  readonly name: string;
  /** Settles when the process is at work. */
  readonly ready: Promise<void>;
  /** Settles when it next says that it is there, or ends. */
  reached(stage: string): Promise<void>;
  kill(): Promise<void>;
  /** Stops it where it is, for so long, and lets it go on: SIGSTOP and SIGCONT. */
  freeze(ms: number): Promise<void>;
  /** Lets it finish what it is at; throws if it failed. */
  stop(): Promise<void>;
  /** Settles when it ends by itself; throws if it failed. */
  readonly ended: Promise<void>;
}

export async function makeRoot(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "tidemark-processes-"));
  await initLocalStore(storeOf(root));
  await mkdir(join(root, "ledgers"));
  await mkdir(freedOf(root));
  const world = await openWorld(root);
  await createTable(world, { name: SHARD.table });
  await world.close();
  return root;
}

/** Ends what a failed test left running, and removes its root. */
export async function removeRoot(root: string): Promise<void> {
  await Promise.all([...running].map(killAndWait));
  await rm(root, { recursive: true, force: true });
}

export function startWriter(root: string, name: string, pace: { readonly batches: number; readonly pauseMs: number }): Worker {
  return start(root, name, ["writer", root, name, String(pace.batches), String(pace.pauseMs)]);
}

export function startCapturer(root: string, name: string): Worker {
  return start(root, name, ["capturer", root, name]);
}

function start(root: string, name: string, parameters: readonly string[]): Worker {
  // With its code compiled once, a process is at work in half the time.
  const worker = fork(WORKER, parameters, { env: { ...process.env, NODE_COMPILE_CACHE: join(root, "compiled") } });
  running.add(worker);
  let isKilled = false;
  const ended = exitOf(worker).then((code) => {
    if (code !== 0 && !isKilled) throw new Error(`${name} ended with ${code}`);
  });
  ended.catch(() => undefined);
  const ready = Promise.race([reached("ready"), ended]);
  ready.catch(() => undefined);
  return {
    name,
    ready,
    ended,
    reached: (stage) => Promise.race([reached(stage), ended]),
    async kill() {
      isKilled = true;
      await killAndWait(worker);
    },
    async freeze(ms) {
      worker.kill("SIGSTOP");
      await pause(ms);
      worker.kill("SIGCONT");
    },
    async stop() {
      if (worker.connected) worker.send("stop", () => undefined);
      await ended;
    },
  };

  function reached(stage: string): Promise<void> {
    return new Promise((resolve) => {
      worker.on("message", function hear(message) {
        if (message !== stage) return;
        worker.off("message", hear);
        resolve();
      });
    });
  }
}

async function killAndWait(worker: ChildProcess): Promise<void> {
  const exit = once(worker, "exit");
  if (worker.kill("SIGKILL")) await exit;
}

async function exitOf(worker: ChildProcess): Promise<number | null> {
  const [code] = await once(worker, "exit");
  running.delete(worker);
  return code;
}
