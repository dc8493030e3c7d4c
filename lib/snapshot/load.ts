// What a capture is made of: the state at its cut point, the end of a redo file behind the checkpoint (rule 13).

import { readHistory } from "../checkpoint/control.ts";
import type { Lease } from "../checkpoint/lease.ts";
import { assert } from "../model/assert.ts";
import { successor } from "../model/bytes.ts";
import { type CaptureRecord, checkpointBorder } from "../model/control.ts";
import { damagedObject, TidemarkError } from "../model/errors.ts";
import { CAPTURE_LOG_BYTES_MAX, FOLD_BYTES_MAX } from "../model/limits.ts";
import { incarnationPrefix, redoKey, shardName } from "../model/names.ts";
import { toIndex } from "../model/position.ts";
import { covers } from "../redo-log/read.ts";
import type { Adopted, CutState } from "./make.ts";
import type { CaptureDeps, CaptureOutcome, CaptureRequest } from "./outcome.ts";
import { startBehind } from "./progress.ts";
import type { Section } from "./sections.ts";
import { loadState, type ShardState } from "./state.ts";

export interface LoadRequest {
  readonly lease: Lease;
  /** A capture to go on with: its target is the cut point. */
  readonly adopted: Adopted | undefined;
  /** Only the changes of its keys are wanted. */
  readonly section?: Section;
  readonly damaged: ReadonlyMap<string, TidemarkError>;
}

export async function loadForCapture(
  deps: CaptureDeps,
  request: CaptureRequest,
  { lease, adopted, section, damaged }: LoadRequest,
): Promise<{ readonly kind: "loaded"; readonly state: CutState; readonly replayMs: number } | CaptureOutcome> {
  const { control } = lease;
  const life = { id: lease.id, incarnation: lease.holder.incarnation };
  const checkpointIndex = toIndex(checkpointBorder(control).next - 1);
  const rows = (await readHistory(deps.checkpoints, lease.id)).filter(({ index }) => index <= checkpointIndex);
  const logBytesMax = request.logBytesMax ?? logBytesMaxFor(control.checkpoint?.size ?? 0);
  const start = adopted && startBehind(adopted.progress);
  const firstFrom = start === undefined ? section?.fromKey : successor(start.after);
  const startedAtMs = deps.clock.now();
  const logMsMax = LOG_TIME_SHARE * (request.timeMs ?? Number.POSITIVE_INFINITY);
  // Who is to stop begins no upload.
  const isLong = (readings: number): boolean => request.signal?.aborted !== true && (deps.clock.now() - startedAtMs) * readings >= logMsMax;
  const outcome = await loadState(deps, {
    life,
    codec: request.codec,
    control,
    rows,
    damaged,
    past: checkpointIndex,
    foldBytesMax: request.foldBytesMax ?? FOLD_BYTES_MAX,
    ...(adopted === undefined ? { logBytesMax, isLong } : { bound: { index: toIndex(adopted.record.target.next - 1) } }),
    ...(firstFrom && { firstFrom }),
    ...(section?.aboveKey && { above: section.aboveKey }),
    oneReader: true,
    goOn: () => mayGoOn(request, lease),
  });
  switch (outcome.kind) {
    case "stopped":
      return stoppedShort(request);
    case "stale":
      return { kind: "outOfDate" };
    case "none":
      // The rows of a table that was deleted meanwhile are gone like the rest: nothing is damaged.
      if (!(await covers(deps, life, checkpointBorder(control).next))) return { kind: "outOfDate" };
      throw new TidemarkError("repair", "missing-history", `${shardName(lease.id)} has a checkpoint, but no generation that its log goes on from`);
    case "loaded":
      if (outcome.state.index <= checkpointIndex) return { kind: "ignored", reason: "nothing-new", index: checkpointIndex };
      checkTarget(lease, outcome.state, adopted?.record);
      return { kind: "loaded", state: atCut(outcome.state), replayMs: deps.clock.now() - startedAtMs };
  }
}

/**
 * Of the time that a capture has, reading its log may take so much. Until it is read nothing is made that another could go on
 * behind, and who goes on reads it again: a log that took all of the time would be read for ever.
 */
const LOG_TIME_SHARE = 1 / 3;

/** Bytes of keys and values in the log that one capture takes, by the bytes of its base; 0 for none. */
export function logBytesMaxFor(baseBytes: number): number {
  return Math.max(CAPTURE_LOG_BYTES_MAX, 2 * baseBytes);
}

function atCut(state: ShardState): CutState {
  const { border, position } = state;
  assert(border !== undefined && position !== undefined, "a capture's target is the end of a redo file");
  return { ...state, border, position };
}

/** The log must lead to where the capture that is adopted was bound: its parts are of that state, and its key says so. */
function checkTarget(lease: Lease, { border, index }: ShardState, adopted: CaptureRecord | undefined): void {
  if (adopted === undefined || border?.digest === adopted.target.digest) return;
  const key = redoKey(incarnationPrefix(lease.id, lease.holder.incarnation), border?.next ?? toIndex(index + 1));
  throw damagedObject(key, `it is missing, or not what it was when ${adopted.key} was begun`);
}

export async function mayGoOn({ signal }: CaptureRequest, lease: Lease): Promise<boolean> {
  return signal?.aborted !== true && (await lease.keep());
}

export function stoppedShort({ signal }: CaptureRequest): CaptureOutcome {
  return signal?.aborted === true ? { kind: "aborted", reason: "the capture was told to stop; the next one goes on with its parts" } : { kind: "outOfDate" };
}
