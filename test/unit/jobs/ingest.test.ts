import { describe, expect, test } from "vitest";
import { cleanupShard } from "../../../lib/jobs/cleanup.ts";
import { ingest } from "../../../lib/jobs/ingest.ts";
import { createTable, deleteTable, getTable } from "../../../lib/jobs/tables.ts";
import { TidemarkError } from "../../../lib/model/errors.ts";
import { SESSIONS_MAX } from "../../../lib/model/limits.ts";
import { shardOf } from "../../../lib/model/table.ts";
import type { World } from "../../../lib/ports/world.ts";
import { recover } from "../../../lib/recovery/recover.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { openWriter } from "../../../lib/jobs/append.ts";
import { contentOf, id, keysOf, mark, memoryWorld, noAnswer, put, stored, withCheckpoints, withObjects, worldWithTable } from "./world.ts";

async function state(world: World): Promise<readonly string[]> {
  const view = await recover(world, { id, codec: "json" });
  try {
    return (await contentOf(view)).map((row) => row.split("@")[0]);
  } finally {
    await view.close();
  }
}

test("batches of a call lie in one redo file in each shard, in their order, and tell where they lie", async () => {
  const world = await worldWithTable({ shards: 2 });
  const { append } = await ingest(world).open("players");
  const batches = Array.from({ length: 50 }, (_, i) => ({ mutations: [put("a", i), put("b", i), put("c", i), put("d", i)] }));
  const shares = await append(batches);
  expect(shares.map((share) => share.reduce((sum, { last }) => sum + last, 0))).toEqual(batches.map((_, i) => (i + 1) * 4));
  expect(keysOf(world).length).toBe(2);
});

test("a batch that is refused has written nothing of the call, whatever came before it", async () => {
  const world = await worldWithTable();
  const { append } = await ingest(world).open("players");
  const before = stored(world);
  await expect(append([{ mutations: [put("a", 1)] }, { mutations: [] }])).rejects.toMatchObject({
    kind: "call",
    code: "empty-batch",
    message: expect.stringContaining("batch 2"),
  });
  await expect(append([{ mutations: [put("a", 1)] }, { mutations: [put("a", 2)], mark: mark("", 1) }])).rejects.toMatchObject({ code: "bad-producer" });
  expect(stored(world)).toEqual(before);
});

test("the tail is looked for once, not for each call", async () => {
  const world = await worldWithTable();
  let reads = 0;
  const counted = withCheckpoints(world, (checkpoints) => ({
    get: (key) => {
      reads += Number(key.sort === "tail");
      return checkpoints.get(key);
    },
  }));
  const door = ingest(counted);
  await (await door.open("players")).append([{ mutations: [put("a", 0)] }]);
  const first = reads;
  for (let i = 1; i <= 5; i++) await (await door.open("players")).append([{ mutations: [put("a", i)] }]);
  expect([first, reads]).toEqual([1, 1]);
});

describe("a call that fails", () => {
  test("asks for a repetition, and leaves no doubt behind in this process", async () => {
    const world = await worldWithTable();
    let silent = true;
    const failing = withObjects(world, (objects) => ({
      async createIfAbsent(key, body) {
        const created = await objects.createIfAbsent(key, body);
        return silent ? Promise.reject(noAnswer()) : created;
      },
    }));
    const door = ingest(failing);
    const first = [{ mutations: [put("a", 1)], mark: mark("p", 1) }];
    await expect((await door.open("players")).append(first)).rejects.toMatchObject({ kind: "retry" });
    silent = false;
    await (await ingest(world).open("players")).append(first);
    await (await door.open("players")).append([{ mutations: [put("a", 2)], mark: mark("p", 2) }]);
    expect(await state(world)).toEqual(["a=2"]);
  });

  test.each([
    ["the first fault, where no answer is missing", [new TypeError("one"), new TypeError("two")], { message: "one" }],
    ["the missing answer, before a fault of another kind", [new TidemarkError("bug", "b", "a bug"), noAnswer()], { kind: "retry" }],
  ] as const)("tells %s", async (_, faults, told) => {
    const world = await worldWithTable({ shards: 2 });
    const failing = withObjects(world, () => ({ createIfAbsent: async (key) => Promise.reject(faults[key.startsWith("players/0/") ? 0 : 1]) }));
    const { append, table } = await ingest(failing).open("players");
    const keys = ["a", "b", "c", "d", "e"];
    const ofShard = (shard: number) => keys.filter((key) => shardOf(Buffer.from(key), table.shards) === shard).map((key) => put(key, 1));
    await expect(append([{ mutations: ofShard(0) }, { mutations: ofShard(1) }])).rejects.toMatchObject(told);
  });

  test("leaves the writer alone that another call has put into its place", async () => {
    const world = await worldWithTable();
    let tails = 0;
    const failing = withObjects(
      withCheckpoints(world, (checkpoints) => ({
        get(key) {
          tails += Number(key.sort === "tail");
          return checkpoints.get(key);
        },
      })),
      (objects) => ({
        async createIfAbsent(key, body) {
          if (Buffer.from(body).includes("silent")) throw noAnswer();
          return objects.createIfAbsent(key, body);
        },
      }),
    );
    const door = ingest(failing);
    const [one, same] = [await door.open("players"), await door.open("players")];
    await expect(one.append([{ mutations: [put("a", "silent")] }])).rejects.toMatchObject({ kind: "retry" });
    await (await door.open("players")).append([{ mutations: [put("a", 1)] }]);
    const before = tails;
    // It fails with the writer of before, which is kept no more.
    await expect(same.append([{ mutations: [put("a", "silent")] }])).rejects.toMatchObject({ kind: "retry" });
    await (await door.open("players")).append([{ mutations: [put("a", 2)] }]);
    expect(tails - before).toBeLessThanOrEqual(1);
  });

  test("for a missing answer says so, though another fault came with it", async () => {
    const world = await worldWithTable({ shards: 2 });
    const failing = withObjects(world, (objects) => ({
      createIfAbsent: async (key, body) => {
        if (key.startsWith("players/0/")) throw new TypeError("a bug");
        await objects.createIfAbsent(key, body);
        throw noAnswer();
      },
    }));
    const { append } = await ingest(failing).open("players");
    const batches = ["a", "b", "c", "d"].map((key) => ({ mutations: [put(key, 1)] }));
    await expect(append(batches)).rejects.toMatchObject({ kind: "retry" });
  });
});

test("an unknown table is the caller's to correct, and is found once it is there", async () => {
  const world = memoryWorld();
  const door = ingest(world);
  await expect(door.open("players")).rejects.toMatchObject({ kind: "call", code: "unknown-table" });
  await createTable(world, { name: "players" });
  expect(await (await door.open("players")).append([{ mutations: [put("a", 1)] }])).toEqual([[{ shard: 0, last: 1 }]]);
});

test("a table that was deleted is not written to, and one that was made anew is looked at afresh", async () => {
  const world = await worldWithTable();
  const door = ingest(world);
  const batches = [{ mutations: [put("a", 1)] }];
  await (await door.open("players")).append(batches);
  await deleteTable(world, "players");
  await expect((await door.open("players")).append(batches)).rejects.toMatchObject({ kind: "retry", code: "sealed" });
  await expect(door.open("players")).rejects.toMatchObject({ code: "unknown-table" });
  await createTable(world, { name: "players", shards: 3 });
  expect((await door.open("players")).table.shards).toBe(3);
});

test("a table that was made anew with fewer shards is not written to by who has the old one, though its first batch comes to a shard only now", async () => {
  const world = await worldWithTable({ shards: 4 });
  const door = ingest(world);
  const keys = Array.from({ length: 40 }, (_, place) => `k${place}`);
  const inShard = (shard: number) => [{ mutations: [put(keys.find((key) => shardOf(Buffer.from(key), 4) === shard) ?? "", 1)] }];
  await (await door.open("players")).append(inShard(0));
  await deleteTable(world, "players");
  world.clock.advance(1);
  await createTable(world, { name: "players", shards: 2 });
  // One that the new table lacks, and, by a second stale door, one that it has and that others have opened.
  const stale = await door.open("players");
  await expect(stale.append(inShard(3))).rejects.toMatchObject({ kind: "retry", code: "sealed" });
  await (await ingest(world).open("players")).append(keys.map((key) => ({ mutations: [put(key, 2)] })));
  await expect(stale.append(inShard(1))).rejects.toMatchObject({ kind: "retry", code: "sealed" });
  expect(keysOf(world)).toHaveLength(2);
  expect(world.checkpoints.items.some(({ key }) => key.partition.endsWith("/3"))).toBe(false);
  const shares = await (await door.open("players")).append(inShard(3));
  expect(shares.flat().every(({ shard }) => shard < 2)).toBe(true);
});

test("a new batch after more producers than a shard remembers is taken", async () => {
  const world = await worldWithTable();
  const door = ingest(world);
  await (await door.open("players")).append([{ mutations: [put("a", 0)], mark: mark("old", 1) }]);
  const other = openWriter(world, { id, codec: "json" });
  const producers = Array.from({ length: SESSIONS_MAX + 10 }, (_, i) => other.append({ mutations: [put("b", i)], mark: mark(`p${i}`, 1) }));
  await Promise.all(producers);
  const fresh = [{ mutations: [put("a", 1)], mark: mark("new", 1) }];
  await (await door.open("players")).append(fresh);
  expect(await state(world)).toContain("a=1");
});

test("a batch that its shard may have applied and forgotten is to be sent again, and is looked at afresh then", async () => {
  const world = await worldWithTable();
  let passed = false;
  // Cleanup frees the name that the batch claims: whether its redo file was captured before, nobody can tell.
  const passBy = async () => {
    const other = openWriter(world, { id, codec: "json" });
    await Promise.all(Array.from({ length: SESSIONS_MAX + 10 }, (_, i) => other.append({ mutations: [put("b", i)], mark: mark(`p${i}`, 1) })));
    for (const value of [1, 2, 3]) {
      await other.append({ mutations: [put("c", value)] });
      await capture(world, { id, codec: "json" });
    }
    await cleanupShard(world, { id, policy: await getTable(world, id.table) });
  };
  const raced = withObjects(world, (objects) => ({
    async createIfAbsent(key, body) {
      if (!passed && key.includes("/redo/")) {
        passed = true;
        await passBy();
      }
      return objects.createIfAbsent(key, body);
    },
  }));
  const door = ingest(raced);
  const batches = [{ mutations: [put("a", 1)], mark: mark("p", 1) }];
  await expect((await door.open("players")).append(batches)).rejects.toMatchObject({ kind: "retry", code: "stale-writer" });
  const last = SESSIONS_MAX + 10 + 3 + 1;
  expect(await (await door.open("players")).append(batches)).toEqual([[{ shard: 0, last }]]);
  expect(await state(world)).toEqual(["a=1", `b=${SESSIONS_MAX + 9}`, "c=3"]);
});
