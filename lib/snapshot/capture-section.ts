// Makes the sections of a large capture: all that are left, by who holds the lease, or one, by a worker who was told to under
// its epoch. Whoever finds the last one done ends the capture. The epoch fences all of them as it fences one (rules 12 to 16).

import { changeControl, readControl, readHistory } from "../checkpoint/control.ts";
import { joinLease, type Lease } from "../checkpoint/lease.ts";
import { recordCapture, releaseLease } from "../checkpoint/transitions.ts";
import { assert } from "../model/assert.ts";
import type { CaptureRecord } from "../model/control.ts";
import { damagedObject } from "../model/errors.ts";
import { incarnationPrefix, snapshotKey } from "../model/names.ts";
import { type Epoch, toIndex } from "../model/position.ts";
import { conclude, giveUp } from "./conclude.ts";
import { loadForCapture, mayGoOn } from "./load.ts";
import type { CutState, MakeRequest } from "./make.ts";
import type { CaptureDeps, CaptureOutcome, CaptureRequest, Spread } from "./outcome.ts";
import { progressOf } from "./progress.ts";
import { openSnapshot } from "./read.ts";
import { assembleSections, partsStart, type Section, sectionOf, sectionsDone, sendSection } from "./sections.ts";
import { cutsAlike, sizesOf } from "./sizes.ts";
import { isDamageOf } from "./state.ts";
import { storedParts } from "./upload.ts";

export interface SectionRequest extends CaptureRequest {
  readonly epoch: Epoch;
  readonly section: number;
}

/** `sectionDone`: others are not. */
export type SectionOutcome = CaptureOutcome | { readonly kind: "sectionDone" };

/** One section of the capture under way, if it still is that of the epoch; and the end of the capture, if that was the last one. */
export async function captureSection(deps: CaptureDeps, request: SectionRequest): Promise<SectionOutcome> {
  const control = await readControl(deps.checkpoints, request.id);
  const record = control?.capture;
  if (control?.epoch !== request.epoch || record?.sections === undefined || request.section >= record.sections.length) return { kind: "outOfDate" };
  // Another version's parts would not go together with those of the others.
  if (!cutsAlike(record, request.sizes)) return { kind: "outOfDate" };
  const lease = joinLease(deps, request.id, control, request.leaseTtlMs);
  return makeAll(deps, request, { lease, record, wanted: [request.section] });
}

/** All sections that are left, one after the other. */
export async function makeSections(deps: CaptureDeps, request: CaptureRequest, lease: Lease, record: CaptureRecord): Promise<CaptureOutcome> {
  const outcome = await makeAll(deps, request, { lease, record, wanted: await sectionsLeft(deps, lease, record) });
  assert(outcome.kind !== "sectionDone", "no section is left where all were made");
  return outcome;
}

/** Which sections are left; where none is, the end of the capture. */
export async function spreadSections(deps: CaptureDeps, request: CaptureRequest, lease: Lease, record: CaptureRecord): Promise<CaptureOutcome | Spread> {
  const sections = await sectionsLeft(deps, lease, record);
  return sections.length > 0 ? { kind: "spread", epoch: lease.holder.epoch, sections } : makeSections(deps, request, lease, record);
}

async function sectionsLeft({ checkpoints }: CaptureDeps, { id }: Lease, record: CaptureRecord): Promise<readonly number[]> {
  const done = await sectionsDone(checkpoints, id, record);
  return [...(record.sections ?? []).keys()].filter((number) => !done.has(number));
}

interface Work {
  readonly lease: Lease;
  readonly record: CaptureRecord;
  readonly wanted: readonly number[];
}

async function makeAll(deps: CaptureDeps, request: CaptureRequest, work: Work): Promise<SectionOutcome> {
  const { lease, record } = work;
  try {
    return await makeWanted(deps, request, work);
  } catch (error) {
    if (record.base === undefined || !isDamageOf(error, record.base)) throw error;
    const row = (await readHistory(deps.checkpoints, lease.id)).find(({ key }) => key === record.base);
    return giveUp(deps, lease, error.message, row);
  }
}

interface Loaded {
  readonly make: MakeRequest;
  readonly replayMs: number;
}

async function makeWanted(deps: CaptureDeps, request: CaptureRequest, { lease, record, wanted }: Work): Promise<SectionOutcome> {
  const sections = await openSections(deps, lease, record);
  if (sections === "gone") return giveUp(deps, lease, "its base is gone");
  let loaded: Loaded | undefined;
  for (const number of wanted) {
    const outcome = await load(deps, request, { lease, record }, sections[number]);
    if (!("make" in outcome)) return outcome;
    loaded = outcome;
    const { make, replayMs } = loaded;
    const sent = await sendSection(deps, make, sections[number]);
    if (sent.kind === "tooShort") return inOne(deps, lease, record, "a section had too few bytes for a part of its own");
    if (sent.kind === "tooLong") return inOne(deps, lease, record, "a section took more parts than it has numbers");
    if (sent.kind !== "done") return conclude(deps, request, { lease, record, state: make.state, replayMs, sent });
  }
  const done = await sectionsDone(deps.checkpoints, lease.id, record);
  if (done.size < sections.length) return { kind: "sectionDone" };
  const last = loaded ?? (await load(deps, request, { lease, record }, sections[sections.length - 1]));
  if (!("make" in last)) return last;
  const sent = await assembleSections(deps, last.make, done);
  if (sent.kind === "tooShort") return inOne(deps, lease, record, "what a section noted of its parts did not fit their items");
  return conclude(deps, request, { lease, record, state: last.make.state, replayMs: last.replayMs, sent });
}

/** The record's sections, by the base's footer. */
async function openSections(deps: CaptureDeps, lease: Lease, record: CaptureRecord): Promise<readonly Section[] | "gone"> {
  const row = (await readHistory(deps.checkpoints, lease.id)).find(({ key, state }) => key === record.base && state === "kept");
  if (row === undefined) return "gone";
  const opened = await openSnapshot({ store: deps.objects }, row);
  if (opened.kind === "absent") throw damagedObject(row.key, "it is missing");
  const starts = record.sections ?? [];
  return starts.map((_, number) => sectionOf(starts, opened.snapshot.groups, number));
}

async function load(
  deps: CaptureDeps,
  request: CaptureRequest,
  { lease, record }: Pick<Work, "lease" | "record">,
  section: Section,
): Promise<Loaded | CaptureOutcome> {
  const stored = await storedParts(deps.checkpoints, lease.id, record);
  const progress = progressOf(stored, partsStart(section.number, record.sections?.length ?? 1) + 1);
  const adopted = { record, stored, progress };
  const outcome = await loadForCapture(deps, request, { lease, adopted, section, damaged: new Map() });
  if (outcome.kind !== "loaded") return outcome;
  const { state, replayMs } = outcome;
  if (!isOf(state, record)) return giveUp(deps, lease, "another base serves now");
  const goOn = (): Promise<boolean> => mayGoOn(request, lease);
  const sizes = sizesOf(request.sizes, record.bytesExpected);
  return { make: { id: lease.id, holder: lease.holder, codec: request.codec, sizes, record, state, goOn, adopted }, replayMs };
}

function isOf({ base }: CutState, record: CaptureRecord): boolean {
  return base.kind === "generation" && base.row.key === record.base;
}

/**
 * A section that has too few bytes for a part, since most of its records are gone, or too many for its part numbers, since most of
 * what the log brings is in its keys: the snapshot is made in one after all. Under a name of this epoch: to cleanup an upload of an
 * earlier one that no record names yet is dead (rule 4).
 */
async function inOne(deps: CaptureDeps, { id, holder }: Lease, record: CaptureRecord, why: string): Promise<CaptureOutcome> {
  const { sections: _, ...rest } = record;
  const key = snapshotKey(incarnationPrefix(id, holder.incarnation), toIndex(record.target.next - 1), holder.epoch);
  const { uploadId } = await deps.objects.createUpload(key);
  const inOnePiece: CaptureRecord = { ...rest, key, uploadId, born: holder.epoch };
  const recorded = await changeControl(deps, { id, decide: (control) => recordCapture(control, holder, inOnePiece) });
  if (recorded.kind !== "written") return { kind: "outOfDate" };
  await changeControl(deps, { id, decide: (control) => releaseLease(control, holder, deps.clock.now()) });
  return { kind: "aborted", reason: `${why}; the next capture makes the snapshot in one` };
}
