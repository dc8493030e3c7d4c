import { expect, test } from "vitest";
import { lastIndexes, type ShardOutcome, tableWriter } from "../../../lib/jobs/append.ts";
import { getTable } from "../../../lib/jobs/tables.ts";
import { toIndex } from "../../../lib/model/position.ts";
import { shardOf } from "../../../lib/model/table.ts";
import { readTail } from "../../../lib/redo-log/tail.ts";
import { recover } from "../../../lib/recovery/recover.ts";
import { contentOf, id, keysOf, mark, put, START_MS, withObjects, worldWithTable } from "./world.ts";

test("a table that holds what is backed up of a source takes no batch of producers", async () => {
  const world = await worldWithTable({ source: "influxdb" });
  const table = await getTable(world, "players");
  expect(() => tableWriter(world, table)).toThrow(expect.objectContaining({ kind: "call", code: "sourced-table" }));
});

test("each mutation goes to its key's shard, in the batch's order, with the batch's mark", async () => {
  const world = await worldWithTable({ shards: 3 });
  const writer = tableWriter(world, await getTable(world, "players"));
  const keys = Array.from({ length: 12 }, (_, i) => `key-${i}`);
  const batch = { mutations: keys.map((key) => put(key, 1)), mark: mark("p", 7) };
  const outcomes = await writer.append(batch);
  const counts = [0, 1, 2].map((shard) => keys.filter((key) => shardOf(Buffer.from(key), 3) === shard).length);
  const told = (all: readonly ShardOutcome[]) => all.map(({ shard, outcome }) => ({ shard, ...outcome })).sort((a, b) => a.shard - b.shard);
  expect(Math.min(...counts)).toBeGreaterThan(0);
  expect(told(outcomes)).toMatchObject(counts.map((count, shard) => ({ shard, kind: "appended", first: 1, last: count })));
  // The same batch again is known by its mark in each shard, and changes none.
  await writer.append(batch);
  await writer.close();
  const states = [0, 1, 2].map(async (shard) => contentOf(await recover(world, { id: { ...id, shard }, codec: "json" })));
  const rows = (await Promise.all(states)).map((of) => of.map((row) => Number(row.split("@")[1])).sort((a, b) => a - b));
  expect(rows).toEqual(counts.map((count) => Array.from({ length: count }, (_, i) => i + 1)));
});

test("a batch waits for company as long as it may, and not where nothing is said", async () => {
  for (const [lingerMs, files] of [
    [1_000, 1],
    [undefined, 2],
  ] as const) {
    const world = await worldWithTable();
    const writer = tableWriter(world, await getTable(world, "players"), lingerMs === undefined ? {} : { lingerMs });
    const first = writer.append({ mutations: [put("a", 1)] });
    for (let turn = 0; turn < 30; turn++) await new Promise((resolve) => setImmediate(resolve));
    const second = writer.append({ mutations: [put("b", 2)] });
    for (let turn = 0; turn < 30; turn++) await new Promise((resolve) => setImmediate(resolve));
    if (world.clock.nextWakeMs !== undefined) world.clock.advance(1_000);
    await Promise.all([first, second]);
    await writer.close();
    expect(keysOf(world)).toHaveLength(files);
  }
});

test("a writer that is closed has published where each of its shards ends", async () => {
  const world = await worldWithTable({ shards: 2 });
  const writer = tableWriter(world, await getTable(world, "players"));
  await writer.append({ mutations: Array.from({ length: 9 }, (_, i) => put(`${i}`, i)) });
  await writer.close();
  const tails = await Promise.all([0, 1].map((shard) => readTail(world.checkpoints, { ...id, shard })));
  expect(tails.map((tail) => (tail?.border.next ?? 1) - 1).reduce((sum, count) => sum + count, 0)).toBe(9);
  await expect(writer.append({ mutations: [put("a", 1)] })).rejects.toThrow();
});

test("a writer that is closed takes nothing more, for shards that it has not written to either", async () => {
  for (const shards of [1, 2]) {
    const world = await worldWithTable({ shards });
    const writer = tableWriter(world, await getTable(world, "players"));
    await writer.close();
    await expect(writer.append({ mutations: [put("a", 1)] })).rejects.toMatchObject({ kind: "call", code: "closed-writer" });
    expect(keysOf(world)).toEqual([]);
  }
});

test("a table of one shard has its batches checked by the shard's writer, and nothing is written of one that is refused", async () => {
  const world = await worldWithTable();
  let puts = 0;
  const counted = withObjects(world, (objects) => ({
    createIfAbsent(key, body) {
      puts += 1;
      return objects.createIfAbsent(key, body);
    },
  }));
  const writer = tableWriter(counted, await getTable(world, "players"));
  await expect(writer.append({ mutations: [] })).rejects.toMatchObject({ kind: "call", code: "empty-batch" });
  expect(puts).toBe(0);
});

test("the last index of a shard is told where its share was appended", () => {
  const appended = { kind: "appended", first: toIndex(3), last: toIndex(5), timeMs: START_MS } as const;
  const outcomes: readonly ShardOutcome[] = [
    { shard: 2, outcome: appended },
    { shard: 0, outcome: { kind: "sealed" } },
  ];
  expect([...lastIndexes(outcomes)]).toEqual([[2, 5]]);
});
