// A recovered state as a program reads it: all shards of a table, at one moment.

import { checkSame } from "../jobs/tables.ts";
import { utf8 } from "../model/bytes.ts";
import { callError } from "../model/errors.ts";
import { PIN_TTL_MS } from "../model/limits.ts";
import { type Index, toIndex } from "../model/position.ts";
import { shardOf } from "../model/table.ts";
import { releaseRows, type Rows } from "../model/rows.ts";
import { recover as recoverShard, type ShardView } from "../recovery/recover.ts";
import type { OpenTable } from "./table.ts";

export interface RecoverOptions {
  /** A time, or, of a table with one shard, an index: the state after the last batch wholly at or before it. Default: the newest. */
  readonly at?: Date | number;
}

export interface ViewEntry<Value> {
  readonly key: string;
  readonly value: Value;
  /** Of the mutation that made the record what it is; `timeMs` in ms since 1970. */
  readonly index: Index;
  readonly timeMs: number;
}

/**
 * Stays what it is, whatever is appended or cleaned meanwhile. Close it: until then, the snapshots it rests on are held while it is
 * read, and for 15 minutes beyond.
 */
export interface TableView<Value> {
  /** By shard: which index the state is at, what it was rebuilt from, which damaged snapshots were passed over. */
  readonly shards: readonly ShardView[];
  /** Shard by shard, in each in byte order of keys. `prefix` leaves other keys out; the rows before them are still read. */
  entries(options?: { readonly prefix?: string }): AsyncGenerator<ViewEntry<Value>>;
  get(key: string): Promise<ViewEntry<Value> | undefined>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Brings the table's state back.
 * @throws {TidemarkError} `call` "out-of-range" for a moment that is no longer kept, or an index beyond the tail;
 * `repair` where damage leaves no way to it; `call` "unknown-table" or `retry` "sealed" where the table that was opened is no more.
 */
export async function recover<Value>({ world, settings, codec }: OpenTable<Value>, { at }: RecoverOptions = {}): Promise<TableView<Value>> {
  if (typeof at === "number" && settings.shards > 1) {
    throw callError("index-of-shards", `table ${settings.name} has ${settings.shards} shards, each with indexes of its own: recover at a time`);
  }
  const bound = typeof at === "number" ? { index: toIndex(at) } : at && { timeMs: timeOf(at) };
  const shards: ShardView[] = [];
  let keepAtMs = world.clock.now() + PIN_TTL_MS / 3;
  /** All shards, while one is read or is being recovered. Where that fails they are held still, until the next time. */
  const keep = async (): Promise<void> => {
    if (world.clock.now() < keepAtMs) return;
    keepAtMs = world.clock.now() + PIN_TTL_MS / 3;
    await Promise.allSettled(shards.map((shard) => shard.keep()));
  };
  const close = async (): Promise<void> => {
    await Promise.all(shards.map((shard) => shard.close()));
  };
  try {
    for (let shard = 0; shard < settings.shards; shard++) {
      const id = { table: settings.name, shard };
      await keep();
      shards.push(await recoverShard(world, { id, codec: codec.kind, pinned: true, ...(bound && { at: bound }) }));
    }
    await checkSame(world, settings);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    shards,
    async *entries({ prefix = "" } = {}) {
      const wanted = Buffer.from(prefix);
      for (const shard of shards) yield* entriesOf(shard, { prefix: wanted, decode: codec.decode, keep });
    },
    async get(key) {
      const bytes = utf8(key, "the key");
      await keep();
      const entry = await shards[shardOf(bytes, settings.shards)].get(bytes);
      return entry && { key, value: codec.decode(entry.value), index: entry.index, timeMs: entry.timeMs };
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Every time lies before one that is none: it would ask for the newest state. */
function timeOf(at: Date): number {
  const timeMs = at.getTime();
  if (Number.isNaN(timeMs)) throw callError("bad-time", "the time to recover is not a valid date");
  return timeMs;
}

interface EntriesRequest<Value> {
  readonly prefix: Buffer;
  readonly decode: (bytes: Buffer) => Value;
  readonly keep: () => Promise<void>;
}

async function* entriesOf<Value>(shard: ShardView, { prefix, decode, keep }: EntriesRequest<Value>): AsyncGenerator<ViewEntry<Value>> {
  for await (const rows of shard.rows()) {
    await keep();
    for (let row = 0; row < rows.count; row++) {
      const key = slice(rows.keys, rows.keyEnds, row);
      const order = Buffer.compare(key.subarray(0, prefix.length), prefix);
      if (order > 0) return;
      if (order < 0) continue;
      // A reader may take longer over these rows than a pin lasts.
      await keep();
      yield { key: key.toString("utf8"), value: decode(Buffer.from(slice(rows.values, rows.valueEnds, row))), ...momentOf(rows, row) };
    }
    releaseRows(rows);
  }
}

function momentOf({ indexes, times }: Rows, row: number): { readonly index: Index; readonly timeMs: number } {
  return { index: toIndex(indexes[row]), timeMs: times[row] };
}

function slice(bytes: Buffer, ends: Uint32Array, row: number): Buffer {
  return bytes.subarray(row === 0 ? 0 : ends[row - 1], ends[row]);
}
