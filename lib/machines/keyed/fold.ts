// The newest state per key of a stretch of the log: what a capture merges with its base snapshot, and a recovery with
// what it read.
//
// Guarantees: folding mutations m…n and merging the fold with the state at m - 1 gives the state at n, wherever the
// stretches are cut (I5). A put replaces, a delete leaves a tombstone (the base may hold the key), patches are applied
// where the fold knows the value, to a large one many at a time, as each time walks over all of it, and kept in order where it does
// not. Memory is bounded by the live keys, values and kept patches: bytes that were superseded are at most as many as those that
// live (I10). A fold may be of a range of keys alone, and one that has a limit narrows its range to keep it: so a log of any size
// is folded part by part in the memory that there is, and in the same memory, part after part.
// Hot: one arena of bytes, one open-addressing table and typed arrays that grow by doubling; no object per record but
// where a patch is applied. bench/fold.ts measures it.

import { assert } from "../../model/assert.ts";
import { release } from "../../model/memory.ts";
import type { ValueCodec } from "../../model/mutation.ts";
import { type LogRecords, RECORD_DELETE, RECORD_PATCH, RECORD_PUT } from "../../model/rows.ts";
import { compareBytes, copyBytes, successor } from "../../model/bytes.ts";
import {
  ENTRY_WORDS,
  FIRST_PATCH,
  type FoldEntries,
  HASH,
  KEY_LENGTH,
  KEY_START,
  keyOf,
  LAST_PATCH,
  NEXT_PATCH,
  PATCH_LENGTH,
  PATCH_START,
  PATCH_WORDS,
  patchesOf,
  type SortedFold,
  STAMP_INDEX,
  STAMP_NUMBERS,
  STAMP_TIME,
  STATE,
  VALUE_LENGTH,
  VALUE_START,
} from "./entries.ts";
import { hashOf } from "./hash.ts";
import { pack } from "./pack.ts";
import { checkText, patchValue, patchValueByEach, replacesValue } from "./patch.ts";
import { keyOrder } from "./sort.ts";

export type { SortedFold };

export interface KeyedFold {
  /**
   * Records `from` (included) to `to` (excluded) of one batch, in order; `firstIndex` is the index of record `from`.
   * Batches that do not apply (I3) are not handed in.
   */
  apply(records: LogRecords, from: number, to: number, firstIndex: number, timeMs: number): void;
  /** Keys, tombstones included. */
  readonly count: number;
  /** Memory in use, in bytes: what was written, not the room kept for more, which no page stands behind yet. */
  readonly bytes: number;
  /** Keys at or above it are not in the fold; absent where there is no such bound. */
  readonly end: Buffer | undefined;
  /** The entries in key order: a view, good until the next `apply` or `startOver`. */
  sorted(): SortedFold;
  /** Empties the fold, and begins anew with the keys at or above `from`, in the memory that it has. */
  startOver(from: Buffer | undefined): void;
}

const ENTRY_BYTES = ENTRY_WORDS * Uint32Array.BYTES_PER_ELEMENT + STAMP_NUMBERS * Float64Array.BYTES_PER_ELEMENT;
const INITIAL_ENTRIES = 256;
const INITIAL_PATCHES = 16;
const INITIAL_ARENA_BYTES = 64 * 1024;
/** An arena that grows beyond this gets at once what its fold may take: it would be held twice while it is moved. */
const ARENA_DOUBLED_MAX = 4 * 1024 * 1024;
/** Starts are 32-bit words. FOLD_BYTES_MAX keeps folds far below. */
const ARENA_BYTES_MAX = 2 ** 32 - 1;
/** Below so much garbage the arena is not worth compacting. */
const GARBAGE_BYTES_MIN = 64 * 1024;
/** Patches of a value of so many bytes or more wait until they have as many themselves, or until somebody looks. */
const PATCHED_TOGETHER_BYTES_MIN = 8 * 1024;
/** State of an entry that is let go. */
const DROPPED = 0xff;
/** Words of one slot of the hash table: the hash, and the entry's number + 1; 0: free. */
const SLOT_WORDS = 2;

export interface KeyedFoldOptions {
  readonly codec: ValueCodec;
  /** Only keys at or above `from` and below `end`; default: all. */
  readonly from?: Buffer;
  readonly end?: Buffer;
  /** Beyond so much memory the upper half of its keys is let go, and none of them is taken from then on; one key is always kept. */
  readonly bytesMax?: number;
}

export function keyedFold({ codec, from, end: above, bytesMax = Number.POSITIVE_INFINITY }: KeyedFoldOptions): KeyedFold {
  let lowest = from;
  let end = above;
  let count = 0;
  let words = new Uint32Array(INITIAL_ENTRIES * ENTRY_WORDS);
  let stamps = new Float64Array(INITIAL_ENTRIES * STAMP_NUMBERS);
  let slots = new Uint32Array(INITIAL_ENTRIES * 2 * SLOT_WORDS);
  let patches = new Uint32Array(INITIAL_PATCHES * PATCH_WORDS);
  let patchEnd = PATCH_WORDS;
  let freePatch = 0;
  let arena = Buffer.allocUnsafeSlow(INITIAL_ARENA_BYTES);
  let arenaEnd = 0;
  let garbage = 0;
  /** Bytes of the patches that wait, by entry: all of these are in state RECORD_PUT. */
  const waiting = new Map<number, number>();

  function apply(records: LogRecords, from: number, to: number, firstIndex: number, timeMs: number): void {
    for (let record = from; record < to; record += 1) {
      if ((lowest !== undefined || end !== undefined) && !isInRange(records.bytes, records.keyStarts[record], records.keyLengths[record])) continue;
      const entry = entryOf(records.bytes, records.keyStarts[record], records.keyLengths[record]);
      const kind = records.kinds[record];
      if (kind === RECORD_PUT) setValue(entry, records.bytes, records.valueStarts[record], records.valueLengths[record]);
      else if (kind === RECORD_DELETE) setDeleted(entry);
      else patch(entry, records.bytes, records.valueStarts[record], records.valueLengths[record]);
      stamps[entry * STAMP_NUMBERS + STAMP_INDEX] = firstIndex + record - from;
      stamps[entry * STAMP_NUMBERS + STAMP_TIME] = timeMs;
      if (garbage > GARBAGE_BYTES_MIN && garbage > arenaEnd - garbage) compact();
      while (bytesInUse() > bytesMax && count > 1) narrow();
    }
  }

  function isInRange(bytes: Buffer, start: number, length: number): boolean {
    if (lowest !== undefined && compareBytes(bytes, start, length, lowest, 0, lowest.length) < 0) return false;
    return end === undefined || compareBytes(bytes, start, length, end, 0, end.length) < 0;
  }

  function entries(): FoldEntries {
    return { count, bytes: arena, words, stamps, patches };
  }

  function bytesInUse(): number {
    return arenaEnd + count * ENTRY_BYTES + slots.byteLength + patchEnd * patches.BYTES_PER_ELEMENT;
  }

  /** Lets go of the upper half of the keys. */
  function narrow(): void {
    for (const entry of waiting.keys()) patchByAll(entry);
    const order = keyOrder(entries());
    const half = count >>> 1;
    end = Buffer.from(keyOf(entries(), order[half]));
    for (const entry of order.subarray(half)) words[entry * ENTRY_WORDS + STATE] = DROPPED;
    release(order);
    let kept = 0;
    for (let entry = 0; entry < count; entry += 1) {
      if (words[entry * ENTRY_WORDS + STATE] === DROPPED) continue;
      words.copyWithin(kept * ENTRY_WORDS, entry * ENTRY_WORDS, (entry + 1) * ENTRY_WORDS);
      stamps.copyWithin(kept * STAMP_NUMBERS, entry * STAMP_NUMBERS, (entry + 1) * STAMP_NUMBERS);
      kept += 1;
    }
    words.fill(0, kept * ENTRY_WORDS, count * ENTRY_WORDS);
    count = kept;
    slots.fill(0);
    fillSlots();
    compactPatches();
    compact();
    // Beside a key that alone takes more there is room for no other: each that came would have all of it packed again.
    if (count === 1 && bytesInUse() > bytesMax) end = successor(keyOf(entries(), 0));
  }

  /** The key's entry; a new one starts as patches, none yet, of an unknown base. */
  function entryOf(bytes: Buffer, keyStart: number, keyLength: number): number {
    const hash = hashOf(bytes, keyStart, keyLength);
    const mask = slots.length / SLOT_WORDS - 1;
    let slot = hash & mask;
    for (;;) {
      const entry = slots[slot * SLOT_WORDS + 1] - 1;
      if (entry < 0) break;
      if (slots[slot * SLOT_WORDS] === hash && hasKey(entry, bytes, keyStart, keyLength)) return entry;
      slot = (slot + 1) & mask;
    }
    const entry = addEntry(bytes, keyStart, keyLength, hash);
    slots[slot * SLOT_WORDS] = hash;
    slots[slot * SLOT_WORDS + 1] = entry + 1;
    if (count * 2 > mask) growSlots();
    return entry;
  }

  function hasKey(entry: number, bytes: Buffer, keyStart: number, keyLength: number): boolean {
    const word = entry * ENTRY_WORDS;
    if (words[word + KEY_LENGTH] !== keyLength) return false;
    const start = words[word + KEY_START];
    for (let at = 0; at < keyLength; at += 1) {
      if (arena[start + at] !== bytes[keyStart + at]) return false;
    }
    return true;
  }

  function addEntry(bytes: Buffer, keyStart: number, keyLength: number, hash: number): number {
    const entry = count;
    if (words.length < (entry + 1) * ENTRY_WORDS) {
      words = grownWords(words);
      const grown = new Float64Array(stamps.length * 2);
      grown.set(stamps);
      release(stamps);
      stamps = grown;
    }
    count += 1;
    const word = entry * ENTRY_WORDS;
    words[word + KEY_START] = append(bytes, keyStart, keyLength);
    words[word + KEY_LENGTH] = keyLength;
    words[word + STATE] = RECORD_PATCH;
    words[word + HASH] = hash;
    return entry;
  }

  function growSlots(): void {
    const doubled = slots.length * 2;
    release(slots);
    slots = new Uint32Array(doubled);
    fillSlots();
  }

  function fillSlots(): void {
    const mask = slots.length / SLOT_WORDS - 1;
    for (let entry = 0; entry < count; entry += 1) {
      const hash = words[entry * ENTRY_WORDS + HASH];
      let slot = hash & mask;
      while (slots[slot * SLOT_WORDS + 1] !== 0) slot = (slot + 1) & mask;
      slots[slot * SLOT_WORDS] = hash;
      slots[slot * SLOT_WORDS + 1] = entry + 1;
    }
  }

  function setValue(entry: number, bytes: Buffer, start: number, length: number): void {
    const word = entry * ENTRY_WORDS;
    dropPatches(word);
    const oldLength = words[word + VALUE_LENGTH];
    if (length <= oldLength) {
      // Room for it is there: state that changes in place makes no garbage but what it shrinks by.
      copyBytes(bytes, start, length, arena, words[word + VALUE_START]);
      garbage += oldLength - length;
    } else {
      garbage += oldLength;
      words[word + VALUE_LENGTH] = 0;
      words[word + VALUE_START] = append(bytes, start, length);
    }
    words[word + VALUE_LENGTH] = length;
    words[word + STATE] = RECORD_PUT;
  }

  function setDeleted(entry: number): void {
    const word = entry * ENTRY_WORDS;
    dropPatches(word);
    garbage += words[word + VALUE_LENGTH];
    words[word + VALUE_LENGTH] = 0;
    words[word + STATE] = RECORD_DELETE;
  }

  function patch(entry: number, bytes: Buffer, start: number, length: number): void {
    if (codec !== "json") throw new RangeError("a table of bytes has a patch");
    const word = entry * ENTRY_WORDS;
    if (words[word + STATE] === RECORD_PATCH && !replacesValue(bytes, start, start + length)) {
      keepPatch(word, bytes, start, length);
      return;
    }
    const target = words[word + STATE] === RECORD_PUT ? valueOf(word) : undefined;
    const asked = bytes.subarray(start, start + length);
    if (target !== undefined && target.length >= PATCHED_TOGETHER_BYTES_MIN && !replacesValue(bytes, start, start + length)) {
      if (!waiting.has(entry)) checkText(target);
      checkText(asked);
      const together = (waiting.get(entry) ?? 0) + length;
      waiting.set(entry, together);
      keepPatch(word, bytes, start, length);
      if (together > target.length) patchByAll(entry);
      return;
    }
    const value = patchValue(target, asked);
    if (value !== target) setValue(entry, value, 0, value.length);
  }

  function valueOf(word: number): Buffer {
    return arena.subarray(words[word + VALUE_START], words[word + VALUE_START] + words[word + VALUE_LENGTH]);
  }

  /** Applies the patches that wait for the entry. */
  function patchByAll(entry: number): void {
    const word = entry * ENTRY_WORDS;
    const target = valueOf(word);
    const value = patchValueByEach(target, patchesOf(entries(), word));
    dropPatches(word);
    if (value !== undefined && value !== target) setValue(entry, value, 0, value.length);
  }

  function keepPatch(word: number, bytes: Buffer, start: number, length: number): void {
    linkPatch(word, append(bytes, start, length), length);
  }

  function linkPatch(word: number, start: number, length: number): void {
    const added = takePatch();
    patches[added + PATCH_START] = start;
    patches[added + PATCH_LENGTH] = length;
    patches[added + NEXT_PATCH] = 0;
    if (words[word + FIRST_PATCH] === 0) words[word + FIRST_PATCH] = added;
    else patches[words[word + LAST_PATCH] + NEXT_PATCH] = added;
    words[word + LAST_PATCH] = added;
  }

  function takePatch(): number {
    if (freePatch !== 0) {
      const taken = freePatch;
      freePatch = patches[taken + NEXT_PATCH];
      return taken;
    }
    if (patchEnd + PATCH_WORDS > patches.length) patches = grownWords(patches);
    patchEnd += PATCH_WORDS;
    return patchEnd - PATCH_WORDS;
  }

  function dropPatches(word: number): void {
    const first = words[word + FIRST_PATCH];
    if (first === 0) return;
    for (let each = first; each !== 0; each = patches[each + NEXT_PATCH]) garbage += patches[each + PATCH_LENGTH];
    patches[words[word + LAST_PATCH] + NEXT_PATCH] = freePatch;
    freePatch = first;
    waiting.delete(word / ENTRY_WORDS);
    words[word + FIRST_PATCH] = 0;
    words[word + LAST_PATCH] = 0;
  }

  /** Copies bytes to the arena's end; returns where they start. */
  function append(bytes: Buffer, from: number, length: number): number {
    const start = arenaEnd;
    if (start + length > arena.length) growArena(start + length);
    copyBytes(bytes, from, length, arena, start);
    arenaEnd = start + length;
    return start;
  }

  function growArena(bytesNeeded: number): void {
    assert(bytesNeeded <= ARENA_BYTES_MAX, "a fold's keys and values stay below 4 GiB");
    const doubled = arena.length * 2;
    const isForAll = doubled > ARENA_DOUBLED_MAX && doubled < bytesMax && bytesMax <= ARENA_BYTES_MAX;
    const grown = Buffer.allocUnsafeSlow(Math.min(ARENA_BYTES_MAX, Math.max(bytesNeeded, isForAll ? bytesMax : doubled)));
    arena.copy(grown, 0, 0, arenaEnd);
    release(arena);
    arena = grown;
  }

  /** Pays itself: it comes when as many bytes were superseded since the last time as are moved, or when half of what there was is let go. */
  function compact(): void {
    arenaEnd = pack(entries(), { arenaEnd, patchEnd });
    garbage = 0;
  }

  function compactPatches(): void {
    const old = patches;
    patches = new Uint32Array(INITIAL_PATCHES * PATCH_WORDS);
    patchEnd = PATCH_WORDS;
    freePatch = 0;
    for (let word = 0; word < count * ENTRY_WORDS; word += ENTRY_WORDS) {
      let each = words[word + FIRST_PATCH];
      words[word + FIRST_PATCH] = 0;
      for (; each !== 0; each = old[each + NEXT_PATCH]) linkPatch(word, old[each + PATCH_START], old[each + PATCH_LENGTH]);
    }
    release(old);
  }

  function startOver(anew: Buffer | undefined): void {
    lowest = anew;
    end = above;
    words.fill(0, 0, count * ENTRY_WORDS);
    count = 0;
    waiting.clear();
    slots.fill(0);
    patchEnd = PATCH_WORDS;
    freePatch = 0;
    arenaEnd = 0;
    garbage = 0;
  }

  return {
    apply,
    get count() {
      return count;
    },
    get bytes() {
      return bytesInUse();
    },
    get end() {
      return end;
    },
    startOver,
    sorted() {
      for (const entry of waiting.keys()) patchByAll(entry);
      return { ...entries(), order: keyOrder(entries()), ...(end && { end }) };
    },
  };
}

/** Frees a fold, and with it most of what made it. */
export function releaseFold({ bytes, words, stamps, patches, order }: SortedFold): void {
  for (const view of [bytes, words, stamps, patches, order]) release(view);
}

function grownWords(words: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const grown = new Uint32Array(words.length * 2);
  grown.set(words);
  release(words);
  return grown;
}
