// The silent failures of InfluxDB's protocol and of its official tools (docs/compared.md), each played between a real server and our
// backup: it ends with a clear error or with a right generation, never with a wrong success.

import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { exitOfError, EXIT } from "../../cli/exit-codes.ts";
import { isTidemarkError } from "../../lib/model/errors.ts";
import { backUp } from "../../lib/sources/influxdb/backup.ts";
import { openBackup } from "../../lib/sources/influxdb/open-backup.ts";
import { restore } from "../../lib/sources/influxdb/restore.ts";
import { backup, clientOf, expectAtRest, failureWorld, type FailureWorld, filesIn, generationOf, generationsOf, leftOf, NAME } from "./at-rest.ts";
import { type Fault, startProxy } from "./double.ts";
import { type Influxd, startInfluxd } from "./influxd.ts";
import { startModelServer } from "./model-server.ts";
import { missing } from "./obtain.ts";
import { answers, points } from "./points.ts";

const SHARD_BACKUP = 0;
const METASTORE_BACKUP = 1;
const POLICY_INFO = 4;
const FIRST = "000000001-000000001.tsm";
const SECOND = "000000002-000000001.tsm";
const THIRD = "000000003-000000001.tsm";

const lacks = await missing();
if (lacks !== undefined) test("failures of a real InfluxDB are no wrong success", ({ skip }) => skip(lacks));
else describe("with a real InfluxDB", playFailures);

function playFailures(): void {
  const DAY_MS = 86_400_000;
  const ODD_DATABASE = `odd "dätabase". x'y`;
  const ODD_POLICY = `pol.icy "q' ü`;
  const of = (database: string) => ({ selection: { database } });
  let server: Influxd | undefined;
  let source: Influxd;

  beforeAll(async () => {
    server = await startInfluxd();
    source = server;
    await source.query(
      `CREATE DATABASE "ids" WITH DURATION INF SHARD DURATION 1d NAME "kept"; CREATE RETENTION POLICY "filler" ON "ids" DURATION INF REPLICATION 1 SHARD DURATION 1d`,
    );
    const days = (from: number, count: number, policy: string) =>
      Array.from(
        { length: count },
        (_, day) => `m,day=${from + day} v=${from + day}i,of="${policy}" ${BigInt(Date.UTC(2024, 0, 1) + (from + day) * DAY_MS) * 1_000_000n}`,
      );
    for (const [from, count, policy] of [
      [0, 1, "kept"],
      [1, 8, "filler"],
      [1, 1, "kept"],
      [10, 89, "filler"],
      [2, 1, "kept"],
    ] as const)
      for (const line of days(from, count, policy)) await source.write("ids", [line], { policy });
    await source.query('DROP RETENTION POLICY "filler" ON "ids"');

    await source.query('CREATE DATABASE "cut" WITH DURATION INF SHARD DURATION 1d NAME "policy"');
    const lines = points({ seed: 5, points: 210, shardGroupMs: DAY_MS });
    // Three files, too few for a compaction, without a tombstone, which would start one.
    for (const from of [0, 70, 140]) {
      await source.write("cut", lines.slice(from, from + 70));
      await backup(failureWorld(), source.snapshotter, of("cut"));
    }
    const world = failureWorld();
    await backup(world, source.snapshotter, of("cut"));
    expect(Object.values(await filesIn(world, 1))).toEqual([[FIRST, SECOND, THIRD]]);
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
  });

  async function baseline(database: string): Promise<string> {
    return (await generationOf(backup(failureWorld(), source.snapshotter, of(database)))).digest;
  }

  /** Of the reply of that type to a backup of "cut"; to be asked for lists of shards the server must not answer for one. */
  async function replyBytes(type: number): Promise<number> {
    let bytes = 0;
    const measured = (reply: Buffer): Buffer => {
      bytes = reply.length;
      return reply;
    };
    await using proxy = await startProxy(source.snapshotter, (request) => {
      if (request.type === type) return { kind: "rewrite", reply: measured };
      return type === POLICY_INFO && request.type === SHARD_BACKUP ? { kind: "nothing" } : undefined;
    });
    await backup(failureWorld(), proxy.address, of("cut")).catch(() => undefined);
    return bytes;
  }

  /** So many places of a reply, its first byte and its last among them. */
  function placesIn(bytes: number, count: number): readonly number[] {
    return [...new Set(Array.from({ length: count }, (_, at) => Math.floor((at * (bytes - 1)) / (count - 1))))];
  }

  async function eachAlong(places: readonly number[], prove: (bytes: number) => Promise<void>): Promise<void> {
    const left = [...places];
    const work = async () => {
      for (let place = left.shift(); place !== undefined; place = left.shift()) await prove(place);
    };
    await Promise.all(Array.from({ length: 3 }, work));
  }

  test.for(["fin", "rst"] as const)(
    "a shard's reply that is cut by %s at any of 100 places, in its first or in its second reading, is read again, and the backup is right",
    async (by) => {
      const digest = await baseline("cut");
      const bytes = await replyBytes(SHARD_BACKUP);
      await eachAlong(placesIn(bytes, 100), async (place) => {
        const world = failureWorld(place);
        const nth = 1 + (place % 2);
        await using proxy = await startProxy(source.snapshotter, ({ type, nthOfType }) =>
          type === SHARD_BACKUP && nthOfType === nth ? { kind: "cut", bytes: place, by } : undefined,
        );
        const made = backUp(world, { name: NAME, client: clientOf(proxy.address), ...of("cut") });
        expect(await generationOf(made)).toMatchObject({ generation: 1, outcome: "complete", digest, vanished: [] });
        if (place % 10 === 0) await expectAtRest(world);
      });
    },
  );

  test("a shard's reply that is cut at every try is an error that names the shard; no generation is made, that of before stays, the next is right", async () => {
    const digest = await baseline("cut");
    const bytes = await replyBytes(SHARD_BACKUP);
    for (const [at, place] of placesIn(bytes, 8).entries()) {
      const world = failureWorld(place);
      const faults: { by?: "fin" | "rst" } = { by: at % 2 === 0 ? "fin" : "rst" };
      await using proxy = await startProxy(source.snapshotter, ({ type }) =>
        type === SHARD_BACKUP && faults.by !== undefined ? { kind: "cut", bytes: place, by: faults.by } : undefined,
      );
      if (at % 3 === 0) await backup(world, source.snapshotter, of("cut"));
      const before = at % 3 === 0 ? [1] : [];
      const error = await backup(world, proxy.address, { ...of("cut"), full: true }).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ kind: "retry", message: expect.stringMatching(/shard \d+ of cut\/policy/) });
      expect(exitOfError(error)).toBe(EXIT.retry);
      expect(await generationsOf(world)).toEqual(before);
      delete faults.by;
      expect(await generationOf(backup(world, proxy.address, { ...of("cut"), full: true }))).toMatchObject({ generation: before.length + 1, digest });
      await expectAtRest(world);
    }
  });

  test("a metastore's reply that is cut at any of 100 places makes a right backup or an error and no generation; the next one is right", async () => {
    const digest = await baseline("cut");
    const bytes = await replyBytes(METASTORE_BACKUP);
    const codes = new Set<unknown>();
    await eachAlong(placesIn(bytes, 100), async (place) => {
      const world = failureWorld(place);
      const [nth, by] = [1 + (place % 2), place % 3 === 0 ? "rst" : "fin"] as const;
      await using proxy = await startProxy(source.snapshotter, ({ type, nthOfType }) =>
        type === METASTORE_BACKUP && nthOfType === nth ? { kind: "cut", bytes: place, by } : undefined,
      );
      const run = () => backUp(world, { name: NAME, client: clientOf(proxy.address), ...of("cut") });
      const outcome = await run().catch((thrown: unknown) => thrown);
      if (isTidemarkError(outcome)) {
        codes.add(outcome.code);
        expect((await leftOf(world)).stored).toEqual([]);
        expect(await generationOf(run())).toMatchObject({ generation: 1, digest });
      } else expect(outcome).toMatchObject({ kind: "completed", generation: { digest } });
      if (place % 10 === 0) await expectAtRest(world);
    });
    expect([...codes].sort()).toEqual(expect.arrayContaining(["bad-reply", "broken-connection"]));
  });

  test("a list of shards that is cut at any place, while the server is busy with the shard, costs no shard", async () => {
    const digest = await baseline("cut");
    const bytes = await replyBytes(POLICY_INFO);
    expect(bytes).toBeGreaterThan(20);
    await eachAlong(placesIn(bytes, 100), async (place) => {
      const world = failureWorld(place);
      const by = place % 2 === 0 ? "rst" : "fin";
      await using proxy = await startProxy(source.snapshotter, ({ type, nthOfType }) => {
        if (type === SHARD_BACKUP && nthOfType <= 2) return { kind: "nothing" };
        return type === POLICY_INFO && nthOfType === 1 ? { kind: "cut", bytes: place, by } : undefined;
      });
      const made = backUp(world, { name: NAME, client: clientOf(proxy.address), ...of("cut") });
      expect(await generationOf(made)).toMatchObject({ outcome: "complete", shards: 1, digest });
    });
  });

  test("what was read through cuts, busy answers and a lost file is restored, and answers as the source does", async () => {
    const world = failureWorld();
    const faults: readonly (Fault | undefined)[] = [
      { kind: "nothing" },
      { kind: "cut", bytes: 700, by: "rst" },
      undefined,
      { kind: "drop", files: /000000001-000000001\.tsm$/ },
      { kind: "cut", bytes: 2_000, by: "fin" },
      { kind: "drop", files: /000000003-000000001\.tsm$/ },
    ];
    await using proxy = await startProxy(source.snapshotter, ({ type, nthOfType }) => (type === SHARD_BACKUP ? faults[nthOfType - 1] : undefined));
    await generationOf(backup(world, proxy.address, of("cut")));
    await restore(world, { name: NAME, client: clientOf(source.snapshotter), database: "cut", newDatabase: "cut again" });
    expect(await answers(source, "cut again")).toEqual(await answers(source, "cut"));
    await expectAtRest(world);
  });

  test.for([
    ["its first file", /000000001-000000001\.tsm$/],
    ["its last file", /000000003-000000001\.tsm$/],
    ["any file", /./],
  ] as const)("an archive without %s in any one reading, of a first backup or an increment, makes no generation without it", async ([, files]) => {
    const world = failureWorld();
    for (const nth of [1, 2]) {
      await using proxy = await startProxy(source.snapshotter, ({ type, nthOfType }) =>
        type === SHARD_BACKUP && nthOfType === nth ? { kind: "drop", files } : undefined,
      );
      const { digest } = await generationOf(backup(world, proxy.address, { ...of("cut"), full: true }));
      expect(digest).toBe(await baseline("cut"));
    }
    // An increment, and the question for newer files of an unchanged shard: nothing is new, so nothing is made.
    for (const nth of [1, 2, 3]) {
      await using proxy = await startProxy(source.snapshotter, ({ type, nthOfType }) =>
        type === SHARD_BACKUP && nthOfType === nth ? { kind: "drop", files } : undefined,
      );
      expect((await backup(world, proxy.address, of("cut"))).kind).toBe("ignored");
    }
    await expectAtRest(world);
  });

  test("shards 1, 10 and 100 of one policy each have their own files, in the backup and restored", async () => {
    const world = failureWorld();
    const { shards } = await generationOf(backup(world, source.snapshotter, of("ids")));
    expect(shards).toBe(3);
    expect(Object.keys(await filesIn(world, 1))).toEqual(["1", "10", "100"]);
    const { databases } = await restore(world, { name: NAME, client: clientOf(source.snapshotter), database: "ids", newDatabase: "ids again" });
    expect(databases[0].shards.map(({ shard }) => shard)).toEqual([1, 10, 100]);
    // The index of the source still shows series of the policy that was dropped.
    expect((await answers(source, "ids again")).policies).toEqual((await answers(source, "ids")).policies);
    const days = await source.query(`SELECT v FROM m`, { db: "ids again" });
    expect(days[0].series?.[0].values.map(([, v]) => v)).toEqual([0, 1, 2]);
  });

  test("names with spaces, quotes, dots and umlauts come through, also where they fill a header", async () => {
    const long = `${"long name ".repeat(8)}ü`;
    for (const [database, policy] of [
      [ODD_DATABASE, ODD_POLICY],
      [long, `${long} policy`],
    ] as const) {
      const [quotedDatabase, quotedPolicy] = [database, policy].map((name) => `"${name.replaceAll('"', '\\"')}"`);
      await source.query(`CREATE DATABASE ${quotedDatabase} WITH DURATION INF SHARD DURATION 1d NAME ${quotedPolicy}`);
      await source.write(database, points({ seed: 9, points: 50, shardGroupMs: DAY_MS }));
      const world = failureWorld();
      await generationOf(backup(world, source.snapshotter, of(database)));
      await restore(world, { name: NAME, client: clientOf(source.snapshotter), database, newDatabase: `${database}, again` });
      expect(await answers(source, `${database}, again`)).toEqual(await answers(source, database));
      await expectAtRest(world);
    }
  });

  test("a server before 1.5, played by a double with a real server's files, is backed up; a range of it is refused, and a restore to it", async () => {
    const world = failureWorld();
    await backup(world, source.snapshotter, of("cut"));
    const opened = await openBackup(world, NAME);
    const [record] = opened.shards.values();
    const files = new Map<string, { bytes: Buffer; modifiedMs: number }>();
    for (const file of record.files)
      files.set(file.name, { bytes: Buffer.concat(await Array.fromAsync(opened.read(file))), modifiedMs: file.modifiedS * 1_000 });
    await opened.close();
    const shard = { shard: record.shard, database: "cut", policy: "policy", files };
    await using old = await startModelServer([shard], { dialect: "1.0" });
    const other = failureWorld();
    await generationOf(backup(other, old.address));
    const copied = await openBackup(other, NAME);
    expect(copied.shards.get(record.shard)?.files.map(({ name, sha256 }) => [name, sha256])).toEqual(record.files.map(({ name, sha256 }) => [name, sha256]));
    await copied.close();
    expect((await backup(other, old.address)).kind).toBe("ignored");
    await expect(backup(other, old.address, { range: { start: new Date(record.shard * DAY_MS + 1_000).toISOString() }, full: true })).rejects.toMatchObject({
      kind: "call",
      code: "old-server",
    });
    await expect(restore(other, { name: NAME, client: clientOf(old.address) })).rejects.toMatchObject({ kind: "call", code: "old-server" });
    // Nothing newer and a failure are both 0 bytes there: never taken for nothing.
    old.spoil = ({ type }) => (type === SHARD_BACKUP ? Buffer.alloc(0) : undefined);
    await expect(backup(other, old.address)).rejects.toMatchObject({ kind: "retry", code: "empty-reply" });
    await expectAtRest(other);
  });

  test("a database that is dropped while it is read is left out, and the rest is backed up", async () => {
    await source.query('CREATE DATABASE "dropped" WITH DURATION INF SHARD DURATION 1d NAME "policy"');
    await source.write("dropped", points({ seed: 3, points: 20, shardGroupMs: DAY_MS }));
    const world = failureWorld();
    await backup(world, source.snapshotter);
    const before = Object.keys(await filesIn(world, 1)).length;
    let isDropped = false;
    const client = clientOf(source.snapshotter);
    const dropping: typeof client = {
      ...client,
      async *shard(...about) {
        if (!isDropped) await source.query('DROP DATABASE "dropped"');
        isDropped = true;
        yield* client.shard(...about);
      },
    };
    expect(await generationOf(backup(world, source.snapshotter, { client: dropping }))).toMatchObject({ outcome: "complete", failed: [] });
    expect(Object.keys(await filesIn(world, 2))).toHaveLength(before - 1);
    await expectAtRest(world);
  });

  test("a file name that the server uses again for other bytes is another file: each generation has its own", async () => {
    const world = failureWorld();
    await using own = await startInfluxd({ settings: { data: { "compact-full-write-cold-duration": "1s" } } });
    await own.query('CREATE DATABASE "again" WITH DURATION INF SHARD DURATION 7d NAME "policy"');
    const written = async (v: number) => {
      await own.write("again", [`m v=${v}i 1704067200000000000`]);
      const { generation } = await generationOf(backup(world, own.snapshotter, of("again")));
      return generation;
    };
    await written(1);
    const files = async () => (await readdir(join(own.layout.data, "again/policy/1"))).filter((name) => name.endsWith(".tsm"));
    await own.query("DELETE FROM m", { db: "again" });
    await own.stop();
    await own.start();
    await expect.poll(files, { timeout: 20_000, interval: 200 }).toEqual([]);
    await own.stop();
    await own.start();
    const second = await written(2);
    expect(await files()).toEqual([FIRST]);
    const [before, after] = await Promise.all([1, second].map(async (generation) => (await filesOf(world, generation)).get(FIRST)));
    expect(after?.sha256).not.toBe(before?.sha256);
    expect(after?.bytes).toBe(before?.bytes);
    for (const [generation, v] of [
      [1, 1],
      [second, 2],
    ] as const) {
      const newDatabase = `again ${generation}`;
      await restore(world, { name: NAME, client: clientOf(own.snapshotter), database: "again", newDatabase, at: { generation } });
      expect((await own.query("SELECT v FROM m", { db: newDatabase }))[0].series?.[0].values[0][1]).toBe(v);
    }
    await expectAtRest(world);
  });

  async function filesOf(world: FailureWorld, generation: number): Promise<ReadonlyMap<string, { readonly sha256: string; readonly bytes: number }>> {
    const opened = await openBackup(world, NAME, { generation });
    await opened.close();
    return new Map([...opened.shards.values()].flatMap(({ files }) => files.map((file) => [file.name, file] as const)));
  }

  test("a shard that the server cannot open after a restart is an error that names it, and no shard that was dropped", async () => {
    const world = failureWorld();
    await using own = await startInfluxd();
    await own.query('CREATE DATABASE "broken" WITH DURATION INF SHARD DURATION 1d NAME "policy"');
    await own.write("broken", points({ seed: 4, points: 40, shardGroupMs: DAY_MS, groups: 2 }));
    await generationOf(backup(world, own.snapshotter, of("broken")));
    await own.stop();
    await writeFile(join(own.layout.data, "broken/policy/2/other.tsm"), "a name that it cannot read");
    await own.start();
    await expect(backup(world, own.snapshotter, of("broken"))).rejects.toMatchObject({
      kind: "retry",
      message: expect.stringContaining("shard 2 of broken/policy"),
    });
    expect(await generationOf(backup(world, own.snapshotter, { ...of("broken"), skipErrors: true }))).toMatchObject({
      outcome: "partial",
      shards: 2,
      failed: [{ shard: 2 }],
    });
    await expectAtRest(world);
  });
}
