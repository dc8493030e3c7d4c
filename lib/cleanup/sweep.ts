// Carries a cleanup plan out. Cleanup alone deletes and aborts (rule 5), any number of copies at once, however stale:
// it lists first, reads control and rows after, raises the mark by a conditional write, and only then deletes (rules 18
// to 26). Where it is refused or killed, the next run goes on.

import { asRead, queryAll, readControl, readHistory, writeControl } from "../checkpoint/control.ts";
import { controlItem, historyAttributes, historyItem, NOTE_SORT, parseNoteItem, parsePartItem, PART_SORT, partItem } from "../checkpoint/items.ts";
import { checkPaired } from "../checkpoint/pairing.ts";
import { cleaned } from "../checkpoint/transitions.ts";
import type { Control, HistoryRow } from "../model/control.ts";
import { isTidemarkError } from "../model/errors.ts";
import { groupsOf } from "../model/groups.ts";
import { DELETES_TOGETHER, S3_DELETE_MANY_MAX } from "../model/limits.ts";
import { incarnationPrefix, type ShardId, shardName } from "../model/names.ts";
import type { TablePolicy } from "../model/table.ts";
import type { CheckpointStore, ItemKey } from "../ports/checkpoint-store.ts";
import type { Clock } from "../ports/clock.ts";
import type { ObjectPage, ObjectStore, Upload, UploadCursor, UploadPage } from "../ports/object-store.ts";
import { pages } from "../ports/pages.ts";
import type { Random } from "../ports/random.ts";
import type { Telemetry } from "../ports/telemetry.ts";
import { type AttachmentFacts, type AttachmentPlan, NO_ATTACHMENTS, planAttachments } from "./attachments.ts";
import { type CleanupPlan, type DoomedObject, isIdle, type Listing, parseKey, planCleanup } from "./plan.ts";

export interface SweepDeps {
  readonly objects: Pick<ObjectStore, "list" | "listUploads" | "deleteMany" | "abortUpload" | "get" | "getRange" | "head">;
  readonly checkpoints: CheckpointStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Telemetry;
}

export interface SweepRequest {
  readonly id: ShardId;
  readonly policy: TablePolicy;
  /** Plan only. */
  readonly dryRun?: boolean;
}

/**
 * `planned`: a dry run. `cleaned`: the plan was carried out, but for the objects that `failed` names, which the next run
 * tries again; `listing` and `control` are what it rested on. `outrun`: the shard changed meanwhile; nothing new was
 * deleted, run again.
 */
export type SweepOutcome = {
  readonly plan: CleanupPlan;
  /** Of what the generations left that were kept, or, in a dry run, would be left. */
  readonly attachments: AttachmentPlan;
  readonly listing: Listing;
  readonly control: Control | undefined;
} & (
  | { readonly kind: "planned" }
  | { readonly kind: "cleaned"; readonly failed: readonly { readonly key: string; readonly reason: string }[] }
  | { readonly kind: "outrun" }
);

export async function sweep(deps: SweepDeps, request: SweepRequest): Promise<SweepOutcome> {
  const { id, policy } = request;
  const listing = await listShard(deps, id);
  const { control, rows } = await readItems(deps, id);
  const plan = planCleanup({ id, listing, control, rows, policy, nowMs: deps.clock.now() });
  for (const key of plan.unparseable) deps.telemetry.report({ kind: "unparseable-name", shard: shardName(id), key });
  const about = { plan, listing, control };
  if (request.dryRun === true) {
    const left = rows.filter((row) => !plan.generations.includes(row));
    const planned = await planOfAttachments(deps, { id, listing, control, rows: left });
    return { kind: "planned", ...about, attachments: planned === "stale" ? NO_ATTACHMENTS : planned.attachments };
  }
  if (isIdle(plan, control)) return { ...(await sweepAttachments(deps, id, listing)), ...about };
  if (isOfOtherLives(plan, control, id)) await checkPaired(deps);
  const now = await raise(deps, id, control, plan);
  if (now === "outrun") return { kind: "outrun", ...about, attachments: NO_ATTACHMENTS };
  const failed = [...(await deleteObjects(deps, [...plan.redoFiles, ...plan.orphans])), ...(await letGo(deps, id, now, plan.generations))];
  for (const upload of plan.uploads) await deps.objects.abortUpload(upload);
  await forget(
    deps,
    plan.parts.map(({ born, number }) => partItem(id, born, number)),
  );
  const left = await sweepAttachments(deps, id, listing);
  deps.telemetry.report({
    kind: "cleaned",
    shard: shardName(id),
    redoFiles: plan.redoFiles.length,
    snapshots: plan.generations.length,
    orphans: plan.orphans.length + plan.uploads.length + left.attachments.objects.length + left.attachments.uploads.length,
    lowWater: plan.lowWater,
  });
  return left.kind === "outrun" ? { ...left, ...about } : { kind: "cleaned", ...about, attachments: left.attachments, failed: [...failed, ...left.failed] };
}

/** By the control item and the rows as they are now: a generation that was pinned meanwhile has been kept. */
async function sweepAttachments(
  deps: SweepDeps,
  id: ShardId,
  listing: Listing,
): Promise<{ readonly attachments: AttachmentPlan } & ({ readonly kind: "cleaned"; readonly failed: readonly Failed[] } | { readonly kind: "outrun" })> {
  if (!hasAttachments(id, listing)) return { kind: "cleaned", failed: [], attachments: NO_ATTACHMENTS };
  const planned = await planOfAttachments(deps, { id, listing, ...(await readItems(deps, id)) });
  if (planned === "stale") return { kind: "outrun", attachments: NO_ATTACHMENTS };
  const { attachments, unread } = planned;
  const failed = [...unread, ...(await deleteObjects(deps, attachments.objects))];
  for (const upload of attachments.uploads) await deps.objects.abortUpload(upload);
  await forget(deps, attachments.notes);
  return { kind: "cleaned", failed, attachments };
}

/** Where what names attachments is damaged, all of them stay until it is repaired, or no longer kept. */
async function planOfAttachments(
  deps: SweepDeps,
  { control, ...facts }: Omit<AttachmentFacts, "control"> & { readonly control: Control | undefined },
): Promise<{ readonly attachments: AttachmentPlan; readonly unread: readonly Failed[] } | "stale"> {
  if (control === undefined) return { attachments: NO_ATTACHMENTS, unread: [] };
  try {
    const attachments = await planAttachments(deps, { ...facts, control });
    return attachments === "stale" ? "stale" : { attachments, unread: [] };
  } catch (error) {
    if (!isTidemarkError(error) || error.kind !== "repair" || error.object === undefined) throw error;
    return { attachments: NO_ATTACHMENTS, unread: [{ key: error.object, reason: `${error.message}: no attachment is deleted meanwhile` }] };
  }
}

/** Whether a plan deletes what the control item does not know: the leftovers of past lives, or the objects of another store. */
function isOfOtherLives({ orphans, uploads }: CleanupPlan, control: Control | undefined, id: ShardId): boolean {
  if (control === undefined) return true;
  const prefix = incarnationPrefix(id, control.incarnation);
  return [...orphans, ...uploads].some(({ key }) => !key.startsWith(prefix));
}

/**
 * The control item, then the history rows. Rows beside no control item are those of a past life, or of one that began
 * between the two reads: a second look tells.
 */
async function readItems({ checkpoints }: SweepDeps, id: ShardId): Promise<{ readonly control: Control | undefined; readonly rows: readonly HistoryRow[] }> {
  const control = await readControl(checkpoints, id);
  const rows = await readHistory(checkpoints, id);
  if (control !== undefined || rows.length === 0) return { control, rows };
  const since = await readControl(checkpoints, id);
  return since === undefined ? { control, rows } : { control: since, rows: await readHistory(checkpoints, id) };
}

/** First raise, then delete: with the mark up, no reader or writer rests on what is below it. */
async function raise(deps: SweepDeps, id: ShardId, control: Control | undefined, plan: CleanupPlan): Promise<Control | undefined | "outrun"> {
  if (control === undefined || (plan.lowWater === control.lowWater && !plan.fence)) return control;
  const written = await writeControl(deps, { id, from: control, to: cleaned(control, plan), also: [] });
  return written.kind === "written" ? written.control : "outrun";
}

/** Marks each generation, conditional on the control item and so on all pins as read; then the object goes, then the row (rule 19). */
async function letGo(deps: SweepDeps, id: ShardId, control: Control | undefined, rows: readonly HistoryRow[]): Promise<readonly Failed[]> {
  const failed: Failed[] = [];
  for (const row of rows) {
    const item = historyItem(id, row);
    if (row.state === "kept" && control !== undefined) {
      const marked = await deps.checkpoints.write([
        { item: controlItem(id), when: [asRead(control)], check: true },
        { item, when: [{ kind: "eq", attribute: "state", value: "kept" }], put: historyAttributes({ ...row, state: "deleting" }) },
      ]);
      if (marked.kind === "refused") continue;
    }
    const refused = await deleteObjects(deps, [row]);
    failed.push(...refused);
    // Another life's row of this index and epoch has the same place, but not the same object.
    if (refused.length === 0) await deps.checkpoints.write([{ item, when: [{ kind: "eq", attribute: "key", value: row.key }], delete: true }]);
  }
  return failed;
}

async function forget({ checkpoints }: SweepDeps, items: readonly ItemKey[]): Promise<void> {
  for (const some of groupsOf(items, DELETES_TOGETHER)) {
    await checkpoints.write(some.map((item) => ({ item, when: [], delete: true as const })));
  }
}

type Failed = { readonly key: string; readonly reason: string };

async function deleteObjects({ objects }: SweepDeps, doomed: readonly Pick<DoomedObject, "key">[]): Promise<readonly Failed[]> {
  const failed: Failed[] = [];
  for (const some of groupsOf(doomed, S3_DELETE_MANY_MAX)) failed.push(...(await objects.deleteMany(some.map(({ key }) => key))).failed);
  return failed;
}

async function listShard({ objects, checkpoints }: SweepDeps, id: ShardId): Promise<Listing> {
  const prefix = `${shardName(id)}/`;
  const parts = (await queryAll(checkpoints, id, PART_SORT)).map(({ key }) => parsePartItem(key));
  const listed = { objects: await listObjects(objects, prefix), uploads: await listUploads(objects, prefix), parts };
  // Notes are of batches with attachments: other shards are not asked for them.
  const notes = hasAttachments(id, listed) ? (await queryAll(checkpoints, id, NOTE_SORT)).map(({ key }) => parseNoteItem(key)) : [];
  return { ...listed, notes };
}

function hasAttachments(id: ShardId, { objects, uploads }: Pick<Listing, "objects" | "uploads">): boolean {
  return [...objects, ...uploads].some(({ key }) => parseKey(id, key).name.kind === "attached");
}

export async function listObjects(objects: Pick<ObjectStore, "list">, prefix: string): Promise<readonly DoomedObject[]> {
  const all: DoomedObject[] = [];
  for await (const page of pages<string, ObjectPage>((after) => objects.list({ prefix, ...after }))) all.push(...page.objects);
  return all;
}

export async function listUploads(objects: Pick<ObjectStore, "listUploads">, prefix: string): Promise<readonly Upload[]> {
  const all: Upload[] = [];
  for await (const page of pages<UploadCursor, UploadPage>((after) => objects.listUploads({ prefix, ...after }))) all.push(...page.uploads);
  return all;
}
