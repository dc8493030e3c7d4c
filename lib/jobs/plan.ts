// Which shards are to be captured now: one query over the dirty shards, one read for each of them, nothing for those at rest.
// Page by page, a few at a time: what is held does not grow with the shards.

import { DIRTY, parseTail, shardOfItem } from "../checkpoint/items.ts";
import type { TailHint } from "../model/control.ts";
import { isTidemarkError, type TidemarkError } from "../model/errors.ts";
import { groupsOf } from "../model/groups.ts";
import { PLAN_READS_TOGETHER } from "../model/limits.ts";
import type { ShardId } from "../model/names.ts";
import type { Table } from "../model/table.ts";
import { type Qualification, qualify } from "../planner/qualify.ts";
import type { ItemKey, KeyPage } from "../ports/checkpoint-store.ts";
import { pages } from "../ports/pages.ts";
import type { ItemWorld } from "../ports/world.ts";
import { listTables } from "./tables.ts";

export interface PlannedShard {
  readonly id: ShardId;
  readonly table: Table;
  readonly hint: TailHint;
  readonly qualification: Qualification;
}

/** Is told of a shard whose tail cannot be read, or by its first shard of a table whose item cannot. */
export type OnFault = (id: ShardId, fault: TidemarkError) => void;

/**
 * Every dirty shard of a live table, or of the one that is named, with its qualification. Those of a table come together, in byte order of their names.
 * @param onFault then the shard, or the table, is passed over: it keeps no other from being captured. By default the fault is thrown
 */
export async function* plan(
  world: ItemWorld,
  { table: only, onFault }: { readonly table?: string; readonly onFault?: OnFault } = {},
): AsyncGenerator<PlannedShard> {
  const onTableFault = onFault && ((name: string, fault: TidemarkError): void => onFault({ table: name, shard: 0 }, fault));
  let tables: ReadonlyMap<string, Table> | undefined;
  for await (const { keys } of pages<ItemKey, KeyPage>((after) => world.checkpoints.queryDirty({ value: DIRTY, ...after }))) {
    if (keys.length > 0) tables ??= new Map((await listTables(world, onTableFault)).map((table) => [table.name, table]));
    const wanted = keys.flatMap((key) => {
      const table = tables?.get(shardOfItem(key).table);
      return table?.state === "live" && (only === undefined || only === table.name) ? [{ key, table }] : [];
    });
    for (const some of groupsOf(wanted, PLAN_READS_TOGETHER)) yield* (await Promise.all(some.map((dirty) => planShard(world, dirty, onFault)))).flat();
  }
}

/** Nothing where the shard was captured, or deleted, since the index showed it as dirty. */
async function planShard(
  { checkpoints, clock }: ItemWorld,
  { key, table }: { readonly key: ItemKey; readonly table: Table },
  onFault: OnFault | undefined,
): Promise<readonly PlannedShard[]> {
  const item = await checkpoints.get(key);
  if (item?.attributes.dirty !== DIRTY) return [];
  const id = shardOfItem(key);
  try {
    const shard = { id, hint: parseTail(item) };
    return [{ ...shard, table, qualification: qualify(shard, table, clock.now()) }];
  } catch (error) {
    if (onFault === undefined || !isTidemarkError(error)) throw error;
    onFault(id, error);
    return [];
  }
}
