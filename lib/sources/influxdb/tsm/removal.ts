// What is to go, and what that means for a key and for each of its blocks. Pure: the same answers in every pass.

import { outside, type Ranges, rangesOf, type TimeRange, touch } from "./ranges.ts";
import type { BlockEntry, IndexKey } from "./read.ts";
import { deletedByKey, type Tombstones } from "./tombstone.ts";

export interface Removal {
  /** Deletions of single keys go. */
  readonly tombstones?: Tombstones;
  /** All points go whose time is not within, both ends included. */
  readonly keep?: TimeRange;
}

/** A key, and its blocks that do not go as a whole. */
export interface KeyPlan extends IndexKey {
  readonly blocksBefore: number;
  /** What goes of the blocks that are cut. */
  readonly ranges: Ranges;
  readonly blocks: readonly PlannedBlock[];
}

export interface PlannedBlock extends BlockEntry {
  /** Whether a range that goes reaches into it, so that its points must be looked at. */
  readonly isCut: boolean;
}

/** Answers for keys in ascending order. */
export function planByKey({ tombstones, keep }: Removal): (key: IndexKey) => KeyPlan {
  const deleted = tombstones === undefined ? undefined : deletedByKey(tombstones);
  const always = keep === undefined ? [] : outside(keep);
  const alone = rangesOf(always);
  return (key) => {
    const own = deleted?.(key.key) ?? [];
    return planKey(key, own.length === 0 ? alone : rangesOf([...own, ...always]));
  };
}

function planKey(key: IndexKey, ranges: Ranges): KeyPlan {
  const blocks: PlannedBlock[] = [];
  for (const block of key.blocks) {
    const touched = touch(ranges, block.first, block.last);
    if (touched !== "all") blocks.push({ ...block, isCut: touched === "some" });
  }
  return { ...key, blocksBefore: key.blocks.length, ranges, blocks };
}
