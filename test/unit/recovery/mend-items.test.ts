// Which items are made anew, of what, and which are left: those that tell more than the objects, and those that change meanwhile.

import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { controlItem, historyItem, tailItem } from "../../../lib/checkpoint/items.ts";
import { openWriter } from "../../../lib/jobs/append.ts";
import { createTable, deleteTable } from "../../../lib/jobs/tables.ts";
import { type ItemsMended, mendItems } from "../../../lib/recovery/mend-items.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { copyOf, type MemoryWorld, smallShard, type SmallShard } from "../../damage/shard.ts";
import { appendEach, id as plainId, noAnswer, put as putKey, remove, stored, withCheckpoints, withObjects, worldWithTable } from "../jobs/world.ts";

let shard: SmallShard;
let world: MemoryWorld;
beforeAll(async () => {
  shard = await smallShard();
});
beforeEach(async () => {
  world = await copyOf(shard.world);
});

const NOTHING: ItemsMended = { findings: [], rebuilt: [], unreadable: [] };
const mend = (on: MemoryWorld = world, dryRun = false) => mendItems(on, shard.id, { dryRun });
const name = (sort: string) => `shard#trees/0 ${sort}`;
const rowItem = () => historyItem(shard.id, shard.newer);
const set = (item: { readonly partition: string; readonly sort: string }, attributes: object, remove: readonly string[] = []) =>
  world.checkpoints.write([{ item, when: [], set: attributes as never, remove }]);
const loseSize = () => set(rowItem(), {}, ["size"]);
const drop = (item: { readonly partition: string; readonly sort: string }) => world.checkpoints.write([{ item, when: [], delete: true }]);

/** The world, in which something happens whenever a snapshot is looked into. */
function meanwhile(happens: () => Promise<unknown>): MemoryWorld {
  return withObjects(world, (objects) => ({
    async getRange(key, range) {
      if (key.endsWith(".parquet")) await happens();
      return objects.getRange(key, range);
    },
  }));
}

test("sound items are left, of a shard with captures, without, and of none", async () => {
  const before = stored(world);
  expect(await mend()).toEqual(NOTHING);
  expect(stored(world)).toEqual(before);
  const plain = await worldWithTable();
  expect(await mendItems(plain, plainId, { dryRun: false })).toEqual(NOTHING);
  await appendEach(plain, [[putKey("a", 1)]]);
  expect(await mendItems(plain, plainId, { dryRun: false })).toEqual(NOTHING);
});

test("a row that is missing is told by its name, and made anew as it was, but for what only a capture knows", async () => {
  await drop(rowItem());
  const findings = [{ object: name(rowItem().sort), what: "it is missing, and the checkpoint names its snapshot" }];
  const mended = { findings, rebuilt: [name(rowItem().sort)], unreadable: [] };
  expect(await mend(world, true)).toEqual(mended);
  expect((await readHistory(world.checkpoints, shard.id)).length).toBe(1);
  expect(await mend()).toEqual(mended);
  const [, row] = await readHistory(world.checkpoints, shard.id);
  expect(row).toEqual({ ...shard.newer, verified: false, capturedAtMs: row.border.timeMs });
});

test("the row of a first capture counts all mutations, and that of an empty state its whole foot", async () => {
  const plain = await worldWithTable();
  await appendEach(plain, [[putKey("a", 1), remove("a"), putKey("a", 2), remove("a")]]);
  await capture(plain, { id: plainId, codec: "json" });
  const [row] = await readHistory(plain.checkpoints, plainId);
  await plain.checkpoints.write([{ item: historyItem(plainId, row), when: [], set: {}, remove: ["size"] }]);
  expect(await mendItems(plain, plainId, { dryRun: false })).toMatchObject({ rebuilt: [`shard#players/0 ${historyItem(plainId, row).sort}`] });
  expect(await readHistory(plain.checkpoints, plainId)).toEqual([{ ...row, verified: false, capturedAtMs: row.border.timeMs }]);
  expect([row.rows, row.mutations]).toEqual([0, 4]);
});

test("a row that cleanup is deleting is left to it, whatever it says", async () => {
  await set(historyItem(shard.id, shard.older), { state: "deleting", digest: "0".repeat(64) });
  const before = stored(world);
  expect(await mend()).toEqual(NOTHING);
  expect(stored(world)).toEqual(before);
});

test.each<[string, (body: Buffer) => Buffer]>([
  ["lost its first bytes", (body) => body.subarray(9)],
  ["got some at its front", (body) => Buffer.concat([Buffer.alloc(9), body])],
])("a row whose snapshot %s is right, and left", async (_, damaged) => {
  world.objects.damage(shard.newer.key, damaged);
  expect(await mend()).toEqual(NOTHING);
  expect((await readHistory(world.checkpoints, shard.id))[1]).toEqual(shard.newer);
});

test("a row whose key names no generation is told, and left", async () => {
  const item = { ...rowItem(), sort: `${rowItem().sort}x` };
  await world.checkpoints.write([{ item, when: [], put: { size: 1 } }]);
  expect(await mend()).toMatchObject({
    rebuilt: [],
    unreadable: [{ object: name(item.sort), what: expect.stringContaining("it cannot be made anew: ") }],
  });
  expect((await mend()).unreadable[0].what).toContain("its key names no generation");
});

describe("a row is not made of a snapshot that lies under its name and is", () => {
  test.each<[string, () => Promise<Buffer | undefined>]>([
    ["of another index", async () => world.objects.objects.get(shard.older.key)],
    ["of another life", async () => bodyOf(await smallShard({ seed: 2 }))],
    ["of another shard", async () => bodyOf(await smallShard({ table: "trunk" }))],
  ])("%s", async (_, other) => {
    const body = await other();
    world.objects.damage(shard.newer.key, () => body ?? Buffer.alloc(0));
    await loseSize();
    expect(await mend()).toMatchObject({
      rebuilt: [],
      unreadable: [{ object: name(rowItem().sort), what: expect.stringContaining(`${shard.newer.key} is the snapshot of `) }],
    });
  });

  function bodyOf(other: SmallShard): Buffer | undefined {
    expect([other.newer.index, other.id.shard]).toEqual([shard.newer.index, shard.id.shard]);
    return other.world.objects.objects.get(other.newer.key);
  }
});

describe("what changes while it is mended is to be mended again:", () => {
  const contended = { kind: "retry", code: "contended", message: expect.stringContaining("trees/0") };

  test("a row that is deleted is not brought back", async () => {
    await loseSize();
    await expect(mend(meanwhile(() => drop(rowItem())))).rejects.toMatchObject(contended);
    expect((await readHistory(world.checkpoints, shard.id)).length).toBe(1);
  });

  test("a row that comes is not written over", async () => {
    const row = await world.checkpoints.get(rowItem());
    await drop(rowItem());
    const back = () => world.checkpoints.write([{ item: rowItem(), when: [], put: row?.attributes ?? {} }]);
    await expect(mend(meanwhile(back))).rejects.toMatchObject(contended);
    expect(await world.checkpoints.get(rowItem())).toEqual(row);
  });

  test("a shard that is deleted stays so", async () => {
    await loseSize();
    await expect(mend(meanwhile(() => drop(controlItem(shard.id))))).rejects.toMatchObject(contended);
    expect(await readControl(world.checkpoints, shard.id)).toBeUndefined();
  });

  test("a checkpoint that goes on is not set back", async () => {
    await contradict();
    let changes = 0;
    await expect(mend(meanwhile(() => set(controlItem(shard.id), { stamp: `another ${changes++}` })))).rejects.toMatchObject(contended);
  });
});

/** The checkpoint of the control item says another border than its row and its snapshot. */
async function contradict(): Promise<void> {
  const control = await world.checkpoints.get(controlItem(shard.id));
  await set(controlItem(shard.id), { checkpoint: { ...(control?.attributes.checkpoint as object), next: 9_999 } });
}

describe("a checkpoint that contradicts its row", () => {
  const finding = () => ({ object: name("control"), what: `its checkpoint is not what the history row of ${shard.newer.key} and its footer say` });

  test("is set right by the footer, which a dry run only says", async () => {
    const before = await readControl(world.checkpoints, shard.id);
    await contradict();
    const wrong = stored(world);
    expect(await mend(world, true)).toEqual({ findings: [finding()], rebuilt: [name("control")], unreadable: [] });
    expect(stored(world)).toEqual(wrong);
    expect(await mend()).toEqual({ findings: [finding()], rebuilt: [name("control")], unreadable: [] });
    expect((await readControl(world.checkpoints, shard.id))?.checkpoint).toEqual(before?.checkpoint);
  });

  test("is left where the footer cannot be read, and where the control item goes", async () => {
    await contradict();
    const gone = withCheckpoints(world, (checkpoints) => {
      let looks = 0;
      return { get: async (key) => (key.sort === "control" && ++looks > 1 ? undefined : checkpoints.get(key)) };
    });
    expect(await mend(gone)).toEqual(NOTHING);
    world.objects.damage(shard.newer.key, (body) => body.subarray(0, -1));
    expect(await mend()).toEqual(NOTHING);
    await world.objects.deleteMany([shard.newer.key]);
    expect(await mend()).toEqual(NOTHING);
  });
});

describe("a tail", () => {
  test("is made anew, and not published, where the log cannot be walked to its end", async () => {
    await drop(tailItem(shard.id));
    world.objects.damage(shard.behind[1], (body) => body.subarray(1));
    const what = "it is missing, or of another incarnation than the control item";
    expect(await mend()).toEqual({ findings: [{ object: name("tail"), what }], rebuilt: [name("tail")], unreadable: [] });
    expect((await world.checkpoints.get(tailItem(shard.id)))?.attributes.next).toBe(shard.newer.border.next);
  });

  test.each([
    ["with a digest that is not the log's", { digest: "0".repeat(64) }],
    ["in the middle of a redo file", { next: -1 }],
  ])("%s is made anew, so that no writer goes on from it", async (_, wrong) => {
    const before = await world.checkpoints.get(tailItem(shard.id));
    const next = Number(before?.attributes.next) + ("next" in wrong ? wrong.next : 0);
    await set(tailItem(shard.id), { ...wrong, next });
    expect(await mend()).toEqual({ findings: [{ object: name("tail"), what: `the log is another at ${next}` }], rebuilt: [name("tail")], unreadable: [] });
    const { next: to, digest } = (await world.checkpoints.get(tailItem(shard.id)))?.attributes ?? {};
    expect([to, digest]).toEqual([before?.attributes.next, before?.attributes.digest]);
    expect(await mend()).toEqual(NOTHING);
  });

  test("that lags behind the checkpoint, or lies beyond the log's end, is none of the items' faults", async () => {
    await set(tailItem(shard.id), { next: 1, digest: "0".repeat(64) });
    expect(await mend()).toEqual(NOTHING);
    await set(tailItem(shard.id), { next: 9_999 });
    expect(await mend()).toEqual(NOTHING);
  });

  test("is left where there are objects of its life alone: then the control item is the one that is wrong", async () => {
    const plain = await worldWithTable();
    await appendEach(plain, [[putKey("a", 1)]]);
    const incarnation = "f".repeat(16);
    await plain.checkpoints.write([{ item: controlItem(plainId), when: [], set: { incarnation } }]);
    const before = stored(plain);
    const mended = await mendItems(plain, plainId, { dryRun: false });
    expect(mended).toMatchObject({ rebuilt: [], unreadable: [{ object: "shard#players/0 tail" }] });
    expect(mended.unreadable[0].what).toContain(`there are no objects of its incarnation ${incarnation}, and there are some of the tail's`);
    expect(stored(plain)).toEqual(before);
  });

  test("that is gone before the first redo file is made anew of the control item", async () => {
    const plain = await worldWithTable();
    const failing = withObjects(plain, () => ({ createIfAbsent: async () => Promise.reject(noAnswer()) }));
    await expect(openWriter(failing, { id: plainId, codec: "json" }).append({ mutations: [putKey("a", 1)] })).rejects.toMatchObject({ kind: "retry" });
    await plain.checkpoints.write([{ item: tailItem(plainId), when: [], delete: true }]);
    expect(await mendItems(plain, plainId, { dryRun: false })).toMatchObject({ rebuilt: ["shard#players/0 tail"], unreadable: [] });
    expect((await plain.checkpoints.get(tailItem(plainId)))?.attributes.next).toBe(1);
  });
});

test("a control item that cannot be read is told by its name, with what is wrong", async () => {
  await set(controlItem(shard.id), {}, ["epoch"]);
  const { findings, rebuilt, unreadable } = await mend();
  expect([findings.length, findings[0].object, findings[0].what.includes("epoch"), findings[0].what.includes("is damaged")]).toEqual([
    1,
    name("control"),
    true,
    false,
  ]);
  expect([rebuilt, unreadable.map(({ object }) => object)]).toEqual([[], [name("control")]]);
});

test("a store that does not answer is no damage", async () => {
  await loseSize();
  const fault = noAnswer();
  await expect(mend(meanwhile(async () => Promise.reject(fault)))).rejects.toBe(fault);
});

test("what was made for a life that has ended meanwhile is not put beside the next one, and the shard goes on", async () => {
  const plain = await worldWithTable();
  await appendEach(plain, [[putKey("a", 1)]]);
  await plain.checkpoints.write([{ item: tailItem(plainId), when: [], set: { capturedNext: "none" } }]);
  let isPassed = false;
  const passed = withCheckpoints(plain, (checkpoints) => ({
    async get(key) {
      const found = await checkpoints.get(key);
      if (isPassed || key.sort !== "tail") return found;
      isPassed = true;
      await deleteTable(plain, plainId.table);
      await createTable(plain, { name: plainId.table });
      await appendEach(plain, [[putKey("b", 1)]]);
      return found;
    },
  }));
  await expect(mendItems(passed, plainId, { dryRun: false })).rejects.toMatchObject({ kind: "retry", code: "contended" });
  expect(await mendItems(plain, plainId, { dryRun: false })).toEqual(NOTHING);
});
