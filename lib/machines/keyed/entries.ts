// The fold's entries by columns of fixed-width words, one entry a key: what fold, sort and merge share. Entries of one
// key lie side by side, as a change of a random key should cost few cache lines.

/** Words of one entry in `FoldEntries.words`. */
export const ENTRY_WORDS = 8;
export const KEY_START = 0;
export const KEY_LENGTH = 1;
/** RECORD_PUT: the value is known. RECORD_DELETE: the key is gone. RECORD_PATCH: patches of a base that the fold has not seen. */
export const STATE = 2;
export const VALUE_START = 3;
export const VALUE_LENGTH = 4;
/** Where in `FoldEntries.patches` the entry's first and last patch in log order lie; 0: none. Of a sorted fold, only in state RECORD_PATCH. */
export const FIRST_PATCH = 5;
export const LAST_PATCH = 6;
export const HASH = 7;

/** Words of one patch in `FoldEntries.patches`; the first PATCH_WORDS words are no patch. */
export const PATCH_WORDS = 3;
export const PATCH_START = 0;
export const PATCH_LENGTH = 1;
export const NEXT_PATCH = 2;

/** Numbers of one entry in `FoldEntries.stamps`: index and time of the mutation that last changed the key. */
export const STAMP_NUMBERS = 2;
export const STAMP_INDEX = 0;
export const STAMP_TIME = 1;

/** Entries in the order of their first mutations. Starts are offsets into `bytes`. */
export interface FoldEntries {
  readonly count: number;
  readonly bytes: Buffer;
  readonly words: Uint32Array;
  readonly stamps: Float64Array;
  readonly patches: Uint32Array;
}

/** Entries with their order by key: entry `order[i]` has the i-th key by memcmp. */
export interface SortedFold extends FoldEntries {
  readonly order: Uint32Array;
  /** Keys at or above it are not in the fold, whatever the log holds of them; absent where it holds all. */
  readonly end?: Buffer;
}

/** A view. */
export function keyOf({ words, bytes }: FoldEntries, entry: number): Buffer {
  const start = words[entry * ENTRY_WORDS + KEY_START];
  return bytes.subarray(start, start + words[entry * ENTRY_WORDS + KEY_LENGTH]);
}

/** Views of the entry's patches, in their order. */
export function* patchesOf({ words, bytes, patches }: FoldEntries, word: number): Generator<Buffer> {
  for (let patch = words[word + FIRST_PATCH]; patch !== 0; patch = patches[patch + NEXT_PATCH]) {
    const start = patches[patch + PATCH_START];
    yield bytes.subarray(start, start + patches[patch + PATCH_LENGTH]);
  }
}
