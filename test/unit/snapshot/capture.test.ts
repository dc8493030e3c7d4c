import { expect, test } from "vitest";
import { readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { controlItem, tailItem } from "../../../lib/checkpoint/items.ts";
import { sweep } from "../../../lib/cleanup/sweep.ts";
import { deleteTable } from "../../../lib/jobs/tables.ts";
import { LEASE_TTL_MS } from "../../../lib/model/limits.ts";
import { toIndex } from "../../../lib/model/position.ts";
import { POLICY_DEFAULTS } from "../../../lib/model/table.ts";
import type { Attributes, ItemChange } from "../../../lib/ports/checkpoint-store.ts";
import { recover } from "../../../lib/recovery/recover.ts";
import { verifyShard } from "../../../lib/recovery/verify.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import {
  appendEach,
  appendTogether,
  contentOf,
  id,
  losingReply,
  type MemoryWorld,
  noAnswer,
  put,
  START_MS,
  stored,
  withCheckpoints,
  withObjects,
  worldWithTable,
} from "../jobs/world.ts";
import { checkpointIndex, current, killedWithoutRelease, request, worldWithLog } from "./captures.ts";

test("a capture holds exactly the state at its index, and the checkpoint, its row and the tail say so (I5)", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1), put("b", 2)]]);
  await appendTogether(world, [[put("a", 3)], [put("c", 4)]]);
  const outcome = await capture(world, request);
  const control = await readControl(world.checkpoints, id);
  const [row] = await readHistory(world.checkpoints, id);
  expect(outcome).toEqual({
    kind: "completed",
    index: 4,
    position: { redoFile: 3, batchOffset: 1 },
    key: `players/0/${control?.incarnation}/snapshots/0000000000000004-e1.parquet`,
    mutations: 4,
    rows: 3,
    bytes: row.size,
    bytesSent: row.size,
    bytesCopied: 0,
    more: false,
  });
  expect(control).toMatchObject({ epoch: 1, lowWater: 1, checkpoint: { index: 4, border: { next: 5, timeMs: START_MS } } });
  expect([control?.lease, control?.capture]).toEqual([undefined, undefined]);
  expect(row).toEqual({ ...control?.checkpoint, epoch: 1, state: "kept", pins: {}, verified: true, rows: 3, mutations: 4, capturedAtMs: START_MS });
  expect((await world.checkpoints.get(tailItem(id)))?.attributes).toMatchObject({ next: 5, capturedNext: 5, capturedAtMs: START_MS });
  expect((await world.checkpoints.get(tailItem(id)))?.attributes).not.toHaveProperty("dirty");
  const view = await recover(world, { id, codec: "json" });
  expect([view.from, view.replayed, await contentOf(view)]).toEqual([4, 0, ["a=3@3", "b=2@2", "c=4@4"]]);
});

test("with nothing new nothing is written, and the index is told", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await capture(world, request);
  const before = stored(world);
  expect(await capture(world, request)).toEqual({ kind: "ignored", reason: "nothing-new", index: 1 });
  expect(stored(world)).toEqual(before);
});

test("a shard that was never written is left unopened", async () => {
  const world = await worldWithTable();
  const before = stored(world);
  expect(await capture(world, request)).toEqual({ kind: "ignored", reason: "nothing-new", index: 0 });
  expect(stored(world)).toEqual(before);
});

test("a table that is deleted under a capture is not taken for damaged", async () => {
  const world = await worldWithTable();
  for (let round = 0; round < 3; round++) {
    await appendEach(world, [[put("a", round)]]);
    await capture(world, request);
  }
  await sweep(world, { id, policy: { ...POLICY_DEFAULTS, keepSnapshots: 2, compactionOverhead: 0 } });
  await appendEach(world, [[put("a", 3)]]);
  let deletion: Promise<void> | undefined;
  const passed = withCheckpoints(world, (checkpoints) => ({
    async query(asked) {
      deletion ??= deleteTable(world, id.table);
      await deletion;
      return checkpoints.query(asked);
    },
  }));
  expect(await capture(passed, request)).toEqual({ kind: "outOfDate" });
});

test("a shard that is deleted before the lease is ignored", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  const deleted = withObjects(world, (objects) => ({
    async getRange(key, range) {
      await world.checkpoints.write([{ item: controlItem(id), when: [], delete: true }]);
      return objects.getRange(key, range);
    },
  }));
  expect(await capture(deleted, request)).toEqual({ kind: "ignored", reason: "shard-deleted" });
});

test("while another holds the lease a capture is rejected, and writes nothing", async () => {
  const world = await worldWithLog();
  await killedWithoutRelease(world);
  const before = stored(world);
  const outcome = await capture(world, request);
  expect(outcome).toMatchObject({ kind: "rejected", untilMs: START_MS + LEASE_TTL_MS });
  expect(stored(world)).toEqual(before);
});

test("a capture that is told to stop before it reads the log is aborted", async () => {
  const world = await worldWithLog();
  expect(await capture(world, { ...request, signal: AbortSignal.abort() })).toMatchObject({ kind: "aborted" });
  expect(await checkpointIndex(world)).toBeUndefined();
});

test("a log longer than one capture may fold takes several, each at the end of a redo file", async () => {
  const world = await worldWithTable();
  await appendTogether(world, [[put("a", "x".repeat(50))], [put("b", "x".repeat(50))]]);
  await appendEach(world, [[put("c", "x".repeat(50))], [put("d", "x".repeat(50))]]);
  const small = { ...request, logBytesMax: 1 };
  const outcomes = [await capture(world, small), await capture(world, small), await capture(world, small), await capture(world, small)];
  expect(outcomes.map((outcome) => (outcome.kind === "completed" ? [outcome.index, outcome.mutations, outcome.more] : outcome.kind))).toEqual([
    [2, 2, true],
    [3, 1, true],
    [4, 1, true],
    "ignored",
  ]);
});

test("a base that is damaged is passed over for the one before, and told", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await capture(world, request);
  await appendEach(world, [[put("b", 2)]]);
  const second = await capture(world, request);
  await appendEach(world, [[put("c", 3)]]);
  const key = second.kind === "completed" ? second.key : "";
  world.objects.damage(key, (body) => body.fill(0x55, 4, 40));
  expect(await capture(world, request)).toMatchObject({ kind: "completed", index: 3, mutations: 1, rows: 3 });
  expect(world.events.filter(({ kind }) => kind === "fell-back")).toMatchObject([{ damaged: key, to: 1 }]);
  expect(await current(world)).toEqual(["a=1@1", "b=2@2", "c=3@3"]);
});

test("a base that is gone is passed over too", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  const first = await capture(world, request);
  await appendEach(world, [[put("b", 2)]]);
  await world.objects.deleteMany([first.kind === "completed" ? first.key : ""]);
  expect(await capture(world, request)).toMatchObject({ kind: "completed", index: 2, rows: 2 });
});

const takesLease = (changes: readonly ItemChange[]) =>
  changes.some((change) => change.item.sort === "control" && "put" in change && "leaseOwner" in change.put);
const commits = (changes: readonly ItemChange[]) => changes.some(({ item }) => item.sort.startsWith("snapshot#"));

test.each([
  ["the lease", takesLease, "done"],
  ["the lease", takesLease, "not-done"],
  ["the commit", commits, "done"],
  ["the commit", commits, "not-done"],
] as const)("a lost reply of %s is settled by reading (%#, %s)", async (_, picks, effect) => {
  const world = await worldWithLog();
  expect(await capture(losingReply(world, picks, effect), request)).toMatchObject({ kind: "completed", index: 120 });
  expect([await checkpointIndex(world), (await readHistory(world.checkpoints, id)).length]).toEqual([120, 1]);
});

test("a lost reply of the commit that was overtaken by a sweep is still a completed capture", async () => {
  const world = await worldWithLog();
  let lost = false;
  const losing: MemoryWorld = {
    ...world,
    checkpoints: {
      ...world.checkpoints,
      async write(changes) {
        const outcome = await world.checkpoints.write(changes);
        if (lost || !commits(changes)) return outcome;
        lost = true;
        await world.checkpoints.write([{ item: controlItem(id), when: [], set: { stamp: "f".repeat(32) } }]);
        throw noAnswer();
      },
    },
  };
  expect(await capture(losing, request)).toMatchObject({ kind: "completed", index: 120 });
});

test("a fenced capture never advances the checkpoint (I4)", async () => {
  const world = await worldWithLog();
  // The lease lapses while the first is at its upload; another captures, and more is appended and captured.
  let overtaken = false;
  const slow = withObjects(world, (objects) => ({
    async completeUpload(upload) {
      if (!overtaken) {
        overtaken = true;
        world.clock.advance(LEASE_TTL_MS);
        expect(await capture(world, request)).toMatchObject({ kind: "completed", index: 120 });
        await appendEach(world, [[put("later", 1)]]);
        expect(await capture(world, request)).toMatchObject({ kind: "completed", index: 121 });
      }
      return objects.completeUpload(upload);
    },
  }));
  await capture(slow, request);
  expect([await checkpointIndex(world), (await readControl(world.checkpoints, id))?.epoch]).toEqual([121, 3]);
  expect((await readHistory(world.checkpoints, id)).map(({ index }) => index)).toEqual([120, 121]);
});

test("a capture whose lease was taken stores no more parts, and is out of date", async () => {
  const world = await worldWithLog();
  const storedParts = (): number => world.checkpoints.items.filter(({ key }) => key.sort.startsWith("part#")).length;
  let before = 0;
  const fenced = withObjects(world, (objects) => ({
    async uploadPart(part) {
      if (part.number === 4) {
        await world.checkpoints.write([{ item: controlItem(id), when: [], set: { epoch: 7, stamp: "e".repeat(32) } }]);
        before = storedParts();
      }
      return objects.uploadPart(part);
    },
  }));
  expect(await capture(fenced, request)).toEqual({ kind: "outOfDate" });
  expect(before).toBeGreaterThan(0);
  expect(storedParts()).toBe(before);
});

test("a capture that finds its record lost to another records no upload, and is out of date", async () => {
  const world = await worldWithLog();
  const fenced = withObjects(world, (objects) => ({
    async createUpload(key, numbers) {
      await world.checkpoints.write([{ item: controlItem(id), when: [], set: { epoch: 7, stamp: "e".repeat(32) } }]);
      return objects.createUpload(key, numbers);
    },
  }));
  expect(await capture(fenced, request)).toEqual({ kind: "outOfDate" });
  expect((await readControl(world.checkpoints, id))?.capture).toBeUndefined();
});

test("the lease is renewed while parts go up", async () => {
  const world = await worldWithLog();
  const untilMs: unknown[] = [];
  const slow = withObjects(world, (objects) => ({
    async uploadPart(part) {
      world.clock.advance(LEASE_TTL_MS / 3 + 1);
      untilMs.push((await world.checkpoints.get(controlItem(id)))?.attributes.leaseUntilMs);
      return objects.uploadPart(part);
    },
  }));
  expect(await capture(slow, request)).toMatchObject({ kind: "completed" });
  expect(untilMs.length).toBeGreaterThan(2);
});

test("a damaged redo file stops a capture by its name, and the lease is let go", async () => {
  const world = await worldWithLog();
  const prefix = `players/0/${(await readControl(world.checkpoints, id))?.incarnation}/`;
  const key = `${prefix}redo/0000000000000041.redo`;
  world.objects.damage(key, (body) => body.subarray(0, body.length - 1));
  await expect(capture(world, request)).rejects.toMatchObject({ kind: "repair", object: key });
  expect((await readControl(world.checkpoints, id))?.lease?.untilMs).toBe(START_MS);
});

test("a generation that was found damaged no longer counts: cleanup keeps the sound one before it", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await capture(world, request);
  await appendEach(world, [[put("b", 2)]]);
  const second = await capture(world, request);
  await appendEach(world, [[put("c", 3)]]);
  world.objects.damage(second.kind === "completed" ? second.key : "", (body) => body.fill(0x55, 4, 40));
  await capture(world, request);
  await sweep(world, { id, policy: POLICY_DEFAULTS });
  expect((await readHistory(world.checkpoints, id)).map(({ index, verified, state }) => [index, verified, state])).toEqual([
    [1, true, "kept"],
    [2, false, "kept"],
    [3, true, "kept"],
  ]);
  expect(await contentOf(await recover(world, { id, codec: "json", at: { index: toIndex(2) } }))).toEqual(["a=1@1", "b=2@2"]);
});

test("the lease is kept while a long log is read", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)], [put("b", 2)], [put("c", 3)]]);
  const slow = withObjects(world, (objects) => ({
    async get(key) {
      world.clock.advance(LEASE_TTL_MS / 2);
      return objects.get(key);
    },
  }));
  const outcome = capture(slow, request);
  expect(await outcome).toMatchObject({ kind: "completed", index: 3 });
  expect(await readControl(world.checkpoints, id)).toMatchObject({ epoch: 1 });
});

/** A capture that was killed with some parts stored, one of which is altered. */
async function withPart(change: (attributes: Attributes) => Attributes): Promise<MemoryWorld> {
  const world = await worldWithLog();
  await killedWithoutRelease(world);
  const [first] = world.checkpoints.items.filter(({ key }) => key.sort.startsWith("part#"));
  await world.checkpoints.write([{ item: first.key, when: [], put: change(first.attributes) }]);
  world.clock.advance(LEASE_TTL_MS);
  return world;
}

test.each<[string, (attributes: Attributes) => Attributes]>([
  ["has no ETag", ({ etag: _, ...rest }) => rest],
  ["has a length that is no number", (part) => ({ ...part, length: "long" })],
  ["has no length", (part) => ({ ...part, length: 0 })],
  ["has a length beyond every part's", (part) => ({ ...part, length: Number.MAX_SAFE_INTEGER })],
  ["has a CRC-32 that is none", (part) => ({ ...part, crc32: -1 })],
  ["has another ETag", (part) => ({ ...part, etag: "another" })],
  ["is shorter than what its note tells", (part) => ({ ...part, length: 1 })],
])("where a part that is stored %s, the capture ends all the same, if need be by the next", async (_, change) => {
  const world = await withPart(change);
  const outcome = await capture(world, request);
  if (outcome.kind !== "completed") expect(await capture(world, request)).toMatchObject({ kind: "completed" });
  expect(await current(world)).toHaveLength(120);
  expect((await verifyShard(world, { id, codec: "json" })).findings).toEqual([]);
});
