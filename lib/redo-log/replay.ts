// Replays a redo file into a fold: batch by batch, each applied at most once (I3), up to the last batch that lies
// wholly at or before a bound (I5).

import type { ProducerMark } from "../model/mutation.ts";
import { type Index, type Position, toIndex } from "../model/position.ts";
import type { RedoFile } from "../model/redo-file.ts";
import type { LogRecords } from "../model/rows.ts";
import type { Sessions } from "../model/sessions.ts";

/** Takes the records `from` (included) to `to` (excluded), of which the first has `firstIndex`. */
export interface Fold {
  apply(records: LogRecords, from: number, to: number, firstIndex: number, timeMs: number): void;
}

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

export function replay(file: RedoFile, into: { readonly sessions: Sessions; readonly fold: Fold }, bound: Bound = {}): Replayed {
  let last: Replayed["last"];
  let done = 0;
  for (const [batchOffset, batch] of file.header.batches.entries()) {
    const lastIndex = toIndex(file.header.first + done + batch.count - 1);
    if (lastIndex > (bound.index ?? Number.POSITIVE_INFINITY) || batch.timeMs > (bound.timeMs ?? Number.POSITIVE_INFINITY)) {
      return { ...(last && { last }), whole: false };
    }
    if (applies(batch.mark, into.sessions, lastIndex)) into.fold.apply(file.records, done, done + batch.count, file.header.first + done, batch.timeMs);
    done += batch.count;
    last = { position: { redoFile: file.header.first, batchOffset }, index: lastIndex, timeMs: batch.timeMs };
  }
  return { ...(last && { last }), whole: true };
}

function applies(mark: ProducerMark | undefined, sessions: Sessions, lastIndex: Index): boolean {
  return mark === undefined || sessions.apply(mark, lastIndex) === "applies";
}
