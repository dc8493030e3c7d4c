// Which batches share a redo file, how long they wait for it, and what a writer does no more.

import { expect, test } from "vitest";
import { controlItem } from "../../../lib/checkpoint/items.ts";
import { openWriter } from "../../../lib/jobs/append.ts";
import { TidemarkError } from "../../../lib/model/errors.ts";
import { BATCH_MUTATIONS_MAX, PUT_ATTEMPTS_MAX, REDO_FILE_BATCHES_MAX, REDO_FILE_BYTES_MAX, REDO_FILE_MUTATIONS_MAX } from "../../../lib/model/limits.ts";
import type { Mutation } from "../../../lib/model/mutation.ts";
import { decodeRedoHeader } from "../../../lib/redo-log/codec.ts";
import { findTail } from "../../../lib/redo-log/tail.ts";
import { appendEach, id, mark, type MemoryWorld, noAnswer, put, remove, START_MS, withCheckpoints, withObjects, worldWithTable } from "../jobs/world.ts";

const options = { id, codec: "json" } as const;

/** How many mutations each batch of each redo file has. */
function countsOf(world: MemoryWorld): readonly (readonly number[])[] {
  const keys = [...world.objects.objects.keys()].filter((key) => key.includes("/redo/")).sort();
  return keys.map((key) => {
    const head = decodeRedoHeader(world.objects.objects.get(key) ?? Buffer.alloc(0), key);
    return head.kind === "header" ? head.header.batches.map(({ count }) => count) : [];
  });
}

/** The world, and how long each sleep of its clock is to be. */
function slept(world: MemoryWorld): { readonly world: MemoryWorld; readonly sleeps: readonly number[] } {
  const sleeps: number[] = [];
  const sleep: MemoryWorld["clock"]["sleep"] = (ms, signal) => {
    sleeps.push(ms);
    return world.clock.sleep(ms, signal);
  };
  return { world: { ...world, clock: { ...world.clock, sleep } }, sleeps };
}

/** Lets everything go on that waits for nothing but its turn. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

/** Several such batches make a file of exactly the most bytes. */
function shareOfFile(batches: number): readonly Mutation[] {
  return [put("a", Buffer.alloc(REDO_FILE_BYTES_MAX / batches - 1, "1"))];
}

test("a batch waits for nobody where it is not told to, where its file is full, and where the writer closes", async () => {
  const { world, sleeps } = slept(await worldWithTable());
  await openWriter(world, options).append({ mutations: [put("a", 1)] });
  const writer = openWriter(world, { ...options, lingerMs: 1_000 });
  await Promise.all(Array.from({ length: REDO_FILE_BATCHES_MAX }, (_, i) => writer.append({ mutations: [put("a", i)] })));
  const last = writer.append({ mutations: [put("b", 1)] });
  await writer.close();
  await last;
  expect(sleeps).toEqual([]);
  expect(countsOf(world).map(({ length }) => length)).toEqual([1, REDO_FILE_BATCHES_MAX, 1]);
});

test("the batch that fills the file ends the waiting: by its bytes or by the number of batches", async () => {
  const { world, sleeps } = slept(await worldWithTable());
  const writer = openWriter(world, { ...options, lingerMs: 1_000 });
  const first = writer.append({ mutations: shareOfFile(3) });
  await settled();
  await Promise.all([first, writer.append({ mutations: shareOfFile(3) }), writer.append({ mutations: shareOfFile(3) })]);
  const second = writer.append({ mutations: [put("b", 1)] });
  await settled();
  await Promise.all([second, ...Array.from({ length: REDO_FILE_BATCHES_MAX - 1 }, (_, i) => writer.append({ mutations: [put("b", i)] }))]);
  expect([countsOf(world).map(({ length }) => length), sleeps]).toEqual([
    [3, REDO_FILE_BATCHES_MAX],
    [1_000, 1_000],
  ]);
  const third = writer.append({ mutations: [put("c", 1)] });
  await settled();
  expect(sleeps.length).toBe(3);
  world.clock.advance(1_000);
  expect(await third).toMatchObject({ kind: "appended", first: 3 + REDO_FILE_BATCHES_MAX + 1 });
});

test("a file takes the most mutations that it may have, and no more", async () => {
  const world = await worldWithTable();
  const writer = openWriter(world, options);
  const mutations = Array.from({ length: BATCH_MUTATIONS_MAX }, () => remove("a"));
  const full = REDO_FILE_MUTATIONS_MAX / BATCH_MUTATIONS_MAX;
  await Promise.all(Array.from({ length: full + 1 }, () => writer.append({ mutations })));
  expect(countsOf(world).map(({ length }) => length)).toEqual([full, 1]);
});

test("later batches of a producer go with its doubtful one, in the same file", async () => {
  const world = await worldWithTable();
  let silent = PUT_ATTEMPTS_MAX;
  const losing = withObjects(world, (objects) => ({
    createIfAbsent: async (key, body) => (silent-- > 0 ? Promise.reject(noAnswer()) : objects.createIfAbsent(key, body)),
  }));
  const writer = openWriter(losing, options);
  const [first, second, third] = [1, 2, 3].map((value) => ({ mutations: [put("a", value)], mark: mark("p", value) }));
  await expect(writer.append(first)).rejects.toMatchObject({ kind: "retry" });
  const unmarked = { mutations: [put("b", 1)] };
  const outcomes = await Promise.all([unmarked, first, second, third].map((batch) => writer.append(batch)));
  expect(outcomes).toMatchObject([1, 2, 3, 4].map((at) => ({ kind: "appended", first: at })));
  expect(countsOf(world)).toEqual([[1, 1, 1, 1]]);
});

test("batches without a mark fail without leaving a doubt, and the writer goes on", async () => {
  const world = await worldWithTable();
  let silent = PUT_ATTEMPTS_MAX;
  const losing = withObjects(world, (objects) => ({
    createIfAbsent: async (key, body) => (silent-- > 0 ? Promise.reject(noAnswer()) : objects.createIfAbsent(key, body)),
  }));
  const writer = openWriter(losing, options);
  await expect(writer.append({ mutations: [put("a", 1)] })).rejects.toMatchObject({ kind: "retry", code: "no-answer" });
  expect(await writer.append({ mutations: [put("a", 2)] })).toMatchObject({ kind: "appended", first: 1 });
});

test("a call that is refused once the writer knows its life leaves its batch in doubt, as an earlier PUT may have arrived", async () => {
  const world = await worldWithTable();
  const fault = new TidemarkError("call", "no-rights", "the store may not be written");
  let failures = 1;
  const refusing = withObjects(world, (objects) => ({
    createIfAbsent: async (key, body) => (failures-- > 0 ? Promise.reject(fault) : objects.createIfAbsent(key, body)),
  }));
  const writer = openWriter(refusing, options);
  const [first, second] = [1, 2].map((value) => ({ mutations: [put("a", value)], mark: mark("p", value) }));
  await expect(writer.append(first)).rejects.toBe(fault);
  await expect(writer.append(second)).rejects.toMatchObject({ kind: "retry", code: "batch-in-doubt" });
  expect(await writer.append(first)).toMatchObject({ kind: "appended", first: 1 });
});

test("a writer that is bound to a life seals where there is another, before it writes; a sealed one asks for nothing more", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  const { incarnation } = await findTail(world, id, START_MS);
  const bound = openWriter(world, { ...options, incarnation });
  expect(await bound.append({ mutations: [put("b", 2)] })).toMatchObject({ kind: "appended", first: 2 });

  const calls: string[] = [];
  const objects = withObjects(world, (store) => ({
    async createIfAbsent(key, body) {
      calls.push("PUT");
      return store.createIfAbsent(key, body);
    },
  }));
  const watched = withCheckpoints(objects, (store) => ({
    async get(key) {
      calls.push(`read ${key.sort}`);
      return store.get(key);
    },
  }));
  const strange = openWriter(watched, { ...options, incarnation: "f".repeat(16) });
  for (const value of [1, 2]) expect(await strange.append({ mutations: [put("c", value)] })).toEqual({ kind: "sealed" });
  expect(calls.splice(0)).toEqual(["read control", "read tail"]);

  const unbound = openWriter(watched, options);
  await unbound.append({ mutations: [put("d", 4)] });
  await world.checkpoints.write([{ item: controlItem(id), when: [], delete: true }]);
  calls.length = 0;
  for (const value of [1, 2]) expect(await unbound.append({ mutations: [put("e", value)] })).toEqual({ kind: "sealed" });
  expect(calls).toEqual(["PUT", "read control"]);
});

test("each redo file is reported, with its first index, its batches, its mutations and its bytes", async () => {
  const world = await worldWithTable();
  const writer = openWriter(world, options);
  await Promise.all([writer.append({ mutations: [put("a", 1), put("b", 2)] }), writer.append({ mutations: [put("c", 3)] })]);
  await writer.append({ mutations: [put("d", 4)] });
  const [one, two] = [...world.objects.objects].flatMap(([key, body]) => (key.includes("/redo/") ? [body.length] : []));
  expect(world.events.filter(({ kind }) => kind === "appended")).toEqual([
    { kind: "appended", shard: "players/0", first: 1, mutations: 3, batches: 2, bytes: one },
    { kind: "appended", shard: "players/0", first: 4, mutations: 1, batches: 1, bytes: two },
  ]);
});
