// A writer's first append begins with the published tail: what it costs, and what becomes of it where the tail lags, lies
// below the mark, or is of a past life.

import { expect, test } from "vitest";
import { tailItem } from "../../../lib/checkpoint/items.ts";
import { openWriter } from "../../../lib/jobs/append.ts";
import { cleanupShard } from "../../../lib/jobs/cleanup.ts";
import { createTable, deleteTable, getTable } from "../../../lib/jobs/tables.ts";
import { PUT_ATTEMPTS_MAX, SESSIONS_MAX } from "../../../lib/model/limits.ts";
import { ORIGIN, toIndex } from "../../../lib/model/position.ts";
import type { RedoHeader } from "../../../lib/model/redo-file.ts";
import { Sessions } from "../../../lib/model/sessions.ts";
import type { World } from "../../../lib/ports/world.ts";
import { decodeRedoHeader } from "../../../lib/redo-log/codec.ts";
import { shardWriter, type Writer } from "../../../lib/redo-log/writer.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { appendEach, current, id, mark, type MemoryWorld, noAnswer, put, START_MS, withCheckpoints, withObjects, worldWithTable } from "../jobs/world.ts";

const options = { id, codec: "json" } as const;

/** Puts the published tail back to where the log began, as if nothing had been published since. */
async function publishNothingSince(world: MemoryWorld): Promise<void> {
  await world.checkpoints.write([{ item: tailItem(id), when: [], set: { next: 1, digest: ORIGIN.digest, timeMs: 0 } }]);
}

async function makeAnew(world: MemoryWorld): Promise<void> {
  await deleteTable(world, id.table);
  await createTable(world, { name: id.table });
}

/** The newest redo file's header. */
function lastFile(world: MemoryWorld): RedoHeader {
  const key = [...world.objects.objects.keys()].filter((name) => name.includes("/redo/")).at(-1) ?? "";
  const head = decodeRedoHeader(world.objects.objects.get(key) ?? Buffer.alloc(0), key);
  if (head.kind === "more") throw new Error("the header is whole");
  return head.header;
}

const sinceOf = (world: MemoryWorld) => lastFile(world).batches.map(({ mark: sent }) => sent?.since);

/** Every call of a port, in order, with the items that it names. */
function watched(world: MemoryWorld): { readonly world: World; readonly calls: readonly string[] } {
  const calls: string[] = [];
  const told = <Answer>(call: string, answer: Answer): Answer => {
    calls.push(call);
    return answer;
  };
  const objects = withObjects(world, (store) => ({
    createIfAbsent: (key, body) => told("PUT", store.createIfAbsent(key, body)),
    getRange: (key, range) => told("GET", store.getRange(key, range)),
    list: (request) => told("LIST", store.list(request)),
  }));
  const both = withCheckpoints(objects, (store) => ({
    get: (key) => told(`read ${key.sort}`, store.get(key)),
    write: (changes) => told(`write ${changes.map(({ item }) => item.sort).join()}`, store.write(changes)),
  }));
  return { world: both, calls };
}

test("a writer that begins reads the control item and the published tail, PUTs, looks at the control item again, and publishes", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)], [put("b", 2)]]);
  const { world: told, calls } = watched(world);
  expect(await appendEach(told, [[put("c", 3)]])).toEqual([{ kind: "appended", first: 3, last: 3, timeMs: START_MS }]);
  expect(calls).toEqual(["read control", "read tail", "PUT", "read control", "write tail"]);
});

test("the first append to a new shard opens it, and looks for no log", async () => {
  const { world, calls } = watched(await worldWithTable());
  expect(await appendEach(world, [[put("a", 1)]])).toMatchObject([{ kind: "appended", first: 1 }]);
  expect(calls).toEqual(["read control", "read tail", "write control,tail,players", "PUT", "read control", "write tail"]);
});

test.each([1, 2, 5])("a tail that lags by %d files costs a walk, and nothing else", async (files) => {
  const world = await worldWithTable();
  const batches = Array.from({ length: files }, (_, i) => [put(`k${i}`, i)]);
  await appendEach(world, batches);
  await publishNothingSince(world);
  world.clock.set(START_MS - 5_000);
  expect(await appendEach(world, [[put("z", 9)]])).toEqual([{ kind: "appended", first: files + 1, last: files + 1, timeMs: START_MS }]);
  expect(await current(world)).toEqual([...batches.map((_, i) => `k${i}=${i}@${i + 1}`), `z=9@${files + 1}`]);
});

test("a published tail that lies below the mark is passed over for the checkpoint", async () => {
  const world = await worldWithTable();
  await passBy(world, [1]);
  await publishNothingSince(world);
  expect(await appendEach(world, [[put("b", 4)]])).toMatchObject([{ kind: "appended", first: 4 }]);
  expect(await current(world)).toEqual(["a=3@3", "b=4@4"]);
});

/** Three files, the first with so many mutations, each captured; cleanup frees the first two. */
async function passBy(world: MemoryWorld, first: readonly unknown[]): Promise<void> {
  const writer = openWriter(world, options);
  for (const mutations of [first.map(() => put("a", 1)), [put("a", 2)], [put("a", 3)]]) {
    await writer.append({ mutations });
    await capture(world, { id, codec: "json" });
  }
  await cleanupShard(world, { id, policy: await getTable(world, id.table) });
}

test("a claim that cleanup passed may have been captured: its batch is not stamped anew, though it looks forgotten", async () => {
  const world = await worldWithTable();
  let passed = false;
  const raced = withObjects(world, (objects) => ({
    async createIfAbsent(key, body) {
      if (!passed && key.includes("/redo/")) {
        passed = true;
        await passBy(world, Array.from({ length: SESSIONS_MAX }));
      }
      return objects.createIfAbsent(key, body);
    },
  }));
  const writer = shardWriter({ ...raced, sessionsAt: async () => new Sessions([], toIndex(9)) }, options);
  expect(await writer.append({ mutations: [put("b", 1)], mark: mark("p", 1) })).toEqual({ kind: "forgotten" });
});

test("a claim without an answer may have been captured, where its name is taken, and free again before the winner is read", async () => {
  const world = await worldWithTable();
  let claims = 0;
  let passed = false;
  const raced = withObjects(world, (objects) => ({
    async createIfAbsent(key, body) {
      const outcome = await objects.createIfAbsent(key, body);
      return claims++ === 0 ? Promise.reject(noAnswer()) : outcome;
    },
    async getRange(key, range) {
      if (!passed && key.includes("/redo/")) {
        passed = true;
        await passBy(world, Array.from({ length: SESSIONS_MAX }));
      }
      return objects.getRange(key, range);
    },
  }));
  const writer = shardWriter({ ...raced, sessionsAt: async () => new Sessions([], toIndex(9)) }, options);
  expect(await writer.append({ mutations: [put("b", 1)], mark: mark("p", 1) })).toEqual({ kind: "forgotten" });
});

test("a batch whose claim was lost for certain is stamped anew, though others have gone so far that it looks forgotten", async () => {
  const world = await worldWithTable();
  let passed = false;
  const raced = withObjects(world, (objects) => ({
    async createIfAbsent(key, body) {
      if (!passed && key.endsWith("2.redo")) {
        passed = true;
        await openWriter(world, options).append({ mutations: Array.from({ length: SESSIONS_MAX }, () => put("a", 1)) });
      }
      return objects.createIfAbsent(key, body);
    },
  }));
  const writer = shardWriter({ ...raced, sessionsAt: async () => new Sessions([], toIndex(9)) }, options);
  await writer.append({ mutations: [put("b", 1)], mark: mark("p", 1) });
  expect(await writer.append({ mutations: [put("b", 2)], mark: mark("p", 2) })).toMatchObject({ kind: "appended", first: SESSIONS_MAX + 2 });
  expect(passed).toBe(true);
});

test("a published tail of a past life is passed over: the batch is meant for the life that its writer finds", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("old", 1)], [put("old", 2)], [put("old", 3)]]);
  const old = await world.checkpoints.get(tailItem(id));
  await makeAnew(world);
  await appendEach(world, [[put("new", 1)]]);
  let reads = 0;
  const late = withCheckpoints(world, (checkpoints) => ({
    // Read before the life began that the control item shows.
    get: async (key) => (key.sort === tailItem(id).sort && reads++ === 0 ? old : checkpoints.get(key)),
  }));
  const writer = openWriter(late, options);
  expect(await writer.append({ mutations: [put("b", 2)], mark: mark("p", 1) })).toMatchObject({ kind: "appended", first: 2 });
  expect([await current(world), sinceOf(world)]).toEqual([["b=2@2", "new=1@1"], [2]]);
  await makeAnew(world);
  expect(await writer.append({ mutations: [put("c", 3)] })).toEqual({ kind: "sealed" });
});

test("a life that ends between the writer's look and its claim seals the writer", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("old", 1)]]);
  const passed = withObjects(world, (objects) => ({
    async createIfAbsent(key, body) {
      await makeAnew(world);
      await appendEach(world, [[put("new", 1)]]);
      return objects.createIfAbsent(key, body);
    },
  }));
  const writer = openWriter(passed, options);
  expect(await writer.append({ mutations: [put("b", 2)], mark: mark("p", 1) })).toEqual({ kind: "sealed" });
  expect(await current(world)).toEqual(["new=1@1"]);
});

test("a life that ends while a writer walks to stamp its batches anew seals it too", async () => {
  const world = await worldWithTable();
  await appendEach(world, [Array.from({ length: SESSIONS_MAX }, (_, i) => put("a", i))]);
  await publishNothingSince(world);
  let looks = 0;
  const passed = withCheckpoints(world, (checkpoints) => ({
    async get(key) {
      // At the beginning, behind the winner, and then the walk's.
      if (key.sort === "control" && ++looks === 3) await makeAnew(world);
      return checkpoints.get(key);
    },
  }));
  expect(await openWriter(passed, options).append({ mutations: [put("b", 1)], mark: mark("p", 1) })).toEqual({ kind: "sealed" });
});

test("a tail that is left of a table under deletion opens nothing, and leaves no doubt", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  const killed = withObjects(world, () => ({ list: async () => Promise.reject(noAnswer()) }));
  await expect(deleteTable(killed, id.table)).rejects.toMatchObject({ kind: "retry" });
  const writer = openWriter(world, options);
  await expect(writer.append({ mutations: [put("b", 1)], mark: mark("p", 1) })).rejects.toMatchObject({ kind: "call", code: "unknown-table" });
  await makeAnew(world);
  expect(await writer.append({ mutations: [put("b", 2)], mark: mark("p", 2) })).toMatchObject({ kind: "appended", first: 1 });
});

/** A writer that must not ask for sessions. */
function writerWithoutSessions(world: World): Writer {
  return shardWriter({ ...world, sessionsAt: async () => Promise.reject(new Error("sessions were asked for")) }, options);
}

test("a batch that was never sent is young, however far the published tail lags", async () => {
  const world = await worldWithTable();
  await appendEach(world, [Array.from({ length: SESSIONS_MAX }, (_, i) => put("a", i))]);
  await publishNothingSince(world);
  expect(await writerWithoutSessions(world).append({ mutations: [put("b", 1)], mark: mark("p", 1) })).toMatchObject({ first: SESSIONS_MAX + 1 });
  expect(sinceOf(world)).toEqual([SESSIONS_MAX + 1]);
});

test("a batch is young however many mutations it has itself, or those in front of it in its file", async () => {
  const writer = writerWithoutSessions(await worldWithTable());
  const mutations = Array.from({ length: SESSIONS_MAX }, (_, i) => put("a", i));
  const appended = await Promise.all([1, 2].map((sequence) => writer.append({ mutations, mark: mark("p", sequence) })));
  expect(appended).toMatchObject([{ first: 1 }, { first: SESSIONS_MAX + 1 }]);
});

test("a batch in doubt keeps the index of its first sending, though a walk comes between", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  let silent = PUT_ATTEMPTS_MAX;
  const losing = withObjects(world, (objects) => ({
    async createIfAbsent(key, body) {
      const outcome = await objects.createIfAbsent(key, body);
      return silent-- > 0 ? Promise.reject(noAnswer()) : outcome;
    },
  }));
  const writer = openWriter(losing, options);
  const batch = { mutations: [put("b", 2)], mark: mark("p", 1) };
  await expect(writer.append(batch)).rejects.toMatchObject({ kind: "retry" });
  await appendEach(world, [Array.from({ length: SESSIONS_MAX }, (_, i) => put("c", i))]);
  expect(await writer.append(batch)).toMatchObject({ kind: "appended", first: SESSIONS_MAX + 3 });
  expect(sinceOf(world)).toEqual([2]);
  expect((await current(world))[1]).toBe("b=2@2");
});
