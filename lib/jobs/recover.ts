// Recovers what a table's name and a key stand for: the shards of one, the shard of the other.

import { utf8, checkKey } from "../model/bytes.ts";
import { callError } from "../model/errors.ts";
import type { ShardId } from "../model/names.ts";
import { shardOf, type Table } from "../model/table.ts";
import type { World } from "../ports/world.ts";
import { type Entry, recover, type ShardView } from "../recovery/recover.ts";
import type { Bound } from "../redo-log/replay.ts";
import { checkSame, getShards, getTable } from "./tables.ts";

export interface RecoverTableRequest {
  readonly table: string;
  /** All shards, one after the other, where absent. */
  readonly shard?: number;
  /** An index is one shard's own; a time is good for all. */
  readonly at?: Bound;
}

export interface TableRecovery {
  readonly table: Table;
  /** Shards that are recovered. */
  readonly shardCount: number;
  /**
   * Each shard's state, shard by shard; it is read, and held, until the next is asked for. Ends with a fault where the table was deleted
   * meanwhile: what came before may be of several tables.
   */
  shards(): AsyncGenerator<{ readonly id: ShardId; readonly view: ShardView }>;
}

/** @throws {TidemarkError} `call` "unknown-table", "unknown-shard", "shard-needed"; while shards are read as `recover` does */
export async function recoverTable(world: World, request: RecoverTableRequest): Promise<TableRecovery> {
  const { at = {} } = request;
  const { table, ids } = await getShards(world, request);
  if (at.index !== undefined && ids.length > 1) {
    throw callError(
      "shard-needed",
      `table ${table.name} has ${ids.length} shards, each with indexes of its own: name one, as ${table.name}/0, or ask for a time`,
    );
  }
  return {
    table,
    shardCount: ids.length,
    async *shards() {
      for (const id of ids) {
        const view = await recover(world, { id, codec: table.codec, at, pinned: true });
        try {
          yield { id, view };
        } finally {
          await view.close();
        }
      }
      await checkSame(world, table);
    },
  };
}

/** `absent`: the key had no value then. An index is that of the key's own shard. */
export type FoundEntry = { readonly table: Table; readonly id: ShardId; readonly view: ShardView } & (
  | { readonly kind: "found"; readonly entry: Entry }
  | { readonly kind: "absent" }
);

/** @throws {TidemarkError} `call` "unknown-table", or for what is no key; `retry` "sealed" where the table was deleted and made anew meanwhile; else as `recover` does */
export async function getEntry(world: World, request: { readonly table: string; readonly key: string; readonly at?: Bound }): Promise<FoundEntry> {
  const key = utf8(request.key, "the key");
  checkKey(key);
  const table = await getTable(world, request.table);
  const id = { table: table.name, shard: shardOf(key, table.shards) };
  const view = await recover(world, { id, codec: table.codec, ...(request.at && { at: request.at }) });
  const entry = await view.get(key);
  if (entry !== undefined) return { kind: "found", table, id, view, entry };
  // Another table of the name may have the key in another shard.
  await checkSame(world, table);
  return { kind: "absent", table, id, view };
}
