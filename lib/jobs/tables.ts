// Tables: made, listed, changed, deleted. A table is one item; its shards open when they are first written.

import { queryAll } from "../checkpoint/control.ts";
import { controlItem, HISTORY_SORT, parseHistoryRow, parseTable, tableAttributes, tableItem, TABLES_PARTITION } from "../checkpoint/items.ts";
import { pairStore } from "../checkpoint/pairing.ts";
import { callError, isTidemarkError, TidemarkError } from "../model/errors.ts";
import { groupsOf } from "../model/groups.ts";
import { DELETES_TOGETHER, S3_DELETE_MANY_MAX } from "../model/limits.ts";
import { checkTableName, type ShardId, shardName } from "../model/names.ts";
import { checkTable, POLICY_DEFAULTS, type Table, type TablePolicy } from "../model/table.ts";
import type { Condition, Item, ItemChange, ItemKey, ItemPage } from "../ports/checkpoint-store.ts";
import { pages } from "../ports/pages.ts";
import type { ItemWorld, StoreWorld, World } from "../ports/world.ts";
import { listObjects, sweep } from "../cleanup/sweep.ts";
import { endCopies, quarantineOf } from "../recovery/quarantine.ts";

export interface CreateTableRequest extends Partial<TablePolicy> {
  readonly name: string;
  /** 1 by default. Cannot be changed. */
  readonly shards?: number;
  /** "json" by default. Cannot be changed. */
  readonly codec?: Table["codec"];
  /** None by default. Cannot be changed. */
  readonly source?: NonNullable<Table["source"]>;
}

/** @throws {TidemarkError} `call` "table-exists", "foreign-store", or for a setting that cannot be kept */
export async function createTable(world: StoreWorld, { name, shards = 1, codec = "json", source, ...policy }: CreateTableRequest): Promise<Table> {
  const table: Table = { ...POLICY_DEFAULTS, ...policy, name, shards, codec, ...(source && { source }), createdAtMs: world.clock.now(), state: "live" };
  checkTable(table);
  await pairStore(world);
  const written = await world.checkpoints.write([{ item: tableItem(name), when: [{ kind: "absent" }], put: tableAttributes(table) }]);
  if (written.kind === "refused") {
    const isGoing = written.item?.attributes.state === "deleting";
    throw callError("table-exists", isGoing ? beingDeletedInWords(name) : `table ${name} exists: choose another name, or change it with "table update"`);
  }
  return table;
}

/** @throws {TidemarkError} `call` "unknown-table" */
export async function getTable(world: ItemWorld, name: string): Promise<Table> {
  const table = await findTable(world, name);
  if (table === undefined) throw callError("unknown-table", `there is no table ${name}: "table list" shows those there are, "table create" makes one`);
  if (table.state === "deleting") throw callError("unknown-table", beingDeletedInWords(name));
  return table;
}

/** Until then there is neither a table of the name nor can one be made. */
function beingDeletedInWords(name: string): string {
  return `table ${name} is being deleted: wait for the next cleanup to finish that, or call "table delete" again`;
}

/**
 * For who has read shards of a table as it was found before: asked behind them, what was read is all of that very table. Another one
 * of its name may have other shards, and what they hold would be missed.
 * @throws {TidemarkError} `call` "unknown-table"; `retry` "sealed"
 */
export async function checkSame(world: ItemWorld, { name, createdAtMs }: Table): Promise<void> {
  if ((await getTable(world, name)).createdAtMs === createdAtMs) return;
  throw new TidemarkError("retry", "sealed", `table ${name} was deleted, and another one made under its name: open it again`);
}

/**
 * The table and those of its shards that `TABLE` or `TABLE/SHARD` names.
 * @throws {TidemarkError} `call` "unknown-table", "unknown-shard"
 */
export async function getShards(
  world: ItemWorld,
  { table: name, shard }: { readonly table: string; readonly shard?: number },
): Promise<{ readonly table: Table; readonly ids: readonly ShardId[] }> {
  const table = await getTable(world, name);
  if (shard === undefined) return { table, ids: shardsOf(table) };
  if (shard >= table.shards) throw callError("unknown-shard", `table ${name} has no shard ${shard}: its shards are 0 to ${table.shards - 1}`);
  return { table, ids: [{ table: name, shard }] };
}

/** The table in whatever state it is. */
export async function findTable({ checkpoints }: ItemWorld, name: string): Promise<Table | undefined> {
  checkTableName(name);
  const item = await checkpoints.get(tableItem(name));
  return item && parseTable(item);
}

/**
 * All tables by name, those that are being deleted included.
 * @param onFault is told of a table whose item cannot be read, which is then passed over. By default the fault is thrown
 */
export async function listTables({ checkpoints }: ItemWorld, onFault?: OnTableFault): Promise<readonly Table[]> {
  const tables: Table[] = [];
  for await (const page of pages<string, ItemPage<string>>((after) => checkpoints.query({ partition: TABLES_PARTITION, ...after })))
    tables.push(...page.items.flatMap((item) => readableTable(item, onFault)));
  return tables;
}

type OnTableFault = (name: string, fault: TidemarkError) => void;

function readableTable(item: Item, onFault: OnTableFault | undefined): readonly Table[] {
  try {
    return [parseTable(item)];
  } catch (error) {
    if (onFault === undefined || !isTidemarkError(error)) throw error;
    onFault(item.key.sort, error);
    return [];
  }
}

export async function updateTable(world: ItemWorld, name: string, policy: Partial<TablePolicy>): Promise<Table> {
  if (Object.keys(policy).length === 0) throw callError("nothing-to-change", `no setting of table ${name} was given: name at least one`);
  const table: Table = { ...(await getTable(world, name)), ...policy };
  checkTable(table);
  const written = await world.checkpoints.write([{ item: tableItem(name), when: [{ kind: "eq", attribute: "state", value: "live" }], set: { ...policy } }]);
  if (written.kind === "refused") throw callError("unknown-table", `table ${name} was deleted meanwhile`);
  return table;
}

/**
 * Deletes a table with all it holds. The control items go first, which seals the shards: no append is acknowledged after
 * that. Killed half-way, it is finished by the next cleanup, or by calling it again.
 */
export async function deleteTable(world: World, name: string): Promise<void> {
  const table = await findTable(world, name);
  if (table === undefined) throw callError("unknown-table", `there is no table ${name}: "table list" shows those there are`);
  // A request that comes late must not take one that was made anew under the name.
  await world.checkpoints.write([{ item: tableItem(name), when: [isThis(table)], set: { state: "deleting" } }]);
  await finishDeletion(world, table);
}

/**
 * Deletes what is left of a table that is being deleted. Every write is conditional on that: a run that stalled must not
 * touch a table that was made anew under the name, not even one that is being deleted in its turn: of that it may not know
 * every shard. False where the signal stopped it; each run gets at least one shard further.
 */
export async function finishDeletion(world: World, table: Table, signal?: AbortSignal): Promise<boolean> {
  for (const id of shardsOf(table)) if ((await deleteShard(world, table, id)) && signal?.aborted === true) return false;
  await world.checkpoints.write([{ item: tableItem(table.name), when: beingDeleted(table), delete: true }]);
  return true;
}

/** This very table, and no other of its name. */
function beingDeleted(table: Table): readonly Condition[] {
  return [isThis(table), { kind: "eq", attribute: "state", value: "deleting" }];
}

function isThis({ createdAtMs }: Table): Condition {
  return { kind: "eq", attribute: "createdAtMs", value: createdAtMs };
}

export function shardsOf({ name, shards }: Table): readonly ShardId[] {
  return Array.from({ length: shards }, (_, shard) => ({ table: name, shard }));
}

/** False where there was nothing to do: a shard's last items go after its objects. */
async function deleteShard(world: World, table: Table, id: ShardId): Promise<boolean> {
  if ((await queryAll(world.checkpoints, id, "")).length === 0) return false;
  if (!(await deleteOf(world, table, [controlItem(id)]))) return false;
  await deleteOf(world, table, await unreadableRows(world, id));
  const swept = await sweep(world, { id, policy: table });
  if (swept.kind === "cleaned" && swept.failed.length > 0) {
    const { key, reason } = swept.failed[0];
    throw new TidemarkError(
      "retry",
      "undeleted-objects",
      `${swept.failed.length} objects of ${shardName(id)} were not deleted, first ${key}: ${reason}; delete the table again`,
    );
  }
  await deleteQuarantine(world, id);
  await deleteOf(
    world,
    table,
    (await queryAll(world.checkpoints, id, "")).map(({ key }) => key),
  );
  return true;
}

/** Rows that would keep the table for ever, as nobody can mend them any more: what they name goes like all of a life that has ended. */
async function unreadableRows({ checkpoints }: World, id: ShardId): Promise<readonly ItemKey[]> {
  return (await queryAll(checkpoints, id, HISTORY_SORT)).filter((item) => !isReadable(item)).map(({ key }) => key);
}

function isReadable(row: Item): boolean {
  try {
    parseHistoryRow(row);
    return true;
  } catch (error) {
    if (isTidemarkError(error) && error.kind === "repair") return false;
    throw error;
  }
}

/** Copies of damaged objects are the table's like the rest; before the last items, so that who is killed here comes again. */
async function deleteQuarantine({ objects }: World, id: ShardId): Promise<void> {
  await endCopies({ objects }, id);
  const copies = (await listObjects(objects, quarantineOf(id))).map(({ key }) => key);
  for (const some of groupsOf(copies, S3_DELETE_MANY_MAX)) {
    const [failed] = (await objects.deleteMany(some)).failed;
    if (failed !== undefined) throw new TidemarkError("retry", "undeleted-objects", `${failed.key} was not deleted: ${failed.reason}; delete the table again`);
  }
}

/** Deletes items of a table that is being deleted; false if it no longer is, or is another one by now. */
async function deleteOf({ checkpoints }: World, table: Table, items: readonly ItemKey[]): Promise<boolean> {
  const check: ItemChange = { item: tableItem(table.name), when: beingDeleted(table), check: true };
  for (const some of groupsOf(items, DELETES_TOGETHER)) {
    const written = await checkpoints.write([check, ...some.map((item) => ({ item, when: [], delete: true as const }))]);
    if (written.kind === "refused") return false;
  }
  return true;
}
