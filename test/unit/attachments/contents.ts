// Contents of attachments for the tests: noise, which zstd makes no smaller, and how one is read whole.

import type { Content } from "../../../lib/attachments/attach.ts";
import { readAttachment, type ReadAttachmentDeps } from "../../../lib/attachments/read.ts";

export const KEY = "influx/0/00000000000000aa/attached/0000000000000001/7/a";

/** The same for the same length and seed. */
export function noiseOf(length: number, seed = 1): Buffer {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = seed;
  for (let at = 0; at < words.length; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[at] = state;
  }
  return Buffer.from(words.buffer).subarray(0, length);
}

/** All of it, each piece copied while it is there. */
export async function whole(objects: ReadAttachmentDeps["objects"], content: Content, key = KEY): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of readAttachment({ objects }, key, content)) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}
