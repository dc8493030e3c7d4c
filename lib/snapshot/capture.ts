// Captures a shard's state into one snapshot (rules 12 to 16): lease, cut point, upload, checkpoint.
//
// The checkpoint only moves forward and only by the holder of the newest epoch (I4); data is complete, and read back,
// before the checkpoint names it. A capture never deletes and never aborts: whatever it leaves behind, the next holder
// adopts or cleanup removes (I9). It never blocks an append.

import { changeControl, readControl, readHistory } from "../checkpoint/control.ts";
import { changeHistoryRow } from "../checkpoint/history.ts";
import { historyAttributes, historyItem } from "../checkpoint/items.ts";
import { acquireLease, type Lease } from "../checkpoint/lease.ts";
import { clearCapture, commitCheckpoint, recordCapture } from "../checkpoint/transitions.ts";
import { assert } from "../model/assert.ts";
import { type CaptureRecord, checkpointBorder, type Control, type HistoryRow } from "../model/control.ts";
import { damagedObject, TidemarkError } from "../model/errors.ts";
import { FOLD_BYTES_MAX, PART_BYTES } from "../model/limits.ts";
import type { ValueCodec } from "../model/mutation.ts";
import { incarnationPrefix, redoKey, type ShardId, shardName, snapshotKey } from "../model/names.ts";
import { type Border, type Index, type Position, toIndex } from "../model/position.ts";
import type { SnapshotDescription } from "../model/snapshot.ts";
import type { CheckpointStore } from "../ports/checkpoint-store.ts";
import type { Clock } from "../ports/clock.ts";
import type { ObjectStore, UploadedPart } from "../ports/object-store.ts";
import type { Random } from "../ports/random.ts";
import type { Telemetry } from "../ports/telemetry.ts";
import { type Life, readHead, settle } from "../redo-log/read.ts";
import { publishCaptured } from "../redo-log/tail.ts";
import { ENCODER_VERSION } from "./parquet/description.ts";
import { type EncodedSnapshot, snapshotEncoder } from "./parquet/encode.ts";
import { openSnapshot } from "./read.ts";
import { isDamageOf, loadState, type PassedOver, pour, type ShardState } from "./state.ts";
import { partUploader, storedParts } from "./upload.ts";

export interface CaptureDeps {
  readonly objects: ObjectStore;
  readonly checkpoints: CheckpointStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Telemetry;
}

export interface CaptureRequest {
  readonly id: ShardId;
  readonly codec: ValueCodec;
  /** Memory that the folded log may hold before it is cut; FOLD_BYTES_MAX by default. */
  readonly foldBytesMax?: number;
  /** PART_BYTES by default. */
  readonly partBytes?: number;
  /** Stop early, leaving what is done to be adopted by the next capture. */
  readonly signal?: AbortSignal;
}

/** What one capture did, for its report. `rows` and `bytes` are those of the whole snapshot. */
export interface Captured {
  readonly index: Index;
  readonly position: Position;
  readonly key: string;
  /** Mutations since the checkpoint before. */
  readonly mutations: number;
  readonly rows: number;
  readonly bytes: number;
  readonly bytesSent: number;
  /** Whether the log may go on behind the cut point: it was not read to its end. */
  readonly more: boolean;
}

/**
 * `ignored`: nothing new, nothing written; or the shard was deleted. `rejected`: another capture holds the lease.
 * `outOfDate`: another holder came first. `aborted`: stopped before the checkpoint; the next capture goes on or starts afresh.
 */
export type CaptureOutcome =
  | ({ readonly kind: "completed" } & Captured)
  | { readonly kind: "ignored"; readonly reason: "nothing-new"; readonly index: Index }
  | { readonly kind: "ignored"; readonly reason: "shard-deleted" }
  | { readonly kind: "rejected"; readonly owner: string; readonly untilMs: number }
  | { readonly kind: "outOfDate" }
  | { readonly kind: "aborted"; readonly reason: string };

export async function capture(deps: CaptureDeps, request: CaptureRequest): Promise<CaptureOutcome> {
  const { id } = request;
  const before = await readControl(deps.checkpoints, id);
  if (before === undefined) return { kind: "ignored", reason: "nothing-new", index: toIndex(0) };
  if (before.capture === undefined && (await nothingNew(deps, id, before))) {
    return { kind: "ignored", reason: "nothing-new", index: toIndex(checkpointBorder(before).next - 1) };
  }
  const acquired = await acquireLease(deps, id);
  if (acquired.kind === "gone") return { kind: "ignored", reason: "shard-deleted" };
  if (acquired.kind === "rejected") return acquired;
  const { lease } = acquired;
  try {
    const outcome = await captureUnder(deps, request, lease);
    // The commit ends the lease itself; where another came first, there is nothing of ours to release.
    if (outcome.kind !== "completed") await lease.release();
    return outcome;
  } catch (error) {
    // Where even this fails, the lease lapses by itself.
    await lease.release().catch(() => undefined);
    throw error;
  }
}

async function captureUnder(deps: CaptureDeps, request: CaptureRequest, lease: Lease): Promise<CaptureOutcome> {
  const adopted = adoptable(lease.control, request);
  const damaged = new Map<string, TidemarkError>();
  for (;;) {
    const loaded = await loadForCapture(deps, request, { lease, adopted, damaged });
    if (loaded.kind !== "loaded") return loaded;
    const { state, replayMs } = loaded;
    try {
      return await encodeAndCommit(deps, request, { lease, adopted, state, replayMs });
    } catch (error) {
      if (state.base.kind === "empty" || !isDamageOf(error, state.base.row.key)) throw error;
      damaged.set(state.base.row.key, error);
    }
  }
}

async function loadForCapture(
  deps: CaptureDeps,
  request: CaptureRequest,
  { lease, adopted, damaged }: { readonly lease: Lease; readonly adopted: CaptureRecord | undefined; readonly damaged: ReadonlyMap<string, TidemarkError> },
): Promise<{ readonly kind: "loaded"; readonly state: CutState; readonly replayMs: number } | CaptureOutcome> {
  const { control } = lease;
  const checkpointIndex = toIndex(checkpointBorder(control).next - 1);
  const rows = (await readHistory(deps.checkpoints, lease.id)).filter(({ index }) => index <= checkpointIndex);
  const startedAtMs = deps.clock.now();
  const outcome = await loadState(deps, {
    life: lifeOf(lease),
    codec: request.codec,
    control,
    rows,
    damaged,
    past: checkpointIndex,
    ...(adopted === undefined ? { foldBytesMax: request.foldBytesMax ?? FOLD_BYTES_MAX } : { bound: { index: toIndex(adopted.target.next - 1) } }),
    goOn: () => mayGoOn(request, lease),
  });
  switch (outcome.kind) {
    case "stopped":
      return stoppedShort(request);
    case "stale":
      return { kind: "outOfDate" };
    case "none":
      throw new TidemarkError("repair", "missing-history", `${shardName(lease.id)} has a checkpoint, but no generation that its log goes on from`);
    case "loaded":
      if (outcome.state.index <= checkpointIndex) return { kind: "ignored", reason: "nothing-new", index: checkpointIndex };
      checkTarget(lease, outcome.state, adopted);
      return { kind: "loaded", state: atCut(outcome.state), replayMs: deps.clock.now() - startedAtMs };
  }
}

/** A state that ends where a redo file does, behind at least one batch: what a capture is made of (rule 13). */
interface CutState extends ShardState {
  readonly border: Border;
  readonly position: Position;
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

async function mayGoOn({ signal }: CaptureRequest, lease: Lease): Promise<boolean> {
  return signal?.aborted !== true && (await lease.keep());
}

function stoppedShort({ signal }: CaptureRequest): CaptureOutcome {
  return signal?.aborted === true ? { kind: "aborted", reason: "the capture was told to stop; the next one goes on with its parts" } : { kind: "outOfDate" };
}

interface Work {
  readonly lease: Lease;
  readonly adopted: CaptureRecord | undefined;
  readonly state: CutState;
  /** What the loading took. */
  readonly replayMs: number;
}

async function encodeAndCommit(deps: CaptureDeps, request: CaptureRequest, work: Work): Promise<CaptureOutcome> {
  const { lease, state } = work;
  const record = work.adopted ?? (await startUpload(deps, request, work));
  if (record === undefined) return { kind: "outOfDate" };
  const encoder = snapshotEncoder(describe(request, lease, state));
  const stored = await storedParts(deps.checkpoints, lease.id, record);
  const uploader = partUploader(deps, { id: lease.id, holder: lease.holder, record }, stored);
  for await (const _ of pour(state, encoder)) {
    if (!(await mayGoOn(request, lease))) return stoppedShort(request);
    const stop = await uploader.add(encoder.take());
    if (stop !== undefined) return await stopped(deps, lease, stop);
  }
  const encoded = encoder.finish();
  const stop = await uploader.add(encoded.chunks);
  if (stop !== undefined) return await stopped(deps, lease, stop);
  const uploaded = await uploader.finish();
  if (uploaded.kind !== "uploaded") return await stopped(deps, lease, uploaded);
  const readFromMs = deps.clock.now();
  const completion = await completeAndVerify(deps, record, uploaded.parts, { encoded, goOn: () => mayGoOn(request, lease) });
  if (completion.kind === "stopped") return stoppedShort(request);
  if (completion.kind === "failed") return await startAfresh(deps, lease, completion.why);
  await doubt(deps, lease, state.passedOver);
  const readMs = deps.clock.now() - readFromMs;
  return await commit(deps, work, { record, encoded, bytesSent: uploaded.bytesSent, readMs });
}

/** The intent is recorded before the first part: an upload that no record names belongs to nobody (rule 14). */
async function startUpload(deps: CaptureDeps, request: CaptureRequest, { lease, state }: Work): Promise<CaptureRecord | undefined> {
  const { id, holder } = lease;
  const key = snapshotKey(incarnationPrefix(id, holder.incarnation), state.index, holder.epoch);
  const { uploadId } = await deps.objects.createUpload(key);
  const record: CaptureRecord = {
    key,
    uploadId,
    born: holder.epoch,
    target: state.border,
    encoderVersion: ENCODER_VERSION,
    partBytes: request.partBytes ?? PART_BYTES,
  };
  const recorded = await changeControl(deps, { id, decide: (control) => recordCapture(control, holder, record) });
  return recorded.kind === "written" ? record : undefined;
}

/** Completes the upload from the stored list, then reads the whole object back and compares it with what was encoded. */
async function completeAndVerify(
  deps: CaptureDeps,
  { key, uploadId }: CaptureRecord,
  parts: readonly UploadedPart[],
  { encoded, goOn }: { readonly encoded: EncodedSnapshot; readonly goOn: () => Promise<boolean> },
): Promise<{ readonly kind: "verified" | "stopped" } | { readonly kind: "failed"; readonly why: string }> {
  const completed = await deps.objects.completeUpload({ key, uploadId, parts });
  // `exists` or `noSuchUpload`: it may be our own reply that was lost. The object itself tells.
  if (completed.kind === "invalidPart") return { kind: "failed", why: `a part of ${key} was written over` };
  try {
    const opened = await openSnapshot({ store: deps.objects }, { key, size: encoded.size, footerSha256: encoded.footerSha256 });
    if (opened.kind === "absent") return { kind: "failed", why: `the upload of ${key} is gone` };
    for await (const _ of opened.snapshot.verifyBytes()) if (!(await goOn())) return { kind: "stopped" };
    return { kind: "verified" };
  } catch (error) {
    if (isDamageOf(error, key)) return { kind: "failed", why: error.message };
    throw error;
  }
}

/** A generation that was found damaged no longer counts as one that can recover the head (I6): cleanup keeps a sound one instead. */
async function doubt(deps: CaptureDeps, { id, holder }: Lease, passedOver: readonly PassedOver[]): Promise<void> {
  for (const row of passedOver) {
    await changeHistoryRow(deps, { id, incarnation: holder.incarnation, row, change: (now) => ({ ...now, verified: false }) });
  }
}

async function commit(
  deps: CaptureDeps,
  { lease, state, replayMs }: Work,
  made: { readonly record: CaptureRecord; readonly encoded: EncodedSnapshot; readonly bytesSent: number; readonly readMs: number },
): Promise<CaptureOutcome> {
  const { record, encoded, bytesSent, readMs } = made;
  const { index, border, position } = state;
  const mutations = index + 1 - checkpointBorder(lease.control).next;
  const row: HistoryRow = {
    index,
    position,
    border,
    key: record.key,
    size: encoded.size,
    footerSha256: encoded.footerSha256,
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
    decide: (control) => commitCheckpoint(control, lease.holder, { index, position, border, key: row.key, size: row.size, footerSha256: row.footerSha256 }),
    also: [{ item, when: [{ kind: "absent" }], put: historyAttributes(row) }],
  });
  // Our own write may have been overtaken before its lost reply was settled: the row tells.
  if (written.kind !== "written" && (await deps.checkpoints.get(item)) === undefined) return { kind: "outOfDate" };
  await publishCaptured(deps.checkpoints, lease.id, {
    incarnation: lease.holder.incarnation,
    border,
    atMs: row.capturedAtMs,
    snapshotBytes: row.size,
    made: { sentBytes: bytesSent, mutations: state.mutations, replayMs, bytes: row.size, readMs },
  });
  return { kind: "completed", index, position, key: row.key, mutations, rows: row.rows, bytes: row.size, bytesSent, more: !state.atTail };
}

async function stopped(deps: CaptureDeps, lease: Lease, stop: { readonly kind: "superseded" | "noSuchUpload" }): Promise<CaptureOutcome> {
  if (stop.kind === "superseded") return { kind: "outOfDate" };
  return startAfresh(deps, lease, "its upload was ended");
}

/** Rule 15: the record of an upload that cannot be completed is cleared, or every later run would fail on it. */
async function startAfresh(deps: CaptureDeps, lease: Lease, why: string): Promise<CaptureOutcome> {
  const cleared = await changeControl(deps, { id: lease.id, decide: (control) => clearCapture(control, lease.holder) });
  return cleared.kind === "written" ? { kind: "aborted", reason: `${why}; the next capture starts afresh` } : { kind: "outOfDate" };
}

/** The record that the lease's write showed, if this program would write the same bytes. */
function adoptable({ capture, checkpoint }: Control, request: CaptureRequest): CaptureRecord | undefined {
  if (capture === undefined || capture.target.next - 1 <= (checkpoint?.index ?? 0)) return undefined;
  return capture.encoderVersion === ENCODER_VERSION && capture.partBytes === (request.partBytes ?? PART_BYTES) ? capture : undefined;
}

async function nothingNew(deps: CaptureDeps, id: ShardId, control: Control): Promise<boolean> {
  const life = { id, incarnation: control.incarnation };
  const border = checkpointBorder(control);
  const step = await readHead(deps, life, border);
  return step.kind === "absent" && (await settle(deps, life, { step, from: border.next, border })) === "tail";
}

function describe(request: CaptureRequest, lease: Lease, { index, border, position, sessions, base }: CutState): SnapshotDescription {
  return {
    table: lease.id.table,
    shard: lease.id.shard,
    incarnation: lease.holder.incarnation,
    codec: request.codec,
    index,
    position,
    border,
    ...(base.kind === "generation" && { base: base.row.key }),
    sessions: sessions.list(),
    forgottenThrough: sessions.forgottenThrough,
  };
}

function lifeOf({ id, holder }: Lease): Life {
  return { id, incarnation: holder.incarnation };
}
