import { beforeAll, beforeEach, expect, test } from "vitest";
import { controlItem, historyItem } from "../../../lib/checkpoint/items.ts";
import type { Attributes } from "../../../lib/ports/checkpoint-store.ts";
import { recover } from "../../../lib/recovery/recover.ts";
import { verifyShard } from "../../../lib/recovery/verify.ts";
import { copyOf, type MemoryWorld, smallShard, type SmallShard } from "../../damage/shard.ts";

let shard: SmallShard;
let world: MemoryWorld;
beforeAll(async () => {
  shard = await smallShard();
});
beforeEach(async () => {
  world = await copyOf(shard.world);
});

const findings = async () => (await verifyShard(world, { id: shard.id, codec: "json" })).findings;

async function alter(item: { readonly partition: string; readonly sort: string }, change: (attributes: Attributes) => Attributes): Promise<void> {
  const found = await world.checkpoints.get(item);
  await world.checkpoints.write([{ item, when: [], put: change(found?.attributes ?? {}) }]);
}

test("one break in the log hides no other behind the next generation", async () => {
  const [first, second] = [shard.between[0], shard.behind[1]];
  await world.objects.deleteMany([first, second]);
  expect(await findings()).toEqual([
    { object: first, what: "it is missing, and the log goes on behind it" },
    { object: second, what: "it is missing, and the log goes on behind it" },
  ]);
});

test("what is read behind a break is counted", async () => {
  const whole = await verifyShard(world, { id: shard.id, codec: "json" });
  await world.objects.deleteMany([shard.between[1]]);
  const broken = await verifyShard(world, { id: shard.id, codec: "json" });
  expect([whole.redoFiles, broken.redoFiles]).toEqual([6, 4]);
});

test.each<[string, (attributes: Attributes) => Attributes, string]>([
  ["where the log goes on", (row) => ({ ...row, next: Number(row.next) + 1 }), "where the log goes on is"],
  ["the chain digest", (row) => ({ ...row, digest: "0".repeat(64) }), "the chain digest is"],
  ["the time", (row) => ({ ...row, timeMs: Number(row.timeMs) - 1 }), "the time is"],
  ["the position", (row) => ({ ...row, batchOffset: 7 }), "the batch of its position is 2 in the one, 7 in the other"],
  ["the records", (row) => ({ ...row, rows: 99 }), "its history row says 99"],
])("a history row that tells %s otherwise than its snapshot is found", async (_, change, words) => {
  await alter(historyItem(shard.id, shard.newer), change);
  const found = await findings();
  expect(found.map(({ object }) => object)).toContain(shard.newer.key);
  expect(found.map(({ what }) => what).join()).toContain(words);
});

test("a recovery does not go on from where a wrong row says, but from the generation before", async () => {
  await alter(historyItem(shard.id, shard.newer), (row) => ({ ...row, next: shard.newer.border.next + 9 }));
  expect(await recover(world, { id: shard.id, codec: "json" })).toMatchObject({
    index: shard.tail,
    from: shard.older.index,
    passedOver: [{ key: shard.newer.key }],
  });
});

test("a mark beyond what captures hold is found", async () => {
  await alter(controlItem(shard.id), (control) => ({ ...control, lowWater: shard.newer.border.next + 1 }));
  expect((await findings())[0]).toEqual({ object: "shard#trees/0 control", what: expect.stringContaining("its low-water mark is") });
});

test("values of another codec than the table's are refused", async () => {
  await expect(recover(world, { id: shard.id, codec: "bytes" })).rejects.toMatchObject({
    kind: "repair",
    message: expect.stringContaining("its values are json"),
  });
});

test("a generation that cleanup lets go while it is read is no damage, though the mark stays", async () => {
  let isLetGo = false;
  const getRange: MemoryWorld["objects"]["getRange"] = async (key, range) => {
    if (key === shard.older.key && !isLetGo) {
      isLetGo = true;
      await alter(historyItem(shard.id, shard.older), (row) => ({ ...row, state: "deleting" }));
      await world.objects.deleteMany([key]);
    }
    return world.objects.getRange(key, range);
  };
  const cleaned = { ...world, objects: { ...world.objects, getRange } };
  const { findings: found, generations } = await verifyShard(cleaned, { id: shard.id, codec: "json" });
  expect([isLetGo, found, generations]).toEqual([true, [], 1]);
});
