// Attachments: objects that records of a source's table refer to, each written once and named by nothing but them. A
// batch that refers to some is appended once all of them are stored; they lie under its sequence, so that cleanup knows
// those of a batch that is still gathered from those that nothing refers to any more (lib/cleanup/attachments.ts).
//
// An object is a row of zstd frames, each of FRAME_BYTES of the content but the last: any stretch of it can be read alone.
// Streams: holds one frame and two parts of a large object, never all of it (I10).

import { createHash } from "node:crypto";
import { constants, zstdCompressSync } from "node:zlib";
import { TidemarkError } from "../model/errors.ts";
import { S3_PART_BYTES_MIN, S3_PARTS_MAX } from "../model/limits.ts";
import { release } from "../model/memory.ts";
import type { ObjectStore, UploadedPart } from "../ports/object-store.ts";

export interface AttachDeps {
  readonly objects: Pick<ObjectStore, "createIfAbsent" | "head" | "createUpload" | "uploadPart" | "completeUpload">;
}

/** What is known of an attachment beside its name: whoever refers to it keeps this too. */
export interface Content {
  /** Of the content. */
  readonly bytes: number;
  /** Of the content, 64 hex digits. */
  readonly sha256: string;
  /** Of each frame, as stored. */
  readonly frames: readonly number[];
}

/** Bytes of the content in each frame. Part of the format. */
export const FRAME_BYTES = 1024 * 1024;
const PART_BYTES = S3_PART_BYTES_MIN;

/** Of the object. */
export function storedBytes({ frames }: Pick<Content, "frames">): number {
  return frames.reduce((sum, bytes) => sum + bytes, 0);
}

/**
 * Stores what the chunks hold under a key that was never used; small objects by one PUT, others in parts. The chunks are
 * copied before the next is asked for.
 * @throws {TidemarkError} `retry` where no answer came, and whatever the chunks throw: then nothing has the key
 */
export async function attach(deps: AttachDeps, key: string, chunks: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<Content> {
  const sink = objectSink(deps, key);
  const hash = createHash("sha256");
  const frames: number[] = [];
  const frame = Buffer.allocUnsafeSlow(FRAME_BYTES);
  let filled = 0;
  let bytes = 0;

  async function seal(): Promise<void> {
    const sealed = zstdCompressSync(frame.subarray(0, filled), { params: { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_checksumFlag]: 1 } });
    frames.push(sealed.length);
    filled = 0;
    await sink.write(sealed);
    release(sealed);
  }

  try {
    for await (const chunk of chunks) {
      hash.update(chunk);
      bytes += chunk.length;
      for (let at = 0; at < chunk.length; ) {
        const copied = chunk.copy(frame, filled, at);
        filled += copied;
        at += copied;
        if (filled === FRAME_BYTES) await seal();
      }
    }
    if (filled > 0) await seal();
    await sink.finish();
  } finally {
    await sink.settled();
    release(frame);
  }
  const content = { bytes, sha256: hash.digest("hex"), frames };
  await checkStored(deps, key, storedBytes(content));
  return content;
}

interface ObjectSink {
  /** The bytes are copied before it answers. */
  write(bytes: Buffer): Promise<void>;
  finish(): Promise<void>;
  /** Ends what is under way, whatever comes of it. */
  settled(): Promise<void>;
}

/** Fills one part while the one before is on its way. */
function objectSink({ objects }: AttachDeps, key: string): ObjectSink {
  const parts: UploadedPart[] = [];
  let part: Buffer | undefined;
  let filled = 0;
  let uploadId: string | undefined;
  let underWay: Promise<void> = Promise.resolve();

  async function sendPart(body: Buffer, length: number): Promise<void> {
    await underWay;
    const number = parts.length + 1;
    if (number > S3_PARTS_MAX)
      throw new TidemarkError("call", "attachment-too-large", `${key} would have more than ${S3_PARTS_MAX} parts of ${PART_BYTES} bytes`);
    uploadId ??= (await objects.createUpload(key)).uploadId;
    underWay = send(uploadId, number, body.subarray(0, length));
    // Whoever sends the next part, or finishes, is told.
    underWay.catch(() => undefined);
  }

  async function send(upload: string, number: number, body: Buffer): Promise<void> {
    const stored = await objects.uploadPart({ key, uploadId: upload, number, body });
    if (stored.kind === "noSuchUpload") throw endedUpload(key);
    parts.push({ number, etag: stored.etag });
    release(body);
  }

  return {
    async write(bytes) {
      for (let at = 0; at < bytes.length; ) {
        part ??= Buffer.allocUnsafeSlow(PART_BYTES);
        const copied = bytes.copy(part, filled, at);
        filled += copied;
        at += copied;
        if (filled < PART_BYTES) continue;
        await sendPart(part, filled);
        part = undefined;
        filled = 0;
      }
    },
    async finish() {
      if (uploadId === undefined) {
        await objects.createIfAbsent(key, part?.subarray(0, filled) ?? Buffer.alloc(0));
      } else {
        if (part !== undefined) await sendPart(part, filled);
        await underWay;
        const outcome = await objects.completeUpload({ key, uploadId, parts });
        // Another answer is that to a repetition, whose first reply was lost: `checkStored` tells.
        if (outcome.kind === "invalidPart") throw endedUpload(key);
      }
      if (part !== undefined) release(part);
    },
    async settled() {
      await underWay.catch(() => undefined);
    },
  };
}

/** The key is known to this call alone: what has it is this object, if it is whole. */
async function checkStored({ objects }: AttachDeps, key: string, bytes: number): Promise<void> {
  const found = await objects.head(key);
  if (found.kind === "absent") throw endedUpload(key);
  if (found.size !== bytes)
    throw new TidemarkError("retry", "bad-attachment", `${key} was stored with ${found.size} bytes, and has ${bytes}: it is stored again`);
}

function endedUpload(key: string): TidemarkError {
  return new TidemarkError("retry", "ended-upload", `the upload of ${key} was ended by another: try again`);
}
