// Packs what lives of a fold's bytes, in place: each piece (a key, a value or a patch) moves down to the end of the one before
// it, in the order in which they lie. Memory is one number a piece (I10).

import { assert } from "../../model/assert.ts";
import { release } from "../../model/memory.ts";
import { ENTRY_WORDS, FIRST_PATCH, type FoldEntries, KEY_START, NEXT_PATCH, PATCH_START, PATCH_WORDS, VALUE_LENGTH, VALUE_START } from "./entries.ts";

/** Returns where the bytes end then. */
export function pack(entries: FoldEntries, { arenaEnd, patchEnd }: { readonly arenaEnd: number; readonly patchEnd: number }): number {
  const { count, bytes, words, patches } = entries;
  // A piece's number says whose it is, and with its start makes one number to sort by.
  const numbers = 2 * count + patchEnd / PATCH_WORDS;
  assert(arenaEnd * numbers <= Number.MAX_SAFE_INTEGER, "start and number of a piece fit a number together");
  const pieces = piecesOf(entries, numbers);
  let end = 0;
  for (const piece of pieces) {
    const start = Math.floor(piece / numbers);
    const number = piece - start * numbers;
    const isPatch = number >= 2 * count;
    const owner = isPatch ? patches : words;
    const at = isPatch ? (number - 2 * count) * PATCH_WORDS + PATCH_START : (number >>> 1) * ENTRY_WORDS + (number % 2 === 0 ? KEY_START : VALUE_START);
    // A length lies behind its start.
    const length = owner[at + 1];
    bytes.copyWithin(end, start, start + length);
    owner[at] = end;
    end += length;
  }
  release(pieces);
  return end;
}

function piecesOf({ count, words, patches }: FoldEntries, numbers: number): Float64Array<ArrayBuffer> {
  const pieces = new Float64Array(numbers);
  let found = 0;
  for (let entry = 0; entry < count; entry += 1) {
    const word = entry * ENTRY_WORDS;
    pieces[found++] = words[word + KEY_START] * numbers + 2 * entry;
    if (words[word + VALUE_LENGTH] > 0) pieces[found++] = words[word + VALUE_START] * numbers + 2 * entry + 1;
    for (let each = words[word + FIRST_PATCH]; each !== 0; each = patches[each + NEXT_PATCH]) {
      pieces[found++] = patches[each + PATCH_START] * numbers + 2 * count + each / PATCH_WORDS;
    }
  }
  return pieces.subarray(0, found).sort();
}
