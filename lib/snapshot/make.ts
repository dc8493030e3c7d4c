// Makes a snapshot of a state, and puts it into the store: what the base has is copied there, the rest is encoded and sent, and
// what was sent is read back (I5, I8). Under one lease; whoever takes it next goes on behind the parts that are stored.

import type { Holder } from "../checkpoint/transitions.ts";
import { assert } from "../model/assert.ts";
import type { CaptureRecord } from "../model/control.ts";
import { damagedObject } from "../model/errors.ts";
import type { ValueCodec } from "../model/mutation.ts";
import { type ShardId, shardName } from "../model/names.ts";
import type { Border, Position } from "../model/position.ts";
import type { SnapshotDescription } from "../model/snapshot.ts";
import type { CheckpointStore } from "../ports/checkpoint-store.ts";
import type { ObjectStore } from "../ports/object-store.ts";
import type { Telemetry } from "../ports/telemetry.ts";
import { carryOver, type Draft, openDraft, placedBytes } from "./draft.ts";
import type { EncodedSnapshot } from "./parquet/encode.ts";
import { type Progress, startBehind, type StoredPart } from "./progress.ts";
import { openSnapshot, type Snapshot } from "./read.ts";
import { carriedHold, dueForReading, groupsBetween } from "./recheck.ts";
import type { SnapshotSizes } from "./sizes.ts";
import { NO_BASE, type Piece, splice } from "./splice.ts";
import { isDamageOf, type ShardState } from "./state.ts";
import { type PartNumbers, type PartUploader, partUploader, type Uploaded, uploadOf, type UploadStop } from "./upload.ts";

export interface MakeDeps {
  readonly objects: ObjectStore;
  readonly checkpoints: CheckpointStore;
  readonly telemetry: Telemetry;
}

export interface MakeRequest {
  readonly id: ShardId;
  readonly holder: Holder;
  readonly codec: ValueCodec;
  readonly sizes: SnapshotSizes;
  readonly record: CaptureRecord;
  readonly state: CutState;
  readonly adopted?: Adopted;
  /** Asked now and then; false stops the work, which the next holder goes on with. */
  readonly goOn: () => Promise<boolean>;
}

/** A state that ends where a redo file does, behind at least one batch: what a capture is made of (rule 13). */
export interface CutState extends ShardState {
  readonly border: Border;
  readonly position: Position;
}

/** A capture to go on with, and how far it came. */
export interface Adopted {
  readonly record: CaptureRecord;
  readonly stored: ReadonlyMap<number, StoredPart>;
  readonly progress: Progress;
}

export interface Sent {
  readonly uploaded: Uploaded;
  readonly encoded: EncodedSnapshot;
  /** Row groups to be read back: those that were sent, and some of those that were carried over. */
  readonly read: readonly number[];
  /** Those of them that the store copied. */
  readonly carried: ReadonlySet<number>;
}

/** Splices the state out of its base and its changes, and sends what the store cannot copy. */
export async function encodeAndSend(deps: MakeDeps, request: MakeRequest): Promise<({ readonly kind: "sent" } & Sent) | MakeStop> {
  const { record, sizes, state, adopted } = request;
  const { snapshot } = state;
  const start = adopted && startBehind(adopted.progress);
  const draft = await openDraft(adopted?.progress, snapshot);
  const uploader = await openUploader(deps, request, draft);
  if (uploader === undefined) return { kind: "wrongProgress" };
  try {
    const pieces = splice({ base: snapshot ?? NO_BASE, changes: state.changes, full: record.full, sizes, ...(start && { start }) });
    const stop = await sendPieces(request, { draft, uploader, pieces });
    if (stop !== undefined) return stop;
    const read = dueForReading(draft.assembly.groups.map(({ group }) => group));
    const encoded = draft.assembly.finish(describe(request), read);
    const stopped = await uploader.made([...draft.takeHead(), Buffer.concat(encoded.tail)]);
    if (stopped !== undefined) return stopped;
    const uploaded = await uploader.finish();
    return uploaded.kind === "uploaded" ? sent(state, { uploaded, encoded, carried: draft.carried, inTurn: read }) : uploaded;
  } finally {
    await uploader.settled();
  }
}

/** `wrongProgress`: the items that tell how far an earlier worker came contradict each other. */
export type MakeStop = UploadStop | { readonly kind: "stopped" | "wrongProgress" };

/**
 * Nothing where the parts that are stored do not hold what their notes say.
 * @param numbers those of the section's parts, where it is one
 */
export async function openUploader(
  deps: MakeDeps,
  { id, holder, record, sizes, state, adopted }: MakeRequest,
  draft: Draft,
  numbers?: PartNumbers,
): Promise<PartUploader | undefined> {
  const { snapshot } = state;
  const done = adopted?.progress.parts ?? [];
  const bytes = done.reduce((sum, { length }) => sum + length, 0);
  const skip = bytes - placedBytes(draft);
  if (skip < 0) return undefined;
  const source = snapshot && !record.full ? { key: snapshot.key, etag: () => etagOf(deps, snapshot) } : undefined;
  if (done.length > 0) {
    deps.telemetry.report({ kind: "capture-resumed", shard: shardName(id), parts: done.length, bytes, bytesExpected: record.bytesExpected });
  }
  const stored = adopted?.stored ?? new Map();
  const about = { id, holder, record, sizes, stored, done, skip, noteUpTo: draft.noteUpTo, ...(numbers && { numbers }) };
  return partUploader(deps, { ...about, ...(source && { source }) });
}

/** Sends the pieces in their order. The changes that they are made of are not needed any more. */
export async function sendPieces(
  { state: { snapshot, changes }, goOn }: MakeRequest,
  { draft, uploader, pieces }: { readonly draft: Draft; readonly uploader: PartUploader; readonly pieces: AsyncGenerator<Piece> },
): Promise<MakeStop | undefined> {
  try {
    for await (const piece of pieces) {
      const stop = piece.kind === "fresh" ? await uploader.made(draft.fresh(piece.group)) : await sendCarried(piece.from, piece.to);
      if (stop !== undefined) return stop;
      if (!(await goOn())) return { kind: "stopped" };
    }
    return undefined;
  } finally {
    changes.free();
  }

  async function sendCarried(from: number, to: number): Promise<UploadStop | undefined> {
    assert(snapshot !== undefined, "what is carried over has a base");
    await carryOver(draft, snapshot, { from, to });
    const head = Buffer.concat(draft.takeHead());
    // The magic lies in front of the base's first row group as well.
    const isFirst = from === 0 && head.length > 0;
    if (head.length > 0 && !isFirst) {
      const stop = await uploader.made([head]);
      if (stop !== undefined) return stop;
    }
    const last = snapshot.groups[to - 1];
    const sourceOffset = isFirst ? 0 : snapshot.groups[from].offset;
    return uploader.carried(sourceOffset, last.offset + last.byteLength - sourceOffset);
  }
}

interface AllSent {
  readonly uploaded: Uploaded;
  readonly encoded: EncodedSnapshot;
  readonly carried: ReadonlySet<number>;
  /** Row groups that are to be read back in any case. */
  readonly inTurn: readonly number[];
}

/** Fails where what was copied is not what the base's footer says; else chooses what is to be read back: what was sent, and whose turn it is. */
export function sent({ snapshot }: ShardState, { uploaded, encoded, carried, inTurn }: AllSent): { readonly kind: "sent" } & Sent {
  if (snapshot !== undefined && !carriedHold(uploaded.parts, encoded)) throw damagedObject(snapshot.key, "row groups that are carried over fail their CRC-32");
  const groups = encoded.groups.map(({ group }) => group);
  const arrived = uploaded.parts.filter(({ copied }) => !copied).flatMap(({ offset, length }) => groupsBetween(groups, offset, offset + length));
  return { kind: "sent", uploaded, encoded, carried, read: [...new Set([...arrived, ...inTurn])].sort((a, b) => a - b) };
}

async function etagOf({ objects }: MakeDeps, { key }: Snapshot): Promise<string> {
  const head = await objects.head(key);
  if (head.kind === "absent") throw damagedObject(key, "it is missing");
  return head.etag;
}

/** While what was sent is read back. Each answers whether to go on. */
export interface ReadingBack {
  readonly goOn: () => Promise<boolean>;
  /** Bytes between two notes. */
  readonly noteBytes: number;
  /** So many of the row groups to be read back were found sound. */
  readonly note: (readBack: number) => Promise<boolean>;
}

/** Completes the upload from the stored list, then reads back what was sent, and some of what was carried over, and compares. */
export async function completeAndVerify(
  deps: MakeDeps,
  record: CaptureRecord,
  { uploaded, encoded, read, carried }: Sent,
  { goOn, noteBytes, note }: ReadingBack,
): Promise<{ readonly kind: "verified" | "stopped" } | { readonly kind: "failed" | "carriedDamage"; readonly why: string }> {
  const { key, readBack = 0 } = record;
  const parts = uploaded.parts.map(({ number, etag }) => ({ number, etag }));
  const completed = uploaded.isGone === true ? undefined : await deps.objects.completeUpload({ ...uploadOf(record), parts });
  // `exists` or `noSuchUpload`: it may be our own reply that was lost. The object itself tells.
  if (completed?.kind === "invalidPart") return { kind: "failed", why: `a part of ${key} was written over` };
  let verified = 0;
  let unnoted = 0;
  try {
    const { size, footerSha256, footerBytes } = encoded;
    const opened = await openSnapshot({ store: deps.objects }, { key, size, footerSha256, footerBytes });
    if (opened.kind === "absent") return { kind: "failed", why: `the upload of ${key} is gone` };
    for await (const sound of opened.snapshot.verifyBytes(read.slice(readBack))) {
      if (sound > verified) unnoted += encoded.groups[read[readBack + verified]].group.byteLength;
      verified = sound;
      const stops = !(await goOn());
      // Noted where it stops too: who goes on may have no more time than this one had.
      if (unnoted >= noteBytes || (stops && unnoted > 0)) {
        unnoted = 0;
        if (!(await note(readBack + verified))) return { kind: "stopped" };
      }
      if (stops) return { kind: "stopped" };
    }
    return { kind: "verified" };
  } catch (error) {
    if (!isDamageOf(error, key)) throw error;
    return { kind: carried.has(read[readBack + verified]) ? "carriedDamage" : "failed", why: error.message };
  }
}

export function describe({ id, holder, codec, state, record }: MakeRequest): SnapshotDescription {
  const { index, border, position, sessions, snapshot } = state;
  return {
    table: id.table,
    shard: id.shard,
    incarnation: holder.incarnation,
    codec,
    index,
    position,
    border,
    ...(record.base !== undefined && { base: record.base }),
    sessions: sessions.list(),
    forgottenThrough: sessions.forgottenThrough,
    splices: record.full || snapshot === undefined ? 0 : snapshot.description.splices + 1,
  };
}
