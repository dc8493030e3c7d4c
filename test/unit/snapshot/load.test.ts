import { expect, test } from "vitest";
import { readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { controlItem, historyItem } from "../../../lib/checkpoint/items.ts";
import { sweep } from "../../../lib/cleanup/sweep.ts";
import { CAPTURE_LOG_BYTES_MAX, LEASE_TTL_MS } from "../../../lib/model/limits.ts";
import { POLICY_DEFAULTS } from "../../../lib/model/table.ts";
import { verifyShard } from "../../../lib/recovery/verify.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { logBytesMaxFor } from "../../../lib/snapshot/load.ts";
import { appendEach, current, id, keysOf, type MemoryWorld, put, START_MS, withCheckpoints, withObjects, worldWithTable } from "../jobs/world.ts";
import { checkpointIndex, killedAfter, request, worldWithLog } from "./captures.ts";

const policy = { ...POLICY_DEFAULTS, keepSnapshots: 2, compactionOverhead: 0 };

/** A world whose log begins behind its second generation, with a file behind the third. */
async function worldWithShortLog(): Promise<MemoryWorld> {
  const world = await worldWithTable();
  for (let round = 0; round < 3; round++) {
    await appendEach(world, [[put("a", round)]]);
    await capture(world, request);
  }
  await sweep(world, { id, policy });
  await appendEach(world, [[put("a", 3)]]);
  return world;
}

test("a capture takes a log of twice its base's bytes, and never less than of a small one", () => {
  expect([0, CAPTURE_LOG_BYTES_MAX / 2, CAPTURE_LOG_BYTES_MAX / 2 + 1, CAPTURE_LOG_BYTES_MAX].map(logBytesMaxFor)).toEqual([
    CAPTURE_LOG_BYTES_MAX,
    CAPTURE_LOG_BYTES_MAX,
    CAPTURE_LOG_BYTES_MAX + 2,
    2 * CAPTURE_LOG_BYTES_MAX,
  ]);
});

test("a checkpoint without any generation that its log goes on from is damage, and named so", async () => {
  const world = await worldWithShortLog();
  expect((await readControl(world.checkpoints, id))?.lowWater).toBeGreaterThan(1);
  for (const row of await readHistory(world.checkpoints, id)) await world.checkpoints.write([{ item: historyItem(id, row), when: [], delete: true }]);
  await expect(capture(world, request)).rejects.toMatchObject({ kind: "repair", code: "missing-history", message: expect.stringContaining("players/0") });
});

test("a capture whose log is freed while it loads is out of date", async () => {
  const world = await worldWithShortLog();
  let passed = false;
  const stalled = withObjects(world, (objects) => ({
    async get(key) {
      if (!passed) {
        passed = true;
        world.clock.advance(LEASE_TTL_MS);
        for (let round = 4; round < 7; round++) {
          expect(await capture(world, request)).toMatchObject({ kind: "completed" });
          await appendEach(world, [[put("a", round)]]);
        }
        await sweep(world, { id, policy });
      }
      return objects.get(key);
    },
  }));
  expect(await capture(stalled, request)).toEqual({ kind: "outOfDate" });
  expect([passed, await checkpointIndex(world)]).toEqual([true, 6]);
});

test("who goes on with a capture folds only what lies behind its parts: the log is read once where the rest of it fits", async () => {
  const world = await worldWithLog();
  const expected = await current(world);
  await killedAfter(world, 6);
  const keys: string[] = [];
  const counted = withObjects(world, (objects) => ({
    get(key) {
      keys.push(key);
      return objects.get(key);
    },
  }));
  expect(await capture(counted, { ...request, foldBytesMax: 10_000 })).toMatchObject({ kind: "completed", index: 120, rows: 120 });
  expect(keys).toEqual(keysOf(world).filter((key) => key.endsWith(".redo")));
  expect(await current(world)).toEqual(expected);
  expect((await verifyShard(world, { id, codec: "json" })).findings).toEqual([]);
});

test("and reads it again for each range of keys that its memory takes, if that is little", async () => {
  const world = await worldWithLog();
  await killedAfter(world, 2);
  let gets = 0;
  const counted = withObjects(world, (objects) => ({
    get(key) {
      gets++;
      return objects.get(key);
    },
  }));
  expect(await capture(counted, { ...request, foldBytesMax: 20_000 })).toMatchObject({ kind: "completed", index: 120, rows: 120 });
  expect(gets).toBeGreaterThan(3 * 2);
  expect((await verifyShard(world, { id, codec: "json" })).findings).toEqual([]);
});

test("a capture that was overtaken before it had the lease finds nothing new, and lets the lease go", async () => {
  const world = await worldWithLog();
  let overtaken = false;
  const slow = withCheckpoints(world, (checkpoints) => ({
    async write(changes) {
      if (!overtaken) {
        overtaken = true;
        expect(await capture(world, request)).toMatchObject({ kind: "completed", index: 120 });
      }
      return checkpoints.write(changes);
    },
  }));
  expect(await capture(slow, request)).toEqual({ kind: "ignored", reason: "nothing-new", index: 120 });
  expect(await readControl(world.checkpoints, id)).toMatchObject({ epoch: 2, lease: { untilMs: START_MS } });
});

test("a capture whose lease is taken while it reads the log is out of date", async () => {
  const world = await worldWithLog();
  const fenced = withObjects(world, (objects) => ({
    async get(key) {
      world.clock.advance(LEASE_TTL_MS);
      await world.checkpoints.write([{ item: controlItem(id), when: [], set: { epoch: 9, stamp: "e".repeat(32) } }]);
      return objects.get(key);
    },
  }));
  expect(await capture(fenced, request)).toEqual({ kind: "outOfDate" });
});
