// Worlds for tests of failures, jobs as the command line runs them, and the law that whatever failed, once a later backup and
// a cleanup have passed, nothing is left over and nothing is missing.

import { expect } from "vitest";
import { memoryCheckpointStore } from "../../lib/adapters/memory/checkpoint-store.ts";
import { type MemoryObjectStore, memoryObjectStore } from "../../lib/adapters/memory/object-store.ts";
import { seededRandom } from "../../lib/adapters/memory/random.ts";
import { SILENT } from "../../lib/api/store.ts";
import { queryAll } from "../../lib/checkpoint/control.ts";
import { NOTE_SORT } from "../../lib/checkpoint/items.ts";
import { type CleanupReport, cleanupShard } from "../../lib/jobs/cleanup.ts";
import { snapshotShard } from "../../lib/jobs/snapshot.ts";
import { getTable } from "../../lib/jobs/tables.ts";
import { parseObjectName } from "../../lib/model/names.ts";
import type { Clock } from "../../lib/ports/clock.ts";
import type { World } from "../../lib/ports/world.ts";
import { type BackupOutcome, type BackupRequest, backUp } from "../../lib/sources/influxdb/backup.ts";
import { type ClientOptions, influxClient } from "../../lib/sources/influxdb/client.ts";
import { parseAddress } from "../../lib/sources/influxdb/connection.ts";
import { idOf, listGenerations, openBackup } from "../../lib/sources/influxdb/open-backup.ts";
import { digestOf, type GenerationRecord } from "../../lib/sources/influxdb/records.ts";
import { verifyBackup } from "../../lib/sources/influxdb/verify.ts";

export const NAME = "metrics";
/** More than the lease of a backup lasts. */
export const LEASE_LAPSED_MS = 6 * 60_000;

/** The machine's time, but for what was slept or skipped: that passes at once. */
export interface SkippingClock extends Clock {
  skip(ms: number): void;
}

export interface FailureWorld extends World {
  readonly objects: MemoryObjectStore;
  readonly clock: SkippingClock;
}

export function failureWorld(seed = 1): FailureWorld {
  let skippedMs = 0;
  const skip = (ms: number): void => {
    skippedMs += ms;
  };
  const clock: SkippingClock = {
    now: () => Date.now() + Math.floor(skippedMs),
    skip,
    sleep: async (ms) => {
      skip(ms);
      await new Promise(setImmediate);
    },
  };
  return { objects: memoryObjectStore(), checkpoints: memoryCheckpointStore(), clock, random: seededRandom(seed), telemetry: SILENT };
}

export function clientOf(address: string, options: Partial<ClientOptions> = {}) {
  return influxClient({ address: parseAddress(address), silentMs: 20_000, ...options });
}

export type Request = Omit<BackupRequest, "name" | "client"> & { readonly client?: BackupRequest["client"] };

/** As `tidemark influxdb backup`: what is new is captured, and cleaned up behind. */
export async function backup(world: World, address: string, request: Request = {}): Promise<BackupOutcome> {
  const outcome = await backUp(world, { name: NAME, client: clientOf(address), ...request });
  if (outcome.kind === "completed" || outcome.kind === "partial") await snapshotShard(world, { id: idOf(NAME) });
  return outcome;
}

/** One that must have made a generation. */
export async function generationOf(made: Promise<BackupOutcome>): Promise<GenerationRecord & { readonly vanished: readonly string[] }> {
  const outcome = await made;
  if (outcome.kind !== "completed" && outcome.kind !== "partial") throw new Error(`it is ${outcome.kind}`);
  return { ...outcome.generation, vanished: outcome.vanished };
}

export async function generationsOf(world: World): Promise<readonly number[]> {
  return (await listGenerations(world, NAME)).map(({ generation }) => generation);
}

export async function cleanUp(world: World): Promise<CleanupReport> {
  return cleanupShard(world, { id: idOf(NAME), policy: await getTable(world, NAME) });
}

/**
 * Behind a cleanup: the store has the attachments that the kept generations name, whole, and no other; no upload is open, no
 * note is left; each generation is what its digest says.
 */
export async function expectAtRest(world: FailureWorld): Promise<void> {
  await cleanUp(world);
  expect(await leftOf(world)).toEqual({ stored: await namedBy(world), uploads: [], notes: [] });
  expect((await verifyBackup(world, NAME)).findings).toEqual([]);
}

/** `stored`: the attachments that are there, uploads and notes beside them. */
export async function leftOf(
  world: FailureWorld,
): Promise<{ readonly stored: readonly string[]; readonly uploads: readonly string[]; readonly notes: readonly string[] }> {
  return {
    stored: [...world.objects.objects.keys()].flatMap((key) => attachmentIn(key) ?? []).sort(),
    uploads: [...world.objects.uploads.values()].map(({ key }) => key),
    notes: (await queryAll(world.checkpoints, idOf(NAME), NOTE_SORT)).map(({ key }) => key.sort),
  };
}

async function namedBy(world: World): Promise<readonly string[]> {
  const named = new Set<string>();
  for (const { generation, digest } of await listGenerations(world, NAME)) {
    const opened = await openBackup(world, NAME, { generation });
    if (opened.metastore !== undefined) named.add(opened.metastore.object);
    for (const { files } of opened.shards.values()) for (const { object } of files) named.add(object);
    expect(digestOf(opened)).toBe(digest);
    await opened.close();
  }
  return [...named].sort();
}

/** What records call the attachment with that key; undefined for another object. */
function attachmentIn(key: string): string | undefined {
  const reference = key.split("/").slice(3).join("/");
  return parseObjectName(reference).kind === "attached" ? reference : undefined;
}

/** The names of a generation's files, by shard. */
export async function filesIn(world: World, generation: number): Promise<Readonly<Record<number, readonly string[]>>> {
  const opened = await openBackup(world, NAME, { generation });
  await opened.close();
  return Object.fromEntries([...opened.shards.values()].map(({ shard, files }) => [shard, files.map(({ name }) => name)]));
}

/** All bytes of a generation's files, as text, by shard and name: for those of a model. */
export async function contentOf(world: World, generation: number): Promise<Readonly<Record<string, string>>> {
  const opened = await openBackup(world, NAME, { generation });
  const content: Record<string, string> = {};
  for (const { shard, files } of opened.shards.values()) {
    for (const file of files) {
      const chunks: Buffer[] = [];
      for await (const chunk of opened.read(file)) chunks.push(chunk);
      content[`${shard}/${file.name}`] = Buffer.concat(chunks).toString();
    }
  }
  await opened.close();
  return content;
}

/** The world with a hook that runs before every call of a store; it counts from 1, and what it throws is the call's failure. */
export function hooked(world: FailureWorld, before: (call: number, name: string) => Promise<void> | void): FailureWorld {
  let calls = 0;
  const wrap = <Port extends object>(port: Port): Port =>
    new Proxy(port, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== "function") return value;
        return async (...given: readonly unknown[]) => {
          calls += 1;
          await before(calls, String(name));
          return await Reflect.apply(value, target, given);
        };
      },
    });
  return { ...world, objects: wrap(world.objects), checkpoints: wrap(world.checkpoints) };
}
