import { expect, test } from "vitest";
import { readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { controlItem } from "../../../lib/checkpoint/items.ts";
import { sweep } from "../../../lib/cleanup/sweep.ts";
import { createTable, deleteTable } from "../../../lib/jobs/tables.ts";
import { FOLD_BYTES_MAX, PIN_TTL_MS } from "../../../lib/model/limits.ts";
import { toIndex } from "../../../lib/model/position.ts";
import { POLICY_DEFAULTS } from "../../../lib/model/table.ts";
import { recover, type RecoverRequest } from "../../../lib/recovery/recover.ts";
import { decodeRedoHeader, encodeRedoFile } from "../../../lib/redo-log/codec.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import {
  appendEach,
  appendTogether,
  contentOf,
  id,
  type MemoryWorld,
  memoryWorld,
  noise,
  patch,
  put,
  remove,
  START_MS,
  withCheckpoints,
  withObjects,
  worldWithTable,
} from "../jobs/world.ts";

const request: RecoverRequest = { id, codec: "json" };
const at = (index: number): RecoverRequest => ({ ...request, at: { index: toIndex(index) } });
const atTime = (timeMs: number): RecoverRequest => ({ ...request, at: { timeMs } });

/** Indexes 1-2 | 3, 4-5 in one file | 6 | 7 behind the captures at 2 and 5; each file a second after the one before. */
async function worldWithHistory(): Promise<MemoryWorld> {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1), put("b", 1)]]);
  await capture(world, { id, codec: "json" });
  world.clock.advance(1_000);
  await appendTogether(world, [[put("a", 2)], [put("c", 1), remove("b")]]);
  await capture(world, { id, codec: "json" });
  world.clock.advance(1_000);
  await appendEach(world, [[patch("a", { x: 1 })]]);
  world.clock.advance(1_000);
  await appendEach(world, [[put("d", 1)]]);
  return world;
}

const STATES = [
  [],
  [],
  ["a=1@1", "b=1@2"],
  ["a=2@3", "b=1@2"],
  ["a=2@3", "b=1@2"],
  ["a=2@3", "c=1@4"],
  ['a={"x":1}@6', "c=1@4"],
  ['a={"x":1}@6', "c=1@4", "d=1@7"],
] as const;

async function keyOf(world: MemoryWorld, generation: number): Promise<string> {
  return (await readHistory(world.checkpoints, id))[generation].key;
}

async function prefixOf(world: MemoryWorld): Promise<string> {
  return `players/0/${(await readControl(world.checkpoints, id))?.incarnation}/`;
}

test.each([
  [0, 0, 0, 0],
  [1, 0, 0, 0],
  [2, 2, 2, 0],
  [3, 3, 2, 1],
  [4, 3, 2, 1],
  [5, 5, 5, 0],
  [6, 6, 5, 1],
  [7, 7, 5, 2],
])("the state at index %d is that of the last batch at or before it", async (asked, index, from, replayed) => {
  const world = await worldWithHistory();
  const view = await recover(world, at(asked));
  expect([view.index, view.from, view.replayed, view.final, await contentOf(view)]).toEqual([index, from, replayed, true, STATES[asked]]);
});

test("without a moment asked for it is the newest state, with its position", async () => {
  const view = await recover(await worldWithHistory(), request);
  expect([view.index, view.timeMs, view.position, view.final]).toEqual([7, START_MS + 3_000, { redoFile: 7, batchOffset: 0 }, true]);
});

test.each([
  ["before the first batch", -1, 0, true],
  ["exactly at a batch", 0, 2, true],
  ["between batches", 999, 2, true],
  ["at the time of several batches", 1_000, 5, true],
  ["at the last batch, which another may still join", 3_000, 7, false],
  ["behind the last batch", 9_999, 7, false],
])("the state at a time %s", async (_, afterMs, index, final) => {
  const view = await recover(await worldWithHistory(), atTime(START_MS + afterMs));
  expect([view.index, view.final, await contentOf(view)]).toEqual([index, final, STATES[index]]);
});

test("an index beyond the tail is refused, and the tail is told", async () => {
  await expect(recover(await worldWithHistory(), at(8))).rejects.toMatchObject({
    kind: "call",
    code: "out-of-range",
    message: expect.stringContaining("is 7"),
  });
});

test("below the mark only a generation's own index is left, the rest is refused with the oldest that is", async () => {
  const world = await worldWithHistory();
  await appendEach(world, [[put("e", 1)]]);
  await capture(world, { id, codec: "json" });
  await sweep(world, { id, policy: POLICY_DEFAULTS });
  await expect(recover(world, at(4))).rejects.toMatchObject({ kind: "call", code: "out-of-range", message: expect.stringContaining("index 5") });
  expect(await contentOf(await recover(world, at(5)))).toEqual(STATES[5]);
  expect(await contentOf(await recover(world, at(7)))).toEqual(STATES[7]);
});

test("a pinned generation below the mark still gives its own state, and no log is read for it", async () => {
  const world = await worldWithHistory();
  await world.checkpoints.write([{ item: controlItem(id), when: [], set: { lowWater: 6 } }]);
  await world.objects.deleteMany([...world.objects.objects.keys()].filter((key) => key.includes("/redo/")));
  expect(await contentOf(await recover(world, at(2)))).toEqual(STATES[2]);
});

test("a shard that was never written is empty, and has no index to ask for", async () => {
  const world = memoryWorld();
  const view = await recover(world, request);
  expect([view.index, await contentOf(view), await view.get(Buffer.from("a"))]).toEqual([0, [], undefined]);
  await expect(recover(world, at(1))).rejects.toMatchObject({ code: "out-of-range" });
});

test("a key's record is that of its last change, whether in the snapshot or behind it", async () => {
  const world = await worldWithHistory();
  const view = await recover(world, request);
  const records = await Promise.all(["a", "b", "c", "d", "zz"].map(async (key) => view.get(Buffer.from(key))));
  expect(records.map((record) => record && [String(record.value), record.index, record.timeMs - START_MS])).toEqual([
    ['{"x":1}', 6, 2_000],
    undefined,
    ["1", 4, 1_000],
    ["1", 7, 3_000],
    undefined,
  ]);
});

test("a patch of a key that was not there makes it", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[patch("p", { a: 1, b: null })]]);
  expect((await (await recover(world, request)).get(Buffer.from("p")))?.value.toString()).toBe('{"a":1}');
});

test("a view stays what it is, whatever is appended and cleaned meanwhile", async () => {
  const world = await worldWithHistory();
  const view = await recover(world, { ...request, pinned: true });
  for (let i = 0; i < 3; i++) {
    await appendEach(world, [[put("a", `later ${i}`)]]);
    await capture(world, { id, codec: "json" });
    await sweep(world, { id, policy: POLICY_DEFAULTS });
  }
  expect(await contentOf(view)).toEqual(STATES[7]);
});

test("a pin keeps its generation and the log behind it, until the view is closed", async () => {
  const world = await worldWithHistory();
  const view = await recover(world, { ...at(4), pinned: true });
  const held = (await readHistory(world.checkpoints, id))[0];
  for (let i = 0; i < 2; i++) {
    await appendEach(world, [[put("e", i)]]);
    await capture(world, { id, codec: "json" });
  }
  await sweep(world, { id, policy: POLICY_DEFAULTS });
  expect(Object.values(held.pins)).toEqual([world.clock.now() + PIN_TTL_MS]);
  expect([await contentOf(await recover(world, at(4))), (await readControl(world.checkpoints, id))?.lowWater]).toEqual([STATES[4], 3]);
  await view.close();
  await sweep(world, { id, policy: POLICY_DEFAULTS });
  expect((await readHistory(world.checkpoints, id)).map(({ index }) => index)).toEqual([8, 9]);
  await expect(recover(world, at(4))).rejects.toMatchObject({ code: "out-of-range" });
});

test("damage of the newest generation is passed over for the one before, and said (I8)", async () => {
  const world = await worldWithHistory();
  const key = await keyOf(world, 1);
  world.objects.damage(key, (body) => body.subarray(0, body.length - 1));
  const view = await recover(world, request);
  expect([view.from, view.replayed, await contentOf(view), view.passedOver.map((passed) => passed.key)]).toEqual([2, 5, STATES[7], [key]]);
  expect(world.events.filter(({ kind }) => kind === "fell-back")).toMatchObject([{ damaged: key, to: 2 }]);
});

test("a generation that is gone is passed over too, down to the log alone", async () => {
  const world = await worldWithHistory();
  const keys = [await keyOf(world, 0), await keyOf(world, 1)];
  await world.objects.deleteMany(keys);
  const view = await recover(world, request);
  expect([view.from, view.replayed, await contentOf(view), view.passedOver.map(({ key }) => key)]).toEqual([0, 7, STATES[7], [...keys].reverse()]);
});

test("where damage leaves no way, the error names the object", async () => {
  const world = await worldWithHistory();
  await world.checkpoints.write([{ item: controlItem(id), when: [], set: { lowWater: 6 } }]);
  const key = await keyOf(world, 1);
  world.objects.damage(key, (body) => body.subarray(1));
  await expect(recover(world, request)).rejects.toMatchObject({ kind: "repair", message: expect.stringContaining(key) });
});

test("a damaged redo file is an error that names it, and states before it are still had", async () => {
  const world = await worldWithHistory();
  const key = `${await prefixOf(world)}redo/0000000000000006.redo`;
  world.objects.damage(key, (body) => body.fill(0, body.length - 1));
  await expect(recover(world, request)).rejects.toMatchObject({ kind: "repair", object: key });
  expect(await contentOf(await recover(world, at(5)))).toEqual(STATES[5]);
});

test("damage that only the reading of records shows is passed over behind the last key, without repeats", async () => {
  const world = await worldWithTable();
  const many = Array.from({ length: 16_000 }, (_, i) => put(`key-${String(i).padStart(5, "0")}`, noise(i, 700)));
  await appendEach(world, [many.slice(0, 8_000), many.slice(8_000)]);
  await capture(world, { id, codec: "json" });
  await appendEach(world, [[put("key-00001", "changed")]]);
  const expected = await contentOf(await recover(world, request));
  const view = await recover(world, request);
  const content: string[] = [];
  const key = await keyOf(world, 0);
  for await (const rows of view.rows()) {
    content.push(...Array.from({ length: rows.count }, (_, i) => rows.keys.toString("utf8", i === 0 ? 0 : rows.keyEnds[i - 1], rows.keyEnds[i])));
    // The first rows are out: what is read from now on is rotten.
    if (content.length === rows.count) world.objects.damage(key, (body) => body.fill(0x5a, Math.floor(0.8 * body.length), Math.floor(0.85 * body.length)));
  }
  expect(content).toEqual(expected.map((row) => row.slice(0, row.indexOf("="))));
  expect(view.passedOver.map((passed) => passed.key)).toEqual([key]);
  expect((await view.get(Buffer.from("key-00001")))?.value.toString()).toBe('"changed"');
});

test("who reads what was the newest state, and finds it damaged and the way around it cleaned, is sent for the newest", async () => {
  const world = await worldWithHistory();
  const [newest, asked] = [await recover(world, request), await recover(world, at(7))];
  await appendEach(world, [[put("e", 1)]]);
  await capture(world, { id, codec: "json" });
  await sweep(world, { id, policy: POLICY_DEFAULTS });
  const key = await keyOf(world, 0);
  world.objects.damage(key, (body) => body.fill(0x5a, 4, 40));
  await expect(contentOf(newest)).rejects.toMatchObject({ kind: "retry", code: "expired-state" });
  await expect(contentOf(asked)).rejects.toMatchObject({ kind: "repair", object: key });
  expect(await contentOf(await recover(world, request))).toEqual([...STATES[7], "e=1@8"]);
});

test("who reads what was the newest state, and has been passed by cleanup altogether, asked for nothing that is no longer kept", async () => {
  const world = await worldWithTable();
  // More than memory folds at once: of the last key's the log is read again.
  const large = "x".repeat(FOLD_BYTES_MAX / 4);
  await appendEach(
    world,
    ["a", "b", "c", "d", "e"].map((key) => [put(key, large.slice(key.length + 2))]),
  );
  const [newest, asked] = [await recover(world, request), await recover(world, at(5))];
  for (let number = 0; number < 3; number++) {
    await appendEach(world, [[put("f", number)]]);
    await capture(world, { id, codec: "json" });
  }
  await sweep(world, { id, policy: POLICY_DEFAULTS });
  await expect(newest.get(Buffer.from("e"))).rejects.toMatchObject({ kind: "retry", code: "expired-state" });
  await expect(asked.get(Buffer.from("e"))).rejects.toMatchObject({ kind: "call", code: "out-of-range" });
});

test("damage of the only snapshot, met while it is read, stays damage", async () => {
  const world = await worldWithHistory();
  const view = await recover(world, request);
  const key = await keyOf(world, 1);
  await world.checkpoints.write([{ item: controlItem(id), when: [], set: { lowWater: 6 } }]);
  world.objects.damage(key, (body) => body.fill(0x5a, 4, 40));
  await expect(contentOf(view)).rejects.toMatchObject({ kind: "repair", object: key });
});

test("a view does not go on with another life of its shard", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await capture(world, { id, codec: "json" });
  let reborn: Promise<void> | undefined;
  const raced = withCheckpoints(world, (checkpoints) => ({
    async get(key) {
      await reborn;
      return checkpoints.get(key);
    },
  }));
  const view = await recover(raced, request);
  const key = await keyOf(world, 0);
  world.objects.damage(key, (body) => body.fill(0x5a, 4, 40));
  const rows = view.rows();
  const reading = rows.next();
  reborn = makeAnew(world);
  await expect(reading).rejects.toMatchObject({ kind: "repair", object: key });
  expect(await contentOf(await recover(world, request))).toEqual(["b=2@1"]);
});

test("a view of a table that is deleted meanwhile tells the damage that it met, not that its index is out of range", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await capture(world, { id, codec: "json" });
  const view = await recover(world, request);
  const key = await keyOf(world, 0);
  world.objects.damage(key, (body) => body.fill(0x5a, 4, 40));
  // A deletion takes the control item first.
  await world.checkpoints.write([{ item: controlItem(id), when: [], delete: true }]);
  await expect(view.rows().next()).rejects.toMatchObject({ kind: "repair", object: key });
});

async function makeAnew(world: MemoryWorld): Promise<void> {
  await deleteTable(world, id.table);
  await createTable(world, { name: id.table });
  await appendEach(world, [[put("b", 2)]]);
}

test("what a ghost says of the log behind a time is not believed", async () => {
  const world = await worldWithHistory();
  const asked = START_MS + 2_500;
  const key = `${await prefixOf(world)}redo/0000000000000006.redo`;
  let passed = false;
  // Cleanup frees the name under the reader, and a stalled writer creates it again with a later time.
  const raced = withObjects(world, (objects) => ({
    async get(name) {
      if (!passed && name === key) {
        passed = true;
        const head = decodeRedoHeader(world.objects.objects.get(key) ?? Buffer.alloc(0), key);
        if (head.kind === "more") throw new Error("the header is whole");
        await capture(world, { id, codec: "json" });
        await world.checkpoints.write([{ item: controlItem(id), when: [], set: { lowWater: 8 } }]);
        const ghost = encodeRedoFile({ ...head.header, batches: [{ mutations: [put("ghost", 1)], timeMs: asked + 1 }], writeId: "e".repeat(32) });
        await world.objects.deleteMany([key]);
        await world.objects.createIfAbsent(key, ghost.bytes);
      }
      return objects.get(name);
    },
  }));
  // The state at that time is index 6, which is no longer kept; index 5 would be wrong.
  await expect(recover(raced, atTime(asked))).rejects.toMatchObject({ kind: "call", code: "out-of-range" });
});

test("a reader that cleanup passes starts over, and gets a right state", async () => {
  const world = await worldWithHistory();
  let passed = false;
  const raced = withObjects(world, (objects) => ({
    async get(name) {
      if (!passed) {
        passed = true;
        for (let i = 0; i < 2; i++) {
          await appendEach(world, [[put("e", i)]]);
          await capture(world, { id, codec: "json" });
        }
        await sweep(world, { id, policy: POLICY_DEFAULTS });
      }
      return objects.get(name);
    },
  }));
  const view = await recover(raced, request);
  expect([view.index, await contentOf(view)]).toEqual([9, [...STATES[7], "e=1@9"]]);
});
