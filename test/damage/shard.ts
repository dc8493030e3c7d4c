// A small shard with three captures behind it: the first generation was let go, two are kept, with three redo files
// between them and three behind. Deterministic, and copied for each case that writes.

import { type ManualClock, manualClock } from "../../lib/adapters/memory/clock.ts";
import { memoryCheckpointStore, type MemoryCheckpointStore } from "../../lib/adapters/memory/checkpoint-store.ts";
import { memoryObjectStore, type MemoryObjectStore } from "../../lib/adapters/memory/object-store.ts";
import { seededRandom } from "../../lib/adapters/memory/random.ts";
import { readHistory } from "../../lib/checkpoint/control.ts";
import { openWriter } from "../../lib/jobs/append.ts";
import { snapshotShard } from "../../lib/jobs/snapshot.ts";
import { createTable } from "../../lib/jobs/tables.ts";
import type { HistoryRow } from "../../lib/model/control.ts";
import type { TelemetryEvent } from "../../lib/ports/telemetry.ts";
import type { World } from "../../lib/ports/world.ts";
import type { Writer } from "../../lib/redo-log/writer.ts";
import { lastOf, type ModelBatch, type ModelMutation } from "../processes/keyed-model.ts";

export interface MemoryWorld extends World {
  readonly clock: ManualClock;
  readonly objects: MemoryObjectStore;
  readonly checkpoints: MemoryCheckpointStore;
  readonly events: TelemetryEvent[];
}

export interface SmallShard {
  readonly world: MemoryWorld;
  readonly id: { readonly table: string; readonly shard: number };
  /** Every batch since the beginning, in the order of the log. */
  readonly log: readonly ModelBatch[];
  readonly tail: number;
  /** The kept generations, older first. */
  readonly older: HistoryRow;
  readonly newer: HistoryRow;
  /** Keys of the redo files between the two generations, and of those behind. */
  readonly between: readonly string[];
  readonly behind: readonly string[];
}

const STARTED_MS = Date.UTC(2026, 0, 1);
const CAPTURES = 3;
const FILES_BETWEEN = 3;
const KEYS = ["a", "b", "k/1", "k/2", "k/3", "\u{ff5e}", "\u{1f33f}"];

export async function smallShard({ table = "trees", shard = 0, seed = 1 } = {}): Promise<SmallShard> {
  const world = emptyWorld(seed);
  const id = { table, shard };
  await createTable(world, { name: table, shards: shard + 1 });
  const log: ModelBatch[] = [];
  const writer = openWriter(world, { id, codec: "json" });
  for (let section = 0; section <= CAPTURES; section++) {
    for (let file = 0; file < FILES_BETWEEN; file++) {
      world.clock.advance(1_000);
      log.push(...(await appendFile(writer, section * FILES_BETWEEN + file)));
    }
    if (section < CAPTURES) await snapshotShard(world, { id });
  }
  await writer.close();
  const [older, newer] = await readHistory(world.checkpoints, id);
  const redo = [...world.objects.objects.keys()].filter((key) => key.endsWith(".redo")).sort();
  const tail = Math.max(...log.map(lastOf));
  return { world, id, log, tail, older, newer, between: redo.slice(0, FILES_BETWEEN), behind: redo.slice(FILES_BETWEEN) };
}

/** One redo file of three batches: of two producers, and of none. A batch that was sent before comes with every third file. */
async function appendFile(writer: Writer, file: number): Promise<readonly ModelBatch[]> {
  const repeats = file % 3 === 2 ? 1 : 0;
  const batches = [
    { mark: { producer: "one", sequence: BigInt(file - repeats) }, mutations: mutationsOf(file - repeats) },
    { mark: { producer: "two", sequence: 2n ** 100n + BigInt(file) }, mutations: mutationsOf(100 + file) },
    { mutations: mutationsOf(200 + file) },
  ];
  return Promise.all(
    batches.map(async (batch) => {
      const outcome = await writer.append({ ...batch, mutations: batch.mutations.map(asBytes) });
      if (outcome.kind !== "appended") throw new Error(`a batch was ${outcome.kind}`);
      return { ...batch, first: outcome.first, timeMs: outcome.timeMs };
    }),
  );
}

export function mutationsOf(number: number): readonly ModelMutation[] {
  const key = KEYS[number % KEYS.length];
  const other = KEYS[(number + 3) % KEYS.length];
  const put = { kind: "put", key, value: JSON.stringify({ n: number }) } as const;
  if (number % 4 === 1) return [put, { kind: "delete", key: other, value: "" }];
  if (number % 4 === 2) return [put, { kind: "patch", key: other, value: JSON.stringify({ p: number, n: null }) }];
  return [put];
}

export function asBytes({ kind, key, value }: ModelMutation) {
  return { kind, key: Buffer.from(key), value: Buffer.from(value) };
}

/** The same world, apart from the first. */
export async function copyOf({ objects, checkpoints, clock }: MemoryWorld): Promise<MemoryWorld> {
  const copy = emptyWorld(99, clock.now());
  for (const [key, body] of objects.objects) await copy.objects.createIfAbsent(key, body);
  for (const { key, attributes } of checkpoints.items) await copy.checkpoints.write([{ item: key, when: [], put: attributes }]);
  return copy;
}

function emptyWorld(seed: number, nowMs = STARTED_MS) {
  const events: TelemetryEvent[] = [];
  return {
    objects: memoryObjectStore(),
    checkpoints: memoryCheckpointStore(),
    clock: manualClock(nowMs),
    random: seededRandom(seed),
    telemetry: { report: (event: TelemetryEvent) => void events.push(event) },
    events,
  };
}
