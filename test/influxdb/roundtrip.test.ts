// Backup and restore by the command line, against a real InfluxDB: what comes back is what was there, row by row.

import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { makePlace, type Place } from "../cli/tidemark.ts";
import { type Influxd, startInfluxd } from "./influxd.ts";
import { missing } from "./obtain.ts";
import { answers, points } from "./points.ts";

const HOUR_MS = 3_600_000;
const GROUPS = 5;
const FROM = Date.UTC(2024, 0, 1);

const lacks = await missing();
if (lacks !== undefined) test("what is backed up comes back", ({ skip }) => skip(lacks));
else describe("with a real InfluxDB", prove);

function prove(): void {
  let source: Influxd;
  let place: Place;
  beforeAll(async () => {
    source = await startInfluxd();
    place = await makePlace();
    await place.run(["init"]);
    await create(source, "mine");
    await source.write("mine", points({ seed: 1, points: 4_000, shardGroupMs: HOUR_MS, groups: GROUPS, fromMs: FROM }));
    await source.write("mine", points({ seed: 2, points: 1_000, shardGroupMs: HOUR_MS, groups: GROUPS, fromMs: FROM }), { policy: "other" });
  });
  afterAll(async () => {
    await source?.[Symbol.asyncDispose]();
    await place?.remove();
  });

  test("a generation, an increment with deletions, and the states of both: each comes back under a new name, and on an empty server", async () => {
    const first = await backup(place, source);
    expect(first).toMatchObject({
      code: 0,
      document: { kind: "completed", generation: { generation: 1, kind: "full", shards: 2 * GROUPS, outcome: "complete" } },
    });
    const before = await answers(source, "mine");

    expect(await backup(place, source)).toMatchObject({ code: 0, document: { kind: "ignored", generation: 1, shards: 2 * GROUPS } });

    await source.write("mine", points({ seed: 3, points: 500, shardGroupMs: HOUR_MS, groups: 1, fromMs: FROM }));
    await source.query("DELETE FROM cpu WHERE host = 'server-1'; DELETE FROM disk WHERE time < '2024-01-01T00:20:00Z'; DROP MEASUREMENT untagged", {
      db: "mine",
    });
    // Written again after it was deleted: a deletion is of what was there then.
    await source.write("mine", [`cpu,host=server-1,region=eu idle=1.5 ${BigInt(FROM) * 1_000_000n + 7n}`]);
    const second = await backup(place, source);
    expect(second).toMatchObject({ code: 0, document: { kind: "completed", generation: { generation: 2, kind: "incremental", parent: { generation: 1 } } } });
    const after = await answers(source, "mine");
    expect(after.policies).not.toEqual(before.policies);

    expect(await place.json(["influxdb", "restore", "metrics", source.snapshotter, "--database", "mine", "--new-database", "now"])).toMatchObject({ code: 0 });
    expect((await answers(source, "now")).policies).toEqual(after.policies);
    const earlier = ["influxdb", "restore", "metrics", source.snapshotter, "--at", "1", "--database", "mine", "--new-database", "then"];
    expect(await place.json(earlier)).toMatchObject({ code: 0 });
    expect((await answers(source, "then")).policies).toEqual(before.policies);

    await using empty = await startInfluxd({ settings: { data: { "index-version": "tsi1" } } });
    expect(await place.json(["influxdb", "restore", "metrics", empty.snapshotter])).toMatchObject({
      code: 0,
      document: { generation: 2, databases: [{ database: "mine", newDatabase: "mine", resumed: false, empty: [] }] },
    });
    expect((await answers(empty, "mine")).policies).toEqual(after.policies);
    // Also once it has been started again, and has made its indexes anew.
    await empty.stop();
    await empty.start();
    expect((await answers(empty, "mine")).policies).toEqual(after.policies);
  });

  test("one policy comes back under other names", async () => {
    const words = [
      "influxdb",
      "restore",
      "metrics",
      source.snapshotter,
      "--database",
      "mine",
      "--new-database",
      "part",
      "--policy",
      "other",
      "--new-policy",
      "renamed",
    ];
    expect(await place.json(words)).toMatchObject({ code: 0 });
    const policies = await source.query("SHOW RETENTION POLICIES ON part");
    expect(policies[0].series?.[0].values?.map(([name]) => name)).toEqual(["renamed"]);
    const { policies: part } = await answers(source, "part");
    const { policies: all } = await answers(source, "mine");
    expect(part).toHaveLength(1);
    expect(all).toHaveLength(2);
    expect(all).toContainEqual(part[0]);
  });

  test("generations are listed, verified, and let go with what nothing else names", async () => {
    const { document } = await place.json(["influxdb", "list", "metrics"]);
    expect(document).toMatchObject({
      name: "metrics",
      generations: [
        { id: 1, kind: "full", parent: null, databases: ["mine"], shards: 2 * GROUPS, outcome: "complete", failed: [] },
        { id: 2, kind: "incremental", parent: 1, databases: ["mine"], shards: 2 * GROUPS, outcome: "complete", failed: [] },
      ],
    });
    expect(await place.json(["influxdb", "verify", "metrics"])).toMatchObject({ code: 0, document: { generations: 2, findings: [] } });

    await place.run(["table", "update", "metrics", "--keep-snapshots", "2"]);
    for (const seed of [4, 5]) {
      await source.write("mine", points({ seed, points: 50, shardGroupMs: HOUR_MS, fromMs: FROM }));
      expect((await backup(place, source)).code).toBe(0);
    }
    await place.run(["cleanup", "metrics"]);
    const { document: list } = await place.json(["influxdb", "list", "metrics"]);
    expect(list).toMatchObject({ generations: [{ id: 3 }, { id: 4 }] });
    expect(await place.json(["influxdb", "verify", "metrics"])).toMatchObject({ code: 0, document: { generations: 2, findings: [] } });
    const gone = await place.run(["influxdb", "restore", "metrics", source.snapshotter, "--at", "1", "--database", "mine", "--new-database", "never"]);
    expect(gone).toMatchObject({ code: 2, stderr: expect.stringContaining("keeps no generation 1") });
    const now = ["influxdb", "restore", "metrics", source.snapshotter, "--database", "mine", "--new-database", "newest"];
    expect(await place.json(now)).toMatchObject({ code: 0 });
    expect((await answers(source, "newest")).policies).toEqual((await answers(source, "mine")).policies);
  });

  test("while three writers go on, a backup holds every point that was acknowledged before it began", async () => {
    await create(source, "busy");
    let stop = false;
    let acknowledged = 0;
    const writer = async (name: number): Promise<void> => {
      for (let at = 0; !stop; at++) {
        await source.write("busy", [`m,w=w${name} v=1i ${BigInt(FROM) * 1_000_000n + BigInt(at) * 1_000_000_000n}`]);
        acknowledged += 1;
      }
    };
    const writers = [writer(1), writer(2), writer(3)];
    await vi.waitFor(() => expect(acknowledged).toBeGreaterThan(300), { timeout: 20_000 });
    const [first, before] = [await countOf(source, "busy"), acknowledged];
    const taken = await backup(place, source, "live", ["--database", "busy"]);
    stop = true;
    await Promise.all(writers);
    expect(taken.code).toBe(0);
    expect(await place.json(["influxdb", "restore", "live", source.snapshotter, "--new-database", "calm", "--database", "busy"])).toMatchObject({ code: 0 });
    const restored = await countOf(source, "calm");
    expect(restored).toBeGreaterThanOrEqual(Math.max(first, before));
    expect(restored).toBeLessThanOrEqual(await countOf(source, "busy"));
  });

  test("a database that is there is refused, and an unknown one named with those there are", async () => {
    const there = await place.run(["influxdb", "restore", "metrics", source.snapshotter, "--database", "mine"]);
    expect(there).toMatchObject({ code: 2, stderr: expect.stringContaining('has a database "mine"') });
    const unknown = await place.run(["influxdb", "backup", source.snapshotter, "metrics", "--database", "nope"]);
    expect(unknown).toMatchObject({ code: 2, stderr: expect.stringContaining('no database "nope"; it has "mine"') });
    const noPolicy = await place.run(["influxdb", "backup", source.snapshotter, "metrics", "--database", "mine", "--policy", "nope"]);
    expect(noPolicy).toMatchObject({ code: 2, stderr: expect.stringContaining('it has "autogen", "other"') });
    const elsewhere = await place.run(["influxdb", "backup", source.snapshotter, "metrics", "--database", "mine", "--policy", "other", "--shard", "1"]);
    expect(elsewhere).toMatchObject({ code: 2, stderr: expect.stringContaining("it belongs to mine/autogen") });
  });

  test("a range of time takes the shards that it touches, and those alone; an open end is the end of time", async () => {
    const start = new Date(FROM + 3 * HOUR_MS + HOUR_MS / 2).toISOString();
    const ranged = await backup(place, source, "ranged", ["--database", "mine", "--policy", "autogen", "--start", start]);
    expect(ranged).toMatchObject({ code: 0, document: { generation: { shards: 2, range: { start } } } });
    expect(await place.json(["influxdb", "restore", "ranged", source.snapshotter, "--database", "mine", "--new-database", "late"])).toMatchObject({ code: 0 });
    for (const since of [start, new Date(FROM + 4 * HOUR_MS).toISOString()]) {
      const sum = `SELECT sum(idle) FROM autogen.cpu WHERE time >= '${since}'`;
      expect(await source.query(sum, { db: "late" })).toEqual(await source.query(sum, { db: "mine" }));
    }
  });

  test("users and their passwords' hashes are left out where that is asked for", async () => {
    await source.query("CREATE USER root WITH PASSWORD 'secret' WITH ALL PRIVILEGES");
    await backup(place, source, "kept", ["--database", "busy"]);
    await backup(place, source, "bare", ["--database", "busy", "--without-users"]);
    const metaOf = async (name: string): Promise<Buffer> => {
      const folder = join(place.directory, `${name}-data`);
      await place.run(["influxdb", "export", name, folder, "--format", "data"]);
      const bytes = await readFile(join(folder, "meta", "meta.db"));
      await rm(folder, { recursive: true });
      return bytes;
    };
    expect((await metaOf("kept")).includes("$2a$")).toBe(true);
    expect((await metaOf("bare")).includes("$2a$")).toBe(false);
  });
}

async function create(server: Influxd, database: string): Promise<void> {
  await server.query(
    `CREATE DATABASE ${database} WITH DURATION INF SHARD DURATION 1h NAME autogen; CREATE RETENTION POLICY other ON ${database} DURATION INF REPLICATION 1 SHARD DURATION 1h`,
  );
}

function backup(place: Place, { snapshotter }: Influxd, name = "metrics", flags: readonly string[] = ["--database", "mine"]) {
  return place.json(["influxdb", "backup", snapshotter, name, ...flags]);
}

async function countOf(server: Influxd, database: string): Promise<number> {
  const [{ series = [] }] = await server.query("SELECT count(v) FROM m", { db: database });
  return Number(series[0]?.values?.[0]?.[1] ?? 0);
}
