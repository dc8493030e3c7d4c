import { expect, test } from "vitest";
import { readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { controlItem, tailItem } from "../../../lib/checkpoint/items.ts";
import { sweep } from "../../../lib/cleanup/sweep.ts";
import { LEASE_TTL_MS } from "../../../lib/model/limits.ts";
import { toIndex } from "../../../lib/model/position.ts";
import { POLICY_DEFAULTS } from "../../../lib/model/table.ts";
import type { ItemChange } from "../../../lib/ports/checkpoint-store.ts";
import { recover } from "../../../lib/recovery/recover.ts";
import { capture, type CaptureRequest } from "../../../lib/snapshot/capture.ts";
import {
  appendEach,
  appendTogether,
  contentOf,
  id,
  losingReply,
  type MemoryWorld,
  noAnswer,
  noise,
  put,
  START_MS,
  stored,
  withObjects,
  worldWithTable,
} from "../jobs/world.ts";

/** Small parts: several for a snapshot of some records. */
const request: CaptureRequest = { id, codec: "json", partBytes: 4_096 };

/** A world whose snapshot takes several parts. */
async function worldWithLog(): Promise<MemoryWorld> {
  const world = await worldWithTable();
  for (let file = 0; file < 3; file++) await appendEach(world, [Array.from({ length: 40 }, (_, i) => put(`key-${file}-${i}`, noise(file * 40 + i, 300)))]);
  return world;
}

async function current(world: MemoryWorld): Promise<readonly string[]> {
  return contentOf(await recover(world, { id, codec: "json" }));
}

async function checkpointIndex(world: MemoryWorld): Promise<number | undefined> {
  return (await readControl(world.checkpoints, id))?.checkpoint?.index;
}

/** Stops after so many parts were stored, as a killed function would: the lease stays. */
async function killedAfter(world: MemoryWorld, parts: number): Promise<number> {
  let sent = 0;
  const killed = withObjects(world, (objects) => ({
    async uploadPart(part) {
      if (sent === parts) throw noAnswer();
      sent++;
      return objects.uploadPart(part);
    },
  }));
  await expect(capture(killed, request)).rejects.toMatchObject({ kind: "retry" });
  return sent;
}

/** Counts the parts that are sent. */
function counting(world: MemoryWorld): { readonly world: MemoryWorld; readonly numbers: number[] } {
  const numbers: number[] = [];
  const counted = withObjects(world, (objects) => ({
    async uploadPart(part) {
      numbers.push(part.number);
      return objects.uploadPart(part);
    },
  }));
  return { world: counted, numbers };
}

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

/** A capture that dies with its lease: neither parts nor release are answered. */
async function killedWithoutRelease(world: MemoryWorld): Promise<void> {
  let dead = false;
  const silent: MemoryWorld = {
    ...world,
    objects: {
      ...world.objects,
      async uploadPart(part) {
        if (part.number < 3) return world.objects.uploadPart(part);
        dead = true;
        throw noAnswer();
      },
    },
    checkpoints: {
      ...world.checkpoints,
      async write(changes) {
        if (dead) throw noAnswer();
        return world.checkpoints.write(changes);
      },
      async get(key) {
        if (dead) throw noAnswer();
        return world.checkpoints.get(key);
      },
    },
  };
  await expect(capture(silent, request)).rejects.toMatchObject({ kind: "retry" });
}

test("a lease that lapsed is taken, the capture under it adopted, and its stored parts are not sent again", async () => {
  const world = await worldWithLog();
  await killedWithoutRelease(world);
  world.clock.advance(LEASE_TTL_MS);
  const record = (await readControl(world.checkpoints, id))?.capture;
  const { world: counted, numbers } = counting(world);
  const outcome = await capture(counted, request);
  expect(outcome).toMatchObject({ kind: "completed", index: 120, key: record?.key });
  expect(numbers[0]).toBe(3);
  expect(numbers.length).toBeGreaterThan(1);
  expect(await readControl(world.checkpoints, id)).toMatchObject({ epoch: 2, checkpoint: { index: 120 } });
  expect(world.objects.uploads.size).toBe(0);
});

test("a capture that is told to stop is aborted, releases its lease, and the next one goes on with its parts", async () => {
  const world = await worldWithLog();
  const controller = new AbortController();
  const stopping = withObjects(world, (objects) => ({
    async createUpload(key) {
      controller.abort();
      return objects.createUpload(key);
    },
  }));
  expect(await capture(stopping, { ...request, signal: controller.signal })).toMatchObject({ kind: "aborted" });
  expect(await readControl(world.checkpoints, id)).toMatchObject({ lease: { untilMs: START_MS }, capture: { born: 1 } });
  expect(await capture(world, request)).toMatchObject({ kind: "completed", index: 120 });
});

test("a capture that is told to stop before it reads the log is aborted", async () => {
  const world = await worldWithLog();
  expect(await capture(world, { ...request, signal: AbortSignal.abort() })).toMatchObject({ kind: "aborted" });
  expect(await checkpointIndex(world)).toBeUndefined();
});

test("an adopted capture ends at its own target, though the log went on", async () => {
  const world = await worldWithLog();
  await killedAfter(world, 2);
  await appendEach(world, [[put("later", 1)]]);
  expect(await capture(world, request)).toMatchObject({ kind: "completed", index: 120, more: true });
  expect(await capture(world, request)).toMatchObject({ kind: "completed", index: 121, mutations: 1, more: false });
});

test.each([
  ["parts of another size", { partBytes: 8_192 }],
  ["an encoder of another version", {}],
])("a capture that would write other bytes starts afresh: %s", async (why, change) => {
  const world = await worldWithLog();
  await killedAfter(world, 2);
  if (why.startsWith("an encoder")) {
    const item = await world.checkpoints.get(controlItem(id));
    await world.checkpoints.write([{ item: controlItem(id), when: [], set: { capture: { ...(item?.attributes.capture as object), encoderVersion: "0" } } }]);
  }
  const { world: counted, numbers } = counting(world);
  expect(await capture(counted, { ...request, ...change })).toMatchObject({ kind: "completed", index: 120 });
  expect(numbers[0]).toBe(1);
});

test("a log longer than one capture may fold takes several, each at the end of a redo file", async () => {
  const world = await worldWithTable();
  await appendTogether(world, [[put("a", "x".repeat(50))], [put("b", "x".repeat(50))]]);
  await appendEach(world, [[put("c", "x".repeat(50))], [put("d", "x".repeat(50))]]);
  const small = { ...request, foldBytesMax: 1 };
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

test("a part that was written over clears the record, so that the next capture succeeds", async () => {
  const world = await worldWithLog();
  const zombie = withObjects(world, (objects) => ({
    async completeUpload(upload) {
      await objects.uploadPart({ ...upload, number: 1, body: Buffer.from("zombie") });
      return objects.completeUpload(upload);
    },
  }));
  expect(await capture(zombie, request)).toMatchObject({ kind: "aborted", reason: expect.stringContaining("starts afresh") });
  const control = await readControl(world.checkpoints, id);
  expect([control?.capture, control?.lease, control?.checkpoint]).toEqual([undefined, undefined, undefined]);
  expect(await capture(world, request)).toMatchObject({ kind: "completed", index: 120 });
  await sweep(world, { id, policy: POLICY_DEFAULTS });
  expect(world.objects.uploads.size).toBe(0);
});

test("an upload that cleanup ended clears the record", async () => {
  const world = await worldWithLog();
  await killedAfter(world, 2);
  for (const [uploadId, { key }] of [...world.objects.uploads]) await world.objects.abortUpload({ key, uploadId });
  expect(await capture(world, request)).toMatchObject({ kind: "aborted" });
  expect(await capture(world, request)).toMatchObject({ kind: "completed", index: 120 });
});

test("an object that is not what was encoded never becomes the checkpoint", async () => {
  const world = await worldWithLog();
  const rotten = withObjects(world, (objects) => ({
    async completeUpload(upload) {
      const outcome = await objects.completeUpload(upload);
      world.objects.damage(upload.key, (body) => body.fill(0, 100, 101));
      return outcome;
    },
  }));
  expect(await capture(rotten, request)).toMatchObject({ kind: "aborted" });
  expect(await checkpointIndex(world)).toBeUndefined();
  expect(await capture(world, request)).toMatchObject({ kind: "completed", index: 120 });
});

test.each(["done", "not-done"] as const)("a lost reply of the completion is settled by the object (%s)", async (effect) => {
  const world = await worldWithLog();
  let lost = false;
  const losing = withObjects(world, (objects) => ({
    async completeUpload(upload) {
      if (lost) return objects.completeUpload(upload);
      lost = true;
      if (effect === "done") await objects.completeUpload(upload);
      throw noAnswer();
    },
  }));
  await expect(capture(losing, request)).rejects.toMatchObject({ kind: "retry" });
  const { world: counted, numbers } = counting(world);
  expect(await capture(counted, request)).toMatchObject({ kind: "completed", index: 120, bytesSent: 0 });
  expect(numbers).toEqual([]);
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
  const fenced = withObjects(world, (objects) => ({
    async uploadPart(part) {
      if (part.number === 2) await world.checkpoints.write([{ item: controlItem(id), when: [], set: { epoch: 7, stamp: "e".repeat(32) } }]);
      return objects.uploadPart(part);
    },
  }));
  expect(await capture(fenced, request)).toEqual({ kind: "outOfDate" });
  expect(world.checkpoints.items.filter(({ key }) => key.sort.startsWith("part#")).length).toBe(1);
});

test("a capture that finds its record lost to another records no upload, and is out of date", async () => {
  const world = await worldWithLog();
  const fenced = withObjects(world, (objects) => ({
    async createUpload(key) {
      await world.checkpoints.write([{ item: controlItem(id), when: [], set: { epoch: 7, stamp: "e".repeat(32) } }]);
      return objects.createUpload(key);
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

test("two captures on one upload write the same bytes", async () => {
  const world = await worldWithLog();
  const bodies = new Map<number, string>();
  let adopted = false;
  const watched = withObjects(world, (objects) => ({
    async uploadPart(part) {
      const known = bodies.get(part.number);
      if (known !== undefined) expect(Buffer.from(part.body).toString("hex")).toBe(known);
      bodies.set(part.number, Buffer.from(part.body).toString("hex"));
      if (part.number === 2 && !adopted) {
        adopted = true;
        world.clock.advance(LEASE_TTL_MS);
        expect(await capture(watched, request)).toMatchObject({ kind: "completed", index: toIndex(120) });
      }
      return objects.uploadPart(part);
    },
  }));
  expect(["outOfDate", "aborted"]).toContain((await capture(watched, request)).kind);
  expect(await checkpointIndex(world)).toBe(120);
});

test("a damaged redo file stops a capture by its name, and the lease is let go", async () => {
  const world = await worldWithLog();
  const prefix = `players/0/${(await readControl(world.checkpoints, id))?.incarnation}/`;
  const key = `${prefix}redo/0000000000000041.redo`;
  world.objects.damage(key, (body) => body.subarray(0, body.length - 1));
  await expect(capture(world, request)).rejects.toMatchObject({ kind: "repair", object: key });
  expect((await readControl(world.checkpoints, id))?.lease?.untilMs).toBe(START_MS);
});
