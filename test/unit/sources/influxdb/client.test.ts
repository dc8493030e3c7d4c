import { createServer, type Server } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { influxClient, type InfluxClient } from "../../../../lib/sources/influxdb/client.ts";
import { idMapReply, metastoreReply } from "../../../../lib/sources/influxdb/wire.ts";
import { listenAnywhere } from "../../../loopback.ts";
import { outcomeOf } from "./archives.ts";

let server: Server | undefined;

afterEach(async () => {
  await new Promise((done) => (server === undefined ? done(undefined) : server.close(done)));
  server = undefined;
});

/** A server that answers each request by its text; "reset" breaks the connection. */
async function clientOf(
  answer: (request: string) => Buffer | "reset" | Promise<Buffer>,
  silentMs = 2_000,
): Promise<{ readonly client: InfluxClient; readonly asked: readonly string[] }> {
  const asked: string[] = [];
  server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => undefined);
    socket.once("data", (data) => {
      const request = data.toString("latin1");
      asked.push(request);
      void Promise.resolve(answer(request)).then((reply) => (reply === "reset" ? socket.resetAndDestroy() : socket.end(reply)));
    });
  });
  const address = { host: "127.0.0.1", port: await listenAnywhere(server) };
  return { client: influxClient({ address, silentMs }), asked };
}

const metastore = metastoreReply({ meta: Buffer.alloc(0), node: Buffer.from("null\n") });
const nothing = Buffer.alloc(0);
const place = { database: "d", policy: "p", shard: 3 };
const isNewer = (request: string) => request[1] !== "{";

describe("the dialect", () => {
  test("is that in which a metastore is answered, and is asked for once", async () => {
    const { client, asked } = await clientOf((request) => (isNewer(request) ? metastore : nothing));
    expect([await client.dialect(), await client.dialect(), asked.length]).toEqual(["1.5", "1.5", 1]);
  });

  test.each<[string, Buffer | "reset"]>([
    ["no byte", nothing],
    ["a reset", "reset"],
    ["something else", Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n")],
  ])("is the older one where the newer request is answered with %s", async (_, other) => {
    const { client, asked } = await clientOf((request) => (isNewer(request) ? other : metastore));
    expect([await client.dialect(), asked.length]).toEqual(["1.0", 2]);
  });

  test.each<[string, Buffer | "reset", string]>([
    ["no byte", nothing, "retry"],
    ["a reset", "reset", "retry"],
    ["the first bytes of a metastore", metastore.subarray(0, 7), "retry"],
    ["an error of HTTP", Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"), "call"],
  ])("of who answers both with %s is none: the server fails, or the address is wrong", async (_, other, kind) => {
    const { client } = await clientOf(() => other);
    await expect(client.dialect()).rejects.toMatchObject({ kind, code: "no-snapshotter" });
  });

  test("is asked for again where it was not learnt", async () => {
    let isUp = false;
    const { client } = await clientOf(() => (isUp ? metastore : nothing));
    expect(await outcomeOf(client.dialect())).toBe("no-snapshotter");
    isUp = true;
    expect(await client.dialect()).toBe("1.5");
  });
});

describe("questions", () => {
  test("for shards are of a database or of a policy; no answer is a fault, no shard is none", async () => {
    const { client, asked } = await clientOf((request) => {
      if (request.startsWith("\x03\x01")) return metastore;
      return request.includes('"gone"') ? nothing : Buffer.from(request.startsWith("\x03\x03") ? '{"Paths":["d/p/3","d/q/4"]}\n' : '{"Paths":null}\n');
    });
    expect([await client.shardIds({ database: "d" }), await client.shardIds({ database: "d", policy: "p" })]).toEqual([[3, 4], []]);
    expect(await outcomeOf(client.shardIds({ database: "gone" }))).toBe("empty-reply");
    expect(asked.map((request) => request.charCodeAt(1))).toEqual([1, 3, 4, 3]);
  });

  test("for a metastore that is cut are a fault", async () => {
    let times = 0;
    const { client } = await clientOf(() => (times++ === 0 ? metastore : metastore.subarray(0, -1)));
    expect(await outcomeOf(client.metastore())).toBe("bad-reply");
  });

  test("for a shard are a backup, or with a range an export, and give what comes, whole or not", async () => {
    const { client, asked } = await clientOf((request) => (request.startsWith("\x03\x01") ? metastore : Buffer.from("an archive")));
    const read = async (which?: Parameters<InfluxClient["shard"]>[1]) => {
      const chunks: Buffer[] = [];
      for await (const chunk of client.shard(place, which)) chunks.push(Buffer.from(chunk));
      return Buffer.concat(chunks).toString();
    };
    const range = { start: "2026-01-01T00:00:00Z", end: "2026-01-02T00:00:00Z" };
    expect([await read(), await read({ since: range.start }), await read(range)]).toEqual(["an archive", "an archive", "an archive"]);
    const [, plain, since, exported] = asked.map((request) => ({ type: request.charCodeAt(1), ...JSON.parse(request.slice(2)) }));
    expect(plain).toMatchObject({ type: 0, ShardID: 3, Since: "0001-01-01T00:00:00Z" });
    expect(since).toMatchObject({ type: 0, ShardID: 3, Since: range.start });
    expect(exported).toMatchObject({ type: 5, ShardID: 3, ExportStart: range.start, ExportEnd: range.end });
  });

  test("to take databases and files go out in one piece each", async () => {
    const { client, asked } = await clientOf((request) => (request.startsWith("\x03\x06") ? idMapReply(new Map([[3, 30]])) : nothing));
    const renaming = { database: "d", newDatabase: "e", policy: "", newPolicy: "" };
    expect(await client.updateMetastore(Buffer.from("meta"), renaming)).toEqual(new Map([[3, 30]]));
    async function* archive(): AsyncGenerator<Buffer> {
      yield Buffer.from("archive");
    }
    await client.updateShard(30, archive());
    expect([asked[0].endsWith("}\nmeta"), asked[1]]).toEqual([true, "\x03\x07\0\0\0\0\0\0\0\x1earchive"]);
  });

  test("to take databases may be answered the later the more there is to make of them", async () => {
    const { client } = await clientOf(async () => {
      await pause(1_000);
      return idMapReply(new Map([[3, 30]]));
    }, 200);
    const renaming = { database: "d", newDatabase: "e", policy: "", newPolicy: "" };
    expect(await client.updateMetastore(Buffer.alloc(1_000), renaming)).toEqual(new Map([[3, 30]]));
  });
});
