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
  /** Where the next row group will lie. */
  readonly end: number;
  /** All row groups so far. */
  readonly groups: readonly PlacedGroup[];
  finish(description: SnapshotDescription): EncodedSnapshot;
}

export interface EncodedSnapshot extends Omit<Tail, "chunks" | "byteLength"> {
  /** Bytes of the whole object. */
  readonly size: number;
  /** What follows the last row group. */
  readonly tail: readonly Buffer[];
  readonly groups: readonly PlacedGroup[];
}

/** `placed`: row groups that lie there already, from the head on. */
export function snapshotAssembly(placed: readonly PlacedGroup[] = []): SnapshotAssembly {
  const groups = [...placed];
  let end = placed.reduce((sum, { group }) => sum + group.byteLength, MAGIC.length);
  let finished = false;
  return {
    add(group, pages) {
      const added = placeGroup(group, pages, end);
      groups.push(added);
      end += group.byteLength;
      return added;
    },
    get end() {
      return end;
    },
    groups,
    finish(description) {
      assert(!finished, "a snapshot is finished once");
      finished = true;
      const { chunks, byteLength, ...about } = encodeTail(description, groups);
      return { ...about, size: end + byteLength, tail: chunks, groups };
    },
  };
}
