// What a shard has and how it fares, from its items alone: no object is read.

import { readControl, readHistory } from "../checkpoint/control.ts";
import type { CaptureRecord, Checkpoint, HistoryRow } from "../model/control.ts";
import type { ShardId } from "../model/names.ts";
import { type Index, ORIGIN } from "../model/position.ts";
import type { Table } from "../model/table.ts";
import { type Outlook, outlookOf } from "../planner/outlook.ts";
import { type Qualification, qualify } from "../planner/qualify.ts";
import type { Attributes } from "../ports/checkpoint-store.ts";
import type { ItemWorld } from "../ports/world.ts";
import { readTail } from "../redo-log/tail.ts";
import { storedParts } from "../snapshot/upload.ts";
import { lastJob } from "./snapshot.ts";

/** `opened` is false for a shard that was never written; then the rest tells of an empty one. */
export interface ShardStatus {
  readonly shard: number;
  readonly opened: boolean;
  /** Last index that was published; a writer that was killed may have appended more. */
  readonly tail: number;
  readonly lowWater: Index;
  readonly epoch: number;
  readonly checkpoint?: Checkpoint;
  readonly generations: readonly HistoryRow[];
  readonly capturing: boolean;
  /** How far the capture has come that is under way, or waits to be gone on with. */
  readonly progress?: CaptureProgress;
  readonly qualification: Qualification;
  /** By what the shard's captures measured; absent where nothing was published. */
  readonly outlook?: Outlook;
  readonly lastJob?: Attributes;
}

export interface CaptureProgress {
  /** Parts that are stored, and their bytes. */
  readonly parts: number;
  readonly bytes: number;
  /** Of the whole snapshot, about. */
  readonly bytesExpected: number;
  readonly startedAtMs: number;
  /** Since the capture began, over all its workers; absent before the first part. */
  readonly bytesPerSecond?: number;
  /** When it is done at that rate. */
  readonly expectedEndMs?: number;
}

export async function shardStatus(world: ItemWorld, table: Table, shard: number): Promise<ShardStatus> {
  const id: ShardId = { table: table.name, shard };
  const control = await readControl(world.checkpoints, id);
  if (control === undefined) {
    return { shard, opened: false, tail: 0, lowWater: ORIGIN.next, epoch: 0, generations: [], capturing: false, qualification: { kind: "idle" } };
  }
  const hint = await readTail(world.checkpoints, id);
  const generations = await readHistory(world.checkpoints, id);
  const job = await lastJob(world, id);
  const nowMs = world.clock.now();
  const planned = hint && { id, hint };
  const progress = control.capture && (await captureProgress(world, id, control.capture, nowMs));
  return {
    shard,
    opened: true,
    tail: Math.max(hint?.border.next ?? ORIGIN.next, control.checkpoint?.border.next ?? ORIGIN.next) - 1,
    lowWater: control.lowWater,
    epoch: control.epoch,
    ...(control.checkpoint && { checkpoint: control.checkpoint }),
    generations,
    capturing: control.lease !== undefined && control.lease.untilMs > nowMs,
    ...(progress && { progress }),
    qualification: planned === undefined ? { kind: "idle" } : qualify(planned, table, nowMs),
    ...(planned && { outlook: outlookOf(planned, table) }),
    ...(job && { lastJob: job }),
  };
}

async function captureProgress({ checkpoints }: ItemWorld, id: ShardId, record: CaptureRecord, nowMs: number): Promise<CaptureProgress> {
  const stored = [...(await storedParts(checkpoints, id, record)).values()];
  const bytes = stored.reduce((sum, { length }) => sum + length, 0);
  const { bytesExpected, startedAtMs } = record;
  const about = { parts: stored.length, bytes, bytesExpected, startedAtMs };
  const seconds = Math.max(1, nowMs - startedAtMs) / 1_000;
  if (bytes === 0) return about;
  const bytesPerSecond = Math.round(bytes / seconds);
  const leftMs = (Math.max(0, bytesExpected - bytes) / Math.max(1, bytesPerSecond)) * 1_000;
  return { ...about, bytesPerSecond, expectedEndMs: Math.round(nowMs + leftMs) };
}
