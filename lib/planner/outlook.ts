// What is known of a shard that no capture holds all of (pure): how much log waits, what a recovery would take, from when
// on a capture is due. `qualify` decides by it, `tidemark plan --explain` and `tidemark status` show it. All of it are hints
// that capture and writer left on the tail item: wrong ones cost a capture too early or too late, never a mutation.

import type { TailHint } from "../model/control.ts";
import { CAPTURE_JITTER_PERCENT, CAPTURE_LOG_BYTES_MIN } from "../model/limits.ts";
import { type ShardId, shardName } from "../model/names.ts";
import { ORIGIN } from "../model/position.ts";
import { recoveryOf } from "../model/rates.ts";
import { hashOf, type TablePolicy } from "../model/table.ts";

export type CapturePolicy = Pick<TablePolicy, "captureLogPercent" | "recoverWithinMs" | "captureAfterMutations" | "captureAfterMs">;

export interface Outlook {
  /** Counted from indexes, one per record, and by subtraction, so that those which arrive during a capture stay counted. */
  readonly mutations: number;
  /** The redo files that no capture holds, in stored bytes. */
  readonly log: { readonly files: number; readonly bytes: number };
  /** So many bytes of log make a capture due; absent where the size of the newest snapshot is not known. */
  readonly logDueBytes?: number;
  readonly recovery: RecoveryOutlook;
  /** When a capture is due at the latest, if a mutation waits: the table's interval, less the shard's own jitter. */
  readonly dueAtMs: number;
  /** Bytes stored for each byte appended, in redo files and by captures; absent where nothing was appended. */
  readonly writeAmplification?: number;
}

export interface RecoveryOutlook {
  readonly expectedMs: number;
  /** Of that, reading the snapshot, and replaying the log. */
  readonly snapshotMs: number;
  readonly replayMs: number;
  /** What is expected to take longer makes a capture due: the wanted time, or twice what the snapshot alone takes. */
  readonly dueMs: number;
  /** No capture can keep recovery within the wanted time: the snapshot alone takes more than half of it. */
  readonly outgrown: boolean;
}

export function outlookOf(shard: { readonly id: ShardId; readonly hint: TailHint }, policy: CapturePolicy): Outlook {
  const { id, hint } = shard;
  const mutations = Math.max(0, hint.border.next - hint.capturedNext);
  const files = Math.max(0, hint.log.files - hint.capturedLog.files);
  const bytes = Math.max(0, hint.log.bytes - hint.capturedLog.bytes);
  const logDueBytes = dueBytes(hint, policy);
  const writeAmplification = amplificationOf(hint);
  return {
    mutations,
    log: { files, bytes },
    ...(logDueBytes !== undefined && { logDueBytes }),
    recovery: recoveryOutlook(hint, policy, { files, mutations }),
    dueAtMs: hint.capturedAtMs + intervalOf(id, policy),
    ...(writeAmplification !== undefined && { writeAmplification }),
  };
}

/**
 * A share of the snapshot: then captures send at most 100 / captureLogPercent bytes for each byte of log. Below the floor a
 * small snapshot would be made over and over. Without a snapshot the floor is all.
 */
function dueBytes({ snapshotBytes, capturedNext }: TailHint, { captureLogPercent }: CapturePolicy): number | undefined {
  if (snapshotBytes === undefined && capturedNext > ORIGIN.next) return undefined;
  return Math.max(CAPTURE_LOG_BYTES_MIN, Math.ceil(((snapshotBytes ?? 0) * captureLogPercent) / 100));
}

/**
 * A capture takes the replay away, and not the reading of the snapshot. So where that takes the wanted time or most of it,
 * capturing more often would rewrite the shard without end and never get there; then the log may take as long as the snapshot.
 */
function recoveryOutlook(hint: TailHint, { recoverWithinMs }: CapturePolicy, log: { readonly files: number; readonly mutations: number }): RecoveryOutlook {
  const { snapshotMs, replayMs } = recoveryOf(hint.rates, { snapshotBytes: hint.snapshotBytes ?? 0, ...log });
  const dueMs = Math.max(recoverWithinMs, 2 * snapshotMs);
  return { expectedMs: snapshotMs + replayMs, snapshotMs, replayMs, dueMs, outgrown: dueMs > recoverWithinMs };
}

/** Shorter by a share that is the shard's own, and always the same. */
function intervalOf(id: ShardId, { captureAfterMs }: CapturePolicy): number {
  const share = hashOf(Buffer.from(shardName(id))) / 2 ** 32;
  return captureAfterMs - Math.floor((captureAfterMs * CAPTURE_JITTER_PERCENT * share) / 100);
}

/** Of all that a shard's life has stored. */
function amplificationOf({ log, sentBytes }: TailHint): number | undefined {
  return log.rawBytes === 0 ? undefined : (log.bytes + sentBytes) / log.rawBytes;
}
