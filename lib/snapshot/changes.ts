// What the log changes of a state, folded by key ranges: as many keys at a time as memory allows (I10). The log is read once
// to find its end, its sessions and the first range, and once more for each further range; a stretch of it that is known to
// hold no key of the range is passed over.
//
// Each reading ends with the check that what was read is still covered by incarnation and mark (rule 27).

import { keyedFold, type KeyedFold, releaseFold, type SortedFold } from "../machines/keyed/fold.ts";
import { compareBytes } from "../model/bytes.ts";
import { isTidemarkError, TidemarkError } from "../model/errors.ts";
import { release } from "../model/memory.ts";
import type { ValueCodec } from "../model/mutation.ts";
import { shardName } from "../model/names.ts";
import type { Border, Index } from "../model/position.ts";
import type { LogRecords } from "../model/rows.ts";
import { covers, filesFrom, type Life, type ReadDeps, settle } from "../redo-log/read.ts";
import { type Bound, replay } from "../redo-log/replay.ts";

/** The changes of a state behind its base, in key order. */
export interface Changes {
  /**
   * The fold of the keys at or above `from` (default: all), up to its `end`, if it has one: go on from there.
   * @throws {TidemarkError} `retry` "cleaned-log" where cleanup passed while the log was read, "stopped" where who reads is to stop
   */
  part(from?: Buffer): Promise<SortedFold>;
  /** Frees what it holds, where nobody else reads; no part is asked for behind that. */
  free(): void;
}

/** A stretch of the log that was read: where it begins and ends, and what keys it holds, once that is known. */
export interface Stretch {
  readonly from: Border;
  /** The last index of its last file. */
  last: Index;
  rawBytes: number;
  keys?: KeyRange;
}

interface KeyRange {
  readonly first: Buffer;
  readonly last: Buffer;
}

export interface ChangesRequest {
  readonly life: Life;
  readonly codec: ValueCodec;
  /** Memory that a fold may take. */
  readonly foldBytesMax: number;
  readonly from: Border;
  readonly bound: Bound;
  readonly stretches: readonly Stretch[];
  /** First indexes of batches that do not apply (I3). */
  readonly refused: ReadonlySet<number>;
  /** The lowest key of what the first reading made. */
  readonly firstFrom?: Buffer;
  /** Only keys below it are wanted; default: all. */
  readonly above?: Buffer;
  /** Whether parts are asked for by one reader, upwards: each is then made in the memory of the one before. */
  readonly oneReader?: boolean;
  readonly goOn?: () => Promise<boolean>;
}

/** A stretch ends at the first file's end where it has so many raw bytes. */
export const STRETCH_RAW_BYTES = 1024 * 1024;

/** @param first what the first reading folded, of the keys at or above `firstFrom` */
export function logChanges(deps: ReadDeps, request: ChangesRequest, first: KeyedFold): Changes {
  const { life, codec, foldBytesMax, stretches, refused, bound, above } = request;
  let at = request.firstFrom;
  let current = untilAbove(first.sorted(), above);

  return {
    async part(from) {
      const isHeld = at === undefined || (from !== undefined && Buffer.compare(at, from) <= 0);
      if (isHeld && (current.end === undefined || from === undefined || Buffer.compare(from, current.end) < 0)) return current;
      const fold = request.oneReader === true ? again(from) : keyedFold({ codec, ...(from && { from }), ...(above && { end: above }), bytesMax: foldBytesMax });
      for (const stretch of stretches) {
        if (stretch.keys !== undefined && !meet(stretch.keys, from, fold.end)) continue;
        await readStretch(stretch, fold);
      }
      if (!(await covers(deps, life, request.from.next))) throw cleaned(life);
      at = from;
      current = untilAbove(fold.sorted(), above);
      return current;
    },
    free: () => releaseFold(current),
  };

  function again(from: Buffer | undefined): KeyedFold {
    release(current.order);
    first.startOver(from);
    return first;
  }

  async function readStretch(stretch: Stretch, fold: KeyedFold): Promise<void> {
    let keys: KeyRange | undefined = stretch.keys;
    let border = stretch.from;
    for await (const step of filesFrom(deps, life, stretch.from, stretch.last)) {
      if (step.kind !== "found") {
        await settle(deps, life, { step, from: request.from.next, border });
        throw cleaned(life);
      }
      await goOnOrStop(request.goOn);
      replay(step.file, { applies: (_, first) => !refused.has(first), fold }, bound);
      if (stretch.keys === undefined) keys = widened(keys, step.file.records);
      border = step.border;
    }
    if (keys !== undefined) stretch.keys = keys;
  }
}

/** Nothing is wanted behind a fold that ends where the wanted keys do. */
function untilAbove(fold: SortedFold, above: Buffer | undefined): SortedFold {
  if (above === undefined || fold.end === undefined || !fold.end.equals(above)) return fold;
  const { end: _, ...whole } = fold;
  return whole;
}

function meet(keys: KeyRange, from: Buffer | undefined, end: Buffer | undefined): boolean {
  return (from === undefined || Buffer.compare(keys.last, from) >= 0) && (end === undefined || Buffer.compare(keys.first, end) < 0);
}

/** The range of keys, with those of the records. */
export function widened(range: KeyRange | undefined, { count, bytes, keyStarts, keyLengths }: LogRecords): KeyRange {
  let low = 0;
  let high = 0;
  for (let record = 1; record < count; record++) {
    if (compareBytes(bytes, keyStarts[record], keyLengths[record], bytes, keyStarts[low], keyLengths[low]) < 0) low = record;
    else if (compareBytes(bytes, keyStarts[record], keyLengths[record], bytes, keyStarts[high], keyLengths[high]) > 0) high = record;
  }
  const [first, last] = [low, high].map((record) => Buffer.from(bytes.subarray(keyStarts[record], keyStarts[record] + keyLengths[record])));
  if (range === undefined) return { first, last };
  return { first: Buffer.compare(first, range.first) < 0 ? first : range.first, last: Buffer.compare(last, range.last) > 0 ? last : range.last };
}

const STOPPED = "stopped";

/** @throws {TidemarkError} `retry` "stopped" where `goOn` says no */
export async function goOnOrStop(goOn: (() => Promise<boolean>) | undefined): Promise<void> {
  if (goOn !== undefined && !(await goOn())) throw new TidemarkError("retry", STOPPED, "the work was told to stop: the next run goes on with it");
}

export function isStop(error: unknown): boolean {
  return isTidemarkError(error) && error.code === STOPPED;
}

function cleaned({ id }: Life): TidemarkError {
  return new TidemarkError("retry", "cleaned-log", `the log of ${shardName(id)} was cleaned while it was read: try again`);
}
