import { expect, test } from "vitest";
import { readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { controlItem, tailItem } from "../../../lib/checkpoint/items.ts";
import { pair } from "../../../lib/jobs/pair.ts";
import { shardStatus } from "../../../lib/jobs/status.ts";
import { getTable } from "../../../lib/jobs/tables.ts";
import { LEASE_TTL_MS } from "../../../lib/model/limits.ts";
import { STORE_KEY } from "../../../lib/model/names.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { storedParts } from "../../../lib/snapshot/upload.ts";
import { killedWithoutRelease, request, worldWithLog } from "../snapshot/captures.ts";
import { appendEach, id, keysOf, type MemoryWorld, memoryWorld, noAnswer, put, START_MS, withObjects, worldWithTable } from "./world.ts";

const statusOf = async (world: MemoryWorld) => shardStatus(world, await getTable(world, "players"), 0);

test("a shard that was never written is empty, in all that is told of it", async () => {
  expect(await statusOf(await worldWithTable())).toEqual({
    shard: 0,
    opened: false,
    tail: 0,
    lowWater: 1,
    epoch: 0,
    generations: [],
    capturing: false,
    qualification: { kind: "idle" },
  });
});

test("a shard without a checkpoint, a job or a capture tells of none", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  const status = await statusOf(world);
  expect(Object.keys(status).sort()).toEqual(["capturing", "epoch", "generations", "lowWater", "opened", "outlook", "qualification", "shard", "tail"]);
  expect(status).toMatchObject({ tail: 1, capturing: false, qualification: { kind: "waits", mutations: 1 }, outlook: { mutations: 1 } });
});

test("the tail is the published one, or the checkpoint's where that is further or none was published", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)], [put("b", 2)]]);
  await capture(world, { id, codec: "json" });
  await appendEach(world, [[put("c", 3)]]);
  expect((await statusOf(world)).tail).toBe(3);
  await world.checkpoints.write([{ item: tailItem(id), when: [], set: { next: 2 } }]);
  expect((await statusOf(world)).tail).toBe(2);
  await world.checkpoints.write([{ item: tailItem(id), when: [], delete: true }]);
  const unpublished = await statusOf(world);
  expect(unpublished).toMatchObject({ tail: 2, qualification: { kind: "idle" }, generations: await readHistory(world.checkpoints, id) });
  expect("outlook" in unpublished).toBe(false);
});

test("a capture under way tells its parts, how fast they come, and when it is done at that rate", async () => {
  const world = await worldWithLog();
  await killedWithoutRelease(world);
  const record = (await readControl(world.checkpoints, id))?.capture;
  if (record === undefined) throw new Error("the capture left its record");
  const bytes = [...(await storedParts(world.checkpoints, id, record)).values()].reduce((sum, { length }) => sum + length, 0);
  const { bytesExpected } = record;
  expect([bytes > 0, bytesExpected > bytes]).toEqual([true, true]);
  world.clock.advance(2_000);
  const bytesPerSecond = Math.round(bytes / 2);
  const status = await statusOf(world);
  expect([status.capturing, status.progress]).toEqual([
    true,
    {
      parts: 2,
      bytes,
      bytesExpected,
      startedAtMs: START_MS,
      bytesPerSecond,
      expectedEndMs: Math.round(START_MS + 2_000 + ((bytesExpected - bytes) / bytesPerSecond) * 1_000),
    },
  ]);
  // More than was expected: it is done any moment.
  await world.checkpoints.write([{ item: controlItem(id), when: [], set: { capture: { ...(await captureItem(world)), bytesExpected: 1 } } }]);
  expect((await statusOf(world)).progress?.expectedEndMs).toBe(START_MS + 2_000);
  world.clock.advance(LEASE_TTL_MS - 2_000 - 1);
  expect((await statusOf(world)).capturing).toBe(true);
  world.clock.advance(1);
  expect((await statusOf(world)).capturing).toBe(false);
});

async function captureItem(world: MemoryWorld): Promise<object> {
  return (await world.checkpoints.get(controlItem(id)))?.attributes.capture as object;
}

test("a capture without a part has no rate yet", async () => {
  const world = await worldWithLog();
  const killed = withObjects(world, () => ({ uploadPart: () => Promise.reject(noAnswer()) }));
  await expect(capture(killed, request)).rejects.toMatchObject({ kind: "retry" });
  const { progress } = await statusOf(world);
  expect(progress).toEqual({ parts: 0, bytes: 0, bytesExpected: progress?.bytesExpected, startedAtMs: START_MS });
  expect(progress?.bytesExpected).toBeGreaterThan(0);
});

test("a store is made ready by hand, and paired anew where its object was lost", async () => {
  const world = memoryWorld();
  await pair(world);
  const marker = world.objects.objects.get(STORE_KEY);
  expect([marker !== undefined, keysOf(world)]).toEqual([true, []]);
  await world.objects.deleteMany([STORE_KEY]);
  await pair(world);
  expect(world.objects.objects.get(STORE_KEY)).toEqual(marker);
});
