import { expect, test } from "vitest";
import { readControl } from "../../../lib/checkpoint/control.ts";
import { controlItem } from "../../../lib/checkpoint/items.ts";
import { openWriter } from "../../../lib/jobs/append.ts";
import { createTable } from "../../../lib/jobs/tables.ts";
import { PUT_ATTEMPTS_MAX, REDO_FILE_BATCHES_MAX, SESSIONS_MAX, VALUE_BYTES_MAX } from "../../../lib/model/limits.ts";
import { toIndex } from "../../../lib/model/position.ts";
import type { RedoHeader } from "../../../lib/model/redo-file.ts";
import { Sessions } from "../../../lib/model/sessions.ts";
import { decodeRedoHeader } from "../../../lib/redo-log/codec.ts";
import { shardWriter } from "../../../lib/redo-log/writer.ts";
import {
  appendEach,
  current,
  id,
  mark,
  type MemoryWorld,
  memoryWorld,
  noAnswer,
  put,
  START_MS,
  withCheckpoints,
  withObjects,
  worldWithTable,
} from "../jobs/world.ts";

const options = { id, codec: "json" } as const;

/** The headers of the stored redo files, in their order. */
function filesOf(world: MemoryWorld): readonly RedoHeader[] {
  const keys = [...world.objects.objects.keys()].filter((key) => key.includes("/redo/")).sort();
  return keys.map((key) => {
    const head = decodeRedoHeader(world.objects.objects.get(key) ?? Buffer.alloc(0), key);
    if (head.kind === "more") throw new Error("the header is whole");
    return head.header;
  });
}

const countsOf = (world: MemoryWorld) => filesOf(world).map(({ batches }) => batches.map(({ count }) => count));

/** The first `times` PUTs take effect, or none, and are not answered. */
function withSilentPuts(world: MemoryWorld, times: number, effect: "done" | "not-done"): MemoryWorld {
  let left = times;
  return withObjects(world, (objects) => ({
    async createIfAbsent(key, body) {
      if (left === 0) return objects.createIfAbsent(key, body);
      left--;
      if (effect === "done") await objects.createIfAbsent(key, body);
      throw noAnswer();
    },
  }));
}

test("one batch after the other settles, each behind the one before", async () => {
  const world = await worldWithTable();
  const outcomes = await appendEach(world, [[put("a", 1)], [put("b", 2), put("c", 3)], [put("d", 4)]]);
  expect(outcomes).toEqual([
    { kind: "appended", first: 1, last: 1, timeMs: START_MS },
    { kind: "appended", first: 2, last: 3, timeMs: START_MS },
    { kind: "appended", first: 4, last: 4, timeMs: START_MS },
  ]);
  expect(countsOf(world)).toEqual([[1], [2], [1]]);
});

test("callers that append in the same turn share a redo file, in the order of their calls", async () => {
  const world = await worldWithTable();
  const writer = openWriter(world, options);
  const outcomes = await Promise.all([1, 2, 3].map((value) => writer.append({ mutations: [put("a", value)] })));
  expect(outcomes.map((outcome) => outcome.kind === "appended" && outcome.first)).toEqual([1, 2, 3]);
  expect([countsOf(world), await current(world)]).toEqual([[[1, 1, 1]], ["a=3@3"]]);
});

test("a batch waits for company as long as it is told to, and no longer", async () => {
  const world = await worldWithTable();
  const writer = openWriter(world, { ...options, lingerMs: 100 });
  const first = writer.append({ mutations: [put("a", 1)] });
  await settled();
  world.clock.advance(99);
  await settled();
  expect(countsOf(world)).toEqual([]);
  const second = writer.append({ mutations: [put("b", 2)] });
  world.clock.advance(1);
  expect([await first, await second]).toMatchObject([{ first: 1 }, { first: 2 }]);
  expect(countsOf(world)).toEqual([[1, 1]]);
});

/** Lets everything go on that waits for nothing but its turn. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

test("a full redo file waits for nobody", async () => {
  const world = await worldWithTable();
  const writer = openWriter(world, { ...options, lingerMs: 1_000_000 });
  const appended = Promise.all(Array.from({ length: REDO_FILE_BATCHES_MAX }, (_, i) => writer.append({ mutations: [put("a", i)] })));
  expect((await appended).length).toBe(REDO_FILE_BATCHES_MAX);
  expect(countsOf(world).map(({ length }) => length)).toEqual([REDO_FILE_BATCHES_MAX]);
});

test("limits close a redo file: batches, and bytes", async () => {
  const world = await worldWithTable();
  const writer = openWriter(world, { id, codec: "json" });
  const large = Buffer.alloc(VALUE_BYTES_MAX, "1");
  await Promise.all(
    [...Array.from({ length: 4 }, () => [put("a", large)]), ...Array.from({ length: REDO_FILE_BATCHES_MAX }, () => [put("b", 1)])].map((mutations) =>
      writer.append({ mutations }),
    ),
  );
  expect(countsOf(world).map(({ length }) => length)).toEqual([2, 2 + (REDO_FILE_BATCHES_MAX - 2), 2]);
});

test("batches beyond what may wait are taken in the order of their calls, and none is forgotten", async () => {
  const world = await worldWithTable();
  const writer = openWriter(world, { id, codec: "json" });
  const large = Buffer.alloc(VALUE_BYTES_MAX, "1");
  const sizes = [large, large, large, large, large, large, large, large, large, Buffer.from("2"), large, Buffer.from("3")];
  const outcomes = await Promise.all(sizes.map((value, place) => writer.append({ mutations: [put("a", value)], mark: mark("p", place + 1) })));
  expect(outcomes.map((outcome) => outcome.kind === "appended" && outcome.first)).toEqual(sizes.map((_, place) => place + 1));
  expect(await current(world)).toEqual(["a=3@12"]);
});

test("closing settles what waits, at once, and takes nothing more", async () => {
  const world = await worldWithTable();
  const writer = openWriter(world, { ...options, lingerMs: 1_000_000 });
  const waiting = writer.append({ mutations: [put("a", 1)] });
  await settled();
  await writer.close();
  expect(await waiting).toMatchObject({ kind: "appended", first: 1 });
  await expect(writer.append({ mutations: [put("b", 1)] })).rejects.toMatchObject({ kind: "call", code: "closed-writer" });
});

test("a batch that the format cannot hold is refused, and nothing is written", async () => {
  const world = await worldWithTable();
  const writer = openWriter(world, options);
  await expect(writer.append({ mutations: [] })).rejects.toMatchObject({ kind: "call", code: "empty-batch" });
  await expect(writer.append({ mutations: [put("a", 1)], mark: mark("", 1) })).rejects.toMatchObject({ kind: "call", code: "bad-producer" });
  expect(filesOf(world)).toEqual([]);
});

test("times never go back, though the clock does", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  world.clock.set(START_MS - 5_000);
  await appendEach(world, [[put("b", 2)]]);
  world.clock.set(START_MS + 7);
  await appendEach(world, [[put("c", 3)]]);
  expect(filesOf(world).map(({ batches }) => batches[0].timeMs)).toEqual([START_MS, START_MS, START_MS + 7]);
});

test.each([
  ["done", 1],
  ["done", PUT_ATTEMPTS_MAX - 1],
  ["not-done", 1],
] as const)("a PUT whose reply was lost is known by its write id (%s, %d times)", async (effect, times) => {
  const world = await worldWithTable();
  const outcomes = await appendEach(withSilentPuts(world, times, effect), [[put("a", 1)], [put("b", 2)]]);
  expect(outcomes).toMatchObject([{ first: 1 }, { first: 2 }]);
  expect(countsOf(world)).toEqual([[1], [1]]);
});

test("a writer that lost the claim moves behind the winner, and loses nothing (I2)", async () => {
  const world = await worldWithTable();
  const [one, other] = [openWriter(world, options), openWriter(world, options)];
  await one.append({ mutations: [put("a", 1)] });
  await other.append({ mutations: [put("b", 2)] });
  await one.append({ mutations: [put("c", 3)] });
  const outcomes = await Promise.all([one.append({ mutations: [put("d", 4)] }), other.append({ mutations: [put("e", 5)] })]);
  expect(outcomes.map((outcome) => outcome.kind === "appended" && outcome.first).sort()).toEqual([4, 5]);
  expect((await current(world)).length).toBe(5);
});

test("while a batch is in doubt, later batches of its producer are turned away until it is repeated; others go on", async () => {
  const world = await worldWithTable();
  const writer = openWriter(withSilentPuts(world, PUT_ATTEMPTS_MAX, "done"), options);
  const first = { mutations: [put("a", 1)], mark: mark("p", 1) };
  const second = { mutations: [put("a", 2)], mark: mark("p", 2) };
  await expect(writer.append(first)).rejects.toMatchObject({ kind: "retry" });
  await expect(writer.append(second)).rejects.toMatchObject({ kind: "retry", code: "batch-in-doubt" });
  expect(await writer.append({ mutations: [put("b", 9)], mark: mark("q", 1) })).toMatchObject({ kind: "appended" });
  expect(await writer.append(first)).toMatchObject({ kind: "appended" });
  expect(await writer.append(second)).toMatchObject({ kind: "appended" });
  // The repeated batch has its indexes, and no effect.
  expect(await current(world)).toEqual(["a=2@4", "b=9@2"]);
});

test("of several batches of a producer that failed together the first is the one to repeat", async () => {
  const world = await worldWithTable();
  const writer = openWriter(withSilentPuts(world, PUT_ATTEMPTS_MAX, "not-done"), options);
  const batches = [1, 2, 3].map((value) => ({ mutations: [put("a", value)], mark: mark("p", value) }));
  expect((await Promise.allSettled(batches.map((batch) => writer.append(batch)))).map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
  await expect(writer.append(batches[1])).rejects.toMatchObject({ code: "batch-in-doubt" });
  for (const batch of batches) expect(await writer.append(batch)).toMatchObject({ kind: "appended" });
  expect(await current(world)).toEqual(["a=3@3"]);
});

test("a repeated batch keeps the index that was seen before its first sending", async () => {
  const world = await worldWithTable();
  const writer = openWriter(withSilentPuts(world, PUT_ATTEMPTS_MAX, "done"), options);
  const batch = { mutations: [put("a", 1)], mark: mark("p", 1) };
  await expect(writer.append(batch)).rejects.toMatchObject({ kind: "retry" });
  await appendEach(world, [[put("b", 1)], [put("c", 1)]]);
  await writer.append(batch);
  expect(filesOf(world).flatMap(({ batches }) => batches.flatMap(({ mark: sent }) => sent ?? []))).toEqual([
    { producer: "p", sequence: 1n, since: 1 },
    { producer: "p", sequence: 1n, since: 1 },
  ]);
});

test("a batch that was not even sent keeps its turn before the next of its producer", async () => {
  const world = await worldWithTable();
  let failures = 1;
  const silent = withCheckpoints(world, (checkpoints) => ({
    async get(key) {
      if (failures-- > 0) throw noAnswer();
      return checkpoints.get(key);
    },
  }));
  const writer = openWriter(silent, options);
  const [first, second] = [1, 2].map((value) => ({ mutations: [put("a", value)], mark: mark("p", value) }));
  await expect(writer.append(first)).rejects.toMatchObject({ kind: "retry", code: "no-answer" });
  await expect(writer.append(second)).rejects.toMatchObject({ kind: "retry", code: "batch-in-doubt" });
  await writer.append(first);
  await writer.append(second);
  expect(await current(world)).toEqual(["a=2@2"]);
});

test("a batch that was refused leaves no doubt", async () => {
  const world = memoryWorld();
  const writer = openWriter(world, options);
  await expect(writer.append({ mutations: [put("a", 1)], mark: mark("p", 1) })).rejects.toMatchObject({ kind: "call" });
  await createTable(world, { name: "players" });
  expect(await writer.append({ mutations: [put("a", 2)], mark: mark("p", 2) })).toMatchObject({ kind: "appended", first: 1 });
});

test("what waits behind a refused batch of its producer is refused with it, so that the first one can be repeated", async () => {
  const world = memoryWorld();
  let look: PromiseWithResolvers<void> | undefined = Promise.withResolvers<void>();
  const slow = withCheckpoints(world, (checkpoints) => ({
    async write(changes) {
      const written = await checkpoints.write(changes);
      await look?.promise;
      return written;
    },
  }));
  const writer = openWriter(slow, options);
  const [first, second] = [1, 2].map((sequence) => ({ mutations: [put("a", sequence)], mark: mark("p", sequence) }));
  const refused = writer.append(first);
  await new Promise((resolve) => setImmediate(resolve));
  const behind = writer.append(second);
  const other = writer.append({ mutations: [put("b", 1)], mark: mark("q", 1) });
  const unmarked = writer.append({ mutations: [put("c", 1)] });
  await createTable(world, { name: "players" });
  look.resolve();
  look = undefined;
  await expect(refused).rejects.toMatchObject({ kind: "call", code: "unknown-table" });
  await expect(behind).rejects.toMatchObject({ kind: "call", code: "unknown-table" });
  expect([await other, await unmarked]).toMatchObject([1, 2].map((first) => ({ kind: "appended", first })));
  expect(await writer.append(first)).toMatchObject({ kind: "appended", first: 3 });
  expect(await writer.append(second)).toMatchObject({ kind: "appended", first: 4 });
  expect(await current(world)).toEqual(["a=2@4", "b=1@1", "c=1@2"]);
});

test("a batch appended twice applies once (I3)", async () => {
  const world = await worldWithTable();
  const writer = openWriter(world, options);
  await writer.append({ mutations: [put("a", 1)], mark: mark("p", 1) });
  await writer.append({ mutations: [put("a", 2)] });
  await writer.append({ mutations: [put("a", 1)], mark: mark("p", 1) });
  expect(await current(world)).toEqual(["a=2@2"]);
});

test("a writer of a shard that was deleted is sealed, and its batch is not carried into the next life", async () => {
  const world = await worldWithTable();
  const writer = openWriter(world, options);
  await writer.append({ mutations: [put("a", 1)] });
  await world.checkpoints.write([{ item: controlItem(id), when: [], delete: true }]);
  expect(await writer.append({ mutations: [put("b", 2)] })).toEqual({ kind: "sealed" });
  await appendEach(world, [[put("c", 3)]]);
  expect(await writer.append({ mutations: [put("d", 4)] })).toEqual({ kind: "sealed" });
  expect(await current(world)).toEqual(["c=3@1"]);
});

test("a claim under a past incarnation is never acknowledged", async () => {
  const world = await worldWithTable();
  const writer = openWriter(world, options);
  await writer.append({ mutations: [put("a", 1)] });
  await world.checkpoints.write([{ item: controlItem(id), when: [], delete: true }]);
  await appendEach(world, [[put("b", 2)]]);
  expect(await writer.append({ mutations: [put("c", 3)] })).toEqual({ kind: "sealed" });
  expect(await current(world)).toEqual(["b=2@1"]);
});

test("a table that is not there is told at the first batch", async () => {
  await expect(openWriter(memoryWorld(), options).append({ mutations: [put("a", 1)] })).rejects.toMatchObject({ kind: "call", code: "unknown-table" });
});

test("a claim below the mark is void: it is appended again, above it (I1)", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)], [put("b", 2)]]);
  // Between the writer's PUT and its look at the control item, cleanup passes what the writer believed.
  let raised = false;
  const raced = withObjects(world, (objects) => ({
    async createIfAbsent(key, body) {
      const outcome = await objects.createIfAbsent(key, body);
      if (!raised) {
        raised = true;
        const control = await readControl(world.checkpoints, id);
        const digest = filesOf(world)[2].digest;
        const checkpoint = {
          index: 3,
          redoFile: 3,
          batchOffset: 0,
          next: 4,
          digest,
          timeMs: START_MS,
          key: `players/0/${control?.incarnation}/k`,
          size: 1,
          footerSha256: "f".repeat(64),
          footerBytes: 1,
        };
        await world.checkpoints.write([{ item: controlItem(id), when: [], set: { lowWater: 4, checkpoint, stamp: `${control?.stamp}` } }]);
      }
      return outcome;
    },
  }));
  const [outcome] = await appendEach(raced, [[put("c", 3)]]);
  expect(outcome).toMatchObject({ kind: "appended", first: 4 });
});

test("a batch that may have been forgotten is turned away, and the others of its file are appended", async () => {
  const world = await worldWithTable();
  const sessionsAt = async () => new Sessions([{ producer: "known", sequence: 0n, lastIndex: toIndex(9) }], toIndex(5));
  const writer = shardWriter({ ...world, sessionsAt }, options);
  await writer.append({ mutations: Array.from({ length: 20_000 }, (_, i) => put("a", i)) });
  const outcomes = await Promise.all([
    writer.append({ mutations: [put("b", 1)], mark: mark("old", 1, 1) }),
    writer.append({ mutations: [put("c", 2)], mark: mark("known", 1, 1) }),
    writer.append({ mutations: [put("d", 3)] }),
  ]);
  expect(outcomes).toMatchObject([{ kind: "forgotten" }, { kind: "appended", first: 20_001 }, { kind: "appended", first: 20_002 }]);
});

test("a batch is turned away whose producer is forgotten by one before it in the same file", async () => {
  const world = await worldWithTable();
  const full = Array.from({ length: SESSIONS_MAX }, (_, i) => ({ producer: `p${i}`, sequence: 1n, lastIndex: toIndex(i + 1) }));
  const writer = shardWriter({ ...world, sessionsAt: async () => new Sessions(full) }, options);
  await writer.append({ mutations: Array.from({ length: 20_000 }, (_, i) => put("a", i)) });
  const outcomes = await Promise.all([
    writer.append({ mutations: [put("b", 1)], mark: mark("new", 1) }),
    writer.append({ mutations: [put("c", 2)], mark: mark("p0", 2, 1) }),
  ]);
  expect(outcomes).toMatchObject([{ kind: "appended" }, { kind: "forgotten" }]);
});

test("a tail that could not be published is a warning, and the batch is acknowledged", async () => {
  const world = await worldWithTable();
  const silent = withCheckpoints(world, (checkpoints) => ({
    async write(changes) {
      if (changes.length === 1 && changes[0].item.sort === "tail") throw noAnswer();
      return checkpoints.write(changes);
    },
  }));
  expect(await appendEach(silent, [[put("a", 1)]])).toMatchObject([{ kind: "appended" }]);
  expect(world.events.filter(({ kind }) => kind === "warning")).toMatchObject([{ shard: "players/0", message: expect.stringContaining("not published") }]);
});
