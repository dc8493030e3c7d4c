// Reads attachments: all of one, held against its SHA-256, or some bytes of it, by the frames that have them.

import { createHash } from "node:crypto";
import { zstdDecompressSync } from "node:zlib";
import { damagedObject, TidemarkError } from "../model/errors.ts";
import { PART_BYTES } from "../model/limits.ts";
import { release } from "../model/memory.ts";
import type { ObjectStore } from "../ports/object-store.ts";
import { type Content, FRAME_BYTES, storedBytes } from "./attach.ts";

export interface ReadAttachmentDeps {
  readonly objects: Pick<ObjectStore, "getRange">;
}

/**
 * The content in pieces, of which the last only comes if the whole has the SHA-256. A piece is the reader's until it asks for the next.
 * @throws {TidemarkError} `repair` where the object is missing, cut off, or other bytes than were stored (I8)
 */
export async function* readAttachment({ objects }: ReadAttachmentDeps, key: string, content: Content): AsyncGenerator<Buffer> {
  const hash = createHash("sha256");
  const { frames } = content;
  let offset = 0;
  if (frames.length === 0) await fetch({ objects }, key, content, { offset: 0, length: 1 });
  for (let frame = 0; frame < frames.length; ) {
    // As many frames as a part has bytes, and at least one.
    let to = frame;
    let length = 0;
    while (to < frames.length && (to === frame || length + frames[to] <= PART_BYTES)) length += frames[to++];
    const body = await fetch({ objects }, key, content, { offset, length });
    offset += length;
    for (let at = 0; frame < to; frame++) {
      const piece = openFrame(body.subarray(at, at + frames[frame]), key, { content, frame });
      at += frames[frame];
      hash.update(piece);
      if (frame === frames.length - 1 && hash.digest("hex") !== content.sha256) throw otherBytes(key);
      yield piece;
      release(piece);
    }
    release(body);
  }
  if (frames.length === 0 && hash.digest("hex") !== content.sha256) throw otherBytes(key);
}

/** Reads some bytes of the content at a time; the frame that was read last is kept. Held against no SHA-256 but zstd's own checksums. */
export function attachmentReader({ objects }: ReadAttachmentDeps, key: string, content: Content): (offset: number, length: number) => Promise<Buffer> {
  const starts: number[] = [];
  let at = 0;
  for (const bytes of content.frames) {
    starts.push(at);
    at += bytes;
  }
  let kept: { readonly frame: number; readonly bytes: Buffer } | undefined;

  async function frameAt(frame: number): Promise<Buffer> {
    if (kept?.frame !== frame) {
      const sealed = await fetch({ objects }, key, content, { offset: starts[frame], length: content.frames[frame] });
      kept = { frame, bytes: openFrame(sealed, key, { content, frame }) };
    }
    return kept.bytes;
  }

  return async (offset, length) => {
    const pieces: Buffer[] = [];
    const end = Math.min(offset + length, content.bytes);
    for (let from = offset; from < end; ) {
      const frame = Math.floor(from / FRAME_BYTES);
      const bytes = await frameAt(frame);
      const piece = bytes.subarray(from - frame * FRAME_BYTES, end - frame * FRAME_BYTES);
      pieces.push(piece);
      from += piece.length;
    }
    return pieces.length === 1 ? pieces[0] : Buffer.concat(pieces);
  };
}

async function fetch(
  { objects }: ReadAttachmentDeps,
  key: string,
  content: Content,
  range: { readonly offset: number; readonly length: number },
): Promise<Buffer> {
  const got = await objects.getRange(key, range);
  if (got.kind === "absent") throw new TidemarkError("repair", "missing-object", `${key} is missing`, { object: key });
  const stored = storedBytes(content);
  if (got.size !== stored) throw damagedObject(key, `it has ${got.size} bytes, and ${stored} were stored`);
  return got.body;
}

function openFrame(sealed: Buffer, key: string, { content, frame }: { readonly content: Content; readonly frame: number }): Buffer {
  const wanted = Math.min(FRAME_BYTES, content.bytes - frame * FRAME_BYTES);
  let bytes: Buffer;
  try {
    bytes = zstdDecompressSync(sealed, { maxOutputLength: FRAME_BYTES });
  } catch (error) {
    throw damagedObject(key, `its frame ${frame + 1} cannot be read`, error);
  }
  if (bytes.length !== wanted) throw damagedObject(key, `its frame ${frame + 1} has ${bytes.length} bytes, not ${wanted}`);
  return bytes;
}

function otherBytes(key: string): TidemarkError {
  return damagedObject(key, "its bytes are not those that were stored");
}
