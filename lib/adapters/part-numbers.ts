// S3's rules for the parts of an upload, which every object store holds to.

import { assert } from "../model/assert.ts";
import { S3_PART_BYTES_MAX, S3_PARTS_MAX } from "../model/limits.ts";
import type { Numbers, PartSource, UploadedPart } from "../ports/object-store.ts";

export function checkPartNumber(number: number): void {
  assert(Number.isSafeInteger(number) && number >= 1 && number <= S3_PARTS_MAX, `a part's number is from 1 to ${S3_PARTS_MAX}, not ${number}`);
}

export function checkPartSource({ offset, length }: PartSource): void {
  assert(Number.isSafeInteger(offset) && offset >= 0, `a range begins at a byte of its object, not at ${offset}`);
  assert(Number.isSafeInteger(length) && length >= 1 && length <= S3_PART_BYTES_MAX, `a part has from 1 to ${S3_PART_BYTES_MAX} bytes, not ${length}`);
}

/** Whether numbers count from 1 or, in an upload for gaps, grow: S3 refuses a list of which this is not true, other servers seldom do. */
export function areInOrder(parts: readonly UploadedPart[], { gaps = false }: Numbers): boolean {
  assert(parts.length > 0, "an upload is completed with at least one part");
  return parts.every(({ number }, place) => (gaps ? place === 0 || number > parts[place - 1].number : number === place + 1));
}
