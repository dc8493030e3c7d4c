// A large shard, captured side by side: its base is cut at row groups into sections, each with a range of the keys and of the
// upload's part numbers. Any number of workers of one lease make them, in any order, each as a capture of its own; whoever
// finds all of them done puts the snapshot together. A section leaves no part that S3 would find too short, as others follow.
//
// What is noted of a section is placed from the section's own beginning: only the assembly knows where that lies.

import { crc32 } from "node:zlib";
import { queryAll } from "../checkpoint/control.ts";
import { controlItem, parsePartItem, partItem, partSort } from "../checkpoint/items.ts";
import { asHolder } from "../checkpoint/transitions.ts";
import { assert } from "../model/assert.ts";
import type { CaptureRecord } from "../model/control.ts";
import { S3_PARTS_MAX, SECTION_BYTES, SECTIONS_MAX } from "../model/limits.ts";
import type { ShardId } from "../model/names.ts";
import type { CheckpointStore } from "../ports/checkpoint-store.ts";
import { carriedGroups, openDraft } from "./draft.ts";
import { describe, type MakeDeps, type MakeRequest, type MakeStop, openUploader, type Sent, sendPieces, sent } from "./make.ts";
import { snapshotAssembly } from "./parquet/encode.ts";
import type { RowGroup } from "./parquet/layout.ts";
import { pagesOfIndex } from "./parquet/page-index.ts";
import { type DoneGroups, progressOf, startBehind, type StoredPart } from "./progress.ts";
import type { Snapshot } from "./read.ts";
import { dueForReading } from "./recheck.ts";
import { type SpliceBase, splice } from "./splice.ts";
import { storedParts, uploadOf } from "./upload.ts";

/** The row groups and keys of a section: from `fromKey`, if there is one, up to `aboveKey`, not included. */
export interface Section {
  readonly number: number;
  readonly from: number;
  readonly to: number;
  readonly fromKey?: Buffer;
  readonly aboveKey?: Buffer;
}

/** How many sections a capture of such a base is worth; 1 for none. */
export function sectionsFor(baseBytes: number): number {
  return Math.max(1, Math.min(SECTIONS_MAX, Math.floor(baseBytes / SECTION_BYTES)));
}

/** The row groups at which sections of about the same bytes begin (pure); fewer than `count` where there are few row groups. */
export function sectionStarts(groups: readonly Pick<RowGroup, "byteLength">[], count: number): readonly number[] {
  const all = groups.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const starts = [0];
  let bytes = 0;
  for (const [place, { byteLength }] of groups.entries()) {
    if (place > starts[starts.length - 1] && bytes >= (all * starts.length) / count) starts.push(place);
    bytes += byteLength;
  }
  return starts.slice(0, count);
}

export function sectionOf(starts: readonly number[], groups: readonly Pick<RowGroup, "firstKey">[], number: number): Section {
  const from = starts[number];
  const to = starts[number + 1] ?? groups.length;
  const fromKey = number === 0 ? undefined : groups[from].firstKey;
  const aboveKey = number + 1 < starts.length ? groups[to].firstKey : undefined;
  return { number, from, to, ...(fromKey && { fromKey }), ...(aboveKey && { aboveKey }) };
}

/** A section's parts have the numbers behind this one, which stands for the section itself: its item says that it is done. */
export function partsStart(number: number, sections: number): number {
  return number * Math.floor((S3_PARTS_MAX - 1) / sections);
}

/** The sections that are done, with the number of parts of each. */
export async function sectionsDone(
  checkpoints: CheckpointStore,
  id: ShardId,
  { born, uploadId, sections = [] }: CaptureRecord,
): Promise<ReadonlyMap<number, number>> {
  const items = (await queryAll(checkpoints, id, partSort(born))).filter(({ attributes }) => attributes.uploadId === uploadId && attributes.done === true);
  const partsOf = new Map(items.map(({ key, attributes }) => [parsePartItem(key).number, Number(attributes.parts)]));
  const done = [...sections.keys()].flatMap((number) => {
    const parts = partsOf.get(partsStart(number, sections.length));
    return parts === undefined ? [] : [[number, parts] as const];
  });
  return new Map(done);
}

/** Makes one section, and says so. Its state holds the section's changes alone. */
export async function sendSection(deps: MakeDeps, request: MakeRequest, section: Section): Promise<{ readonly kind: "done" } | MakeStop> {
  const { id, holder, record, sizes, state, adopted } = request;
  const { snapshot } = state;
  assert(snapshot !== undefined && record.sections !== undefined, "only what has a base has sections");
  const start = adopted && startBehind(adopted.progress);
  const draft = await openDraft(adopted?.progress, snapshot, section.number === 0);
  const begin = partsStart(section.number, record.sections.length);
  const numbers = { first: begin + 1, last: partsStart(section.number + 1, record.sections.length) - 1 };
  const uploader = await openUploader(deps, request, draft, numbers);
  if (uploader === undefined) return { kind: "wrongProgress" };
  try {
    const pieces = splice({
      base: baseOf(snapshot, section),
      changes: state.changes,
      full: record.full,
      sizes,
      ...(section.fromKey && { from: section.fromKey }),
      ...(start && { start }),
    });
    const stop = await sendPieces(request, { draft, uploader, pieces: shifted(pieces, section.from) });
    if (stop !== undefined) return stop;
    const stopped = await uploader.made(draft.takeHead());
    if (stopped !== undefined) return stopped;
    const uploaded = await uploader.finish();
    if (uploaded.kind !== "uploaded") return uploaded;
    const { uploadId, born } = record;
    const written = await deps.checkpoints.write([
      { item: controlItem(id), when: asHolder(holder), check: true },
      { item: partItem(id, born, begin), when: [], put: { uploadId, done: true, parts: uploaded.parts.length } },
    ]);
    return { kind: written.kind === "written" ? "done" : "superseded" };
  } finally {
    await uploader.settled();
  }
}

/** Puts the sections, which are all done, together: sends the tail behind them. `tooShort`: what one of them noted did not fit its items. */
export async function assembleSections(
  deps: MakeDeps,
  request: MakeRequest,
  sectionParts: ReadonlyMap<number, number>,
): Promise<({ readonly kind: "sent" } & Sent) | MakeStop> {
  const { id, holder, record, state } = request;
  const { snapshot } = state;
  const { sections = [], key } = record;
  assert(snapshot !== undefined, "only what has a base has sections");
  const stored = await storedParts(deps.checkpoints, id, record);
  const assembly = snapshotAssembly();
  const carried = new Set<number>();
  const parts: StoredPart[] = [];
  for (const number of sections.keys()) {
    const { parts: own, done } = progressOf(stored, partsStart(number, sections.length) + 1);
    if (own.length !== sectionParts.get(number)) return { kind: "tooShort" };
    // The first section's own begins with the head.
    const offset = number === 0 ? 0 : assembly.end;
    parts.push(...own.map((part) => ({ ...part, offset: offset + part.offset })));
    for (const groups of done) await place(groups);
  }
  const read = dueForReading(assembly.groups.map(({ group }) => group));
  const encoded = assembly.finish(describe(request), read);
  const tailPart = partsStart(sections.length, sections.length) + 1;
  const body = Buffer.concat(encoded.tail);
  const outcome = await deps.objects.uploadPart({ ...uploadOf(record), number: tailPart, body });
  const written = await deps.checkpoints.write([{ item: controlItem(id), when: asHolder(holder), check: true }]);
  if (written.kind === "refused") return { kind: "superseded" };
  const { length } = body;
  const isGone = outcome.kind === "noSuchUpload";
  const tail = { number: tailPart, etag: isGone ? "" : outcome.etag, offset: encoded.size - length, length, copied: false, crc32: crc32(body) };
  // Another worker of this epoch may have completed the upload already: the object itself tells.
  const uploaded = { parts: [...parts, tail], bytesSent: isGone ? 0 : length, bytesCopied: 0, isGone };
  return sent(state, { uploaded, encoded, carried, inTurn: read });

  async function place(groups: DoneGroups): Promise<void> {
    if (groups.kind === "fresh") {
      const { group, index, indexLengths } = groups.placed;
      assembly.add(group, pagesOfIndex(key, group, index, indexLengths));
      return;
    }
    assert(snapshot !== undefined, "what is carried over has a base");
    for await (const some of carriedGroups(snapshot, groups)) {
      for (const [i, group] of some.groups.entries()) {
        carried.add(assembly.groups.length);
        assembly.add({ ...group, carried: group.carried + 1 }, some.pages[i]);
      }
    }
  }
}

/** The base's row groups of the section, numbered from 0. */
function baseOf(snapshot: Snapshot, { from, to }: Section): SpliceBase {
  return {
    groups: snapshot.groups.slice(from, to),
    rowsOfGroups: (first, end, lowest) => snapshot.rowsOfGroups(first + from, end + from, lowest),
  };
}

async function* shifted(pieces: ReturnType<typeof splice>, by: number): ReturnType<typeof splice> {
  for await (const piece of pieces) yield piece.kind === "carried" ? { ...piece, from: piece.from + by, to: piece.to + by } : piece;
}
