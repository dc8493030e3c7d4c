// What must change together for a shard lives in one control item (rule 2); one history row stands for each snapshot.

import type { LogSize } from "./log-size.ts";
import { type Border, type Epoch, type Index, ORIGIN, type Position } from "./position.ts";
import type { Rates } from "./rates.ts";

/** The newest snapshot, and where the log goes on behind it. Only moves forward (I4). */
export interface Checkpoint {
  readonly index: Index;
  /** The last batch folded; always its redo file's last (rule 13). */
  readonly position: Position;
  readonly border: Border;
  readonly key: string;
  /** Bytes of the object. */
  readonly size: number;
  /** SHA-256 of the object's foot, 64 hex digits, and its bytes: docs/format-snapshot.md says what it covers. */
  readonly footerSha256: string;
  readonly footerBytes: number;
}

/** A capture under way: what a later holder of the lease needs to go on with it (rule 15). */
export interface CaptureRecord {
  readonly key: string;
  readonly uploadId: string;
  /** Epoch that created the upload; the key carries it. */
  readonly born: Epoch;
  readonly target: Border;
  /** Key of the generation it is made from; absent where it is made from the log alone. */
  readonly base?: string;
  /** Whether every row group is encoded, and none carried over. */
  readonly full: boolean;
  /** Both must equal the adopter's own, or its bytes would differ. */
  readonly encoderVersion: string;
  readonly sizes: string;
  /** Where it is cut into sections, made side by side: the base's row group that each begins with. */
  readonly sections?: readonly number[];
  readonly startedAtMs: number;
  /** How many bytes the snapshot will have, about: those of its base, and those of the log. */
  readonly bytesExpected: number;
  /** Of the row groups that are read back once the upload is complete, how many were found sound; absent before the first. */
  readonly readBack?: number;
}

export interface Control {
  /** Changes with every write: a write is conditional on the stamp that its writer saw. */
  readonly stamp: string;
  readonly incarnation: string;
  readonly epoch: Epoch;
  readonly lease?: { readonly owner: string; readonly untilMs: number };
  readonly checkpoint?: Checkpoint;
  /** Redo names at or above it are never freed in this incarnation. */
  readonly lowWater: Index;
  readonly capture?: CaptureRecord;
}

/** A generation: one snapshot that was committed. */
export interface HistoryRow extends Checkpoint {
  readonly epoch: Epoch;
  /** `deleting` never goes back. */
  readonly state: "kept" | "deleting";
  /** Who holds it, each with the time (ms since 1970) at which the hold lapses. */
  readonly pins: Readonly<Record<string, number>>;
  /** Every byte was read back after the upload and hashed equal to what was encoded. */
  readonly verified: boolean;
  readonly rows: number;
  readonly mutations: number;
  readonly capturedAtMs: number;
}

/** The published tail: a belief that was validated when it was written (rule 7); may lag. */
export interface TailHint {
  readonly incarnation: string;
  readonly border: Border;
  /** Next index of the last capture the hint knows of, and when that was. */
  readonly capturedNext: Index;
  readonly capturedAtMs: number;
  /** Since when the planner has found the shard due, and when it last asked for a capture; absent again after one. */
  readonly dueSinceMs?: number;
  readonly askedAtMs?: number;
  /** All redo files of this life up to the border, or those since an older version wrote. Like all that follows a hint for the planner alone. */
  readonly log: LogSize;
  /** Those of them that a capture holds, or about so many. */
  readonly capturedLog: Pick<LogSize, "files" | "bytes">;
  /** Of the newest snapshot; absent before the first, and where an older version made it. */
  readonly snapshotBytes?: number;
  /** All that the captures of this life have sent. */
  readonly sentBytes: number;
  readonly rates: Rates;
}

/** Where the log goes on behind the newest snapshot. */
export function checkpointBorder(control: Control): Border {
  return control.checkpoint?.border ?? ORIGIN;
}
