// What a redo file says of itself. The codec is lib/redo-log/codec.ts, the bytes docs/format.md.

import type { ProducerMark } from "./mutation.ts";
import type { Index } from "./position.ts";
import type { LogRecords } from "./rows.ts";

/** One batch as the header lists it. Times never go back, within a file and from file to file. */
export interface BatchHeader {
  readonly count: number;
  readonly timeMs: number;
  readonly mark?: ProducerMark;
}

export interface RedoHeader {
  readonly formatVersion: number;
  readonly table: string;
  readonly shard: number;
  readonly incarnation: string;
  /** Index of the first mutation; the object's name says the same. */
  readonly first: Index;
  /** Mutations in all batches. */
  readonly count: number;
  readonly batches: readonly BatchHeader[];
  /** Bytes of the body before compression. */
  readonly rawBytes: number;
  /** Chain digest of the redo file before, 64 hex digits. */
  readonly previousDigest: string;
  /** Fresh for each attempt to write: tells a writer its own file after a lost reply. 32 hex digits. */
  readonly writeId: string;
  /** This file's own chain digest: SHA-256 of its header, which holds that of its body. 64 hex digits. */
  readonly digest: string;
}

export interface RedoFile {
  readonly header: RedoHeader;
  readonly records: LogRecords;
}

export function lastBatchTime(header: RedoHeader): number {
  return header.batches[header.batches.length - 1].timeMs;
}
