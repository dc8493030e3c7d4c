// What a root keeps of the processes that worked in it: their ledgers, the log with what was freed of it, and the store's folder.

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { listObjects } from "../../lib/cleanup/sweep.ts";
import type { World } from "../../lib/ports/world.ts";
import { mutationsOf, producerOf, WRITERS } from "./batches.ts";
import { readLedger, sentBatches } from "./ledger.ts";
import { type Log, logOf, type Sent } from "./witness.ts";
import { freedOf, ledgerOf, SHARD, storeOf } from "./world.ts";

/** The whole log, freed files and kept ones. */
export async function readLog(root: string, world: World): Promise<Log> {
  const freed = (await readdir(freedOf(root))).filter((name) => name.endsWith(".redo"));
  const contents = new Map<string, Buffer>();
  for (const name of freed) contents.set(name, await readFile(join(freedOf(root), name)));
  for (const { key } of await listObjects(world.objects, `${SHARD.table}/${SHARD.shard}/`)) {
    const got = key.endsWith(".redo") ? await world.objects.get(key) : undefined;
    if (got?.kind === "found") contents.set(key.slice(key.lastIndexOf("/") + 1), got.body);
  }
  return logOf([...contents].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, bytes]) => bytes));
}

/** What the writers' ledgers tell. */
export function sentIn(root: string): readonly Sent[] {
  return WRITERS.flatMap((writer) =>
    sentBatches(readLedger(ledgerOf(root, writer))).map(({ sequence, ...times }) => ({
      ...times,
      name: `batch ${sequence} of ${writer}`,
      producer: producerOf(writer),
      mutations: mutationsOf(writer, sequence),
    })),
  );
}

/** The store's folder holds these objects, and nothing that somebody began and left. */
export async function checkFolder(root: string, objects: readonly string[]): Promise<void> {
  const held = (await readdir(storeOf(root), { recursive: true, withFileTypes: true })).filter((entry) => !entry.isDirectory());
  const names = held.map(({ parentPath, name }) => join(parentPath, name).slice(storeOf(root).length + 1));
  const own = /^(tidemark-store\.json|checkpoints\.sqlite(-wal|-shm)?|objects\/_store\.json)$/;
  expect(names.filter((name) => !own.test(name)).sort()).toEqual(objects.map((key) => `objects/${key}`).sort());
  for (const part of ["uploads", "tmp"]) expect(await readdir(join(storeOf(root), part)), part).toEqual([]);
}
