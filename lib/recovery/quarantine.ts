// Copies of damaged objects, kept apart from what cleanup looks at: for a person to look into, and to delete. The object
// itself stays where it is, until cleanup lets it go as it would have (rule 5).

import { listUploads } from "../cleanup/sweep.ts";
import { TidemarkError } from "../model/errors.ts";
import { COPY_BY_HAND_BYTES_MAX, COPY_PART_BYTES } from "../model/limits.ts";
import { quarantineKey, type ShardId, shardName } from "../model/names.ts";
import type { ObjectStore, UploadedPart } from "../ports/object-store.ts";

export interface QuarantineDeps {
  readonly objects: Pick<ObjectStore, "get" | "head" | "createIfAbsent" | "createUpload" | "copyPart" | "completeUpload" | "abortUpload">;
}

/**
 * Copies an object, once: a copy that is there stays as it is. Returns its key; nothing where there is no such object.
 * @param byHandMax a larger object is copied by the store itself
 */
export async function quarantine({ objects }: QuarantineDeps, key: string, byHandMax = COPY_BY_HAND_BYTES_MAX): Promise<string | undefined> {
  const to = quarantineKey(key);
  const head = await objects.head(key);
  if (head.kind === "absent") return undefined;
  if ((await objects.head(to)).kind === "found") return to;
  if (head.size > byHandMax) return copyByParts(objects, { key, to, ...head });
  const found = await objects.get(key);
  if (found.kind === "absent") return undefined;
  await objects.createIfAbsent(to, found.body);
  return to;
}

/** Where the copies of a shard's damaged objects lie. */
export function quarantineOf(id: ShardId): string {
  return quarantineKey(`${shardName(id)}/`);
}

/** Ends copies that were begun and whose run was killed: not every store has a rule that does. One that is still under way is made again. */
export async function endCopies({ objects }: { readonly objects: Pick<ObjectStore, "listUploads" | "abortUpload"> }, id: ShardId): Promise<void> {
  for (const upload of await listUploads(objects, quarantineOf(id))) await objects.abortUpload(upload);
}

interface Copy {
  readonly key: string;
  readonly to: string;
  readonly size: number;
  readonly etag: string;
}

async function copyByParts(objects: QuarantineDeps["objects"], { key, to, size, etag }: Copy): Promise<string> {
  const { uploadId } = await objects.createUpload(to);
  try {
    const parts: UploadedPart[] = [];
    for (let offset = 0; offset < size; offset += COPY_PART_BYTES) {
      const source = { key, etag, offset, length: Math.min(COPY_PART_BYTES, size - offset) };
      const copied = await objects.copyPart({ key: to, uploadId, number: parts.length + 1, source });
      if (copied.kind !== "stored") throw changed(key);
      parts.push({ number: parts.length + 1, etag: copied.etag });
    }
    const completed = await objects.completeUpload({ key: to, uploadId, parts });
    if (completed.kind === "exists") await objects.abortUpload({ key: to, uploadId });
    else if (completed.kind !== "completed") throw changed(key);
    return to;
  } catch (error) {
    // What even this leaves open, the next repair ends.
    await objects.abortUpload({ key: to, uploadId }).catch(() => undefined);
    throw error;
  }
}

function changed(key: string): TidemarkError {
  return new TidemarkError("retry", "changed-object", `${key} changed while it was copied: repair again`);
}
