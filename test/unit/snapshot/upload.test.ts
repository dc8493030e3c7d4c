import { expect, test } from "vitest";
import { readControl } from "../../../lib/checkpoint/control.ts";
import { controlItem, tailItem } from "../../../lib/checkpoint/items.ts";
import { sweep } from "../../../lib/cleanup/sweep.ts";
import { LEASE_TTL_MS } from "../../../lib/model/limits.ts";
import { toIndex } from "../../../lib/model/position.ts";
import { POLICY_DEFAULTS } from "../../../lib/model/table.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { appendEach, id, noAnswer, put, START_MS, withObjects } from "../jobs/world.ts";
import { checkpointIndex, counting, killedAfter, killedWithoutRelease, request, worldWithLog } from "./captures.ts";

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

test("an adopted capture ends at its own target, though the log went on", async () => {
  const world = await worldWithLog();
  await killedAfter(world, 2);
  await appendEach(world, [[put("later", 1)]]);
  expect(await capture(world, request)).toMatchObject({ kind: "completed", index: 120, more: true });
  expect(await capture(world, request)).toMatchObject({ kind: "completed", index: 121, mutations: 1, more: false });
});

test.each([
  ["parts of another size", { sizes: { partBytes: 8_192 } }],
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

test("an adopted capture whose log is no longer what it was begun with is refused, by the name of the redo file", async () => {
  const world = await worldWithLog();
  await killedAfter(world, 2);
  const last = [...world.objects.objects.keys()]
    .filter((key) => key.endsWith(".redo"))
    .sort()
    .slice(-1);
  await world.objects.deleteMany(last);
  await world.checkpoints.write([{ item: tailItem(id), when: [], delete: true }]);
  await expect(capture(world, request)).rejects.toMatchObject({ kind: "repair", object: last[0] });
  expect(await checkpointIndex(world)).toBeUndefined();
});
