// Scenes for the tests of the cleanup plan: a shard in short, and its plan in short.

import { type CleanupFacts, planCleanup } from "../../../lib/cleanup/plan.ts";
import type { Control, HistoryRow } from "../../../lib/model/control.ts";
import { redoKey, snapshotKey } from "../../../lib/model/names.ts";
import { toEpoch, toIndex } from "../../../lib/model/position.ts";
import { POLICY_DEFAULTS, type TablePolicy } from "../../../lib/model/table.ts";
import { controlWith, prefix, rowAt, shard } from "../checkpoint/samples.ts";

export const NOW = 1_000_000;

export interface Scene {
  readonly control?: Partial<Control> | "absent";
  readonly rows?: readonly HistoryRow[];
  readonly keys?: readonly string[];
  readonly uploads?: CleanupFacts["listing"]["uploads"];
  readonly parts?: readonly number[];
  readonly policy?: Partial<TablePolicy>;
  readonly nowMs?: number;
}

export function factsOf({ control = {}, rows = [], keys = [], uploads = [], parts = [], policy = {}, nowMs = NOW }: Scene): CleanupFacts {
  return {
    id: shard,
    listing: { objects: keys.map((key) => ({ key, size: 10 })), uploads, parts: parts.map((born) => ({ born: toEpoch(born), number: 1 })), notes: [] },
    control: control === "absent" ? undefined : controlWith(control),
    rows,
    policy: { ...POLICY_DEFAULTS, ...policy },
    nowMs,
  };
}

/** The plan in short: keys and indexes alone. */
export function planOf(scene: Scene) {
  const plan = planCleanup(factsOf(scene));
  return {
    lowWater: plan.lowWater,
    fence: plan.fence,
    redoFiles: plan.redoFiles.map(({ key }) => key),
    generations: plan.generations.map(({ index }) => index),
    orphans: plan.orphans.map(({ key }) => key),
    uploads: plan.uploads.map(({ uploadId }) => uploadId),
    parts: plan.parts.map(({ born }) => born),
    unparseable: plan.unparseable,
  };
}

export const nothing = { lowWater: 1, fence: false, redoFiles: [], generations: [], orphans: [], uploads: [], parts: [], unparseable: [] };
export const redo = (first: number) => redoKey(prefix, toIndex(first));
export const snapshot = (index: number, epoch: number) => snapshotKey(prefix, toIndex(index), toEpoch(epoch));
export const kept = (indexes: readonly number[]) => indexes.map((index) => rowAt(index));
export const PAST = "players/0/ffffffffffffffff/";
/** A log with a redo file at each tenth index, and its generations' objects. */
export const log = [1, 11, 21, 31, 41].map(redo);
