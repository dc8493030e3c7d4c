// Base rows and the changes behind them, merged part by part: what memory holds of the changes first, then the keys behind
// that (I5, I10).

import { mergeRows } from "../machines/keyed/merge.ts";
import { assert } from "../model/assert.ts";
import { successor } from "../model/bytes.ts";
import { keyOfRow, releaseRows, rowAtOrBehind, type Rows, type RowSink, sliceRows } from "../model/rows.ts";
import type { Changes } from "./changes.ts";
import type { ShardState } from "./state.ts";

/** Pours the state's records into the sink in key order, behind `after`; yields whenever the sink should be emptied. */
export async function* pour(state: Pick<ShardState, "changes" | "snapshot">, sink: RowSink, after?: Buffer): AsyncGenerator<void> {
  const merge = await stateMerge(state.changes, sink, after && successor(after));
  if (state.snapshot !== undefined) {
    for await (const rows of state.snapshot.rows(after)) {
      yield* merge.rows(rows);
      releaseRows(rows);
    }
  }
  yield* merge.end();
}

/** As `RowMerge`, over all changes. Each does its work as it is iterated, and yields where the sink may be emptied. */
export interface StateMerge {
  /** The next base rows in key order. */
  rows(rows: Rows): AsyncGenerator<void>;
  /** The changes below `key`, behind the last rows: base rows have none of their keys. */
  below(key: Buffer): AsyncGenerator<void>;
  /** The changes behind the last rows. Call once, last. */
  end(): AsyncGenerator<void>;
  /** The next key that changes, if any is left. */
  nextKey(): Promise<Buffer | undefined>;
  /** Whether a key between the two, both included, changes, as far as memory tells. */
  touches(first: Buffer, last: Buffer): boolean;
}

/** @param from the lowest key that the sink gets; default: all */
export async function stateMerge(changes: Changes, sink: RowSink, from?: Buffer): Promise<StateMerge> {
  let part = await changes.part(from);
  let merge = mergeRows(part, sink, from === undefined ? {} : { from });

  async function advance(): Promise<void> {
    const { end } = part;
    assert(end !== undefined, "the last part of the changes has no end");
    part = await changes.part(end);
    // Base rows below it may still come: a key behind them was looked for.
    merge = mergeRows(part, sink, { ...(from && { from }), foldFrom: end });
  }

  return {
    async *rows(rows) {
      let rest = rows;
      while (part.end !== undefined && Buffer.compare(keyOfRow(rest, rest.count - 1), part.end) >= 0) {
        const cut = rowAtOrBehind(rest, part.end);
        if (cut > 0) yield* merge.block(sliceRows(rest, 0, cut));
        yield* merge.end();
        await advance();
        rest = sliceRows(rest, cut, rest.count);
      }
      yield* merge.block(rest);
    },
    async *below(key) {
      while (part.end !== undefined && Buffer.compare(part.end, key) <= 0) {
        yield* merge.end();
        await advance();
      }
      yield* merge.below(key);
    },
    async *end() {
      for (;;) {
        yield* merge.end();
        if (part.end === undefined) return;
        await advance();
      }
    },
    touches: (first, last) => merge.touches(first, last),
    async nextKey() {
      for (;;) {
        const key = merge.nextKey();
        if (key !== undefined || part.end === undefined) return key;
        await advance();
      }
    },
  };
}
