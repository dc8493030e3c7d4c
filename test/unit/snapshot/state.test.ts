import { expect, test } from "vitest";
import { readHistory } from "../../../lib/checkpoint/control.ts";
import { controlItem, historyItem } from "../../../lib/checkpoint/items.ts";
import type { Attributes } from "../../../lib/ports/checkpoint-store.ts";
import { damagedObject, TidemarkError } from "../../../lib/model/errors.ts";
import { toIndex } from "../../../lib/model/position.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { isDamageOf } from "../../../lib/snapshot/state.ts";
import { appendEach, id, type MemoryWorld, put, withObjects, worldWithTable } from "../jobs/world.ts";
import { request } from "./captures.ts";
import { load, ONE_KEY, outcomeOf, rowsOf } from "./states.ts";

/** Three redo files of one record each, a second apart, and all as large. */
async function worldOfThree(): Promise<MemoryWorld> {
  const world = await worldWithTable();
  for (const name of ["a", "b", "c"]) {
    await appendEach(world, [[put(name, 1)]]);
    world.clock.advance(1_000);
  }
  return world;
}

/** Generations at 1 and 2, and a change behind them. */
async function worldWithGenerations(): Promise<MemoryWorld> {
  const world = await worldWithTable();
  for (const name of ["a", "b"]) {
    await appendEach(world, [[put(name, 1)]]);
    await capture(world, request);
  }
  await appendEach(world, [[put("c", 1)]]);
  return world;
}

async function newest(world: MemoryWorld) {
  const rows = await readHistory(world.checkpoints, id);
  return rows[rows.length - 1];
}

function setControl({ checkpoints }: MemoryWorld, set: Attributes): Promise<unknown> {
  return checkpoints.write([{ item: controlItem(id), when: [], set: { ...set, stamp: "f".repeat(32) } }]);
}

test("a snapshot is damaged where an error says so of it, and not of another object", () => {
  const errors = [
    damagedObject("a", "it is cut"),
    damagedObject("b", "it is cut"),
    new TidemarkError("retry", "no-answer", "the reply was lost", { object: "a" }),
    Object.assign(new Error("a is damaged"), { kind: "repair", object: "a" }),
  ];
  expect(errors.map((error) => isDamageOf(error, "a"))).toEqual([true, false, false, false]);
});

test("a snapshot that is gone is damage while its row is kept", async () => {
  const world = await worldWithGenerations();
  const { key, index, epoch } = await newest(world);
  await world.objects.deleteMany([key]);
  const state = await load(world);
  expect(state.passedOver).toEqual([{ key, index, epoch, reason: expect.stringContaining("it is missing") }]);
  expect([state.index, state.mutations, await rowsOf(state)]).toEqual([3, 2, ["a=1@1", "b=1@2", "c=1@3"]]);
});

test.each(["deleting", "deleted"])("a snapshot that is gone because its generation is %s is no damage: the loading is stale", async (how) => {
  const world = await worldWithGenerations();
  const rows = await readHistory(world.checkpoints, id);
  const item = historyItem(id, rows[1]);
  await world.checkpoints.write([how === "deleted" ? { item, when: [], delete: true } : { item, when: [], set: { state: "deleting" } }]);
  await world.objects.deleteMany([rows[1].key]);
  expect(await outcomeOf(world, { rows })).toEqual({ kind: "stale" });
});

test("a snapshot whose values are of another codec than its table's is passed over", async () => {
  const world = await worldWithGenerations();
  const { passedOver } = await load(world, { codec: "bytes" });
  expect(passedOver.map(({ index, reason }) => [index, reason])).toEqual([
    [2, expect.stringContaining("its values are json, those of its table bytes")],
    [1, expect.stringContaining("its values are json, those of its table bytes")],
  ]);
});

test("loading stops at the first redo file before which it is told to", async () => {
  let asked = 0;
  expect(await outcomeOf(await worldOfThree(), { goOn: async () => ++asked < 2 })).toEqual({ kind: "stopped" });
  expect(asked).toBe(2);
});

test("a log that goes on while its end is looked at is read on", async () => {
  const world = await worldOfThree();
  let isLater = false;
  const moving = withObjects(world, (objects) => ({
    async list(asked) {
      if (!isLater) await appendEach(world, [[put("d", 1)], [put("e", 1)]]);
      isLater = true;
      return objects.list(asked);
    },
  }));
  expect(await load(moving)).toMatchObject({ index: 5, atTail: true, log: { files: 5 } });
});

test("a log that was cleaned while it was read makes the loading stale, though it stopped before the log's end", async () => {
  const world = await worldOfThree();
  const cleaned = withObjects(world, (objects) => ({
    async get(key) {
      await setControl(world, { lowWater: 2 });
      return objects.get(key);
    },
  }));
  expect(await outcomeOf(cleaned, { bound: { index: toIndex(2) } })).toEqual({ kind: "stale" });
});

test("a generation gives its own state without a log, whatever became of that", async () => {
  const world = await worldWithGenerations();
  await setControl(world, { lowWater: 4 });
  expect(await load(world, { bound: { index: toIndex(2) } })).toMatchObject({ index: 2, mutations: 0, log: { files: 0 } });
});

test("each redo file that is replayed is told, and how many mutations came with it", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await capture(world, request);
  await appendEach(world, [[put("b", 1), put("c", 1)], [put("d", 1)]]);
  const before = world.events.length;
  await load(world);
  expect(world.events.slice(before)).toEqual([
    { kind: "replayed", shard: "players/0", mutations: 2, redoFile: 2 },
    { kind: "replayed", shard: "players/0", mutations: 3, redoFile: 4 },
  ]);
});

test("no redo file is read behind the one in which the time asked for lies", async () => {
  const world = await worldOfThree();
  const { timeMs } = await load(world, { bound: { index: toIndex(1) } });
  expect(await load(world, { bound: { timeMs } })).toMatchObject({ index: 1, atTail: false, log: { files: 2 } });
});

test("a long log is cut at the end of the redo file with which it is too long, but not before what it must pass", async () => {
  const world = await worldOfThree();
  const logBytes = (await load(world)).log.rawBytes / 3;
  const indexes: number[] = [];
  for (const asked of [
    { logBytesMax: logBytes },
    { logBytesMax: logBytes + 1 },
    { logBytesMax: 1, past: toIndex(1) },
    { logBytesMax: 1, past: toIndex(2) },
    { logBytesMax: 1_000_000, foldBytesMax: ONE_KEY },
    { foldBytesMax: ONE_KEY },
  ])
    indexes.push((await load(world, asked)).index);
  expect(indexes).toEqual([1, 2, 2, 3, 1, 3]);
});
