// Laws of the rig itself, against a real InfluxDB: what later suites take for granted.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { cp, mkdtemp, readdir, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type Fault, startDouble, startProxy, tarWithout } from "./double.ts";
import { type Influxd, influxdVersion, officialBackup, officialRestore, startInfluxd } from "./influxd.ts";
import { missing } from "./obtain.ts";
import { answers, points } from "./points.ts";

const RIG = new URL("./influxd.ts", import.meta.url).href;
const DAY_MS = 86_400_000;
const NEVER = "0001-01-01T00:00:00Z";
const SHARD_BACKUP = 0;
const METASTORE_BACKUP = 1;
const LINES = points({ seed: 11, points: 1_000, shardGroupMs: DAY_MS, groups: 2 });

const lacks = await missing();
if (lacks !== undefined) test("the rig keeps its laws against a real InfluxDB", ({ skip }) => skip(lacks));
else describe("with a real InfluxDB", proveLaws);

describe("a double", () => {
  test("hands over requests of either dialect, and closes on those of the other", async () => {
    await using newer = await startDouble(({ type, json }, socket) => socket.end(`${type} ${json.ShardID}`));
    await using older = await startDouble(({ type, json }, socket) => socket.end(`${type} ${json.ShardID}`), { dialect: "1.0" });
    const requests = [shardBackup(7), Buffer.from(`\x03{"Type":0,"ShardID":8}\n`), Buffer.from("\x03\x07\0\0\0\0\0\0\0\x09"), Buffer.from("\x02\x00{}\n")];
    const asked = async (address: string) => Promise.all(requests.map(async (request) => (await exchange(address, request)).bytes.toString()));
    expect(await asked(newer.address)).toEqual(["0 7", "", "7 9", ""]);
    expect(await asked(older.address)).toEqual(["", "0 8", "", ""]);
  });

  test("reads what is sent behind the head, by size and up to the end", async () => {
    await using double = await startDouble(async ({ payload }, socket) => socket.end(`${await payload(3)}, then ${await payload()}`));
    const reply = await exchange(double.address, Buffer.concat([request(6, { UploadSize: 3 }), Buffer.from("metamore")]));
    expect(reply.bytes.toString()).toBe("met, then amore");
  });
});

function proveLaws(): void {
  let server: Influxd | undefined;
  let source: Influxd;
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "tidemark-rig-"));
    server = await startInfluxd({ settings: { data: { "index-version": "tsi1" } } });
    source = server;
    await create(source, "source");
    await source.write("source", LINES);
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  describe("a server", () => {
    test("keeps what it took through its end, also by SIGKILL, and takes its folder along", async () => {
      const influxd = await startInfluxd();
      await create(influxd, "kept");
      await influxd.write("kept", ["m,t=a v=1i 1", "m,t=a v=2i 2"]);
      await influxd.stop();
      await expect(influxd.query("SHOW DATABASES")).rejects.toThrow();
      await influxd.start();
      await influxd.kill();
      await influxd.start();
      const [{ series = [] }] = await influxd.query("SELECT sum(v) FROM m", { db: "kept" });
      expect(series[0].values).toEqual([["1970-01-01T00:00:00Z", 3]]);
      expect((await influxd.log()).match(/InfluxDB starting/g)).toHaveLength(3);
      await influxd[Symbol.asyncDispose]();
      expect(existsSync(influxd.directory)).toBe(false);
    });

    test("starts on a copy of another's files, and answers the same", async () => {
      const influxd = await startInfluxd();
      await create(influxd, "copied");
      await influxd.write("copied", LINES);
      await influxd.stop();
      const layout = { meta: join(folder, "meta"), data: join(folder, "data"), wal: join(folder, "wal") };
      for (const part of ["meta", "data", "wal"] as const) await cp(influxd.layout[part], layout[part], { recursive: true });
      await influxd[Symbol.asyncDispose]();
      await using copy = await startInfluxd({ layout });
      expect(await answers(copy, "copied")).toEqual(await answers(source, "source"));
    });

    test("throws what it refuses", async () => {
      await expect(source.query("SELEC")).rejects.toThrow(/error parsing query/);
      await expect(source.query("CREATE RETENTION POLICY a ON b DURATION INF REPLICATION 1")).rejects.toThrow(/database not found/);
      await expect(source.write("source", ["no line"])).rejects.toThrow(/400/);
    });

    test("ends with the process that started it, and takes its folder along, where that is killed", async () => {
      const script = `const { directory, http } = await (await import(${JSON.stringify(RIG)})).startInfluxd(); console.log(JSON.stringify({ directory, http })); setTimeout(() => {}, 60_000);`;
      const starter = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
      const [line]: Buffer[] = await once(starter.stdout, "data");
      const { directory, http }: { directory: string; http: string } = JSON.parse(line.toString());
      expect((await fetch(`${http}/ping`)).status).toBe(204);
      starter.kill("SIGKILL");
      await expect.poll(() => existsSync(directory), { timeout: 10_000 }).toBe(false);
      await expect(fetch(`${http}/ping`)).rejects.toThrow();
    });

    test("that died by itself is no hindrance to its end, nor to a new start", async () => {
      await using influxd = await startInfluxd();
      // A size below zero makes InfluxDB 1.6 panic; others only refuse it.
      await exchange(influxd.snapshotter, request(6, { UploadSize: -5 }));
      await influxd.stop();
      await influxd.start();
      expect(await influxd.query("SHOW DATABASES")).toHaveLength(1);
    });

    test("tells its version, and where it cannot start what is wrong", async () => {
      expect(await influxdVersion()).toMatch(/^1\.\d/);
      await expect(startInfluxd({ settings: { data: { "index-version": "none" } } })).rejects.toThrow(/unrecognized index none/);
    });
  });

  describe("answers", () => {
    test("are those of the points, and the same in any order, policy and shard duration", async () => {
      await create(source, "other", "7d");
      await source.write("other", LINES.toReversed());
      const found = await answers(source, "source");
      expect(await answers(source, "other")).toEqual(found);
      const measurements = Object.values(found.policies[0].measurements);
      expect(measurements.reduce((sum, { rows }) => sum + rows, 0)).toBe(LINES.length);
      expect(new Set(measurements.flatMap(({ fields }) => Object.values(fields)))).toEqual(new Set(["float", "integer", "string", "boolean"]));
    });

    const BIG = "single big=4611686018427387801i 1704067200000000000";
    const ALONE = "alone v=1i 1704067200000000000";
    const twins: readonly [string, (lines: readonly string[]) => readonly string[]][] = [
      ["is missing", (lines) => lines.slice(1)],
      ["is more", (lines) => [...lines, "untagged count=1i 1704067200000000000"]],
      ["has its lowest bit changed", (lines) => lines.map((line) => (line === BIG ? BIG.replace("801i", "802i") : line))],
      ["is a nanosecond later", (lines) => lines.map((line) => (line === BIG ? BIG.replace(/0$/, "1") : line))],
      ["has another type", (lines) => lines.map((line) => (line === ALONE ? ALONE.replace("1i", "1") : line))],
    ];
    test.for(twins)("differ where one point of many %s", async ([, change], { task }) => {
      const lines = [...LINES.slice(0, 300), BIG, ALONE];
      for (const [name, written] of [
        ["before", lines],
        ["after", change(lines)],
      ] as const) {
        await create(source, `${name} ${task.id}`);
        await source.write(`${name} ${task.id}`, written);
      }
      const [before, after] = [await answers(source, `before ${task.id}`), await answers(source, `after ${task.id}`)];
      expect(after.policies).not.toEqual(before.policies);
      expect(after.policies[0].sha256).not.toBe(before.policies[0].sha256);
    });

    test("show a series whose rows were deleted neither in rows nor in the index", async () => {
      await create(source, "deleted");
      await source.write("deleted", ["m,t=a v=1 1", "m,t=b v=1 1"]);
      await source.query("DELETE FROM m WHERE t = 'a'", { db: "deleted" });
      expect((await answers(source, "deleted")).shown).toEqual({ measurements: ["m"], series: ["m,t=b"] });
    });
  });

  describe("a proxy", () => {
    const whole = async () => (await exchange(source.snapshotter, shardBackup(1))).bytes;
    const through = async (fault: Fault, bytes: Buffer = shardBackup(1)) => {
      await using proxy = await startProxy(source.snapshotter, () => fault);
      return await exchange(proxy.address, bytes);
    };

    test("passes on what it does not spoil, and spoils the one it is asked to", async () => {
      const reply = await whole();
      await using proxy = await startProxy(source.snapshotter, ({ type, nthOfType }) =>
        type === SHARD_BACKUP && nthOfType === 2 ? { kind: "cut", bytes: 0, by: "fin" } : undefined,
      );
      const replies: Buffer[] = [];
      for (const bytes of [shardBackup(1), request(METASTORE_BACKUP, {}), shardBackup(1), shardBackup(1)])
        replies.push((await exchange(proxy.address, bytes)).bytes);
      expect(replies.map((bytes) => bytes.length)).toEqual([
        reply.length,
        (await exchange(source.snapshotter, request(METASTORE_BACKUP, {}))).bytes.length,
        0,
        reply.length,
      ]);
      expect(replies[0].equals(reply)).toBe(true);
      expect(proxy.requests.map(({ nth, nthOfType, type }) => [nth, nthOfType, type])).toEqual([
        [1, 1, 0],
        [2, 1, 1],
        [3, 2, 0],
        [4, 3, 0],
      ]);
      expect(proxy.open()).toBe(0);
    });

    test.for(["fin", "rst"] as const)("cuts by %s after exactly so many bytes", async (by) => {
      const reply = await whole();
      for (const bytes of [0, 1, 2_000, reply.length - 1]) {
        const cut = await through({ kind: "cut", bytes, by });
        expect(cut).toEqual({ bytes: reply.subarray(0, bytes), end: by });
      }
    });

    test("drops a file, and leaves a whole archive", async () => {
      await source.write("source", LINES.slice(0, 1));
      const [first, second] = namesOf(await whole());
      const reply = await through({ kind: "drop", files: new RegExp(first) });
      expect(namesOf(reply.bytes)).toEqual([second]);
      expect(reply.bytes.subarray(-1024).every((byte) => byte === 0)).toBe(true);
      expect(tarWithout(await whole(), /nothing of the kind/)).toEqual(await whole());
    });

    test("answers nothing, answers late, and answers something else", async () => {
      expect(await through({ kind: "nothing" })).toEqual({ bytes: Buffer.alloc(0), end: "fin" });
      const began = performance.now();
      expect((await through({ kind: "delay", ms: 200 })).bytes).toEqual(await whole());
      expect(performance.now() - began).toBeGreaterThan(190);
      expect((await through({ kind: "rewrite", reply: (reply) => reply.subarray(0, 512) })).bytes).toEqual((await whole()).subarray(0, 512));
    });

    test("stalls until it is closed", async () => {
      const proxy = await startProxy(source.snapshotter, () => ({ kind: "stall", bytes: 100 }));
      const reply = exchange(proxy.address, shardBackup(1));
      const first = await Promise.race([reply, new Promise((resolve) => setTimeout(resolve, 300, "stalled"))]);
      expect(first).toBe("stalled");
      expect(proxy.open()).toBe(1);
      await proxy[Symbol.asyncDispose]();
      expect((await reply).bytes).toHaveLength(100);
    });

    test("splits what is sent: metadata in two segments the server does not take", async () => {
      const meta = await metadata(source);
      const update = (name: string) => Buffer.concat([request(6, { BackupDatabase: "source", RestoreDatabase: name, UploadSize: meta.length }), meta]);
      const pairs = async (fault: Fault | undefined, name: string) => {
        await using proxy = await startProxy(source.snapshotter, () => fault);
        return (await exchange(proxy.address, update(name))).bytes.readBigUInt64BE(8);
      };
      expect(await pairs({ kind: "split", bytes: update("split").length - 20 }, "split")).toBe(0n);
      expect(await pairs(undefined, "unsplit")).toBe(2n);
      await source.query("DROP DATABASE unsplit");
    });
  });

  test("the official tool backs up and restores, and says how it ended", async () => {
    const backup = await officialBackup(["-portable", "-host", source.snapshotter, "-db", "source", join(folder, "official")]);
    expect(backup).toMatchObject({ exitCode: 0, output: expect.stringContaining("backup complete") });
    expect((await readdir(join(folder, "official"))).filter((name) => name.endsWith(".tar.gz"))).toHaveLength(2);
    await using target = await startInfluxd();
    const restore = await officialRestore(["-portable", "-host", target.snapshotter, "-db", "source", "-newdb", "restored", join(folder, "official")]);
    expect(restore).toMatchObject({ exitCode: 0 });
    // The tool does not wait until the shards are enabled again.
    const restored = await vi.waitFor(() => answers(target, "restored"), { timeout: 10_000 });
    expect(restored).toEqual(await answers(source, "source"));
    expect(await officialRestore(["-portable", "-host", target.snapshotter, join(folder, "nowhere")])).toMatchObject({ exitCode: 1 });
  });
}

async function create(influxd: Influxd, name: string, shardDuration = "1d"): Promise<void> {
  await influxd.query(`CREATE DATABASE "${name}" WITH DURATION INF SHARD DURATION ${shardDuration} NAME "of ${name}"`);
}

function shardBackup(id: number): Buffer {
  return request(SHARD_BACKUP, { ShardID: id });
}

function request(type: number, json: Readonly<Record<string, unknown>>): Buffer {
  return Buffer.concat([Buffer.of(3, type), Buffer.from(`${JSON.stringify({ Since: NEVER, ExportStart: NEVER, ExportEnd: NEVER, ...json })}\n`)]);
}

async function metadata(influxd: Influxd): Promise<Buffer> {
  const { bytes } = await exchange(influxd.snapshotter, request(METASTORE_BACKUP, {}));
  return bytes.subarray(16, 16 + Number(bytes.readBigUInt64BE(8)));
}

function namesOf(tar: Buffer): readonly string[] {
  return [...tar.toString("latin1").matchAll(/[^\0]+\/(\d+-\d+\.tsm)(?=\0)/g)].map(([, name]) => name);
}

/** All that the server sends, and how it ends. */
function exchange(address: string, bytes: Buffer): Promise<{ readonly bytes: Buffer; readonly end: "fin" | "rst" }> {
  const [host, port] = address.split(":");
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const socket = connect({ host, port: Number(port) }, () => socket.end(bytes));
    socket.on("data", (chunk) => chunks.push(chunk));
    socket.once("error", () => resolve({ bytes: Buffer.concat(chunks), end: "rst" }));
    socket.once("end", () => resolve({ bytes: Buffer.concat(chunks), end: "fin" }));
  });
}
