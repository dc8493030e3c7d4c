// Captures a shard's state into one snapshot (rules 12 to 16): lease, cut point, upload, checkpoint.
//
// The checkpoint only moves forward and only by the holder of the newest epoch (I4); data is complete, and read back,
// before the checkpoint names it. A capture never deletes and never aborts: whatever it leaves behind, the next holder
// adopts or cleanup removes (I9). It never blocks an append.

import { changeControl, readControl } from "../checkpoint/control.ts";
import { acquireLease, type Lease } from "../checkpoint/lease.ts";
import { recordCapture } from "../checkpoint/transitions.ts";
import { assert } from "../model/assert.ts";
import { type CaptureRecord, checkpointBorder, type Control } from "../model/control.ts";
import type { TidemarkError } from "../model/errors.ts";
import { SPLICES_MAX } from "../model/limits.ts";
import { incarnationPrefix, type ShardId, snapshotKey } from "../model/names.ts";
import { toIndex } from "../model/position.ts";
import { readHead, settle } from "../redo-log/read.ts";
import { makeSections, spreadSections } from "./capture-section.ts";
import type { Base } from "./choose.ts";
import { conclude, doubt } from "./conclude.ts";
import { loadForCapture, mayGoOn } from "./load.ts";
import { type Adopted, type CutState, encodeAndSend } from "./make.ts";
import type { CaptureDeps, CaptureOutcome, CaptureRequest, Spread } from "./outcome.ts";
import { ENCODER_VERSION } from "./parquet/description.ts";
import { progressOf } from "./progress.ts";
import { sectionsFor, sectionStarts } from "./sections.ts";
import { cutsAlike, sizesOf, sizesText } from "./sizes.ts";
import { isDamageOf } from "./state.ts";
import { storedParts } from "./upload.ts";

export async function capture(deps: CaptureDeps, request: CaptureRequest): Promise<CaptureOutcome> {
  const outcome = await captureOrSpread(deps, request, false);
  assert(outcome.kind !== "spread", "sections that nobody is to make are made here");
  return outcome;
}

/** The same; but the sections of a large shard are left to others, who call `captureSection`. */
export function spreadCapture(deps: CaptureDeps, request: CaptureRequest): Promise<CaptureOutcome | Spread> {
  return captureOrSpread(deps, request, true);
}

async function captureOrSpread(deps: CaptureDeps, request: CaptureRequest, spread: boolean): Promise<CaptureOutcome | Spread> {
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
    const outcome = await captureUnder(deps, request, { lease, spread });
    // The commit ends the lease itself, and who makes the sections goes on with it; where another came first, there is nothing of ours to release.
    if (outcome.kind !== "completed" && outcome.kind !== "spread") await lease.release();
    return outcome;
  } catch (error) {
    // Where even this fails, the lease lapses by itself.
    await lease.release().catch(() => undefined);
    throw error;
  }
}

interface Under {
  readonly lease: Lease;
  readonly spread: boolean;
}

async function captureUnder(deps: CaptureDeps, request: CaptureRequest, under: Under): Promise<CaptureOutcome | Spread> {
  const { lease } = under;
  let adopted = await adoptable(deps, lease, request);
  if (adopted?.record.sections !== undefined) return sectionsOf(deps, request, under, adopted.record);
  const damaged = new Map<string, TidemarkError>();
  for (;;) {
    const loaded = await loadForCapture(deps, request, { lease, adopted, damaged });
    if (loaded.kind === "loaded" && adopted !== undefined && adopted.record.base !== baseKey(loaded.state.base)) {
      // Its base was found damaged since: the bytes of another one would differ.
      adopted = undefined;
      continue;
    }
    if (loaded.kind !== "loaded") return loaded;
    const { state, replayMs } = loaded;
    try {
      return await makeAndConclude(deps, request, { ...under, adopted, state, replayMs });
    } catch (error) {
      if (state.base.kind === "empty" || !isDamageOf(error, state.base.row.key)) throw error;
      damaged.set(state.base.row.key, error);
      adopted = undefined;
    }
  }
}

interface Work extends Under {
  readonly adopted: Adopted | undefined;
  readonly state: CutState;
  readonly replayMs: number;
}

async function makeAndConclude(deps: CaptureDeps, request: CaptureRequest, work: Work): Promise<CaptureOutcome | Spread> {
  const { lease, state, adopted, replayMs } = work;
  // Whoever makes sections of what is begun here, or goes on with it, must come to the same base.
  await doubt(deps, lease, state.passedOver);
  const record = adopted?.record ?? (await startUpload(deps, request, work));
  if (record === undefined) return { kind: "outOfDate" };
  if (record.sections !== undefined) return sectionsOf(deps, request, work, record);
  const goOn = (): Promise<boolean> => mayGoOn(request, lease);
  const about = { id: lease.id, holder: lease.holder, codec: request.codec, sizes: sizesOf(request.sizes, record.bytesExpected), record, state, goOn };
  const sent = await encodeAndSend(deps, { ...about, ...(adopted && { adopted }) });
  return await conclude(deps, request, { lease, record, state, replayMs, sent });
}

function sectionsOf(deps: CaptureDeps, request: CaptureRequest, { lease, spread }: Under, record: CaptureRecord): Promise<CaptureOutcome | Spread> {
  return spread ? spreadSections(deps, request, lease, record) : makeSections(deps, request, lease, record);
}

/** The intent is recorded before the first part: an upload that no record names belongs to nobody (rule 14). */
async function startUpload(deps: CaptureDeps, request: CaptureRequest, { lease, state }: Work): Promise<CaptureRecord | undefined> {
  const { id, holder } = lease;
  const key = snapshotKey(incarnationPrefix(id, holder.incarnation), state.index, holder.epoch);
  const { snapshot } = state;
  const base = baseKey(state.base);
  // Damage that reading back finds only after it was carried over would end every later attempt as well: such a base is read
  // whole, by one who passes it over for what is left, or tells that nothing is.
  const isDoubted = state.base.kind === "generation" && !state.base.row.verified;
  const sections = snapshot === undefined || isDoubted ? [] : sectionStarts(snapshot.groups, request.sections ?? sectionsFor(snapshot.size));
  const bytesExpected = (snapshot?.size ?? 0) + state.log.bytes;
  const { uploadId } = await deps.objects.createUpload(key, { gaps: sections.length > 1 });
  const record: CaptureRecord = {
    key,
    uploadId,
    born: holder.epoch,
    target: state.border,
    ...(base !== undefined && { base }),
    full: request.full === true || isDoubted || snapshot === undefined || snapshot.description.splices >= SPLICES_MAX,
    encoderVersion: ENCODER_VERSION,
    sizes: sizesText(sizesOf(request.sizes, bytesExpected)),
    ...(sections.length > 1 && { sections }),
    startedAtMs: deps.clock.now(),
    bytesExpected,
  };
  const recorded = await changeControl(deps, { id, decide: (control) => recordCapture(control, holder, record) });
  return recorded.kind === "written" ? record : undefined;
}

/** The record that the lease's write showed, if this program would write the same bytes. */
async function adoptable(deps: CaptureDeps, { id, control }: Lease, request: CaptureRequest): Promise<Adopted | undefined> {
  const { capture: record, checkpoint } = control;
  if (record === undefined || record.target.next - 1 <= (checkpoint?.index ?? 0)) return undefined;
  if (!cutsAlike(record, request.sizes)) return undefined;
  const stored = await storedParts(deps.checkpoints, id, record);
  return { record, stored, progress: progressOf(stored) };
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
