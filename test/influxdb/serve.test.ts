// `tidemark influxdb serve` and clients that send what they should not, or stop: a refusal without effect, never a wrong success
// (docs/compared.md, I1, I33, I34).

import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { addressInWords } from "../../lib/sources/influxdb/connection.ts";
import { parseMeta } from "../../lib/sources/influxdb/meta.ts";
import { openBackup, readMetastore } from "../../lib/sources/influxdb/open-backup.ts";
import { parseIdMap } from "../../lib/sources/influxdb/wire.ts";
import { serve, type Serving } from "../../lib/sources/influxdb/serve.ts";
import { backup, contentOf, expectAtRest, failureWorld, type FailureWorld, generationOf, generationsOf, NAME } from "./at-rest.ts";
import { archive, type ArchiveEntry, modelShard, type ModelServer, startModelServer } from "./model-server.ts";

const METASTORE_UPDATE = 6;
const SHARD_UPDATE = 7;
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

  test("numbers what it takes in anew, deleted shards too: a server deletes every shard that has the id of a deleted one", async () => {
    const group = (shard: number, deletedAtNs: number) => {
      const fields = new BinaryWriter().tag(1, WireType.Varint).uint64(shard).tag(2, WireType.Varint).int64(0).tag(3, WireType.Varint).int64(1);
      if (deletedAtNs > 0) fields.tag(4, WireType.Varint).int64(deletedAtNs);
      return fields.tag(5, WireType.LengthDelimited).bytes(new BinaryWriter().tag(1, WireType.Varint).uint64(shard).finish()).finish();
    };
    const policy = new BinaryWriter().tag(1, WireType.LengthDelimited).string("policy");
    for (const one of [group(1, 5), group(2, 5), group(12, 0)]) policy.tag(5, WireType.LengthDelimited).bytes(one);
    const database = new BinaryWriter().tag(1, WireType.LengthDelimited).string("from").tag(3, WireType.LengthDelimited).bytes(policy.finish());
    const meta = new BinaryWriter().tag(5, WireType.LengthDelimited).bytes(database.finish()).finish();
    const ids = await exchange(addressInWords(serving.address), Buffer.concat([request(METASTORE_UPDATE, { UploadSize: meta.length }), meta]));
    expect(parseIdMap(ids).get(12)).toBeGreaterThan(10);
    const backup = await openBackup(world, NAME);
    const { databases } = parseMeta(await readMetastore(backup));
    await backup.close();
    const groups = databases.flatMap(({ policies }) => policies.flatMap((one) => one.groups));
    expect(groups.filter(({ isDeleted }) => isDeleted)).toHaveLength(2);
    expect(new Set(groups.map(({ id }) => id)).size).toBe(5);
    expect(new Set(groups.flatMap(({ shards }) => shards)).size).toBe(5);
    expect([...backup.shards.keys()]).toEqual([1, 10, parseIdMap(ids).get(12)]);
  });

  test("waits for its own store as long as that takes, and for a client that says nothing no longer than it may", async () => {
    const slow: FailureWorld = {
      ...world,
      objects: {
        ...world.objects,
        async getRange(key, range) {
          if (key.includes(SECOND)) await pause(500);
          return world.objects.getRange(key, range);
        },
      },
    };
    await using patient = await servedBy(slow, { silentMs: 250 });
    const copy = failureWorld();
    await generationOf(backup(copy, patient.address));
    expect(await contentOf(copy, 1)).toEqual(CONTENT);
    const [host, port] = patient.address.split(":");
    const silent = connect({ host, port: Number(port) });
    await once(silent.resume(), "close");
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

async function servedBy(world: FailureWorld, about: { readonly silentMs: number }): Promise<AsyncDisposable & { readonly address: string }> {
  const served = await serve(world, { name: NAME, listen: { host: "127.0.0.1", port: 0 }, ...about });
  return { address: addressInWords(served.address), [Symbol.asyncDispose]: () => served.close() };
}

/** The key of the one attachment with that in its name. */
function keyOf({ objects }: FailureWorld, name: string): string {
  const keys = [...objects.objects.keys()].filter((key) => key.includes("/attached/") && key.includes(name));
  expect(keys).toHaveLength(1);
  return keys[0];
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
