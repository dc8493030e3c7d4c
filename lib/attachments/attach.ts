// Attachments: objects that records of a source's table refer to, each written once and named by nothing but them. A
// batch that refers to some is appended once all of them are stored; they lie under its sequence, so that cleanup knows
// those of a batch that is still gathered from those that nothing refers to any more (lib/cleanup/attachments.ts).
//
// Streams: holds a few parts of a large object, never all of it (I10).

import { createHash } from "node:crypto";
import { TidemarkError } from "../model/errors.ts";
import { PART_BYTES, PARTS_TOGETHER, S3_PARTS_MAX } from "../model/limits.ts";
import { release } from "../model/memory.ts";
import type { ObjectStore, UploadedPart } from "../ports/object-store.ts";

export interface AttachDeps {
  readonly objects: Pick<ObjectStore, "createIfAbsent" | "head" | "createUpload" | "uploadPart" | "completeUpload">;
}

/** Bytes, and the SHA-256 of them, 64 hex digits. */
export interface Content {
  readonly bytes: number;
  readonly sha256: string;
}

/**
 * Stores what the chunks hold under a key that was never used; small objects by one PUT, others in parts. The chunks are
 * copied before the next is asked for.
 * @throws {TidemarkError} `retry` where no answer came, and whatever the chunks throw: then nothing has the key
 */
export async function attach(deps: AttachDeps, key: string, chunks: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<Content> {
  const hash = createHash("sha256");
  let upload: Upload | undefined;
  let part: Buffer = Buffer.allocUnsafeSlow(PART_BYTES);
  let filled = 0;
  let bytes = 0;
  try {
    for await (const chunk of chunks) {
      hash.update(chunk);
      bytes += chunk.length;
      for (let at = 0; at < chunk.length; ) {
        if (filled === PART_BYTES) {
          upload ??= await beginUpload(deps, key);
          await upload.send(part);
          part = Buffer.allocUnsafeSlow(PART_BYTES);
          filled = 0;
        }
        const copied = chunk.copy(part, filled, at);
        filled += copied;
        at += copied;
      }
    }
    const rest = part.subarray(0, filled);
    if (upload === undefined) await deps.objects.createIfAbsent(key, rest);
    else await upload.finish(rest);
    release(part);
  } finally {
    await upload?.settled();
  }
  await checkStored(deps, key, bytes);
  return { bytes, sha256: hash.digest("hex") };
}

interface Upload {
  send(part: Buffer): Promise<void>;
  finish(rest: Buffer): Promise<void>;
  settled(): Promise<void>;
}

async function beginUpload({ objects }: AttachDeps, key: string): Promise<Upload> {
  const { uploadId } = await objects.createUpload(key);
  const parts: UploadedPart[] = [];
  const underWay = new Set<Promise<void>>();
  let fault: { readonly error: unknown } | undefined;
  let number = 0;

  async function send(body: Buffer): Promise<void> {
    while (underWay.size >= PARTS_TOGETHER) await Promise.race(underWay);
    if (fault !== undefined) throw fault.error;
    number += 1;
    if (number > S3_PARTS_MAX)
      throw new TidemarkError("call", "attachment-too-large", `${key} would have more than ${S3_PARTS_MAX} parts of ${PART_BYTES} bytes`);
    const sending = sendPart(number, body)
      .catch((error: unknown) => {
        fault ??= { error };
      })
      .finally(() => underWay.delete(sending));
    underWay.add(sending);
  }

  async function sendPart(at: number, body: Buffer): Promise<void> {
    const stored = await objects.uploadPart({ key, uploadId, number: at, body });
    if (stored.kind === "noSuchUpload") throw endedUpload(key);
    parts.push({ number: at, etag: stored.etag });
    release(body);
  }

  return {
    send,
    async finish(rest) {
      if (rest.length > 0) await send(rest);
      await Promise.all(underWay);
      if (fault !== undefined) throw fault.error;
      const outcome = await objects.completeUpload({ key, uploadId, parts: parts.sort((a, b) => a.number - b.number) });
      // Another answer is that to a repetition, whose first reply was lost: `checkStored` tells.
      if (outcome.kind === "invalidPart") throw endedUpload(key);
    },
    async settled() {
      await Promise.allSettled(underWay);
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
