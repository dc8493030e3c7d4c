// What the two stores hold: snapshots and uploads beside the redo files, and the items of a shard.

import type { Border, Fold } from "./values.ts";

/** Names a snapshot of a life: its index, and the epoch that created it. */
export interface SnapshotName {
  readonly life: number;
  readonly index: number;
  readonly epoch: number;
}

export interface Snapshot extends SnapshotName {
  /** What its bytes are a function of: base and target; "mixed" where its parts disagree. */
  readonly of: string;
  readonly fold: Fold;
  readonly rotten: boolean;
  /** All that is rotten was carried over from the base. */
  readonly carriedRot: boolean;
}

export interface Part {
  readonly number: number;
  readonly of: string;
  readonly etag: number;
  readonly rotten: boolean;
}

export interface Upload extends SnapshotName {
  readonly id: number;
  readonly parts: readonly Part[];
}

export interface Generation extends SnapshotName {
  readonly border: Border;
}

/** A capture under way: what a later holder of the lease needs to go on with it. */
export interface CaptureRecord extends SnapshotName {
  readonly upload: number;
  readonly target: Border;
  readonly base: SnapshotName | undefined;
  readonly sections: number;
}

export interface Control {
  /** Another one after each write. */
  readonly stamp: number;
  readonly life: number;
  readonly epoch: number;
  readonly mark: number;
  readonly checkpoint: Generation | undefined;
  readonly record: CaptureRecord | undefined;
}

export interface Row extends Generation {
  readonly state: "kept" | "deleting";
  readonly verified: boolean;
  /** Who holds it. */
  readonly pins: readonly number[];
}

/** A stored part, or, with number 0 of a section, that the section is done. */
export interface PartItem {
  readonly epoch: number;
  readonly upload: number;
  readonly section: number;
  readonly number: number;
  readonly etag: number;
}

/** An object that values name, stored below the sequence of the batch that is to name it. */
export interface Attachment {
  readonly life: number;
  readonly sequence: number;
  readonly name: string;
}

export interface Hint {
  readonly life: number;
  readonly border: Border;
}

export function sameName(a: SnapshotName, b: SnapshotName | undefined): boolean {
  return b !== undefined && a.index === b.index && a.epoch === b.epoch && a.life === b.life;
}

export function snapshotText({ index, epoch }: SnapshotName): string {
  return `snapshots/${index}-e${epoch}`;
}

export function attachmentText({ name }: Attachment): string {
  return `attached/${name}`;
}
