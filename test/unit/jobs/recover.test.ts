import { expect, test } from "vitest";
import { readHistory } from "../../../lib/checkpoint/control.ts";
import { controlItem } from "../../../lib/checkpoint/items.ts";
import { getEntry, recoverTable, type RecoverTableRequest } from "../../../lib/jobs/recover.ts";
import { createTable, deleteTable } from "../../../lib/jobs/tables.ts";
import { toIndex } from "../../../lib/model/position.ts";
import { shardOf } from "../../../lib/model/table.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { appendEach, contentOf, id, type MemoryWorld, put, START_MS, withCheckpoints, worldWithTable } from "./world.ts";

/** Two shards, each with a generation of its first mutation and another mutation a second behind it. */
async function twoShards(): Promise<MemoryWorld> {
  const world = await worldWithTable({ shards: 2 });
  for (const shard of [0, 1]) {
    await appendEach(world, [[put(`a${shard}`, 1)]], { ...id, shard });
    await capture(world, { id: { ...id, shard }, codec: "json" });
  }
  world.clock.advance(1_000);
  for (const shard of [0, 1]) await appendEach(world, [[put(`b${shard}`, 2)]], { ...id, shard });
  return world;
}

async function recovered(world: MemoryWorld, request: Omit<RecoverTableRequest, "table">): Promise<readonly (readonly [number, readonly string[]])[]> {
  const { table, shardCount, shards } = await recoverTable(world, { table: "players", ...request });
  const all: (readonly [number, readonly string[]])[] = [];
  for await (const { id: of, view } of shards()) all.push([of.shard, await contentOf(view)]);
  expect([table.name, shardCount]).toEqual(["players", all.length]);
  return all;
}

test("a table is recovered shard by shard, or one of them; to a time all of them", async () => {
  const world = await twoShards();
  expect(await recovered(world, {})).toEqual([
    [0, ["a0=1@1", "b0=2@2"]],
    [1, ["a1=1@1", "b1=2@2"]],
  ]);
  expect(await recovered(world, { at: { timeMs: START_MS } })).toEqual([
    [0, ["a0=1@1"]],
    [1, ["a1=1@1"]],
  ]);
  expect(await recovered(world, { shard: 1, at: { index: toIndex(1) } })).toEqual([[1, ["a1=1@1"]]]);
});

test("an index is asked of one shard alone", async () => {
  const world = await twoShards();
  await expect(recoverTable(world, { table: "players", at: { index: toIndex(1) } })).rejects.toMatchObject({ kind: "call", code: "shard-needed" });
  await expect(recoverTable(world, { table: "players", shard: 2 })).rejects.toMatchObject({ code: "unknown-shard" });
  const single = await worldWithTable();
  await appendEach(single, [[put("a", 1)], [put("a", 2)]]);
  expect(await recovered(single, { at: { index: toIndex(1) } })).toEqual([[0, ["a=1@1"]]]);
});

test("a shard's generation is held until the next is asked for, or the reader leaves", async () => {
  const world = await twoShards();
  const pinsOf = async (shard: number) => (await readHistory(world.checkpoints, { ...id, shard })).flatMap(({ pins }) => Object.keys(pins)).length;
  const held: (readonly number[])[] = [];
  for await (const _ of (await recoverTable(world, { table: "players" })).shards()) held.push([await pinsOf(0), await pinsOf(1)]);
  expect([...held, [await pinsOf(0), await pinsOf(1)]]).toEqual([
    [1, 0],
    [0, 1],
    [0, 0],
  ]);
  for await (const _ of (await recoverTable(world, { table: "players" })).shards()) break;
  expect(await pinsOf(0)).toBe(0);
});

test("a key is looked for in its own shard, in the newest state or an earlier one", async () => {
  const world = await worldWithTable({ shards: 3 });
  const shard = shardOf(Buffer.from("é"), 3);
  await appendEach(world, [[put("é", 1)], [put("é", 2)]], { ...id, shard });
  const found = await getEntry(world, { table: "players", key: "é" });
  expect(found).toMatchObject({ kind: "found", id: { ...id, shard }, table: { shards: 3 }, view: { index: 2 }, entry: { value: Buffer.from("2"), index: 2 } });
  expect(await getEntry(world, { table: "players", key: "é", at: { index: toIndex(1) } })).toMatchObject({ kind: "found", entry: { index: 1 } });
  const absent = await getEntry(world, { table: "players", key: "other" });
  expect([absent.kind, absent.id, "entry" in absent]).toEqual(["absent", { ...id, shard: shardOf(Buffer.from("other"), 3) }, false]);
});

test("what is no key, and what is no table, is the caller's to correct", async () => {
  const world = await worldWithTable();
  await expect(getEntry(world, { table: "players", key: "" })).rejects.toMatchObject({ kind: "call", code: "empty-key" });
  await expect(getEntry(world, { table: "players", key: "\ud800" })).rejects.toMatchObject({ code: "ill-formed-text" });
  await expect(getEntry(world, { table: "nobody", key: "a" })).rejects.toMatchObject({ code: "unknown-table" });
});

test("a recovery during which the table is deleted, and made again, ends with a fault", async () => {
  const world = await twoShards();
  const { shards } = await recoverTable(world, { table: "players" });
  const read = async (): Promise<void> => {
    for await (const { id: of } of shards()) {
      if (of.shard > 0) continue;
      await deleteTable(world, "players");
      await createTable(world, { name: "players", shards: 3 });
    }
  };
  await expect(read()).rejects.toMatchObject({ kind: "retry", code: "sealed" });
});

test("a key is not told to have no value by a table that was made under the name meanwhile, and has it in another shard", async () => {
  const world = await worldWithTable();
  const key = ["a", "b", "c"].find((one) => shardOf(Buffer.from(one), 2) === 1) ?? "";
  let remade = false;
  const raced = withCheckpoints(world, (checkpoints) => ({
    async get(item) {
      if (item.sort === controlItem(id).sort && !remade) {
        remade = true;
        await deleteTable(world, "players");
        world.clock.advance(1);
        await createTable(world, { name: "players", shards: 2 });
        await appendEach(world, [[put(key, 1)]], { ...id, shard: 1 });
      }
      return checkpoints.get(item);
    },
  }));
  await expect(getEntry(raced, { table: "players", key })).rejects.toMatchObject({ kind: "retry", code: "sealed" });
  expect(await getEntry(world, { table: "players", key })).toMatchObject({ kind: "found", id: { shard: 1 } });
});
