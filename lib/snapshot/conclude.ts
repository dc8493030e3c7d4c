// How a capture ends: the upload completed, what was sent read back, and then, in one write, the checkpoint with its history row
// (rules 15 and 16, I4). Whatever cannot be completed is cleared, so that the next capture starts afresh.

import { changeControl } from "../checkpoint/control.ts";
import { changeHistoryRow } from "../checkpoint/history.ts";
import { historyAttributes, historyItem } from "../checkpoint/items.ts";
import type { Lease } from "../checkpoint/lease.ts";
import { clearCapture, commitCheckpoint, noteReadBack } from "../checkpoint/transitions.ts";
import { type CaptureRecord, type Checkpoint, checkpointBorder, type Control, type HistoryRow } from "../model/control.ts";
import { publishCaptured } from "../redo-log/tail.ts";
import { mayGoOn, stoppedShort } from "./load.ts";
import { completeAndVerify, type CutState, type MakeStop, type Sent } from "./make.ts";
import type { CaptureDeps, CaptureOutcome, CaptureRequest } from "./outcome.ts";
import { sizesOf } from "./sizes.ts";
import type { PassedOver } from "./state.ts";

/** What is read back is noted each time that it has the bytes of so many parts: once in so many writes of parts. */
const PARTS_READ_TO_NOTE = 4;

export interface Made {
  readonly lease: Lease;
  readonly record: CaptureRecord;
  readonly state: CutState;
  /** What loading the state took. */
  readonly replayMs: number;
  readonly sent: ({ readonly kind: "sent" } & Sent) | MakeStop;
}

export async function conclude(deps: CaptureDeps, request: CaptureRequest, made: Made): Promise<CaptureOutcome> {
  const { lease, record, state, sent } = made;
  switch (sent.kind) {
    case "superseded":
      return { kind: "outOfDate" };
    case "noSuchUpload":
      return startAfresh(deps, lease, "its upload was ended");
    case "tooShort":
    case "tooLong":
      return startAfresh(deps, lease, "a section did not fit its parts");
    case "wrongProgress":
      return startAfresh(deps, lease, "its parts do not hold what their notes say");
    case "stopped":
      return stoppedShort(request);
    case "sent":
      break;
  }
  const readFromMs = deps.clock.now();
  const completion = await completeAndVerify(deps, record, sent, {
    goOn: () => mayGoOn(request, lease),
    noteBytes: PARTS_READ_TO_NOTE * sizesOf(request.sizes, record.bytesExpected).partBytes,
    async note(readBack) {
      const decide = (control: Control) => noteReadBack(control, lease.holder, record.uploadId, readBack);
      return (await changeControl(deps, { id: lease.id, decide })).kind === "written";
    },
  });
  switch (completion.kind) {
    case "stopped":
      return stoppedShort(request);
    case "carriedDamage":
      return giveUp(deps, lease, completion.why, state.base.kind === "generation" ? state.base.row : undefined);
    case "failed":
      return startAfresh(deps, lease, completion.why);
    case "verified":
      await doubt(deps, lease, state.passedOver);
      return commit(deps, made, sent, deps.clock.now() - readFromMs);
  }
}

/** A generation that was found damaged no longer counts as one that can recover the head (I6): cleanup keeps a sound one instead. */
export async function doubt(deps: CaptureDeps, { id, holder }: Lease, passedOver: readonly Pick<PassedOver, "index" | "epoch">[]): Promise<void> {
  for (const row of passedOver) {
    await changeHistoryRow(deps, { id, incarnation: holder.incarnation, row, change: (now) => (now.verified ? { ...now, verified: false } : undefined) });
  }
}

async function commit(deps: CaptureDeps, { lease, record, state, replayMs }: Made, { encoded, uploaded, read }: Sent, readMs: number): Promise<CaptureOutcome> {
  const { index, border, position } = state;
  const mutations = index + 1 - checkpointBorder(lease.control).next;
  const row: HistoryRow = {
    index,
    position,
    border,
    key: record.key,
    size: encoded.size,
    footerSha256: encoded.footerSha256,
    footerBytes: encoded.footerBytes,
    epoch: record.born,
    state: "kept",
    pins: {},
    verified: true,
    rows: encoded.rows,
    mutations,
    capturedAtMs: deps.clock.now(),
  };
  const item = historyItem(lease.id, row);
  const written = await changeControl(deps, {
    id: lease.id,
    decide: (control) => commitCheckpoint(control, lease.holder, checkpointOf(row)),
    also: [{ item, when: [{ kind: "absent" }], put: historyAttributes(row) }],
  });
  // Our own write may have been overtaken before its lost reply was settled: the row tells.
  if (written.kind !== "written" && (await deps.checkpoints.get(item)) === undefined) return { kind: "outOfDate" };
  const { bytesSent, bytesCopied } = uploaded;
  const bytesRead = read.reduce((sum, place) => sum + encoded.groups[place].group.byteLength, 0);
  await publishCaptured(deps.checkpoints, lease.id, {
    incarnation: lease.holder.incarnation,
    border,
    atMs: row.capturedAtMs,
    snapshotBytes: row.size,
    made: { sentBytes: bytesSent, mutations: state.mutations, replayMs, bytes: bytesRead, readMs },
  });
  return { kind: "completed", index, position, key: row.key, mutations, rows: row.rows, bytes: row.size, bytesSent, bytesCopied, more: !state.atTail };
}

function checkpointOf({ index, position, border, key, size, footerSha256, footerBytes }: HistoryRow): Checkpoint {
  return { index, position, border, key, size, footerSha256, footerBytes };
}

/** For what makes the base useless: it no longer counts, if it is named, and the next capture starts afresh. */
export async function giveUp(deps: CaptureDeps, lease: Lease, why: string, base?: Pick<PassedOver, "index" | "epoch">): Promise<CaptureOutcome> {
  if (base !== undefined) await doubt(deps, lease, [base]);
  return startAfresh(deps, lease, why);
}

/** Rule 15: the record of an upload that cannot be completed is cleared, or every later run would fail on it. */
async function startAfresh(deps: CaptureDeps, lease: Lease, why: string): Promise<CaptureOutcome> {
  const cleared = await changeControl(deps, { id: lease.id, decide: (control) => clearCapture(control, lease.holder) });
  return cleared.kind === "written" ? { kind: "aborted", reason: `${why}; the next capture starts afresh` } : { kind: "outOfDate" };
}
