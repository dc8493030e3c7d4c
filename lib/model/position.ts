// Where things lie in a shard's log. Indexes count mutations from 1 without a gap (design: I5's n).

import { callError } from "./errors.ts";

declare const indexBrand: unique symbol;
declare const epochBrand: unique symbol;

/** The number of a mutation in its shard: 1, 2, 3 …; 0 stands for "before the first". A safe integer. */
export type Index = number & { readonly [indexBrand]: true };

/** The fencing number of a shard's lease; grows with every new holder. 0 before the first. */
export type Epoch = number & { readonly [epochBrand]: true };

export function toIndex(value: number): Index {
  if (!Number.isSafeInteger(value) || value < 0) throw callError("bad-index", `${value} is not an index: use a whole number from 0 to 2^53 - 1`);
  return value as Index;
}

export function toEpoch(value: number): Epoch {
  if (!Number.isSafeInteger(value) || value < 0) throw callError("bad-epoch", `${value} is not an epoch`);
  return value as Epoch;
}

/** (redo file, batch offset): where a batch lies in the log. `redoFile` is the file's first index, `batchOffset` counts from 0. */
export interface Position {
  readonly redoFile: Index;
  readonly batchOffset: number;
}

/**
 * A place between two redo files, and what the file that starts there must continue: its first index,
 * the chain digest of the file before (64 hex digits) and that file's last batch time (ms since 1970).
 */
export interface Border {
  readonly next: Index;
  readonly digest: string;
  readonly timeMs: number;
}

/** The border before the first redo file of a shard that was created empty. */
export const ORIGIN: Border = { next: 1 as Index, digest: "0".repeat(64), timeMs: 0 };
