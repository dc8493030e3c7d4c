// What a capture is asked for, and what comes of it.

import type { ValueCodec } from "../model/mutation.ts";
import type { ShardId } from "../model/names.ts";
import type { Epoch, Index, Position } from "../model/position.ts";
import type { CheckpointStore } from "../ports/checkpoint-store.ts";
import type { Clock } from "../ports/clock.ts";
import type { ObjectStore } from "../ports/object-store.ts";
import type { Random } from "../ports/random.ts";
import type { Telemetry } from "../ports/telemetry.ts";
import type { SnapshotSizes } from "./sizes.ts";

export interface CaptureDeps {
  readonly objects: ObjectStore;
  readonly checkpoints: CheckpointStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Telemetry;
}

export interface CaptureRequest {
  readonly id: ShardId;
  readonly codec: ValueCodec;
  /** Memory that the folded log may take at a time; FOLD_BYTES_MAX by default. */
  readonly foldBytesMax?: number;
  /** Bytes of keys and values in the log that one capture takes; CAPTURE_LOG_BYTES_MAX, or twice the base's bytes, by default. */
  readonly logBytesMax?: number;
  /** Encode every row group anew, whatever changed. */
  readonly full?: boolean;
  /** SNAPSHOT_SIZES by default. */
  readonly sizes?: Partial<SnapshotSizes>;
  /** So many sections at most are made of a large base; by default as many as its size is worth, 1 for none. */
  readonly sections?: number;
  /** LEASE_TTL_MS by default. */
  readonly leaseTtlMs?: number;
  /** Stop early, leaving what is done to be adopted by the next capture. */
  readonly signal?: AbortSignal;
  /** Time there is, in ms, until `signal` tells to stop: where reading the log would take too much of it, the log is cut. Default: no end. */
  readonly timeMs?: number;
}

/** What one capture did, for its report. `rows` and `bytes` are those of the whole snapshot. */
export interface Captured {
  readonly index: Index;
  readonly position: Position;
  readonly key: string;
  /** Mutations since the checkpoint before. */
  readonly mutations: number;
  readonly rows: number;
  readonly bytes: number;
  /** Bytes that went to the store, and bytes of the base that it copied by itself: by this worker. */
  readonly bytesSent: number;
  readonly bytesCopied: number;
  /** Whether the log may go on behind the cut point: it was not read to its end. */
  readonly more: boolean;
}

/**
 * `ignored`: nothing new, nothing written; or the shard was deleted. `rejected`: another capture holds the lease.
 * `outOfDate`: another holder came first. `aborted`: stopped before the checkpoint; the next capture goes on or starts afresh.
 */
export type CaptureOutcome =
  | ({ readonly kind: "completed" } & Captured)
  | { readonly kind: "ignored"; readonly reason: "nothing-new"; readonly index: Index }
  | { readonly kind: "ignored"; readonly reason: "shard-deleted" }
  | { readonly kind: "rejected"; readonly owner: string; readonly untilMs: number }
  | { readonly kind: "outOfDate" }
  | { readonly kind: "aborted"; readonly reason: string };

/** These sections are to be made, by anyone, under this epoch. */
export interface Spread {
  readonly kind: "spread";
  readonly epoch: Epoch;
  readonly sections: readonly number[];
}
