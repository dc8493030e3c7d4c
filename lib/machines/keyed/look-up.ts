// One key's record: the fold's, over that of the base.

import { RECORD_DELETE, RECORD_PATCH } from "../../model/rows.ts";
import { ENTRY_WORDS, KEY_LENGTH, KEY_START, type SortedFold, STAMP_INDEX, STAMP_NUMBERS, STAMP_TIME, STATE, VALUE_LENGTH, VALUE_START } from "./entries.ts";
import { patchedValue } from "./merge.ts";

export interface KeyedRecord {
  readonly value: Buffer;
  readonly index: number;
  readonly timeMs: number;
}

/** @param base reads the key's record before the fold; asked only where the fold does not know the value */
export async function lookUp(fold: SortedFold, key: Buffer, base: () => Promise<KeyedRecord | undefined>): Promise<KeyedRecord | undefined> {
  const entry = entryOf(fold, key);
  if (entry === undefined) return base();
  const { words, bytes, stamps } = fold;
  const word = entry * ENTRY_WORDS;
  if (words[word + STATE] === RECORD_DELETE) return undefined;
  const value =
    words[word + STATE] === RECORD_PATCH
      ? patchedValue(fold, word, (await base())?.value)
      : Buffer.from(bytes.subarray(words[word + VALUE_START], words[word + VALUE_START] + words[word + VALUE_LENGTH]));
  return { value, index: stamps[entry * STAMP_NUMBERS + STAMP_INDEX], timeMs: stamps[entry * STAMP_NUMBERS + STAMP_TIME] };
}

function entryOf({ count, order, words, bytes }: SortedFold, key: Buffer): number | undefined {
  let low = 0;
  for (let high = count; low < high; ) {
    const middle = (low + high) >>> 1;
    const word = order[middle] * ENTRY_WORDS;
    const start = words[word + KEY_START];
    const comparison = bytes.compare(key, 0, key.length, start, start + words[word + KEY_LENGTH]);
    if (comparison === 0) return order[middle];
    if (comparison < 0) low = middle + 1;
    else high = middle;
  }
  return undefined;
}
