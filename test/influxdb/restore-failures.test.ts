// What goes wrong between a backup and a server that it is restored to (influx-wire.md W8 to W11, features.md I26 to I36), and
// between a client and `tidemark influxdb serve`: each ends with a clear error or with all points, never with a wrong success,
// and what was stopped goes on.

import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createTable } from "../../lib/jobs/tables.ts";
import { isTidemarkError } from "../../lib/model/errors.ts";
import { addressInWords } from "../../lib/sources/influxdb/connection.ts";
import { exportBackup } from "../../lib/sources/influxdb/export.ts";
import { openBackup } from "../../lib/sources/influxdb/open-backup.ts";
import { restore, type RestoreReport, type RestoreRequest } from "../../lib/sources/influxdb/restore.ts";
import { serve, type Serving } from "../../lib/sources/influxdb/serve.ts";
import { verifyBackup } from "../../lib/sources/influxdb/verify.ts";
import { backup, cleanUp, clientOf, contentOf, expectAtRest, failureWorld, type FailureWorld, generationOf, generationsOf, hooked, NAME } from "./at-rest.ts";
import { type Fault, type SnapshotterRequest, startProxy } from "./double.ts";
import { type Influxd, startInfluxd } from "./influxd.ts";
import { archive, type ArchiveEntry, modelShard, type ModelServer, startModelServer } from "./model-server.ts";
import { missing } from "./obtain.ts";
import { type Answers, answers, points } from "./points.ts";

const SHARD_BACKUP = 0;
const METASTORE_UPDATE = 6;
const SHARD_UPDATE = 7;
const DAY_MS = 86_400_000;
const FIRST = "000000001-000000001.tsm";
const SECOND = "000000002-000000001.tsm";

describe("tidemark influxdb serve", () => {
  let world: FailureWorld;
  let server: ModelServer;
  let serving: Serving;
  let told: string[];
  beforeEach(async () => {
    world = failureWorld();
    server = await startModelServer([modelShard(1, { [FIRST]: "one", [SECOND]: "two" }), modelShard(10, { [FIRST]: "ten" })]);
    await backup(world, server.address);
    told = [];
    const onRequest = ({ error }: { readonly error?: string }) => void told.push(error ?? "done");
    serving = await serve(world, { name: NAME, listen: { host: "127.0.0.1", port: 0 }, onRequest });
  });
  afterEach(async () => {
    await serving.close();
    await server[Symbol.asyncDispose]();
  });

  const CONTENT = { [`1/${FIRST}`]: "one", [`1/${SECOND}`]: "two", [`10/${FIRST}`]: "ten" };
  const request = (type: number, json: object) => Buffer.concat([Buffer.of(3, type), Buffer.from(`${JSON.stringify(json)}\n`)]);
  const update = (shard: bigint, bytes: Uint8Array) => {
    const head = Buffer.from([3, SHARD_UPDATE, 0, 0, 0, 0, 0, 0, 0, 0]);
    head.writeBigUInt64BE(shard, 2);
    return Buffer.concat([head, bytes]);
  };
  const file = (name: string, bytes = "new"): ArchiveEntry => ({ name, bytes: Buffer.from(bytes) });
  const good = archive([file("db/policy/1/000000003-000000001.tsm")]);

  const bad: readonly [string, Buffer][] = [
    ["an UploadSize below zero", request(METASTORE_UPDATE, { UploadSize: -5 })],
    ["an UploadSize of 0", request(METASTORE_UPDATE, { UploadSize: 0 })],
    ["an UploadSize beyond all memory", request(METASTORE_UPDATE, { UploadSize: 2 ** 50 })],
    ["an UploadSize that is no whole number", request(METASTORE_UPDATE, { UploadSize: 1.5 })],
    ["an UploadSize beyond whole numbers", Buffer.concat([Buffer.of(3, METASTORE_UPDATE), Buffer.from('{"UploadSize":1e300}\n')])],
    ["a metastore that is shorter than it says", Buffer.concat([request(METASTORE_UPDATE, { UploadSize: 1_000 }), Buffer.alloc(20, 1)])],
    ["a metastore that is none", Buffer.concat([request(METASTORE_UPDATE, { UploadSize: 20 }), Buffer.alloc(20, 0xff)])],
    ["a shard that is not there", update(99n, good)],
    ["a shard id beyond all numbers", update(2n ** 64n - 1n, good)],
    ["a shard id that is cut", Buffer.from([3, SHARD_UPDATE, 0, 0])],
    ["an archive that is cut in a file", update(1n, good.subarray(0, 513))],
    ["an archive that is cut before its end", update(1n, good.subarray(0, -1_024))],
    ["an archive that is cut in its end", update(1n, good.subarray(0, -1))],
    ["an archive with something behind it", update(1n, Buffer.concat([good, Buffer.of(1)]))],
    ["no archive", update(1n, Buffer.alloc(0))],
    ["a name with ..", update(1n, archive([file(`db/policy/1/../10/${FIRST}`)]))],
    ["another shard's folder", update(1n, archive([file(`db/policy/10/${FIRST}`)]))],
    ["an absolute name", update(1n, archive([file(`/etc/${FIRST}`)]))],
    ["a directory", update(1n, archive([{ ...file("db/policy/1/"), type: "5", bytes: Buffer.alloc(0) }]))],
    ["a link", update(1n, archive([{ ...file(`db/policy/1/${FIRST}`), type: "2", bytes: Buffer.alloc(0) }]))],
    ["a name twice", update(1n, archive([file("db/policy/1/000000003-000000001.tsm", "a"), file("db/policy/1/000000003-000000001.tsm", "b")]))],
    ["another first byte", Buffer.from('\x02\x01{"UploadSize":1}\n')],
    ["a request of no type", request(9, {})],
    ["a head without an end", Buffer.concat([Buffer.of(3, 1), Buffer.alloc(100_000, 0x20)])],
  ];
  test.for(bad)("takes nothing of %s, tells why, and goes on serving", async ([, bytes]) => {
    expect(await exchange(addressInWords(serving.address), bytes)).toHaveLength(0);
    expect(told).toHaveLength(1);
    expect(told[0]).not.toBe("done");
    expect(await generationsOf(world)).toEqual([1]);
    await generationOf(backup(failureWorld(), addressInWords(serving.address)));
    await exchange(addressInWords(serving.address), update(1n, good));
    expect(told.at(-1)).toBe("done");
    expect(await contentOf(world, 2)).toEqual({ ...CONTENT, "1/000000003-000000001.tsm": "new" });
    await expectAtRest(world);
  });

  test("answers a backup of a backup, as its own server would, and nothing where its store is damaged: never a part", async () => {
    const copy = failureWorld();
    await generationOf(backup(copy, addressInWords(serving.address)));
    expect(await contentOf(copy, 1)).toEqual(CONTENT);
    world.objects.damage(keyOf(world, SECOND), (body) => body.fill(0x21));
    const other = failureWorld();
    const failure = await backup(other, addressInWords(serving.address)).catch((error: unknown) => error);
    expect(failure).toMatchObject({ kind: "retry", message: expect.stringContaining("shard 1 of db/policy") });
    expect(told.filter((error) => error !== "done").every((error) => error.includes("damaged"))).toBe(true);
    expect(told).toContainEqual(expect.stringContaining(SECOND));
    expect(await generationOf(backup(other, addressInWords(serving.address), { skipErrors: true }))).toMatchObject({
      outcome: "partial",
      failed: [{ shard: 1 }],
    });
    expect(await contentOf(other, 1)).toEqual({ [`10/${FIRST}`]: "ten" });
  });
});

/** The key of the one attachment with that in its name. */
function keyOf({ objects }: FailureWorld, name: string): string {
  const keys = [...objects.objects.keys()].filter((key) => key.includes("/attached/") && key.includes(name));
  expect(keys).toHaveLength(1);
  return keys[0];
}

const lacks = await missing();
if (lacks !== undefined) test("failures of a restore to a real InfluxDB are no wrong success", ({ skip }) => skip(lacks));
else describe("a restore to a real InfluxDB", playFailures);

function playFailures(): void {
  let server: Influxd | undefined;
  let target: Influxd;
  let original: Answers;
  let made = 0;
  beforeAll(async () => {
    server = await startInfluxd();
    target = server;
    await target.query('CREATE DATABASE "source" WITH DURATION INF SHARD DURATION 1d NAME "policy"');
    await target.write("source", points({ seed: 21, points: 240, shardGroupMs: DAY_MS, groups: 3 }));
    original = await answers(target, "source");
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
  });

  /** A world with one generation of the source, and a name that no database has yet. */
  async function prepared(): Promise<{ readonly world: FailureWorld; readonly newDatabase: string }> {
    made += 1;
    const world = failureWorld(made);
    await generationOf(backup(world, target.snapshotter, { selection: { database: "source" } }));
    return { world, newDatabase: `restored ${made}` };
  }

  function bringBack(world: FailureWorld, newDatabase: string, about: Partial<RestoreRequest> = {}): Promise<RestoreReport> {
    return restore(world, { name: NAME, client: clientOf(target.snapshotter), database: "source", newDatabase, ...about });
  }

  /** The restore is begun through a proxy, which is gone when it goes on: that is of the same server by its address. */
  async function behind<T>(
    fault: (request: SnapshotterRequest) => Fault | undefined,
    work: (address: string, wellAgain: () => void) => Promise<T>,
  ): Promise<T> {
    let isWell = false;
    await using proxy = await startProxy(target.snapshotter, (request) => (isWell ? undefined : fault(request)));
    return await work(proxy.address, () => {
      isWell = true;
    });
  }

  test.for([
    ["the rest of it is lost, while the server ends as ever", "lost"],
    ["both sides are reset", "reset"],
  ] as const)(
    "a shard update of which %s, at any of several places, is sent again; where that is so at every try the same restore goes on later",
    async ([, kind]) => {
      for (const [at, place] of [0, 2, 5, 10, 300, 522, 523, 1_500, 3_000, -1_024, -512, -1].entries()) {
        const { world, newDatabase } = await prepared();
        const isEvery = at % 2 === 1;
        await using cutter = await startCutter(target.snapshotter, (nth) => (nth === 2 || (isEvery && nth > 1) ? { kind, place } : undefined));
        const client = clientOf(cutter.address, { silentMs: 5_000 });
        if (isEvery) {
          const failure = await bringBack(world, newDatabase, { client }).catch((error: unknown) => error);
          // A server does without a part of an archive's end: what it then gives back counts.
          const isWhole = place === -1_024 || place === -512;
          if (isWhole && kind === "lost") expect(failure).toMatchObject({ databases: [{ resumed: false, shards: [{}, {}, {}] }] });
          else {
            expect(failure).toMatchObject({ kind: "retry", message: expect.stringMatching(/shard|connection/) });
            cutter.heal();
            const { databases } = await bringBack(world, newDatabase, { client });
            expect(databases[0]).toMatchObject({ resumed: true, shards: [{ found: true }, { found: isWhole }, { found: false }] });
          }
        } else {
          expect((await bringBack(world, newDatabase, { client })).databases[0]).toMatchObject({ resumed: false, shards: [{}, {}, {}] });
        }
        expect(await answers(target, newDatabase)).toEqual(original);
        await target.query(`DROP DATABASE "${newDatabase}"`);
      }
    },
  );

  test("one that is stopped by its signal, between two shards or in the middle of one, goes on and ends equal", async () => {
    for (const at of [1, 2, 3]) {
      for (const isInside of [false, true]) {
        const { world, newDatabase } = await prepared();
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
        await expect(bringBack(world, newDatabase, { client: stopping, signal: stopped.signal })).rejects.toMatchObject({ kind: "retry", code: "interrupted" });
        const { databases } = await bringBack(world, newDatabase);
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
      const { world, newDatabase } = await prepared();
      let last = 0;
      const dying = hooked(world, (call) => {
        last = call;
        if (call >= at) throw new Error("killed");
      });
      await bringBack(dying, newDatabase).catch(() => undefined);
      if (last < at) calls = last;
      const again = await bringBack(world, newDatabase).catch((error: unknown) => error);
      if (isTidemarkError(again)) {
        expect(again).toMatchObject({ kind: "call", code: "database-exists", message: expect.stringContaining("drop") });
        await target.query(`DROP DATABASE "${newDatabase}"`);
        await bringBack(world, newDatabase);
      }
      ends.add(isTidemarkError(again) ? again.code : "went on");
      expect(await answers(target, newDatabase)).toEqual(original);
      await target.query(`DROP DATABASE "${newDatabase}"`);
    }
    expect(ends).toContain("went on");
  });

  test("a database that is there is refused, and stays what it is", async () => {
    const { world, newDatabase } = await prepared();
    await target.query(`CREATE DATABASE "${newDatabase}"`);
    await target.write(newDatabase, ["own v=1i 1704067200000000000"]);
    await expect(bringBack(world, newDatabase)).rejects.toMatchObject({
      kind: "call",
      code: "database-exists",
      message: expect.stringContaining("--new-database"),
    });
    await expect(bringBack(world, "source")).rejects.toMatchObject({ code: "database-exists" });
    expect((await answers(target, newDatabase)).shown.measurements).toEqual(["own"]);
    expect(await answers(target, "source")).toEqual(original);
  });

  test("another generation's restore, and one that has ended, is not gone on with", async () => {
    const { world, newDatabase } = await prepared();
    await behind(
      ({ type, nthOfType }) => (type === SHARD_UPDATE && nthOfType > 1 ? { kind: "nothing" } : undefined),
      async (address, wellAgain) => {
        const client = clientOf(address);
        await expect(bringBack(world, newDatabase, { client })).rejects.toMatchObject({ kind: "retry" });
        wellAgain();
        await generationOf(backup(world, target.snapshotter, { selection: { database: "source" }, full: true }));
        await expect(bringBack(world, newDatabase, { client })).rejects.toMatchObject({ code: "database-exists" });
        expect((await bringBack(world, newDatabase, { client, at: { generation: 1 } })).databases[0].resumed).toBe(true);
        await expect(bringBack(world, newDatabase, { client, at: { generation: 1 } })).rejects.toMatchObject({ code: "database-exists" });
        expect(await answers(target, newDatabase)).toEqual(original);
      },
    );
  });

  test.for([
    ["before its first shard is sent", 1],
    ["between two shards", 2],
  ] as const)("points that others write to the new database %s are an error, and are not lost", async ([, at]) => {
    const { world, newDatabase } = await prepared();
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
    await expect(bringBack(world, newDatabase, { client: meddled })).rejects.toMatchObject({
      kind: "call",
      code: "foreign-files",
      message: expect.stringContaining("drop"),
    });
    await expect(bringBack(world, newDatabase)).rejects.toMatchObject({ code: "foreign-files" });
    const [{ series = [] }] = await target.query("SELECT v FROM own", { db: newDatabase });
    expect(series[0].values.map(([, v]) => v)).toEqual([at]);
  });

  test("a metastore in two segments is taken whole or refused clearly, wherever it is split, and the next try is right", async () => {
    const codes = new Set<string>();
    for (const bytes of [1, 2, 60, 300, 400, 500, 700]) {
      const { world, newDatabase } = await prepared();
      await behind(
        ({ type, nthOfType }) => (type === METASTORE_UPDATE && nthOfType === 1 ? { kind: "split", bytes } : undefined),
        async (address) => {
          const client = clientOf(address);
          const outcome = await bringBack(world, newDatabase, { client }).catch((error: unknown) => error);
          if (isTidemarkError(outcome)) {
            expect(outcome).toMatchObject({ kind: "retry", message: expect.stringMatching(/log tells why/) });
            codes.add(outcome.code);
            await bringBack(world, newDatabase, { client });
          }
          expect(await answers(target, newDatabase)).toEqual(original);
        },
      );
      await target.query(`DROP DATABASE "${newDatabase}"`);
    }
    expect([...codes].every((code) => ["refused", "bad-reply"].includes(code))).toBe(true);
  });

  test("a shard update in two segments, which the server may take for another shard's, is sent again", async () => {
    for (const bytes of [1, 2, 3, 9]) {
      const { world, newDatabase } = await prepared();
      await behind(
        ({ type, nthOfType }) => (type === SHARD_UPDATE && nthOfType <= 2 ? { kind: "split", bytes } : undefined),
        async (address) => {
          await bringBack(world, newDatabase, { client: clientOf(address) });
          expect(await answers(target, newDatabase)).toEqual(original);
        },
      );
      await target.query(`DROP DATABASE "${newDatabase}"`);
    }
    expect(await answers(target, "source")).toEqual(original);
  });

  test("an answer to the metastore that is cut at any place is an error; the database is then there, is told, and dropped is restored", async () => {
    for (const [at, bytes] of [0, 7, 8, 15, 16, 31, 40, 63].entries()) {
      const { world, newDatabase } = await prepared();
      await behind(
        ({ type, nthOfType }) => (type === METASTORE_UPDATE && nthOfType === 1 ? { kind: "cut", bytes, by: at % 2 === 0 ? "fin" : "rst" } : undefined),
        async (address) => {
          const client = clientOf(address);
          await expect(bringBack(world, newDatabase, { client })).rejects.toMatchObject({ kind: "retry" });
          await expect(bringBack(world, newDatabase, { client })).rejects.toMatchObject({ code: "database-exists" });
          await target.query(`DROP DATABASE "${newDatabase}"`);
          await bringBack(world, newDatabase, { client });
          expect(await answers(target, newDatabase)).toEqual(original);
        },
      );
    }
  });

  test("a server that answers nothing when it is asked what it has: the error names the shard, and the same restore goes on", async () => {
    for (const nth of [1, 3]) {
      const { world, newDatabase } = await prepared();
      await behind(
        ({ type, nthOfType }) => (type === SHARD_BACKUP && nthOfType === nth ? { kind: "nothing" } : undefined),
        async (address) => {
          const client = clientOf(address);
          await expect(bringBack(world, newDatabase, { client })).rejects.toMatchObject({
            kind: "retry",
            message: expect.stringMatching(/shard \d+ of restored/),
          });
          expect((await bringBack(world, newDatabase, { client })).databases[0].resumed).toBe(true);
          expect(await answers(target, newDatabase)).toEqual(original);
        },
      );
    }
  });

  test("a shard that the server does not give back whole behind its update does not count", async () => {
    const { world, newDatabase } = await prepared();
    await behind(
      ({ type, nthOfType }) => (type === SHARD_BACKUP && nthOfType > 1 ? { kind: "drop", files: /./ } : undefined),
      async (address, wellAgain) => {
        const client = clientOf(address);
        await expect(bringBack(world, newDatabase, { client })).rejects.toMatchObject({
          kind: "retry",
          code: "not-kept",
          message: expect.stringContaining("shard"),
        });
        wellAgain();
        await bringBack(world, newDatabase, { client });
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
          const { world, newDatabase } = await prepared();
          // A second generation with a file, and a metastore, of its own.
          const database = `grows ${made}`;
          await target.query(`CREATE DATABASE "${database}" WITH DURATION INF SHARD DURATION 1d NAME "policy"`);
          const lines = points({ seed: made, points: 80, shardGroupMs: DAY_MS });
          const grown = failureWorld(made);
          await target.write(database, lines.slice(0, 40));
          await generationOf(backup(grown, target.snapshotter, { selection: { database } }));
          const first = await answers(target, database);
          await target.write(database, lines.slice(40));
          await target.query(`CREATE RETENTION POLICY "more" ON "${database}" DURATION INF REPLICATION 1`);
          await generationOf(backup(grown, target.snapshotter, { selection: { database } }));
          const [key] = [...grown.objects.objects.keys()].filter((one) => one.includes("/attached/0000000000000002/") && one.includes(attachment));
          await damage(grown, key);
          const about = { database, newDatabase: `${newDatabase} grown` };
          await expect(bringBack(grown, newDatabase, about)).rejects.toMatchObject({ kind: "repair", object: key, message: expect.stringContaining(key) });
          expect((await verifyBackup(grown, NAME)).findings).toEqual([{ object: key, what: expect.any(String) }]);
          const folder = await mkdtemp(join(tmpdir(), "tidemark-damaged-"));
          for (const format of ["portable", "data"] as const) {
            const directory = join(folder, format);
            await expect(exportBackup(grown, { name: NAME, directory, format })).rejects.toMatchObject({ kind: "repair", object: key });
            expect(existsSync(directory)).toBe(false);
          }
          await rm(folder, { recursive: true });
          const earlier = { ...about, newDatabase, at: { generation: 1 } };
          await bringBack(grown, newDatabase, earlier);
          expect(await answers(target, newDatabase)).toEqual(first);
          expect(world.objects.objects.size).toBeGreaterThan(0);
        }
      },
    );
  });

  test("while cleanup lets its generation go and others come, reads all of it: it is held until it has ended", async () => {
    const { newDatabase } = await prepared();
    const world = failureWorld(made);
    const database = `held ${made}`;
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
    await bringBack(world, newDatabase, { client: busy, database });
    expect(await answers(target, newDatabase)).toEqual(before);
    await expectAtRest(world);
    expect(await generationsOf(world)).toEqual([3, 4]);
    await expect(openBackup(world, NAME, { generation: 1 })).rejects.toMatchObject({ code: "unknown-generation" });
  });
}

interface Cut {
  /** `lost`: the server gets an end there, the client sees the server's. `reset`: both are reset. */
  readonly kind: "lost" | "reset";
  /** So many bytes of what the client sends come through; below 0, all but so many. */
  readonly place: number;
}

/** A proxy that cuts what clients send to update shards. */
async function startCutter(upstream: string, cut: (nthUpdate: number) => Cut | undefined) {
  const [host, port] = upstream.split(":");
  const sockets = new Set<Socket>();
  let updates = 0;
  let isHealed = false;
  const listener = createServer({ allowHalfOpen: true }, (socket) => {
    const server = connect({ host, port: Number(port), allowHalfOpen: true, noDelay: true });
    for (const one of [socket, server]) {
      sockets.add(one);
      one.on("error", () => undefined).once("close", () => sockets.delete(one));
    }
    socket.once("data", (first: Buffer) => {
      if (first[1] === SHARD_UPDATE) updates += 1;
      const chosen = first[1] === SHARD_UPDATE && !isHealed ? cut(updates) : undefined;
      if (chosen === undefined) {
        server.write(first);
        socket.pipe(server);
        server.pipe(socket);
        return;
      }
      const chunks = [first];
      socket.on("data", (chunk: Buffer) => chunks.push(chunk));
      socket.once("end", () => {
        const bytes = Buffer.concat(chunks);
        server.end(bytes.subarray(0, chosen.place < 0 ? bytes.length + chosen.place : chosen.place));
        if (chosen.kind === "reset") server.once("end", () => socket.resetAndDestroy());
        else server.pipe(socket);
        server.resume();
      });
    });
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const bound = listener.address();
  if (bound === null || typeof bound === "string") throw new Error("a server that listens has a port");
  return {
    address: `127.0.0.1:${bound.port}`,
    heal: () => {
      isHealed = true;
    },
    [Symbol.asyncDispose]: async () => {
      const closed = once(listener, "close");
      listener.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** What comes back for these bytes and an end. */
async function exchange(address: string, bytes: Buffer): Promise<Buffer> {
  const [host, port] = address.split(":");
  const socket = connect({ host, port: Number(port), allowHalfOpen: true });
  socket.end(bytes);
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk);
  return Buffer.concat(chunks);
}
