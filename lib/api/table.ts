// A table as a program holds it.

import { lastSequenceOf } from "../jobs/append.ts";
import { type SnapshotReport, snapshotShard } from "../jobs/snapshot.ts";
import { type CreateTableRequest, createTable, findTable, getTable, shardsOf } from "../jobs/tables.ts";
import { callError, isTidemarkError } from "../model/errors.ts";
import type { Table } from "../model/table.ts";
import type { World } from "../ports/world.ts";
import type { Codec } from "./codec.ts";
import type { Store } from "./store.ts";
import { openWriter, type Writer, type WriterOptions } from "./writer.ts";

export interface OpenTableOptions<Value> {
  readonly name: string;
  readonly codec: Codec<Value>;
  readonly store: Store;
  /** Settings to make the table with where there is none: `{}` for the defaults. Without it, an unknown table is an error. */
  readonly create?: Omit<CreateTableRequest, "name" | "codec">;
}

export interface OpenTable<Value> {
  /** As they were when the table was opened. */
  readonly settings: Table;
  readonly codec: Codec<Value>;
  /** What jobs are handed: `runRound(table.world)` plans, captures and cleans all tables of the store once. */
  readonly world: World;
  writer(options?: WriterOptions): Writer<Value>;
  /** Captures every shard now, and cleans up behind it; one report for each shard. */
  snapshot(): Promise<readonly SnapshotReport[]>;
  /**
   * The highest sequence of the producer that any shard applied; absent if none knows it. A source that waits for each
   * batch before it sends the next goes on by sending that batch again: it applies where it did not.
   */
  lastSequence(producer: string): Promise<bigint | undefined>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Opens a table, or makes it.
 * @throws {TidemarkError} `call` "unknown-table"; "wrong-codec" where the table's values are of another kind
 */
export async function openTable<Value>({ name, codec, store, create }: OpenTableOptions<Value>): Promise<OpenTable<Value>> {
  const { world, close } = await store.open();
  try {
    const settings = create === undefined ? await getTable(world, name) : await ensureTable(world, { ...create, name, codec: codec.kind });
    if (settings.codec !== codec.kind)
      throw callError("wrong-codec", `the values of table ${name} are ${settings.codec}, not ${codec.kind}: open it with ${settings.codec}()`);
    return tableOf(world, settings, codec, close);
  } catch (error) {
    await close();
    throw error;
  }
}

function tableOf<Value>(world: World, settings: Table, codec: Codec<Value>, close: () => Promise<void>): OpenTable<Value> {
  return {
    settings,
    codec,
    world,
    writer: (options = {}) => openWriter(world, settings, codec, options),
    async snapshot() {
      const reports: SnapshotReport[] = [];
      for (const id of shardsOf(settings)) reports.push(await snapshotShard(world, { id }));
      return reports;
    },
    lastSequence: (producer) => lastSequenceOf(world, settings, producer),
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** The table as it is, or made; of several that make it at once, one does. */
async function ensureTable(world: World, request: CreateTableRequest): Promise<Table> {
  if ((await findTable(world, request.name)) === undefined) {
    try {
      return await createTable(world, request);
    } catch (error) {
      if (!isTidemarkError(error) || error.code !== "table-exists") throw error;
    }
  }
  return getTable(world, request.name);
}
