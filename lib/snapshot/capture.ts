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
import { successor } from "../model/bytes.ts";
import { type CaptureRecord, type Checkpoint, checkpointBorder, type Control, type HistoryRow } from "../model/control.ts";
import { damagedObject, TidemarkError } from "../model/errors.ts";
import { CAPTURE_LOG_BYTES_MAX, FOLD_BYTES_MAX, SPLICES_MAX } from "../model/limits.ts";
import type { ValueCodec } from "../model/mutation.ts";
import { incarnationPrefix, redoKey, type ShardId, shardName, snapshotKey } from "../model/names.ts";
import { type Index, type Position, toIndex } from "../model/position.ts";
import type { CheckpointStore } from "../ports/checkpoint-store.ts";
import type { Clock } from "../ports/clock.ts";
import type { ObjectStore } from "../ports/object-store.ts";
import type { Random } from "../ports/random.ts";
import type { Telemetry } from "../ports/telemetry.ts";
import { type Life, readHead, settle } from "../redo-log/read.ts";
import { publishCaptured } from "../redo-log/tail.ts";
import type { Base } from "./choose.ts";
import { type Adopted, completeAndVerify, type CutState, encodeAndSend, type Sent } from "./make.ts";
import { ENCODER_VERSION } from "./parquet/description.ts";
import { progressOf, startBehind } from "./progress.ts";
import { SNAPSHOT_SIZES, type SnapshotSizes, sizesText } from "./sizes.ts";
import { isDamageOf, loadState, type PassedOver, type ShardState } from "./state.ts";
import { storedParts, type Uploaded } from "./upload.ts";

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
  /** Memory that the folded log may take at a time; FOLD_BYTES_MAX by default. */
  readonly foldBytesMax?: number;
  /** Bytes of keys and values in the log that one capture takes; CAPTURE_LOG_BYTES_MAX, or twice the base's bytes, by default. */
  readonly logBytesMax?: number;
  /** Encode every row group anew, whatever changed. */
  readonly full?: boolean;
  /** SNAPSHOT_SIZES by default. */
  readonly sizes?: Partial<SnapshotSizes>;
  /** LEASE_TTL_MS by default. */
  readonly leaseTtlMs?: number;
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
  /** Bytes that went to the store, and bytes of the base that it copied by itself: by this worker. */
  readonly bytesSent: number;
  readonly bytesCopied: number;
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
  const acquired = await acquireLease(deps, id, request.leaseTtlMs);
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
  let adopted = await adoptable(deps, lease, request);
  const damaged = new Map<string, TidemarkError>();
  for (;;) {
    const loaded = await loadForCapture(deps, request, { lease, adopted, damaged });
    if (loaded.kind === "loaded" && adopted !== undefined && adopted.record.base !== baseKey(loaded.state.base)) {
      // Its base was found damaged since: the bytes of another one would differ.
      adopted = undefined;
      continue;
    }
    if (loaded.kind !== "loaded") return loaded;
    const { state } = loaded;
    try {
      return await encodeAndCommit(deps, request, { lease, adopted, state });
    } catch (error) {
      if (state.base.kind === "empty" || !isDamageOf(error, state.base.row.key)) throw error;
      damaged.set(state.base.row.key, error);
      adopted = undefined;
    }
  }
}

async function loadForCapture(
  deps: CaptureDeps,
  request: CaptureRequest,
  { lease, adopted, damaged }: { readonly lease: Lease; readonly adopted: Adopted | undefined; readonly damaged: ReadonlyMap<string, TidemarkError> },
): Promise<{ readonly kind: "loaded"; readonly state: CutState } | CaptureOutcome> {
  const { control } = lease;
  const checkpointIndex = toIndex(checkpointBorder(control).next - 1);
  const rows = (await readHistory(deps.checkpoints, lease.id)).filter(({ index }) => index <= checkpointIndex);
  const logBytesMax = request.logBytesMax ?? Math.max(CAPTURE_LOG_BYTES_MAX, 2 * (control.checkpoint?.size ?? 0));
  const start = adopted && startBehind(adopted.progress);
  const outcome = await loadState(deps, {
    life: lifeOf(lease),
    codec: request.codec,
    control,
    rows,
    damaged,
    past: checkpointIndex,
    foldBytesMax: request.foldBytesMax ?? FOLD_BYTES_MAX,
    ...(adopted === undefined ? { logBytesMax } : { bound: { index: toIndex(adopted.record.target.next - 1) } }),
    ...(start && { firstFrom: successor(start.after) }),
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
      checkTarget(lease, outcome.state, adopted?.record);
      return { kind: "loaded", state: atCut(outcome.state) };
  }
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
  readonly adopted: Adopted | undefined;
  readonly state: CutState;
}

async function encodeAndCommit(deps: CaptureDeps, request: CaptureRequest, work: Work): Promise<CaptureOutcome> {
  const { lease, state, adopted } = work;
  const record = adopted?.record ?? (await startUpload(deps, request, work));
  if (record === undefined) return { kind: "outOfDate" };
  const goOn = (): Promise<boolean> => mayGoOn(request, lease);
  const about = { id: lease.id, holder: lease.holder, codec: request.codec, sizes: sizesOf(request), record, state, goOn, ...(adopted && { adopted }) };
  const sent = await encodeAndSend(deps, about);
  switch (sent.kind) {
    case "superseded":
      return { kind: "outOfDate" };
    case "noSuchUpload":
      return await startAfresh(deps, lease, "its upload was ended");
    case "stopped":
      return stoppedShort(request);
    case "sent":
      break;
  }
  const completion = await completeAndVerify(deps, record, sent, goOn);
  switch (completion.kind) {
    case "stopped":
      return stoppedShort(request);
    case "carriedDamage":
      if (state.base.kind === "generation") await doubt(deps, lease, [state.base.row]);
      return await startAfresh(deps, lease, completion.why);
    case "failed":
      return await startAfresh(deps, lease, completion.why);
    case "verified":
      await doubt(deps, lease, state.passedOver);
      return await commit(deps, lease, { state, record, ...sent });
  }
}

/** The intent is recorded before the first part: an upload that no record names belongs to nobody (rule 14). */
async function startUpload(deps: CaptureDeps, request: CaptureRequest, { lease, state }: Work): Promise<CaptureRecord | undefined> {
  const { id, holder } = lease;
  const key = snapshotKey(incarnationPrefix(id, holder.incarnation), state.index, holder.epoch);
  const { uploadId } = await deps.objects.createUpload(key);
  const { snapshot } = state;
  const base = baseKey(state.base);
  const record: CaptureRecord = {
    key,
    uploadId,
    born: holder.epoch,
    target: state.border,
    ...(base !== undefined && { base }),
    full: request.full === true || snapshot === undefined || snapshot.description.splices >= SPLICES_MAX,
    encoderVersion: ENCODER_VERSION,
    sizes: sizesText(sizesOf(request)),
    startedAtMs: deps.clock.now(),
    bytesExpected: (snapshot?.size ?? 0) + state.log.bytes,
  };
  const recorded = await changeControl(deps, { id, decide: (control) => recordCapture(control, holder, record) });
  return recorded.kind === "written" ? record : undefined;
}

/** A generation that was found damaged no longer counts as one that can recover the head (I6): cleanup keeps a sound one instead. */
async function doubt(deps: CaptureDeps, { id, holder }: Lease, passedOver: readonly Pick<PassedOver, "index" | "epoch">[]): Promise<void> {
  for (const row of passedOver) {
    await changeHistoryRow(deps, { id, incarnation: holder.incarnation, row, change: (now) => ({ ...now, verified: false }) });
  }
}

async function commit(
  deps: CaptureDeps,
  lease: Lease,
  { state, record, encoded, uploaded }: Sent & { readonly state: CutState; readonly record: CaptureRecord },
): Promise<CaptureOutcome> {
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
  await publishCaptured(deps.checkpoints, lease.id, { incarnation: lease.holder.incarnation, border, atMs: row.capturedAtMs });
  return { kind: "completed", index, position, key: row.key, mutations, rows: row.rows, bytes: row.size, ...sentBytes(uploaded), more: !state.atTail };
}

function checkpointOf({ index, position, border, key, size, footerSha256, footerBytes }: HistoryRow): Checkpoint {
  return { index, position, border, key, size, footerSha256, footerBytes };
}

function sentBytes({ bytesSent, bytesCopied }: Uploaded): Pick<Captured, "bytesSent" | "bytesCopied"> {
  return { bytesSent, bytesCopied };
}

/** Rule 15: the record of an upload that cannot be completed is cleared, or every later run would fail on it. */
async function startAfresh(deps: CaptureDeps, lease: Lease, why: string): Promise<CaptureOutcome> {
  const cleared = await changeControl(deps, { id: lease.id, decide: (control) => clearCapture(control, lease.holder) });
  return cleared.kind === "written" ? { kind: "aborted", reason: `${why}; the next capture starts afresh` } : { kind: "outOfDate" };
}

/** The record that the lease's write showed, if this program would write the same bytes. */
async function adoptable(deps: CaptureDeps, { id, control }: Lease, request: CaptureRequest): Promise<Adopted | undefined> {
  const { capture: record, checkpoint } = control;
  if (record === undefined || record.target.next - 1 <= (checkpoint?.index ?? 0)) return undefined;
  if (record.encoderVersion !== ENCODER_VERSION || record.sizes !== sizesText(sizesOf(request))) return undefined;
  const stored = await storedParts(deps.checkpoints, id, record);
  return { record, stored, progress: progressOf(stored) };
}

function sizesOf({ sizes }: CaptureRequest): SnapshotSizes {
  return { ...SNAPSHOT_SIZES, ...sizes };
}

function baseKey(base: Base): string | undefined {
  return base.kind === "generation" ? base.row.key : undefined;
}

async function nothingNew(deps: CaptureDeps, id: ShardId, control: Control): Promise<boolean> {
  const life = { id, incarnation: control.incarnation };
  const border = checkpointBorder(control);
  const step = await readHead(deps, life, border);
  return step.kind === "absent" && (await settle(deps, life, { step, from: border.next, border })) === "tail";
}

function lifeOf({ id, holder }: Lease): Life {
  return { id, incarnation: holder.incarnation };
}
