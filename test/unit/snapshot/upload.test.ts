import { expect, test } from "vitest";
import { readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { controlItem, tailItem } from "../../../lib/checkpoint/items.ts";
import { sweep } from "../../../lib/cleanup/sweep.ts";
import { shardStatus } from "../../../lib/jobs/status.ts";
import { getTable } from "../../../lib/jobs/tables.ts";
import { LEASE_TTL_MS } from "../../../lib/model/limits.ts";
import { toIndex } from "../../../lib/model/position.ts";
import { POLICY_DEFAULTS } from "../../../lib/model/table.ts";
import { verifyShard } from "../../../lib/recovery/verify.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { progressOf } from "../../../lib/snapshot/progress.ts";
import { storedParts } from "../../../lib/snapshot/upload.ts";
import { appendEach, id, noAnswer, noise, put, START_MS, withObjects } from "../jobs/world.ts";
import { checkpointIndex, counting, killedAfter, killedWithoutRelease, request, small, worldWithLog } from "./captures.ts";

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
    async createUpload(key, numbers) {
      controller.abort();
      return objects.createUpload(key, numbers);
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
  expect(await capture(zombie, request)).toMatchObject({ kind: "aborted", reason: expect.stringContaining("written over; the next capture starts afresh") });
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
  expect(await capture(world, request)).toEqual({ kind: "aborted", reason: "its upload was ended; the next capture starts afresh" });
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

test("a status tells how far a capture has come, which the next one goes on with", async () => {
  const world = await worldWithLog();
  await killedWithoutRelease(world);
  world.clock.advance(2_000);
  const table = await getTable(world, id.table);
  const { progress } = await shardStatus(world, table, id.shard);
  expect(progress).toMatchObject({ parts: 2, bytes: 8_192, bytesPerSecond: 4_096 });
  expect(progress?.bytesExpected).toBeGreaterThan(8_192);
  world.clock.advance(LEASE_TTL_MS);
  await capture(world, request);
  expect((await shardStatus(world, table, id.shard)).progress).toBeUndefined();
  expect(world.events).toContainEqual(expect.objectContaining({ kind: "capture-resumed", parts: 2, bytes: 8_192 }));
});

test("who goes on with a capture encodes again no more than what its last part left open", async () => {
  const world = await worldWithLog();
  await capture(world, small);
  await appendEach(world, [Array.from({ length: 40 }, (_, i) => put(`key-1-${i}`, noise(i, 310)))]);
  await killedAfter(world, 4, small);
  const record = (await readControl(world.checkpoints, id))?.capture;
  if (record === undefined) throw new Error("the capture left its record");
  const stored = await storedParts(world.checkpoints, id, record);
  const { parts, done } = progressOf(stored);
  expect(done.length).toBeGreaterThan(0);
  const end = parts.reduce((sum, { length }) => sum + length, 0);
  const ranges: { readonly offset: number; readonly length: number }[] = [];
  const watched = withObjects(world, (objects) => ({
    async getRange(key, range) {
      if (key.endsWith("0000000000000120-e1.parquet")) ranges.push(range);
      return objects.getRange(key, range);
    },
  }));
  expect(await capture(watched, small)).toMatchObject({ kind: "completed", index: 160 });
  // Of the base, beside its foot and page indexes, nothing is read that lies well before where the parts end.
  const base = (await readHistory(world.checkpoints, id))[0];
  const groups = ranges.filter(({ offset, length }) => offset + length < base.size - base.footerBytes && length > 4);
  expect(Math.min(...groups.map(({ offset }) => offset))).toBeGreaterThan(end - small.sizes.partBytes - 3 * small.sizes.groupBytes);
  expect((await verifyShard(world, { id, codec: "json" })).findings).toEqual([]);
});

/** Two generations, of which the newer one is damaged where the next capture carries it over, and a change behind them. */
async function worldWithDamage() {
  const world = await worldWithLog();
  const keyOfNewest = async (): Promise<string> => (await readControl(world.checkpoints, id))?.checkpoint?.key ?? "";
  await capture(world, small);
  const before = await keyOfNewest();
  await appendEach(world, [[put("zz", 1)]]);
  await capture(world, small);
  const damaged = await keyOfNewest();
  world.objects.damage(damaged, (body) => body.fill(0x5a, 9_000, 9_001));
  await appendEach(world, [[put("zzz", 2)]]);
  return { world, before, damaged };
}

async function damageIsPassedOver({ world, damaged }: Awaited<ReturnType<typeof worldWithDamage>>): Promise<void> {
  expect(await capture(world, small)).toMatchObject({ kind: "completed", index: 122 });
  expect((await readHistory(world.checkpoints, id)).map(({ verified }) => verified)).toEqual([true, false, true]);
  const { findings } = await verifyShard(world, { id, codec: "json" });
  expect(findings.map(({ object }) => object)).toEqual([damaged]);
}

test("damage in a row group that is carried over is found by its CRC-32, before the snapshot counts, and the generation before serves", async () => {
  await damageIsPassedOver(await worldWithDamage());
});

test("and it is found as well by who goes on with a capture, whose worker before had copied the damage and ended", async () => {
  const damage = await worldWithDamage();
  const { world, before } = damage;
  // It finds the damage, and ends before it can begin anew from the generation before.
  const killed = withObjects(world, (objects) => ({
    async getRange(key, range) {
      if (key === before) throw noAnswer();
      return objects.getRange(key, range);
    },
  }));
  await expect(capture(killed, small)).rejects.toMatchObject({ kind: "retry" });
  const record = (await readControl(world.checkpoints, id))?.capture;
  if (record === undefined) throw new Error("the capture left its record");
  const stored = await storedParts(world.checkpoints, id, record);
  expect([...stored.values()].some(({ copied, crc32 }) => copied && crc32 !== undefined)).toBe(true);
  await damageIsPassedOver(damage);
});

test("a capture that is told to stop while it reads back notes what it found sound, however little", async () => {
  const world = await worldWithLog();
  const stop = new AbortController();
  let read = 0;
  const stopping = withObjects(world, (objects) => ({
    async getRange(key, range) {
      if (key.endsWith(".parquet") && ++read === 6) stop.abort();
      return objects.getRange(key, range);
    },
  }));
  expect(await capture(stopping, { ...small, sizes: { ...small.sizes, partBytes: 4 * small.sizes.partBytes }, signal: stop.signal })).toMatchObject({
    kind: "aborted",
  });
  expect((await readControl(world.checkpoints, id))?.capture?.readBack).toBeGreaterThan(0);
});

test("who goes on with a capture that was reading back begins where that came to", async () => {
  const world = await worldWithLog();
  const ranges = (counted: { offset: number; length: number }[], failFrom: number) =>
    withObjects(world, (objects) => ({
      async getRange(key, range) {
        if (counted.length >= failFrom) throw noAnswer();
        if (key.endsWith(".parquet")) counted.push(range);
        return objects.getRange(key, range);
      },
    }));
  const first: { offset: number; length: number }[] = [];
  await expect(capture(ranges(first, 20), small)).rejects.toMatchObject({ kind: "retry" });
  const noted = (await readControl(world.checkpoints, id))?.capture?.readBack ?? 0;
  expect(noted).toBeGreaterThan(5);

  const second: { offset: number; length: number }[] = [];
  expect(await capture(ranges(second, Infinity), small)).toMatchObject({ kind: "completed", index: 120 });
  // The row groups lie before the page indexes and the foot, which both read.
  const row = (await readHistory(world.checkpoints, id))[0];
  const groupsOf = (read: readonly { offset: number }[]) => [...new Set(read.map(({ offset }) => offset))].filter((offset) => offset < row.size / 2);
  const again = groupsOf(second).filter((offset) => groupsOf(first).includes(offset));
  expect(again.length).toBeLessThan(groupsOf(first).length / 2);
  expect((await verifyShard(world, { id, codec: "json" })).findings).toEqual([]);
});
