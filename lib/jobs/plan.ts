// Which shards are to be captured now: one query over the dirty shards, one read for each of them, nothing for those at rest.

import { DIRTY, parseTail, shardOfItem } from "../checkpoint/items.ts";
import type { TailHint } from "../model/control.ts";
import { groupsOf } from "../model/groups.ts";
import { ASK_AGAIN_AFTER_MS } from "../model/limits.ts";
import type { ShardId } from "../model/names.ts";
import type { Table } from "../model/table.ts";
import { type Qualification, qualify } from "../planner/qualify.ts";
import type { ItemKey, KeyPage } from "../ports/checkpoint-store.ts";
import { pages } from "../ports/pages.ts";
import type { ItemWorld } from "../ports/world.ts";
import { publishAsked } from "../redo-log/tail.ts";
import { listTables } from "./tables.ts";

export interface PlannedShard {
  readonly id: ShardId;
  readonly qualification: Qualification;
  readonly hint: TailHint;
}

/** Tail items that are read at a time. */
const READ_TOGETHER = 25;

/** Every dirty shard of a live table, with its qualification. */
export async function plan(world: ItemWorld): Promise<readonly PlannedShard[]> {
  const planned: PlannedShard[] = [];
  let tables: ReadonlyMap<string, Table> | undefined;
  for await (const { keys } of pages<ItemKey, KeyPage>((after) => world.checkpoints.queryDirty({ value: DIRTY, ...after }))) {
    if (keys.length > 0) tables ??= new Map((await listTables(world)).map((table) => [table.name, table]));
    const live = keys.flatMap((key) => {
      const table = tables?.get(shardOfItem(key).table);
      return table?.state === "live" ? [{ key, table }] : [];
    });
    for (const some of groupsOf(live, READ_TOGETHER)) planned.push(...(await Promise.all(some.map((dirty) => planShard(world, dirty)))).flat());
  }
  return planned;
}

/** Nothing where the shard was captured, or deleted, since the index showed it as dirty. */
async function planShard(
  { checkpoints, clock }: ItemWorld,
  { key, table }: { readonly key: ItemKey; readonly table: Table },
): Promise<readonly PlannedShard[]> {
  const item = await checkpoints.get(key);
  if (item?.attributes.dirty !== DIRTY) return [];
  const hint = parseTail(item);
  return [{ id: shardOfItem(key), hint, qualification: qualify(hint, table, clock.now()) }];
}

export interface AskReport {
  readonly dirty: number;
  /** Shards whose capture was asked for now. */
  readonly asked: readonly ShardId[];
  /** For each table with due shards, how long the one that waits longest has been due, in ms. */
  readonly lagMs: ReadonlyMap<string, number>;
}

/** Hands over captures to others, at most ASK_TOGETHER at a time; tells which were taken. */
export type Ask = (shards: readonly ShardId[]) => Promise<readonly ShardId[]>;

export const ASK_TOGETHER = 10;

/**
 * Asks for a capture of every shard that is due, where others do the work. What was asked for is noted, and is not asked
 * for again while it may still wait its turn: a backlog does not grow by a message a minute.
 */
export async function askForCaptures(world: ItemWorld, ask: Ask): Promise<AskReport> {
  const planned = await plan(world);
  const nowMs = world.clock.now();
  const due = planned.filter(({ qualification }) => qualification.kind === "qualifies");
  const lagMs = new Map<string, number>();
  for (const { id, hint } of due) lagMs.set(id.table, Math.max(lagMs.get(id.table) ?? 0, nowMs - (hint.dueSinceMs ?? nowMs)));
  const asking = due.filter(({ hint }) => hint.askedAtMs === undefined || nowMs - hint.askedAtMs >= ASK_AGAIN_AFTER_MS);
  const asked: ShardId[] = [];
  for (const some of groupsOf(asking, ASK_TOGETHER)) {
    const taken = await ask(some.map(({ id }) => id));
    // Asked first, noted after: killed in between, the shard is asked for twice, and the second capture finds nothing new.
    const noted = some.filter(({ id }) => taken.includes(id));
    await Promise.all(noted.map(({ id, hint }) => publishAsked(world.checkpoints, id, hint, nowMs)));
    asked.push(...taken);
  }
  return { dirty: planned.length, asked, lagMs };
}
