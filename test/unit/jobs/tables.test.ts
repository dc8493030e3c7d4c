import { expect, test } from "vitest";
import { readHistory } from "../../../lib/checkpoint/control.ts";
import { historyItem, tableItem } from "../../../lib/checkpoint/items.ts";
import { quarantineKey, shardName } from "../../../lib/model/names.ts";
import { snapshotShard } from "../../../lib/jobs/snapshot.ts";
import { createTable, deleteTable, finishDeletion, getTable, listTables, updateTable } from "../../../lib/jobs/tables.ts";
import { POLICY_DEFAULTS } from "../../../lib/model/table.ts";
import { appendEach, id, itemsOf, keysOf, put, withObjects, memoryWorld, START_MS, withCheckpoints, worldWithTable } from "./world.ts";

test("a table is made with the defaults, and read back as it was made", async () => {
  const world = memoryWorld();
  const table = await createTable(world, { name: "players" });
  expect(table).toEqual({ ...POLICY_DEFAULTS, name: "players", shards: 1, codec: "json", createdAtMs: START_MS, state: "live" });
  expect(await getTable(world, "players")).toEqual(table);
});

test("a name is taken once", async () => {
  const world = await worldWithTable();
  await expect(createTable(world, { name: "players", shards: 2 })).rejects.toMatchObject({ kind: "call", code: "table-exists" });
  expect((await getTable(world, "players")).shards).toBe(1);
});

test("a table that is being deleted is told as that to who would make or use it: there is none, and none can be made", async () => {
  const world = await worldWithTable();
  await world.checkpoints.write([{ item: tableItem("players"), when: [], set: { state: "deleting" } }]);
  const message = expect.stringContaining("table players is being deleted");
  await expect(createTable(world, { name: "players" })).rejects.toMatchObject({ kind: "call", code: "table-exists", message });
  await expect(getTable(world, "players")).rejects.toMatchObject({ kind: "call", code: "unknown-table", message });
});

test("settings that cannot be kept make no table and change none", async () => {
  const world = await worldWithTable();
  await expect(createTable(world, { name: "../x" })).rejects.toMatchObject({ code: "bad-table-name" });
  await expect(createTable(world, { name: "other", keepSnapshots: 1 })).rejects.toMatchObject({ code: "bad-setting" });
  await expect(updateTable(world, "players", { captureAfterMs: 1 })).rejects.toMatchObject({ code: "bad-setting" });
  expect((await listTables(world)).map(({ name, captureAfterMs }) => [name, captureAfterMs])).toEqual([["players", POLICY_DEFAULTS.captureAfterMs]]);
});

test("a change of settings changes those alone", async () => {
  const world = await worldWithTable({ shards: 3, codec: "bytes" });
  const before = await getTable(world, "players");
  await updateTable(world, "players", { keepSnapshots: 5, keepForMs: 60_000 });
  expect(await getTable(world, "players")).toEqual({ ...before, keepSnapshots: 5, keepForMs: 60_000 });
});

test("a table that is not there is told", async () => {
  const world = memoryWorld();
  await expect(getTable(world, "players")).rejects.toMatchObject({ kind: "call", code: "unknown-table" });
  await expect(updateTable(world, "players", { keepSnapshots: 5 })).rejects.toMatchObject({ code: "unknown-table" });
});

test("tables are listed by name, page by page", async () => {
  const world = memoryWorld();
  for (const name of ["c", "a", "b"]) await createTable(world, { name });
  const paged = withCheckpoints(world, (checkpoints) => ({ query: (request) => checkpoints.query({ ...request, limit: 1 }) }));
  expect((await listTables(paged)).map(({ name }) => name)).toEqual(["a", "b", "c"]);
});

test("a deletion that is asked for, and comes late, leaves a table alone that was made anew under its name", async () => {
  const world = await worldWithTable();
  let isLate = false;
  const passed = withCheckpoints(world, (checkpoints) => ({
    async write(changes) {
      if (isLate || changes.every(({ item }) => item.sort !== "players")) return checkpoints.write(changes);
      isLate = true;
      await deleteTable(world, "players");
      await createTable({ ...world, clock: { ...world.clock, now: () => START_MS + 1 } }, { name: "players" });
      return checkpoints.write(changes);
    },
  }));
  await deleteTable(passed, "players").catch(() => undefined);
  expect(await getTable(world, "players")).toMatchObject({ state: "live", createdAtMs: START_MS + 1 });
});

test("a deletion that stalled takes no part in that of a table that was made anew with more shards", async () => {
  const world = await worldWithTable();
  const stale = await getTable(world, "players");
  await deleteTable(world, "players");
  await createTable({ ...world, clock: { ...world.clock, now: () => START_MS + 1 } }, { name: "players", shards: 2 });
  for (const shard of [0, 1]) await appendEach(world, [[put("a", 1)]], { ...id, shard });
  const overtaken = withObjects(world, (objects) => ({
    async deleteMany(keys) {
      await finishDeletion(world, { ...stale, state: "deleting" });
      return objects.deleteMany(keys);
    },
  }));
  await deleteTable(overtaken, "players");
  expect([await listTables(world), keysOf(world), itemsOf(world)]).toEqual([[], [], []]);
});

test("a table is deleted with a history row that nobody can read, and what the row stands for goes too", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await snapshotShard(world, { id });
  const [row] = await readHistory(world.checkpoints, id);
  await world.checkpoints.write([{ item: historyItem(id, row), when: [], set: { rows: "many" } }]);
  await deleteTable(world, "players");
  expect([await listTables(world), keysOf(world), itemsOf(world)]).toEqual([[], [], []]);
});

test("a history row of a newer program keeps the table that is deleted by an older one", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await snapshotShard(world, { id });
  const [row] = await readHistory(world.checkpoints, id);
  await world.checkpoints.write([{ item: historyItem(id, row), when: [], set: { formatVersion: 2 } }]);
  await expect(deleteTable(world, "players")).rejects.toMatchObject({ kind: "call", code: "newer-format" });
  expect((await listTables(world)).map(({ state }) => state)).toEqual(["deleting"]);
});

test("a change of nothing, and one of a table that is deleted meanwhile, is the caller's to correct", async () => {
  const world = await worldWithTable();
  await expect(updateTable(world, "players", {})).rejects.toMatchObject({ kind: "call", code: "nothing-to-change" });
  const late = withCheckpoints(world, (checkpoints) => ({
    async write(changes) {
      await world.checkpoints.write([{ item: tableItem("players"), when: [], set: { state: "deleting" } }]);
      return checkpoints.write(changes);
    },
  }));
  await expect(updateTable(late, "players", { keepSnapshots: 9 })).rejects.toMatchObject({ kind: "call", code: "unknown-table" });
  expect((await listTables(world)).map(({ state, keepSnapshots }) => [state, keepSnapshots])).toEqual([["deleting", POLICY_DEFAULTS.keepSnapshots]]);
});

test("a table that is not there cannot be deleted, and what is no name is none", async () => {
  const world = memoryWorld();
  await expect(deleteTable(world, "players")).rejects.toMatchObject({ kind: "call", code: "unknown-table" });
  await expect(getTable(world, "No Name")).rejects.toMatchObject({ kind: "call", code: "bad-table-name" });
});

test("a copy in quarantine that would not go keeps the table until it does", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  const copy = `${quarantineKey(shardName(id))}/players/0/x.redo`;
  await world.objects.createIfAbsent(copy, Buffer.from("x"));
  const failing = withObjects(world, (objects) => ({
    deleteMany: async (keys) => (keys.includes(copy) ? { failed: [{ key: copy, reason: "denied" }] } : objects.deleteMany(keys)),
  }));
  await expect(deleteTable(failing, "players")).rejects.toMatchObject({ kind: "retry", code: "undeleted-objects", message: expect.stringContaining(copy) });
  expect((await listTables(world)).map(({ state }) => state)).toEqual(["deleting"]);
  await deleteTable(world, "players");
  expect([await listTables(world), keysOf(world)]).toEqual([[], []]);
});
