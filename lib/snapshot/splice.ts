// A snapshot out of the one before and the changes behind it: row groups that no change touches are carried over, the
// others are decoded, merged and encoded anew (I5).
//
// A change touches the row group whose keys it lies among. Changes between two row groups make row groups of their own. A run
// of touched row groups is encoded as one; a small row group beside it is taken along. So no two small ones are ever
// neighbours, and sizes stay in bounds however often a snapshot is spliced.
//
// The pieces are a function of base, changes and `start`; started behind any finished row group they go on as they would have.

import { successor } from "../model/bytes.ts";
import { firstAt } from "../model/search.ts";
import { releaseRows, type Rows } from "../model/rows.ts";
import type { Changes } from "./changes.ts";
import { type FinishedGroup, rowGroupEncoder } from "./parquet/groups.ts";
import { type GroupSizes, isSmall, type RowGroup } from "./parquet/layout.ts";
import { stateMerge } from "./pour.ts";

/** `carried`: the base's row groups `from` (included) to `to` (excluded). `fresh`: one that was encoded. */
export type Piece = { readonly kind: "carried"; readonly from: number; readonly to: number } | { readonly kind: "fresh"; readonly group: FinishedGroup };

export interface SpliceRequest {
  readonly base: SpliceBase;
  readonly changes: Changes;
  /** Carry nothing over. */
  readonly full: boolean;
  readonly sizes: GroupSizes;
  /** The lowest key that is wanted; default: all. */
  readonly from?: Buffer;
  /** Where an earlier worker came to; default: the beginning. */
  readonly start?: SpliceStart;
}

/** The snapshot before; `NO_BASE` where there is none. */
export interface SpliceBase {
  readonly groups: readonly Pick<RowGroup, "firstKey" | "lastKey" | "byteLength" | "rows" | "columns">[];
  /** The rows belong to who asked for them. */
  rowsOfGroups(from: number, to: number, lowest?: Buffer): AsyncGenerator<Rows>;
}

export const NO_BASE: SpliceBase = { groups: [], async *rowsOfGroups() {} };

export interface SpliceStart {
  /** Last key of the last row group that is finished. */
  readonly after: Buffer;
  /** Whether the run that it belongs to goes on behind it. */
  readonly open: boolean;
}

export async function* splice({ base, changes, full, sizes, from: lowestWanted, start }: SpliceRequest): AsyncGenerator<Piece> {
  const { groups } = base;
  const lowest = start === undefined ? lowestWanted : successor(start.after);
  const encoder = rowGroupEncoder(sizes);
  const merge = await stateMerge(changes, encoder, lowest);
  /** The first row group of the base that is not done. */
  let place = lowest === undefined ? 0 : placeOf(lowest);

  if (start?.open === true) {
    if (place < groups.length && Buffer.compare(groups[place].firstKey, start.after) <= 0) yield* encodeNext();
    yield* run();
  }
  for (let key = await nextKey(); key !== undefined; key = await nextKey()) {
    const touched = Math.max(place, placeOf(key));
    const from = touched > place && isSmall(groups[touched - 1], sizes) ? touched - 1 : touched;
    if (from > place) yield { kind: "carried", from: place, to: from };
    place = from;
    if (from < touched) yield* encodeNext();
    yield* run();
  }
  if (place < groups.length) yield { kind: "carried", from: place, to: groups.length };

  /** The next key that is to be encoded. */
  async function nextKey(): Promise<Buffer | undefined> {
    return full && place < groups.length ? groups[place].firstKey : merge.nextKey();
  }

  /** Encodes what changes, and what lies beside it, up to a row group that is carried over. */
  async function* run(): AsyncGenerator<Piece> {
    for (;;) {
      const key = await merge.nextKey();
      const next = place < groups.length ? groups[place] : undefined;
      if (key !== undefined && (next === undefined || Buffer.compare(key, next.firstKey) < 0))
        yield* encoded(next === undefined ? merge.end() : merge.below(next.firstKey));
      else if (next !== undefined && (full || isSmall(next, sizes) || (key !== undefined && Buffer.compare(key, next.lastKey) <= 0))) yield* encodeNext();
      else break;
    }
    encoder.cut();
    yield* asPieces(await encoder.drain());
  }

  async function* encodeNext(): AsyncGenerator<Piece> {
    // Neighbours that are known to be touched belong to the same run, and are fetched ahead.
    let to = place + 1;
    while (to < groups.length && (full || merge.touches(groups[to].firstKey, groups[to].lastKey))) to++;
    const from = place;
    place = to;
    for await (const rows of base.rowsOfGroups(from, to, lowest)) {
      yield* encoded(merge.rows(rows));
      releaseRows(rows);
    }
  }

  async function* encoded(work: AsyncGenerator<void>): AsyncGenerator<Piece> {
    for await (const _ of work) yield* asPieces(await encoder.take());
  }

  /** Of the first row group of the base that holds, or ends behind, the key. */
  function placeOf(key: Buffer): number {
    return firstAt(groups.length, (i) => Buffer.compare(groups[i].lastKey, key) >= 0);
  }
}

function* asPieces(groups: readonly FinishedGroup[]): Generator<Piece> {
  for (const group of groups) yield { kind: "fresh", group };
}
