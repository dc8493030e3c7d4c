import { expect, test } from "vitest";
import { shardPartition, tailAttributes, tailItem } from "../../../lib/checkpoint/items.ts";
import { type AskReport, askForCaptures } from "../../../lib/jobs/ask.ts";
import { createTable, type CreateTableRequest } from "../../../lib/jobs/tables.ts";
import { ASK_AGAIN_AFTER_MS, ASK_TOGETHER, ASKS_AT_ONCE, PLAN_READS_TOGETHER } from "../../../lib/model/limits.ts";
import type { ShardId } from "../../../lib/model/names.ts";
import { parseTail } from "../../../lib/checkpoint/items.ts";
import { hintWith } from "../checkpoint/samples.ts";
import { memoryWorld, type MemoryWorld, noAnswer, START_MS, withCheckpoints } from "./world.ts";

const MINUTE_MS = 60_000;

/** Tables of dirty shards, each with one mutation that waits; due from the first on. */
async function dirtyWorld(...tables: readonly (Partial<CreateTableRequest> & { readonly name: string })[]): Promise<MemoryWorld> {
  const world = memoryWorld();
  for (const { name, shards = 1, ...policy } of tables) {
    await createTable(world, { captureAfterMutations: 1, ...policy, name, shards });
    for (let shard = 0; shard < shards; shard++) await dirty(world, { table: name, shard });
  }
  return world;
}

async function dirty(world: MemoryWorld, id: ShardId): Promise<void> {
  const hint = hintWith({ next: 2, capturedAtMs: START_MS });
  await world.checkpoints.write([{ item: tailItem(id), when: [], put: { ...tailAttributes(hint), dirty: "dirty" } }]);
}

async function captured(world: MemoryWorld, ids: readonly ShardId[]): Promise<void> {
  for (const id of ids) await world.checkpoints.write([{ item: tailItem(id), when: [], set: {}, remove: ["dirty", "dueSinceMs", "askedAtMs"] }]);
}

async function ask(world: MemoryWorld): Promise<{ readonly report: AskReport; readonly asked: readonly ShardId[] }> {
  const asked: ShardId[] = [];
  const report = await askForCaptures(world, async (shards) => {
    asked.push(...shards);
    return shards;
  });
  return { report, asked };
}

test("every due shard is asked for once, by tables, however many there are", async () => {
  const world = await dirtyWorld({ name: "a", shards: 3 }, { name: "b", shards: 2_345 }, { name: "c", shards: 1, captureAfterMutations: 2 });
  const { report, asked } = await ask(world);
  expect(new Set(asked.map(shardPartition)).size).toBe(2_348);
  expect(report).toMatchObject({ dirty: 2_349, due: 2_348, asked: 2_348, held: 0 });
  expect([...report.tables].map(([name, { dirty: all, due, lagMs }]) => [name, all, due, lagMs])).toEqual([
    ["a", 3, 3, 0],
    ["b", 2_345, 2_345, 0],
    ["c", 1, 0, undefined],
  ]);
  world.clock.advance(MINUTE_MS);
  expect((await ask(world)).report).toMatchObject({ due: 2_348, asked: 0, held: 0 });
});

test("what is under way at a time is bounded, however many shards are dirty", async () => {
  const world = await dirtyWorld({ name: "many", shards: 600 });
  const running = { get: 0, ask: 0, write: 0 };
  const most = { get: 0, ask: 0, write: 0 };
  const counted = async <T>(kind: keyof typeof running, work: () => Promise<T>): Promise<T> => {
    running[kind] += 1;
    most[kind] = Math.max(most[kind], running[kind]);
    for (let turn = 0; turn < (kind === "ask" ? 30 : 1); turn++) await new Promise((resolve) => setImmediate(resolve));
    running[kind] -= 1;
    return work();
  };
  const watched = withCheckpoints(world, (checkpoints) => ({
    get: (key) => counted("get", () => checkpoints.get(key)),
    write: (changes) => counted("write", () => checkpoints.write(changes)),
  }));
  const { asked } = await askForCaptures(watched, (shards) => counted("ask", async () => shards));
  expect([asked, most.get, most.ask, most.write <= ASK_TOGETHER * ASKS_AT_ONCE, most.write > ASK_TOGETHER]).toEqual([
    600,
    PLAN_READS_TOGETHER,
    ASKS_AT_ONCE,
    true,
    true,
  ]);
});

test("of a capped table no more captures are under way than it allows, and of the others all", async () => {
  const world = await dirtyWorld({ name: "capped", shards: 30, capturesTogetherMax: 4 }, { name: "free", shards: 15 });
  const first = await ask(world);
  expect(first.report).toMatchObject({ dirty: 45, due: 45, asked: 19, held: 26 });
  world.clock.advance(MINUTE_MS);
  expect((await ask(world)).report).toMatchObject({ asked: 0, held: 26 });
  const taken = first.asked.filter(({ table }) => table === "capped");
  await captured(world, taken.slice(0, 3));
  const { report, asked } = await ask(world);
  expect(report).toMatchObject({ asked: 3, held: 23 });
  expect(asked.some((id) => taken.includes(id))).toBe(false);
});

test("a shard that is held back has its turn: all come once, in rounds, before any comes twice", async () => {
  const world = await dirtyWorld({ name: "capped", shards: 20, capturesTogetherMax: 5 });
  const turns: number[][] = [];
  for (let round = 0; round < 4; round++) {
    const { asked } = await ask(world);
    turns.push(asked.map(({ shard }) => shard));
    await captured(world, asked);
    for (const id of asked) await dirty(world, id);
    world.clock.advance(MINUTE_MS);
  }
  expect([turns.map((some) => some.length), new Set(turns.flat()).size]).toEqual([[5, 5, 5, 5], 20]);
});

test("lost messages do not starve a capped table, nor do shards that cannot be captured keep the others from their turn", async () => {
  const world = await dirtyWorld({ name: "capped", shards: 6, capturesTogetherMax: 2 });
  const seen = new Set<number>();
  for (let time = 0; time < 3; time++) {
    const { asked } = await ask(world);
    expect(asked).toHaveLength(2);
    for (const { shard } of asked) seen.add(shard);
    // Nothing comes of them.
    world.clock.advance(ASK_AGAIN_AFTER_MS - 1);
    expect((await ask(world)).asked).toEqual([]);
    world.clock.advance(1);
  }
  expect([...seen].sort()).toEqual([0, 1, 2, 3, 4, 5]);
});

test("how long a shard has been due is told of those that are held back, too, and noted once", async () => {
  const world = await dirtyWorld({ name: "capped", shards: 3, capturesTogetherMax: 1 });
  const { asked } = await ask(world);
  await captured(world, asked);
  world.clock.advance(2 * MINUTE_MS);
  let writes = 0;
  const counted = withCheckpoints(world, (checkpoints) => ({
    write(changes) {
      writes += 1;
      return checkpoints.write(changes);
    },
  }));
  const { report } = await ask(counted);
  expect([report.tables.get("capped")?.lagMs, report.asked, report.held, writes]).toEqual([2 * MINUTE_MS, 1, 1, 1]);
});

test("what was not taken is asked for again at once, and a capped table's place is free for it", async () => {
  const world = await dirtyWorld({ name: "capped", shards: 3, capturesTogetherMax: 2 });
  expect(await askForCaptures(world, async () => [])).toMatchObject({ asked: 0, held: 1 });
  expect(await ask(world)).toMatchObject({ report: { asked: 2, held: 1 } });
});

test("a call that fails fails the run, once what was begun has ended", async () => {
  const world = await dirtyWorld({ name: "many", shards: 500 });
  let running = 0;
  const failing = askForCaptures(world, async (shards) => {
    running += 1;
    await new Promise((resolve) => setTimeout(resolve, 1));
    running -= 1;
    if (shards.some(({ shard }) => shard === 250)) throw noAnswer();
    return shards;
  });
  await expect(failing).rejects.toMatchObject({ kind: "retry" });
  expect(running).toBe(0);
});

test("a table tells the longest expected recovery of its dirty shards, and what they stored for what was appended", async () => {
  const world = await dirtyWorld({ name: "players", shards: 2, captureAfterMutations: 100 }, { name: "empty", shards: 1 });
  for (const shard of [0, 1]) {
    const hint = hintWith({
      next: 2 + shard,
      capturedAtMs: START_MS,
      log: { files: 1, bytes: 300, rawBytes: 1_000 },
      sentBytes: 900,
      snapshotBytes: 40_000_000 * (shard + 1),
    });
    await world.checkpoints.write([{ item: tailItem({ table: "players", shard }), when: [], put: { ...tailAttributes(hint), dirty: "dirty" } }]);
  }
  const { tables } = (await ask(world)).report;
  expect([tables.get("players"), tables.get("empty")]).toEqual([
    { dirty: 2, due: 0, recoveryMs: 2_020, writeAmplification: 1.2 },
    { dirty: 1, due: 1, lagMs: 0, recoveryMs: 0 },
  ]);
});

test("when it was asked for stands on the shard until a capture comes", async () => {
  const world = await dirtyWorld({ name: "players" });
  await ask(world);
  const item = await world.checkpoints.get(tailItem({ table: "players", shard: 0 }));
  expect(item && parseTail(item)).toMatchObject({ dueSinceMs: START_MS, askedAtMs: START_MS });
});
