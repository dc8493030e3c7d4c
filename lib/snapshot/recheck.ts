// Which row groups a capture reads back before its snapshot counts (pure): all bytes that it sent, and in turn those that it
// carried over, so that no row group is carried on for ever unread (I8). Decided before the tail is made, which says for each
// row group through how many generations it was carried since. What the store copied it tells the CRC-32 of, so that damage
// is found though nothing is read.

import { crc32 } from "node:zlib";
import { crc32Combine } from "../model/crc32.ts";
import { CARRIED_MAX } from "../model/limits.ts";
import type { EncodedSnapshot } from "./parquet/encode.ts";
import { MAGIC, type RowGroup } from "./parquet/layout.ts";
import type { StoredPart } from "./progress.ts";

/** Of a carried row group, `carried` counts this generation as well. Returns the places of those to be read back, in order. */
export function dueForReading(groups: readonly Pick<RowGroup, "carried">[]): readonly number[] {
  const carried = [...groups.keys()].filter((place) => groups[place].carried > 0);
  const inTurn = carried.toSorted((a, b) => groups[b].carried - groups[a].carried || a - b).slice(0, Math.ceil(carried.length / CARRIED_MAX));
  const overdue = carried.filter((place) => groups[place].carried >= CARRIED_MAX);
  return [...new Set([...inTurn, ...overdue])].sort((a, b) => a - b);
}

/** The places of the row groups that bytes from `offset` to `end` are of. */
export function groupsBetween(groups: readonly Pick<RowGroup, "offset" | "byteLength">[], offset: number, end: number): readonly number[] {
  return [...groups.keys()].filter((place) => groups[place].offset < end && groups[place].offset + groups[place].byteLength > offset);
}

/**
 * Whether the parts, one behind the other, are the snapshot's bytes by their CRC-32s. Where one is not known (a store that tells
 * none of what it copies), reading back in turn must do.
 */
export function carriedHold(parts: readonly Pick<StoredPart, "length" | "crc32">[], { groups, tail }: Pick<EncodedSnapshot, "groups" | "tail">): boolean {
  let found = 0;
  for (const part of parts) {
    if (part.crc32 === undefined) return true;
    found = crc32Combine(found, part.crc32, part.length);
  }
  const state = groups.reduce((sum, { group }) => crc32Combine(sum, group.crc32, group.byteLength), crc32(MAGIC));
  return tail.reduce((sum, chunk) => crc32(chunk, sum), state) === found;
}
