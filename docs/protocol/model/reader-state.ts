// How far a reader has come.

import type { Base } from "./bases.ts";
import { EMPTY, type Fold } from "./values.ts";

export interface Reader {
  readonly at: ReaderAt;
  readonly life: number;
  readonly mark: number;
  /** The index that is asked for; NEWEST for the newest. */
  readonly upTo: number;
  readonly pins: boolean;
  readonly bases: readonly Base[];
  readonly fold: Fold;
  readonly hasReadLog: boolean;
  /** What was acknowledged before it began. */
  readonly acknowledged: readonly string[];
  readonly doubt: number;
}

type ReaderAt = "idle" | "rows" | "base" | "log" | "look behind" | "check break" | "check end" | "pin" | "again" | "unpin";

export const NEWEST = 99;

export const IDLE_READER: Reader = {
  at: "idle",
  life: 0,
  mark: 0,
  upTo: 0,
  pins: false,
  bases: [],
  fold: EMPTY,
  hasReadLog: false,
  acknowledged: [],
  doubt: 0,
};
