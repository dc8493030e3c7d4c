// A state of the world: what the two stores hold, how far each process has come, and what is true (which no process can see).
// A step replaces what it changes and shares the rest; nothing below the top level is ever changed in place.

import type { Capture } from "./capture-state.ts";
import type { Cleaner } from "./cleaner-state.ts";
import type { Gatherer } from "./gatherer-state.ts";
import type { Reader } from "./reader-state.ts";
import type { Request } from "./request.ts";
import type { Rules } from "./rules.ts";
import type { Attachment, Control, Hint, PartItem, Row, Snapshot, Upload } from "./stored.ts";
import type { RedoFile } from "./values.ts";
import type { Producer, Writer } from "./writer-state.ts";

/** What is true. `log` holds the redo files that own their indexes; it is never shortened while its life lasts. */
export interface Truth {
  readonly life: number;
  readonly log: readonly RedoFile[];
  readonly acknowledged: readonly string[];
  /** First indexes of the redo files that were damaged or lost. */
  readonly damaged: readonly number[];
  /** The promise that a step broke. */
  readonly broken: string;
}

/** What may still happen. */
export interface Left {
  readonly captures: number;
  readonly cleanups: number;
  readonly gatherings: number;
  readonly reads: number;
  readonly crashes: number;
  readonly lost: number;
  readonly late: number;
  readonly damages: number;
  readonly lapses: number;
  readonly deletions: number;
}

export interface World {
  redo: readonly RedoFile[];
  snapshots: readonly Snapshot[];
  uploads: readonly Upload[];
  control: Control | undefined;
  rows: readonly Row[];
  parts: readonly PartItem[];
  attached: readonly Attachment[];
  hint: Hint | undefined;
  writers: readonly Writer[];
  captures: readonly Capture[];
  cleaners: readonly Cleaner[];
  readers: readonly Reader[];
  gatherers: readonly Gatherer[];
  /** Requests without an answer that have not come to the store yet. */
  late: readonly Request[];
  producers: readonly Producer[];
  truth: Truth;
  left: Left;
  /** Stamps and upload ids that were given out. */
  given: number;
  /** The epoch at which a snapshot was last damaged; -1 before. */
  damagedAt: number;
  /** The table is being deleted: no shard of it is opened. */
  deleting: boolean;
}

export interface Bounds extends Left {
  readonly writers: number;
  readonly producers: number;
  readonly sequences: number;
  /** How often one batch is handed to a writer. */
  readonly takes: number;
  /** Batches in one redo file, at most. */
  readonly group: number;
  readonly capturers: number;
  readonly cleaners: number;
  readonly readers: number;
  readonly gatherers: number;
  readonly epochs: number;
  /** Verified generations kept. */
  readonly keep: number;
  readonly overhead: number;
  readonly remembered: number;
  readonly sections: number;
  /** Keys on a page of a listing. */
  readonly page: number;
  /** Whether a capture may stop before the end of the log. */
  readonly cuts: boolean;
  /** Whether a capture loads, and uploads, in one step each: for scenarios about something else. */
  readonly brief: boolean;
  readonly pins: boolean;
  /** Generations that are there at the beginning. */
  readonly begun: number;
  /** Whether writers begin by reading, as those that have not appended yet. */
  readonly fresh: boolean;
  /** What damage there is. */
  readonly damage: "snapshots" | "redo";
  /** Whether what is left at rest is looked at (I7, I9). */
  readonly rest: boolean;
}

export interface Setting {
  readonly bounds: Bounds;
  readonly rules: Rules;
  /** What has happened before: each step by how it begins. */
  readonly prelude: readonly string[];
}

/** What may happen next: `take` changes a copy of the world. */
export interface Step {
  readonly says: string;
  readonly take: (next: World) => void;
}

export function redoAt({ redo }: World, life: number, first: number): RedoFile | undefined {
  return redo.find((file) => file.life === life && file.first === first);
}

/** The control item still shows this life, and a mark at or below `from`: the lemma of the low-water mark. */
export function covers({ control }: World, life: number, from: number): boolean {
  return control !== undefined && control.life === life && control.mark <= from;
}

export function replaced<T>(all: readonly T[], at: number, by: T): readonly T[] {
  return all.map((one, place) => (place === at ? by : one));
}

export function breaks(next: World, promise: string): void {
  if (next.truth.broken === "") next.truth = { ...next.truth, broken: promise };
}
