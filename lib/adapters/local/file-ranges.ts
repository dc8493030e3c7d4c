// Ranges of files: read whole, and copied with the digest of what was copied.

import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { TidemarkError } from "../../model/errors.ts";
import type { PartSource } from "../../ports/object-store.ts";
import { writeAll } from "./temporary-files.ts";

const CHUNK_BYTES = 4 * 1024 * 1024;

/** `length` bytes from `offset`; fewer where the file ends. */
export async function readFrom(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(bytes, filled, length - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

/** Copies a range of one file to the end of another, and gives the SHA-256 of what it copied. */
export async function copyRange(
  from: FileHandle,
  { offset, length }: Pick<PartSource, "offset" | "length">,
  to: FileHandle,
  onChunk?: (chunk: Buffer) => void,
): Promise<Buffer> {
  const digest = createHash("sha256");
  for (let copied = 0; copied < length; ) {
    const chunk = await readFrom(from, offset + copied, Math.min(CHUNK_BYTES, length - copied));
    if (chunk.length === 0) throw new TidemarkError("retry", "file-cut", "a file was cut short while it was copied: call again");
    digest.update(chunk);
    onChunk?.(chunk);
    await writeAll(to, chunk);
    copied += chunk.length;
  }
  return digest.digest();
}
