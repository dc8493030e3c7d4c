// Reads and writes the control item. Each write names the stamp it saw and leaves a fresh one: the loser re-reads and
// decides again, and a write whose reply was lost knows itself by its stamp.

import type { Control, HistoryRow, TailHint } from "../model/control.ts";
import { callError, isTidemarkError, TidemarkError } from "../model/errors.ts";
import { CONTROL_ATTEMPTS_MAX } from "../model/limits.ts";
import { NO_LOG } from "../model/log-size.ts";
import { type ShardId, shardName } from "../model/names.ts";
import type { CheckpointStore, Condition, Item, ItemChange, ItemKey, ItemPage } from "../ports/checkpoint-store.ts";
import { pages } from "../ports/pages.ts";
import type { Random } from "../ports/random.ts";
import { controlAttributes, controlItem, HISTORY_SORT, parseControl, parseHistoryRow, shardPartition, tableItem, tailAttributes, tailItem } from "./items.ts";
import { type ControlState, opened, type Transition } from "./transitions.ts";
import { type Border, ORIGIN } from "../model/position.ts";

export interface ControlDeps {
  readonly checkpoints: CheckpointStore;
  readonly random: Random;
}

const STAMP_DIGITS = 32;
const INCARNATION_DIGITS = 16;

export async function readControl(checkpoints: Pick<CheckpointStore, "get">, id: ShardId): Promise<Control | undefined> {
  const item = await checkpoints.get(controlItem(id));
  return item && parseControl(item);
}

/**
 * The shard's control item, made with a fresh incarnation if there is none; its tail hint is born in the same write.
 * @throws {TidemarkError} `call` "unknown-table" where the table is not, or no longer, live
 */
export async function openShard(deps: ControlDeps, id: ShardId, nowMs: number): Promise<Control> {
  const control = await open(deps, id, nowMs, [LIVE]);
  if (control === undefined) throw unknownTable(id);
  return control;
}

/**
 * The same for who holds a table as it was when it was made, at `createdAtMs`. Nothing where another one has its name by now:
 * that may have fewer shards, and what is appended to one that it lacks is in no recovery. The table is read behind the control
 * item: where it is still that one, the life that was read is its.
 */
export async function openShardOf(deps: ControlDeps, id: ShardId, nowMs: number, createdAtMs: number): Promise<Control | undefined> {
  const control = await open(deps, id, nowMs, [LIVE, { kind: "eq", attribute: "createdAtMs", value: createdAtMs }]);
  const table = await deps.checkpoints.get(tableItem(id.table));
  const isThis = table?.attributes.createdAtMs === createdAtMs;
  if (control === undefined && (table === undefined || isThis)) throw unknownTable(id);
  return isThis ? control : undefined;
}

const LIVE: Condition = { kind: "eq", attribute: "state", value: "live" };

/** Nothing where the conditions on the table do not hold. */
async function open(deps: ControlDeps, id: ShardId, nowMs: number, ofTable: readonly Condition[]): Promise<Control | undefined> {
  for (let attempt = 0; attempt < CONTROL_ATTEMPTS_MAX; attempt++) {
    const found = await readControl(deps.checkpoints, id);
    if (found !== undefined) return found;
    const incarnation = deps.random.id(INCARNATION_DIGITS);
    const hint = newTail(incarnation, nowMs);
    const tail: ItemChange = { item: tailItem(id), when: [], put: tailAttributes(hint) };
    const table: ItemChange = { item: tableItem(id.table), when: ofTable, check: true };
    const written = await writeControl(deps, { id, from: undefined, to: opened(incarnation), also: [tail, table] });
    if (written.kind === "written") return written.control;
    if (written.beside?.partition === table.item.partition) return undefined;
  }
  throw contended(id);
}

function unknownTable({ table }: ShardId): TidemarkError {
  return callError("unknown-table", `there is no table ${table}, or it is being deleted`);
}

/** The tail of a log of which nothing but its captured border is known. */
export function newTail(incarnation: string, nowMs: number, border: Border = ORIGIN): TailHint {
  const none = { log: NO_LOG, capturedLog: NO_LOG, sentBytes: 0, rates: {} };
  return { incarnation, border, capturedNext: border.next, capturedAtMs: nowMs, ...none };
}

/**
 * Carries out one transition, deciding again on what beat it. `decide` sees the control item as it stands.
 * @returns the item as written, or the refusal that `decide` gave; `gone` when there is no control item.
 */
export async function changeControl<Refusal extends { readonly kind: string }>(
  deps: ControlDeps,
  request: {
    readonly id: ShardId;
    readonly decide: (control: Control) => Transition<Refusal>;
    /** Changes of other items in the same transaction. */
    readonly also?: readonly ItemChange[];
  },
): Promise<{ readonly kind: "written"; readonly control: Control } | { readonly kind: "gone" } | Exclude<Refusal, { kind: "to" }>> {
  let control = await readControl(deps.checkpoints, request.id);
  for (let attempt = 0; attempt < CONTROL_ATTEMPTS_MAX; attempt++) {
    if (control === undefined) return { kind: "gone" };
    const decision = request.decide(control);
    if (decision.kind !== "to") return decision as Exclude<Refusal, { kind: "to" }>;
    const written = await writeControl(deps, { id: request.id, from: control, to: (decision as { control: ControlState }).control, also: request.also ?? [] });
    if (written.kind === "written") return written;
    control = await readControl(deps.checkpoints, request.id);
  }
  throw contended(request.id);
}

/**
 * One conditional write of the control item, with `also` in the same transaction: everything as read, or nothing.
 * A reply that never came is settled by reading. `beside`: which of the other items refused.
 */
export async function writeControl(
  { checkpoints, random }: ControlDeps,
  request: { readonly id: ShardId; readonly from: Control | undefined; readonly to: ControlState; readonly also: readonly ItemChange[] },
): Promise<{ readonly kind: "written"; readonly control: Control } | { readonly kind: "refused"; readonly beside?: ItemKey }> {
  const control: Control = { ...request.to, stamp: random.id(STAMP_DIGITS) };
  const change: ItemChange = { item: controlItem(request.id), when: [asRead(request.from)], put: controlAttributes(control) };
  let beside: ItemKey | undefined;
  try {
    const outcome = await checkpoints.write([change, ...request.also]);
    if (outcome.kind === "written") return { kind: "written", control };
    if (outcome.at === 0 && outcome.item !== undefined && parseControl(outcome.item).stamp === control.stamp) return { kind: "written", control };
    if (outcome.at === 0) return { kind: "refused" };
    beside = request.also[outcome.at - 1].item;
  } catch (error) {
    if (!isTidemarkError(error) || error.kind !== "retry") throw error;
  }
  const now = await readControl(checkpoints, request.id);
  if (now?.stamp === control.stamp) return { kind: "written", control };
  return { kind: "refused", ...(beside && { beside }) };
}

/** The condition that the control item is still the one that was read. */
export function asRead(control: Control | undefined): Condition {
  return control === undefined ? { kind: "absent" } : { kind: "eq", attribute: "stamp", value: control.stamp };
}

/** All history rows of the shard's partition, oldest first. */
export async function readHistory(checkpoints: Pick<CheckpointStore, "query">, id: ShardId): Promise<readonly HistoryRow[]> {
  return (await queryAll(checkpoints, id, HISTORY_SORT)).map(parseHistoryRow);
}

export async function queryAll(checkpoints: Pick<CheckpointStore, "query">, id: ShardId, sortPrefix: string): Promise<readonly Item[]> {
  const items: Item[] = [];
  for await (const page of pages<string, ItemPage<string>>((after) => checkpoints.query({ partition: shardPartition(id), sortPrefix, ...after })))
    items.push(...page.items);
  return items;
}

export function contended(id: ShardId): TidemarkError {
  return new TidemarkError("retry", "contended", `the control item of ${shardName(id)} changed under ${CONTROL_ATTEMPTS_MAX} attempts: try again`);
}
