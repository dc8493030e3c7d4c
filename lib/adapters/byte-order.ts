// Keys are listed in the byte order of their UTF-8, as S3 and DynamoDB do; JavaScript compares UTF-16 units.

import type { Upload } from "../ports/object-store.ts";

const ASCII = /^[\0-\x7f]*$/;

/** Below 0 if `a` comes first, 0 if they are equal. Both are well-formed text. */
export function compareByBytes(a: string, b: string): number {
  if (a === b) return 0;
  // Both orders agree wherever no surrogate is involved; ASCII, the common case, needs no copy.
  if (ASCII.test(a) && ASCII.test(b)) return a < b ? -1 : 1;
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** By key, those of one key by id. */
export function compareUploads(a: Upload, b: Upload): number {
  return compareByBytes(a.key, b.key) || compareByBytes(a.uploadId, b.uploadId);
}
