// The seal: 48 bytes in front of the footer that cover it, so that a reader verifies the foot (seal, footer, its length and
// the magic) before it parses any of it, with nothing in hand but the object (I8). The footer covers everything else: it has
// the hashes of the row groups and of their page indexes. The seal's layout stays the same in later format versions.

import { createHash } from "node:crypto";
import { assert } from "../../model/assert.ts";
import { FOOT_BYTES_MAX, FORMAT_VERSION, MAGIC, SHA256_BYTES, TRAILER_BYTES } from "./layout.ts";

const SEAL_MAGIC = Buffer.from("TDMK", "latin1");
const VERSION_AT = 4;
const INDEXES_START_AT = 8;
const DIGEST_AT = 16;
export const SEAL_BYTES = DIGEST_AT + SHA256_BYTES;
/** No foot is shorter. */
const FOOT_BYTES_MIN = SEAL_BYTES + TRAILER_BYTES;

/** Seal, footer, its length and the magic as one range. `indexesStart` is where the page indexes in front of it lie. */
export function sealFooter(footer: Buffer, indexesStart: number): Buffer {
  const seal = Buffer.alloc(SEAL_BYTES);
  SEAL_MAGIC.copy(seal);
  seal.writeUInt32LE(FORMAT_VERSION, VERSION_AT);
  seal.writeBigUInt64LE(BigInt(indexesStart), INDEXES_START_AT);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(footer.length);
  const foot = Buffer.concat([seal, footer, length, MAGIC]);
  assert(foot.length <= FOOT_BYTES_MAX, "a foot is one that a reader takes");
  digestWithoutItself(foot).copy(foot, DIGEST_AT);
  return foot;
}

export type SealFinding =
  | { readonly kind: "found"; readonly version: number; readonly indexesStart: number; readonly footBytes: number }
  /** The seal lies in front of the bytes given: it takes the object's last `lastBytes` to read it. */
  | { readonly kind: "needs"; readonly lastBytes: number }
  | { readonly kind: "damaged"; readonly what: string };

/** Finds the seal in `last`, the last bytes of an object of `size` bytes. Nothing is verified yet. */
export function findSeal(last: Buffer, size: number): SealFinding {
  if (size < MAGIC.length + FOOT_BYTES_MIN) return { kind: "damaged", what: `it has ${size} bytes, fewer than any snapshot` };
  if (last.length < TRAILER_BYTES) return { kind: "needs", lastBytes: TRAILER_BYTES };
  if (!last.subarray(last.length - MAGIC.length).equals(MAGIC)) return { kind: "damaged", what: "it does not end with PAR1" };
  const footerLength = last.readUInt32LE(last.length - TRAILER_BYTES);
  const footBytes = footerLength + FOOT_BYTES_MIN;
  if (footBytes > size - MAGIC.length || footBytes > FOOT_BYTES_MAX) return { kind: "damaged", what: `its footer cannot have ${footerLength} bytes` };
  if (footBytes > last.length) return { kind: "needs", lastBytes: footBytes };
  const seal = last.subarray(last.length - footBytes, last.length - footBytes + SEAL_BYTES);
  if (!seal.subarray(0, SEAL_MAGIC.length).equals(SEAL_MAGIC)) return { kind: "damaged", what: "it has no seal before its footer" };
  const indexesStart = Number(seal.readBigUInt64LE(INDEXES_START_AT));
  if (indexesStart < MAGIC.length || indexesStart > size - footBytes) return { kind: "damaged", what: `its page indexes cannot start at ${indexesStart}` };
  return { kind: "found", version: seal.readUInt32LE(VERSION_AT), indexesStart, footBytes };
}

/** Whether the foot is what its seal says. */
export function sealHolds(foot: Buffer): boolean {
  return digestWithoutItself(foot).equals(foot.subarray(DIGEST_AT, SEAL_BYTES));
}

function digestWithoutItself(foot: Buffer): Buffer {
  const digest = createHash("sha256");
  digest.update(foot.subarray(0, DIGEST_AT));
  digest.update(Buffer.alloc(SHA256_BYTES));
  digest.update(foot.subarray(SEAL_BYTES));
  return digest.digest();
}
