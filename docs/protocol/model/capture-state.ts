// How far a capture has come, and what all of its steps are made with.

import { type CaptureRecord, type Control, type Part, type Row, sameName, type SnapshotName } from "./stored.ts";
import { EMPTY, type Fold } from "./values.ts";

export interface Capture {
  readonly at: CaptureAt;
  readonly life: number;
  readonly epoch: number;
  /** As the lease's own write showed them. */
  readonly mark: number;
  readonly index: number;
  readonly record: CaptureRecord | undefined;
  readonly base: Row | undefined;
  readonly fold: Fold;
  readonly parts: readonly Pick<Part, "number" | "etag">[];
  /** Sections that it is to make. */
  readonly wanted: readonly number[];
  /** Bases that it found damaged. */
  readonly damaged: readonly SnapshotName[];
  /** The stamp of a write without an answer. */
  readonly doubt: number;
}

export type CaptureAt =
  | "idle"
  | "lease"
  | "parts"
  | "base"
  | "open"
  | "log"
  | "look behind"
  | "check break"
  | "check load"
  | "create upload"
  | "record"
  | "send"
  | "note"
  | "section"
  | "note section"
  | "note done"
  | "sections"
  | "all done"
  | "tail"
  | "check holder"
  | "complete"
  | "read back"
  | "doubt"
  | "commit"
  | "clear"
  | "delete own"
  | "publish";

export const IDLE_CAPTURE: Capture = {
  at: "idle",
  life: 0,
  epoch: 0,
  mark: 0,
  index: 0,
  record: undefined,
  base: undefined,
  fold: EMPTY,
  parts: [],
  wanted: [],
  damaged: [],
  doubt: 0,
};

export function isHolder({ life, epoch }: Capture, control: Control | undefined): boolean {
  return control?.life === life && control.epoch === epoch;
}

/** What a snapshot's bytes are a function of. */
export function contentOf({ base, target }: Pick<CaptureRecord, "base" | "target">): string {
  return `${base === undefined ? "empty" : `${base.index}-e${base.epoch}`} to ${target.digest}`;
}

export function sameBase(a: SnapshotName | undefined, b: SnapshotName | undefined): boolean {
  return a === undefined ? b === undefined : sameName(a, b);
}
