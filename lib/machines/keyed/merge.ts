// Merges base rows, block by block in key order, with the fold of the log behind them: the state at the fold's end (I5).
//
// Guarantees: the sink gets every live key once, in key order; base rows that no mutation touches go there in runs, by
// one push a run; a deleted key is left out; patches whose base the fold did not know are applied to the base row, in
// order, or to nothing where there is none. Between two yields the sink gets at most one run of a block and a bounded
// number of bytes more (I10).
// Hot: finds the rows that a mutation touches by galloping, so that a clean block costs a few comparisons, and allocates
// nothing per row but where a patch is applied. bench/fold.ts measures it.

import { assert } from "../../model/assert.ts";
import { TidemarkError } from "../../model/errors.ts";
import { compareBytes } from "../../model/bytes.ts";
import { RECORD_DELETE, RECORD_PATCH, rowAtOrBehind, type Rows, type RowSink } from "../../model/rows.ts";
import {
  ENTRY_WORDS,
  KEY_LENGTH,
  KEY_START,
  patchesOf,
  type SortedFold,
  STAMP_INDEX,
  STAMP_NUMBERS,
  STAMP_TIME,
  STATE,
  VALUE_LENGTH,
  VALUE_START,
} from "./entries.ts";
import { patchValueByEach } from "./patch.ts";

/** Both do their work as they are iterated, and yield where the sink may be emptied. */
export interface RowMerge {
  /** The next base rows; their keys lie behind those of the blocks before. Iterate to the end before the next call. */
  block(rows: Rows): Generator<void, void, void>;
  /** What the fold holds below `key`, behind the last block. */
  below(key: Buffer): Generator<void, void, void>;
  /** What the fold holds behind the last block. Call once, last. */
  end(): Generator<void, void, void>;
  /** The next key that the fold changes; absent where none is left. */
  nextKey(): Buffer | undefined;
  /** Whether the fold changes a key between the two, both included. */
  touches(first: Buffer, last: Buffer): boolean;
}

export interface MergeOptions {
  /** Only keys at or above this one reach the sink; default: all. */
  readonly from?: Buffer;
  /** Of the fold only keys at or above this one, and base rows below it as they are; default: `from`. */
  readonly foldFrom?: Buffer;
}

/** Bytes of changed rows that reach the sink between two yields. */
const YIELD_BYTES = 1024 * 1024;

export function mergeRows(fold: SortedFold, sink: RowSink, { from: lowest, foldFrom = lowest }: MergeOptions = {}): RowMerge {
  let next = foldFrom === undefined ? 0 : firstAtOrBehind(fold, foldFrom);
  let lastKey: Buffer | undefined;

  function* block(rows: Rows): Generator<void, void, void> {
    if (rows.count === 0) return;
    assert(lastKey === undefined || compareToRow(lastKey, 0, lastKey.length, rows, 0) < 0, "blocks are merged in key order");
    lastKey = Buffer.from(rows.keys.subarray(keyStart(rows, rows.count - 1), rows.keyEnds[rows.count - 1]));
    let row = lowest === undefined ? 0 : rowAtOrBehind(rows, lowest);
    while (row < rows.count) {
      row = mergeSome(rows, row);
      yield;
    }
  }

  /** Merges from `row` on, up to YIELD_BYTES of changes; returns the first row that is not yet done. */
  function mergeSome(rows: Rows, from: number): number {
    let row = from;
    for (let bytes = 0; bytes < YIELD_BYTES && row < rows.count; next += 1) {
      const place = next < fold.count ? rowOf(fold, next, rows, row) : rows.count;
      if (place > row) sink.push(rows, row, place);
      if (place === rows.count) return place;
      const touched = compareEntry(fold, next, rows, place) === 0;
      bytes += emit(fold.order[next], rows, touched ? place : -1);
      row = touched ? place + 1 : place;
    }
    return row;
  }

  function* end(): Generator<void, void, void> {
    yield* upTo(fold.count);
  }

  function* below(key: Buffer): Generator<void, void, void> {
    yield* upTo(Math.max(next, firstAtOrBehind(fold, key)));
  }

  function* upTo(place: number): Generator<void, void, void> {
    while (next < place) {
      for (let bytes = 0; bytes < YIELD_BYTES && next < place; next += 1) bytes += emit(fold.order[next]);
      yield;
    }
  }

  function nextKey(): Buffer | undefined {
    if (next === fold.count) return undefined;
    const word = fold.order[next] * ENTRY_WORDS;
    return fold.bytes.subarray(fold.words[word + KEY_START], fold.words[word + KEY_START] + fold.words[word + KEY_LENGTH]);
  }

  /** Hands the entry's row to the sink, if it has one; `row` is the base row of its key, -1 if there is none. Returns its bytes. */
  function emit(entry: number, rows?: Rows, row = -1): number {
    const { words, bytes, stamps } = fold;
    const word = entry * ENTRY_WORDS;
    const key = words[word + KEY_START];
    const keyEnd = key + words[word + KEY_LENGTH];
    const index = stamps[entry * STAMP_NUMBERS + STAMP_INDEX];
    const timeMs = stamps[entry * STAMP_NUMBERS + STAMP_TIME];
    if (words[word + STATE] === RECORD_DELETE) return 0;
    if (words[word + STATE] === RECORD_PATCH) {
      const value = patchedValue(fold, word, rows === undefined || row < 0 ? undefined : valueOfRow(rows, row));
      sink.pushRow(bytes, key, keyEnd, value, 0, value.length, index, timeMs);
      return keyEnd - key + value.length;
    }
    const value = words[word + VALUE_START];
    const valueEnd = value + words[word + VALUE_LENGTH];
    sink.pushRow(bytes, key, keyEnd, bytes, value, valueEnd, index, timeMs);
    return keyEnd - key + valueEnd - value;
  }

  function touches(first: Buffer, last: Buffer): boolean {
    const place = firstAtOrBehind(fold, first);
    if (place === fold.count) return false;
    const word = fold.order[place] * ENTRY_WORDS;
    return compareBytes(fold.bytes, fold.words[word + KEY_START], fold.words[word + KEY_LENGTH], last, 0, last.length) <= 0;
  }

  return { block, below, end, nextKey, touches };
}

/**
 * The value of an entry in state RECORD_PATCH, which starts at `word`, over its base's; nothing is below it if `base` is absent.
 * @throws {TidemarkError} `repair` where they are not what a writer lets pass
 */
export function patchedValue(fold: SortedFold, word: number, base: Buffer | undefined): Buffer {
  try {
    const value = patchValueByEach(base, patchesOf(fold, word));
    assert(value !== undefined, "a key whose base is not known has patches");
    return value;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const { words, bytes } = fold;
    const key = bytes.toString("utf8", words[word + KEY_START], words[word + KEY_START] + words[word + KEY_LENGTH]);
    throw new TidemarkError("repair", "damaged-record", `the record of ${JSON.stringify(key)} is damaged: ${error.message}`, { cause: error });
  }
}

/** The first row from `from` on whose key is not below the entry's; galloping, as it is mostly near. */
function rowOf(fold: SortedFold, place: number, rows: Rows, from: number): number {
  let below = from - 1;
  let step = 1;
  while (below + step < rows.count && compareEntry(fold, place, rows, below + step) > 0) {
    below += step;
    step *= 2;
  }
  let reached = Math.min(below + step, rows.count);
  while (reached - below > 1) {
    const middle = (below + reached) >>> 1;
    if (compareEntry(fold, place, rows, middle) > 0) below = middle;
    else reached = middle;
  }
  return reached;
}

/** The place in the fold of the first key that is not below `key`. */
function firstAtOrBehind({ count, order, words, bytes }: SortedFold, key: Buffer): number {
  let low = 0;
  for (let high = count; low < high; ) {
    const middle = (low + high) >>> 1;
    const word = order[middle] * ENTRY_WORDS;
    const start = words[word + KEY_START];
    if (compareBytes(bytes, start, words[word + KEY_LENGTH], key, 0, key.length) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function compareEntry({ order, words, bytes }: SortedFold, place: number, rows: Rows, row: number): number {
  const word = order[place] * ENTRY_WORDS;
  return compareToRow(bytes, words[word + KEY_START], words[word + KEY_LENGTH], rows, row);
}

function compareToRow(bytes: Buffer, start: number, length: number, rows: Rows, row: number): number {
  const rowStart = keyStart(rows, row);
  return compareBytes(bytes, start, length, rows.keys, rowStart, rows.keyEnds[row] - rowStart);
}

function keyStart(rows: Rows, row: number): number {
  return row === 0 ? 0 : rows.keyEnds[row - 1];
}

function valueOfRow(rows: Rows, row: number): Buffer {
  return rows.values.subarray(row === 0 ? 0 : rows.valueEnds[row - 1], rows.valueEnds[row]);
}
