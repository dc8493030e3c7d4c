// The requests that each step takes, counted on the real jobs: a change here is a change of everybody's bill. And the
// counting itself, held against what the AWS adapter sends.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { countedWorld } from "../../bench/counted-world.ts";
import { SCENARIOS } from "../../bench/request-scenarios.ts";
import {
  APPEND,
  ASK,
  BECOME_DIRTY,
  captureRequests,
  CLEANUP_AT_REST,
  CLEANUP_PASS,
  cleanupRequests,
  LOOK,
  NO_REQUESTS,
  PLAN,
  type Requests,
  sumOf,
} from "../../cli/request-counts.ts";
import { dynamodbCheckpointStore } from "../../lib/adapters/aws/checkpoint-store.ts";
import { s3ObjectStore } from "../../lib/adapters/aws/object-store.ts";
import type { Attributes, CheckpointStore } from "../../lib/ports/checkpoint-store.ts";
import type { ObjectStore } from "../../lib/ports/object-store.ts";
import { type HttpDouble, httpDouble, json, type Played, s3Error, type SeenRequest, xml } from "../unit/adapters/aws/http-double.ts";

/** PUT, POST and LIST; GET and HEAD; DELETE; write units; read units; messages. */
const COUNTS: Readonly<Record<string, readonly [number, number, number, number, number, number]>> = {
  "first append to a new shard": [1, 0, 0, 8, 5, 0],
  "first append of a cold writer": [1, 0, 0, 2, 5, 0],
  "append of a warm writer": [1, 0, 0, 1, 1, 0],
  "append of 10 batches together": [1, 0, 0, 1, 1, 0],
  "capture, 1 part": [4, 10, 0, 20, 9, 0],
  "capture, 3 parts": [6, 24, 0, 34, 9, 0],
  "capture with nothing new": [1, 1, 0, 8, 4, 0],
  "minute of the planner, nothing due": [0, 0, 0, 0, 0.5, 0],
  "minute of the planner, 1 shard due": [0, 0, 0, 1, 2.5, 3],
  "cleanup after a capture": [2, 0, 2, 8, 6, 0],
  "cleanup of a shard at rest": [2, 0, 0, 0, 5, 0],
  "cleanup pass beside its shards": [4, 0, 0, 0, 2, 6],
  "get of one key": [1, 6, 0, 0, 5, 0],
  "status of one shard": [0, 0, 0, 0, 5, 0],
};

describe("the requests of", () => {
  test.each(SCENARIOS)("$name are those that are written down, and no fewer than the protocol needs", async ({ name, run, fewest }) => {
    const counted = await run();
    const { s3Writes, s3Reads, s3Deletes, writeUnits, readUnits, messages } = counted;
    expect([s3Writes, s3Reads, s3Deletes, writeUnits, readUnits, messages]).toEqual(COUNTS[name]);
    for (const [kind, least] of Object.entries(fewest)) expect(counted[kind as keyof Requests], kind).toBeGreaterThanOrEqual(least);
  });

  test("a month are computed from the same counts", () => {
    expect(counts("append of a warm writer")).toEqual(APPEND);
    expect(counts("append of 10 batches together")).toEqual(APPEND);
    // Four more units read the table's settings, the control item, the published tail, and whether the table is still that one. The shard was clean.
    expect(counts("first append of a cold writer")).toEqual([APPEND, BECOME_DIRTY, { readUnits: 4 }].reduce<Requests>(sumOf, NO_REQUESTS));
    expect(counts("minute of the planner, nothing due")).toEqual(PLAN);
    // One more unit reads the list of tables.
    expect(counts("minute of the planner, 1 shard due")).toEqual([PLAN, LOOK, ASK, { readUnits: 1 }].reduce<Requests>(sumOf, NO_REQUESTS));
    expect(counts("capture, 1 part")).toEqual(captureRequests({ redoFiles: 2, parts: 1, baseGroups: 1, groups: 1 }));
    expect(counts("capture, 3 parts")).toEqual(captureRequests({ redoFiles: 5, parts: 3, baseGroups: 1, groups: 12 }));
    expect(counts("cleanup after a capture")).toEqual(cleanupRequests({ parts: 1, objects: 6 }));
    // The table's settings are read once for up to a hundred shards.
    expect(counts("cleanup of a shard at rest")).toEqual(sumOf(CLEANUP_AT_REST, { readUnits: 1 }));
    expect(sumOf(counts("cleanup pass beside its shards"), { readUnits: 1 })).toEqual(CLEANUP_PASS);
  });
});

function counts(name: string): Requests {
  const [s3Writes, s3Reads, s3Deletes, writeUnits, readUnits, messages] = COUNTS[name];
  return { s3Writes, s3Reads, s3Deletes, writeUnits, readUnits, messages };
}

describe("what is counted is what the AWS adapter sends for", () => {
  let double: HttpDouble;
  beforeAll(async () => {
    double = await httpDouble({ otherwise: reply });
  });
  afterAll(() => double.close());

  const part = { key: "a", uploadId: "u", number: 1, body: Buffer.from("body") };
  test.each<[string, (objects: ObjectStore) => Promise<unknown>]>([
    ["createIfAbsent", (objects) => objects.createIfAbsent("new", Buffer.from("body"))],
    ["get", (objects) => objects.get("a")],
    ["get of what is absent", (objects) => objects.get("absent")],
    ["getRange", (objects) => objects.getRange("a", { offset: 0, length: 4 })],
    ["getRange of nothing", (objects) => objects.getRange("a", { offset: 0, length: 0 })],
    ["getRange behind the end", (objects) => objects.getRange("a", { offset: 4, length: 4 })],
    ["getRange of what is absent", (objects) => objects.getRange("absent", { offset: 0, length: 4 })],
    ["head", (objects) => objects.head("a")],
    ["list", (objects) => objects.list({ prefix: "" })],
    ["deleteMany", (objects) => objects.deleteMany(["a", "b"])],
    ["deleteMany of nothing", (objects) => objects.deleteMany([])],
    ["createUpload", (objects) => objects.createUpload("a")],
    ["uploadPart", (objects) => objects.uploadPart(part)],
    [
      "copyPart",
      async (objects) => {
        const { uploadId } = await objects.createUpload("b");
        await objects.copyPart({ key: "b", uploadId, number: 1, source: { key: "a", etag: '"e"', offset: 0, length: 4 } });
      },
    ],
    ["completeUpload", (objects) => objects.completeUpload({ ...part, parts: [{ number: 1, etag: "e" }] })],
    ["abortUpload", (objects) => objects.abortUpload(part)],
    ["listUploads", (objects) => objects.listUploads({ prefix: "" })],
  ])("%s", async (_, call) => {
    const world = countedWorld({ startMs: 0 });
    await world.objects.createIfAbsent("a", Buffer.from("body"));
    const counted = await world.count(() => call(world.objects));
    const before = double.requests.length;
    await call(s3ObjectStore(double.s3, { bucket: "states" }));
    expect(double.requests.slice(before).map(billed).reduce(sumOf, NO_REQUESTS)).toEqual(counted);
  });

  const item = { partition: "p", sort: "s" };
  const put = { item, when: [], put: { text: "one" } } as const;
  const check = { item: { partition: "p", sort: "other" }, when: [{ kind: "absent" }], check: true } as const;
  test.each<[string, (items: CheckpointStore) => Promise<unknown>]>([
    ["an item", (items) => items.get(item)],
    ["a partition", (items) => items.query({ partition: "p" })],
    ["the index", (items) => items.queryDirty({ value: "dirty" })],
    ["one change", (items) => items.write([put])],
    ["two changes", (items) => items.write([put, { ...put, item: { ...item, sort: "t" } }])],
    ["a change and a check", (items) => items.write([check, put])],
    ["a change and a check of nothing", (items) => items.write([{ ...check, when: [] }, put])],
  ])("%s", async (_, call) => {
    const world = countedWorld({ startMs: 0 });
    const counted = await world.count(() => call(world.checkpoints));
    const before = double.requests.length;
    await call(dynamodbCheckpointStore(double.dynamodb, { table: "control" }));
    // Items that are missing or small: each operation on one is a unit.
    expect(double.requests.slice(before).map(billed).reduce(sumOf, NO_REQUESTS)).toEqual(counted);
  });
});

describe("an item is billed by its size", () => {
  const write = async (bytes: number, dirty: boolean) => {
    const { checkpoints, count } = countedWorld({ startMs: 0 });
    const put = { text: "x".repeat(bytes), ...(dirty && { dirty: "dirty" }) };
    const written = await count(() => checkpoints.write([{ item: { partition: "p", sort: "s" }, when: [], put }]));
    const again = await count(() => checkpoints.write([{ item: { partition: "p", sort: "s" }, when: [], set: { more: 1 } }]));
    const read = await count(() => checkpoints.get({ partition: "p", sort: "s" }));
    return [written.writeUnits, again.writeUnits, read.readUnits];
  };

  test("a unit a KiB written, and 4 KiB read", async () => {
    expect(await write(900, false)).toEqual([1, 1, 1]);
    expect(await write(1_100, false)).toEqual([2, 2, 1]);
    expect(await write(4_200, false)).toEqual([5, 5, 2]);
  });

  test("and once more in the index when it gets dirty, or clean, and not while it stays so", async () => {
    expect(await write(900, true)).toEqual([2, 1, 1]);
    expect(await write(1_100, true)).toEqual([3, 2, 1]);
    const { checkpoints, count } = countedWorld({ startMs: 0 });
    const item = { partition: "p", sort: "s" };
    await checkpoints.write([{ item, when: [], put: { dirty: "dirty" } }]);
    const units = async (set: Attributes, remove: readonly string[] = []) =>
      (await count(() => checkpoints.write([{ item, when: [], set, remove }]))).writeUnits;
    expect([await units({ dirty: "dirty" }), await units({ dirty: "other" }), await units({}, ["dirty"]), await units({}, ["dirty"])]).toEqual([1, 3, 2, 1]);
  });
});

/** What AWS bills for one request, by its kind. */
function billed({ method, path, headers, body }: SeenRequest): Partial<Requests> {
  const target = headers["x-amz-target"];
  if (target !== undefined) return billedItems(String(target).split(".")[1], JSON.parse(body.toString()));
  const query = new URL(path, "http://s3").searchParams;
  if (method === "DELETE" || query.has("delete")) return { s3Deletes: 1 };
  const isList = query.has("list-type") || query.has("uploads");
  return method === "PUT" || method === "POST" || isList ? { s3Writes: 1 } : { s3Reads: 1 };
}

function billedItems(operation: string, request: { readonly ConsistentRead?: boolean; readonly TransactItems?: readonly unknown[] }): Partial<Requests> {
  if (operation === "TransactWriteItems") return { writeUnits: 2 * (request.TransactItems ?? []).length };
  if (operation === "GetItem" || operation === "Query") return { readUnits: request.ConsistentRead === true ? 1 : 0.5 };
  return { writeUnits: 1 };
}

/** A bucket with the object `a` of four bytes, and a table without an item. */
function reply(request: SeenRequest): Played {
  if (request.headers["x-amz-target"] !== undefined) return json({});
  const { pathname, searchParams } = new URL(request.path, "http://s3");
  if (pathname.endsWith("/absent")) return s3Error(404, "NoSuchKey");
  if (searchParams.has("uploads") && request.method === "POST")
    return xml("<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>");
  if (request.method === "POST" || searchParams.has("list-type") || searchParams.has("uploads"))
    return xml("<Result><IsTruncated>false</IsTruncated><ETag>e</ETag></Result>");
  if (request.headers["x-amz-copy-source"] !== undefined) return xml("<CopyPartResult><ETag>e</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32></CopyPartResult>");
  if (request.method === "PUT") return { status: 200, headers: { etag: '"e"' } };
  const { range } = request.headers;
  if (range === undefined) return { status: 200, headers: { "content-length": 4, etag: '"e"' }, body: request.method === "HEAD" ? "" : "body" };
  return range === "bytes=0-3" ? { status: 206, headers: { "content-range": "bytes 0-3/4" }, body: "body" } : s3Error(416, "InvalidRange");
}
