// What a view says of itself, how it holds its generation, and where recovering gives up.

import { describe, expect, test } from "vitest";
import { readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { controlItem, historyItem } from "../../../lib/checkpoint/items.ts";
import { TidemarkError } from "../../../lib/model/errors.ts";
import { PIN_TTL_MS, RECOVER_ATTEMPTS_MAX } from "../../../lib/model/limits.ts";
import { snapshotShard } from "../../../lib/jobs/snapshot.ts";
import { toIndex } from "../../../lib/model/position.ts";
import { recover, type RecoverRequest, type ShardView } from "../../../lib/recovery/recover.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import {
  appendEach,
  contentOf,
  id,
  type MemoryWorld,
  memoryWorld,
  noAnswer,
  put,
  START_MS,
  withCheckpoints,
  withObjects,
  worldWithTable,
} from "../jobs/world.ts";

const request: RecoverRequest = { id, codec: "json" };
const at = (index: number): RecoverRequest => ({ ...request, at: { index: toIndex(index) } });
const atTime = (timeMs: number): RecoverRequest => ({ ...request, at: { timeMs } });

/** Files of one mutation of a key each, from 1 to 5, captured behind 2 and behind 4. */
async function worldWithHistory(): Promise<MemoryWorld> {
  const world = await worldWithTable();
  for (const index of [1, 2, 3, 4, 5]) {
    await appendEach(world, [[put(`k${index}`, index)]]);
    if (index % 2 === 0) await capture(world, { id, codec: "json" });
    world.clock.advance(1_000);
  }
  return world;
}

const pinsOf = async (world: MemoryWorld) => (await readHistory(world.checkpoints, id)).map(({ pins }) => Object.values(pins));

test("a view says what it is of: generation, log behind it, and how many rows there are at most", async () => {
  const world = await worldWithHistory();
  const { from, replayed, rowsMax, final, passedOver, timeMs } = await recover(world, request);
  expect({ from, replayed, rowsMax, final, passedOver, timeMs }).toEqual({
    ...{ from: 4, replayed: 1, rowsMax: 5, final: true, passedOver: [], timeMs: START_MS + 4_000 },
  });
  const old = await recover(world, at(1));
  expect([old.from, old.replayed, old.rowsMax, old.position]).toEqual([0, 1, 1, { redoFile: 1, batchOffset: 0 }]);
  expect((await recover(world, at(4))).position).toBeUndefined();
});

test("a shard that was never opened is empty at index 0 and at any time, of which only the index is final", async () => {
  const world = memoryWorld();
  const empty = { index: 0, timeMs: 0, from: 0, replayed: 0, passedOver: [], rowsMax: 0 };
  expect(await recover(world, request)).toMatchObject({ ...empty, final: true });
  expect(await recover(world, at(0))).toMatchObject({ ...empty, final: true });
  const view = await recover(world, atTime(START_MS));
  expect(view).toMatchObject({ ...empty, final: false });
  expect([await view.keep(), await view.close()]).toEqual([false, undefined]);
  await expect(recover(world, at(3))).rejects.toMatchObject({
    code: "out-of-range",
    message: expect.stringContaining("index 3 lies beyond the tail of players/0, which is 0"),
  });
});

test("a shard that was opened and never took a batch is empty too", async () => {
  const world = await worldWithTable();
  const failing = withObjects(world, () => ({ createIfAbsent: async () => Promise.reject(noAnswer()) }));
  await expect(appendEach(failing, [[put("a", 1)]])).rejects.toMatchObject({ kind: "retry" });
  expect(await readControl(world.checkpoints, id)).toBeDefined();
  const view = await recover(world, request);
  expect([view.index, view.final, await contentOf(view)]).toEqual([0, true, []]);
  await expect(recover(world, at(1))).rejects.toMatchObject({ code: "out-of-range" });
});

describe("a hold", () => {
  test("is of the generation that is read, renewed for as long as at first, and dropped when the view is closed", async () => {
    const world = await worldWithHistory();
    const view = await recover(world, { ...at(3), pinned: true });
    expect(await pinsOf(world)).toEqual([[world.clock.now() + PIN_TTL_MS], []]);
    world.clock.advance(1_000);
    expect(await view.keep()).toBe(true);
    expect(await pinsOf(world)).toEqual([[world.clock.now() + PIN_TTL_MS], []]);
    await view.close();
    expect(await pinsOf(world)).toEqual([[], []]);
  });

  /** Captures what is appended meanwhile, and lets go of what nobody holds: the generation that is read as well, but for its pin. */
  async function goOn(world: MemoryWorld): Promise<void> {
    world.clock.advance(PIN_TTL_MS / 2);
    await appendEach(world, [[put("later", world.clock.now())]]);
    await snapshotShard(world, { id });
  }

  test.each<readonly [string, (view: ShardView) => AsyncIterable<unknown>]>([
    ["records", (view) => view.rows()],
    ["the bytes of a file", (view) => view.snapshotFile()],
  ])("lasts while %s are read, however long that takes", async (_, read) => {
    const world = await worldWithTable();
    await appendEach(world, [Array.from({ length: 3_000 }, (_, n) => put(`k${n}`, n))]);
    await capture(world, { id, codec: "json" });
    const [{ key }] = await readHistory(world.checkpoints, id);
    const view = await recover(world, { ...request, pinned: true });
    for await (const _ of read(view)) await goOn(world);
    await view.close();
    expect((await world.objects.head(key)).kind).toBe("found");
    for (let more = 0; more < 2; more++) await goOn(world);
    expect((await world.objects.head(key)).kind).toBe("absent");
  });

  test("that could not be renewed once is renewed the next time: the reading goes on meanwhile", async () => {
    const world = await worldWithHistory();
    let full = false;
    const filling = withCheckpoints(world, (checkpoints) => ({
      write: async (changes) => (full ? Promise.reject(new TidemarkError("wait", "no-space", "no space is left")) : checkpoints.write(changes)),
    }));
    const view = await recover(filling, { ...at(3), pinned: true });
    const held = await pinsOf(world);
    full = true;
    world.clock.advance(PIN_TTL_MS / 3);
    expect([await contentOf(view), await pinsOf(world)]).toEqual([["k1=1@1", "k2=2@2", "k3=3@3"], held]);
    full = false;
    world.clock.advance(PIN_TTL_MS / 3);
    expect((await view.get(Buffer.from("k1")))?.value.toString()).toBe("1");
    expect(await pinsOf(world)).toEqual([[world.clock.now() + PIN_TTL_MS], []]);
  });

  test.each(["retry", "wait"] as const)("that cannot be dropped lapses: what was read counts all the same (%s)", async (kind) => {
    const world = await worldWithHistory();
    let failing = false;
    const faulty = withCheckpoints(world, (checkpoints) => ({
      write: async (changes) => (failing ? Promise.reject(new TidemarkError(kind, "fault", "it cannot be written")) : checkpoints.write(changes)),
    }));
    const view = await recover(faulty, { ...at(3), pinned: true });
    failing = true;
    await view.close();
    expect((await pinsOf(world)).flat()).toHaveLength(1);
  });

  test("lasts while single records are looked up now and then", async () => {
    const world = await worldWithTable();
    await appendEach(world, [[put("a", 1)]]);
    await capture(world, { id, codec: "json" });
    const view = await recover(world, { ...request, pinned: true });
    for (let times = 0; times < 4; times++) {
      await goOn(world);
      expect((await view.get(Buffer.from("a")))?.value.toString()).toBe("1");
    }
  });

  test("is taken where it is asked for, and where there is a generation", async () => {
    const world = await worldWithHistory();
    const views = [await recover(world, request), await recover(world, { ...request, pinned: false }), await recover(world, { ...at(1), pinned: true })];
    expect(await Promise.all(views.map((view) => view.keep()))).toEqual([false, false, false]);
    expect(await pinsOf(world)).toEqual([[], []]);
  });

  /** The world, in which cleanup begins to let the newer generation go once it is opened. */
  async function lettingGo(world: MemoryWorld): Promise<MemoryWorld> {
    const [, newer] = await readHistory(world.checkpoints, id);
    return withObjects(world, (objects) => ({
      async getRange(key, range) {
        const got = await objects.getRange(key, range);
        if (key === newer.key) await world.checkpoints.write([{ item: historyItem(id, newer), when: [], set: { state: "deleting" } }]);
        return got;
      },
    }));
  }

  test("that cannot be had sends the reader of a log to a generation before it", async () => {
    const view = await recover(await lettingGo(await worldWithHistory()), { ...request, pinned: true });
    expect([view.from, view.index, await view.keep()]).toEqual([2, 5, true]);
  });

  test("that cannot be had costs nothing where no log is read", async () => {
    const view = await recover(await lettingGo(await worldWithHistory()), { ...at(4), pinned: true });
    expect([view.from, view.index, await view.keep()]).toEqual([4, 4, false]);
    await view.close();
  });
});

test("a recovery that cleanup passes every time gives up, and asks to try again", async () => {
  const world = await worldWithHistory();
  let passed = false;
  let passes = 0;
  const watched = withObjects(world, (objects) => ({
    async get(key) {
      passed = true;
      return objects.get(key);
    },
  }));
  const raced = withCheckpoints(watched, (checkpoints) => ({
    async get(key) {
      if (key.sort !== controlItem(id).sort || !passed) return checkpoints.get(key);
      passed = false;
      passes += 1;
      return undefined;
    },
  }));
  await expect(recover(raced, request)).rejects.toMatchObject({ kind: "retry", code: "contended", message: expect.stringContaining("players/0") });
  expect(passes).toBe(RECOVER_ATTEMPTS_MAX);
});

test("what is no longer kept is refused with the oldest that is, and when that was", async () => {
  const world = await worldWithHistory();
  await world.checkpoints.write([{ item: controlItem(id), when: [], set: { lowWater: 5 } }]);
  const told = (asked: string, oldest: string) => ({
    kind: "call",
    code: "out-of-range",
    message: expect.stringContaining(`${asked} is no longer kept of players/0: the oldest recoverable state is that at ${oldest}`),
  });
  const oldest = `index 4, of ${new Date(START_MS + 3_000).toISOString()}`;
  await expect(recover(world, at(3))).rejects.toMatchObject(told("index 3", oldest));
  await expect(recover(world, atTime(START_MS))).rejects.toMatchObject(told(new Date(START_MS).toISOString(), oldest));
  await world.checkpoints.write([{ item: controlItem(id), when: [], set: { lowWater: 3 } }]);
  await expect(recover(world, at(1))).rejects.toMatchObject(told("index 1", `index 2, of ${new Date(START_MS + 1_000).toISOString()}`));
  for (const row of await readHistory(world.checkpoints, id)) {
    await world.checkpoints.write([{ item: historyItem(id, row), when: [], set: { state: "deleting" } }]);
  }
  const message = (await recover(world, at(1)).catch((error: Error) => error)) as Error;
  expect(message.message).toMatch(/oldest recoverable state is that at index 1$/);
});

test("generations that are passed over are told once each, whether the opening or the reading showed their damage", async () => {
  const world = await worldWithHistory();
  const [older, newer] = await readHistory(world.checkpoints, id);
  world.objects.damage(newer.key, (body) => body.subarray(1));
  const view = await recover(world, { ...request, pinned: true });
  expect([view.from, view.passedOver.map(({ key }) => key)]).toEqual([2, [newer.key]]);
  world.objects.damage(older.key, (body) => body.fill(0x5a, 4, 40));
  expect(await contentOf(view)).toEqual([1, 2, 3, 4, 5].map((index) => `k${index}=${index}@${index}`));
  expect(view.passedOver.map(({ key }) => key)).toEqual([newer.key, older.key]);
  // The generation that is no longer read is no longer held.
  expect([await pinsOf(world), (await readControl(world.checkpoints, id))?.lowWater]).toEqual([[[], []], 1]);
});

test("of several readings that meet damage together each goes on by the generation before, which is held once", async () => {
  const world = await worldWithHistory();
  const [, newer] = await readHistory(world.checkpoints, id);
  const slow = Promise.withResolvers<void>();
  let asked = 0;
  const uneven = withObjects(world, (objects) => ({
    async getRange(key, range) {
      const got = await objects.getRange(key, range);
      if (key === newer.key && asked++ === 1) await slow.promise;
      return got;
    },
  }));
  const view = await recover(uneven, { ...request, pinned: true });
  world.objects.damage(newer.key, (body) => body.fill(0x5a, 4, 40));
  asked = 0;
  const get = async (key: string): Promise<string | undefined> => (await view.get(Buffer.from(key)))?.value.toString();
  const [one, other, late] = [get("k1"), contentOf(view), get("k2")];
  expect(await one).toBe("1");
  slow.resolve();
  expect(await late).toBe("2");
  expect(await other).toEqual([1, 2, 3, 4, 5].map((index) => `k${index}=${index}@${index}`));
  await view.close();
  expect(await pinsOf(world)).toEqual([[], []]);
});
