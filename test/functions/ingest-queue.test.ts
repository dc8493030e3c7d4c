// The queue's door: each message applies once and in its group's order, whatever fails; what can never succeed is set
// aside with its reason, and holds nobody up.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ingestQueueHandler } from "../../functions/handlers/ingest-queue.ts";
import type { BatchReply } from "../../functions/runtime/queue.ts";
import { createTable } from "../../lib/jobs/tables.ts";
import { shardOf } from "../../lib/model/table.ts";
import type { World } from "../../lib/ports/world.ts";
import { recover } from "../../lib/recovery/recover.ts";
import { contentOf, keysOf, type MemoryWorld, noAnswer, stored, withCheckpoints, withObjects, worldWithTable } from "../unit/jobs/world.ts";
import { context, keptDeadLetters, keptOutput, queueRecord, wired } from "./harness.ts";

const output = keptOutput();
const MADE_AT = async (): Promise<string> => "1700000000";

function door(world: World, { deadLetters = keptDeadLetters(), queueMadeAt = MADE_AT } = {}) {
  const handler = ingestQueueHandler({ ...wired(world), deadLetters, queueMadeAt });
  return async (...records: readonly object[]): Promise<readonly string[]> => failures(await handler({ Records: records }, context()));
}

function failures({ batchItemFailures }: BatchReply): readonly string[] {
  return batchItemFailures.map(({ itemIdentifier }) => itemIdentifier);
}

function message(sequence: number, value: unknown, more: { readonly group?: string; readonly delivery?: number; readonly key?: string } = {}) {
  const { group = "players/0", delivery = 1, key = "a" } = more;
  return queueRecord(
    { mutations: [{ key, value }] },
    { group, delivery, sequence: String(18_800_000_000_000_000_000n + BigInt(sequence)), id: `m${sequence}` },
  );
}

async function state(world: World, shard = 0): Promise<readonly string[]> {
  const view = await recover(world, { id: { table: "players", shard }, codec: "json" });
  try {
    return (await contentOf(view)).map((row) => row.split("@")[0]);
  } finally {
    await view.close();
  }
}

describe("messages of a group", () => {
  test("are appended together, in their order", async () => {
    const world = await worldWithTable();
    expect(await door(world)(message(1, 1), message(2, 2), message(3, 3))).toEqual([]);
    expect([await state(world), keysOf(world).length]).toEqual([["a=3"], 1]);
  });

  test("that come again apply once, to whichever process and however late", async () => {
    const world = await worldWithTable();
    await door(world)(message(1, 1), message(2, 2));
    world.clock.advance(3_600_000);
    expect(await door(world)(message(1, 1, { delivery: 2 }), message(2, 2, { delivery: 2 }))).toEqual([]);
    await door(world)(message(1, 1, { delivery: 3 }));
    expect(await state(world)).toEqual(["a=2"]);
  });

  test("of a queue made anew under its name are new, though its numbers begin again", async () => {
    const world = await worldWithTable();
    await door(world)(message(5, 1));
    await door(world, { queueMadeAt: async () => "1800000000" })(message(1, 2));
    expect(await state(world)).toEqual(["a=2"]);
  });

  test("ask once when their queue was made", async () => {
    let asked = 0;
    const take = door(await worldWithTable(), { queueMadeAt: async () => String(++asked) });
    await take(message(1, 1), message(2, 2));
    await take(message(3, 3));
    expect(asked).toBe(1);
  });

  test("with a producer of their own keep it", async () => {
    const world = await worldWithTable();
    const own = (sequence: string, value: number, number: string) =>
      queueRecord({ producer: "p", sequence, mutations: [{ key: "a", value }] }, { group: "players", sequence: number });
    await door(world)(own("1", 1, "10"), own("2", 2, "20"));
    expect(await door(world)(own("1", 1, "30"))).toEqual([]);
    expect(await state(world)).toEqual(["a=2"]);
  });

  test("named by the table go to every shard", async () => {
    const world = await worldWithTable({ shards: 2 });
    const keys = ["a", "b", "c", "d"];
    expect(await door(world)(...keys.map((key, place) => message(place, 1, { key, group: "players" })))).toEqual([]);
    expect([...(await state(world, 0)), ...(await state(world, 1))].sort()).toEqual(keys.map((key) => `${key}=1`));
  });
});

describe("behind a message that failed", () => {
  /** No redo file can be written while `silent`. */
  function failing(world: MemoryWorld, fault: { silent: boolean }): World {
    return withObjects(world, (objects) => ({
      createIfAbsent: async (key, body) => (fault.silent ? Promise.reject(noAnswer()) : objects.createIfAbsent(key, body)),
    }));
  }

  test("none of its group is appended, and all come again with it", async () => {
    const world = await worldWithTable();
    const fault = { silent: true };
    const take = door(failing(world, fault));
    expect(await take(message(1, 1), message(2, 2), message(3, 3))).toEqual(["m1", "m2", "m3"]);
    expect(keysOf(world).length).toBe(0);
    fault.silent = false;
    expect(await take(message(1, 1), message(2, 2), message(3, 3))).toEqual([]);
    expect(await state(world)).toEqual(["a=3"]);
  });

  test("because the dead letters did not take it, those before it are appended, and none behind", async () => {
    const world = await worldWithTable();
    const take = door(world, { deadLetters: keptDeadLetters({ takes: false }) });
    const poison = queueRecord("no JSON", { group: "players/0", sequence: "2", id: "poison" });
    expect(await take(message(1, 1), poison, message(3, 3))).toEqual(["poison", "m3"]);
    expect(await state(world)).toEqual(["a=1"]);
  });

  test("other groups go on", async () => {
    const world = await worldWithTable();
    await createTable(world, { name: "other" });
    const fault = withObjects(world, (objects) => ({
      createIfAbsent: async (key, body) => (key.startsWith("other/") ? Promise.reject(noAnswer()) : objects.createIfAbsent(key, body)),
    }));
    expect(await door(fault)(message(1, 1, { group: "other" }), message(2, 2), message(3, 3, { group: "other" }))).toEqual(["m1", "m3"]);
    expect(await state(world)).toEqual(["a=2"]);
  });

  test("because it cannot be told when the queue was made, all come again", async () => {
    const world = await worldWithTable();
    const take = door(world, { queueMadeAt: () => Promise.reject(noAnswer()) });
    expect(await take(message(1, 1), message(2, 2))).toEqual(["m1", "m2"]);
  });

  test("for the last time, it is set aside with the reason, and those behind it come again", async () => {
    const world = await worldWithTable();
    const deadLetters = keptDeadLetters();
    const take = door(failing(world, { silent: true }), { deadLetters });
    expect(await take(message(1, 1, { delivery: 5 }), message(2, 2, { delivery: 1 }))).toEqual(["m2"]);
    expect(deadLetters.letters).toMatchObject([{ messageId: "m1", code: "no-answer" }]);
  });

  test("no order of failures and deliveries loses a message, applies it twice, or swaps two of a group", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom("takes", "lost", "silent", "lost-read"), { maxLength: 12 }),
        fc.integer({ min: 1, max: 4 }),
        async (faults, size) => {
          const world = await worldWithTable();
          const played = [...faults];
          const faulty = withCheckpoints(
            withObjects(world, (objects) => ({
              async createIfAbsent(key, body) {
                const fault = played.shift();
                if (fault === "silent") throw noAnswer();
                const created = await objects.createIfAbsent(key, body);
                if (fault === "lost") throw noAnswer();
                return created;
              },
            })),
            (checkpoints) => ({ get: async (key) => (played[0] === "lost-read" && played.shift() ? Promise.reject(noAnswer()) : checkpoints.get(key)) }),
          );
          // Each message appends a letter to the history that patches leave: a key for each, and a counter of the last.
          let waiting = Array.from({ length: 8 }, (_, place) => place + 1);
          let process = door(faulty);
          for (let delivery = 1; waiting.length > 0 && delivery < 40; delivery++) {
            const records = waiting.slice(0, size).map((place) =>
              queueRecord(
                {
                  mutations: [
                    { key: "last", value: place },
                    { key: `m${place}`, value: place },
                  ],
                },
                { group: "players/0", sequence: String(place), id: String(place) },
              ),
            );
            const again = (await process(...records)).map(Number);
            waiting = [...again, ...waiting.slice(size)];
            if (delivery % 3 === 0) process = door(faulty);
          }
          played.length = 0;
          const all = Array.from({ length: 8 }, (_, place) => `m${place + 1}=${place + 1}`);
          expect(await state(world)).toEqual(["last=8", ...all]);
        },
      ),
      { numRuns: 100 },
    );
  });
});

const SECRET = "secret-word";

describe("a message that can never succeed", () => {
  test.each([
    ["no JSON", "bad-json", "players/0", SECRET],
    ["no mutations", "empty-batch", "players/0", { mutations: [] }],
    ["several batches", "bad-body", "players/0", { batches: [{ mutations: [{ key: SECRET, value: 1 }] }] }],
    ["a wrong mutation", "bad-line", "players/0", { mutations: [{ key: SECRET, value: 1, [SECRET]: 2 }] }],
    ["a producer without a sequence", "bad-sequence", "players/0", { producer: SECRET, mutations: [{ key: SECRET, value: 1 }] }],
    ["an unknown table", "unknown-table", SECRET, { mutations: [{ key: SECRET, value: 1 }] }],
    ["an unknown shard", "unknown-shard", "players/7", { mutations: [{ key: SECRET, value: 1 }] }],
    ["a group that names nothing", "bad-table-name", `${SECRET}!`, { mutations: [{ key: SECRET, value: 1 }] }],
  ])("for it has %s is set aside with the reason; nothing of it is written, or logged, and the next goes on", async (_, code, group, body) => {
    const world = await worldWithTable();
    const before = stored(world);
    const deadLetters = keptDeadLetters();
    const take = door(world, { deadLetters });
    expect(await take(queueRecord(body, { group, sequence: "1", id: "poison" }))).toEqual([]);
    expect(stored(world)).toEqual(before);
    expect(deadLetters.letters).toMatchObject([{ messageId: "poison", body: typeof body === "string" ? body : JSON.stringify(body), code }]);
    expect(deadLetters.letters[0].message.length).toBeGreaterThan(20);
    expect(output.logs()).toMatchObject([{ level: "ERROR", message: "a message failed", messageId: "poison", fault: { code } }]);
    expect(output.lines().join("\n")).not.toContain(SECRET);
    expect(await take(message(2, 2))).toEqual([]);
    expect(await state(world)).toEqual(["a=2"]);
  });

  test("for its key belongs to another shard is told the right one", async () => {
    const world = await worldWithTable({ shards: 8 });
    const right = shardOf(Buffer.from(SECRET), 8);
    const wrong = (right + 1) % 8;
    const deadLetters = keptDeadLetters();
    const before = stored(world);
    expect(await door(world, { deadLetters })(message(1, 1, { group: `players/${wrong}`, key: SECRET }))).toEqual([]);
    expect(stored(world)).toEqual(before);
    expect(deadLetters.letters).toMatchObject([{ code: "wrong-shard", message: expect.stringContaining(`players/${right}`) }]);
    expect(await door(world)(message(1, 1, { group: `players/${right}`, key: SECRET }))).toEqual([]);
    expect(await state(world, right)).toEqual([`${SECRET}=1`]);
  });

  test("of a queue without order needs a producer of its own", async () => {
    const world = await worldWithTable();
    const deadLetters = keptDeadLetters();
    const take = door(world, { deadLetters });
    expect(await take(queueRecord({ mutations: [{ key: "a", value: 1 }] }, { group: "players", id: "no-number" }))).toEqual([]);
    expect(await take(queueRecord({ producer: "p", sequence: 1, mutations: [{ key: "a", value: 2 }] }, { group: "players" }))).toEqual([]);
    expect([deadLetters.letters, await state(world)]).toMatchObject([[{ code: "unordered-queue" }], ["a=2"]]);
  });
});

test("a fault of the deployment is no message's: it comes again", async () => {
  const { TidemarkError } = await import("../../lib/model/errors.ts");
  const world = withObjects(await worldWithTable(), () => ({
    createIfAbsent: async () => Promise.reject(new TidemarkError("call", "no-access", "access is denied")),
  }));
  const deadLetters = keptDeadLetters();
  expect(await door(world, { deadLetters })(message(1, 1))).toEqual(["m1"]);
  expect(deadLetters.letters).toEqual([]);
});
