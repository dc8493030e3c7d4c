// Finds a shard's tail, and publishes it. A tail that is found or published is a validated belief (rule 7): after the
// files it rests on were read, the control item still showed the same incarnation and a mark at or below the first of them.

import { openShard } from "../checkpoint/control.ts";
import { borderAttributes, DIRTY, parseTail, tailItem } from "../checkpoint/items.ts";
import { checkpointBorder, type Control, type TailHint } from "../model/control.ts";
import { TidemarkError } from "../model/errors.ts";
import { APPEND_ATTEMPTS_MAX, WALK_FILES_MAX } from "../model/limits.ts";
import { type ShardId, shardName } from "../model/names.ts";
import type { Border } from "../model/position.ts";
import type { CheckpointStore } from "../ports/checkpoint-store.ts";
import type { Random } from "../ports/random.ts";
import { type Life, type ReadDeps, readHead, settle } from "./read.ts";

/** What a writer believes: which life, and what its next redo file must continue. */
export interface Belief {
  readonly incarnation: string;
  readonly border: Border;
}

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
 */
export async function firstBelief(deps: TailDeps, id: ShardId, nowMs: number): Promise<Belief> {
  const [control, hint] = await Promise.all([openShard(deps, id, nowMs), readTail(deps.checkpoints, id)]);
  return { incarnation: control.incarnation, border: furthest(control, hint) };
}

/** Walks from the published tail, or from the checkpoint where that is further on, to the end of the log. Opens the shard if need be. */
export async function findTail(deps: TailDeps, id: ShardId, nowMs: number): Promise<Belief> {
  for (let attempt = 0; attempt < APPEND_ATTEMPTS_MAX; attempt++) {
    const control = await openShard(deps, id, nowMs);
    const life = { id, incarnation: control.incarnation };
    const start = furthest(control, await readTail(deps.checkpoints, id));
    const border = await walk(deps, life, start);
    if (border !== "stale") return { incarnation: control.incarnation, border };
  }
  throw new TidemarkError("retry", "contended", `the log of ${shardName(id)} was cleaned under ${APPEND_ATTEMPTS_MAX} attempts to read it: try again`);
}

export async function readTail(checkpoints: Pick<CheckpointStore, "get">, id: ShardId): Promise<TailHint | undefined> {
  const item = await checkpoints.get(tailItem(id));
  return item && parseTail(item);
}

/** Publishes a validated belief for the planner and for new writers, and marks the shard dirty. Only forward; false if another was ahead. */
export async function publishTail(checkpoints: Pick<CheckpointStore, "write">, id: ShardId, { incarnation, border }: Belief): Promise<boolean> {
  const outcome = await checkpoints.write([
    {
      item: tailItem(id),
      when: [
        { kind: "eq", attribute: "incarnation", value: incarnation },
        { kind: "lt", attribute: "next", value: border.next },
      ],
      set: { next: border.next, digest: border.digest, timeMs: border.timeMs, dirty: DIRTY },
    },
  ]);
  return outcome.kind === "written";
}

/** Tells the planner what a capture holds; the shard is clean where that is all. */
export async function publishCaptured(checkpoints: CheckpointStore, id: ShardId, captured: Belief & { readonly atMs: number }): Promise<void> {
  const { incarnation, border, atMs } = captured;
  const set = { capturedNext: border.next, capturedAtMs: atMs };
  const mine = { kind: "eq", attribute: "incarnation", value: incarnation } as const;
  const item = tailItem(id);
  // Also where the hint lags behind the capture: the writer that never published will not come back to clear the mark.
  const through = { kind: "lt", attribute: "next", value: border.next + 1 } as const;
  const all = await checkpoints.write([{ item, when: [mine, through], set: { ...set, ...borderAttributes(border) }, remove: ["dirty", ...ASKED] }]);
  if (all.kind === "written") return;
  await checkpoints.write([{ item, when: [mine, { kind: "lt", attribute: "capturedNext", value: border.next }], set, remove: ASKED }]);
}

const ASKED = ["dueSinceMs", "askedAtMs"];

/** Notes that a capture was asked for, unless one came meanwhile. */
export async function publishAsked(checkpoints: Pick<CheckpointStore, "write">, id: ShardId, hint: TailHint, nowMs: number): Promise<void> {
  const { incarnation, capturedNext, dueSinceMs = nowMs } = hint;
  await checkpoints.write([
    {
      item: tailItem(id),
      when: [
        { kind: "eq", attribute: "incarnation", value: incarnation },
        { kind: "eq", attribute: "capturedNext", value: capturedNext },
      ],
      set: { dueSinceMs, askedAtMs: nowMs },
    },
  ]);
}

function furthest(control: Control, hint: TailHint | undefined): Border {
  const border = checkpointBorder(control);
  return hint !== undefined && hint.incarnation === control.incarnation && hint.border.next > border.next ? hint.border : border;
}

async function walk(deps: ReadDeps, life: Life, start: Border): Promise<Border | "stale"> {
  let border = start;
  for (let file = 0; file < WALK_FILES_MAX; file++) {
    const step = await readHead(deps, life, border);
    if (step.kind === "found") {
      border = step.border;
      continue;
    }
    const meaning = await settle(deps, life, { step, from: start.next, border });
    if (meaning === "tail") return border;
    if (meaning === "stale") return "stale";
  }
  throw new TidemarkError("bug", "endless-log", `${shardName(life.id)} has more than ${WALK_FILES_MAX} redo files behind its checkpoint`);
}
