// Control items and history rows for the tests of what decides on them.

import type { CaptureRecord, Checkpoint, Control, HistoryRow, TailHint } from "../../../lib/model/control.ts";
import { NO_LOG } from "../../../lib/model/log-size.ts";
import { incarnationPrefix, snapshotKey } from "../../../lib/model/names.ts";
import { type Border, toEpoch, toIndex } from "../../../lib/model/position.ts";

export const shard = { table: "players", shard: 0 };
export const incarnation = "00112233aabbccdd";
export const prefix = incarnationPrefix(shard, incarnation);

export function borderAt(next: number, timeMs = next * 10): Border {
  return { next: toIndex(next), digest: next.toString(16).padStart(64, "0"), timeMs };
}

export function checkpointAt(index: number, epoch = 1): Checkpoint {
  return {
    index: toIndex(index),
    position: { redoFile: toIndex(index), batchOffset: 0 },
    border: borderAt(index + 1),
    key: snapshotKey(prefix, toIndex(index), toEpoch(epoch)),
    size: 1_000 + index,
    footerSha256: "f".repeat(64),
    footerBytes: 512,
  };
}

export function rowAt(index: number, change: Partial<HistoryRow> = {}): HistoryRow {
  const epoch = change.epoch ?? toEpoch(1);
  return { ...checkpointAt(index, epoch), epoch, state: "kept", pins: {}, verified: true, rows: 5, mutations: 7, capturedAtMs: 9, ...change };
}

export function recordAt(index: number, born: number): CaptureRecord {
  return {
    key: snapshotKey(prefix, toIndex(index), toEpoch(born)),
    uploadId: "upload-1",
    born: toEpoch(born),
    target: borderAt(index + 1),
    encoderVersion: "1",
    base: "players/0/00112233aabbccdd/snapshots/0000000000000040-e2.parquet",
    full: false,
    sizes: "1024 1750000 8388608 5242880 268435456",
    startedAtMs: 1_700_000_000_000,
    bytesExpected: 64,
  };
}

export function controlWith(change: Partial<Control> = {}): Control {
  return { stamp: "s".repeat(32), incarnation, epoch: toEpoch(3), lowWater: toIndex(1), ...change };
}

/** A shard with `next - capturedNext` mutations that no capture holds, and no figures of anything else. */
export function hintWith({
  next = 1,
  capturedNext = 1,
  ...change
}: Partial<Omit<TailHint, "capturedNext">> & { next?: number; capturedNext?: number }): TailHint {
  const figures = { log: NO_LOG, capturedLog: { files: 0, bytes: 0 }, sentBytes: 0, rates: {} };
  return { incarnation, border: borderAt(next), capturedNext: toIndex(capturedNext), capturedAtMs: 0, ...figures, ...change };
}
