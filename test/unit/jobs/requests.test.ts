import { expect, test } from "vitest";
import { findRequest, requestCapture, requestCaptures } from "../../../lib/jobs/requests.ts";
import { captureShard } from "../../../lib/jobs/snapshot.ts";
import { deleteTable } from "../../../lib/jobs/tables.ts";
import { REQUEST_KEPT_MS } from "../../../lib/model/limits.ts";
import { appendEach, id, noAnswer, put, START_MS, withCheckpoints, withObjects, worldWithTable } from "./world.ts";

test("a request is pending until a job begins, and done when it ends", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  const { request } = await requestCapture(world, id);
  expect(await findRequest(world, id, request)).toEqual({ state: "pending", askedAtMs: START_MS });
  const stopped = AbortSignal.abort();
  expect(await captureShard(world, { id, request, signal: stopped })).toMatchObject({ next: "capture" });
  expect(await findRequest(world, id, request)).toMatchObject({ state: "running", stage: "cleanup", askedAtMs: START_MS });
  await captureShard(world, { id, request });
  expect(await findRequest(world, id, request)).toMatchObject({ state: "done", outcome: "completed", index: 1, askedAtMs: START_MS });
});

test("a request whose job failed is done, and running again when the job is tried again", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  const { request } = await requestCapture(world, id);
  const failing = withObjects(world, () => ({ createUpload: () => Promise.reject(noAnswer()) }));
  await expect(captureShard(failing, { id, request })).rejects.toThrow("the reply was lost");
  expect(await findRequest(world, id, request)).toMatchObject({ state: "done", outcome: "failed", error: "the reply was lost" });
  await captureShard(world, { id, request, signal: AbortSignal.abort() });
  const running = await findRequest(world, id, request);
  expect([running.state, running.outcome, running.error]).toEqual(["running", undefined, undefined]);
  world.clock.advance(60_000);
  await captureShard(world, { id, request });
  const done = await findRequest(world, id, request);
  expect([done.state, done.outcome, done.error]).toEqual(["done", "completed", undefined]);
});

test("a request that completed stays so where its message is delivered again, also while it is served", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  const { request } = await requestCapture(world, id);
  const late = withCheckpoints(world, (checkpoints) => ({
    get: async (key) => {
      const item = await checkpoints.get(key);
      if (key.sort.startsWith("request#") && item?.attributes.state === "pending") await captureShard(world, { id, request });
      return item;
    },
  }));
  await captureShard(late, { id, request });
  const done = await findRequest(world, id, request);
  expect(done).toMatchObject({ state: "done", outcome: "completed", index: 1 });
  await captureShard(world, { id, request });
  expect(await findRequest(world, id, request)).toEqual(done);
});

test("a request lapses by itself", async () => {
  const world = await worldWithTable();
  const { request } = await requestCapture(world, id);
  const item = world.checkpoints.items.find(({ key }) => key.sort === `request#${request}`);
  expect(item?.attributes.expiresAt).toBe(Math.ceil((START_MS + REQUEST_KEPT_MS) / 1_000));
});

test("a request with nothing new is done, and ignored; also of a shard that was never written", async () => {
  const world = await worldWithTable();
  const { request } = await requestCapture(world, id);
  await captureShard(world, { id, request });
  expect(await findRequest(world, id, request)).toMatchObject({ state: "done", outcome: "ignored" });
});

test("many shards have a request each", async () => {
  const world = await worldWithTable({ shards: 60 });
  const ids = Array.from({ length: 60 }, (_, shard) => ({ table: "players", shard }));
  const made = await requestCaptures(world, ids);
  expect(made.map((one) => one.id)).toEqual(ids);
  expect(new Set(made.map(({ request }) => request)).size).toBe(60);
  expect(await findRequest(world, ids[59], made[59].request)).toMatchObject({ state: "pending" });
});

test("a request for what is not there is the caller's to correct", async () => {
  const world = await worldWithTable();
  await expect(requestCapture(world, { ...id, shard: 1 })).rejects.toMatchObject({ code: "unknown-shard" });
  await expect(findRequest(world, id, "0123456789abcdef")).rejects.toMatchObject({ code: "unknown-request" });
  await expect(findRequest(world, id, "../control")).rejects.toMatchObject({ code: "unknown-request" });
  await deleteTable(world, "players");
  await expect(requestCapture(world, id)).rejects.toMatchObject({ code: "unknown-table" });
});
