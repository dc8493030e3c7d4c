// Finds a shard's tail, and publishes it. A tail that is found or published is a validated belief (rule 7): after the
// files it rests on were read, the control item still showed the same incarnation and a mark at or below the first of them.

import { openShard, openShardOf } from "../checkpoint/control.ts";
import { borderAttributes, capturedAttributes, DIRTY, logAttributes, parseTail, tailItem } from "../checkpoint/items.ts";
import { checkpointBorder, type Control, type TailHint } from "../model/control.ts";
import { TidemarkError } from "../model/errors.ts";
import { APPEND_ATTEMPTS_MAX, WALK_FILES_MAX } from "../model/limits.ts";
import { counted, type LogSize, NO_LOG, withFile } from "../model/log-size.ts";
import { type ShardId, shardName } from "../model/names.ts";
import type { Border } from "../model/position.ts";
import { measured, type Measurement } from "../model/rates.ts";
import type { Attributes, CheckpointStore } from "../ports/checkpoint-store.ts";
import type { Random } from "../ports/random.ts";
import { type Life, type ReadDeps, readHead, settle } from "./read.ts";

/** What a writer believes: which life, and what its next redo file must continue. */
export interface Belief {
  readonly incarnation: string;
  readonly border: Border;
  /** The log up to the border, for the planner. */
  readonly log: LogSize;
}

/** What is believed of a life's log. */
type Tail = Omit<Belief, "incarnation">;

export interface TailDeps {
  readonly objects: ReadDeps["objects"];
  readonly checkpoints: CheckpointStore;
  readonly random: Random;
}

/**
 * Where a writer begins, without a walk: the published tail, or the checkpoint where that is further on. Either is a border
 * of its life's log, validated when it was written, and a log that only grows keeps it one. So it is a belief like that of a
 * writer which stalled since then, and `append` holds its claim against the control item as it does that one's (rules 7, 9).
 * It may lag. Opens the shard if need be; a control item that this program cannot read is refused before anything is written.
 * @param createdAtMs of the table that the writer holds, if it holds one: nothing where that was deleted, and made again
 */
export async function firstBelief(deps: TailDeps, id: ShardId, nowMs: number, createdAtMs?: number): Promise<Belief | undefined> {
  const opening = createdAtMs === undefined ? openShard(deps, id, nowMs) : openShardOf(deps, id, nowMs, createdAtMs);
  const [control, hint] = await Promise.all([opening, readTail(deps.checkpoints, id)]);
  if (control === undefined) return undefined;
  // A life that began between the two reads; or damage, which is found by who reads the log.
  if (hint !== undefined && hint.incarnation !== control.incarnation) {
    const walked = await findTail(deps, id, nowMs);
    return createdAtMs === undefined || walked.incarnation === control.incarnation ? walked : undefined;
  }
  return { incarnation: control.incarnation, ...furthest(control, hint) };
}

/** Walks from the published tail, or from the checkpoint where that is further on, to the end of the log. Opens the shard if need be. */
export async function findTail(deps: TailDeps, id: ShardId, nowMs: number): Promise<Belief> {
  for (let attempt = 0; attempt < APPEND_ATTEMPTS_MAX; attempt++) {
    const control = await openShard(deps, id, nowMs);
    const life = { id, incarnation: control.incarnation };
    const start = furthest(control, await readTail(deps.checkpoints, id));
    const tail = await walk(deps, life, start);
    if (tail !== "stale") return { incarnation: control.incarnation, ...tail };
  }
  throw new TidemarkError("retry", "contended", `the log of ${shardName(id)} was cleaned under ${APPEND_ATTEMPTS_MAX} attempts to read it: try again`);
}

export async function readTail(checkpoints: Pick<CheckpointStore, "get">, id: ShardId): Promise<TailHint | undefined> {
  const item = await checkpoints.get(tailItem(id));
  return item && parseTail(item);
}

/** Publishes a validated belief for the planner and for new writers, and marks the shard dirty. Only forward; false if another was ahead. */
export async function publishTail(checkpoints: Pick<CheckpointStore, "write">, id: ShardId, { incarnation, border, log }: Belief): Promise<boolean> {
  const outcome = await checkpoints.write([
    {
      item: tailItem(id),
      when: [
        { kind: "eq", attribute: "incarnation", value: incarnation },
        { kind: "lt", attribute: "next", value: border.next },
      ],
      set: { ...borderAttributes(border), ...logAttributes(log), dirty: DIRTY },
    },
  ]);
  return outcome.kind === "written";
}

/** How far a capture came, and what it measured, if it was itself that tells. */
export interface CapturedTail {
  readonly incarnation: string;
  readonly border: Border;
  readonly atMs: number;
  /** Of the snapshot. */
  readonly snapshotBytes: number;
  readonly made?: Omit<Measurement, "files"> & { readonly sentBytes: number };
}

/** Tells the planner what a capture holds; the shard is clean where that is all. */
export async function publishCaptured(checkpoints: CheckpointStore, id: ShardId, captured: CapturedTail): Promise<void> {
  const { incarnation, border, atMs } = captured;
  const hint = await readTail(checkpoints, id);
  if (hint?.incarnation !== incarnation) return;
  const set = { capturedNext: border.next, capturedAtMs: atMs, ...capturedAttributes(afterCapture(hint, captured)) };
  const mine = { kind: "eq", attribute: "incarnation", value: incarnation } as const;
  const item = tailItem(id);
  // Also where the hint lags behind the capture: the writer that never published will not come back to clear the mark.
  const through = { kind: "lt", attribute: "next", value: border.next + 1 } as const;
  const all = await checkpoints.write([{ item, when: [mine, through], set: { ...set, ...borderAttributes(border) }, remove: ["dirty", ...ASKED] }]);
  if (all.kind === "written") return;
  await checkpoints.write([{ item, when: [mine, { kind: "lt", attribute: "capturedNext", value: border.next }], set, remove: ASKED }]);
}

const ASKED = ["dueSinceMs", "askedAtMs"];

/** The planner's figures behind a capture. Where the log went on meanwhile, the captured one is reckoned by its mutations. */
function afterCapture(hint: TailHint, { border, snapshotBytes, made }: CapturedTail): Pick<TailHint, "capturedLog" | "snapshotBytes" | "sentBytes" | "rates"> {
  const { log, capturedLog, capturedNext } = hint;
  const behind = Math.max(0, hint.border.next - capturedNext);
  const share = border.next >= hint.border.next ? 1 : Math.max(0, border.next - capturedNext) / Math.max(1, behind);
  const part = (all: number, captured: number): number => Math.round(captured + (all - captured) * share);
  const figures = { capturedLog: { files: part(log.files, capturedLog.files), bytes: part(log.bytes, capturedLog.bytes) }, snapshotBytes };
  if (made === undefined) return { ...figures, sentBytes: hint.sentBytes, rates: hint.rates };
  const filesPerMutation = behind > 0 ? Math.max(0, log.files - capturedLog.files) / behind : 0;
  const files = Math.max(1, Math.round(made.mutations * filesPerMutation));
  return { ...figures, sentBytes: counted(hint.sentBytes, made.sentBytes), rates: measured(hint.rates, { ...made, files }) };
}

/** Notes since when a shard is due, unless a capture came meanwhile. */
export function publishDue(checkpoints: Pick<CheckpointStore, "write">, id: ShardId, hint: TailHint, nowMs: number): Promise<void> {
  return noteUncaptured(checkpoints, id, hint, { dueSinceMs: hint.dueSinceMs ?? nowMs });
}

/** Notes that a capture was asked for, unless one came meanwhile. */
export function publishAsked(checkpoints: Pick<CheckpointStore, "write">, id: ShardId, hint: TailHint, nowMs: number): Promise<void> {
  return noteUncaptured(checkpoints, id, hint, { dueSinceMs: hint.dueSinceMs ?? nowMs, askedAtMs: nowMs });
}

async function noteUncaptured(
  checkpoints: Pick<CheckpointStore, "write">,
  id: ShardId,
  { incarnation, capturedNext }: TailHint,
  set: Attributes,
): Promise<void> {
  await checkpoints.write([
    {
      item: tailItem(id),
      when: [
        { kind: "eq", attribute: "incarnation", value: incarnation },
        { kind: "eq", attribute: "capturedNext", value: capturedNext },
      ],
      set,
    },
  ]);
}

/** The size of a log whose hint lags behind the checkpoint is that of the hint. */
function furthest(control: Control, hint: TailHint | undefined): Tail {
  const border = checkpointBorder(control);
  if (hint === undefined || hint.incarnation !== control.incarnation) return { border, log: NO_LOG };
  return { border: hint.border.next > border.next ? hint.border : border, log: hint.log };
}

async function walk(deps: ReadDeps, life: Life, start: Tail): Promise<Tail | "stale"> {
  let { border, log } = start;
  for (let file = 0; file < WALK_FILES_MAX; file++) {
    const step = await readHead(deps, life, border);
    if (step.kind === "found") {
      border = step.border;
      log = withFile(log, { bytes: step.bytes, rawBytes: step.file.rawBytes });
      continue;
    }
    const meaning = await settle(deps, life, { step, from: start.border.next, border });
    if (meaning === "tail") return { border, log };
    if (meaning === "stale") return "stale";
  }
  throw new TidemarkError("bug", "endless-log", `${shardName(life.id)} has more than ${WALK_FILES_MAX} redo files behind its checkpoint`);
}
