// Items of a shard that cannot be read are made anew of what the store tells, where it tells all of it: a history row of its
// snapshot's footer, the tail of the log. The control item cannot be: no object tells the epoch, and a wrong one would let a
// capture that was fenced commit (I4).
//
// Each is written with the control item as it was read (rule 19), so that nobody's plan goes on from what was there before.

import { isDeepStrictEqual } from "node:util";
import { newTail, queryAll, readControl, readHistory, writeControl } from "../checkpoint/control.ts";
import {
  controlItem,
  HISTORY_SORT,
  historyAttributes,
  historyItem,
  itemName,
  parseHistoryRow,
  parseTail,
  tailAttributes,
  tailItem,
} from "../checkpoint/items.ts";
import { type Checkpoint, checkpointBorder, type Control, type HistoryRow, type TailHint } from "../model/control.ts";
import { damagedItem, isTidemarkError, messageOf, TidemarkError } from "../model/errors.ts";
import { incarnationPrefix, parseObjectName, type ShardId, shardName, snapshotKey } from "../model/names.ts";
import { type Epoch, type Index, toIndex } from "../model/position.ts";
import type { Attributes, CheckpointStore, ItemChange, ItemKey } from "../ports/checkpoint-store.ts";
import type { Clock } from "../ports/clock.ts";
import type { ObjectStore } from "../ports/object-store.ts";
import type { Random } from "../ports/random.ts";
import { type Life, readHead } from "../redo-log/read.ts";
import { findTail, publishTail } from "../redo-log/tail.ts";
import { openGeneration } from "../snapshot/generation.ts";
import { MAGIC } from "../snapshot/parquet/layout.ts";
import { openSnapshot, type Snapshot } from "../snapshot/read.ts";
import type { Finding } from "./verify.ts";

export interface MendDeps {
  readonly objects: Pick<ObjectStore, "get" | "getRange" | "head" | "list">;
  readonly checkpoints: CheckpointStore;
  readonly clock: Clock;
  readonly random: Random;
}

export interface ItemsMended {
  readonly findings: readonly Finding[];
  /** Names of the items that were made anew, or would be. */
  readonly rebuilt: readonly string[];
  /** Those that could not be, each with why. */
  readonly unreadable: readonly Finding[];
}

export async function mendItems(deps: MendDeps, id: ShardId, { dryRun }: { readonly dryRun: boolean }): Promise<ItemsMended> {
  const control = await readable(() => readControl(deps.checkpoints, id));
  if (control instanceof TidemarkError) return onlyControl(id, control);
  if (control === undefined) return { findings: [], rebuilt: [], unreadable: [] };
  const findings: Finding[] = [];
  const rebuilt: string[] = [];
  const unreadable: Finding[] = [];
  for (const { item, fault, when, make } of [...(await wrongRows(deps, id, control)), ...(await wrongTail(deps, id, control))]) {
    findings.push(findingOf(fault));
    const put = await readable(make);
    if (put instanceof TidemarkError) {
      unreadable.push({ object: itemName(item), what: `it cannot be made anew: ${put.message}` });
      continue;
    }
    if (!dryRun) await write(deps, { id, incarnation: control.incarnation }, { item, when, put });
    rebuilt.push(itemName(item));
  }
  if (!dryRun && rebuilt.includes(itemName(tailItem(id)))) await findAndPublish(deps, id);
  if (unreadable.length === 0 && rebuilt.length === 0) await mendCheckpoint(deps, id, { dryRun, findings, rebuilt });
  return { findings, rebuilt, unreadable };
}

interface WrongItem {
  readonly item: ItemKey;
  readonly fault: TidemarkError;
  readonly when: ItemChange["when"];
  readonly make: () => Promise<Attributes>;
}

/** Rows that cannot be read or are not what their sound snapshots say, and that of the checkpoint where it is missing. */
async function wrongRows(deps: MendDeps, id: ShardId, { incarnation, checkpoint }: Control): Promise<readonly WrongItem[]> {
  const life = { id, incarnation };
  const items = await queryAll(deps.checkpoints, id, HISTORY_SORT);
  const wrong: WrongItem[] = [];
  for (const item of items) {
    const row = await readable(async () => parseHistoryRow(item));
    const about = { item: item.key, when: [{ kind: "present" } as const] };
    if (row instanceof TidemarkError) {
      wrong.push({ ...about, fault: row, make: async () => historyAttributes(await rowOf(deps, life, item.key)) });
      continue;
    }
    const fault = row.state === "kept" ? await readable(() => openGeneration({ store: deps.objects }, life, row)) : undefined;
    if (!(fault instanceof TidemarkError)) continue;
    const right = await readable(() => rowOf(deps, life, item.key));
    // Where the snapshot is damaged, the row may well be right.
    if (right instanceof TidemarkError) continue;
    const { pins, mutations, capturedAtMs } = row;
    wrong.push({
      ...about,
      fault: damagedItem(itemName(item.key), messageOf(fault)),
      make: async () => historyAttributes({ ...right, pins, mutations, capturedAtMs }),
    });
  }
  const name = checkpoint && parseObjectName(checkpoint.key.slice(incarnationPrefix(id, incarnation).length));
  if (name?.kind !== "snapshot") return wrong;
  const item = historyItem(id, name);
  if (items.some(({ key }) => key.sort === item.sort)) return wrong;
  const fault = damagedItem(itemName(item), "it is missing, and the checkpoint names its snapshot");
  return [...wrong, { item, fault, when: [{ kind: "absent" }], make: async () => historyAttributes(await rowOf(deps, life, item)) }];
}

async function wrongTail(deps: MendDeps, id: ShardId, control: Control): Promise<readonly WrongItem[]> {
  const { objects, checkpoints, clock } = deps;
  const { incarnation } = control;
  const item = tailItem(id);
  const found = await checkpoints.get(item);
  const tail = await readable(async () => found && parseTail(found));
  const fault = tail instanceof TidemarkError ? tail : await wrongIn(deps, id, { control, tail });
  if (fault === undefined) return [];
  const make = async (): Promise<Attributes> => {
    // Where there are objects of the tail's incarnation alone, the control item is the one that is wrong, and what it names is nobody's.
    if (!(await hasObjects(objects, id, incarnation)) && found !== undefined && (await hasObjects(objects, id, String(found.attributes.incarnation))))
      throw damagedItem(itemName(controlItem(id)), `there are no objects of its incarnation ${incarnation}, and there are some of the tail's`);
    return tailAttributes(newTail(incarnation, clock.now(), checkpointBorder(control)));
  };
  return [{ item, fault, when: [], make }];
}

/** A tail that is of another life, or lies beside the log that goes on from the checkpoint. What cannot be read of that, verification tells. */
async function wrongIn(
  { objects }: MendDeps,
  id: ShardId,
  { control, tail }: { readonly control: Control; readonly tail: TailHint | undefined },
): Promise<TidemarkError | undefined> {
  const { incarnation } = control;
  const name = itemName(tailItem(id));
  if (tail?.incarnation !== incarnation) return damagedItem(name, "it is missing, or of another incarnation than the control item");
  let border = checkpointBorder(control);
  if (tail.border.next < border.next) return undefined;
  while (border.next < tail.border.next) {
    const step = await readHead({ objects }, { id, incarnation }, border);
    if (step.kind !== "found") return undefined;
    border = step.border;
  }
  const isOnChain = border.next === tail.border.next && border.digest === tail.border.digest;
  return isOnChain ? undefined : damagedItem(name, `the log is another at ${tail.border.next}`);
}

async function hasObjects(objects: Pick<ObjectStore, "list">, id: ShardId, incarnation: string): Promise<boolean> {
  return (await objects.list({ prefix: incarnationPrefix(id, incarnation), limit: 1 })).objects.length > 0;
}

/** The checkpoint stands twice; where the row agrees with the footer of the snapshot and the control item does not, the row is right. */
async function mendCheckpoint(
  deps: MendDeps,
  id: ShardId,
  { dryRun, findings, rebuilt }: { readonly dryRun: boolean; readonly findings: Finding[]; readonly rebuilt: string[] },
): Promise<void> {
  const control = await readControl(deps.checkpoints, id);
  const row = (await readHistory(deps.checkpoints, id)).find(({ key }) => key === control?.checkpoint?.key);
  if (control?.checkpoint === undefined || row === undefined) return;
  const { index, position, border, key, size, footerSha256, footerBytes } = row;
  const checkpoint: Checkpoint = { index, position, border, key, size, footerSha256, footerBytes };
  if (isDeepStrictEqual(checkpoint, control.checkpoint)) return;
  const opened = await readable(() => openGeneration({ store: deps.objects }, { id, incarnation: control.incarnation }, row));
  if (opened instanceof TidemarkError || opened.kind === "absent") return;
  const name = itemName(controlItem(id));
  findings.push({ object: name, what: `its checkpoint is not what the history row of ${key} and its footer say` });
  rebuilt.push(name);
  if (dryRun) return;
  const written = await writeControl(deps, { id, from: control, to: { ...control, checkpoint }, also: [] });
  if (written.kind !== "written") throw contended(id);
}

/**
 * The row of the snapshot that the item's key names, by its foot and its page indexes: of one that lost or got bytes before them
 * the foot is whole, and would tell a wrong size. It counts as not verified: no mark rests on it, and damage of records is found
 * by who reads them.
 */
async function rowOf({ objects }: MendDeps, { id, incarnation }: Life, item: ItemKey): Promise<HistoryRow> {
  const name = parseObjectName(`snapshots/${item.sort.slice(HISTORY_SORT.length)}.parquet`);
  if (name.kind !== "snapshot") throw damagedItem(itemName(item), "its key names no generation");
  const key = snapshotKey(incarnationPrefix(id, incarnation), name.index, name.epoch);
  const opened = await openSnapshot({ store: objects }, { key });
  if (opened.kind === "absent") throw damagedItem(itemName(item), `its snapshot ${key} is missing`);
  const { snapshot } = opened;
  const { table, shard, incarnation: life, index } = snapshot.description;
  if (shardName({ table, shard }) !== shardName(id) || life !== incarnation || index !== name.index)
    throw damagedItem(itemName(item), `${key} is the snapshot of ${table}/${shard} at index ${index}, of incarnation ${life}`);
  for await (const _ of snapshot.verifyBytes([]));
  return { ...rowFrom(snapshot, name.epoch), key };
}

function rowFrom({ description, size, footerSha256, groups, rowCount }: Snapshot, epoch: Epoch): Omit<HistoryRow, "key"> {
  const { index, position, border, base } = description;
  const last = groups.at(-1);
  const indexesEnd = last === undefined ? MAGIC.length : last.index.offset + last.index.byteLength;
  return {
    ...{ index, position, border, size, footerSha256, footerBytes: size - indexesEnd },
    ...{ epoch, state: "kept", pins: {}, verified: false, rows: rowCount },
    mutations: index - indexIn(base),
    capturedAtMs: border.timeMs,
  };
}

/** Of the snapshot that a key names; 0 where there is none. */
function indexIn(key: string | undefined): Index {
  const name = parseObjectName(key?.split("/").slice(3).join("/") ?? "");
  return name.kind === "snapshot" ? name.index : toIndex(0);
}

/** In the life that it was made for: beside the control item of another one it would be damage itself, of a shard that is sound. */
async function write(deps: MendDeps, { id, incarnation }: Life, change: ItemChange): Promise<void> {
  const control = await readControl(deps.checkpoints, id);
  const isOfLife = control !== undefined && control.incarnation === incarnation;
  const written = isOfLife ? await writeControl(deps, { id, from: control, to: control, also: [change] }) : undefined;
  if (written?.kind !== "written") throw contended(id);
}

function contended(id: ShardId): TidemarkError {
  return new TidemarkError("retry", "contended", `${shardName(id)} changed while its items were made anew: repair again`);
}

/** Where the log cannot be walked to its end, the cleanup after its repair publishes the tail. */
async function findAndPublish(deps: MendDeps, id: ShardId): Promise<void> {
  const tail = await readable(() => findTail(deps, id, deps.clock.now()));
  if (!(tail instanceof TidemarkError)) await publishTail(deps.checkpoints, id, tail);
}

function onlyControl(id: ShardId, fault: TidemarkError): ItemsMended {
  const object = itemName(controlItem(id));
  const why = "it cannot be made anew, for no object tells its epoch: restore the checkpoint store to a moment before the damage";
  return { findings: [findingOf(fault)], rebuilt: [], unreadable: [{ object, what: why }] };
}

function findingOf({ object = "", message }: TidemarkError): Finding {
  return { object, what: message.split(" is damaged: ").slice(-1)[0] };
}

/** What `read` gives, or the damage that it met. */
async function readable<Result>(read: () => Promise<Result>): Promise<Result | TidemarkError> {
  try {
    return await read();
  } catch (error) {
    if (isTidemarkError(error) && error.kind === "repair") return error;
    throw error;
  }
}
