// A table's settings, and the fixed way from a key to its shard.

import { callError } from "./errors.ts";
import { KEEP_SNAPSHOTS_MIN, SHARDS_MAX } from "./limits.ts";
import type { ValueCodec } from "./mutation.ts";
import { checkTableName } from "./names.ts";

/** What can be changed after the table was made. */
export interface TablePolicy {
  /** Capture once so many mutations wait. 1,000,000 by default. */
  readonly captureAfterMutations: number;
  /** Capture once so long has passed since the last one and a mutation waits, in ms. One hour by default. */
  readonly captureAfterMs: number;
  /** Verified snapshots kept, with all of the log behind the oldest of them: at least 2, the default. */
  readonly keepSnapshots: number;
  /** Every index of the last so many ms stays recoverable; 0, the default, asks for no window. */
  readonly keepForMs: number;
  /** Mutations of the log kept behind the checkpoint in any case; 0 by default. */
  readonly compactionOverhead: number;
}

export interface Table extends TablePolicy {
  readonly name: string;
  readonly shards: number;
  readonly codec: ValueCodec;
  readonly createdAtMs: number;
  /** `deleting`: no longer to be used; its objects and items are being swept. */
  readonly state: "live" | "deleting";
}

export const POLICY_DEFAULTS: TablePolicy = {
  captureAfterMutations: 1_000_000,
  captureAfterMs: 3_600_000,
  keepSnapshots: KEEP_SNAPSHOTS_MIN,
  keepForMs: 0,
  compactionOverhead: 0,
};

/** Refuses settings that cannot be kept. */
export function checkTable(table: Table): void {
  checkTableName(table.name);
  checkWhole("shards", table.shards, 1, SHARDS_MAX);
  checkWhole("capture-after-mutations", table.captureAfterMutations, 1);
  checkWhole("capture-after", table.captureAfterMs, 1_000);
  checkWhole("keep-snapshots", table.keepSnapshots, KEEP_SNAPSHOTS_MIN, 10_000);
  checkWhole("keep-for", table.keepForMs, 0);
  checkWhole("compaction-overhead", table.compactionOverhead, 0);
}

/** The shard of a key, from 0: FNV-1a over its bytes, its bits mixed once more, modulo the number of shards. Part of the format. */
export function shardOf(key: Uint8Array, shards: number): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ key[at], 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) % shards;
}

function checkWhole(name: string, value: number, min: number, max = Number.MAX_SAFE_INTEGER): void {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return;
  throw callError("bad-setting", `${name} is ${value}: use a whole number from ${min} to ${max}`);
}
