// A table's settings, and the fixed way from a key to its shard.

import { callError } from "./errors.ts";
import { KEEP_SNAPSHOTS_MIN, SHARDS_MAX } from "./limits.ts";
import type { ValueCodec } from "./mutation.ts";
import { checkTableName } from "./names.ts";

/** What can be changed after the table was made. */
export interface TablePolicy {
  /** Capture once the redo files that no snapshot holds have grown to so many hundredths of the newest one's size, as stored. 50 by default. */
  readonly captureLogPercent: number;
  /** Capture once a recovery is expected to take longer, in ms, unless that is the snapshot's own doing. One minute by default. */
  readonly recoverWithinMs: number;
  /** Capture at the latest once so many mutations wait. 10,000,000 by default. */
  readonly captureAfterMutations: number;
  /** Capture at the latest once so long has passed since the last one and a mutation waits, in ms. One day by default. */
  readonly captureAfterMs: number;
  /** Captures of the table that the planner has asked for and that have not come yet: no more than so many. SHARDS_MAX, which is no limit, by default. */
  readonly capturesTogetherMax: number;
  /** Verified snapshots kept, with all of the log behind the oldest of them: at least 2, the default. */
  readonly keepSnapshots: number;
  /** Every index of the last so many ms stays recoverable; 0, the default, asks for no window. */
  readonly keepForMs: number;
  /** Mutations of the log kept behind the checkpoint in any case; 0 by default. */
  readonly compactionOverhead: number;
}

/** What else than its producers can own a table's state. */
export const SOURCES = ["influxdb"] as const;

export interface Table extends TablePolicy {
  readonly name: string;
  readonly shards: number;
  readonly codec: ValueCodec;
  /** Whose state the table holds, if it is not that of producers: then nothing else may append to it, and its records may have attachments. */
  readonly source?: (typeof SOURCES)[number];
  readonly createdAtMs: number;
  /** `deleting`: no longer to be used; its objects and items are being swept. */
  readonly state: "live" | "deleting";
}

export const POLICY_DEFAULTS: TablePolicy = {
  captureLogPercent: 50,
  recoverWithinMs: 60_000,
  captureAfterMutations: 10_000_000,
  captureAfterMs: 86_400_000,
  capturesTogetherMax: SHARDS_MAX,
  keepSnapshots: KEEP_SNAPSHOTS_MIN,
  keepForMs: 0,
  compactionOverhead: 0,
};

/** A log a hundred times as large as its snapshot. */
export const CAPTURE_LOG_PERCENT_MAX = 10_000;

/** Refuses settings that cannot be kept. */
export function checkTable(table: Table): void {
  checkTableName(table.name);
  checkWhole("shards", table.shards, 1, table.source === undefined ? SHARDS_MAX : 1);
  checkWhole("capture-log-share, in hundredths,", table.captureLogPercent, 1, CAPTURE_LOG_PERCENT_MAX);
  checkWhole("recover-within, in ms,", table.recoverWithinMs, 1_000);
  checkWhole("capture-after-mutations", table.captureAfterMutations, 1);
  checkWhole("capture-after", table.captureAfterMs, 1_000);
  checkWhole("captures-together", table.capturesTogetherMax, 1, SHARDS_MAX);
  checkWhole("keep-snapshots", table.keepSnapshots, KEEP_SNAPSHOTS_MIN, 10_000);
  checkWhole("keep-for", table.keepForMs, 0);
  checkWhole("compaction-overhead", table.compactionOverhead, 0);
}

/** The shard of a key, from 0: FNV-1a over its bytes, its bits mixed once more, modulo the number of shards. Part of the format. */
export function shardOf(key: Uint8Array, shards: number): number {
  return hashOf(key) % shards;
}

/** 32 bits that spread well. */
export function hashOf(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < bytes.length; at++) hash = Math.imul(hash ^ bytes[at], 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function checkWhole(name: string, value: number, min: number, max = Number.MAX_SAFE_INTEGER): void {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return;
  throw callError("bad-setting", `${name} is ${value}: use a whole number from ${min} to ${max}`);
}
