// Which shards are to be captured now: one query over the dirty shards, nothing for those at rest.

import { DIRTY, parseTail, shardOfItem } from "../checkpoint/items.ts";
import type { ShardId } from "../model/names.ts";
import type { Table } from "../model/table.ts";
import { type Qualification, qualify } from "../planner/qualify.ts";
import type { ItemKey, ItemPage } from "../ports/checkpoint-store.ts";
import { pages } from "../ports/pages.ts";
import type { World } from "../ports/world.ts";
import { listTables } from "./tables.ts";

export interface PlannedShard {
  readonly id: ShardId;
  readonly qualification: Qualification;
}

/** Every dirty shard of a live table, with its qualification. */
export async function plan(world: World): Promise<readonly PlannedShard[]> {
  const planned: PlannedShard[] = [];
  let tables: ReadonlyMap<string, Table> | undefined;
  for await (const page of pages<ItemKey, ItemPage<ItemKey>>((after) => world.checkpoints.queryDirty({ value: DIRTY, ...after }))) {
    if (page.items.length > 0) tables ??= new Map((await listTables(world)).map((table) => [table.name, table]));
    for (const item of page.items) {
      const id = shardOfItem(item.key);
      const table = tables?.get(id.table);
      if (table?.state !== "live") continue;
      planned.push({ id, qualification: qualify(parseTail(item), table, world.clock.now()) });
    }
  }
  return planned;
}
