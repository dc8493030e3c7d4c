// Cuts a snapshot's bytes into parts and uploads them, each part's number and ETag stored before it counts (rule 14).
// Parts that an earlier holder stored are not sent again: bytes are a function of base, target and encoder version, so
// they are the same (rule 15).

import { queryAll } from "../checkpoint/control.ts";
import { controlItem, parsePartItem, partItem, partSort } from "../checkpoint/items.ts";
import { asHolder, type Holder } from "../checkpoint/transitions.ts";
import { assert } from "../model/assert.ts";
import type { CaptureRecord } from "../model/control.ts";
import { S3_PARTS_MAX } from "../model/limits.ts";
import { type ShardId, shardName } from "../model/names.ts";
import type { CheckpointStore } from "../ports/checkpoint-store.ts";
import type { ObjectStore, UploadedPart } from "../ports/object-store.ts";
import type { Telemetry } from "../ports/telemetry.ts";

export interface UploadDeps {
  readonly objects: Pick<ObjectStore, "uploadPart">;
  readonly checkpoints: CheckpointStore;
  readonly telemetry: Telemetry;
}

export interface UploadRequest {
  readonly id: ShardId;
  readonly holder: Holder;
  readonly record: CaptureRecord;
}

/** `superseded`: another holds the lease. `noSuchUpload`: the upload was ended by cleanup. */
export type UploadStop = { readonly kind: "superseded" } | { readonly kind: "noSuchUpload" };

export interface PartUploader {
  /** Takes the next bytes of the object; sends every part that is full. The buffers are kept until they are sent. */
  add(chunks: readonly Buffer[]): Promise<UploadStop | undefined>;
  /** Sends what is left, and gives the list to complete the upload with. */
  finish(): Promise<{ readonly kind: "uploaded"; readonly parts: readonly UploadedPart[]; readonly bytesSent: number } | UploadStop>;
}

/** @param stored the parts that are stored already, as `storedParts` gives them */
export function partUploader(deps: UploadDeps, request: UploadRequest, stored: ReadonlyMap<number, string>): PartUploader {
  const { partBytes } = request.record;
  const parts: UploadedPart[] = [];
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  let bytesSent = 0;

  return {
    async add(chunks) {
      pending.push(...chunks);
      for (const chunk of chunks) pendingBytes += chunk.length;
      while (pendingBytes >= partBytes) {
        const stop = await send(cut(partBytes));
        if (stop !== undefined) return stop;
      }
      return undefined;
    },
    async finish() {
      if (pendingBytes > 0) {
        const stop = await send(cut(pendingBytes));
        if (stop !== undefined) return stop;
      }
      return { kind: "uploaded", parts, bytesSent };
    },
  };

  function cut(length: number): Buffer {
    const all = Buffer.concat(pending, pendingBytes);
    pending = length < pendingBytes ? [all.subarray(length)] : [];
    pendingBytes -= length;
    return all.subarray(0, length);
  }

  async function send(body: Buffer): Promise<UploadStop | undefined> {
    const number = parts.length + 1;
    assert(number <= S3_PARTS_MAX, `a snapshot has at most ${S3_PARTS_MAX} parts`);
    const known = stored.get(number);
    if (known !== undefined) {
      parts.push({ number, etag: known });
      return undefined;
    }
    const { key, uploadId, born } = request.record;
    const outcome = await deps.objects.uploadPart({ key, uploadId, number, body });
    if (outcome.kind === "noSuchUpload") return outcome;
    const written = await deps.checkpoints.write([
      { item: controlItem(request.id), when: asHolder(request.holder), check: true },
      { item: partItem(request.id, born, number), when: [], put: { uploadId, etag: outcome.etag } },
    ]);
    if (written.kind === "refused") return { kind: "superseded" };
    parts.push({ number, etag: outcome.etag });
    bytesSent += body.length;
    deps.telemetry.report({ kind: "capture-uploaded", shard: shardName(request.id), part: number, bytes: body.length });
    return undefined;
  }
}

/** ETags by number of the parts that holders have stored of this upload. */
export async function storedParts(checkpoints: CheckpointStore, id: ShardId, { born, uploadId }: CaptureRecord): Promise<ReadonlyMap<number, string>> {
  const items = await queryAll(checkpoints, id, partSort(born));
  const mine = items.filter(({ attributes }) => attributes.uploadId === uploadId);
  return new Map(mine.map(({ key, attributes }) => [parsePartItem(key).number, String(attributes.etag)]));
}
