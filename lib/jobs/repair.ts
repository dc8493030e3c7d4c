// Does what can be done about damage, and says what cannot. It begins with what verification finds, and never makes a state
// up: what has no other copy is lost, and named.
//
// A damaged generation no longer counts (so that no mark passes the sound one before it), its object is copied into quarantine,
// and an ordinary capture makes a new generation of the one before and the log. Only then is it let go, and only where
// its own state can be brought back without it. Each step is conditional and may be repeated; killed anywhere, the next run
// goes on. Where the newest state cannot be brought back nothing is changed but items: what is left is for a person to read.

import { readControl, readHistory } from "../checkpoint/control.ts";
import { changeHistoryRow } from "../checkpoint/history.ts";
import { listObjects } from "../cleanup/sweep.ts";
import type { Control, HistoryRow } from "../model/control.ts";
import { isTidemarkError } from "../model/errors.ts";
import { incarnationPrefix, parseObjectName, type ShardId } from "../model/names.ts";
import { type Index, toIndex } from "../model/position.ts";
import type { Table } from "../model/table.ts";
import type { World } from "../ports/world.ts";
import { mendItems } from "../recovery/mend-items.ts";
import { endCopies, quarantine } from "../recovery/quarantine.ts";
import { type IndexRange, isRecoverable, planRepair, type RepairPlan } from "../recovery/repair-plan.ts";
import { type Finding, verifyShard } from "../recovery/verify.ts";
import { decodeRedoHeader } from "../redo-log/codec.ts";
import { readTail } from "../redo-log/tail.ts";
import type { CaptureOutcome } from "../snapshot/outcome.ts";
import { cleanupShard } from "./cleanup.ts";
import { snapshotShard } from "./snapshot.ts";

export interface RepairRequest {
  readonly table: Table;
  readonly shard: number;
  /** Say what would be done, and change nothing. */
  readonly dryRun?: boolean;
  /** Stops a capture early, for the next to go on with. */
  readonly signal?: AbortSignal;
}

/**
 * `sound`: there is nothing to repair. `planned`: a dry run. `repaired`: what could be done was done. `broken`: the newest state
 * cannot be brought back, or an item cannot be read; nothing was changed but the items that `rebuilt` names.
 */
export interface RepairReport {
  readonly kind: "sound" | "planned" | "repaired" | "broken";
  readonly findings: readonly Finding[];
  /** Items that were made anew, by name. */
  readonly rebuilt: readonly string[];
  /** Items that cannot be read, and could not be made anew. */
  readonly unreadable: readonly Finding[];
  /** Keys of the snapshots that count no more. */
  readonly doubted: readonly string[];
  /** Where copies of damaged objects lie. */
  readonly quarantined: readonly { readonly key: string; readonly copy: string }[];
  /** Keys of the snapshots that were let go. */
  readonly letGo: readonly string[];
  readonly capture?: CaptureOutcome;
  /** States that can be brought back, and those that were kept and cannot; empty where items are yet to be made anew. */
  readonly recoverable: readonly IndexRange[];
  readonly lost: readonly IndexRange[];
}

export async function repairShard(world: World, { table, shard, dryRun = false, signal }: RepairRequest): Promise<RepairReport> {
  const id = { table: table.name, shard };
  if (!dryRun) await endCopies(world, id);
  const items = await mendItems(world, id, { dryRun });
  const none = { doubted: [], quarantined: [], letGo: [], recoverable: [], lost: [] };
  if (items.unreadable.length > 0) return { kind: "broken", ...items, ...none };
  if (dryRun && items.rebuilt.length > 0) return { kind: "planned", ...items, ...none };
  const { findings: found } = await verifyShard(world, { id, codec: table.codec });
  const findings = [...items.findings, ...found];
  const control = await readControl(world.checkpoints, id);
  if (findings.length === 0 || control === undefined) return { kind: "sound", ...items, ...none };
  const plan = planRepair({ id, control, rows: await readHistory(world.checkpoints, id), findings: found, tail: await lastIndex(world, id, control) });
  const { recoverable, lost } = plan;
  const about = { ...items, ...none, findings, recoverable, lost };
  if (!plan.head || namesItem(found)) return { kind: "broken", ...about };
  if (dryRun) return { kind: "planned", ...about, doubted: plan.damaged.map(({ key }) => key) };
  return { kind: "repaired", ...about, ...(await carryOut(world, { table, id, incarnation: control.incarnation, plan, ...(signal && { signal }) })) };
}

/** A control item that contradicts its rows is nothing that can be mended from here. */
function namesItem(findings: readonly Finding[]): boolean {
  return findings.some(({ object }) => object.startsWith("shard#"));
}

interface Work {
  readonly table: Table;
  readonly id: ShardId;
  readonly incarnation: string;
  readonly plan: RepairPlan;
  readonly signal?: AbortSignal;
}

async function carryOut(world: World, work: Work): Promise<Pick<RepairReport, "doubted" | "quarantined" | "letGo" | "capture">> {
  const { table, id, incarnation, plan, signal } = work;
  const doubted: string[] = [];
  for (const row of plan.damaged) {
    if (await changeHistoryRow(world, { id, incarnation, row, change: (now) => ({ ...now, verified: false }) })) doubted.push(row.key);
  }
  const quarantined: { key: string; copy: string }[] = [];
  for (const key of plan.objects) {
    const copy = await quarantine(world, key);
    if (copy !== undefined) quarantined.push({ key, copy });
  }
  if (plan.damaged.length === 0) return { doubted, quarantined, letGo: [] };
  const { outcome } = await snapshotShard(world, { id, ...(signal && { signal }) });
  const letGo: string[] = [];
  for (const row of plan.damaged) if (isRecoverable(plan, row.index) && (await giveUp(world, work, row))) letGo.push(row.key);
  if (letGo.length > 0) await cleanupShard(world, { id, policy: table });
  return { doubted, quarantined, letGo, capture: outcome };
}

/** Lets a damaged generation go that nobody holds, once the checkpoint names another. */
function giveUp(world: World, { id, incarnation }: Work, row: HistoryRow): Promise<boolean> {
  const nowMs = world.clock.now();
  return changeHistoryRow(world, {
    id,
    incarnation,
    row,
    change: (now, { checkpoint }) =>
      checkpoint?.key === now.key || Object.values(now.pins).some((untilMs) => untilMs > nowMs) ? undefined : { ...now, state: "deleting" },
  });
}

/** The last index that the published tail, the checkpoint or the last redo file tells of. */
async function lastIndex(world: World, id: ShardId, { incarnation, checkpoint }: Control): Promise<Index> {
  const prefix = incarnationPrefix(id, incarnation);
  const published = (await readTail(world.checkpoints, id))?.border.next ?? 1;
  const listed = await listObjects(world.objects, `${prefix}redo/`);
  const last = listed.findLast(({ key }) => parseObjectName(key.slice(prefix.length)).kind === "redo");
  return toIndex(Math.max(published - 1, checkpoint?.index ?? 0, last === undefined ? 0 : await lastIn(world, last.key, prefix)));
}

/** Of a redo file that cannot be read, its name is all that is known. */
async function lastIn({ objects }: World, key: string, prefix: string): Promise<number> {
  const name = parseObjectName(key.slice(prefix.length));
  const first = name.kind === "redo" ? name.first : 0;
  const found = await objects.get(key);
  if (found.kind === "absent") return first;
  try {
    const head = decodeRedoHeader(found.body, key);
    return head.kind === "header" && head.header.first === first ? first + head.header.count - 1 : first;
  } catch (error) {
    if (!isTidemarkError(error) || error.kind !== "repair") throw error;
    return first;
  }
}
