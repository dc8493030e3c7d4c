// Servers that are busy, lose shards, answer what is no reply, or are none: a clear error or a right generation, never a wrong
// success (docs/compared.md, I8 to I17).

import { createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { describe, expect, test } from "vitest";
import { exitOfError, EXIT } from "../../cli/exit-codes.ts";
import { openBackup } from "../../lib/sources/influxdb/open-backup.ts";
import { listenAnywhere } from "../loopback.ts";
import { backup, clientOf, contentOf, expectAtRest, failureWorld, type FailureWorld, generationOf, generationsOf, NAME } from "./at-rest.ts";
import { startProxy } from "./double.ts";
import { archive, modelShard, startModelServer } from "./model-server.ts";

const SHARD_BACKUP = 0;
const METASTORE_BACKUP = 1;
const POLICY_INFO = 4;
const FIRST = "000000001-000000001.tsm";
const SECOND = "000000002-000000001.tsm";
const T0_MS = 1_700_000_000_000;

describe("a shard that is not there any more", () => {
  const TWO = [modelShard(1, { [FIRST]: "one" }), modelShard(2, { [FIRST]: "other" })];
  const shards = () => TWO.map((one) => ({ ...one, files: new Map(one.files) }));

  test("and was dropped between the plan and its reading is left out, and no failure", async () => {
    const world = failureWorld();
    await using server = await startModelServer(shards());
    await backup(world, server.address);
    server.spoil = ({ type }) => {
      if (type === SHARD_BACKUP) server.shards.delete(2);
      return undefined;
    };
    expect(await generationOf(backup(world, server.address))).toMatchObject({ generation: 2, outcome: "complete", shards: 1, failed: [], vanished: [] });
    expect(await contentOf(world, 2)).toEqual({ [`1/${FIRST}`]: "one" });
    expect(await contentOf(world, 1)).toEqual({ [`1/${FIRST}`]: "one", [`2/${FIRST}`]: "other" });
    await expectAtRest(world);
  });

  test("because its database was dropped is left out, also where that was the last one", async () => {
    const world = failureWorld();
    await using server = await startModelServer(shards());
    await backup(world, server.address);
    server.spoil = ({ type }) => {
      if (type === SHARD_BACKUP) server.shards.clear();
      return undefined;
    };
    expect(await generationOf(backup(world, server.address))).toMatchObject({ generation: 2, outcome: "complete", shards: 0 });
    await expectAtRest(world);
  });

  test.for([
    ["lists it no more because it could not open it", false],
    ["does so from the middle of the backup on", true],
  ] as const)("although the metastore has it, on a server that %s: an error that names it, or told and as before, and never dropped", async ([, isLate]) => {
    const world = failureWorld();
    await using server = await startModelServer(shards());
    await backup(world, server.address);
    server.shards.get(1)?.files.set(SECOND, { bytes: Buffer.from("new"), modifiedMs: T0_MS + 60_000 });
    if (!isLate) server.unopened.add(2);
    server.spoil = ({ type, json }) => {
      if (type === SHARD_BACKUP && json.ShardID === 2) server.unopened.add(2);
      return undefined;
    };
    await expect(backup(world, server.address)).rejects.toMatchObject({ kind: "retry", message: expect.stringContaining("shard 2 of db/policy") });
    expect(await generationsOf(world)).toEqual([1]);
    expect(await generationOf(backup(world, server.address, { skipErrors: true }))).toMatchObject({ outcome: "partial", shards: 2, failed: [{ shard: 2 }] });
    expect(await contentOf(world, 2)).toEqual({ [`1/${FIRST}`]: "one", [`1/${SECOND}`]: "new", [`2/${FIRST}`]: "other" });
    server.spoil = () => undefined;
    server.unopened.clear();
    await generationOf(backup(world, server.address, { full: true }));
    await expectAtRest(world);
  });

  test("and never was: one that is made ahead of its points, or that no backup ever had, is left out", async () => {
    const world = failureWorld();
    await using server = await startModelServer(shards());
    server.unopened.add(2);
    expect(await generationOf(backup(world, server.address))).toMatchObject({ outcome: "complete", shards: 1 });
  });
});

describe("a server that was set up anew, and counts its shards from 1 again", () => {
  const inDatabase = (shard: number, database: string, content: string) => modelShard(shard, { [FIRST]: content }, { database });
  const placesIn = async (world: FailureWorld) => {
    const opened = await openBackup(world, NAME);
    await opened.close();
    return [...opened.shards.values()].map(({ shard, database }) => `${database}/${shard}`);
  };

  test.for([
    ["is not read", false],
    ["fails", true],
  ] as const)("has none of the shards before: not where one of it has the id of one, and %s", async ([, isRead]) => {
    const world = failureWorld();
    await using before = await startModelServer([inDatabase(1, "db", "one"), inDatabase(2, "db", "two")]);
    await backup(world, before.address);
    await using anew = await startModelServer([inDatabase(1, isRead ? "other" : "_internal", "own"), inDatabase(2, "db", "two"), inDatabase(3, "db", "one")]);
    anew.spoil = ({ type, json }) => (type === SHARD_BACKUP && json.ShardID === 1 ? Buffer.alloc(0) : undefined);
    await generationOf(backup(world, anew.address, { skipErrors: isRead }));
    expect(await placesIn(world)).toEqual(["db/2", "db/3"]);
    await expectAtRest(world);
  });

  test("has a shard in its own place, also where the files are those of the shard that had its id", async () => {
    const world = failureWorld();
    await using before = await startModelServer([inDatabase(1, "db", "one")]);
    await backup(world, before.address);
    await using anew = await startModelServer([inDatabase(1, "renamed", "one")]);
    await generationOf(backup(world, anew.address));
    expect(await placesIn(world)).toEqual(["renamed/1"]);
    await expectAtRest(world);
  });
});

describe("a server that is busy, and answers nothing", () => {
  test.for([1, 3, 6])("to the first %d questions for a shard is asked again", async (k) => {
    const world = failureWorld();
    await using server = await startModelServer([modelShard(1, { [FIRST]: "one" })]);
    server.spoil = ({ type, nthOfType }) => (type === SHARD_BACKUP && nthOfType <= k ? Buffer.alloc(0) : undefined);
    expect(await generationOf(backup(world, server.address))).toMatchObject({ generation: 1, outcome: "complete", files: 1 });
    await expectAtRest(world);
  });

  test.for([1, 2, 3])("now and then, also to the question whether it has the shard (the %dth), is asked again", async (k) => {
    const world = failureWorld();
    await using server = await startModelServer([modelShard(1, { [FIRST]: "one" })]);
    server.spoil = ({ type, nthOfType }) => {
      if (type === SHARD_BACKUP) return nthOfType <= 3 ? Buffer.alloc(0) : undefined;
      return type === POLICY_INFO && nthOfType === k ? Buffer.from('{"Paths":["db/pol') : undefined;
    };
    expect(await generationOf(backup(world, server.address))).toMatchObject({ generation: 1, files: 1 });
  });

  test("for ever is an error that names the shard; with skipErrors the shard is as before and listed, and with all of them failing an error", async () => {
    const world = failureWorld();
    await using server = await startModelServer([modelShard(1, { [FIRST]: "one" }), modelShard(10, { [FIRST]: "ten" })]);
    const isBusy = new Set([10]);
    const silence = () => {
      server.spoil = ({ type, json }) => (type === SHARD_BACKUP && isBusy.has(Number(json.ShardID)) ? Buffer.alloc(0) : undefined);
    };
    silence();
    const failure = await backup(world, server.address).catch((error: unknown) => error);
    expect(failure).toMatchObject({ kind: "retry", code: "empty-reply", message: expect.stringContaining("shard 10 of db/policy") });
    expect(exitOfError(failure)).toBe(EXIT.retry);
    expect(await generationsOf(world)).toEqual([]);
    // Of a shard that no generation had there is nothing to be as before.
    expect(await generationOf(backup(world, server.address, { skipErrors: true }))).toMatchObject({
      generation: 1,
      outcome: "partial",
      shards: 1,
      failed: [{ shard: 10 }],
    });
    server.spoil = () => undefined;
    await generationOf(backup(world, server.address));
    for (const shard of [1, 10]) server.shards.get(shard)?.files.set(SECOND, { bytes: Buffer.from("more"), modifiedMs: T0_MS + 60_000 });
    silence();
    expect(await generationOf(backup(world, server.address, { skipErrors: true }))).toMatchObject({
      generation: 3,
      outcome: "partial",
      failed: [{ shard: 10, database: "db", policy: "policy" }],
    });
    expect(await contentOf(world, 3)).toEqual({ [`1/${FIRST}`]: "one", [`1/${SECOND}`]: "more", [`10/${FIRST}`]: "ten" });
    isBusy.add(1);
    await expect(backup(world, server.address, { skipErrors: true })).rejects.toMatchObject({ code: "empty-reply" });
    expect(await generationsOf(world)).toEqual([1, 2, 3]);
    server.spoil = () => undefined;
    await generationOf(backup(world, server.address));
    expect(await contentOf(world, 4)).toMatchObject({ [`10/${SECOND}`]: "more" });
    await expectAtRest(world);
  });
});

describe("an export that is cut, as a server makes it of a shard with deletions", () => {
  const SHARD_EXPORT = 5;
  const NOON = "1970-01-02T12:00:00Z";
  const HELD = { [FIRST]: "one", "000000001-000000001.tombstone": "dead" };

  test("makes a backup of all of that shard; of a shard without deletions the range is asked for", async () => {
    const world = failureWorld();
    await using server = await startModelServer([modelShard(1, HELD), modelShard(2, { [FIRST]: "two" })]);
    server.spoil = ({ type, json }) => {
      if (type !== SHARD_EXPORT) return undefined;
      const whole = archive([{ name: `db/policy/${String(json.ShardID)}/${FIRST}`, bytes: Buffer.from("a part") }]);
      return json.ShardID === 1 ? whole.subarray(0, 515) : whole;
    };
    const range = { start: NOON, end: "1970-01-03T12:00:00Z" };
    expect(await generationOf(backup(world, server.address, { range }))).toMatchObject({ outcome: "complete", shards: 2 });
    expect(await contentOf(world, 1)).toEqual({ [`1/${FIRST}`]: "one", "1/000000001-000000001.tombstone": "dead", [`2/${FIRST}`]: "a part" });
    const opened = await openBackup(world, NAME);
    expect([opened.shards.get(1)?.range, opened.shards.get(2)?.range]).toEqual([undefined, range]);
    await opened.close();
    await expectAtRest(world);
    // The shard was taken whole for a range: what is the same is known again all the same.
    const keys = [...world.objects.objects.keys()];
    expect(await backup(world, server.address, { range })).toMatchObject({ kind: "ignored" });
    expect([...world.objects.objects.keys()]).toEqual(keys);
  });
});

describe("a metastore's reply", () => {
  const changes: readonly [string, (reply: Buffer) => Buffer][] = [
    ["with another magic", (reply) => patched(reply, (copy) => copy.writeUInt32BE(0x59590102, 4))],
    ["whose magic has bits above it", (reply) => patched(reply, (copy) => copy.writeUInt32BE(1, 0))],
    ["with a length beyond it", (reply) => patched(reply, (copy) => copy.writeBigUInt64BE(BigInt(reply.length), 8))],
    ["with a length beyond all numbers", (reply) => patched(reply, (copy) => copy.writeBigUInt64BE(2n ** 64n - 1n, 8))],
    ["with a length that is too small", (reply) => patched(reply, (copy) => copy.writeBigUInt64BE(copy.readBigUInt64BE(8) - 1n, 8))],
    ["with bytes behind", (reply) => Buffer.concat([reply, Buffer.of(0)])],
    ["without the node", (reply) => reply.subarray(0, -5)],
    ["that is empty", () => Buffer.alloc(0)],
    ["whose text is no protobuf", (reply) => patched(reply, (copy) => copy.fill(0xff, 16, 40))],
  ];
  test.for(changes)("%s makes an error and no generation, and the next backup is right", async ([, change]) => {
    await using server = await startModelServer([modelShard(1, { [FIRST]: "one" })]);
    await using proxy = await startProxy(server.address, ({ type, nthOfType }) =>
      type === METASTORE_BACKUP && nthOfType === 2 ? { kind: "rewrite", reply: change } : undefined,
    );
    const world = failureWorld();
    await expect(backup(world, proxy.address)).rejects.toMatchObject({ kind: "retry", code: "bad-reply", message: expect.stringContaining("metastore") });
    expect(await generationsOf(world)).toEqual([]);
    await generationOf(backup(world, proxy.address));
    expect(await contentOf(world, 1)).toEqual({ [`1/${FIRST}`]: "one" });
    await expectAtRest(world);
  });

  function patched(reply: Buffer, change: (copy: Buffer) => unknown): Buffer {
    const copy = Buffer.from(reply);
    change(copy);
    return copy;
  }
});

describe("what is no snapshotter, or does not answer", () => {
  const refused = async (address: string, silentMs = 200) => {
    const world = failureWorld();
    const error = await backup(world, address, { client: clientOf(address, { silentMs }) }).catch((thrown: unknown) => thrown);
    // A wrong address leaves nothing behind: no table, no object.
    expect([...world.objects.objects.keys()]).toEqual([]);
    return error;
  };

  test("a server that closes at once, an HTTP server: told apart from InfluxDB, by name of the port it has", async () => {
    await using closing = await listener((server) => server.on("connection", (socket) => socket.destroy()));
    expect(await refused(closing.address)).toMatchObject({ kind: "retry", code: "no-snapshotter", message: expect.stringContaining("8088") });
    await using ending = await listener((server) => server.on("connection", (socket) => socket.end()));
    expect(await refused(ending.address)).toMatchObject({ kind: "retry", code: "no-snapshotter" });
    await using http = await listener(
      undefined,
      createHttpServer((_, response) => response.end("influx")),
    );
    expect(await refused(http.address)).toMatchObject({ kind: "call", code: "no-snapshotter", message: expect.stringContaining("HTTP") });
  });

  test("nothing listens: an error that says so, at once", async () => {
    const gone = await listener((server) => server.on("connection", (socket) => socket.destroy()));
    await gone[Symbol.asyncDispose]();
    expect(await refused(gone.address)).toMatchObject({ kind: "retry", code: "unreachable", message: expect.stringContaining(gone.address) });
  });

  test("one that takes the question and is silent for ever is given up after silentMs: from the first byte on, or in the middle of a shard", async () => {
    await using silent = await listener((server) => server.on("connection", (socket) => void socket.resume()));
    expect(await refused(silent.address)).toMatchObject({ kind: "retry", code: "silent-server", message: expect.stringContaining("0.2 s") });

    await using server = await startModelServer([modelShard(1, { [FIRST]: "one" })]);
    for (const bytes of [0, 700]) {
      const world = failureWorld();
      await using proxy = await startProxy(server.address, ({ type }) => (type === SHARD_BACKUP ? { kind: "stall", bytes } : undefined));
      const client = clientOf(proxy.address, { silentMs: 500 });
      await expect(backup(world, proxy.address, { client })).rejects.toMatchObject({
        code: "silent-server",
        message: expect.stringContaining("shard 1 of db/policy"),
      });
      expect(await generationsOf(world)).toEqual([]);
    }
  });

  test("one that is stopped by its user while it is silent ends at once", async () => {
    await using server = await startModelServer([modelShard(1, { [FIRST]: "one" })]);
    await using proxy = await startProxy(server.address, ({ type }) => (type === SHARD_BACKUP ? { kind: "stall", bytes: 10 } : undefined));
    const stopped = new AbortController();
    setTimeout(() => stopped.abort(), 100);
    const client = clientOf(proxy.address, { signal: stopped.signal });
    expect((await backup(failureWorld(), proxy.address, { client, signal: stopped.signal })).kind).toBe("aborted");
  });

  async function listener(prepare?: (server: Server) => unknown, server: Server = createServer()) {
    const sockets = new Set<Socket>();
    server.on("connection", (socket) => sockets.add(socket));
    prepare?.(server);
    return {
      address: `127.0.0.1:${await listenAnywhere(server)}`,
      [Symbol.asyncDispose]: async () => {
        const closed = once(server, "close");
        server.close();
        for (const socket of sockets) socket.destroy();
        await closed;
      },
    };
  }
});
