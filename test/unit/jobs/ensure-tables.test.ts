import { expect, test } from "vitest";
import { tableItem } from "../../../lib/checkpoint/items.ts";
import { ensureTables } from "../../../lib/jobs/ensure-tables.ts";
import { createTable, getTable } from "../../../lib/jobs/tables.ts";
import { memoryWorld, stored, withCheckpoints, worldWithTable } from "./world.ts";

test("what lacks is made, what differs is changed, what is as it shall be is left", async () => {
  const world = await worldWithTable();
  await createTable(world, { name: "same", shards: 2, keepSnapshots: 4 });
  const wanted = [
    { name: "players", keepSnapshots: 3 },
    { name: "same", shards: 2, keepSnapshots: 4 },
    { name: "new", shards: 5 },
  ];
  expect(await ensureTables(world, wanted)).toEqual([
    { table: "players", kind: "updated" },
    { table: "same", kind: "unchanged" },
    { table: "new", kind: "created" },
  ]);
  expect((await ensureTables(world, wanted)).map(({ kind }) => kind)).toEqual(["unchanged", "unchanged", "unchanged"]);
});

test("a setting that is taken off goes back to its default", async () => {
  const world = await worldWithTable({ keepSnapshots: 9, keepForMs: 1_000 });
  await ensureTables(world, [{ name: "players", keepSnapshots: 9 }]);
  expect(await getTable(world, "players")).toMatchObject({ keepSnapshots: 9, keepForMs: 0 });
});

test("the table of a source is made as one, its policy changes, and neither takes over the other's", async () => {
  const world = await worldWithTable();
  const metrics = { name: "metrics", source: "influxdb" } as const;
  expect(await ensureTables(world, [metrics])).toEqual([{ table: "metrics", kind: "created" }]);
  expect(await ensureTables(world, [metrics])).toEqual([{ table: "metrics", kind: "unchanged" }]);
  expect(await ensureTables(world, [{ ...metrics, keepSnapshots: 9 }])).toEqual([{ table: "metrics", kind: "updated" }]);
  expect(await getTable(world, "metrics")).toMatchObject({ source: "influxdb", keepSnapshots: 9 });
  await expect(ensureTables(world, [{ name: "metrics" }])).rejects.toThrow("table metrics holds backups of influxdb and cannot hold records of producers");
  await expect(ensureTables(world, [{ ...metrics, name: "players" }])).rejects.toThrow("table players holds records of producers and cannot hold backups");
  await expect(ensureTables(world, [{ ...metrics, name: "wide", shards: 2 }])).rejects.toMatchObject({ code: "bad-setting" });
});

test("of a list that cannot be kept nothing is written", async () => {
  const world = await worldWithTable({ shards: 4 });
  await createTable(world, { name: "going" });
  await world.checkpoints.write([{ item: tableItem("going"), when: [], set: { state: "deleting" } }]);
  const before = stored(world);
  const first = { name: "aaa" };
  await expect(ensureTables(world, [first, { name: "players" }])).rejects.toMatchObject({ code: "fixed-setting" });
  await expect(ensureTables(world, [first, { name: "players", shards: 4, codec: "bytes" }])).rejects.toMatchObject({ code: "fixed-setting" });
  await expect(ensureTables(world, [first, { name: "going" }])).rejects.toMatchObject({ code: "table-being-deleted" });
  await expect(ensureTables(world, [first, first])).rejects.toMatchObject({ code: "named-twice" });
  await expect(ensureTables(world, [first, { name: "b", shards: 0 }])).rejects.toMatchObject({ code: "bad-setting" });
  expect(stored(world)).toEqual(before);
});

test.each([
  ["the same table", 2, "unchanged"],
  ["another", 3, undefined],
])("where %s comes in between, it is the one that was wanted, or refused", async (_, shards, kind) => {
  const world = memoryWorld();
  const rival = withCheckpoints(world, (checkpoints) => ({
    async write(changes) {
      if (world.checkpoints.items.length === 0) await createTable(world, { name: "players", shards });
      return checkpoints.write(changes);
    },
  }));
  const ensured = ensureTables(rival, [{ name: "players", shards: 2 }]);
  if (kind !== undefined) expect(await ensured).toEqual([{ table: "players", kind }]);
  else await expect(ensured).rejects.toMatchObject({ code: "fixed-setting" });
});
