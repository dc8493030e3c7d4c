// A world in memory for the tests of mechanisms and jobs: everything the core reports is kept, and every port can be
// wrapped, so that a reply is lost or a rival comes first at a chosen call.

import { type ManualClock, manualClock } from "../../../lib/adapters/memory/clock.ts";
import { type MemoryCheckpointStore, memoryCheckpointStore } from "../../../lib/adapters/memory/checkpoint-store.ts";
import { type MemoryObjectStore, memoryObjectStore } from "../../../lib/adapters/memory/object-store.ts";
import { seededRandom } from "../../../lib/adapters/memory/random.ts";
import { openWriter } from "../../../lib/jobs/append.ts";
import { createTable, type CreateTableRequest } from "../../../lib/jobs/tables.ts";
import { TidemarkError } from "../../../lib/model/errors.ts";
import type { Mutation, ProducerMark } from "../../../lib/model/mutation.ts";
import { type ShardId, STORE_KEY } from "../../../lib/model/names.ts";
import { toIndex } from "../../../lib/model/position.ts";
import type { Rows } from "../../../lib/model/rows.ts";
import type { CheckpointStore, Item, ItemChange } from "../../../lib/ports/checkpoint-store.ts";
import type { ObjectStore } from "../../../lib/ports/object-store.ts";
import type { TelemetryEvent } from "../../../lib/ports/telemetry.ts";
import type { World } from "../../../lib/ports/world.ts";
import { recover, type ShardView } from "../../../lib/recovery/recover.ts";
import type { BatchOutcome } from "../../../lib/redo-log/writer.ts";

export const START_MS = 1_700_000_000_000;
export const id: ShardId = { table: "players", shard: 0 };

export interface MemoryWorld extends World {
  readonly objects: MemoryObjectStore;
  readonly checkpoints: MemoryCheckpointStore;
  readonly clock: ManualClock;
  readonly events: readonly TelemetryEvent[];
}

export function memoryWorld(seed = 1): MemoryWorld {
  const events: TelemetryEvent[] = [];
  return {
    objects: memoryObjectStore(),
    checkpoints: memoryCheckpointStore(),
    clock: manualClock(START_MS),
    random: seededRandom(seed),
    telemetry: { report: (event) => void events.push(event) },
    events,
  };
}

export function put(key: string, value: string | number | Uint8Array): Mutation {
  return { kind: "put", key: Buffer.from(key), value: value instanceof Uint8Array ? value : Buffer.from(JSON.stringify(value)) };
}

export function patch(key: string, value: unknown): Mutation {
  return { kind: "patch", key: Buffer.from(key), value: Buffer.from(JSON.stringify(value)) };
}

export function remove(key: string): Mutation {
  return { kind: "delete", key: Buffer.from(key) };
}

export function mark(producer: string, sequence: number | bigint, since?: number): Omit<ProducerMark, "since"> & { since?: ProducerMark["since"] } {
  return { producer, sequence: BigInt(sequence), ...(since !== undefined && { since: toIndex(since) }) };
}

/** A world with the table `players` of one shard. */
export async function worldWithTable(settings: Partial<CreateTableRequest> = {}, seed = 1): Promise<MemoryWorld> {
  const world = memoryWorld(seed);
  await createTable(world, { name: id.table, ...settings });
  return world;
}

/** The keys of all objects but the one that pairs the store, in order. */
export function keysOf({ objects }: MemoryWorld): readonly string[] {
  return [...objects.objects.keys()].filter((key) => key !== STORE_KEY).sort();
}

/** All items but the one that pairs the store. */
export function itemsOf({ checkpoints }: MemoryWorld): readonly Item[] {
  return checkpoints.items.filter(({ key }) => key.partition !== "store");
}

/** Appends each batch as a redo file of its own. */
export async function appendEach(world: World, batches: readonly (readonly Mutation[])[], shard: ShardId = id): Promise<readonly BatchOutcome[]> {
  const writer = openWriter(world, { id: shard, codec: "json" });
  const outcomes: BatchOutcome[] = [];
  for (const mutations of batches) outcomes.push(await writer.append({ mutations }));
  await writer.close();
  return outcomes;
}

/** Appends the batches together, as one redo file. */
export async function appendTogether(world: World, batches: readonly (readonly Mutation[])[], shard: ShardId = id): Promise<readonly BatchOutcome[]> {
  const writer = openWriter(world, { id: shard, codec: "json" });
  const outcomes = await Promise.all(batches.map((mutations) => writer.append({ mutations })));
  await writer.close();
  return outcomes;
}

/** Rows as `key=value@index`, in their order. */
export function listed(rows: Rows): readonly string[] {
  return Array.from({ length: rows.count }, (_, i) => {
    const key = rows.keys.toString("utf8", i === 0 ? 0 : rows.keyEnds[i - 1], rows.keyEnds[i]);
    const value = rows.values.toString("utf8", i === 0 ? 0 : rows.valueEnds[i - 1], rows.valueEnds[i]);
    return `${key}=${value}@${rows.indexes[i]}`;
  });
}

export async function contentOf(view: Pick<ShardView, "rows">): Promise<readonly string[]> {
  const content: string[] = [];
  for await (const rows of view.rows()) content.push(...listed(rows));
  return content;
}

/** The newest state. */
export async function current(world: World): Promise<readonly string[]> {
  return contentOf(await recover(world, { id, codec: "json" }));
}

/** All that is stored, to compare before with after. */
export function stored({ objects, checkpoints }: MemoryWorld): unknown {
  return structuredClone({
    objects: [...objects.objects].map(([key, body]) => [key, body.toString("hex")]),
    uploads: [...objects.uploads].map(([uploadId, { key, parts }]) => [uploadId, key, [...parts.keys()]]),
    items: checkpoints.items,
  });
}

export function noAnswer(): TidemarkError {
  return new TidemarkError("retry", "no-answer", "the reply was lost");
}

/** The world with some calls of its object store replaced. */
export function withObjects<W extends World>(world: W, change: (objects: ObjectStore) => Partial<ObjectStore>): W {
  return { ...world, objects: { ...world.objects, ...change(world.objects) } };
}

/** The world with some calls of its checkpoint store replaced. */
export function withCheckpoints<W extends World>(world: W, change: (checkpoints: CheckpointStore) => Partial<CheckpointStore>): W {
  return { ...world, checkpoints: { ...world.checkpoints, ...change(world.checkpoints) } };
}

/** The first write that `picks` picks takes effect, or none, and its reply is lost either way. */
export function losingReply<W extends World>(world: W, picks: (changes: readonly ItemChange[]) => boolean, effect: "done" | "not-done"): W {
  let lost = false;
  return withCheckpoints(world, (checkpoints) => ({
    async write(changes) {
      if (lost || !picks(changes)) return checkpoints.write(changes);
      lost = true;
      if (effect === "done") await checkpoints.write(changes);
      throw noAnswer();
    },
  }));
}

/** Text that does not shrink, so that a snapshot of a few records takes several parts or row groups. */
export function noise(seed: number, length: number): string {
  let state = (seed + 1) * 2_654_435_761;
  let text = "";
  while (text.length < length) {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32;
    text += (state >>> 8).toString(36);
  }
  return text.slice(0, length);
}
