// The planner, captures and cleanup, with the messages between them: nothing is asked for twice, nothing is lost where
// time runs out or a call fails, and what is told is told to the right metric.

import { describe, expect, test } from "vitest";
import { cleanupHandler } from "../../functions/handlers/cleanup.ts";
import { planHandler } from "../../functions/handlers/plan.ts";
import { snapshotHandler } from "../../functions/handlers/snapshot.ts";
import type { Message } from "../../functions/runtime/queue.ts";
import { readControl } from "../../lib/checkpoint/control.ts";
import { tableItem, tailAttributes, tailItem } from "../../lib/checkpoint/items.ts";
import { createTable } from "../../lib/jobs/tables.ts";
import { ASK_AGAIN_AFTER_MS, CAPTURE_TURNS_MAX } from "../../lib/model/limits.ts";
import type { World } from "../../lib/ports/world.ts";
import { hintWith } from "../unit/checkpoint/samples.ts";
import { appendEach, id, keysOf, memoryWorld, noAnswer, put, withObjects, worldWithTable } from "../unit/jobs/world.ts";
import { context, keptDeadLetters, keptOutput, type KeptQueue, keptQueue, queueRecord, wired } from "./harness.ts";

const output = keptOutput();

function functions(world: World, { captures = keptQueue(), cleanups = keptQueue(), deadLetters = keptDeadLetters() } = {}) {
  const deps = { ...wired(world), captures, cleanups, deadLetters };
  const snapshot = snapshotHandler(deps);
  const cleanup = cleanupHandler(deps);
  return {
    captures,
    cleanups,
    deadLetters,
    plan: () => planHandler(deps)({ kind: "plan" }, context()),
    snapshot: (body: object | string, { delivery = 1, leftMs = 60_000 } = {}) => snapshot({ Records: [queueRecord(body, { delivery })] }, context(leftMs)),
    pass: () => cleanup({ kind: "pass" }, context()),
    cleanup: (body: object | string, { delivery = 1, leftMs = 60_000 } = {}) => cleanup({ Records: [queueRecord(body, { delivery })] }, context(leftMs)),
  };
}

const DONE = { batchItemFailures: [] };
const AGAIN = { batchItemFailures: [{ itemIdentifier: "message-1" }] };
const DUE = { captureAfterMutations: 1 };
const PLAYERS: Message = { group: "players", body: { table: "players", shard: 0 } };

describe("the planner", () => {
  test("asks once for a capture that waits its turn, and again when it does not come", async () => {
    const world = await worldWithTable(DUE);
    await appendEach(world, [[put("a", 1)]]);
    const { plan, captures } = functions(world);
    expect(await plan()).toEqual({ dirty: 1, due: 1, asked: 1, held: 0 });
    for (let minute = 1; minute * 60_000 < ASK_AGAIN_AFTER_MS; minute++) {
      world.clock.advance(60_000);
      expect(await plan()).toEqual({ dirty: 1, due: 1, asked: 0, held: 0 });
    }
    world.clock.advance(60_000);
    expect(await plan()).toEqual({ dirty: 1, due: 1, asked: 1, held: 0 });
    expect(captures.sent).toEqual([PLAYERS, PLAYERS]);
  });

  test("asks again at once for what the queue did not take", async () => {
    const world = await worldWithTable(DUE);
    await appendEach(world, [[put("a", 1)]]);
    let refuses = true;
    const captures = keptQueue(() => refuses);
    const { plan } = functions(world, { captures });
    expect(await plan()).toEqual({ dirty: 1, due: 1, asked: 0, held: 0 });
    refuses = false;
    expect(await plan()).toEqual({ dirty: 1, due: 1, asked: 1, held: 0 });
  });

  test("tells how long the shard that waits longest has been due, and that nothing waits", async () => {
    const world = await worldWithTable(DUE);
    const { plan } = functions(world);
    await plan();
    await appendEach(world, [[put("a", 1)]]);
    await plan();
    world.clock.advance(120_000);
    await plan();
    const lags = output
      .metrics()
      .filter(({ CheckpointLag }) => CheckpointLag !== undefined)
      .map(({ table, CheckpointLag, DirtyShards }) => ({ table, CheckpointLag, DirtyShards }));
    expect(lags).toEqual([
      { table: undefined, CheckpointLag: 0, DirtyShards: 0 },
      { table: "players", CheckpointLag: 0, DirtyShards: undefined },
      { table: undefined, CheckpointLag: 0, DirtyShards: 1 },
      { table: "players", CheckpointLag: 120, DirtyShards: undefined },
      { table: undefined, CheckpointLag: 120, DirtyShards: 1 },
    ]);
  });

  test("tells of each table with dirty shards what a recovery takes and how much is written for what was appended, and of no pipeline", async () => {
    const world = await worldWithTable({ shards: 2 });
    const { plan, snapshot } = functions(world);
    await appendEach(world, [[put("a", 1)]]);
    await snapshot(PLAYERS.body);
    await plan();
    expect(output.metrics().filter(({ ExpectedRecoveryTime }) => ExpectedRecoveryTime !== undefined)).toEqual([]);
    await appendEach(world, [[put("b", 2)]]);
    await plan();
    const lines = output.metrics().filter(({ ExpectedRecoveryTime }) => ExpectedRecoveryTime !== undefined);
    expect(lines).toMatchObject([{ pipeline: "Test/State", table: "players", ExpectedRecoveryTime: 0.02, WriteAmplification: expect.any(Number) }]);
    expect(lines[0]._aws.CloudWatchMetrics).toMatchObject([
      {
        Dimensions: [["pipeline", "table"]],
        Metrics: [
          { Name: "ExpectedRecoveryTime", Unit: "Seconds" },
          { Name: "WriteAmplification", Unit: "None" },
        ],
      },
    ]);
    expect(Number(lines[0].WriteAmplification)).toBeGreaterThan(1);
  });

  test("asks for ten captures a message, of a thousand shards in one run, and names a hundred in its log", async () => {
    const world = await worldWithTable({ ...DUE, shards: 1_000 });
    for (let shard = 0; shard < 1_000; shard++) {
      const hint = hintWith({ next: 2 });
      await world.checkpoints.write([{ item: tailItem({ ...id, shard }), when: [], put: { ...tailAttributes(hint), dirty: "dirty" } }]);
    }
    const { plan, captures } = functions(world);
    expect(await plan()).toEqual({ dirty: 1_000, due: 1_000, asked: 1_000, held: 0 });
    expect(new Set(captures.sent.map(({ body }) => JSON.stringify(body))).size).toBe(1_000);
    expect(output.logs().find(({ message }) => message === "asked for captures")).toMatchObject({ asked: 1_000, shards: { length: 100 } });
  });

  test("asks for the captures of other shards where a tail cannot be read, and counts that shard as failed", async () => {
    const world = await worldWithTable({ ...DUE, shards: 2 });
    for (const shard of [0, 1]) await appendEach(world, [[put("a", 1)]], { ...id, shard });
    await world.checkpoints.write([{ item: tailItem({ ...id, shard: 1 }), when: [], set: { next: "none" } }]);
    const { plan, captures } = functions(world);
    expect(await plan()).toEqual({ dirty: 1, due: 1, asked: 1, held: 0 });
    expect(captures.sent).toEqual([PLAYERS]);
    expect(output.metrics()).toContainEqual(expect.objectContaining({ table: "players", SnapshotsFailed: 1 }));
    expect(output.logs()).toContainEqual(expect.objectContaining({ message: "a shard cannot be planned", shard: "players/1" }));
  });

  test("asks for the captures of other tables where a table's item cannot be read", async () => {
    const world = await worldWithTable(DUE);
    await createTable(world, { ...DUE, name: "broken" });
    for (const table of ["players", "broken"]) await appendEach(world, [[put("a", 1)]], { table, shard: 0 });
    await world.checkpoints.write([{ item: tableItem("broken"), when: [], set: { shards: "many" } }]);
    const { plan, captures } = functions(world);
    expect(await plan()).toEqual({ dirty: 1, due: 1, asked: 1, held: 0 });
    expect(captures.sent).toEqual([PLAYERS]);
    expect(output.metrics()).toContainEqual(expect.objectContaining({ table: "broken", SnapshotsFailed: 1 }));
  });

  test("takes nothing but its schedule's event", async () => {
    const handler = planHandler({ ...wired(memoryWorld()), captures: keptQueue() });
    await expect(handler({ kind: "secret-word" }, context())).rejects.toThrow("malformed-event");
    expect(output.lines().join("\n")).not.toContain("secret-word");
  });
});

describe("a capture", () => {
  test("is followed by its cleanup's message, and told to metrics of the pipeline and of the table", async () => {
    const world = await worldWithTable();
    await appendEach(world, [[put("a", 1)]]);
    const { snapshot, captures, cleanups } = functions(world);
    expect(await snapshot(PLAYERS.body)).toEqual(DONE);
    expect([captures.sent, cleanups.sent]).toEqual([[], [{ group: "players", body: { kind: "after", table: "players", shard: 0 } }]]);
    const [line, ...others] = output.metrics();
    expect(others).toEqual([]);
    expect(line).toMatchObject({ pipeline: "Test/State", table: "players", SnapshotsCompleted: 1, SnapshotMutations: 1 });
    expect(line._aws.CloudWatchMetrics).toMatchObject([{ Namespace: "Tidemark", Dimensions: [["pipeline"], ["pipeline", "table"]] }]);
    expect(line).not.toHaveProperty("service");
  });

  test("that was stopped goes on by a message, until it is done", async () => {
    const world = await worldWithTable();
    await appendEach(world, [[put("a", 1)]]);
    const { snapshot, captures, cleanups } = functions(world);
    expect(await snapshot(PLAYERS.body, { leftMs: 0 })).toEqual(DONE);
    expect(captures.sent).toEqual([{ group: "players", body: { table: "players", shard: 0, turn: 1 } }]);
    expect(await snapshot(captures.sent[0].body)).toEqual(DONE);
    expect([captures.sent.length, cleanups.sent.length]).toEqual([1, 1]);
    expect((await readControl(world.checkpoints, id))?.checkpoint?.index).toBe(1);
  });

  test("reads no more of a log than its time allows, and goes on by a message", async () => {
    const world = await worldWithTable();
    await appendEach(world, [[put("a", 1)], [put("b", 1)], [put("c", 1)], [put("d", 1)]]);
    const slow = withObjects(world, ({ get }) => ({
      async get(key) {
        world.clock.advance(10_000);
        return get(key);
      },
    }));
    const { snapshot, captures } = functions(slow);
    expect(await snapshot(PLAYERS.body, { leftMs: 100_000 })).toEqual(DONE);
    expect((await readControl(world.checkpoints, id))?.checkpoint?.index).toBe(2);
    expect(captures.sent).toEqual([{ group: "players", body: { table: "players", shard: 0, turn: 1 } }]);
  });

  test("does not go on without end", async () => {
    const world = await worldWithTable();
    await appendEach(world, [[put("a", 1)]]);
    const { snapshot, captures, deadLetters } = functions(world);
    await snapshot({ table: "players", shard: 0, turn: CAPTURE_TURNS_MAX }, { leftMs: 0 });
    await snapshot(captures.sent[0].body, { leftMs: 0 });
    expect(captures.sent.length).toBe(1);
    expect(deadLetters.letters).toMatchObject([{ code: "malformed-message", message: expect.stringContaining("give the function more time") }]);
  });

  test.each<[string, { readonly captures?: KeptQueue; readonly cleanups?: KeptQueue }, number]>([
    ["goes on", { captures: keptQueue(() => true) }, 0],
    ["is cleaned up behind", { cleanups: keptQueue(() => true) }, 60_000],
  ])("comes again where the message by which it %s is not taken", async (_, queues, leftMs) => {
    const world = await worldWithTable();
    await appendEach(world, [[put("a", 1)]]);
    expect(await functions(world, queues).snapshot(PLAYERS.body, { leftMs })).toEqual(AGAIN);
  });

  test("that fails comes again, is counted, and is set aside with its reason on the last delivery", async () => {
    const world = await worldWithTable();
    await appendEach(world, [[put("a", 1)]]);
    const failing = withObjects(world, () => ({ createUpload: () => Promise.reject(noAnswer()) }));
    const { snapshot, deadLetters } = functions(failing);
    expect(await snapshot(PLAYERS.body)).toEqual(AGAIN);
    expect(deadLetters.letters).toEqual([]);
    expect(await snapshot(PLAYERS.body, { delivery: 5 })).toEqual(DONE);
    expect(deadLetters.letters).toEqual([{ messageId: "message-1", body: JSON.stringify(PLAYERS.body), code: "no-answer", message: "the reply was lost" }]);
    expect(output.metrics().map(({ SnapshotsFailed }) => SnapshotsFailed)).toEqual([1, 1]);
  });

  test("of a table that is gone is done", async () => {
    const { snapshot, captures, cleanups } = functions(memoryWorld());
    expect([await snapshot(PLAYERS.body), captures.sent, cleanups.sent]).toEqual([DONE, [], []]);
  });
});

const SECRET = "secret-word";

describe.each(["snapshot", "cleanup"] as const)("a message to %s that is none", (name) => {
  test.each<[string, object | string]>([
    ["no JSON", `{"table":"${SECRET}`],
    ["no message", { [SECRET]: SECRET }],
    ["a member too many", { kind: "after", table: "players", shard: 0, [SECRET]: SECRET }],
    ["no table's name", { kind: "after", table: `${SECRET}!`, shard: 0 }],
    ["no shard", { kind: "after", table: "players", shard: SECRET }],
  ])("for it is %s, is set aside with the reason, and its words are in no log", async (_, body) => {
    const { deadLetters, ...handlers } = functions(await worldWithTable());
    expect(await handlers[name](body)).toEqual(DONE);
    expect(deadLetters.letters).toMatchObject([{ code: "malformed-message", message: expect.stringContaining("the message is not") }]);
    expect(deadLetters.letters[0].message).not.toContain(SECRET);
    expect(output.lines().join("\n")).not.toContain(SECRET);
  });

  test("comes again where the dead letters do not take it", async () => {
    const handlers = functions(await worldWithTable(), { deadLetters: keptDeadLetters({ takes: false }) });
    expect(await handlers[name]("no JSON")).toEqual(AGAIN);
  });
});

describe("a pass of cleanup", () => {
  test("is cut into tasks, each of which fits one call", async () => {
    const world = await worldWithTable({ shards: 250 });
    await createTable(world, { name: "small" });
    const { pass, cleanups } = functions(world);
    expect(await pass()).toEqual({ tasks: 5 });
    expect(cleanups.sent.map(({ body }) => body)).toEqual([
      { kind: "shards", table: "players", from: 0, to: 100 },
      { kind: "shards", table: "players", from: 100, to: 200 },
      { kind: "shards", table: "players", from: 200, to: 250 },
      { kind: "shards", table: "small", from: 0, to: 1 },
      { kind: "strays" },
    ]);
  });

  test("fails where its tasks are not all taken: the schedule is missed, and the alarm tells", async () => {
    const { pass } = functions(await worldWithTable(), { cleanups: keptQueue(({ body }) => "kind" in body && body.kind === "strays") });
    await expect(pass()).rejects.toThrow("unsent-message");
  });

  test("out of time hands on what is left", async () => {
    const { cleanup, cleanups } = functions(await worldWithTable({ shards: 3 }));
    expect(await cleanup({ kind: "shards", table: "players", from: 1, to: 3 }, { leftMs: 0 })).toEqual(DONE);
    expect(cleanups.sent.map(({ body }) => body)).toEqual([{ kind: "shards", table: "players", from: 2, to: 3 }]);
  });

  test("tries a shard that failed again, alone, and then counts its deliveries", async () => {
    const world = await worldWithTable({ shards: 2 });
    for (const shard of [0, 1]) await appendEach(world, [[put("a", 1)]], { table: "players", shard });
    const failing = withObjects(world, (objects) => ({
      list: (request) => (request.prefix.startsWith("players/0/") ? Promise.reject(noAnswer()) : objects.list(request)),
    }));
    const { cleanup, cleanups, deadLetters } = functions(failing);
    expect(await cleanup({ kind: "shards", table: "players", from: 0, to: 2 })).toEqual(DONE);
    expect(cleanups.sent.map(({ body }) => body)).toEqual([{ kind: "shards", table: "players", from: 0, to: 1 }]);
    expect(await cleanup(cleanups.sent[0].body)).toEqual(AGAIN);
    expect(await cleanup(cleanups.sent[0].body, { delivery: 5 })).toEqual(DONE);
    expect(deadLetters.letters).toMatchObject([{ code: "no-answer" }]);
    expect(output.metrics().map(({ CleanupsFailed }) => CleanupsFailed)).toEqual([1, 1, 1]);
  });

  test("counts a shard as failed whose objects would not go, and tells the first of them", async () => {
    const world = await worldWithTable({ ...DUE, shards: 2 });
    const left = "players/0/00112233aabbccdd/redo/0000000000000001.redo";
    await world.objects.createIfAbsent(left, Buffer.from("x"));
    await world.objects.createIfAbsent(left.replace("players", "gone"), Buffer.from("x"));
    const denied = withObjects(world, () => ({ deleteMany: async (keys) => ({ failed: keys.map((key) => ({ key, reason: "AccessDenied" })) }) }));
    const { cleanup, cleanups, deadLetters } = functions(denied);
    expect(await cleanup({ kind: "shards", table: "players", from: 0, to: 2 })).toEqual(DONE);
    expect(cleanups.sent.map(({ body }) => body)).toEqual([{ kind: "shards", table: "players", from: 0, to: 1 }]);
    for (const body of [cleanups.sent[0].body, { kind: "after", table: "players", shard: 0 }, { kind: "strays" }]) expect(await cleanup(body)).toEqual(AGAIN);
    expect(await cleanup(cleanups.sent[0].body, { delivery: 5 })).toEqual(DONE);
    expect(deadLetters.letters).toMatchObject([{ code: "undeleted-objects", message: expect.stringContaining(`${left}: AccessDenied`) }]);
    expect(output.metrics().flatMap(({ CleanupsFailed }) => CleanupsFailed ?? [])).toEqual([1, 1, 1, 1, 1]);
  });

  test("ends with the strays", async () => {
    const { cleanup } = functions(await worldWithTable());
    await cleanup({ kind: "strays" });
    expect(output.metrics()).toMatchObject([{ CleanupPasses: 1, CleanupsFailed: 0 }]);
  });
});

test("from an append to a clean log, by messages alone", async () => {
  const world = await worldWithTable({ ...DUE, keepSnapshots: 2 });
  const { plan, snapshot, cleanup, captures, cleanups } = functions(world);
  for (let round = 1; round <= 4; round++) {
    await appendEach(world, [[put("a", round)]]);
    await plan();
    for (const { body } of captures.sent.splice(0)) expect(await snapshot(body)).toEqual(DONE);
    for (const { body } of cleanups.sent.splice(0)) expect(await cleanup(body)).toEqual(DONE);
    world.clock.advance(60_000);
  }
  expect((await readControl(world.checkpoints, id))?.checkpoint?.index).toBe(4);
  const kinds = keysOf(world)
    .map((key) => key.split("/")[3])
    .sort();
  expect(kinds).toEqual(["redo", "snapshots", "snapshots"]);
  expect(output.logs().filter(({ level }) => level !== "INFO" && level !== "DEBUG")).toEqual([]);
});
