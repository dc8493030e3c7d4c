// Uploads a snapshot's bytes in parts, several at a time, each part's number, ETag and progress stored before it counts
// (rule 14). What the base has is copied by the store itself where parts.ts says so. Parts that an earlier holder stored are not
// sent again: bytes are a function of base, target and encoder version, so they are the same (rule 15).

import { crc32 } from "node:zlib";
import { queryAll } from "../checkpoint/control.ts";
import { controlItem, parsePartItem, partItem, partSort } from "../checkpoint/items.ts";
import { asHolder, type Holder } from "../checkpoint/transitions.ts";
import { assert } from "../model/assert.ts";
import type { CaptureRecord } from "../model/control.ts";
import { damagedObject } from "../model/errors.ts";
import { PART_BYTES, PARTS_TOGETHER, S3_PART_BYTES_MAX, S3_PARTS_MAX } from "../model/limits.ts";
import { release } from "../model/memory.ts";
import { type ShardId, shardName } from "../model/names.ts";
import type { Attribute, Attributes, CheckpointStore } from "../ports/checkpoint-store.ts";
import type { CopyPartOutcome, Numbers, ObjectStore, PartSource, Upload } from "../ports/object-store.ts";
import type { Telemetry } from "../ports/telemetry.ts";
import { heldBack, type PartSizes, partPlanner, type PlannedPart } from "./parts.ts";
import type { StoredPart } from "./progress.ts";

export interface UploadDeps {
  readonly objects: Pick<ObjectStore, "uploadPart" | "copyPart" | "getRange">;
  readonly checkpoints: CheckpointStore;
  readonly telemetry: Telemetry;
}

export interface UploadRequest {
  readonly id: ShardId;
  readonly holder: Holder;
  readonly record: CaptureRecord;
  readonly sizes: PartSizes;
  /** The snapshot that row groups are carried over from. */
  readonly source?: Source;
  readonly stored: ReadonlyMap<number, StoredPart>;
  /** Where what is sent is a section, behind whose parts others lie: offsets count from its own beginning, and its last part must not be short either. */
  readonly numbers?: PartNumbers;
  /** Parts that are done, from the first on; what follows begins behind them. */
  readonly done: readonly StoredPart[];
  /** Bytes at the beginning of what follows that `done` holds already. */
  readonly skip: number;
  /** The progress up to an offset of the object, as an item holds it, since the last call. */
  readonly noteUpTo: (offset: number) => string | undefined;
}

/** The part numbers of a section, both included. */
export interface PartNumbers {
  readonly first: number;
  readonly last: number;
}

interface Source {
  readonly key: string;
  /** Asked for once something of it is copied. */
  readonly etag: () => Promise<string>;
}

/**
 * `superseded`: another holds the lease. `noSuchUpload`: the upload was ended by cleanup. `tooShort`: a section has too few bytes
 * for a part. `tooLong`: it takes more parts than it has numbers.
 */
export type UploadStop = { readonly kind: "superseded" | "noSuchUpload" | "tooShort" | "tooLong" };

export interface Uploaded {
  readonly parts: readonly StoredPart[];
  /** Bytes that were sent, and bytes that the store copied, by this worker. */
  readonly bytesSent: number;
  readonly bytesCopied: number;
  /** The upload was completed, or ended, by another. */
  readonly isGone?: boolean;
}

export interface PartUploader {
  /** The next bytes of the object. Waits while many parts are under way. The buffers are the uploader's from now on, which frees them. */
  made(chunks: readonly Buffer[]): Promise<UploadStop | undefined>;
  /** The next bytes are the source's from `sourceOffset` on. */
  carried(sourceOffset: number, length: number): Promise<UploadStop | undefined>;
  /** Sends what is left, and gives the list to complete the upload with. */
  finish(): Promise<({ readonly kind: "uploaded" } & Uploaded) | UploadStop>;
  /** Ends what is under way, whatever comes of it. */
  settled(): Promise<void>;
}

/** Of sections each has numbers of its own, and leaves some of them over. */
export function uploadOf({ key, uploadId, sections }: CaptureRecord): Upload & Numbers {
  return { key, uploadId, gaps: sections !== undefined };
}

type UploadPart = Extract<PlannedPart, { kind: "upload" }>;

export function partUploader(deps: UploadDeps, request: UploadRequest): PartUploader {
  const { record, done, stored, sizes, numbers } = request;
  const last = done.at(-1);
  const start = last === undefined ? { number: numbers?.first ?? 1, offset: 0 } : { number: last.number + 1, offset: last.offset + last.length };
  const planner = numbers === undefined ? partPlanner(sizes, start) : heldBack(partPlanner(sizes, start), sizes);
  const parts = new Map<number, StoredPart>(done.map((part) => [part.number, part]));
  const underWay = new Set<Promise<void>>();
  let skip = request.skip;
  let waiting: Buffer[] = [];
  let stop: UploadStop | undefined;
  let fault: { readonly error: unknown } | undefined;
  let bytesDone = done.reduce((sum, { length }) => sum + length, 0);
  let sourceEtag: Promise<string> | undefined;
  let bytesSent = 0;
  let bytesCopied = 0;

  return {
    async made(chunks) {
      for (const chunk of chunks) {
        const skipped = Math.min(skip, chunk.length);
        skip -= skipped;
        if (skipped === chunk.length) continue;
        waiting.push(chunk.subarray(skipped));
        const stopped = await send(planner.made(chunk.length - skipped));
        if (stopped !== undefined) return stopped;
      }
      return stop;
    },
    async carried(sourceOffset, length) {
      const skipped = Math.min(skip, length);
      skip -= skipped;
      return skipped === length ? stop : send(planner.carried(sourceOffset + skipped, length - skipped));
    },
    async finish() {
      const rest = planner.end();
      if (numbers !== undefined && rest.some(({ length }) => length < sizes.partBytesMin)) return { kind: "tooShort" };
      const stopped = (await send(rest)) ?? (await allSent());
      if (stopped !== undefined) return stopped;
      const inOrder = [...parts.values()].sort((a, b) => a.number - b.number);
      return { kind: "uploaded", parts: inOrder, bytesSent, bytesCopied };
    },
    async settled() {
      await Promise.allSettled(underWay);
    },
  };

  /** Starts the parts; each holds its bytes until it is stored. */
  async function send(planned: readonly PlannedPart[]): Promise<UploadStop | undefined> {
    for (const part of planned) {
      while (underWay.size >= PARTS_TOGETHER) await Promise.race(underWay);
      if (fault !== undefined) throw fault.error;
      if (stop !== undefined) return stop;
      if (numbers !== undefined && part.number > numbers.last) return { kind: "tooLong" };
      const note = request.noteUpTo(part.offset + part.length);
      const transfer = part.kind === "copy" ? () => copy(part) : sendingOf(part);
      const work = sendOne(part, transfer, note)
        .catch((error: unknown) => {
          fault ??= { error };
        })
        .finally(() => underWay.delete(work));
      underWay.add(work);
    }
    return stop;
  }

  async function allSent(): Promise<UploadStop | undefined> {
    await Promise.all(underWay);
    if (fault !== undefined) throw fault.error;
    return stop;
  }

  async function sendOne(part: PlannedPart, transfer: () => Promise<CopyPartOutcome>, note: string | undefined): Promise<void> {
    const { number, offset, length } = part;
    assert(number <= S3_PARTS_MAX, `a snapshot has at most ${S3_PARTS_MAX} parts`);
    const earlier = stored.get(number);
    if (earlier !== undefined && earlier.offset === offset && earlier.length === length) {
      parts.set(number, earlier);
      bytesDone += length;
      return;
    }
    const { uploadId, born } = record;
    const outcome = await transfer();
    if (outcome.kind === "sourceChanged") throw damagedObject(sourceOf().key, "it is gone, or not what it was, while row groups of it are carried over");
    if (outcome.kind === "noSuchUpload") {
      stop ??= outcome;
      return;
    }
    const known = { ...(outcome.crc32 !== undefined && { crc32: outcome.crc32 }), ...(note !== undefined && { note }) };
    const mine: StoredPart = { number, etag: outcome.etag, offset, length, copied: part.kind === "copy", ...known };
    const { number: _, ...about } = mine;
    const written = await deps.checkpoints.write([
      { item: controlItem(request.id), when: asHolder(request.holder), check: true },
      { item: partItem(request.id, born, number), when: [], put: { uploadId, ...about } },
    ]);
    if (written.kind === "refused") {
      stop ??= { kind: "superseded" };
      return;
    }
    parts.set(number, mine);
    bytesDone += length;
    if (part.kind === "copy") bytesCopied += length;
    else bytesSent += length;
    deps.telemetry.report({
      kind: "capture-uploaded",
      shard: shardName(request.id),
      part: number,
      bytes: length,
      copied: mine.copied,
      bytesDone,
      bytesExpected: record.bytesExpected,
    });
  }

  async function copy(part: Extract<PlannedPart, { kind: "copy" }>): Promise<CopyPartOutcome> {
    const { key, etag } = sourceOf();
    sourceEtag ??= etag();
    const source = { key, etag: await sourceEtag, offset: part.sourceOffset, length: part.length };
    const upload = uploadOf(record);
    const outcome = await deps.objects.copyPart({ ...upload, number: part.number, source });
    if (outcome.kind !== "stored" || outcome.crc32 !== undefined || upload.gaps !== true) return outcome;
    return { ...outcome, crc32: await crcOfSource(source) };
  }

  /** Of what the store copies into an upload for gaps it tells none. Carried over unread, damage would come to be in every generation. */
  async function crcOfSource({ offset, length }: PartSource): Promise<number> {
    let crc = 0;
    for (let at = 0; at < length; at += PART_BYTES) {
      const bytes = await fetch(offset + at, Math.min(PART_BYTES, length - at));
      crc = crc32(bytes, crc);
      release(bytes);
    }
    return crc;
  }

  /** Takes the part's bytes at once; they are sent when the function is called. */
  function sendingOf(part: UploadPart): () => Promise<CopyPartOutcome> {
    const body = bodyOf(part);
    return async () => {
      await fillIn(part, body);
      // Needed only beside parts that were copied.
      const crc = request.source === undefined ? undefined : crc32(body);
      const outcome = await deps.objects.uploadPart({ ...uploadOf(record), number: part.number, body });
      release(body);
      return outcome.kind === "stored" && crc !== undefined ? { ...outcome, crc32: crc } : outcome;
    };
  }

  /** A part's bytes in one buffer, but for those that are to be fetched. */
  function bodyOf({ length: byteLength, ingredients }: UploadPart): Buffer {
    const body = Buffer.allocUnsafeSlow(byteLength);
    let at = 0;
    for (const { kind, length } of ingredients) {
      const end = at + length;
      while (kind === "made" && at < end) {
        const [first, ...others] = waiting;
        const copied = first.copy(body, at, 0, end - at);
        at += copied;
        waiting = copied === first.length ? others : [first.subarray(copied), ...others];
        if (waiting === others) release(first);
      }
      at = end;
    }
    return body;
  }

  async function fillIn({ ingredients }: UploadPart, body: Buffer): Promise<void> {
    let at = 0;
    for (const ingredient of ingredients) {
      if (ingredient.kind === "fetched") (await fetch(ingredient.sourceOffset, ingredient.length)).copy(body, at);
      at += ingredient.length;
    }
  }

  async function fetch(offset: number, length: number): Promise<Buffer> {
    const { key } = sourceOf();
    const got = await deps.objects.getRange(key, { offset, length });
    if (got.kind === "absent" || got.body.length !== length) throw damagedObject(key, "it is gone, or cut, while row groups of it are carried over");
    return got.body;
  }

  function sourceOf(): Source {
    assert(request.source !== undefined, "what is carried over has a source");
    return request.source;
  }
}

/** The parts that holders have stored of this upload, by number. */
export async function storedParts(checkpoints: CheckpointStore, id: ShardId, { born, uploadId }: CaptureRecord): Promise<ReadonlyMap<number, StoredPart>> {
  const items = await queryAll(checkpoints, id, partSort(born));
  // What says that a section is done is no part.
  const mine = items.filter(({ attributes }) => attributes.uploadId === uploadId && attributes.done !== true);
  return new Map(mine.flatMap(({ key, attributes }) => storedPart(parsePartItem(key).number, attributes)).map((part) => [part.number, part]));
}

/** Nothing for an item that cannot be one: what it stands for is sent again. */
function storedPart(number: number, { etag, offset, length, copied, crc32, note }: Attributes): readonly StoredPart[] {
  if (typeof etag !== "string" || !isWhole(offset, Number.MAX_SAFE_INTEGER) || !isWhole(length, S3_PART_BYTES_MAX) || length === 0) return [];
  if (crc32 !== undefined && !isWhole(crc32, 0xffff_ffff)) return [];
  const known = { ...(crc32 !== undefined && { crc32 }), ...(typeof note === "string" && { note }) };
  return [{ number, etag, offset, length, copied: copied === true, ...known }];
}

function isWhole(value: Attribute | undefined, max: number): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= max;
}
