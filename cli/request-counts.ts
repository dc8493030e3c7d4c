// How many requests each step of the pipeline takes, as bench/requests.ts counts them: cost is computed from these, and
// test/cli/requests.test.ts counts again.

import { S3_LIST_PAGE_MAX } from "../lib/model/limits.ts";

/** What is billed, by kind. */
export interface Requests {
  /** PUT, POST and LIST, the parts and the completion of an upload among them. */
  readonly s3Writes: number;
  /** GET and HEAD, also of what is absent. */
  readonly s3Reads: number;
  /** DELETE, also of many, and the end of an upload: without a price. */
  readonly s3Deletes: number;
  /** DynamoDB's write request units: one a KiB, two in a transaction, and those of the index. */
  readonly writeUnits: number;
  /** DynamoDB's read request units: one for 4 KiB read consistently, half of one otherwise. */
  readonly readUnits: number;
  /** Sent to, received from or deleted in a standard queue. */
  readonly messages: number;
}

export const NO_REQUESTS: Requests = { s3Writes: 0, s3Reads: 0, s3Deletes: 0, writeUnits: 0, readUnits: 0, messages: 0 };

/** One redo file of a warm writer, however many batches are in it. */
export const APPEND: Requests = { ...NO_REQUESTS, s3Writes: 1, writeUnits: 1, readUnits: 1 };

/** The index's entry, when a shard becomes dirty: once between two captures. */
export const BECOME_DIRTY: Requests = { ...NO_REQUESTS, writeUnits: 1 };

/** A run of the planner that finds nothing due, and no shard dirty. */
export const PLAN: Requests = { ...NO_REQUESTS, readUnits: 0.5 };

/** One dirty shard that a run of the planner looks at, beside the query that found it. */
export const LOOK: Requests = { ...NO_REQUESTS, readUnits: 1 };

/** One shard that the planner asks a capture for, once it has looked at it. */
export const ASK: Requests = { ...NO_REQUESTS, writeUnits: 1, messages: 3 };

/** A capture of a shard that has a snapshot, its message left out. */
export function captureRequests(sizes: {
  readonly redoFiles: number;
  /** Of the new snapshot. */
  readonly parts: number;
  /** Row groups of the snapshot before, and of the new one. */
  readonly baseGroups: number;
  readonly groups: number;
}): Requests {
  return {
    ...NO_REQUESTS,
    s3Writes: 3 + sizes.parts,
    s3Reads: 6 + sizes.redoFiles + sizes.baseGroups + sizes.groups,
    // A part of several row groups notes more than a KiB of them.
    writeUnits: 16 + (sizes.parts === 1 ? 4 : 6 * sizes.parts),
    readUnits: 9,
  };
}

/** The cleanup that follows a capture and lets one snapshot go, its message left out. */
export function cleanupRequests({ parts, objects }: { readonly parts: number; readonly objects: number }): Requests {
  return {
    ...NO_REQUESTS,
    s3Writes: 1 + Math.max(1, Math.ceil(objects / S3_LIST_PAGE_MAX)),
    s3Deletes: 2,
    writeUnits: 7 + (parts === 1 ? 1 : 2 * parts),
    readUnits: 6,
  };
}

/** The scheduled cleanup of one shard that has nothing to let go. */
export const CLEANUP_AT_REST: Requests = { ...NO_REQUESTS, s3Writes: 2, readUnits: 4 };

/** The scheduled cleanup beside its shards: the list of tables, what deleted tables left, and two messages (one table's, and that for strays). */
export const CLEANUP_PASS: Requests = { ...NO_REQUESTS, s3Writes: 4, readUnits: 3, messages: 6 };

export function sumOf(one: Requests, other: Partial<Requests>): Requests {
  return {
    s3Writes: one.s3Writes + (other.s3Writes ?? 0),
    s3Reads: one.s3Reads + (other.s3Reads ?? 0),
    s3Deletes: one.s3Deletes + (other.s3Deletes ?? 0),
    writeUnits: one.writeUnits + (other.writeUnits ?? 0),
    readUnits: one.readUnits + (other.readUnits ?? 0),
    messages: one.messages + (other.messages ?? 0),
  };
}

export function times(requests: Requests, count: number): Requests {
  const { s3Writes, s3Reads, s3Deletes, writeUnits, readUnits, messages } = requests;
  return {
    s3Writes: s3Writes * count,
    s3Reads: s3Reads * count,
    s3Deletes: s3Deletes * count,
    writeUnits: writeUnits * count,
    readUnits: readUnits * count,
    messages: messages * count,
  };
}
