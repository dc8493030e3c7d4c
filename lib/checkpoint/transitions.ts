// Every change of a shard's control item, as a pure function from what its writer saw to what it writes or why not.
// lib/checkpoint/control.ts carries them out. Time decides only when one may try; the epoch decides who is right.

import type { CaptureRecord, Checkpoint, Control } from "../model/control.ts";
import { type Epoch, type Index, ORIGIN, toEpoch } from "../model/position.ts";
import type { Condition } from "../ports/checkpoint-store.ts";

/** A control item without its stamp, which the write itself sets. */
export type ControlState = Omit<Control, "stamp">;

export type Transition<Refusal> = { readonly kind: "to"; readonly control: ControlState } | Refusal;

/** Who writes under a lease. */
export interface Holder {
  readonly incarnation: string;
  readonly epoch: Epoch;
}

/** The first state of a shard's life. */
export function opened(incarnation: string): ControlState {
  return { incarnation, epoch: toEpoch(0), lowWater: ORIGIN.next };
}

/** Rule 12: one more epoch for a new holder, unless another's lease still runs. */
export function takeLease(
  control: Control,
  request: { readonly owner: string; readonly nowMs: number; readonly ttlMs: number },
): Transition<{ readonly kind: "rejected"; readonly owner: string; readonly untilMs: number }> {
  const { lease } = control;
  const isMine = lease?.owner === request.owner; // A write of ours whose lost reply was overtaken by another's.
  if (lease !== undefined && lease.untilMs > request.nowMs && !isMine) return { kind: "rejected", ...lease };
  return to({ ...control, epoch: toEpoch(control.epoch + 1), lease: { owner: request.owner, untilMs: request.nowMs + request.ttlMs } });
}

export function renewLease(control: Control, holder: Holder, untilMs: number): Transition<Lost> {
  if (!isHolder(control, holder) || control.lease === undefined) return LOST;
  return to({ ...control, lease: { ...control.lease, untilMs } });
}

/** Lets others try at once; a capture record stays, to be adopted, and the lease's end tells since when it waits. */
export function releaseLease(control: Control, holder: Holder, nowMs: number): Transition<Lost> {
  if (!isHolder(control, holder) || control.lease === undefined) return LOST;
  return to({ ...control, lease: { ...control.lease, untilMs: nowMs } });
}

/** Rule 14: the intent, before any part is uploaded. */
export function recordCapture(control: Control, holder: Holder, capture: CaptureRecord): Transition<Lost> {
  if (!isHolder(control, holder)) return LOST;
  return to({ ...control, capture });
}

/** How far a capture has read back what it sent: who goes on with it begins there. */
export function noteReadBack(control: Control, holder: Holder, uploadId: string, readBack: number): Transition<Lost> {
  if (!isHolder(control, holder) || control.capture?.uploadId !== uploadId) return LOST;
  return to({ ...control, capture: { ...control.capture, readBack } });
}

/** Rule 15: without the clearing, an upload that cannot be completed would make every later run fail. */
export function clearCapture(control: Control, holder: Holder): Transition<Lost> {
  if (!isHolder(control, holder)) return LOST;
  const { capture: _, lease: __, ...rest } = control;
  return to(rest);
}

/** Rule 16, I4: the epoch is mine and the index grows. The lease ends with it. */
export function commitCheckpoint(control: Control, holder: Holder, checkpoint: Checkpoint): Transition<Lost> {
  if (!isHolder(control, holder) || checkpoint.index <= (control.checkpoint?.index ?? 0)) return LOST;
  const { capture: _, lease: __, ...rest } = control;
  return to({ ...rest, checkpoint });
}

/**
 * Cleanup's one write, conditional on everything as it was read (rules 18 and 24): the mark goes up, and where something
 * of the current epoch was left behind, a new epoch fences whoever left it.
 */
export function cleaned(control: Control, change: { readonly lowWater: Index; readonly fence: boolean }): ControlState {
  const state = { ...control, lowWater: change.lowWater };
  if (!change.fence) return state;
  const { capture: _, lease: __, ...rest } = state;
  return { ...rest, epoch: toEpoch(control.epoch + 1) };
}

/** The same test for a transaction that leaves the control item as it is: its writer still holds the lease. */
export function asHolder({ incarnation, epoch }: Holder): readonly Condition[] {
  return [
    { kind: "eq", attribute: "incarnation", value: incarnation },
    { kind: "eq", attribute: "epoch", value: epoch },
  ];
}

type Lost = { readonly kind: "lost" };
const LOST: Lost = { kind: "lost" };

function to(control: ControlState): { readonly kind: "to"; readonly control: ControlState } {
  return { kind: "to", control };
}

function isHolder(control: Control, holder: Holder): boolean {
  return control.incarnation === holder.incarnation && control.epoch === holder.epoch;
}
