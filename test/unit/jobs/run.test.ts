import { expect, test } from "vitest";
import { controlItem, tableAttributes, tableItem, tailItem } from "../../../lib/checkpoint/items.ts";
import { cleanupShard } from "../../../lib/jobs/cleanup.ts";
import { plan, type PlannedShard } from "../../../lib/jobs/plan.ts";
import { runLoop, runRound } from "../../../lib/jobs/run.ts";
import { shardStatus } from "../../../lib/jobs/status.ts";
import { createTable, deleteTable, finishDeletion, getTable, listTables } from "../../../lib/jobs/tables.ts";
import { tableWriter } from "../../../lib/jobs/append.ts";
import { TidemarkError } from "../../../lib/model/errors.ts";
import { shardOf } from "../../../lib/model/table.ts";
import type { World } from "../../../lib/ports/world.ts";
import { readTail } from "../../../lib/redo-log/tail.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import {
  appendEach,
  id,
  itemsOf,
  keysOf,
  memoryWorld,
  type MemoryWorld,
  noAnswer,
  put,
  START_MS,
  withCheckpoints,
  withObjects,
  worldWithTable,
} from "./world.ts";

const eager = { captureAfterMutations: 1 };

const planned = (world: World): Promise<readonly PlannedShard[]> => Array.fromAsync(plan(world));

/** Counts the calls of both stores by name. */
function counting(world: MemoryWorld): { readonly world: World; readonly calls: Record<string, number> } {
  const calls: Record<string, number> = {};
  const counted = <Store extends object>(store: Store): Store =>
    new Proxy(store, {
      get(target, name, receiver) {
        const value: unknown = Reflect.get(target, name, receiver);
        if (typeof value !== "function") return value;
        return (...values: unknown[]) => {
          calls[String(name)] = (calls[String(name)] ?? 0) + 1;
          return Reflect.apply(value, target, values);
        };
      },
    });
  return { world: { ...world, objects: counted(world.objects), checkpoints: counted(world.checkpoints) }, calls };
}

test("planning asks one query of a pipeline at rest, and lists nothing", async () => {
  const world = await worldWithTable(eager);
  await appendEach(world, [[put("a", 1)]]);
  await runRound(world);
  const { world: counted, calls } = counting(world);
  expect([await planned(counted), calls]).toEqual([[], { queryDirty: 1 }]);
});

test("planning finds every dirty shard of a live table, page by page", async () => {
  const world = await worldWithTable({ ...eager, shards: 3 });
  for (const shard of [0, 1, 2]) await appendEach(world, [[put("a", 1)]], { ...id, shard });
  const paged = withCheckpoints(world, (checkpoints) => ({ queryDirty: (request) => checkpoints.queryDirty({ ...request, limit: 1 }) }));
  const found = await planned(paged);
  expect(found.map(({ id: { shard }, qualification }) => [shard, qualification])).toEqual(
    [0, 1, 2].map((shard) => [shard, { kind: "qualifies", by: "mutations", mutations: 1 }]),
  );
});

test("planning passes over a shard that was captured, or deleted, since the index showed it as dirty", async () => {
  const world = await worldWithTable({ ...eager, shards: 3 });
  for (const shard of [0, 1, 2]) await appendEach(world, [[put("a", 1)]], { ...id, shard });
  const late = withCheckpoints(world, (checkpoints) => ({
    async queryDirty(request) {
      const page = await checkpoints.queryDirty(request);
      await capture(world, { id, codec: "json" });
      await world.checkpoints.write([{ item: tailItem({ ...id, shard: 1 }), when: [], delete: true }]);
      return page;
    },
  }));
  expect((await planned(late)).map(({ id: { shard } }) => shard)).toEqual([2]);
});

test("planning reads the tails of many dirty shards, a few at a time", async () => {
  const world = await worldWithTable({ ...eager, shards: 60 });
  for (let shard = 0; shard < 60; shard++) await appendEach(world, [[put("a", 1)]], { ...id, shard });
  let [running, most] = [0, 0];
  const counted = withCheckpoints(world, (checkpoints) => ({
    async get(key) {
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      return checkpoints.get(key);
    },
  }));
  expect([(await planned(counted)).length, most]).toEqual([60, 25]);
});

test("a round captures what qualifies, and leaves what waits", async () => {
  const world = await worldWithTable({ captureAfterMutations: 2, shards: 2 });
  await appendEach(world, [[put("a", 1)]]);
  await appendEach(world, [[put("a", 1), put("b", 2)]], { ...id, shard: 1 });
  const report = await runRound(world);
  expect([report.dirty, report.captured.map(({ id: { shard }, report: { outcome } }) => [shard, outcome.kind]), report.failures]).toEqual([
    2,
    [[1, "completed"]],
    [],
  ]);
});

test("the failure of one shard stops no other, and is told", async () => {
  const world = await worldWithTable({ ...eager, shards: 3 });
  for (const shard of [0, 1, 2]) await appendEach(world, [[put("a", 1)]], { ...id, shard });
  const failing = withObjects(world, (objects) => ({
    async createUpload(key, numbers) {
      if (key.startsWith("players/1/")) throw noAnswer();
      return objects.createUpload(key, numbers);
    },
  }));
  const report = await runRound(failing, { cleanAll: true });
  expect(report.captured.map(({ id: { shard } }) => shard)).toEqual([0, 2]);
  expect(report.failures).toEqual([{ id: { table: "players", shard: 1 }, error: "the reply was lost" }]);
  expect(report.cleaned.map(({ id: { shard } }) => shard)).toEqual([0, 1, 2]);
});

test("a tail that cannot be read keeps no other shard from being captured, and is told", async () => {
  const world = await worldWithTable({ ...eager, shards: 3 });
  for (const shard of [0, 1, 2]) await appendEach(world, [[put("a", 1)]], { ...id, shard });
  await world.checkpoints.write([{ item: tailItem({ ...id, shard: 1 }), when: [], set: { next: "none" } }]);
  const report = await runRound(world);
  expect(report.captured.map(({ id: { shard } }) => shard)).toEqual([0, 2]);
  expect(report.failures).toEqual([{ id: { table: "players", shard: 1 }, error: expect.stringContaining("shard#players/1 tail") }]);
});

test("a table whose item cannot be read keeps no other one from being captured and cleaned, nor what a third one left, and is told", async () => {
  const world = await worldWithTable(eager);
  await createTable(world, { name: "broken" });
  for (const table of ["players", "broken"]) await appendEach(world, [[put("a", 1)]], { table, shard: 0 });
  await world.objects.createIfAbsent("gone/0/00112233aabbccdd/redo/0000000000000001.redo", Buffer.from("x"));
  await world.checkpoints.write([{ item: tableItem("broken"), when: [], set: { shards: "many" } }]);
  const { captured, cleaned, failures } = await runRound(world, { cleanAll: true });
  expect(captured.map(({ id: { table } }) => table)).toEqual(["players"]);
  expect(cleaned.map(({ id: { table } }) => table)).toEqual(["players", "gone"]);
  expect(new Set(failures.map(({ id: { table }, error }) => `${table}: ${error}`))).toEqual(
    new Set(['broken: the item tables broken is damaged: its attribute shards is "many"']),
  );
});

test("what fails in a round is warned of by its shard", async () => {
  const world = await worldWithTable(eager);
  await appendEach(world, [[put("a", 1)]]);
  await runRound(withObjects(world, () => ({ createUpload: () => Promise.reject(noAnswer()) })));
  expect(world.events.filter(({ kind }) => kind === "warning")).toEqual([{ kind: "warning", shard: "players/0", message: "the reply was lost" }]);
});

test("a round cleans all only where it is asked to, and stops between two shards", async () => {
  const world = await worldWithTable({ shards: 3 });
  for (const shard of [0, 1, 2]) await appendEach(world, [[put("a", 1)]], { ...id, shard });
  await world.objects.createUpload("gone/0/00112233aabbccdd/snapshots/0000000000000001-e1.parquet");
  expect(await runRound(world)).toEqual({ dirty: 3, captured: [], cleaned: [], failures: [] });
  const stop = new AbortController();
  const stopping = withObjects(world, (objects) => ({
    list(request) {
      if (request.prefix.startsWith("players/1/")) stop.abort();
      return objects.list(request);
    },
  }));
  const stopped = await runRound(stopping, { cleanAll: true, signal: stop.signal });
  expect(stopped.cleaned.map(({ id: { table, shard } }) => `${table}/${shard}`)).toEqual(["players/0", "players/1", "gone/0"]);
});

test("a round that is told to stop captures no further shard, and counts those that it saw", async () => {
  const world = await worldWithTable({ ...eager, shards: 3 });
  for (const shard of [0, 1, 2]) await appendEach(world, [[put("a", 1)]], { ...id, shard });
  const stop = new AbortController();
  const stopping = withObjects(world, (objects) => ({
    createUpload(key, numbers) {
      stop.abort();
      return objects.createUpload(key, numbers);
    },
  }));
  const report = await runRound(stopping, { signal: stop.signal });
  expect([report.dirty, report.captured.map(({ id: { shard }, report: { outcome } }) => [shard, outcome.kind])]).toEqual([2, [[0, "aborted"]]]);
});

test.each([
  ["retry", true],
  ["wait", true],
  ["repair", false],
] as const)("a round that fails for a %s is given up, and the loop goes on: %s", async (kind, goesOn) => {
  const world = await worldWithTable(eager);
  const stop = new AbortController();
  let rounds = 0;
  const failing = withCheckpoints(world, (checkpoints) => ({
    async queryDirty(request) {
      if (++rounds === 1) throw new TidemarkError(kind, "no-answer", "the first time");
      stop.abort();
      return checkpoints.queryDirty(request);
    },
  }));
  const loop = runLoop(failing, { everyMs: 1_000, cleanEvery: 2, signal: stop.signal, onRound: () => undefined }).then(
    () => "ended",
    () => "failed",
  );
  for (let turn = 0; turn < 50; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
    if (world.clock.nextWakeMs !== undefined) world.clock.advance(1_000);
  }
  expect([await loop, rounds]).toEqual(goesOn ? ["ended", 2] : ["failed", 1]);
  const warnings = world.events.flatMap((event) => (event.kind === "warning" ? [[event.shard, event.message]] : []));
  expect(warnings).toEqual(goesOn ? [["run", "this round was given up: the first time"]] : []);
});

test("a round that is told to stop starts nothing more", async () => {
  const world = await worldWithTable(eager);
  await appendEach(world, [[put("a", 1)]]);
  expect(await runRound(world, { cleanAll: true, signal: AbortSignal.abort() })).toMatchObject({ captured: [], failures: [] });
});

test("the loop runs a round after each pause, cleans every so many, and ends when told", async () => {
  const world = await worldWithTable(eager);
  const controller = new AbortController();
  const cleaned: number[] = [];
  const loop = runLoop(world, {
    everyMs: 1_000,
    cleanEvery: 2,
    signal: controller.signal,
    onRound: (report) => {
      cleaned.push(report.cleaned.length);
      if (cleaned.length === 3) controller.abort();
    },
  });
  while (cleaned.length < 3) {
    await new Promise((resolve) => setImmediate(resolve));
    if (world.clock.nextWakeMs !== undefined) world.clock.advance(1_000);
  }
  await loop;
  expect([cleaned, world.clock.now()]).toEqual([[1, 0, 1], START_MS + 2_000]);
});

test("a capture that was killed before it published leaves no shard dirty for long", async () => {
  const world = await worldWithTable(eager);
  await appendEach(world, [[put("a", 1)]]);
  const killed = withCheckpoints(world, (checkpoints) => ({
    async write(changes) {
      if (changes.some((change) => "set" in change && "capturedNext" in change.set)) throw noAnswer();
      return checkpoints.write(changes);
    },
  }));
  await expect(capture(killed, { id, codec: "json" })).rejects.toMatchObject({ kind: "retry" });
  expect((await runRound(world)).captured.map(({ report }) => report.outcome.kind)).toEqual(["ignored"]);
  expect(await planned(world)).toEqual([]);
});

test("a tail that was never published is found by the cleanup's listing", async () => {
  const world = await worldWithTable(eager);
  const silent = withCheckpoints(world, (checkpoints) => ({
    async write(changes) {
      if (changes.length === 1 && changes[0].item.sort === "tail") throw noAnswer();
      return checkpoints.write(changes);
    },
  }));
  await appendEach(silent, [[put("a", 1)], [put("b", 2)]]);
  expect(await planned(world)).toEqual([]);
  await cleanupShard(world, { id, policy: await getTable(world, "players") });
  expect((await readTail(world.checkpoints, id))?.border.next).toBe(3);
  expect((await planned(world)).map(({ qualification }) => qualification)).toEqual([{ kind: "qualifies", by: "mutations", mutations: 2 }]);
});

test("a dry run of a cleanup mends nothing either", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await world.checkpoints.write([{ item: tailItem(id), when: [], set: { next: 1 }, remove: ["dirty"] }]);
  await cleanupShard(world, { id, policy: await getTable(world, "players"), dryRun: true });
  expect((await readTail(world.checkpoints, id))?.border.next).toBe(1);
});

test("a table is deleted with all it holds", async () => {
  const world = await worldWithTable({ ...eager, shards: 2 });
  for (const shard of [0, 1]) await appendEach(world, [[put("a", 1)]], { ...id, shard });
  await runRound(world);
  await deleteTable(world, "players");
  expect([keysOf(world).length, world.objects.uploads.size, itemsOf(world)]).toEqual([0, 0, []]);
});

test("a deletion that stopped half-way is finished by the next round that cleans", async () => {
  const world = await worldWithTable({ ...eager, shards: 2 });
  for (const shard of [0, 1]) await appendEach(world, [[put("a", 1)]], { ...id, shard });
  const killed = withObjects(world, () => ({ deleteMany: async () => Promise.reject(noAnswer()) }));
  await expect(deleteTable(killed, "players")).rejects.toMatchObject({ kind: "retry" });
  await expect(getTable(world, "players")).rejects.toMatchObject({ code: "unknown-table" });
  expect((await listTables(world)).map(({ state }) => state)).toEqual(["deleting"]);
  await runRound(world, { cleanAll: true });
  expect([keysOf(world).length, itemsOf(world)]).toEqual([0, []]);
});

test("a round tells of objects that would not go: behind a capture, of a shard at rest, and of a table that is no more", async () => {
  const world = await worldWithTable({ ...eager, shards: 2 });
  await appendEach(world, [[put("a", 1)]]);
  const left = ["players/0", "players/1", "gone/3"].map((shard) => `${shard}/00112233aabbccdd/redo/0000000000000001.redo`);
  for (const key of left) await world.objects.createIfAbsent(key, Buffer.from("x"));
  const denied = withObjects(world, () => ({ deleteMany: async (keys) => ({ failed: keys.map((key) => ({ key, reason: "denied" })) }) }));
  const { captured, failures } = await runRound(denied, { cleanAll: true });
  expect(captured.length).toBe(1);
  expect(failures.map(({ id: { table, shard } }) => `${table}/${shard}`)).toEqual(["players/0", "players/0", "players/1", "gone/3"]);
  expect(failures[2].error).toBe(`1 objects of players/1 were not deleted, first ${left[1]}: denied`);
});

test("objects that would not go keep the table until they do", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  const failing = withObjects(world, () => ({ deleteMany: async (keys) => ({ failed: keys.map((key) => ({ key, reason: "denied" })) }) }));
  await expect(deleteTable(failing, "players")).rejects.toMatchObject({ kind: "retry", code: "undeleted-objects", message: expect.stringContaining("denied") });
  await deleteTable(world, "players");
  expect([keysOf(world).length, itemsOf(world)]).toEqual([0, []]);
});

test("a deletion that stalled leaves a table that was made anew alone", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  const stale = await getTable(world, "players");
  await deleteTable(world, "players");
  await createTable(world, { name: "players" });
  await appendEach(world, [[put("b", 2)]]);
  const before = itemsOf(world);
  await finishDeletion(world, { ...stale, state: "deleting" });
  expect(itemsOf(world)).toEqual(before);
  expect(keysOf(world).length).toBe(1);
});

test("what a stalled writer left of a deleted table is swept, and tables that live are not", async () => {
  const world = await worldWithTable();
  await createTable(world, { name: "alive" });
  await appendEach(world, [[put("a", 1)]], { table: "alive", shard: 0 });
  await world.objects.createIfAbsent("gone/3/00112233aabbccdd/redo/0000000000000001.redo", Buffer.from("x"));
  await world.objects.createUpload("lost/0/00112233aabbccdd/snapshots/0000000000000001-e1.parquet");
  for (const foreign of ["README", "Upper/0/x", "gone/notes"]) await world.objects.createIfAbsent(foreign, Buffer.from("x"));
  const report = await runRound(world, { cleanAll: true });
  expect(report.failures).toEqual([]);
  expect(
    keysOf(world)
      .filter((key) => !key.startsWith("alive/0/"))
      .sort(),
  ).toEqual(["README", "Upper/0/x", "gone/notes"]);
  expect([keysOf(world).filter((key) => key.startsWith("alive/0/")).length, world.objects.uploads.size]).toEqual([1, 0]);
});

test("a table whose state cannot be read is not deleted but told", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await world.checkpoints.write([{ item: tableItem("players"), when: [], put: { ...tableAttributes(await getTable(world, "players")), state: "lvie" } }]);
  const told = { id: { table: "players", shard: 0 }, error: expect.stringContaining("tables players is damaged") };
  expect((await runRound(world, { cleanAll: true })).failures).toEqual([told, told]);
  expect(keysOf(world).length).toBe(1);
});

test("a batch over several shards has its share in each, and is refused as a whole", async () => {
  const world = await worldWithTable({ shards: 4 });
  const table = await getTable(world, "players");
  const writer = tableWriter(world, table);
  const keys = ["a", "b", "c", "d", "e", "f"];
  const outcomes = await writer.append({ mutations: keys.map((key) => put(key, 1)) });
  const shards = [...new Set(keys.map((key) => shardOf(Buffer.from(key), 4)))].sort();
  expect(outcomes.map(({ shard, outcome }) => [shard, outcome.kind]).sort()).toEqual(shards.map((shard) => [shard, "appended"]));
  const before = keysOf(world).length;
  await expect(writer.append({ mutations: [...keys.map((key) => put(key, 2)), put("", 1)] })).rejects.toMatchObject({ kind: "call", code: "empty-key" });
  await expect(writer.append({ mutations: [] })).rejects.toMatchObject({ kind: "call", code: "empty-batch" });
  expect(keysOf(world).length).toBe(before);
});

test("a shard's status tells its tail, its generations and its last job", async () => {
  const world = await worldWithTable({ ...eager, shards: 2 });
  await appendEach(world, [[put("a", 1)]]);
  await runRound(world);
  await appendEach(world, [[put("b", 2)]]);
  const table = await getTable(world, "players");
  expect(await shardStatus(world, table, 0)).toMatchObject({
    shard: 0,
    opened: true,
    tail: 2,
    lowWater: 1,
    epoch: 1,
    capturing: false,
    checkpoint: { index: 1 },
    generations: [{ index: 1, verified: true }],
    qualification: { kind: "qualifies", mutations: 1 },
    lastJob: { outcome: "completed", stage: "complete" },
  });
  expect(await shardStatus(world, table, 1)).toMatchObject({ shard: 1, opened: false, tail: 0, generations: [], qualification: { kind: "idle" } });
  expect(await world.checkpoints.get(controlItem({ ...id, shard: 1 }))).toBeUndefined();
});

test("a pipeline without tables plans nothing", async () => {
  expect(await runRound(memoryWorld(), { cleanAll: true })).toEqual({ dirty: 0, captured: [], cleaned: [], failures: [] });
});
