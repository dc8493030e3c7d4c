import { expect, test } from "vitest";
import { readControl } from "../../../lib/checkpoint/control.ts";
import { controlItem, jobItem, requestItem } from "../../../lib/checkpoint/items.ts";
import { findRequest, requestCapture } from "../../../lib/jobs/requests.ts";
import { captureShard, cleanupAfter, lastJob, snapshotShard } from "../../../lib/jobs/snapshot.ts";
import { deleteTable } from "../../../lib/jobs/tables.ts";
import { toEpoch } from "../../../lib/model/position.ts";
import { worldWithLog } from "../snapshot/captures.ts";
import {
  appendEach,
  appendTogether,
  id,
  itemsOf,
  memoryWorld,
  noAnswer,
  put,
  remove,
  START_MS,
  withCheckpoints,
  withObjects,
  worldWithTable,
} from "./world.ts";

test("a job tells its stages in order, and its item keeps what it did", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await appendTogether(world, [[put("a", 2)], [put("b", 3), put("c", 4)]]);
  const slow = withObjects(world, (objects) => ({
    async completeUpload(upload) {
      world.clock.advance(250);
      return objects.completeUpload(upload);
    },
  }));
  const report = await snapshotShard(slow, { id });
  expect(report).toMatchObject({ outcome: { kind: "completed", index: 4 }, captures: 1, cleanup: { kind: "cleaned" }, durationMs: 250 });
  expect(world.events.flatMap((event) => (event.kind === "job-stage" ? [event.stage] : []))).toEqual(["snapshot", "cleanup", "complete"]);
  const bytes = report.outcome.kind === "completed" ? report.outcome.bytes : 0;
  expect(world.events.filter(({ kind }) => kind === "captured")).toEqual([
    { kind: "captured", shard: "players/0", index: 4, mutations: 4, rows: 3, bytes, bytesSent: bytes, durationMs: 250 },
  ]);
  expect(await lastJob(world, id)).toEqual({
    stage: "complete",
    startedAtMs: START_MS,
    durationMs: 250,
    outcome: "completed",
    index: 4,
    redoFile: 2,
    batchOffset: 1,
    mutations: 4,
    rows: 3,
    bytes,
    bytesSent: bytes,
  });
});

test("the stage is on the item while it lasts", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  const stages: unknown[] = [];
  const watched = withObjects(world, (objects) => ({
    async createUpload(key, numbers) {
      stages.push((await world.checkpoints.get(jobItem(id)))?.attributes.stage);
      return objects.createUpload(key, numbers);
    },
    async list(request) {
      stages.push((await world.checkpoints.get(jobItem(id)))?.attributes.stage);
      return objects.list(request);
    },
  }));
  await snapshotShard(watched, { id });
  expect([...new Set(stages)]).toEqual(["snapshot", "cleanup"]);
});

test("a log too long for one capture takes several, and they are summed", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)], [put("b", 2)], [put("c", 3)]]);
  const report = await snapshotShard(world, { id, logBytesMax: 1 });
  expect(report).toMatchObject({ outcome: { kind: "completed", index: 3, mutations: 3, rows: 3 }, captures: 3 });
  expect((await readControl(world.checkpoints, id))?.checkpoint?.index).toBe(3);
});

test("with nothing new the run is kept, and cleanup still runs", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await snapshotShard(world, { id });
  const control = await readControl(world.checkpoints, id);
  await world.objects.createUpload(`players/0/${control?.incarnation}/snapshots/0000000000000009-e1.parquet`);
  world.clock.advance(5);
  const report = await snapshotShard(world, { id });
  expect(report).toMatchObject({ outcome: { kind: "ignored", reason: "nothing-new", index: 1 }, captures: 1, cleanup: { kind: "cleaned" } });
  expect(world.objects.uploads.size).toBe(0);
  expect(await lastJob(world, id)).toEqual({ stage: "complete", startedAtMs: START_MS + 5, durationMs: 0, outcome: "ignored" });
});

test("a failure is kept with its stage, and thrown on", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  const failing = withObjects(world, () => ({ createUpload: async () => Promise.reject(noAnswer()) }));
  await expect(snapshotShard(failing, { id })).rejects.toMatchObject({ kind: "retry", code: "no-answer" });
  expect(await lastJob(world, id)).toEqual({ stage: "snapshot", startedAtMs: START_MS, durationMs: 0, outcome: "failed", error: "the reply was lost" });
});

test("a failure of the cleanup keeps what the capture did", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  const failing = withObjects(world, () => ({ listUploads: async () => Promise.reject(noAnswer()) }));
  await expect(snapshotShard(failing, { id })).rejects.toMatchObject({ code: "no-answer" });
  expect(await lastJob(world, id)).toMatchObject({ stage: "cleanup", outcome: "failed", index: 1, mutations: 1, rows: 1, error: "the reply was lost" });
});

test.each(["never made", "deleted", "of fewer shards"])("a shard that is gone is a warning and success: a table %s", async (how) => {
  const world = how === "never made" ? memoryWorld() : await worldWithTable();
  const shard = how === "of fewer shards" ? { ...id, shard: 1 } : id;
  if (how === "deleted") {
    await appendEach(world, [[put("a", 1)]]);
    await deleteTable(world, id.table);
  }
  expect(await snapshotShard(world, { id: shard })).toMatchObject({ outcome: { kind: "ignored", reason: "shard-deleted" }, captures: 0 });
  expect(world.events.filter(({ kind }) => kind === "warning")).toMatchObject([{ shard: `players/${shard.shard}` }]);
  expect(await lastJob(world, shard)).toBeUndefined();
});

test("a shard that was never written gets no items", async () => {
  const world = await worldWithTable();
  expect((await snapshotShard(world, { id })).outcome).toEqual({ kind: "ignored", reason: "nothing-new", index: 0 });
  expect(itemsOf(world).map(({ key }) => key.partition)).toEqual(["tables"]);
});

test("captured by one and cleaned by another, a job ends with its cleanup", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  expect(await captureShard(world, { id })).toMatchObject({ outcome: { kind: "completed", index: 1 }, next: "cleanup" });
  expect(await lastJob(world, id)).toMatchObject({ stage: "cleanup", outcome: "completed", durationMs: 0 });
  world.clock.advance(40);
  expect(await cleanupAfter(world, id)).toMatchObject({ kind: "cleaned" });
  expect(await lastJob(world, id)).toMatchObject({ stage: "complete", outcome: "completed", index: 1, durationMs: 40 });
});

test("a cleanup that comes late, or twice, does not end the job that began meanwhile", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await captureShard(world, { id });
  await world.checkpoints.write([{ item: jobItem(id), when: [], set: { stage: "snapshot" } }]);
  await cleanupAfter(world, id);
  expect(await lastJob(world, id)).toMatchObject({ stage: "snapshot" });
});

test("a cleanup does not end a job that begins between its look and its write", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await captureShard(world, { id });
  const overtaken = withCheckpoints(world, (checkpoints) => ({
    async get(key) {
      const item = await checkpoints.get(key);
      if (key.sort === jobItem(id).sort) await checkpoints.write([{ item: key, when: [], set: { stage: "snapshot" } }]);
      return item;
    },
  }));
  await cleanupAfter(overtaken, id);
  expect(await lastJob(world, id)).toMatchObject({ stage: "snapshot", durationMs: 0 });
});

test("a job begins no more captures than one may, and is gone on with behind them", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)], [put("b", 2)], [put("c", 3)]]);
  const few = { id, logBytesMax: 1, capturesMax: 2 };
  expect(await captureShard(world, few)).toMatchObject({ outcome: { kind: "completed", index: 2, mutations: 2, more: true }, captures: 2, next: "capture" });
  expect(await captureShard(world, few)).toMatchObject({ outcome: { kind: "completed", index: 3, mutations: 1 }, captures: 1 });
});

test("a request ends where another holds its shard", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  const { request } = await requestCapture(world, id);
  const contended = withObjects(world, (objects) => ({
    async createUpload(key, numbers) {
      expect(await captureShard(world, { id, request })).toMatchObject({ outcome: { kind: "rejected" }, next: "nothing" });
      return objects.createUpload(key, numbers);
    },
  }));
  await captureShard(contended, { id });
  expect(await findRequest(world, id, request)).toEqual({
    state: "done",
    outcome: "rejected",
    stage: "cleanup",
    askedAtMs: START_MS,
    startedAtMs: START_MS,
    durationMs: 0,
  });
});

test("a request that has lapsed is not put on record again", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  const { request } = await requestCapture(world, id);
  await world.checkpoints.write([{ item: requestItem(id, request), when: [], delete: true }]);
  expect(await captureShard(world, { id, request })).toMatchObject({ outcome: { kind: "completed" } });
  expect(await world.checkpoints.get(requestItem(id, request))).toBeUndefined();
});

test("a capture that is told to stop asks to be gone on with, and the one that has another's shard asks for nothing", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  expect(await captureShard(world, { id, signal: AbortSignal.abort() })).toMatchObject({ outcome: { kind: "aborted" }, next: "capture" });
  const inside: unknown[] = [];
  const contended = withObjects(world, (objects) => ({
    async createUpload(key, numbers) {
      inside.push(await captureShard(world, { id }));
      return objects.createUpload(key, numbers);
    },
  }));
  expect(await captureShard(contended, { id })).toMatchObject({ outcome: { kind: "completed" }, next: "cleanup" });
  expect(inside).toMatchObject([{ outcome: { kind: "rejected" }, next: "nothing" }]);
});

test("a failed cleanup is kept on the job", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await captureShard(world, { id });
  const broken = withObjects(world, () => ({ list: () => Promise.reject(noAnswer()) }));
  await expect(cleanupAfter(broken, id)).rejects.toThrow();
  expect(await lastJob(world, id)).toMatchObject({ stage: "cleanup", outcome: "failed", index: 1 });
});

/** Row groups and parts of a few records, three sections. */
const wide = { id, sizes: { pageRows: 2, groupBytes: 1_000, partBytes: 3_000, partBytesMin: 1_500, copyBytes: 4_000 }, sections: 3 };

test("a job that is spread names its sections, each of which is a job of its own, and the last one ends the capture", async () => {
  const world = await worldWithLog();
  expect(await captureShard(world, { ...wide, spread: true })).toMatchObject({ outcome: { kind: "completed" }, captures: 1, next: "cleanup" });
  await appendEach(world, [[put("key-0-5", 1), put("key-1-5", 2), put("key-2-5", 3)]]);
  const { request } = await requestCapture(world, id);
  const spread = await captureShard(world, { ...wide, spread: true, request });
  expect(spread).toMatchObject({ outcome: { kind: "spread", sections: [0, 1, 2] }, captures: 1, next: "sections" });
  expect(await findRequest(world, id, request)).toMatchObject({ state: "running" });
  const epoch = spread.outcome.kind === "spread" ? spread.outcome.epoch : toEpoch(0);
  const make = (number: number, signal?: AbortSignal) => captureShard(world, { ...wide, request, section: { epoch, number }, ...(signal && { signal }) });
  expect(await make(0)).toMatchObject({ outcome: { kind: "sectionDone" }, next: "nothing" });
  expect(await findRequest(world, id, request)).toMatchObject({ state: "running" });
  expect(await make(1, AbortSignal.abort())).toMatchObject({ outcome: { kind: "aborted" }, next: "section" });
  expect(await make(1)).toMatchObject({ outcome: { kind: "sectionDone" }, captures: 1, next: "nothing" });
  // It was bound to where the log had ended when it began: whether it goes on is for the next to find.
  expect(await make(2)).toMatchObject({ outcome: { kind: "completed", index: 123 }, captures: 1, next: "capture" });
  expect(await findRequest(world, id, request)).toMatchObject({ state: "running", index: 123 });
  expect(await make(2)).toMatchObject({ outcome: { kind: "outOfDate" }, next: "cleanup" });
});

test("a section that ends the attempt asks for a capture anew", async () => {
  const world = await worldWithLog();
  await captureShard(world, wide);
  await appendEach(world, [Array.from({ length: 40 }, (_, i) => remove(`key-0-${i}`))]);
  const { outcome } = await captureShard(world, { ...wide, spread: true });
  const epoch = outcome.kind === "spread" ? outcome.epoch : toEpoch(0);
  expect(await captureShard(world, { ...wide, section: { epoch, number: 0 } })).toMatchObject({ outcome: { kind: "aborted" }, next: "capture" });
});

test("the cleanup of a job whose section was too short leaves the capture in one to the next job, which makes it", async () => {
  const world = await worldWithLog();
  await captureShard(world, wide);
  await appendEach(world, [Array.from({ length: 40 }, (_, i) => remove(`key-0-${i}`))]);
  expect(await snapshotShard(world, wide)).toMatchObject({ outcome: { kind: "aborted" }, cleanup: { kind: "cleaned", uploads: [] } });
  expect(await snapshotShard(world, wide)).toMatchObject({ outcome: { kind: "completed", index: 160 }, cleanup: { kind: "cleaned" } });
  expect(world.objects.uploads.size).toBe(0);
});

test("a job that finds nothing new is for its cleanup, and a whole one cleans; one of a shard that is gone does neither", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await captureShard(world, { id });
  expect(await captureShard(world, { id })).toMatchObject({ outcome: { kind: "ignored", reason: "nothing-new" }, next: "cleanup" });
  expect(await snapshotShard(world, { id })).toMatchObject({ outcome: { kind: "ignored" }, cleanup: { kind: "cleaned" } });
  await appendEach(world, [[put("a", 2)]]);
  const deleting = withObjects(world, (objects) => ({
    async getRange(key, range) {
      await world.checkpoints.write([{ item: controlItem(id), when: [], delete: true }]);
      return objects.getRange(key, range);
    },
  }));
  expect(await captureShard(deleting, { id }).catch((error: unknown) => error)).toMatchObject({ outcome: { reason: "shard-deleted" }, next: "nothing" });
});

test("what a job did is told once it is done, and only where something was captured", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await snapshotShard(world, { id });
  await snapshotShard(world, { id });
  expect(world.events.filter(({ kind }) => kind === "captured")).toMatchObject([{ shard: "players/0", index: 1, mutations: 1, rows: 1, durationMs: 0 }]);
});

test("the bytes that several captures of a job send and copy are summed", async () => {
  const world = await worldWithLog();
  await captureShard(world, wide);
  await appendEach(world, [[put("key-0-5", 1)], [put("key-1-5", 2)], [put("key-2-5", 3)]]);
  const sent = { put: 0, copied: 0 };
  const counted = withObjects(world, (objects) => ({
    uploadPart(part) {
      sent.put += part.body.length;
      return objects.uploadPart(part);
    },
    copyPart(part) {
      sent.copied += part.source.length;
      return objects.copyPart(part);
    },
  }));
  const { outcome, captures } = await captureShard(counted, { ...wide, sections: 1, logBytesMax: 1 });
  expect([captures, outcome]).toMatchObject([3, { kind: "completed", index: 123, mutations: 3, bytesSent: sent.put, bytesCopied: sent.copied }]);
  expect(sent.copied).toBeGreaterThan(0);
});
