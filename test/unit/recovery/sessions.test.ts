import { expect, test } from "vitest";
import { readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { controlItem } from "../../../lib/checkpoint/items.ts";
import { openWriter } from "../../../lib/jobs/append.ts";
import { SESSIONS_MAX } from "../../../lib/model/limits.ts";
import { type Border, ORIGIN, toIndex } from "../../../lib/model/position.ts";
import { lastSequence, sessionsAt } from "../../../lib/recovery/sessions.ts";
import { findTail } from "../../../lib/redo-log/tail.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { id, mark, type MemoryWorld, noAnswer, put, START_MS, withObjects, worldWithTable } from "../jobs/world.ts";

/** Producer p at sequence 5, captured; then at sequence 6, behind the snapshot. */
async function worldWithProducer(): Promise<MemoryWorld> {
  const world = await worldWithTable();
  const writer = openWriter(world, { id, codec: "json" });
  await writer.append({ mutations: [put("a", 1)], mark: mark("p", 5) });
  await capture(world, { id, codec: "json" });
  await writer.append({ mutations: [put("a", 2)], mark: mark("p", 6) });
  return world;
}

async function verdicts(world: MemoryWorld, about: Partial<Border> = {}): Promise<readonly string[] | undefined> {
  const belief = await findTail(world, id, START_MS);
  const life = { id, incarnation: belief.incarnation };
  const sessions = await sessionsAt(world, life, { ...belief.border, ...about });
  return sessions && [5, 6, 7].map((sequence) => sessions.verdict({ producer: "p", sequence: BigInt(sequence), since: toIndex(1) }));
}

test("a verdict rests on the snapshot's sessions and the log behind it, all of which may be what is left", async () => {
  const world = await worldWithProducer();
  await openWriter(world, { id, codec: "json" }).append({ mutations: [put("b", 1)] });
  expect(await verdicts(world)).toEqual(["duplicate", "duplicate", "applies"]);
  await world.checkpoints.write([{ item: controlItem(id), when: [], set: { lowWater: 2 } }]);
  expect(await verdicts(world)).toEqual(["duplicate", "duplicate", "applies"]);
});

test("a damaged snapshot is passed over for the log alone", async () => {
  const world = await worldWithProducer();
  const [row] = await readHistory(world.checkpoints, id);
  world.objects.damage(row.key, (body) => body.subarray(1));
  expect(await verdicts(world)).toEqual(["duplicate", "duplicate", "applies"]);
});

test("a log that does not come to the border that is asked for tells nothing: a ghost's is another", async () => {
  const world = await worldWithProducer();
  expect(await verdicts(world, { digest: "f".repeat(64) })).toBeUndefined();
  expect(await verdicts(world, { next: toIndex(4) })).toBeUndefined();
});

test("a damaged redo file on the way is named", async () => {
  const world = await worldWithProducer();
  const key = [...world.objects.objects.keys()].filter((name) => name.endsWith(".redo")).sort()[1];
  world.objects.damage(key, (body) => body.subarray(0, 20));
  const { incarnation } = (await readControl(world.checkpoints, id)) ?? { incarnation: "" };
  await expect(sessionsAt(world, { id, incarnation }, { next: toIndex(3), digest: "0".repeat(64), timeMs: 0 })).rejects.toMatchObject({
    kind: "repair",
    object: key,
  });
});

test("where neither a snapshot nor the log tells the sessions, nothing is told", async () => {
  const world = await worldWithProducer();
  const [row] = await readHistory(world.checkpoints, id);
  world.objects.damage(row.key, (body) => body.subarray(1));
  await world.checkpoints.write([{ item: controlItem(id), when: [], set: { lowWater: 2 } }]);
  expect(await verdicts(world)).toBeUndefined();
  expect((await readControl(world.checkpoints, id))?.lowWater).toBe(2);
});

test("a batch that the shard has forgotten is turned away before it is written, whoever captured in between (I3)", async () => {
  const world = await worldWithTable();
  const writer = openWriter(world, { id, codec: "json" });
  const first = { mutations: [put("old", 1)], mark: mark("old", 1, 1) };
  await writer.append(first);
  await Promise.all(Array.from({ length: SESSIONS_MAX }, (_, i) => writer.append({ mutations: [put("k", i)], mark: mark(`p${i}`, 1) })));
  const before = world.objects.objects.size;
  expect(await writer.append(first)).toEqual({ kind: "forgotten" });
  await capture(world, { id, codec: "json" });
  expect(await openWriter(world, { id, codec: "json" }).append(first)).toEqual({ kind: "forgotten" });
  expect(world.objects.objects.size).toBe(before + 1);
});

test("the last sequence of a producer is that of its last batch that applied, in the snapshot or behind it", async () => {
  const world = await worldWithProducer();
  await openWriter(world, { id, codec: "json" }).append({ mutations: [put("b", 1), put("c", 1)], mark: mark("q", 9) });
  await openWriter(world, { id, codec: "json" }).append({ mutations: [put("a", 1)], mark: mark("p", 4) });
  const told = await Promise.all(["p", "q", "unknown"].map((producer) => lastSequence(world, id, producer, START_MS)));
  expect(told).toEqual([6n, 9n, undefined]);
});

test("a shard that was never written knows no producer, and is not opened by the question", async () => {
  const world = await worldWithTable();
  expect(await lastSequence(world, id, "p", START_MS)).toBeUndefined();
  expect(await readControl(world.checkpoints, id)).toBeUndefined();
});

test("where the sessions cannot be had the question is to be asked again", async () => {
  const world = await worldWithProducer();
  const [row] = await readHistory(world.checkpoints, id);
  world.objects.damage(row.key, (body) => body.subarray(1));
  await world.checkpoints.write([{ item: controlItem(id), when: [], set: { lowWater: 2 } }]);
  await expect(lastSequence(world, id, "p", START_MS)).rejects.toMatchObject({
    kind: "retry",
    code: "contended",
    message: expect.stringContaining("players/0"),
  });
});

test("sessions have the index of their last mutation, and are those of the border that is asked for", async () => {
  const world = await worldWithProducer();
  const { incarnation, border } = await findTail(world, id, START_MS);
  await openWriter(world, { id, codec: "json" }).append({ mutations: [put("b", 1), put("c", 1)], mark: mark("q", 9) });
  const behind = (await findTail(world, id, START_MS)).border;
  const life = { id, incarnation };
  expect((await sessionsAt(world, life, border))?.list()).toEqual([{ producer: "p", sequence: 6n, lastIndex: 2 }]);
  expect((await sessionsAt(world, life, behind))?.list()).toEqual([
    { producer: "p", sequence: 6n, lastIndex: 2 },
    { producer: "q", sequence: 9n, lastIndex: 4 },
  ]);
  expect((await sessionsAt(world, life, ORIGIN))?.list()).toEqual([]);
});

test("of another life, or of a shard that is gone, there are no sessions", async () => {
  const world = await worldWithProducer();
  const { incarnation, border } = await findTail(world, id, START_MS);
  expect(await sessionsAt(world, { id, incarnation: "f".repeat(16) }, border)).toBeUndefined();
  await world.checkpoints.write([{ item: controlItem(id), when: [], delete: true }]);
  expect(await sessionsAt(world, { id, incarnation }, border)).toBeUndefined();
});

test("a snapshot that is gone is passed over, and a store that does not answer is no damage", async () => {
  const world = await worldWithProducer();
  const [row] = await readHistory(world.checkpoints, id);
  const silent = withObjects(world, (objects) => ({
    getRange: async (key, range) => (key === row.key ? Promise.reject(noAnswer()) : objects.getRange(key, range)),
  }));
  await expect(verdicts(silent)).rejects.toMatchObject({ kind: "retry", code: "no-answer" });
  await world.objects.deleteMany([row.key]);
  expect(await verdicts(world)).toEqual(["duplicate", "duplicate", "applies"]);
});
