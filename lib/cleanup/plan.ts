// What cleanup may delete (pure). Its input was read in the order that makes every decision rest on facts that cannot
// become untrue: listings first, then the control item, then the history rows (rule 22).
//
// What is kept (I6): the newest generations that retention asks for, of which at least two are verified, everything newer,
// what is pinned, and all of the log behind the oldest of them. What goes (I7): redo files below the mark, generations let
// go, and whatever no row and no record names and whose epoch is past. Epochs decide, never ages or clocks.

import { type CaptureRecord, checkpointBorder, type Control, type HistoryRow } from "../model/control.ts";
import { CAPTURE_ABANDONED_MS } from "../model/limits.ts";
import { incarnationPrefix, isIncarnation, parseObjectName, type ShardId, shardName } from "../model/names.ts";
import { type Epoch, type Index, toIndex } from "../model/position.ts";
import type { TablePolicy } from "../model/table.ts";
import type { Upload } from "../ports/object-store.ts";

/** What was listed below a shard's prefix, before the control item was read. */
export interface Listing {
  readonly objects: readonly { readonly key: string; readonly size: number }[];
  readonly uploads: readonly Upload[];
  /** Part items, by the epoch that bore their capture. */
  readonly parts: readonly { readonly born: Epoch; readonly number: number }[];
  /** Notes of batches that a source gathers, or has gathered. */
  readonly notes: readonly { readonly sequence: number; readonly name: string }[];
}

export interface CleanupFacts {
  readonly id: ShardId;
  readonly listing: Listing;
  /** Absent: the shard was deleted, or never opened. */
  readonly control: Control | undefined;
  readonly rows: readonly HistoryRow[];
  readonly policy: TablePolicy;
  readonly nowMs: number;
}

export interface CleanupPlan {
  /** The mark to set before anything is deleted; what it is already, if it stays. */
  readonly lowWater: Index;
  /** A new epoch, so that whoever left something at the current one can no longer use it. */
  readonly fence: boolean;
  /** Redo files below the mark, ghosts included. */
  readonly redoFiles: readonly DoomedObject[];
  /** Generations let go: their objects go first, then their rows. */
  readonly generations: readonly HistoryRow[];
  /** Objects that nothing names, and all of lives that are past. */
  readonly orphans: readonly DoomedObject[];
  readonly uploads: readonly Upload[];
  readonly parts: Listing["parts"];
  /** Names that no version of this program makes: left alone, and reported. */
  readonly unparseable: readonly string[];
}

export interface DoomedObject {
  readonly key: string;
  readonly size: number;
}

export function planCleanup(facts: CleanupFacts): CleanupPlan {
  const { control, rows, policy, nowMs } = facts;
  const sorted = sort(facts);
  if (control === undefined) {
    return {
      lowWater: toIndex(1),
      fence: false,
      redoFiles: [],
      generations: rows,
      orphans: sorted.past,
      uploads: facts.listing.uploads,
      parts: facts.listing.parts,
      unparseable: sorted.unparseable,
    };
  }
  const keep = retained(rows, policy, nowMs);
  const lowWater = keep === undefined ? control.lowWater : markFor(control, keep, policy, sorted.redoFiles);
  const generations = rows.filter((row) => row.state === "deleting" || (keep !== undefined && !keep.has(row) && row.key !== control.checkpoint?.key));
  // What the checkpoint names is no orphan, even where its row was lost.
  const named = new Set([...rows, ...(control.checkpoint ? [control.checkpoint] : [])].map(({ key }) => key));
  const leftObjects = sorted.snapshots.filter(({ key }) => !named.has(key) && key !== control.capture?.key);
  const leftUploads = facts.listing.uploads.filter((upload) => !isRecorded(upload, control.capture) && !isAttachment(facts.id, control, upload.key));
  const leftParts = facts.listing.parts.filter(({ born }) => born !== control.capture?.born);
  // Who goes on with a record takes the next epoch, and what lies beside it is past: a fence would end the capture that waits.
  const left = control.capture === undefined ? [...leftObjects, ...leftUploads] : [];
  const fence = isFree(control, nowMs) && (isAbandoned(control, nowMs) || left.some(({ key }) => epochOf(facts.id, control, key) === control.epoch));
  const dead = ({ key }: { readonly key: string }) => fence || epochOf(facts.id, control, key) < control.epoch;
  const droppedUpload = fence && control.capture !== undefined ? facts.listing.uploads.filter((upload) => isRecorded(upload, control.capture)) : [];
  return {
    lowWater,
    fence,
    // A mark beyond the checkpoint is not of this program's making; what no capture holds has no other copy.
    redoFiles: sorted.redoFiles.filter(({ first }) => first < Math.min(lowWater, checkpointBorder(control).next)),
    generations,
    orphans: [...leftObjects.filter(dead), ...sorted.past],
    uploads: [...leftUploads.filter(dead), ...droppedUpload],
    parts: fence ? facts.listing.parts : leftParts,
    unparseable: sorted.unparseable,
  };
}

/** True where a plan changes nothing. */
export function isIdle(plan: CleanupPlan, control: Control | undefined): boolean {
  const lists = [plan.redoFiles, plan.generations, plan.orphans, plan.uploads, plan.parts];
  return !plan.fence && plan.lowWater === (control?.lowWater ?? plan.lowWater) && lists.every(({ length }) => length === 0);
}

interface RedoObject extends DoomedObject {
  readonly first: Index;
}

/** The listed objects by what their names say; `past` are those of other incarnations (rule 25). Attachments have a plan of their own. */
function sort({ id, listing, control }: CleanupFacts): {
  readonly redoFiles: readonly RedoObject[];
  readonly snapshots: readonly DoomedObject[];
  readonly past: readonly DoomedObject[];
  readonly unparseable: readonly string[];
} {
  const redoFiles: RedoObject[] = [];
  const snapshots: DoomedObject[] = [];
  const past: DoomedObject[] = [];
  const unparseable: string[] = [];
  for (const object of listing.objects) {
    const { incarnation, name } = parseKey(id, object.key);
    if (name.kind === "unknown") unparseable.push(object.key);
    else if (incarnation !== control?.incarnation) past.push(object);
    else if (name.kind === "attached") continue;
    else if (name.kind === "redo") redoFiles.push({ ...object, first: name.first });
    else snapshots.push(object);
  }
  return { redoFiles, snapshots, past, unparseable };
}

/**
 * The generations that retention keeps; undefined while there are fewer verified ones than it asks for, or none old
 * enough to begin the window: then nothing is let go and the mark stays.
 */
function retained(rows: readonly HistoryRow[], policy: TablePolicy, nowMs: number): ReadonlySet<HistoryRow> | undefined {
  const newestFirst = rows.filter(({ state }) => state === "kept").sort((a, b) => b.index - a.index);
  const verified = newestFirst.filter((row) => row.verified);
  const oldestByCount = verified[policy.keepSnapshots - 1];
  const oldestByTime = policy.keepForMs === 0 ? oldestByCount : verified.find(({ border }) => border.timeMs <= nowMs - policy.keepForMs);
  if (oldestByCount === undefined || oldestByTime === undefined) return undefined;
  const oldest = Math.min(oldestByCount.index, oldestByTime.index);
  return new Set(newestFirst.filter((row) => row.index >= oldest || isPinned(row, nowMs)));
}

/** Rules 17 and 18: the lowest index that a kept generation's log begins at, less the overhead, at a redo file's border. */
function markFor(control: Control, keep: ReadonlySet<HistoryRow>, policy: TablePolicy, redoFiles: readonly RedoObject[]): Index {
  const needed = Math.min(...[...keep].map(({ border }) => border.next));
  const withOverhead = checkpointBorder(control).next - policy.compactionOverhead;
  if (withOverhead >= needed) return toIndex(Math.max(control.lowWater, needed));
  const borders = redoFiles.map(({ first }) => first).filter((first) => first <= withOverhead);
  return borders.reduce((highest, first) => toIndex(Math.max(highest, first)), control.lowWater);
}

function isPinned(row: HistoryRow, nowMs: number): boolean {
  return Object.values(row.pins).some((untilMs) => untilMs > nowMs);
}

/** Nobody can be at work under the current epoch, as far as clocks tell. The fence itself is conditional, and safe if they are wrong. */
function isFree({ lease }: Control, nowMs: number): boolean {
  return lease === undefined || lease.untilMs <= nowMs;
}

/** A record is for the next capture to go on with, unless its target is passed or nobody came for long. */
function isAbandoned({ capture, checkpoint, lease }: Control, nowMs: number): boolean {
  if (capture === undefined) return false;
  return capture.target.next - 1 <= (checkpoint?.index ?? 0) || (lease?.untilMs ?? 0) + CAPTURE_ABANDONED_MS <= nowMs;
}

function isRecorded(upload: Upload, capture: CaptureRecord | undefined): boolean {
  return upload.key === capture?.key && upload.uploadId === capture.uploadId;
}

/** The epoch in a snapshot's key; 0, which is always past, for a name of another life or kind. */
function epochOf(id: ShardId, control: Control, key: string): number {
  const { incarnation, name } = parseKey(id, key);
  return incarnation === control.incarnation && name.kind === "snapshot" ? name.epoch : 0;
}

/** Whether a key is that of an attachment of the shard's life. */
export function isAttachment(id: ShardId, control: Control, key: string): boolean {
  const { incarnation, name } = parseKey(id, key);
  return incarnation === control.incarnation && name.kind === "attached";
}

export function parseKey(id: ShardId, key: string): { readonly incarnation: string; readonly name: ReturnType<typeof parseObjectName> } {
  const rest = key.slice(shardName(id).length + 1);
  const incarnation = rest.slice(0, rest.indexOf("/"));
  if (!isIncarnation(incarnation)) return { incarnation: "", name: { kind: "unknown" } };
  return { incarnation, name: parseObjectName(key.slice(incarnationPrefix(id, incarnation).length)) };
}
