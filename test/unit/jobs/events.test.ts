import { describe, expect, test } from "vitest";
import { controlAttributes, controlItem, historyAttributes, historyItem, jobItem, tailItem } from "../../../lib/checkpoint/items.ts";
import { eventsOf } from "../../../lib/jobs/events.ts";
import type { Control, HistoryRow } from "../../../lib/model/control.ts";
import { toEpoch, toIndex } from "../../../lib/model/position.ts";
import { id, START_MS } from "./world.ts";

const border = { next: toIndex(8), digest: "d".repeat(64), timeMs: START_MS };
const row: HistoryRow = {
  index: toIndex(7),
  position: { redoFile: toIndex(5), batchOffset: 1 },
  border,
  key: "players/0/0123456789abcdef/snapshots/0000000000000007-e2.parquet",
  size: 900,
  footerSha256: "f".repeat(64),
  footerBytes: 512,
  epoch: toEpoch(2),
  state: "kept",
  pins: {},
  verified: false,
  rows: 3,
  mutations: 6,
  capturedAtMs: START_MS,
};
const control: Control = { stamp: "s", incarnation: "0123456789abcdef", epoch: toEpoch(2), lowWater: toIndex(1) };

function ofRow(before: HistoryRow | undefined, after: HistoryRow | undefined) {
  return eventsOf({ key: historyItem(id, row), ...(before && { before: historyAttributes(before) }), ...(after && { after: historyAttributes(after) }) });
}

function ofControl(before: Control | undefined, after: Control | undefined) {
  return eventsOf({ key: controlItem(id), ...(before && { before: controlAttributes(before) }), ...(after && { after: controlAttributes(after) }) });
}

describe("a generation's row", () => {
  test("that comes is a snapshot completed, that goes is one expired", () => {
    const common = { table: "players", shard: 0, index: 7, epoch: 2, key: row.key, bytes: 900, capturedAt: "2023-11-14T22:13:20.000Z" };
    const completed = { id: `completed:${row.key}`, ...common, redoFile: 5, batchOffset: 1, rows: 3, mutations: 6 };
    expect(ofRow(undefined, row)).toEqual([{ type: "SnapshotCompleted", detail: completed }]);
    expect(ofRow(row, undefined)).toEqual([{ type: "SnapshotExpired", detail: { id: `expired:${row.key}`, ...common } }]);
  });

  test("that changes is none", () => {
    expect(ofRow(row, { ...row, verified: true, pins: { a: START_MS } })).toEqual([]);
    expect(ofRow(row, { ...row, state: "deleting" })).toEqual([]);
  });
});

describe("the control item", () => {
  test("whose mark grew tells from where to where the log was let go", () => {
    const detail = { id: "redo-log-expired:players/0/0123456789abcdef/5", table: "players", shard: 0, from: 1, to: 5 };
    expect(ofControl(control, { ...control, lowWater: toIndex(5) })).toEqual([{ type: "RedoLogExpired", detail }]);
  });

  test("that was made, deleted, or changed but for the mark, is none", () => {
    expect(ofControl(undefined, control)).toEqual([]);
    expect(ofControl(control, undefined)).toEqual([]);
    expect(ofControl(control, { ...control, stamp: "t", epoch: toEpoch(3) })).toEqual([]);
  });

  test("of another life is none, for its mark counts other mutations", () => {
    expect(ofControl(control, { ...control, incarnation: "fedcba9876543210", lowWater: toIndex(9) })).toEqual([]);
  });
});

describe("a job", () => {
  const running = { formatVersion: 1, stage: "snapshot", startedAtMs: START_MS, durationMs: 0 };
  const failed = { ...running, durationMs: 9, outcome: "failed", error: "x".repeat(5_000) };

  test("that failed is told once, with what its error has room for", () => {
    const [event, ...others] = eventsOf({ key: jobItem(id), before: running, after: failed });
    expect(others).toEqual([]);
    expect(event).toMatchObject({ type: "SnapshotFailed", detail: { id: `failed:players/0/${START_MS}/snapshot`, stage: "snapshot", durationMs: 9 } });
    expect(String(event.detail.error)).toHaveLength(1_000);
    expect(eventsOf({ key: jobItem(id), before: failed, after: { ...failed, durationMs: 10 } })).toEqual([]);
  });

  test("that begins, or ends well, is none", () => {
    expect(eventsOf({ key: jobItem(id), before: failed, after: running })).toEqual([]);
    expect(eventsOf({ key: jobItem(id), before: running, after: { ...running, stage: "complete", outcome: "completed" } })).toEqual([]);
  });
});

test("other items are none", () => {
  expect(eventsOf({ key: tailItem(id), after: {} })).toEqual([]);
  expect(eventsOf({ key: { partition: "tables", sort: "control" }, after: {} })).toEqual([]);
});
