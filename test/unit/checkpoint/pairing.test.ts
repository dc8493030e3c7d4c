// A store's objects and items are paired by its id, and cleanup deletes nothing beside a pair that does not match.

import { expect, test } from "vitest";
import { checkPaired, pairStore } from "../../../lib/checkpoint/pairing.ts";
import { memoryCheckpointStore } from "../../../lib/adapters/memory/checkpoint-store.ts";
import { memoryObjectStore } from "../../../lib/adapters/memory/object-store.ts";
import { cleanupShard, cleanupStrays } from "../../../lib/jobs/cleanup.ts";
import { seededRandom } from "../../../lib/adapters/memory/random.ts";
import { createTable, deleteTable } from "../../../lib/jobs/tables.ts";
import { POLICY_DEFAULTS } from "../../../lib/model/table.ts";
import { STORE_KEY } from "../../../lib/model/names.ts";
import { storeItem } from "../../../lib/checkpoint/items.ts";
import { appendEach, id, memoryWorld, type MemoryWorld, put, withCheckpoints, withObjects, worldWithTable } from "../jobs/world.ts";

/** The objects of a store that was written to, beside items of none. */
async function strangers(): Promise<MemoryWorld> {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  return { ...world, checkpoints: memoryCheckpointStore() };
}

test("a store is paired once, and again without harm", async () => {
  const world = memoryWorld();
  await expect(checkPaired(world)).resolves.toBeUndefined();
  await pairStore(world);
  const [object, item] = [await world.objects.get(STORE_KEY), await world.checkpoints.get(storeItem())];
  await pairStore(world);
  expect([await world.objects.get(STORE_KEY), await world.checkpoints.get(storeItem())]).toEqual([object, item]);
  await expect(checkPaired(world)).resolves.toBeUndefined();
});

test("cut off between item and object, pairing is finished by the next", async () => {
  const world = memoryWorld();
  const cut = withObjects(world, () => ({ createIfAbsent: () => Promise.reject(new Error("cut off")) }));
  await expect(pairStore(cut)).rejects.toThrow("cut off");
  await expect(checkPaired(world)).rejects.toMatchObject({ code: "unpaired-store" });
  await pairStore(world);
  await expect(checkPaired(world)).resolves.toBeUndefined();
});

test("of two that pair a store at once both go on with one id", async () => {
  const world = memoryWorld();
  const late = withCheckpoints(world, (checkpoints) => ({
    async write(changes) {
      await pairStore({ ...world, random: seededRandom(2) });
      return checkpoints.write(changes);
    },
  }));
  await pairStore(late);
  await expect(checkPaired(world)).resolves.toBeUndefined();
});

test("beside the items of another store no table is made, and cleanup deletes nothing", async () => {
  const world = await strangers();
  const before = [...world.objects.objects.keys()];
  await expect(createTable(world, { name: id.table })).rejects.toMatchObject({ kind: "call", code: "foreign-store" });
  await expect(cleanupStrays(world)).rejects.toMatchObject({ code: "foreign-store" });
  await expect(cleanupShard(world, { id, policy: POLICY_DEFAULTS })).rejects.toMatchObject({ code: "foreign-store" });
  expect([...world.objects.objects.keys()]).toEqual(before);
  expect(await world.checkpoints.get(storeItem())).toBeUndefined();
});

test("a table of the same name in another store does not open the way to its objects", async () => {
  const first = await strangers();
  const second = await worldWithTable({}, 2);
  await appendEach(second, [[put("b", 1)]]);
  const mixed = { ...second, objects: first.objects };
  await expect(cleanupShard(mixed, { id, policy: POLICY_DEFAULTS })).rejects.toMatchObject({ code: "foreign-store" });
});

test("without its object a store's leftovers stay, until it is paired by hand", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  const { body } = await found(world);
  await world.objects.deleteMany([STORE_KEY]);
  await expect(deleteTable(world, id.table)).rejects.toMatchObject({ code: "unpaired-store" });
  await pairStore(world);
  expect((await found(world)).body).toEqual(body);
  await deleteTable(world, id.table);
  expect([...world.objects.objects.keys()]).toEqual([STORE_KEY]);
});

test("a damaged id is told as damage", async () => {
  const world = memoryWorld();
  await world.objects.createIfAbsent(STORE_KEY, Buffer.from("{}"));
  await expect(pairStore(world)).rejects.toMatchObject({ kind: "repair", object: STORE_KEY });
});

test("what lies under the store's own name stays when an empty store is looked over for strays", async () => {
  const world = { ...memoryWorld(), objects: memoryObjectStore() };
  await pairStore(world);
  expect(await cleanupStrays(world)).toEqual([]);
  expect([...world.objects.objects.keys()]).toEqual([STORE_KEY]);
});

async function found({ objects }: MemoryWorld): Promise<{ readonly body: Uint8Array }> {
  const object = await objects.get(STORE_KEY);
  if (object.kind !== "found") throw new Error("the store has its object");
  return object;
}

test.each([
  ["another order", (text: string) => text.replace(/^\{(.*),(.*)\}/, "{$2,$1}")],
  ["another version that is none", (text: string) => text.replace(":1,", ":0,")],
  ["white space", (text: string) => text.replace(",", ", ")],
  ["no line feed", (text: string) => text.trim()],
  ["something before it", (text: string) => `x${text}`],
  ["something behind it", (text: string) => `${text}x`],
  ["nothing", () => ""],
])("an object of the store's id with %s is damage, and told with the remedy", async (_, change) => {
  const world = await worldWithTable();
  world.objects.damage(STORE_KEY, (body) => Buffer.from(change(body.toString())));
  for (const work of [checkPaired(world), pairStore(world)])
    await expect(work).rejects.toMatchObject({ kind: "repair", object: STORE_KEY, message: expect.stringContaining("tidemark init") });
  world.objects.damage(STORE_KEY, () => Buffer.from('{"formatVersion":2,"store":"00000000000000000000000000000000"}\n'));
  await expect(checkPaired(world)).rejects.toMatchObject({ kind: "call", code: "newer-format" });
  world.objects.damage(STORE_KEY, () => Buffer.from('{"formatVersion":10,"store":"00000000000000000000000000000000"}\n'));
  await expect(checkPaired(world)).rejects.toMatchObject({ kind: "call", code: "newer-format" });
});
