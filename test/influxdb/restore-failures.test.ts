// What goes wrong between a backup and a server that it is restored to (docs/compared.md, I26 to I36): each ends with a clear error or with
// all points, never with a wrong success, and what was stopped goes on. What befalls the metastore: restore-metastore.test.ts.

import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { createTable } from "../../lib/jobs/tables.ts";
import { isTidemarkError } from "../../lib/model/errors.ts";
import { exportBackup } from "../../lib/sources/influxdb/export.ts";
import { openBackup } from "../../lib/sources/influxdb/open-backup.ts";
import { restore } from "../../lib/sources/influxdb/restore.ts";
import { verifyBackup } from "../../lib/sources/influxdb/verify.ts";
import { backup, cleanUp, clientOf, expectAtRest, failureWorld, type FailureWorld, generationOf, generationsOf, hooked, NAME } from "./at-rest.ts";
import { startCutter } from "./cutter.ts";
import { type Influxd, startInfluxd } from "./influxd.ts";
import { missing } from "./obtain.ts";
import { type Answers, answers, points } from "./points.ts";
import { DAY_MS, type Restores, startRestores } from "./restores.ts";

const SHARD_BACKUP = 0;
const SHARD_UPDATE = 7;

const lacks = await missing();
if (lacks !== undefined) test("failures of a restore to a real InfluxDB are no wrong success", ({ skip }) => skip(lacks));
else describe("a restore to a real InfluxDB", playFailures);

function playFailures(): void {
  let rig: Restores;
  let target: Influxd;
  let original: Answers;
  beforeAll(async () => {
    rig = await startRestores();
    ({ target, original } = rig);
  });
  afterAll(() => rig[Symbol.asyncDispose]());

  test.for([
    ["the rest of it is lost, while the server ends as ever", "lost"],
    ["both sides are reset", "reset"],
  ] as const)(
    "a shard update of which %s, at any of several places, is sent again; where that is so at every try the same restore goes on later",
    async ([, kind]) => {
      for (const [at, place] of [0, 2, 5, 10, 300, 522, 523, 1_500, 3_000, -1_024, -512, -1].entries()) {
        const { world, newDatabase } = await rig.prepared();
        const isEvery = at % 2 === 1;
        await using cutter = await startCutter(target.snapshotter, (nth) => (nth === 2 || (isEvery && nth > 1) ? { kind, place } : undefined));
        const client = clientOf(cutter.address, { silentMs: 5_000 });
        if (isEvery) {
          const failure = await rig.bringBack(world, newDatabase, { client }).catch((error: unknown) => error);
          // A server does without a part of an archive's end: what it then gives back counts.
          const isWhole = place === -1_024 || place === -512;
          if (isWhole) expect(failure).toMatchObject({ databases: [{ resumed: false, shards: [{}, {}, {}] }] });
          else {
            expect(failure).toMatchObject({ kind: "retry", message: expect.stringMatching(/shard|connection/) });
            cutter.heal();
            const { databases } = await rig.bringBack(world, newDatabase, { client });
            expect(databases[0]).toMatchObject({ resumed: true, shards: [{ found: true }, { found: false }, { found: false }] });
          }
        } else {
          expect((await rig.bringBack(world, newDatabase, { client })).databases[0]).toMatchObject({ resumed: false, shards: [{}, {}, {}] });
        }
        expect(await answers(target, newDatabase)).toEqual(original);
        await target.query(`DROP DATABASE "${newDatabase}"`);
      }
    },
  );

  test("one that is stopped by its signal, between two shards or in the middle of one, goes on and ends equal", async () => {
    for (const at of [1, 2, 3]) {
      for (const isInside of [false, true]) {
        const { world, newDatabase } = await rig.prepared();
        const stopped = new AbortController();
        const client = clientOf(target.snapshotter, { signal: stopped.signal });
        let shards = 0;
        const stopping: typeof client = {
          ...client,
          async updateShard(shard, chunks) {
            shards += 1;
            if (shards !== at) return await client.updateShard(shard, chunks);
            if (!isInside) await client.updateShard(shard, chunks);
            stopped.abort();
            await client.updateShard(shard, chunks);
          },
        };
        await expect(rig.bringBack(world, newDatabase, { client: stopping, signal: stopped.signal })).rejects.toMatchObject({
          kind: "retry",
          code: "interrupted",
        });
        const { databases } = await rig.bringBack(world, newDatabase);
        expect(databases[0]).toMatchObject({ resumed: true });
        expect(databases[0].shards.filter(({ found }) => found)).toHaveLength(isInside ? at - 1 : at);
        expect(await answers(target, newDatabase)).toEqual(original);
        await target.query(`DROP DATABASE "${newDatabase}"`);
      }
    }
  });

  test("one that is killed at any call of the store goes on, or says that the database is to be dropped, and then ends equal", async () => {
    let calls = Number.POSITIVE_INFINITY;
    const ends = new Set<string>();
    for (let at = 1; at <= calls; at += 4) {
      const { world, newDatabase } = await rig.prepared();
      let last = 0;
      const dying = hooked(world, (call) => {
        last = call;
        if (call >= at) throw new Error("killed");
      });
      await rig.bringBack(dying, newDatabase).catch(() => undefined);
      if (last < at) calls = last;
      const again = await rig.bringBack(world, newDatabase).catch((error: unknown) => error);
      if (isTidemarkError(again)) {
        expect(again).toMatchObject({ kind: "call", code: "database-exists", message: expect.stringContaining("drop") });
        await target.query(`DROP DATABASE "${newDatabase}"`);
        await rig.bringBack(world, newDatabase);
      }
      ends.add(isTidemarkError(again) ? again.code : "went on");
      expect(await answers(target, newDatabase)).toEqual(original);
      await target.query(`DROP DATABASE "${newDatabase}"`);
    }
    expect(ends).toContain("went on");
  });

  test("a database that is there is refused, and stays what it is", async () => {
    const { world, newDatabase } = await rig.prepared();
    await target.query(`CREATE DATABASE "${newDatabase}"`);
    await target.write(newDatabase, ["own v=1i 1704067200000000000"]);
    await expect(rig.bringBack(world, newDatabase)).rejects.toMatchObject({
      kind: "call",
      code: "database-exists",
      message: expect.stringContaining("--new-database"),
    });
    await expect(rig.bringBack(world, "source")).rejects.toMatchObject({ code: "database-exists" });
    expect((await answers(target, newDatabase)).shown.measurements).toEqual(["own"]);
    expect(await answers(target, "source")).toEqual(original);
  });

  test("a shard that had expired before the backup is none that the restore lacks, or goes on by", async () => {
    await using expiring = await startInfluxd({ settings: { retention: { enabled: true, "check-interval": "500ms" } } });
    await expiring.query('CREATE DATABASE "source" WITH DURATION INF SHARD DURATION 1d NAME "policy"');
    await expiring.write("source", ["m v=1i 1704067200000000000", `m v=2i ${BigInt(Date.now()) * 1_000_000n}`]);
    await expiring.query('ALTER RETENTION POLICY "policy" ON "source" DURATION 7d');
    const groups = async () => (await clientOf(expiring.snapshotter).metastore()).parsed.databases.flatMap(({ policies }) => policies[0].groups);
    await vi.waitFor(async () => expect((await groups()).filter(({ isDeleted }) => isDeleted)).toHaveLength(1), { timeout: 20_000 });
    const world = failureWorld();
    expect(await generationOf(backup(world, expiring.snapshotter, { selection: { database: "source" } }))).toMatchObject({ shards: 1 });
    const { databases } = await restore(world, { name: NAME, client: clientOf(target.snapshotter), database: "source", newDatabase: "expired" });
    expect(databases[0]).toMatchObject({ shards: [{ found: false }], empty: [] });
    expect(await answers(target, "expired")).toEqual(await answers(expiring, "source"));
  });

  test("another generation's restore, and one that has ended, is not gone on with", async () => {
    const { world, newDatabase } = await rig.prepared();
    await rig.behind(
      ({ type, nthOfType }) => (type === SHARD_UPDATE && nthOfType > 1 ? { kind: "nothing" } : undefined),
      async (address, wellAgain) => {
        const client = clientOf(address);
        await expect(rig.bringBack(world, newDatabase, { client })).rejects.toMatchObject({ kind: "retry" });
        wellAgain();
        await generationOf(backup(world, target.snapshotter, { selection: { database: "source" }, full: true }));
        await expect(rig.bringBack(world, newDatabase, { client })).rejects.toMatchObject({ code: "database-exists" });
        expect((await rig.bringBack(world, newDatabase, { client, at: { generation: 1 } })).databases[0].resumed).toBe(true);
        await expect(rig.bringBack(world, newDatabase, { client, at: { generation: 1 } })).rejects.toMatchObject({ code: "database-exists" });
        expect(await answers(target, newDatabase)).toEqual(original);
      },
    );
  });

  test.for([
    ["before its first shard is sent", 1],
    ["between two shards", 2],
  ] as const)("points that others write to the new database %s are an error, and are not lost", async ([, at]) => {
    const { world, newDatabase } = await rig.prepared();
    const client = clientOf(target.snapshotter);
    let questions = 0;
    const meddled: typeof client = {
      ...client,
      async *shard(...about) {
        questions += 1;
        // Each shard is asked for before it is sent, and behind that.
        if (questions === 2 * at - 1) await target.write(newDatabase, [`own v=${at}i ${BigInt(Date.UTC(2024, 0, at)) * 1_000_000n}`]);
        yield* client.shard(...about);
      },
    };
    await expect(rig.bringBack(world, newDatabase, { client: meddled })).rejects.toMatchObject({
      kind: "call",
      code: "foreign-files",
      message: expect.stringContaining("drop"),
    });
    await expect(rig.bringBack(world, newDatabase)).rejects.toMatchObject({ code: "foreign-files" });
    const [{ series = [] }] = await target.query("SELECT v FROM own", { db: newDatabase });
    expect(series[0].values.map(([, v]) => v)).toEqual([at]);
  });

  test("a shard update in two segments, which the server may take for another shard's, is sent again", async () => {
    for (const bytes of [1, 2, 3, 9]) {
      const { world, newDatabase } = await rig.prepared();
      await rig.behind(
        ({ type, nthOfType }) => (type === SHARD_UPDATE && nthOfType <= 2 ? { kind: "split", bytes } : undefined),
        async (address) => {
          await rig.bringBack(world, newDatabase, { client: clientOf(address) });
          expect(await answers(target, newDatabase)).toEqual(original);
        },
      );
      await target.query(`DROP DATABASE "${newDatabase}"`);
    }
    expect(await answers(target, "source")).toEqual(original);
  });

  test("a server that answers nothing when it is asked what it has is asked again; where it never does the error names the shard, and the same restore goes on", async () => {
    for (const silent of [[1], [2], [3, 4], [4, 5, 6, 7, 8, 9]]) {
      const { world, newDatabase } = await rig.prepared();
      await rig.behind(
        ({ type, nthOfType }) => (type === SHARD_BACKUP && silent.includes(nthOfType) ? { kind: "nothing" } : undefined),
        async (address, wellAgain) => {
          const client = clientOf(address);
          if (silent.length > 2) {
            await expect(rig.bringBack(world, newDatabase, { client })).rejects.toMatchObject({
              kind: "retry",
              message: expect.stringMatching(/shard \d+ of restored/),
            });
            wellAgain();
            expect((await rig.bringBack(world, newDatabase, { client })).databases[0].resumed).toBe(true);
          } else expect((await rig.bringBack(world, newDatabase, { client })).databases[0].resumed).toBe(false);
          expect(await answers(target, newDatabase)).toEqual(original);
        },
      );
    }
  });

  test("a shard that the server does not give back whole behind its update does not count", async () => {
    const { world, newDatabase } = await rig.prepared();
    await rig.behind(
      ({ type, nthOfType }) => (type === SHARD_BACKUP && nthOfType > 1 ? { kind: "drop", files: /./ } : undefined),
      async (address, wellAgain) => {
        const client = clientOf(address);
        await expect(rig.bringBack(world, newDatabase, { client })).rejects.toMatchObject({
          kind: "retry",
          code: "not-kept",
          message: expect.stringContaining("shard"),
        });
        wellAgain();
        await rig.bringBack(world, newDatabase, { client });
        expect(await answers(target, newDatabase)).toEqual(original);
      },
    );
  });

  describe("of a damaged backup", () => {
    const damages: readonly [string, (world: FailureWorld, key: string) => unknown][] = [
      ["has one bit changed", (world, key) => world.objects.damage(key, (body) => body.map((byte, at) => (at === body.length >> 1 ? byte ^ 1 : byte)))],
      ["is cut off", (world, key) => world.objects.damage(key, (body) => body.subarray(0, -1))],
      ["is empty", (world, key) => world.objects.damage(key, (body) => body.subarray(0, 0))],
      ["is longer", (world, key) => world.objects.damage(key, (body) => Buffer.concat([body, Buffer.of(0)]))],
      ["is missing", (world, key) => world.objects.deleteMany([key])],
    ];
    test.for(damages)(
      "in which a file, or the metastore, %s: the error names the object, verify finds it, the generation before is restored",
      async ([, damage]) => {
        for (const attachment of ["000000002-000000001.tsm", "metastore"]) {
          const { world, newDatabase, number } = await rig.prepared();
          // A second generation with a file, and a metastore, of its own.
          const database = `grows ${number}`;
          await target.query(`CREATE DATABASE "${database}" WITH DURATION INF SHARD DURATION 1d NAME "policy"`);
          const lines = points({ seed: number, points: 80, shardGroupMs: DAY_MS });
          const grown = failureWorld(number);
          await target.write(database, lines.slice(0, 40));
          await generationOf(backup(grown, target.snapshotter, { selection: { database } }));
          const first = await answers(target, database);
          await target.write(database, lines.slice(40));
          await target.query(`CREATE RETENTION POLICY "more" ON "${database}" DURATION INF REPLICATION 1`);
          await generationOf(backup(grown, target.snapshotter, { selection: { database } }));
          const [key] = [...grown.objects.objects.keys()].filter((one) => one.includes("/attached/0000000000000002/") && one.includes(attachment));
          await damage(grown, key);
          const about = { database, newDatabase: `${newDatabase} grown` };
          await expect(rig.bringBack(grown, newDatabase, about)).rejects.toMatchObject({ kind: "repair", object: key, message: expect.stringContaining(key) });
          expect((await verifyBackup(grown, NAME)).findings).toEqual([{ object: key, what: expect.any(String) }]);
          const folder = await mkdtemp(join(tmpdir(), "tidemark-damaged-"));
          for (const format of ["portable", "data"] as const) {
            const directory = join(folder, format);
            await expect(exportBackup(grown, { name: NAME, directory, format })).rejects.toMatchObject({ kind: "repair", object: key });
            expect(existsSync(directory)).toBe(false);
          }
          await rm(folder, { recursive: true });
          const earlier = { ...about, newDatabase, at: { generation: 1 } };
          await rig.bringBack(grown, newDatabase, earlier);
          expect(await answers(target, newDatabase)).toEqual(first);
          expect(world.objects.objects.size).toBeGreaterThan(0);
        }
      },
    );
  });

  test("while cleanup lets its generation go and others come, reads all of it: it is held until it has ended", async () => {
    const { newDatabase, number } = await rig.prepared();
    const world = failureWorld(number);
    const database = `held ${number}`;
    await createTable(world, { name: NAME, source: "influxdb", keepSnapshots: 2 });
    await target.query(`CREATE DATABASE "${database}" WITH DURATION INF SHARD DURATION 1d NAME "policy"`);
    await target.write(database, points({ seed: 33, points: 90, shardGroupMs: DAY_MS, groups: 3 }));
    await generationOf(backup(world, target.snapshotter, { selection: { database } }));
    const before = await answers(target, database);
    const client = clientOf(target.snapshotter);
    let isFirst = true;
    const busy: typeof client = {
      ...client,
      async updateShard(shard, chunks) {
        if (isFirst) {
          isFirst = false;
          for (let round = 1; round <= 3; round++) {
            await target.write(database, points({ seed: 33 + round, points: 9, shardGroupMs: DAY_MS, groups: 3 }));
            await generationOf(backup(world, target.snapshotter, { selection: { database }, full: true }));
          }
          await cleanUp(world);
        }
        await client.updateShard(shard, chunks);
      },
    };
    await rig.bringBack(world, newDatabase, { client: busy, database });
    expect(await answers(target, newDatabase)).toEqual(before);
    await expectAtRest(world);
    expect(await generationsOf(world)).toEqual([3, 4]);
    await expect(openBackup(world, NAME, { generation: 1 })).rejects.toMatchObject({ code: "unknown-generation" });
  });
}
