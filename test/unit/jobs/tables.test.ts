import { expect, test } from "vitest";
import { createTable, deleteTable, getTable, listTables, updateTable } from "../../../lib/jobs/tables.ts";
import { POLICY_DEFAULTS } from "../../../lib/model/table.ts";
import { memoryWorld, START_MS, withCheckpoints, worldWithTable } from "./world.ts";

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
  const passed = withCheckpoints(world, (checkpoints) => ({
    async write(changes) {
      if (changes.every(({ item }) => item.sort !== "players")) return checkpoints.write(changes);
      await deleteTable(world, "players");
      await createTable({ ...world, clock: { ...world.clock, now: () => START_MS + 1 } }, { name: "players" });
      return checkpoints.write(changes);
    },
  }));
  await deleteTable(passed, "players").catch(() => undefined);
  expect(await getTable(world, "players")).toMatchObject({ state: "live", createdAtMs: START_MS + 1 });
});
