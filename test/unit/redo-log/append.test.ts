// One append, call by call: what a claim that was lost costs, where it gives up, and what it believes in the end.

import { expect, test } from "vitest";
import { controlItem } from "../../../lib/checkpoint/items.ts";
import { TidemarkError } from "../../../lib/model/errors.ts";
import { APPEND_ATTEMPTS_MAX, SESSIONS_MAX } from "../../../lib/model/limits.ts";
import type { Batch } from "../../../lib/model/mutation.ts";
import { toIndex } from "../../../lib/model/position.ts";
import { Sessions } from "../../../lib/model/sessions.ts";
import { append, type AppendDeps } from "../../../lib/redo-log/append.ts";
import { findTail } from "../../../lib/redo-log/tail.ts";
import { appendEach, id, type MemoryWorld, put, START_MS, withCheckpoints, withObjects, worldWithTable } from "../jobs/world.ts";

const BATCH: Batch = { mutations: [put("b", 1), put("c", 2)] };

async function worldWithFiles(...batches: readonly number[]): Promise<MemoryWorld> {
  const world = await worldWithTable();
  await appendEach(
    world,
    batches.map((mutations) => Array.from({ length: mutations }, () => put("a", 1))),
  );
  return world;
}

const depsOf = (world: MemoryWorld, sessionsAt: AppendDeps["sessionsAt"] = async () => new Sessions()): AppendDeps => ({ ...world, sessionsAt });
const beliefOf = (world: MemoryWorld) => findTail(world, id, START_MS);

/** Every call, in order, and something that happens before the `nth` PUT, counted from 1. */
function watched(world: MemoryWorld, beforePut: (nth: number) => Promise<unknown> = async () => undefined) {
  const calls: string[] = [];
  let puts = 0;
  const objects = withObjects(world, (store) => ({
    async createIfAbsent(key, body) {
      calls.push("PUT");
      puts += 1;
      await beforePut(puts);
      return store.createIfAbsent(key, body);
    },
    async getRange(key, range) {
      calls.push("GET");
      return store.getRange(key, range);
    },
    async list(request) {
      calls.push("LIST");
      return store.list(request);
    },
  }));
  const both = withCheckpoints(objects, (store) => ({
    async get(key) {
      calls.push(`read ${key.sort}`);
      return store.get(key);
    },
  }));
  return { world: both, calls };
}

test("an append tells its indexes, its size, and what the next one may believe", async () => {
  const world = await worldWithFiles(1);
  const outcome = await append(depsOf(world), { id, batches: [BATCH], belief: await beliefOf(world) });
  const stored = [...world.objects.objects].find(([key]) => key.endsWith("2.redo"))?.[1];
  expect(outcome).toEqual({ kind: "appended", first: 2, last: 3, timeMs: START_MS, bytes: stored?.length, belief: await beliefOf(world) });
});

test("behind one lost claim lies the winner; behind a second one the log is walked, as others may be far ahead", async () => {
  const world = await worldWithFiles(1);
  const belief = await beliefOf(world);
  const losing = watched(world, async (nth) => nth <= 2 && appendEach(world, [[put("rival", nth)]]));
  const outcome = await append(depsOf(losing.world), { id, batches: [BATCH], belief });
  const lost = ["PUT", "GET", "read control"];
  const walk = ["read control", "read tail", "GET", "LIST", "read tail", "read control"];
  expect(losing.calls).toEqual([...lost, ...lost, ...walk, "PUT", "read control"]);
  expect(outcome).toMatchObject({ kind: "appended", first: 4, last: 5, belief: await beliefOf(world) });
});

test("what is believed behind a winner is its border and the log with its file", async () => {
  const world = await worldWithFiles(1);
  const belief = await beliefOf(world);
  await appendEach(world, [[put("rival", 1)]]);
  expect(await append(depsOf(world), { id, batches: [BATCH], belief })).toMatchObject({ kind: "appended", first: 3, belief: await beliefOf(world) });
});

test("a claim that was lost to a file that is gone again is made anew behind a walk", async () => {
  const world = await worldWithFiles(1);
  const belief = await beliefOf(world);
  let claims = 0;
  const freed = withObjects(world, (store) => ({
    createIfAbsent: async (key, body) => (claims++ === 0 ? { kind: "exists" } : store.createIfAbsent(key, body)),
  }));
  expect(await append(depsOf(freed), { id, batches: [BATCH], belief })).toMatchObject({ kind: "appended", first: 2 });
});

test("a claim that was lost in a life that has ended seals, and nothing is written into the next one", async () => {
  const world = await worldWithFiles(1);
  const belief = await beliefOf(world);
  const ended = watched(world, async (nth) => {
    if (nth > 1) return;
    await appendEach(world, [[put("rival", 1)]]);
    await world.checkpoints.write([{ item: controlItem(id), when: [], delete: true }]);
    await appendEach(world, [[put("next life", 1)]]);
  });
  expect(await append(depsOf(ended.world), { id, batches: [BATCH], belief })).toEqual({ kind: "sealed" });
  expect(ended.calls.filter((call) => call === "PUT")).toEqual(["PUT"]);
});

test("an append that loses every claim gives up after so many, and says that others were quicker", async () => {
  const world = await worldWithFiles(1);
  const belief = await beliefOf(world);
  const losing = watched(world, async (nth) => appendEach(world, [[put("rival", nth)]]));
  const contended = { kind: "retry", code: "contended", message: expect.stringContaining("players/0") };
  await expect(append(depsOf(losing.world), { id, batches: [BATCH], belief })).rejects.toMatchObject(contended);
  expect(losing.calls.filter((call) => call === "PUT").length).toBe(APPEND_ATTEMPTS_MAX);
});

test("a table of sessions that the log did not come to is asked for again, at the tail that a walk finds", async () => {
  const world = await worldWithFiles(SESSIONS_MAX);
  const belief = await beliefOf(world);
  await appendEach(world, [[put("rival", 1)]]);
  const asked: number[] = [];
  const deps = depsOf(world, async (_, border) => {
    asked.push(border.next);
    return asked.length > 1 ? new Sessions() : undefined;
  });
  const old: Batch = { ...BATCH, mark: { producer: "p", sequence: 1n, since: toIndex(1) } };
  expect(await append(deps, { id, batches: [old], belief })).toMatchObject({ kind: "appended", first: SESSIONS_MAX + 2 });
  expect(asked).toEqual([SESSIONS_MAX + 1, SESSIONS_MAX + 2]);
});

test.each([
  ["of another kind", new TidemarkError("wait", "busy", "too many requests")],
  ["of the program", new TypeError("a mistake")],
])("a PUT is repeated only where no answer came: a fault %s is handed on at once", async (_, fault) => {
  const world = await worldWithFiles(1);
  const belief = await beliefOf(world);
  const failing = watched(world, async () => Promise.reject(fault));
  await expect(append(depsOf(failing.world), { id, batches: [BATCH], belief })).rejects.toBe(fault);
  expect(failing.calls).toEqual(["PUT"]);
});

test("a claim at the mark counts", async () => {
  const world = await worldWithFiles(1, 1);
  const belief = await beliefOf(world);
  await world.checkpoints.write([{ item: controlItem(id), when: [], set: { lowWater: belief.border.next } }]);
  const { world: told, calls } = watched(world);
  expect(await append(depsOf(told), { id, batches: [BATCH], belief })).toMatchObject({ kind: "appended", first: 3 });
  expect(calls).toEqual(["PUT", "read control"]);
});
