import { describe, expect, test } from "vitest";
import { attach } from "../../../lib/attachments/attach.ts";
import { openShard, readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { controlItem, noteItem } from "../../../lib/checkpoint/items.ts";
import { sweep } from "../../../lib/cleanup/sweep.ts";
import { snapshotShard } from "../../../lib/jobs/snapshot.ts";
import { createTable, deleteTable } from "../../../lib/jobs/tables.ts";
import { attachmentReference, incarnationPrefix } from "../../../lib/model/names.ts";
import { POLICY_DEFAULTS } from "../../../lib/model/table.ts";
import type { World } from "../../../lib/ports/world.ts";
import { pin, unpin } from "../../../lib/recovery/pin.ts";
import { commitGeneration, generationRecord } from "../../../lib/sources/influxdb/generation.ts";
import { readNewest } from "../../../lib/sources/influxdb/open-backup.ts";
import type { Backup } from "../../../lib/sources/influxdb/records.ts";
import { appendEach, id, itemsOf, keysOf, type MemoryWorld, put, START_MS, withCheckpoints, withObjects, worldWithTable } from "../jobs/world.ts";
import { aShard, lifeOf } from "../sources/influxdb/samples.ts";

const request = { id, policy: POLICY_DEFAULTS };
const FILE = "000000001-000000001.tsm";

async function worldOfSource(): Promise<MemoryWorld> {
  return worldWithTable({ source: "influxdb" });
}

async function prefixOf(world: World): Promise<string> {
  return incarnationPrefix(id, (await openShard(world, id, world.clock.now())).incarnation);
}

/** Stores a file of shard 7 under a sequence, with a note of it. */
async function stored(world: World, sequence: number, content: string) {
  const object = attachmentReference(sequence, `7/${FILE}-${content}`);
  const file = { name: FILE, ...(await attach(world, `${await prefixOf(world)}${object}`, [Buffer.from(content)])), modifiedS: 1, object };
  await world.checkpoints.write([
    { item: noteItem(id, sequence, `file/7/${FILE}`), when: [], put: { formatVersion: 1, shard: 7, file: JSON.stringify(file) } },
  ]);
  return file;
}

/** Appends the generation in which shard 7 has that one file. */
async function committed(world: World, generation: number, files: Awaited<ReturnType<typeof stored>>[], job = `job ${generation}`): Promise<boolean> {
  const { backup: head, oldestIndex } = await readNewest(world, id.table);
  const next: Backup = { ...head, shards: new Map([[7, aShard({ shard: 7, generation, files })]]) };
  const times = { startedAtMs: START_MS, finishedAtMs: START_MS };
  const record = generationRecord(head, next, { generation, isFull: false, job, server: "x", selection: {}, changedShards: 1, failed: [], ...times });
  return commitGeneration(world, await lifeOf(world), { head, next, record, oldestIndex });
}

/** So many generations, each with another file, each captured. */
async function worldWithGenerations(count: number, keepSnapshots = POLICY_DEFAULTS.keepSnapshots): Promise<MemoryWorld> {
  const world = await worldWithTable({ source: "influxdb", keepSnapshots });
  for (let generation = 1; generation <= count; generation++) {
    await committed(world, generation, [await stored(world, generation, `content ${generation}`.replace(" ", "-"))]);
    await snapshotShard(world, { id });
  }
  return world;
}

const attachments = (world: MemoryWorld) =>
  keysOf(world)
    .filter((key) => key.includes("/attached/"))
    .map((key) => key.replace(/^.*\/attached\/0+/, ""));
const notes = (world: MemoryWorld) =>
  itemsOf(world)
    .filter(({ key }) => key.sort.startsWith("note#"))
    .map(({ key }) => key.sort.replace(/^note#0+/, ""));

describe("attachments", () => {
  test("of the generations that are kept stay, the others go with theirs, and notes of what is committed go", async () => {
    const world = await worldWithGenerations(4);
    await sweep(world, request);
    expect(attachments(world)).toEqual([`3/7/${FILE}-content-3`, `4/7/${FILE}-content-4`]);
    expect(notes(world)).toEqual([]);
  });

  test("of a batch that is still gathered stay, with its uploads and notes, however often cleanup comes", async () => {
    const world = await worldWithGenerations(3);
    await stored(world, 4, "gathered");
    await world.objects.createUpload(`${await prefixOf(world)}${attachmentReference(4, "7/large")}`);
    for (let turn = 0; turn < 3; turn++) await sweep(world, request);
    expect([attachments(world).at(-1), world.objects.uploads.size, notes(world)]).toEqual([`4/7/${FILE}-gathered`, 1, [`4#file/7/${FILE}`]]);
  });

  test("that are stored stay, and uploads of their names, which a lost answer leaves, go", async () => {
    const world = await worldOfSource();
    const file = await stored(world, 1, "begun-twice");
    await world.objects.createUpload(`${await prefixOf(world)}${file.object}`);
    await sweep(world, request);
    expect([attachments(world), world.objects.uploads.size]).toEqual([[`1/7/${FILE}-begun-twice`], 1]);
    await committed(world, 1, [file]);
    await sweep(world, request);
    expect([attachments(world), world.objects.uploads.size]).toEqual([[`1/7/${FILE}-begun-twice`], 0]);
  });

  test("of a batch that came too late go, with its uploads and notes", async () => {
    const world = await worldWithGenerations(2);
    await stored(world, 3, "late");
    await world.objects.createUpload(`${await prefixOf(world)}${attachmentReference(3, "7/large")}`);
    await committed(world, 3, [await stored(world, 3, "first")]);
    await sweep(world, request);
    expect([attachments(world), world.objects.uploads.size, notes(world)]).toEqual([
      [1, 2].map((g) => `${g}/7/${FILE}-content-${g}`).concat(`3/7/${FILE}-first`),
      0,
      [],
    ]);
  });

  test("that a later generation still has stay, though the one that stored them is gone", async () => {
    const world = await worldOfSource();
    const file = await stored(world, 1, "old");
    for (let generation = 1; generation <= 4; generation++) {
      await committed(world, generation, [file]);
      await snapshotShard(world, { id });
    }
    await sweep(world, request);
    expect(attachments(world)).toEqual([`1/7/${FILE}-old`]);
  });

  test("of a generation that is pinned stay until it is let go of", async () => {
    const world = await worldWithGenerations(2);
    const [row] = await readHistory(world.checkpoints, id);
    const life = { id, incarnation: (await readControl(world.checkpoints, id))?.incarnation ?? "" };
    expect(await pin(world, { life, row, pinId: "reader" }, START_MS + 60_000)).toBe(true);
    for (let generation = 3; generation <= 4; generation++) {
      await committed(world, generation, [await stored(world, generation, "new")]);
      await snapshotShard(world, { id });
    }
    expect(attachments(world)[0]).toBe(`1/7/${FILE}-content-1`);
    await unpin(world, { life, row, pinId: "reader" });
    await sweep(world, request);
    expect(attachments(world)).toEqual([`3/7/${FILE}-new`, `4/7/${FILE}-new`]);
  });

  test("of a life that is past go as a whole, those of the new one of the same names stay", async () => {
    const world = await worldWithGenerations(2);
    const old = attachments(world).length;
    const oldPrefix = await prefixOf(world);
    await deleteTable(world, id.table);
    expect([old, keysOf(world), notes(world)]).toEqual([2, [], []]);
    await createTable(world, { name: id.table, source: "influxdb" });
    await committed(world, 1, [await stored(world, 1, "new-life")]);
    // By a job of the old life that was stalled.
    await attach(world, `${oldPrefix}${attachmentReference(1, "7/stalled")}`, [Buffer.from("x")]);
    await sweep(world, request);
    expect(attachments(world)).toEqual([`1/7/${FILE}-new-life`]);
  });

  test("that are planned in a dry run are those that a run then deletes", async () => {
    const world = await worldWithGenerations(2);
    await stored(world, 2, "stray");
    const planned = await sweep(world, { ...request, dryRun: true });
    expect([planned.attachments.objects.length, attachments(world).length]).toEqual([1, 3]);
    const cleaned = await sweep(world, request);
    expect([cleaned.attachments.objects, attachments(world).length]).toEqual([planned.attachments.objects, 2]);
  });

  test("that go with a generation are planned by a dry run that lets it go, and those of a shard that is gone by no plan of their own", async () => {
    const world = await worldWithGenerations(4, 4);
    const planned = await sweep(world, { ...request, dryRun: true });
    expect(planned.attachments.objects.map(({ key }) => key.replace(/^.*\//, ""))).toEqual([`${FILE}-content-1`, `${FILE}-content-2`]);
    await world.checkpoints.write([{ item: controlItem(id), when: [], delete: true }]);
    const gone = await sweep(world, { ...request, dryRun: true });
    expect([gone.kind, gone.attachments.objects, gone.plan.orphans.some(({ key }) => key.endsWith("-content-4"))]).toEqual(["planned", [], true]);
  });

  test("are counted where a run tells what it took away", async () => {
    const world = await worldWithGenerations(4, 4);
    await stored(world, 4, "stray");
    await world.objects.createUpload(`${await prefixOf(world)}${attachmentReference(3, "7/large")}`);
    await sweep(world, request);
    expect(world.events.at(-1)).toMatchObject({ kind: "cleaned", snapshots: 2, orphans: 4 });
  });

  test("that could not be deleted are told, and tried again by the next run", async () => {
    const world = await worldWithGenerations(1);
    await stored(world, 1, "stray");
    const failing = withObjects(world, () => ({ deleteMany: async (keys) => ({ failed: keys.map((key) => ({ key, reason: "denied" })) }) }));
    expect(await sweep(failing, request)).toMatchObject({ kind: "cleaned", failed: [{ reason: "denied" }] });
    await sweep(world, request);
    expect(attachments(world)).toEqual([`1/7/${FILE}-content-1`]);
  });

  test("of a batch that was appended between the listing and the reading of the items stay", async () => {
    const world = await worldWithGenerations(1);
    const file = await stored(world, 2, "just-now");
    let isAppended = false;
    const raced = withCheckpoints(world, (checkpoints) => ({
      async get(key) {
        if (key.sort === "control" && !isAppended) {
          isAppended = true;
          await committed(world, 2, [file]);
        }
        return checkpoints.get(key);
      },
    }));
    await sweep(raced, request);
    expect([isAppended, attachments(world)]).toEqual([true, [`1/7/${FILE}-content-1`, `2/7/${FILE}-just-now`]]);
  });
});

test("a run that finds its state cleaned away by another deletes nothing of it, and the next one does", async () => {
  const world = await worldWithGenerations(2);
  await committed(world, 3, [await stored(world, 3, "content-3")]);
  await stored(world, 3, "stray");
  let raced = false;
  const racing = withObjects(world, (objects) => ({
    async get(key) {
      // Between the look at the items and the reading of what they name.
      if (!raced && key.includes("/redo/")) {
        raced = true;
        for (let generation = 4; generation <= 6; generation++) {
          await committed(world, generation, [await stored(world, generation, `content-${generation}`)]);
          await snapshotShard(world, { id });
        }
      }
      return objects.get(key);
    },
  }));
  await sweep(racing, request);
  await sweep(world, request);
  expect([raced, attachments(world)]).toEqual([true, [`5/7/${FILE}-content-5`, `6/7/${FILE}-content-6`]]);
});

test("where the generation that names attachments is damaged, none of them goes, the rest is cleaned, and the damage is told", async () => {
  const world = await worldWithGenerations(4);
  await stored(world, 1, "left-over");
  const control = await readControl(world.checkpoints, id);
  const oldest = (await readHistory(world.checkpoints, id)).reduce((low, row) => (row.index < low.index ? row : low));
  world.objects.damage(oldest.key, (bytes) => bytes.subarray(0, bytes.length - 1));
  const before = attachments(world);
  const outcome = await sweep(world, request);
  expect(outcome).toMatchObject({ kind: "cleaned", failed: [{ key: oldest.key, reason: expect.stringContaining("no attachment is deleted meanwhile") }] });
  expect(attachments(world)).toEqual(before);
  expect(await sweep(world, { ...request, dryRun: true })).toMatchObject({ kind: "planned", attachments: { objects: [] } });
  expect(control?.lowWater).toBe(oldest.border.next);
});

test("a table without attachments pays no call for them", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await snapshotShard(world, { id });
  const calls: string[] = [];
  const counted = withCheckpoints(
    withObjects(world, (objects) =>
      Object.fromEntries(
        (["list", "listUploads", "get", "getRange", "head", "deleteMany", "abortUpload"] as const).map((method) => [
          method,
          (...words: never[]) => {
            calls.push(method);
            return (objects[method] as (...all: never[]) => Promise<unknown>)(...words);
          },
        ]),
      ),
    ),
    (checkpoints) => ({
      get: (key) => {
        calls.push(`get ${key.sort}`);
        return checkpoints.get(key);
      },
      query: (query) => {
        calls.push(`query ${query.sortPrefix}`);
        return checkpoints.query(query);
      },
      write: (changes) => {
        calls.push("write");
        return checkpoints.write(changes);
      },
    }),
  );
  await sweep(counted, request);
  expect(calls.sort()).toEqual(["get control", "list", "listUploads", "query part#", "query snapshot#"]);
});
