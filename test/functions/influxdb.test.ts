// Backups by messages, against a double of the server: nothing is made twice or lost where time runs out, a call fails or
// another is at it, and what is told is told of the source.

import { describe, expect, test } from "vitest";
import { influxdbHandler } from "../../functions/handlers/influxdb.ts";
import { gatheringItem } from "../../lib/checkpoint/items.ts";
import { createTable } from "../../lib/jobs/tables.ts";
import { BACKUP_TURNS_MAX } from "../../lib/model/limits.ts";
import type { World } from "../../lib/ports/world.ts";
import { idOf, listGenerations } from "../../lib/sources/influxdb/open-backup.ts";
import type { Double } from "../influxdb/double.ts";
import { READ_SHARD, type Shards, startShards } from "../influxdb/shards.ts";
import { type MemoryWorld, memoryWorld } from "../unit/jobs/world.ts";
import { context, keptDeadLetters, keptOutput, keptQueue, queueRecord, wired } from "./harness.ts";

const output = keptOutput();
const NAME = "metrics";
const DONE = { batchItemFailures: [] };
const AGAIN = { batchItemFailures: [{ itemIdentifier: "message-1" }] };
const CAPTURE = { group: NAME, body: { table: NAME, shard: 0 } };

async function sourceWorld(): Promise<MemoryWorld> {
  const world = memoryWorld();
  await createTable(world, { name: NAME, source: "influxdb" });
  // Time passes by waiting.
  return { ...world, clock: { ...world.clock, nextWakeMs: undefined, sleep: async (ms) => world.clock.advance(ms) } };
}

function backups(world: World, address: string, { database = "telegraf", own = keptQueue(), captures = keptQueue(), deadLetters = keptDeadLetters() } = {}) {
  const [host, port] = address.split(":");
  const source = { name: NAME, host, port: Number(port), selection: { database }, skipErrors: true, withoutUsers: false };
  const handler = influxdbHandler({ ...wired(world), source, backups: own, captures, deadLetters });
  const backUp = (body: object | string, { delivery = 1, leftMs = 60_000 } = {}) => handler({ Records: [queueRecord(body, { delivery })] }, context(leftMs));
  return { backUp, own, captures, deadLetters };
}

function message(job: string, more: object = {}): object {
  return { source: NAME, job, ...more };
}

function askedShards({ requests }: Double, from = 0): readonly unknown[] {
  return [
    ...new Set(
      requests
        .slice(from)
        .filter(({ type }) => type === READ_SHARD)
        .map(({ json }) => json.ShardID),
    ),
  ].sort();
}

const counted = () =>
  output
    .metrics()
    .map(({ pipeline, table, BackupsCompleted, BackupsPartial, BackupsFailed }) => ({ pipeline, table, BackupsCompleted, BackupsPartial, BackupsFailed }));

describe("a backup", () => {
  test("is followed by its capture's message, and told to metrics of the source alone", async () => {
    await using server = await startShards(
      new Map([
        [1, "one"],
        [2, "two"],
      ]),
    );
    const world = await sourceWorld();
    const { backUp, own, captures } = backups(world, server.address);
    expect(await backUp(message("a"))).toEqual(DONE);
    expect([own.sent, captures.sent]).toEqual([[], [CAPTURE]]);
    expect(await listGenerations(world, NAME)).toMatchObject([{ generation: 1, job: "a", outcome: "complete", shards: 2, storedFiles: 2 }]);
    const line = output.metrics().find(({ BackupsCompleted }) => BackupsCompleted !== undefined);
    expect(line).toMatchObject({
      pipeline: "Test/State",
      table: NAME,
      BackupsCompleted: 1,
      BackupBytesStored: expect.any(Number),
      BackupMs: expect.any(Number),
    });
    expect(line?._aws.CloudWatchMetrics.map(({ Dimensions }) => Dimensions)).toEqual([[["pipeline", "table"]]]);
  });

  test("with nothing new is one, too, and asks for no capture", async () => {
    await using server = await startShards(new Map([[1, "one"]]));
    const { backUp, captures } = backups(await sourceWorld(), server.address);
    await backUp(message("a"));
    expect(await backUp(message("b"))).toEqual(DONE);
    expect(captures.sent).toEqual([CAPTURE]);
    expect(counted().filter(({ BackupsCompleted }) => BackupsCompleted !== undefined)).toHaveLength(2);
  });

  test("whose message comes again is not made again", async () => {
    await using server = await startShards(new Map([[1, "one"]]));
    const world = await sourceWorld();
    const { backUp } = backups(world, server.address);
    await backUp(message("a"));
    expect(await backUp(message("a"), { delivery: 2 })).toEqual(DONE);
    expect(await listGenerations(world, NAME)).toHaveLength(1);
  });

  test("behind shards that fail is partial: it says which, and is no whole one", async () => {
    await using server = await startShards(
      new Map([
        [1, "one"],
        [2, "two"],
      ]),
      ({ type, json }) => (type === READ_SHARD && json.ShardID === 2 ? "nothing" : undefined),
    );
    const { backUp, captures } = backups(await sourceWorld(), server.address);
    expect(await backUp(message("a"))).toEqual(DONE);
    expect(captures.sent).toEqual([CAPTURE]);
    expect(counted().filter(({ table }) => table === NAME)).toContainEqual({ pipeline: "Test/State", table: NAME, BackupsPartial: 1 });
    expect(counted().filter(({ BackupsCompleted }) => BackupsCompleted !== undefined)).toEqual([]);
    expect(output.logs().filter(({ level }) => level === "WARN")).toMatchObject([{ failed: { shard: 2, database: "telegraf", policy: "autogen" } }]);
  });

  test("is left to another that is at it", async () => {
    await using server = await startShards(new Map([[1, "one"]]));
    const world = await sourceWorld();
    await world.checkpoints.write([{ item: gatheringItem(idOf(NAME)), when: [], put: { owner: "other", job: "b", untilMs: world.clock.now() + 60_000 } }]);
    const { backUp, own, captures, deadLetters } = backups(world, server.address);
    expect(await backUp(message("a"))).toEqual(DONE);
    expect([own.sent, captures.sent, deadLetters.letters, counted()]).toEqual([[], [], [], []]);
  });
});

describe("out of time", () => {
  test("a backup goes on by a message of the same job, at the shard where it was, also behind shards with nothing new", async () => {
    const shards: Shards = new Map([
      [1, "one"],
      [2, "two"],
      [3, "three"],
    ]);
    let isSilent = false;
    await using server = await startShards(shards, ({ type, json }) => (isSilent && type === READ_SHARD && json.ShardID === 5 ? "silence" : undefined));
    const world = await sourceWorld();
    const { backUp, own, captures } = backups(world, server.address);
    await backUp(message("a"));
    shards.set(4, "four").set(5, "five");
    isSilent = true;
    expect(await backUp(message("b"), { leftMs: 4_000 })).toEqual(DONE);
    expect(askedShards(server)).toEqual([1, 2, 3, 4, 5]);
    expect([own.sent, captures.sent]).toEqual([[{ group: NAME, body: message("b", { turn: 1 }) }], [CAPTURE]]);
    isSilent = false;
    const before = server.requests.length;
    expect(await backUp(own.sent[0].body)).toEqual(DONE);
    expect(askedShards(server, before)).toEqual([5]);
    expect(captures.sent).toEqual([CAPTURE, CAPTURE]);
    expect((await listGenerations(world, NAME)).at(-1)).toMatchObject({ generation: 2, job: "b", shards: 5, changedShards: 2, storedFiles: 2 });
  });

  test("before the server has answered, it goes on, too", async () => {
    await using server = await startShards(new Map([[1, "one"]]));
    const { backUp, own } = backups(await sourceWorld(), server.address);
    expect(await backUp(message("a"), { leftMs: 0 })).toEqual(DONE);
    expect(own.sent).toEqual([{ group: NAME, body: message("a", { turn: 1 }) }]);
  });

  test("it does not go on without end", async () => {
    await using server = await startShards(new Map([[1, "one"]]));
    const { backUp, own, deadLetters } = backups(await sourceWorld(), server.address);
    await backUp(message("a", { turn: BACKUP_TURNS_MAX }), { leftMs: 0 });
    await backUp(own.sent[0].body, { leftMs: 0 });
    expect(own.sent).toHaveLength(1);
    expect(deadLetters.letters).toMatchObject([{ code: "malformed-message", message: expect.stringContaining("give the function more time") }]);
  });

  test("it comes again where the message by which it goes on, or is captured, is not taken", async () => {
    await using server = await startShards(new Map([[1, "one"]]));
    const refusing = keptQueue(() => true);
    expect(await backups(await sourceWorld(), server.address, { own: refusing }).backUp(message("a"), { leftMs: 0 })).toEqual(AGAIN);
    expect(await backups(await sourceWorld(), server.address, { captures: refusing }).backUp(message("a"))).toEqual(AGAIN);
  });
});

describe("a failure", () => {
  test("comes again, is counted, and is set aside with its reason on the last delivery", async () => {
    const server = await startShards(new Map());
    await server[Symbol.asyncDispose]();
    const { backUp, deadLetters } = backups(await sourceWorld(), server.address);
    expect(await backUp(message("a"))).toEqual(AGAIN);
    expect(deadLetters.letters).toEqual([]);
    expect(await backUp(message("a"), { delivery: 5 })).toEqual(DONE);
    expect(deadLetters.letters).toMatchObject([
      { body: JSON.stringify(message("a")), code: "unreachable", message: expect.stringContaining("is influxd running") },
    ]);
    expect(counted().map(({ BackupsFailed }) => BackupsFailed)).toEqual([1, 1]);
  });

  test("of every shard makes no generation", async () => {
    await using server = await startShards(new Map([[1, "one"]]), ({ type }) => (type === READ_SHARD ? "nothing" : undefined));
    const world = await sourceWorld();
    expect(await backups(world, server.address).backUp(message("a"))).toEqual(AGAIN);
    expect(await listGenerations(world, NAME)).toEqual([]);
  });

  test.each<[string, object | string, string, RegExp]>([
    ["a database that the server does not have", message("a"), "unknown-database", /it has "telegraf"/],
    ["another source's message", { source: "other", job: "a" }, "unknown-source", /backs up metrics/],
    ["no job's name", message("a b"), "malformed-message", /job/],
    ["no JSON", "{", "malformed-message", /not JSON/],
  ])("that no try can cure is set aside at once: %s", async (_, body, code, reason) => {
    await using server = await startShards(new Map([[1, "one"]]));
    const { backUp, deadLetters } = backups(await sourceWorld(), server.address, { database: "none" });
    expect(await backUp(body)).toEqual(DONE);
    expect(deadLetters.letters).toMatchObject([{ code, message: expect.stringMatching(reason) }]);
  });

  test("for its table is gone is set aside: it makes none", async () => {
    await using server = await startShards(new Map([[1, "one"]]));
    const world = memoryWorld();
    const { backUp, deadLetters } = backups(world, server.address);
    expect(await backUp(message("a"))).toEqual(DONE);
    expect(deadLetters.letters).toMatchObject([{ code: "unknown-table" }]);
    expect([world.checkpoints.items, server.requests]).toEqual([[], []]);
  });
});
