// Row groups to a whole snapshot: places them one behind the other, whether encoded here or carried over from the snapshot
// before, and makes the tail. The bytes are a function of the row groups, the description and ENCODER_VERSION (rule 15), so
// that two workers on one upload write the same.

import { assert } from "../../model/assert.ts";
import type { SnapshotDescription } from "../../model/snapshot.ts";
import { type GroupPages, MAGIC, type RowGroup } from "./layout.ts";
import { type PlacedGroup, placeGroup } from "./page-index.ts";
import { encodeTail, type Tail } from "./tail.ts";

export interface SnapshotAssembly {
  /** The next row group; its bytes follow those of the one before. */
  add(group: RowGroup, pages: GroupPages): PlacedGroup;
  /** The next row group, which lies there already. */
  restore(placed: PlacedGroup): void;
  /** Where the next row group will lie. */
  readonly end: number;
  /** All row groups so far. */
  readonly groups: readonly PlacedGroup[];
  /** `read`: the places of row groups that are read back before the snapshot counts. */
  finish(description: SnapshotDescription, read?: readonly number[]): EncodedSnapshot;
}

export interface EncodedSnapshot extends Omit<Tail, "chunks" | "byteLength"> {
  /** Bytes of the whole object. */
  readonly size: number;
  /** What follows the last row group. */
  readonly tail: readonly Buffer[];
  readonly groups: readonly PlacedGroup[];
}

/** @param start where the first row group will lie; behind the head by default */
export function snapshotAssembly(start = MAGIC.length): SnapshotAssembly {
  const groups: PlacedGroup[] = [];
  let end = start;
  let finished = false;

  function restore(placed: PlacedGroup): void {
    assert(placed.group.offset === end, "row groups lie one behind the other");
    groups.push(placed);
    end += placed.group.byteLength;
  }

  return {
    add(group, pages) {
      const added = placeGroup(group, pages, end);
      restore(added);
      return added;
    },
    restore,
    get end() {
      return end;
    },
    groups,
    finish(description, read = []) {
      assert(!finished, "a snapshot is finished once");
      finished = true;
      for (const place of read) groups[place] = { ...groups[place], group: { ...groups[place].group, carried: 0 } };
      const { chunks, byteLength, ...about } = encodeTail(description, groups);
      return { ...about, size: end + byteLength, tail: chunks, groups };
    },
  };
}
