// Replays a redo file into a fold: batch by batch, each applied at most once (I3), up to the last batch that lies
// wholly at or before a bound (I5).

import { damagedObject } from "../model/errors.ts";
import type { ProducerMark } from "../model/mutation.ts";
import { incarnationPrefix, redoKey } from "../model/names.ts";
import { type Index, type Position, toIndex } from "../model/position.ts";
import type { RedoFile } from "../model/redo-file.ts";
import type { LogRecords } from "../model/rows.ts";

/** Takes the records `from` (included) to `to` (excluded), of which the first has `firstIndex`. */
export interface Fold {
  apply(records: LogRecords, from: number, to: number, firstIndex: number, timeMs: number): void;
}

/** Whether a batch applies: its producer's mark, and the indexes of its first and its last mutation. Asked once a batch, in order. */
export type Judge = (mark: ProducerMark, first: Index, last: Index) => boolean;

/** Where to stop: behind the last batch wholly at or before both. */
export interface Bound {
  readonly index?: Index;
  readonly timeMs?: number;
}

export interface Replayed {
  /** The last batch that was replayed; absent if the bound stopped before the first. */
  readonly last?: { readonly position: Position; readonly index: Index; readonly timeMs: number };
  /** False where the bound stopped inside the file, or before it. */
  readonly whole: boolean;
}

/** @throws {TidemarkError} `repair` where a mutation is none that a writer lets pass */
export function replay(file: RedoFile, into: { readonly applies: Judge; readonly fold: Fold }, bound: Bound = {}): Replayed {
  let last: Replayed["last"];
  let done = 0;
  for (const [batchOffset, { count, mark, timeMs }] of file.header.batches.entries()) {
    const firstIndex = toIndex(file.header.first + done);
    const lastIndex = toIndex(firstIndex + count - 1);
    if (lastIndex > (bound.index ?? Number.POSITIVE_INFINITY) || timeMs > (bound.timeMs ?? Number.POSITIVE_INFINITY)) {
      return { ...(last && { last }), whole: false };
    }
    if (mark === undefined || into.applies(mark, firstIndex, lastIndex)) {
      orDamaged(file, () => into.fold.apply(file.records, done, done + count, firstIndex, timeMs));
    }
    done += count;
    last = { position: { redoFile: file.header.first, batchOffset }, index: lastIndex, timeMs };
  }
  return { ...(last && { last }), whole: true };
}

function orDamaged({ header }: RedoFile, apply: () => void): void {
  try {
    apply();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw damagedObject(redoKey(incarnationPrefix(header, header.incarnation), header.first), error.message, error);
  }
}
