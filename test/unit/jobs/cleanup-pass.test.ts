import fc from "fast-check";
import { expect, test } from "vitest";
import { tableItem } from "../../../lib/checkpoint/items.ts";
import { type CleanupTask, planPass, runCleanupTask } from "../../../lib/jobs/cleanup-pass.ts";
import { captureShard, lastJob } from "../../../lib/jobs/snapshot.ts";
import { createTable, listTables } from "../../../lib/jobs/tables.ts";
import { CLEANUP_TASK_SHARDS_MAX } from "../../../lib/model/limits.ts";
import type { World } from "../../../lib/ports/world.ts";
import { appendEach, id, itemsOf, keysOf, memoryWorld, put, withObjects, worldWithTable } from "./world.ts";

const LONG = new AbortController().signal;

test("the tasks of a pass have every shard once, and none more than fits a call", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 450 }), { maxLength: 4 }), async (sizes) => {
      const world = memoryWorld();
      for (const [place, shards] of sizes.entries()) await createTable(world, { name: `t${place}`, shards });
      const tasks = await planPass(world);
      const seen = tasks.flatMap((task) =>
        task.kind === "shards" ? Array.from({ length: task.to - task.from }, (_, at) => `${task.table}/${task.from + at}`) : [],
      );
      expect(seen.sort()).toEqual(sizes.flatMap((shards, place) => Array.from({ length: shards }, (_, shard) => `t${place}/${shard}`)).sort());
      for (const task of tasks) if (task.kind === "shards") expect(task.to - task.from).toBeLessThanOrEqual(CLEANUP_TASK_SHARDS_MAX);
      expect(tasks.filter(({ kind }) => kind === "strays")).toHaveLength(1);
    }),
    { numRuns: 30 },
  );
});

test("a table whose item cannot be read has a task of its own in a pass, and fails alone", async () => {
  const world = await worldWithTable();
  await createTable(world, { name: "other" });
  await world.checkpoints.write([{ item: tableItem("players"), when: [], set: { shards: "many" } }]);
  const [other, players, strays] = await planPass(world);
  expect([other, players, strays]).toMatchObject([{ kind: "shards", table: "other" }, { kind: "shards", table: "players" }, { kind: "strays" }]);
  await expect(runCleanupTask(world, players, LONG)).rejects.toMatchObject({ kind: "repair", object: "tables players" });
  for (const task of [other, strays]) expect((await runCleanupTask(world, task, LONG)).failures).toEqual([]);
});

/** Carries out a task and all that it leaves, each with time for `steps` looks at the signal. */
async function runAll(world: World, first: CleanupTask, steps: number): Promise<number> {
  const waiting = [first];
  let runs = 0;
  for (let task = waiting.shift(); task !== undefined; task = waiting.shift()) {
    const { rest, failures } = await runCleanupTask(world, task, patience(steps));
    expect(failures).toEqual([]);
    if (rest !== undefined) waiting.push(rest);
    runs += 1;
    expect(runs).toBeLessThan(1_000);
  }
  return runs;
}

/** A signal that aborts when it was looked at so often. */
function patience(steps: number): AbortSignal {
  const controller = new AbortController();
  let looks = 0;
  return new Proxy(controller.signal, {
    get(target, name) {
      if (name === "aborted" && ++looks > steps) controller.abort();
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

test("a task out of time hands on its rest, until every shard is clean", async () => {
  const world = await worldWithTable({ shards: 7 });
  for (let shard = 0; shard < 7; shard++) {
    await appendEach(world, [[put("a", 1)]], { table: "players", shard });
    await world.objects.createUpload(`players/${shard}/0123456789abcdef/snapshots/0000000000000001-e1.parquet`);
  }
  expect(await runAll(world, { kind: "shards", table: "players", from: 0, to: 7 }, 2)).toBe(4);
  expect(world.objects.uploads.size).toBe(0);
});

test("a task without any time cleans one shard all the same, so that a pass ends", async () => {
  const world = await worldWithTable({ shards: 3 });
  for (let shard = 0; shard < 3; shard++) await appendEach(world, [[put("a", 1)]], { table: "players", shard });
  expect(await runAll(world, { kind: "shards", table: "players", from: 0, to: 3 }, 0)).toBe(3);
});

test("a table's deletion out of time goes on where it was, and ends", async () => {
  const world = await worldWithTable({ shards: 7 });
  for (let shard = 0; shard < 7; shard++) await appendEach(world, [[put("a", 1)]], { table: "players", shard });
  await world.checkpoints.write([{ item: tableItem("players"), when: [], set: { state: "deleting" } }]);
  expect(await planPass(world)).toEqual([{ kind: "deletion", table: "players" }, { kind: "strays" }]);
  expect(await runAll(world, { kind: "deletion", table: "players" }, 2)).toBe(3);
  expect([await listTables(world), keysOf(world).length, itemsOf(world)]).toEqual([[], 0, []]);
});

test("strays out of time are looked for again", async () => {
  const world = memoryWorld();
  for (const table of ["a", "b", "c"]) await world.objects.createUpload(`${table}/0/0123456789abcdef/snapshots/0000000000000001-e1.parquet`);
  expect(await runAll(world, { kind: "strays" }, 0)).toBe(4);
  expect(world.objects.uploads.size).toBe(0);
});

test("after a capture its shard is cleaned, and the job ended", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await captureShard(world, { id });
  const { cleaned } = await runCleanupTask(world, { kind: "after", table: "players", shard: 0 }, LONG);
  expect(cleaned).toMatchObject([{ id, report: { kind: "cleaned" } }]);
  expect(await lastJob(world, id)).toMatchObject({ stage: "complete", outcome: "completed" });
});

test("tasks for what is gone do nothing", async () => {
  const world = memoryWorld();
  const tasks: readonly CleanupTask[] = [
    { kind: "after", table: "players", shard: 0 },
    { kind: "shards", table: "players", from: 0, to: 3 },
    { kind: "deletion", table: "players" },
  ];
  for (const task of tasks) expect(await runCleanupTask(world, task, LONG)).toEqual({ cleaned: [], failures: [] });
});

test("a shard that fails stops no other, and comes again alone", async () => {
  const world = await worldWithTable({ shards: 3 });
  for (let shard = 0; shard < 3; shard++) await appendEach(world, [[put("a", 1)]], { table: "players", shard });
  const failing = withObjects(world, (objects) => ({
    list: (request) => (request.prefix.startsWith("players/1/") ? Promise.reject(new Error("broken")) : objects.list(request)),
  }));
  const { cleaned, failures } = await runCleanupTask(failing, { kind: "shards", table: "players", from: 0, to: 3 }, LONG);
  expect(cleaned.map(({ id: { shard } }) => shard)).toEqual([0, 2]);
  expect(failures).toMatchObject([{ task: { kind: "shards", table: "players", from: 1, to: 2 } }]);
  await expect(runCleanupTask(failing, failures[0].task, LONG)).rejects.toThrow("broken");
});
