// Captures whose time ends: a function's invocation has so much, and no more.

import { expect, test } from "vitest";
import { capture } from "../../../lib/snapshot/capture.ts";
import type { CaptureOutcome, CaptureRequest } from "../../../lib/snapshot/outcome.ts";
import { appendEach, current, type MemoryWorld, noise, put, remove, withObjects, worldWithTable } from "../jobs/world.ts";
import { checkpointIndex, request, small } from "./captures.ts";

const FILES = 40;

/** A redo file for each key. */
async function worldOfFiles(): Promise<MemoryWorld> {
  const world = await worldWithTable();
  await appendEach(
    world,
    Array.from({ length: FILES }, (_, file) => [put(`key-${100 + file}`, noise(file, 400))]),
  );
  return world;
}

/** A capture that is told to stop once `timeMs` have passed, where each redo file takes a second to read. */
async function turn(world: MemoryWorld, timeMs: number, asked: Partial<CaptureRequest> = {}): Promise<CaptureOutcome> {
  const stop = new AbortController();
  const untilMs = world.clock.now() + timeMs;
  const slow = withObjects(world, (objects) => ({
    async get(key) {
      world.clock.advance(1_000);
      if (world.clock.now() >= untilMs) stop.abort();
      return objects.get(key);
    },
  }));
  return capture(slow, { ...request, ...asked, timeMs, signal: stop.signal });
}

test("a log that takes longer to read than a capture may last is captured piece by piece: read whole, it would be read for ever", async () => {
  const world = await worldOfFiles();
  const indexes: (number | undefined)[] = [];
  for (let turns = 0; turns < 10 && (await checkpointIndex(world)) !== FILES; turns++) {
    expect(await turn(world, 30_000)).toMatchObject({ kind: "completed" });
    indexes.push(await checkpointIndex(world));
  }
  expect(indexes).toEqual([9, 18, 27, 36, 40]);
  expect((await current(world)).length).toBe(FILES);
});

test("a log is cut the sooner the more often it will be read, as memory does not hold all of its keys", async () => {
  const world = await worldOfFiles();
  await turn(world, 30_000, { foldBytesMax: 6_000 });
  expect(await checkpointIndex(world)).toBe(7);
});

/** A world in which a capture is told to stop at so many calls of `method`; tells how many came in all. */
function stoppingAt(world: MemoryWorld, method: "get" | "getRange", calls: number) {
  const stop = new AbortController();
  let called = 0;
  const noting = <Args extends readonly unknown[], Answer>(call: (...args: Args) => Answer) => {
    return (...args: Args): Answer => {
      called += 1;
      if (called === calls) stop.abort();
      return call(...args);
    };
  };
  const stopping = withObjects(world, ({ get, getRange }) => (method === "get" ? { get: noting(get) } : { getRange: noting(getRange) }));
  return { world: stopping, signal: stop.signal, called: () => called };
}

test("a capture that is told to stop while it reads the log again stops there, and the next goes on", async () => {
  const world = await worldOfFiles();
  const stopping = stoppingAt(world, "get", FILES + 10);
  expect(await capture(stopping.world, { ...request, foldBytesMax: 6_000, signal: stopping.signal })).toMatchObject({
    kind: "aborted",
    reason: expect.stringContaining("told to stop"),
  });
  expect(stopping.called()).toBeLessThan(FILES + 13);
  expect(await capture(world, request)).toMatchObject({ kind: "completed", rows: FILES });
});

test("a capture that is told to stop among records that are all deleted stops there, and the next goes on", async () => {
  const world = await worldOfFiles();
  await capture(world, small);
  await appendEach(world, [Array.from({ length: FILES }, (_, file) => remove(`key-${100 + file}`))]);
  const whole = stoppingAt(world, "getRange", Number.POSITIVE_INFINITY);
  const stopping = stoppingAt(world, "getRange", 8);
  expect(await capture(stopping.world, { ...small, signal: stopping.signal })).toMatchObject({ kind: "aborted" });
  expect(stopping.called()).toBeLessThan(11);
  expect(await capture(whole.world, small)).toMatchObject({ kind: "completed", rows: 0 });
  expect(whole.called()).toBeGreaterThan(12);
  expect(await current(world)).toEqual([]);
});
