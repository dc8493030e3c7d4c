import { describe, expect, test } from "vitest";
import { createTable, deleteTable } from "../../../../lib/jobs/tables.ts";
import { snapshotShard } from "../../../../lib/jobs/snapshot.ts";
import { toIndex } from "../../../../lib/model/position.ts";
import type { World } from "../../../../lib/ports/world.ts";
import { commitGeneration, type GenerationAbout, generationRecord } from "../../../../lib/sources/influxdb/generation.ts";
import { listGenerations, readNewest } from "../../../../lib/sources/influxdb/open-backup.ts";
import { type Backup, digestOf, EMPTY_BACKUP } from "../../../../lib/sources/influxdb/records.ts";
import { id, START_MS, withObjects, noAnswer, worldWithTable } from "../../jobs/world.ts";
import { aFile, aGeneration, aShard, lifeOf } from "./samples.ts";

const about: GenerationAbout = {
  generation: 5,
  job: "a job",
  server: "127.0.0.1:8088",
  selection: { database: "metrics" },
  changedShards: 2,
  failed: [],
  isFull: false,
  startedAtMs: START_MS,
  finishedAtMs: START_MS + 1_500,
};

const stateOf = (...shards: Parameters<typeof aShard>[0][]): Backup => ({
  shards: new Map(shards.map((shard) => [shard.shard, aShard(shard)])),
  generations: new Map(),
});

describe("the record of a generation", () => {
  const next = stateOf(
    { shard: 1, database: "b", files: [aFile({ generation: 5 }), aFile({ name: "000000002-000000001.tsm", generation: 4, content: 3 })] },
    { shard: 2, database: "a", files: [aFile({ generation: 5, content: 7 })] },
    { shard: 3, database: "b" },
  );

  test("tells its state, and what was stored for it", () => {
    expect(generationRecord(EMPTY_BACKUP, next, about)).toEqual({
      generation: 5,
      kind: "full",
      job: "a job",
      server: "127.0.0.1:8088",
      startedAt: "2023-11-14T22:13:20.000Z",
      finishedAt: "2023-11-14T22:13:21.500Z",
      selection: { database: "metrics" },
      databases: ["a", "b"],
      shards: 3,
      files: 3,
      bytes: 10 + 13 + 17,
      changedShards: 2,
      storedFiles: 2,
      storedBytes: 34,
      outcome: "complete",
      failed: [],
      digest: digestOf(next),
    });
  });

  test("names the generation before, unless there is none; and is full where it was to be", () => {
    const parent = { ...aGeneration({ generation: 4 }), index: toIndex(9) };
    const head: Backup = {
      ...EMPTY_BACKUP,
      generations: new Map([
        [3, { ...aGeneration({ generation: 3 }), index: toIndex(5) }],
        [4, parent],
      ]),
    };
    expect(generationRecord(head, next, about)).toMatchObject({ kind: "incremental", parent: { generation: 4, digest: parent.digest } });
    expect(generationRecord(head, next, { ...about, isFull: true })).toMatchObject({ kind: "full", parent: { generation: 4 } });
    expect(generationRecord(EMPTY_BACKUP, next, about).parent).toBeUndefined();
  });

  test("is partial where a shard failed", () => {
    const failed = [{ shard: 9, database: "b", policy: "autogen", error: "no answer" }];
    expect(generationRecord(EMPTY_BACKUP, next, { ...about, failed })).toMatchObject({ outcome: "partial", failed });
  });
});

async function committed(world: World, generation: number, job: string, next: Backup): Promise<boolean> {
  const { backup: head, oldestIndex } = await readNewest(world, id.table);
  const state = { ...next, generations: head.generations };
  return commitGeneration(world, await lifeOf(world), { head, next: state, record: generationRecord(head, state, { ...about, generation, job }), oldestIndex });
}

describe("a generation that is committed", () => {
  const one = stateOf({ shard: 1, files: [aFile()] });
  const two = stateOf({ shard: 1, files: [aFile({ content: 2 })] }, { shard: 2 });

  test("is the newest state, with its record at its last index", async () => {
    const world = await worldWithTable({ source: "influxdb" });
    expect(await committed(world, 1, "a", one)).toBe(true);
    expect(await committed(world, 2, "b", two)).toBe(true);
    const { backup } = await readNewest(world, id.table);
    expect([...backup.shards]).toEqual([...two.shards]);
    expect([...backup.generations.values()].map(({ generation, job, index, kind }) => [generation, job, index, kind])).toEqual([
      [1, "a", 2, "full"],
      [2, "b", 5, "incremental"],
    ]);
  });

  test("of two with one number is the first; the other changes nothing, and is told", async () => {
    const world = await worldWithTable({ source: "influxdb" });
    const { backup: head, oldestIndex } = await readNewest(world, id.table);
    const life = await lifeOf(world);
    const commit = (job: string, next: Backup) =>
      commitGeneration(world, life, { head, next, record: generationRecord(head, next, { ...about, generation: 1, job }), oldestIndex });
    expect([await commit("a", one), await commit("b", two)]).toEqual([true, false]);
    const { backup } = await readNewest(world, id.table);
    expect([[...backup.shards], [...backup.generations.values()].map(({ job }) => job)]).toEqual([[...one.shards], ["a"]]);
    expect(await committed(world, 2, "c", two)).toBe(true);
  });

  test("of many at once is one, and the state is its", async () => {
    const world = await worldWithTable({ source: "influxdb" });
    const { backup: head, oldestIndex } = await readNewest(world, id.table);
    const life = await lifeOf(world);
    const jobs = ["a", "b", "c", "d"];
    const states = jobs.map((_, place) => stateOf({ shard: place + 1 }));
    const won = await Promise.all(
      states.map((next, place) =>
        commitGeneration(world, life, { head, next, record: generationRecord(head, next, { ...about, generation: 1, job: jobs[place] }), oldestIndex }),
      ),
    );
    expect(won.filter(Boolean)).toEqual([true]);
    const { backup } = await readNewest(world, id.table);
    expect([...backup.shards.keys(), backup.generations.get(1)?.job]).toEqual([won.indexOf(true) + 1, jobs[won.indexOf(true)]]);
  });

  test.each(["done", "not-done"])("whose append got no answer is committed once by who tries again: %s", async (effect) => {
    const world = await worldWithTable({ source: "influxdb" });
    let lost = 0;
    const losing = withObjects(world, (objects) => ({
      async createIfAbsent(key, body) {
        if (!key.includes("/redo/") || lost++ > 0) return objects.createIfAbsent(key, body);
        if (effect === "done") await objects.createIfAbsent(key, body);
        throw noAnswer();
      },
    }));
    const first = await committed(losing, 1, "a", one).catch((error: { readonly kind: string }) => error.kind);
    expect([true, "retry"]).toContain(first);
    if (first !== true) expect(await committed(world, 1, "a", one)).toBe(true);
    const { backup } = await readNewest(world, id.table);
    expect([[...backup.shards], backup.generations.size]).toEqual([[...one.shards], 1]);
  });

  test("to a table that was deleted is refused in words", async () => {
    const world = await worldWithTable({ source: "influxdb" });
    await committed(world, 1, "a", one);
    const { backup: head, oldestIndex } = await readNewest(world, id.table);
    const record = generationRecord(head, two, { ...about, generation: 2 });
    const life = await lifeOf(world);
    await deleteTable(world, id.table);
    await expect(commitGeneration(world, life, { head, next: two, record, oldestIndex })).rejects.toMatchObject({ kind: "call" });
  });

  test("to a table that was made anew is refused too: its attachments lie below the life before", async () => {
    const world = await worldWithTable({ source: "influxdb" });
    await committed(world, 1, "a", one);
    const { backup: head, oldestIndex } = await readNewest(world, id.table);
    const life = await lifeOf(world);
    await deleteTable(world, id.table);
    await createTable(world, { name: id.table, source: "influxdb" });
    await expect(
      commitGeneration(world, life, { head, next: two, record: generationRecord(head, two, { ...about, generation: 1 }), oldestIndex }),
    ).rejects.toMatchObject({ kind: "call", code: "deleted-table" });
    expect((await readNewest(world, id.table)).backup.generations.size).toBe(0);
  });

  test("lets those go from the list that can no longer be brought back", async () => {
    const world = await worldWithTable({ source: "influxdb" });
    for (let generation = 1; generation <= 5; generation++) {
      await committed(world, generation, "a", stateOf({ shard: 1, files: [aFile({ content: generation })] }));
      await snapshotShard(world, { id });
    }
    expect((await listGenerations(world, id.table)).map(({ generation }) => generation)).toEqual([4, 5]);
    await committed(world, 6, "a", one);
    expect([...(await readNewest(world, id.table)).backup.generations.keys()]).toEqual([4, 5, 6]);
  });
});
