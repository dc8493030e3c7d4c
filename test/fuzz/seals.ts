// What makes the checksums of an edited encoding right again: docs/format-redo.md and docs/format.md say where they lie.

import { hash } from "node:crypto";
import { DIGEST_BYTES, PREAMBLE_BYTES } from "../../lib/redo-log/layout.ts";
import { MAGIC } from "../../lib/snapshot/parquet/layout.ts";

const COUNT_AT = 16;
const COMPRESSED_AT = 99 - PREAMBLE_BYTES;
const RAW_AT = 103 - PREAMBLE_BYTES;
const SHA_AT = 107 - PREAMBLE_BYTES;

/** Of a sound redo file. */
export function redoPieces(file: Buffer): { readonly preamble: Buffer; readonly header: Buffer; readonly body: Buffer } {
  const headBytes = PREAMBLE_BYTES + file.readUInt32LE(10) + DIGEST_BYTES;
  return { preamble: file.subarray(0, PREAMBLE_BYTES), header: file.subarray(PREAMBLE_BYTES, headBytes - DIGEST_BYTES), body: file.subarray(headBytes) };
}

/** A redo file of this header and body, its digest right. */
export function sealedRedo(preamble: Buffer, header: Buffer, body: Buffer): Buffer {
  const start = Buffer.from(preamble);
  start.writeUInt32LE(header.length, 10);
  const head = Buffer.concat([start, header]);
  return Buffer.concat([head, hash("sha256", head, "buffer"), body]);
}

/** The header, with what it says of the body made right. */
export function headerFor(header: Buffer, body: Buffer, { rawBytes, count }: { readonly rawBytes: number; readonly count: number }): Buffer {
  const bytes = Buffer.from(header);
  bytes.writeUInt32LE(count, COUNT_AT);
  bytes.writeUInt32LE(body.length, COMPRESSED_AT);
  bytes.writeUInt32LE(rawBytes, RAW_AT);
  hash("sha256", body, "buffer").copy(bytes, SHA_AT);
  return bytes;
}

/** Bytes of a foot before its footer, and behind it. */
export const FOOT_START_BYTES = 48;
export const FOOT_END_BYTES = 8;

/** The seal and the length of a snapshot's foot made right, in place. */
export function sealFoot(bytes: Buffer, footBytes: number): Buffer {
  const foot = bytes.subarray(bytes.length - footBytes);
  foot.write("TDMK", 0, "latin1");
  foot.writeUInt32LE(1, 4);
  foot.writeUInt32LE(footBytes - FOOT_START_BYTES - FOOT_END_BYTES, footBytes - FOOT_END_BYTES);
  MAGIC.copy(foot, footBytes - MAGIC.length);
  foot.fill(0, 16, FOOT_START_BYTES);
  foot.write(hash("sha256", foot, "hex"), 16, "hex");
  return bytes;
}
