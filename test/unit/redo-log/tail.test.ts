import { expect, test } from "vitest";
import { readControl } from "../../../lib/checkpoint/control.ts";
import { controlItem, tailItem } from "../../../lib/checkpoint/items.ts";
import { createTable, deleteTable } from "../../../lib/jobs/tables.ts";
import { APPEND_ATTEMPTS_MAX } from "../../../lib/model/limits.ts";
import { NO_LOG } from "../../../lib/model/log-size.ts";
import { ORIGIN, toIndex } from "../../../lib/model/position.ts";
import { findTail, firstBelief, publishAsked, publishCaptured, publishDue, publishTail, readTail } from "../../../lib/redo-log/tail.ts";
import { recover } from "../../../lib/recovery/recover.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { borderAt } from "../checkpoint/samples.ts";
import { appendEach, id, type MemoryWorld, put, START_MS, withCheckpoints, withObjects, worldWithTable } from "../jobs/world.ts";

async function prefixOf(world: MemoryWorld): Promise<string> {
  return `players/0/${(await readControl(world.checkpoints, id))?.incarnation}/`;
}

async function worldWithFiles(files: number): Promise<MemoryWorld> {
  const world = await worldWithTable();
  await appendEach(
    world,
    Array.from({ length: files }, (_, i) => [put("a", i)]),
  );
  return world;
}

const isDirty = async (world: MemoryWorld) => (await world.checkpoints.get(tailItem(id)))?.attributes.dirty !== undefined;

test("a shard that was never written has its tail at the origin", async () => {
  expect((await findTail(await worldWithTable(), id, START_MS)).border).toEqual(ORIGIN);
});

test("the tail is found from the published hint, without reading what lies before it", async () => {
  const world = await worldWithFiles(5);
  const read: string[] = [];
  const watched = withObjects(world, (objects) => ({
    async getRange(key, range) {
      read.push(key);
      return objects.getRange(key, range);
    },
  }));
  const { border } = await findTail(watched, id, START_MS);
  expect([border.next, read]).toEqual([6, [`${await prefixOf(world)}redo/0000000000000006.redo`]]);
});

test("a writer begins at the published tail as it stands, or at the checkpoint where none is published", async () => {
  const world = await worldWithFiles(3);
  const { incarnation, border, log } = await findTail(world, id, START_MS);
  expect(await firstBelief(world, id, START_MS)).toEqual({ incarnation, border, log });
  await capture(world, { id, codec: "json" });
  await world.checkpoints.write([{ item: tailItem(id), when: [], delete: true }]);
  expect(await firstBelief(world, id, START_MS)).toEqual({ incarnation, border, log: NO_LOG });
});

test("a writer that holds a table begins in none of the lives that came after it", async () => {
  const world = await worldWithFiles(1);
  const incarnation = (await readControl(world.checkpoints, id))?.incarnation;
  let looked = false;
  // The table is made anew when all else was read, and before the tail is.
  const raced = withCheckpoints(world, (checkpoints) => ({
    async get(key) {
      if (key.sort === "tail" && !looked) {
        looked = true;
        for (let turn = 0; turn < 30; turn++) await new Promise((resolve) => setImmediate(resolve));
        await deleteTable(world, id.table);
        world.clock.advance(1);
        await createTable(world, { name: id.table });
        await appendEach(world, [[put("a", 1)]]);
      }
      return checkpoints.get(key);
    },
  }));
  expect((await firstBelief(world, id, START_MS, START_MS))?.incarnation).toBe(incarnation);
  expect(await firstBelief(raced, id, START_MS, START_MS)).toBeUndefined();
});

test("a hint that lags is walked past; one of another life is damage, for it is born with the control item", async () => {
  const world = await worldWithFiles(3);
  const { log: _, ...expected } = await findTail(world, id, START_MS);
  await world.checkpoints.write([{ item: tailItem(id), when: [], set: { next: 1, digest: ORIGIN.digest, timeMs: 0 } }]);
  expect(await findTail(world, id, START_MS)).toMatchObject(expected);
  await world.checkpoints.write([{ item: tailItem(id), when: [], set: { incarnation: "f".repeat(16), next: 99 } }]);
  for (const read of [findTail(world, id, START_MS), firstBelief(world, id, START_MS), recover(world, { id, codec: "json" })])
    await expect(read).rejects.toMatchObject({ kind: "repair", code: "damaged-item", object: "shard#players/0 tail" });
});

test("a redo file that is missing is told from the tail, and named", async () => {
  const world = await worldWithFiles(3);
  const key = `${await prefixOf(world)}redo/0000000000000002.redo`;
  await world.objects.deleteMany([key]);
  await world.checkpoints.write([{ item: tailItem(id), when: [], set: { next: 1, digest: ORIGIN.digest, timeMs: 0 } }]);
  await expect(findTail(world, id, START_MS)).rejects.toMatchObject({ kind: "repair", object: key });
});

test("the last redo file that is missing is told by the published tail", async () => {
  const world = await worldWithFiles(3);
  const key = `${await prefixOf(world)}redo/0000000000000003.redo`;
  await world.objects.deleteMany([key]);
  await expect(capture(world, { id, codec: "json" })).rejects.toMatchObject({ kind: "repair", object: key });
});

test("a name that no version makes is no redo file: the log still ends where it ends", async () => {
  const world = await worldWithFiles(2);
  await world.objects.createIfAbsent(`${await prefixOf(world)}redo/notes.txt`, Buffer.from("x"));
  expect((await findTail(world, id, START_MS)).border.next).toBe(3);
});

test("a file that appears between two looks is walked on to", async () => {
  const world = await worldWithFiles(2);
  let appended = false;
  const raced = withObjects(world, (objects) => ({
    async list(request) {
      if (!appended) {
        appended = true;
        await appendEach(world, [[put("b", 1)], [put("c", 2)]]);
      }
      return objects.list(request);
    },
  }));
  expect((await findTail(raced, id, START_MS)).border.next).toBe(5);
});

test("what cleanup freed under a walk makes it start over", async () => {
  const world = await worldWithFiles(4);
  await world.checkpoints.write([{ item: tailItem(id), when: [], set: { next: 1, digest: ORIGIN.digest, timeMs: 0 } }]);
  let passed = false;
  const raced = withObjects(world, (objects) => ({
    async getRange(key, range) {
      if (!passed && key.endsWith("0002.redo")) {
        passed = true;
        await capture(world, { id, codec: "json" });
        await world.checkpoints.write([{ item: controlItem(id), when: [], set: { lowWater: 5 } }]);
        await world.objects.deleteMany([...world.objects.objects.keys()].filter((name) => name.includes("/redo/")));
      }
      return objects.getRange(key, range);
    },
  }));
  expect((await findTail(raced, id, START_MS)).border.next).toBe(5);
});

test("the hint only moves forward, within one life, and marks the shard dirty", async () => {
  const world = await worldWithFiles(3);
  const { incarnation } = await findTail(world, id, START_MS);
  const outcomes = [
    await publishTail(world.checkpoints, id, { incarnation, border: borderAt(4), log: NO_LOG }),
    await publishTail(world.checkpoints, id, { incarnation, border: borderAt(3), log: NO_LOG }),
    await publishTail(world.checkpoints, id, { incarnation: "f".repeat(16), border: borderAt(9), log: NO_LOG }),
    await publishTail(world.checkpoints, id, { incarnation, border: borderAt(9), log: NO_LOG }),
  ];
  expect([outcomes, (await readTail(world.checkpoints, id))?.border, await isDirty(world)]).toEqual([[false, false, false, true], borderAt(9), true]);
});

test("a shard is clean once a capture holds all of its tail, and stays dirty while it does not", async () => {
  const world = await worldWithFiles(3);
  const { incarnation, border } = await findTail(world, id, START_MS);
  await publishCaptured(world.checkpoints, id, { incarnation, border: borderAt(3), atMs: 5, snapshotBytes: 900 });
  const dirty = [await isDirty(world)];
  await publishCaptured(world.checkpoints, id, { incarnation, border, atMs: 6, snapshotBytes: 900 });
  dirty.push(await isDirty(world));
  const { log } = await findTail(world, id, START_MS);
  const capturedLog = { files: log.files, bytes: log.bytes };
  expect([dirty, await readTail(world.checkpoints, id)]).toEqual([
    [true, false],
    { incarnation, border, capturedNext: 4, capturedAtMs: 6, log, capturedLog, snapshotBytes: 900, sentBytes: 0, rates: {} },
  ]);
});

test("a tail that is published behind its own capture leaves the shard clean", async () => {
  const world = await worldWithFiles(1);
  const { incarnation } = await findTail(world, id, START_MS);
  await publishCaptured(world.checkpoints, id, { incarnation, border: (await findTail(world, id, START_MS)).border, atMs: 5, snapshotBytes: 900 });
  // A writer appended 2…8 and was slow to publish; a capture was quicker.
  await publishCaptured(world.checkpoints, id, { incarnation, border: borderAt(9), atMs: 6, snapshotBytes: 900 });
  expect(await publishTail(world.checkpoints, id, { incarnation, border: borderAt(9), log: NO_LOG })).toBe(false);
  expect([await isDirty(world), (await readTail(world.checkpoints, id))?.border.next, (await readTail(world.checkpoints, id))?.capturedNext]).toEqual([
    false,
    9,
    toIndex(9),
  ]);
});

test.each(["logFiles", "logBytes", "logRawBytes", "capturedLogFiles", "capturedLogBytes", "snapshotBytes", "sentBytes"])(
  "a hint whose %s can hold no more stops neither an append nor a capture",
  async (name) => {
    const world = await worldWithFiles(2);
    await capture(world, { id, codec: "json" });
    await world.checkpoints.write([{ item: tailItem(id), when: [{ kind: "present" }], set: { [name]: Number.MAX_SAFE_INTEGER } }]);
    await appendEach(world, [[put("b", 1)]]);
    expect(await capture(world, { id, codec: "json" })).toMatchObject({ kind: "completed", index: 3 });
    expect((await readTail(world.checkpoints, id))?.capturedNext).toBe(4);
  },
);

test("a walk that cleanup passes every time gives up, and asks to try again", async () => {
  const world = await worldWithFiles(1);
  let walks = 0;
  let passed = false;
  const watched = withObjects(world, (objects) => ({
    async getRange(key, range) {
      walks++;
      passed = true;
      return objects.getRange(key, range);
    },
  }));
  const raced = withCheckpoints(watched, (checkpoints) => ({
    async get(key) {
      if (key.sort !== "control" || !passed) return checkpoints.get(key);
      passed = false;
      return undefined;
    },
  }));
  const contended = { kind: "retry", code: "contended", message: expect.stringContaining("players/0") };
  await expect(findTail(raced, id, START_MS)).rejects.toMatchObject(contended);
  expect(walks).toBe(APPEND_ATTEMPTS_MAX);
});

test("a capture that ends late takes nothing back of what a further one told, and one of a shard without a tail tells nothing", async () => {
  const world = await worldWithFiles(5);
  const { incarnation } = await findTail(world, id, START_MS);
  let writes = 0;
  const counted = withCheckpoints(world, (checkpoints) => ({
    async write(changes) {
      writes++;
      return checkpoints.write(changes);
    },
  }));
  await publishCaptured(counted.checkpoints, id, { incarnation, border: borderAt(5), atMs: 5, snapshotBytes: 500 });
  const told = await readTail(world.checkpoints, id);
  await publishCaptured(counted.checkpoints, id, { incarnation, border: borderAt(3), atMs: 6, snapshotBytes: 300 });
  await publishCaptured(counted.checkpoints, id, { incarnation: "f".repeat(16), border: borderAt(9), atMs: 7, snapshotBytes: 900 });
  expect([await readTail(world.checkpoints, id), told?.capturedNext, writes]).toEqual([told, 5, 4]);
  // One that holds everything is told in one write.
  await publishCaptured(counted.checkpoints, id, { incarnation, border: borderAt(6), atMs: 8, snapshotBytes: 600 });
  expect([(await readTail(world.checkpoints, id))?.capturedNext, writes]).toEqual([6, 5]);
  await world.checkpoints.write([{ item: tailItem(id), when: [], delete: true }]);
  await publishCaptured(counted.checkpoints, id, { incarnation, border: borderAt(9), atMs: 9, snapshotBytes: 900 });
  expect([await readTail(world.checkpoints, id), writes]).toEqual([undefined, 5]);
});

test("that a capture is due or asked for is noted once, and not where a capture came meanwhile", async () => {
  const world = await worldWithFiles(3);
  const hint = async () => {
    const read = await readTail(world.checkpoints, id);
    if (read === undefined) throw new Error("a tail is published");
    return read;
  };
  const noted = async () => [(await hint()).dueSinceMs, (await hint()).askedAtMs];
  const first = await hint();
  await publishDue(world.checkpoints, id, first, 10);
  expect(await noted()).toEqual([10, undefined]);
  await publishDue(world.checkpoints, id, await hint(), 20);
  await publishAsked(world.checkpoints, id, await hint(), 30);
  expect(await noted()).toEqual([10, 30]);
  await publishAsked(world.checkpoints, id, { ...first, incarnation: "f".repeat(16) }, 40);
  expect(await noted()).toEqual([10, 30]);
  const { incarnation, border } = first;
  await publishCaptured(world.checkpoints, id, { incarnation, border, atMs: 50, snapshotBytes: 900 });
  expect(await noted()).toEqual([undefined, undefined]);
  await publishDue(world.checkpoints, id, first, 60);
  await publishAsked(world.checkpoints, id, first, 60);
  expect(await noted()).toEqual([undefined, undefined]);
  await publishAsked(world.checkpoints, id, await hint(), 70);
  expect(await noted()).toEqual([70, 70]);
});
