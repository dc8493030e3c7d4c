import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { manualClock } from "../../lib/adapters/memory/clock.ts";
import { createTable, deleteTable } from "../../lib/jobs/tables.ts";
import { bytes, type Codec, json, openTable, recover, runRound, type Store, TidemarkError } from "../../lib/index.ts";
import { local } from "../../lib/local.ts";
import { memory } from "../../lib/memory.ts";

interface Player {
  readonly hp: number;
  readonly name?: string;
}

const directories: string[] = [];
afterEach(async () => {
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true, force: true });
});

async function localStore(): Promise<Store> {
  const directory = await mkdtemp(join(tmpdir(), "tidemark-api-"));
  directories.push(directory);
  return local({ directory });
}

async function all<Item>(items: AsyncIterable<Item>): Promise<readonly Item[]> {
  const list: Item[] = [];
  for await (const item of items) list.push(item);
  return list;
}

describe("who holds a table that was deleted", () => {
  test("reads no other one that was made under its name: of that it would miss the shards that it does not know", async () => {
    const store = memory();
    await using players = await openTable({ name: "players", codec: json<number>(), store, create: {} });
    await deleteTable(players.world, "players");
    await expect(recover(players)).rejects.toMatchObject({ kind: "call", code: "unknown-table" });
    const later = { ...players.world, clock: { ...players.world.clock, now: () => players.settings.createdAtMs + 1 } };
    await createTable(later, { name: "players", shards: 16 });
    await using again = await openTable({ name: "players", codec: json<number>(), store });
    await using writer = again.writer();
    for (const key of ["ada", "bob", "eve"]) await writer.put(key, 1);
    await expect(recover(players)).rejects.toMatchObject({ kind: "retry", code: "sealed" });
    await using view = await recover(again);
    expect((await all(view.entries())).map(({ key }) => key).sort()).toEqual(["ada", "bob", "eve"]);
  });
});

describe.each([
  ["in memory", async () => memory()],
  ["in a directory", localStore],
])("a table %s", (_, makeStore) => {
  test("gives back what was written, now and as it was", async () => {
    const store = await makeStore();
    await using players = await openTable({ name: "players", codec: json<Player>(), store, create: { captureAfterMutations: 2 } });
    await using writer = players.writer({ producer: "game-7" });
    const first = await writer.append([
      { kind: "put", key: "p/41", value: { hp: 70, name: "Ada" } },
      { kind: "put", key: "p/42", value: { hp: 90 } },
      { kind: "put", key: "q/1", value: { hp: 1 } },
    ]);
    expect(first).toMatchObject([{ kind: "appended", shard: 0, first: 1, last: 3 }]);
    expect(await writer.patch("p/41", { hp: 55 })).toMatchObject({ kind: "appended", first: 4 });
    expect(await writer.delete("p/42")).toMatchObject({ kind: "appended", last: 5 });

    const round = await runRound(players.world);
    expect(round.captured.map(({ report }) => report.outcome.kind)).toEqual(["completed"]);

    await using now = await recover(players);
    expect((await all(now.entries({ prefix: "p/" }))).map(({ key, value, index }) => ({ key, value, index }))).toEqual([
      { key: "p/41", value: { hp: 55, name: "Ada" }, index: 4 },
    ]);
    expect(now.shards[0]).toMatchObject({ index: 5, from: 5, replayed: 0 });
    expect(await now.get("p/42")).toBeUndefined();
    expect((await now.get("q/1"))?.value).toEqual({ hp: 1 });

    await using before = await recover(players, { at: 3 });
    expect((await before.get("p/41"))?.value).toEqual({ hp: 70, name: "Ada" });
  });
});

test("a table of several shards gives back every key, and all shards at one time", async () => {
  const clock = manualClock(1_000);
  const store = memory({ clock });
  await using table = await openTable({ name: "players", codec: json<number>(), store, create: { shards: 4 } });
  await using writer = table.writer();
  const keys = Array.from({ length: 100 }, (_, n) => `k/${n}`);
  await writer.append(keys.map((key, value) => ({ kind: "put", key, value })));
  clock.advance(1_000);
  await writer.append(keys.map((key) => ({ kind: "delete", key })));
  expect((await table.snapshot()).map(({ outcome }) => outcome.kind)).toEqual(Array(4).fill("completed"));
  await using then = await recover(table, { at: new Date(1_500) });
  expect(new Map((await all(then.entries())).map(({ key, value }) => [key, value]))).toEqual(new Map(keys.map((key, value) => [key, value])));
  await using now = await recover(table);
  expect(await all(now.entries())).toEqual([]);
  await expect(recover(table, { at: 7 })).rejects.toMatchObject({ kind: "call", code: "index-of-shards" });
});

test("a view holds all shards while it is read, however long a reader takes over one record, or over those of one shard", async () => {
  const clock = manualClock(1_000);
  await using table = await openTable({ name: "players", codec: json<number>(), store: memory({ clock }), create: { shards: 2 } });
  await using writer = table.writer();
  const keys = Array.from({ length: 8 }, (_, n) => `k/${n}`);
  const goOn = async (value: number): Promise<void> => {
    clock.advance(10 * 60_000);
    await writer.append(keys.map((key) => ({ kind: "put", key, value })));
    await table.snapshot();
  };
  await goOn(1);
  await using view = await recover(table);
  const values: number[] = [];
  for await (const { value } of view.entries()) {
    values.push(value);
    await goOn(2);
  }
  for (const key of keys) values.push((await view.get(key))?.value ?? 0);
  expect(values).toEqual(Array(16).fill(1));
});

test("I3: a batch whose reply was lost applies once, with numbers of the caller's own over a restart, and is found by its number", async () => {
  const store = memory();
  await using table = await openTable({ name: "log", codec: json<{ n: number }>(), store, create: {} });
  await using writer = table.writer({ producer: "feed" });
  await writer.append([{ kind: "put", key: "a", value: { n: 1 } }], { sequence: 7n });
  await writer.append([{ kind: "put", key: "a", value: { n: 2 } }], { sequence: 8n });
  await using again = await openTable({ name: "log", codec: json<{ n: number }>(), store });
  expect(await again.lastSequence("feed")).toBe(8n);
  expect(await again.lastSequence("nobody")).toBeUndefined();
  await again.writer({ producer: "feed" }).append([{ kind: "put", key: "a", value: { n: 1 } }], { sequence: 7n });
  await using view = await recover(again);
  expect((await view.get("a"))?.value).toEqual({ n: 2 });
});

test("I3: a writer repeats what got no answer, and each of its changes applies once", async () => {
  const store = memory();
  const { world } = await store.open();
  const create = world.objects.createIfAbsent.bind(world.objects);
  let lost = 0;
  world.objects.createIfAbsent = async (key, body) => {
    const outcome = await create(key, body);
    // Beyond the attempts that one append makes, so that the writer itself must send the batch again.
    if (key.endsWith(".redo") && lost++ < 4) throw new TidemarkError("retry", "lost-reply", "no answer came");
    return outcome;
  };
  await using table = await openTable({ name: "log", codec: json<number>(), store, create: {} });
  await using writer = table.writer();
  const outcomes = await Promise.all([1, 2, 3].map((value) => writer.put(`k/${value}`, value)));
  expect(outcomes.map(({ kind }) => kind)).toEqual(["appended", "appended", "appended"]);
  await using view = await recover(table);
  expect((await all(view.entries())).map(({ key, value }) => [key, value])).toEqual([
    ["k/1", 1],
    ["k/2", 2],
    ["k/3", 3],
  ]);
});

test("numbers of the caller's own are those of a producer that is named: two programs that name none would take their batches for each other's", async () => {
  await using table = await openTable({ name: "log", codec: json<number>(), store: memory(), create: {} });
  await using writer = table.writer();
  const batch = writer.append([{ kind: "put", key: "a", value: 1 }], { sequence: 1n });
  await expect(batch).rejects.toMatchObject({ kind: "call", code: "bad-producer" });
});

test("a writer that is closed takes nothing more, and tells who waits for an answer that none came: the change may be in the log", async () => {
  const store = memory();
  const { world } = await store.open();
  const create = world.objects.createIfAbsent.bind(world.objects);
  await using table = await openTable({ name: "log", codec: json<number>(), store, create: { shards: 4 } });
  const writer = table.writer();
  await writer.put("a", 1);
  const answer = Promise.withResolvers<void>();
  world.objects.createIfAbsent = async (key, body) => {
    await create(key, body);
    await answer.promise;
    throw new TidemarkError("retry", "lost-reply", "no answer came");
  };
  const waiting = writer.put("a", 2);
  const told = expect(waiting).rejects.toMatchObject({ kind: "retry", code: "lost-reply" });
  const closing = writer.close();
  answer.resolve();
  await closing;
  await told;
  world.objects.createIfAbsent = create;
  for (const key of ["a", "b", "c", "d", "e"]) await expect(writer.put(key, 3)).rejects.toMatchObject({ kind: "call", code: "closed-writer" });
  await using view = await recover(table);
  expect((await all(view.entries())).map(({ key, value }) => [key, value])).toEqual([["a", 2]]);
});

test("a writer goes on once there is room again: a change that found none is not waited for", async () => {
  const store = memory();
  const { world } = await store.open();
  const create = world.objects.createIfAbsent.bind(world.objects);
  let full = false;
  world.objects.createIfAbsent = async (key, body) => {
    if (full) throw new TidemarkError("wait", "no-space", "no space is left");
    return create(key, body);
  };
  await using table = await openTable({ name: "log", codec: json<number>(), store, create: {} });
  await using writer = table.writer();
  await writer.put("a", 1);
  full = true;
  await expect(writer.put("b", 2)).rejects.toMatchObject({ kind: "wait", code: "no-space" });
  full = false;
  expect(await writer.put("c", 3)).toMatchObject({ kind: "appended" });
  await using view = await recover(table);
  expect((await all(view.entries())).map(({ key }) => key)).toEqual(["a", "c"]);
});

test("a value or a patch that no patch could be applied to is refused, whoever wrote it as JSON", async () => {
  const nested = (levels: number): unknown => JSON.parse(`${`{"a":`.repeat(levels)}1${"}".repeat(levels)}`);
  const store = memory();
  await using table = await openTable({ name: "deep", codec: json<unknown>(), store, create: {} });
  await using writer = table.writer();
  await writer.put("k", nested(512));
  await writer.patch("k", { b: 2 });
  await expect(writer.put("k", nested(513))).rejects.toMatchObject({ kind: "call", code: "json-too-deep" });
  await expect(writer.patch("other", nested(513))).rejects.toMatchObject({ kind: "call", code: "json-too-deep" });
  const own: Codec<string> = { kind: "json", encode: (text) => Buffer.from(text), decode: (stored) => stored.toString() };
  await using opened = await openTable({ name: "deep", codec: own, store });
  await using ownWriter = opened.writer();
  await expect(ownWriter.put("k", "no JSON")).rejects.toMatchObject({ kind: "call", code: "bad-json" });
  await ownWriter.put("k2", "  [1.0] ");
  await writer.patch("k", { c: 3 });
  await table.snapshot();
  await using view = await recover(table);
  expect(await view.get("k")).toMatchObject({ index: 4, value: { b: 2, c: 3 } });
  expect(await all(view.entries())).toHaveLength(2);
});

test("what cannot be written is refused, and nothing is written", async () => {
  const store = memory();
  await expect(openTable({ name: "players", codec: json(), store })).rejects.toMatchObject({ kind: "call", code: "unknown-table" });
  await using table = await openTable({ name: "players", codec: json<unknown>(), store, create: {} });
  await expect(openTable({ name: "players", codec: bytes(), store })).rejects.toMatchObject({ kind: "call", code: "wrong-codec" });
  await using writer = table.writer();
  await expect(writer.put("", 1)).rejects.toMatchObject({ kind: "call", code: "empty-key" });
  await expect(writer.put("\ud800", 1)).rejects.toMatchObject({ kind: "call", code: "ill-formed-text" });
  await expect(writer.put("k", undefined)).rejects.toMatchObject({ kind: "call", code: "no-json" });
  await expect(writer.put("k", 1n)).rejects.toMatchObject({ kind: "call", code: "no-json" });
  await expect(recover(table, { at: 1 })).rejects.toMatchObject({ kind: "call", code: "out-of-range" });
  await expect(recover(table, { at: new Date("2026-02-31T25:00Z") })).rejects.toMatchObject({ kind: "call", code: "bad-time" });
  await using blobs = await openTable({ name: "blobs", codec: bytes(), store, create: {} });
  await expect(blobs.writer().patch("k", {})).rejects.toMatchObject({ kind: "call", code: "patch-of-bytes" });
  await using view = await recover(table);
  expect(await all(view.entries())).toEqual([]);
});

test("bytes are what they were when they were handed over: whoever hands them over may use them for what comes next", async () => {
  await using blobs = await openTable({ name: "blobs", codec: bytes(), store: memory(), create: {} });
  await using writer = blobs.writer();
  const buffer = Buffer.from("first");
  const written = writer.put("k", buffer);
  buffer.write("later");
  await written;
  await using view = await recover(blobs);
  expect((await view.get("k"))?.value).toEqual(Buffer.from("first"));
});
