// The seal: 48 bytes in front of the footer that cover the whole tail, so that a reader verifies the tail before it
// parses any of it, with nothing in hand but the object (I8). Its layout stays the same in later format versions.

import { createHash } from "node:crypto";
import { assert } from "../../model/assert.ts";
import { FORMAT_VERSION, MAGIC, SHA256_BYTES, TAIL_BYTES_MAX, TRAILER_BYTES } from "./layout.ts";

const SEAL_MAGIC = Buffer.from("TDMK", "latin1");
const VERSION_AT = 4;
const TAIL_START_AT = 8;
const SEAL_BYTES = 16 + SHA256_BYTES;
/** No tail is shorter. */
const TAIL_BYTES_MIN = SEAL_BYTES + TRAILER_BYTES;

/** Page indexes, seal, footer, its length and the magic as one range. `tailStart` is where it will lie. */
export function sealTail(indexes: readonly Buffer[], footer: Buffer, tailStart: number): Buffer {
  const seal = Buffer.alloc(SEAL_BYTES);
  SEAL_MAGIC.copy(seal);
  seal.writeUInt32LE(FORMAT_VERSION, VERSION_AT);
  seal.writeBigUInt64LE(BigInt(tailStart), TAIL_START_AT);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(footer.length);
  const tail = Buffer.concat([...indexes, seal, footer, length, MAGIC]);
  assert(tail.length <= TAIL_BYTES_MAX, "a tail is one that a reader takes");
  const footerAt = tail.length - TRAILER_BYTES - footer.length;
  digestWithoutItself(tail, footerAt).copy(tail, footerAt - SHA256_BYTES);
  return tail;
}

export type SealFinding =
  | { readonly kind: "found"; readonly version: number; readonly tailStart: number; readonly footerStart: number }
  /** The seal lies in front of the bytes given: it takes the object's last `lastBytes` to read it. */
  | { readonly kind: "needs"; readonly lastBytes: number }
  | { readonly kind: "damaged"; readonly what: string };

/** Finds the seal in `last`, the last bytes of an object of `size` bytes. Nothing is verified yet. */
export function findSeal(last: Buffer, size: number): SealFinding {
  if (size < MAGIC.length + TAIL_BYTES_MIN) return { kind: "damaged", what: `it has ${size} bytes, fewer than any snapshot` };
  if (last.length < TRAILER_BYTES) return { kind: "needs", lastBytes: TRAILER_BYTES };
  if (!last.subarray(last.length - MAGIC.length).equals(MAGIC)) return { kind: "damaged", what: "it does not end with PAR1" };
  const footerLength = last.readUInt32LE(last.length - TRAILER_BYTES);
  const lastBytes = footerLength + TAIL_BYTES_MIN;
  if (lastBytes > size - MAGIC.length || lastBytes > TAIL_BYTES_MAX) return { kind: "damaged", what: `its footer cannot have ${footerLength} bytes` };
  if (lastBytes > last.length) return { kind: "needs", lastBytes };
  const seal = last.subarray(last.length - lastBytes, last.length - lastBytes + SEAL_BYTES);
  if (!seal.subarray(0, SEAL_MAGIC.length).equals(SEAL_MAGIC)) return { kind: "damaged", what: "it has no seal before its footer" };
  const footerStart = size - footerLength - TRAILER_BYTES;
  const tailStart = Number(seal.readBigUInt64LE(TAIL_START_AT));
  if (tailStart < MAGIC.length || tailStart > footerStart - SEAL_BYTES || size - tailStart > TAIL_BYTES_MAX) {
    return { kind: "damaged", what: `its tail cannot start at ${tailStart}` };
  }
  return { kind: "found", version: seal.readUInt32LE(VERSION_AT), tailStart, footerStart };
}

/** Whether the tail is what its seal says. `footerAt` counts from the tail's start. */
export function sealHolds(tail: Buffer, footerAt: number): boolean {
  return digestWithoutItself(tail, footerAt).equals(tail.subarray(footerAt - SHA256_BYTES, footerAt));
}

/** The digest is the seal's end, just before the footer. */
function digestWithoutItself(tail: Buffer, footerAt: number): Buffer {
  const digest = createHash("sha256");
  digest.update(tail.subarray(0, footerAt - SHA256_BYTES));
  digest.update(Buffer.alloc(SHA256_BYTES));
  digest.update(tail.subarray(footerAt));
  return digest.digest();
}
