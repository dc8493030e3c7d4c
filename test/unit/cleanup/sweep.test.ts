import { expect, test } from "vitest";
import { readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { controlItem, historyAttributes, historyItem, partItem, requestItem } from "../../../lib/checkpoint/items.ts";
import { sweep } from "../../../lib/cleanup/sweep.ts";
import { deleteTable } from "../../../lib/jobs/tables.ts";
import { PART_NOTE_BYTES_MAX } from "../../../lib/model/limits.ts";
import { STORE_KEY } from "../../../lib/model/names.ts";
import { toEpoch, toIndex } from "../../../lib/model/position.ts";
import { POLICY_DEFAULTS } from "../../../lib/model/table.ts";
import { pin } from "../../../lib/recovery/pin.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { rowAt } from "../checkpoint/samples.ts";
import { appendEach, id, itemsOf, keysOf, type MemoryWorld, put, START_MS, stored, withCheckpoints, withObjects, worldWithTable } from "../jobs/world.ts";

const request = { id, policy: POLICY_DEFAULTS };

/** So many captures, each behind two redo files of one mutation. */
async function worldWithCaptures(captures: number): Promise<MemoryWorld> {
  const world = await worldWithTable();
  for (let i = 0; i < captures; i++) {
    await appendEach(world, [[put(`a${i}`, i)], [put(`b${i}`, i)]]);
    await capture(world, { id, codec: "json" });
  }
  return world;
}

async function prefixOf(world: MemoryWorld): Promise<string> {
  return `players/0/${(await readControl(world.checkpoints, id))?.incarnation}/`;
}

async function namesOf(world: MemoryWorld): Promise<readonly string[]> {
  const prefix = await prefixOf(world);
  return keysOf(world)
    .map((key) => key.replace(prefix, ""))
    .sort();
}

const TIDY = ["redo/0000000000000005.redo", "redo/0000000000000006.redo", "snapshots/0000000000000004-e2.parquet", "snapshots/0000000000000006-e3.parquet"];

test("at rest the bucket holds what the newest two generations need, and the items say so (I7)", async () => {
  const world = await worldWithCaptures(3);
  const outcome = await sweep(world, request);
  expect(outcome).toMatchObject({ kind: "cleaned", failed: [], plan: { lowWater: 5 } });
  expect(await namesOf(world)).toEqual(TIDY);
  expect(await readControl(world.checkpoints, id)).toMatchObject({ lowWater: 5, epoch: 3 });
  expect((await readHistory(world.checkpoints, id)).map(({ index, state }) => [index, state])).toEqual([
    [4, "kept"],
    [6, "kept"],
  ]);
  expect(itemsOf(world).filter(({ key }) => key.sort.startsWith("part#"))).toEqual([]);
  expect(world.events.filter(({ kind }) => kind === "cleaned")).toEqual([
    { kind: "cleaned", shard: "players/0", redoFiles: 4, snapshots: 1, orphans: 0, lowWater: 5 },
  ]);
});

test("a second run finds nothing to do, and writes nothing", async () => {
  const world = await worldWithCaptures(3);
  await sweep(world, request);
  const before = stored(world);
  const outcome = await sweep(world, request);
  expect(outcome.kind).toBe("cleaned");
  expect(stored(world)).toEqual(before);
});

test("a run with nothing to do tells of nothing", async () => {
  const world = await worldWithCaptures(3);
  await sweep(world, request);
  const told = world.events.length;
  await sweep(world, request);
  expect(world.events.length).toBe(told);
});

test("a dry run changes nothing, and plans what a run then does", async () => {
  const world = await worldWithCaptures(3);
  const before = stored(world);
  const planned = await sweep(world, { ...request, dryRun: true });
  expect(planned.kind).toBe("planned");
  expect(stored(world)).toEqual(before);
  const cleaned = await sweep(world, request);
  expect(cleaned.plan).toEqual(planned.plan);
});

test("the mark is raised before anything is deleted", async () => {
  const world = await worldWithCaptures(3);
  const marks: unknown[] = [];
  const watched = withObjects(world, (objects) => ({
    async deleteMany(keys) {
      marks.push((await world.checkpoints.get(controlItem(id)))?.attributes.lowWater);
      return objects.deleteMany(keys);
    },
  }));
  await sweep(watched, request);
  expect(new Set(marks)).toEqual(new Set([5]));
});

test("a run whose raise is refused deletes nothing, and the next one does it", async () => {
  const world = await worldWithCaptures(3);
  const [row] = await readHistory(world.checkpoints, id);
  const { incarnation } = (await readControl(world.checkpoints, id)) ?? { incarnation: "" };
  const objects = await namesOf(world);
  let pinned = false;
  const raced = withCheckpoints(world, (checkpoints) => ({
    async write(changes) {
      if (!pinned) {
        pinned = true;
        await pin(world, { life: { id, incarnation }, row, pinId: "reader" }, START_MS + 1);
      }
      return checkpoints.write(changes);
    },
  }));
  const outcome = await sweep(raced, request);
  expect(outcome.kind).toBe("outrun");
  expect(await namesOf(world)).toEqual(objects);
  world.clock.advance(1);
  expect((await sweep(world, request)).kind).toBe("cleaned");
  expect(await namesOf(world)).toEqual(TIDY);
});

test("a generation that is pinned behind the raise is not let go", async () => {
  const world = await worldWithCaptures(4);
  const [, row] = await readHistory(world.checkpoints, id);
  const { incarnation } = (await readControl(world.checkpoints, id)) ?? { incarnation: "" };
  const raced = withCheckpoints(world, (checkpoints) => ({
    async write(changes) {
      const outcome = await checkpoints.write(changes);
      if (changes.length === 1 && changes[0].item.sort === "control") await pin(world, { life: { id, incarnation }, row, pinId: "reader" }, START_MS + 1_000);
      return outcome;
    },
  }));
  await sweep(raced, { id, policy: { ...POLICY_DEFAULTS, compactionOverhead: 4 } });
  expect((await readHistory(world.checkpoints, id)).map(({ index, state, pins }) => [index, state, Object.keys(pins)])).toContainEqual([4, "kept", ["reader"]]);
  expect(world.objects.objects.has(row.key)).toBe(true);
});

test("what could not be deleted is told, and tried again by the next run", async () => {
  const world = await worldWithCaptures(3);
  const prefix = await prefixOf(world);
  const stuck = [`${prefix}redo/0000000000000001.redo`, `${prefix}snapshots/0000000000000002-e1.parquet`];
  const failing = withObjects(world, (objects) => ({
    async deleteMany(keys) {
      await objects.deleteMany(keys.filter((key) => !stuck.includes(key)));
      return { failed: keys.filter((key) => stuck.includes(key)).map((key) => ({ key, reason: "denied" })) };
    },
  }));
  const first = await sweep(failing, request);
  expect(first).toMatchObject({ kind: "cleaned", failed: stuck.map((key) => ({ key, reason: "denied" })) });
  expect((await readHistory(world.checkpoints, id)).map(({ index, state }) => [index, state])).toEqual([
    [2, "deleting"],
    [4, "kept"],
    [6, "kept"],
  ]);
  expect(await sweep(world, request)).toMatchObject({ kind: "cleaned", failed: [] });
  expect(await namesOf(world)).toEqual(TIDY);
  expect((await readHistory(world.checkpoints, id)).map(({ index }) => index)).toEqual([4, 6]);
});

test("a generation's row is marked first, then its object goes, then the row", async () => {
  const world = await worldWithCaptures(3);
  const [row] = await readHistory(world.checkpoints, id);
  const steps: string[] = [];
  const watched = withCheckpoints(
    withObjects(world, (objects) => ({
      async deleteMany(keys) {
        if (keys.includes(row.key)) steps.push("object");
        return objects.deleteMany(keys);
      },
    })),
    (checkpoints) => ({
      async write(changes) {
        for (const change of changes) {
          if (change.item.sort !== historyItem(id, row).sort) continue;
          steps.push("delete" in change ? "row" : "mark");
        }
        return checkpoints.write(changes);
      },
    }),
  );
  await sweep(watched, request);
  expect(steps).toEqual(["mark", "object", "row"]);
});

test("a listing of many pages is read to its end", async () => {
  const world = await worldWithCaptures(3);
  const paged = withObjects(world, (objects) => ({
    list: (listing) => objects.list({ ...listing, limit: 1 }),
    listUploads: (listing) => objects.listUploads({ ...listing, limit: 1 }),
  }));
  const prefix = await prefixOf(world);
  for (const index of [7, 8]) await world.objects.createUpload(`${prefix}snapshots/000000000000000${index}-e1.parquet`);
  await sweep(paged, request);
  expect([await namesOf(world), world.objects.uploads.size]).toEqual([TIDY, 0]);
});

test("an upload of the current epoch is fenced, and its writer then stores no part", async () => {
  const world = await worldWithCaptures(1);
  const prefix = await prefixOf(world);
  await world.objects.createUpload(`${prefix}snapshots/0000000000000009-e1.parquet`);
  const outcome = await sweep(world, request);
  expect([outcome.plan.fence, world.objects.uploads.size, (await readControl(world.checkpoints, id))?.epoch]).toEqual([true, 0, 2]);
});

test("where the mark stays and nobody is fenced, the control item is left as it is", async () => {
  const world = await worldWithCaptures(2);
  await sweep(world, request);
  const before = await readControl(world.checkpoints, id);
  await world.objects.createIfAbsent(`${await prefixOf(world)}snapshots/0000000000000009-e1.parquet`, Buffer.from("x"));
  await world.objects.createUpload(`${await prefixOf(world)}snapshots/0000000000000008-e1.parquet`);
  await sweep(world, request);
  expect([await readControl(world.checkpoints, id), world.objects.uploads.size]).toEqual([before, 0]);
  expect(world.events.at(-1)).toEqual({ kind: "cleaned", shard: "players/0", redoFiles: 0, snapshots: 0, orphans: 2, lowWater: before?.lowWater });
});

test("a row that another run took away meanwhile does not come back, and neither does its mark", async () => {
  const world = await worldWithCaptures(3);
  const [row] = await readHistory(world.checkpoints, id);
  const raced = withCheckpoints(world, (checkpoints) => ({
    async write(changes) {
      // Another copy of this run, that is ahead of it by all of its steps.
      if (changes.some(({ item }) => item.sort === historyItem(id, row).sort))
        await checkpoints.write([{ item: historyItem(id, row), when: [], delete: true }]);
      return checkpoints.write(changes);
    },
  }));
  await sweep(raced, request);
  expect((await readHistory(world.checkpoints, id)).map(({ index, state }) => [index, state])).toEqual([
    [4, "kept"],
    [6, "kept"],
  ]);
});

test("only a run that deletes what the control item does not know asks whether the objects are of this store", async () => {
  const world = await worldWithCaptures(3);
  await world.objects.deleteMany([STORE_KEY]);
  expect(await sweep(world, request)).toMatchObject({ kind: "cleaned" });
  const past = "players/0/ffffffffffffffff/redo/0000000000000001.redo";
  await world.objects.createIfAbsent(past, Buffer.from("x"));
  await expect(sweep(world, request)).rejects.toMatchObject({ code: "unpaired-store" });
  // One that is its own beside it makes no difference.
  await world.objects.createIfAbsent(`${await prefixOf(world)}snapshots/0000000000000009-e1.parquet`, Buffer.from("x"));
  await expect(sweep(world, request)).rejects.toMatchObject({ code: "unpaired-store" });
  expect(world.objects.objects.has(past)).toBe(true);
  await world.checkpoints.write([{ item: controlItem(id), when: [], delete: true }]);
  await expect(sweep(world, request)).rejects.toMatchObject({ code: "unpaired-store" });
});

test("a name that cannot be read is told and left", async () => {
  const world = await worldWithCaptures(1);
  await world.objects.createIfAbsent("players/0/README", Buffer.from("x"));
  await sweep(world, request);
  expect(world.objects.objects.has("players/0/README")).toBe(true);
  expect(world.events.filter(({ kind }) => kind === "unparseable-name")).toEqual([{ kind: "unparseable-name", shard: "players/0", key: "players/0/README" }]);
});

test("items that are deleted together fit a transaction of 4 MB, however much each of them holds", async () => {
  const world = await worldWithCaptures(1);
  const text = "x".repeat(PART_NOTE_BYTES_MAX);
  for (let number = 1; number <= 20; number++) {
    await world.checkpoints.write([{ item: partItem(id, toEpoch(0), number), when: [], put: { uploadId: "u", note: text } }]);
    await world.checkpoints.write([{ item: requestItem(id, String(number)), when: [], put: { text } }]);
  }
  let most = 0;
  const weighed = withCheckpoints(world, (checkpoints) => ({
    async write(changes) {
      const before = await Promise.all(changes.map(({ item }) => checkpoints.get(item)));
      most = Math.max(
        most,
        before.reduce((bytes, item) => bytes + JSON.stringify(item?.attributes ?? {}).length, 0),
      );
      return checkpoints.write(changes);
    },
  }));
  await sweep(weighed, request);
  expect(itemsOf(world).filter(({ key }) => key.sort.startsWith("part#"))).toEqual([]);
  await deleteTable(weighed, id.table);
  expect(itemsOf(world).filter(({ key }) => key.partition.startsWith("shard#"))).toEqual([]);
  expect(most).toBeGreaterThan(2_000_000);
  expect(most).toBeLessThan(4_000_000);
});

test("a shard whose control item is gone is emptied, rows and parts too", async () => {
  const world = await worldWithCaptures(2);
  await world.checkpoints.write([{ item: partItem(id, toEpoch(1), 1), when: [], put: { uploadId: "u", etag: "e" } }]);
  await world.checkpoints.write([{ item: controlItem(id), when: [], delete: true }]);
  await sweep(world, request);
  expect([keysOf(world).length, itemsOf(world).map(({ key }) => key.sort)]).toEqual([0, ["tail", "players"]]);
});

test("a life that begins while a sweep reads loses nothing", async () => {
  const world = await worldWithTable();
  const raced = withCheckpoints(world, (checkpoints) => ({
    // Between the sweep's look at the control item, which was not there yet, and its look at the rows.
    async query(query) {
      if (query.sortPrefix === "snapshot#" && (await checkpoints.get(controlItem(id))) === undefined) {
        await appendEach(world, [[put("a", 1)]]);
        await capture(world, { id, codec: "json" });
      }
      return checkpoints.query(query);
    },
  }));
  await sweep(raced, request);
  const rows = await readHistory(world.checkpoints, id);
  expect(rows.map(({ index }) => index)).toEqual([1]);
  expect(world.objects.objects.has(rows[0].key)).toBe(true);
});

test("a row of a new life in the place of the old one is left alone", async () => {
  const world = await worldWithCaptures(3);
  const [old] = await readHistory(world.checkpoints, id);
  const renewed = rowAt(2);
  const raced = withObjects(world, (objects) => ({
    async deleteMany(keys) {
      if (keys.includes(old.key)) await world.checkpoints.write([{ item: historyItem(id, renewed), when: [], put: historyAttributes(renewed) }]);
      return objects.deleteMany(keys);
    },
  }));
  await sweep(raced, request);
  expect(await world.checkpoints.get(historyItem(id, { index: toIndex(2), epoch: toEpoch(1) }))).toMatchObject({ attributes: { key: renewed.key } });
});
