// Status and captures over HTTP: a request lives from pending over running to done, and every answer is bounded.

import { describe, expect, test } from "vitest";
import { requestsHandler } from "../../functions/handlers/requests.ts";
import { snapshotHandler } from "../../functions/handlers/snapshot.ts";
import { createTable } from "../../lib/jobs/tables.ts";
import type { World } from "../../lib/ports/world.ts";
import { appendEach, noAnswer, put, stored, withObjects, worldWithTable } from "../unit/jobs/world.ts";
import { call, context, keptDeadLetters, keptOutput, keptQueue, type KeptQueue, queueRecord, wired } from "./harness.ts";

const output = keptOutput();

function service(world: World, captures: KeptQueue = keptQueue()) {
  return { captures, handler: requestsHandler({ ...wired(world), captures }) };
}

describe("status", () => {
  test("of all tables, of one with its shards, and of a shard with its generations", async () => {
    const world = await worldWithTable();
    const { handler } = service(world);
    await appendEach(world, [[put("a", 1)]]);
    await snapshotHandler({ ...wired(world), captures: keptQueue(), cleanups: keptQueue(), deadLetters: keptDeadLetters() })(
      { Records: [queueRecord({ table: "players", shard: 0 })] },
      context(),
    );
    const table = { table: "players", value: "json", shards: 1, state: "live", createdAt: "2023-11-14T22:13:20.000Z" };
    expect((await call(handler, { path: "/tables" })).body).toMatchObject({ tables: [table] });
    expect((await call(handler, { path: "/tables/players" })).body).toMatchObject({
      table: "players",
      keepSnapshots: 2,
      shards: [{ shard: 0, opened: true, tail: 1, checkpoint: { index: 1 }, generations: 1 }],
    });
    const shard = await call(handler, { path: "/tables/players/shards/0" });
    expect(shard).toMatchObject({
      status: 200,
      body: { table: "players", shard: 0, generations: [{ index: 1, pins: 0, capturedAt: "2023-11-14T22:13:20.000Z" }] },
    });
    expect(shard.headers["cache-control"]).toBe("no-store");
  });

  test("of many shards comes in pages, each told where the next begins", async () => {
    const { handler } = service(await worldWithTable({ shards: 250 }));
    const seen: number[] = [];
    for (let from: number | undefined = 0; from !== undefined; ) {
      const { body }: Awaited<ReturnType<typeof call>> = await call(handler, { path: "/tables/players", query: { from: String(from) } });
      expect(body.shards.length).toBeLessThanOrEqual(100);
      seen.push(...body.shards.map(({ shard }: { shard: number }) => shard));
      from = body.next;
    }
    expect(seen).toEqual(Array.from({ length: 250 }, (_, shard) => shard));
    expect((await call(handler, { path: "/tables/players", query: { from: "240", limit: "3" } })).body).toMatchObject({
      shards: [{ shard: 240 }, {}, {}],
      next: 243,
    });
  });

  test("of tables goes on from a name", async () => {
    const world = await worldWithTable();
    for (const name of ["a", "z"]) await createTable(world, { name });
    const { body } = await call(service(world).handler, { path: "/tables", query: { from: "players" } });
    expect(body.tables.map(({ table }: { table: string }) => table)).toEqual(["players", "z"]);
  });
});

describe("a request for a capture", () => {
  test("is pending, then running while it is stopped and goes on, then done with its outcome", async () => {
    const world = await worldWithTable();
    await appendEach(world, [[put("a", 1)]]);
    const { handler, captures } = service(world);
    const asked = await call(handler, { method: "POST", path: "/tables/players/shards/0/captures" });
    expect(asked).toMatchObject({ status: 202, body: { table: "players", shard: 0 } });
    const path = asked.headers.location;
    expect(path).toBe(`/tables/players/shards/0/captures/${asked.body.request}`);
    expect((await call(handler, { path })).body).toMatchObject({ request: asked.body.request, state: "pending", askedAtMs: world.clock.now() });
    expect(captures.sent).toEqual([{ group: "players", body: { table: "players", shard: 0, request: asked.body.request } }]);

    const next = keptQueue();
    const snapshot = snapshotHandler({ ...wired(world), captures: next, cleanups: keptQueue(), deadLetters: keptDeadLetters() });
    // No time is left: it stops at once, and hands on.
    await snapshot({ Records: [queueRecord(captures.sent[0].body)] }, context(0));
    expect((await call(handler, { path })).body).toMatchObject({ state: "running" });
    expect(next.sent).toEqual([{ group: "players", body: { table: "players", shard: 0, request: asked.body.request, turn: 1 } }]);
    await snapshot({ Records: [queueRecord(next.sent[0].body)] }, context());
    const done = await call(handler, { path });
    expect(done.body).toMatchObject({ state: "done", outcome: "completed", index: 1, mutations: 1, rows: 1 });
    expect(done.body).not.toHaveProperty("expiresAt");
  });

  test("that fails is done, with the error", async () => {
    const world = await worldWithTable();
    await appendEach(world, [[put("a", 1)]]);
    const { handler, captures } = service(world);
    const asked = await call(handler, { method: "POST", path: "/tables/players/shards/0/captures" });
    const failing = withObjects(world, () => ({ createUpload: () => Promise.reject(noAnswer()) }));
    const snapshot = snapshotHandler({ ...wired(failing), captures: keptQueue(), cleanups: keptQueue(), deadLetters: keptDeadLetters() });
    expect(await snapshot({ Records: [queueRecord(captures.sent[0].body)] }, context())).toMatchObject({ batchItemFailures: [{}] });
    expect((await call(handler, { path: asked.headers.location })).body).toMatchObject({ state: "done", outcome: "failed", error: "the reply was lost" });
  });

  test("of a table is one for each shard, in pages", async () => {
    const { handler, captures } = service(await worldWithTable({ shards: 120 }));
    const first = await call(handler, { method: "POST", path: "/tables/players/captures" });
    expect([first.status, first.body.requests.length, first.body.next]).toEqual([202, 100, 100]);
    const rest = await call(handler, { method: "POST", path: "/tables/players/captures", query: { from: "100" } });
    expect([rest.body.requests.length, rest.body.next, captures.sent.length]).toEqual([20, undefined, 120]);
    expect(new Set([...first.body.requests, ...rest.body.requests].map(({ request }) => request)).size).toBe(120);
  });

  test("that the queue does not take is to be asked again", async () => {
    const { handler } = service(
      await worldWithTable(),
      keptQueue(() => true),
    );
    const reply = await call(handler, { method: "POST", path: "/tables/players/shards/0/captures" });
    expect(reply).toMatchObject({ status: 503, headers: { "retry-after": "1" }, body: { error: { code: "unsent-message" } } });
  });
});

const SECRET = "secret-word";

test.each([
  ["an unknown table", "GET", `/tables/${SECRET}`, {}, 404, "unknown-table"],
  ["an unknown shard", "GET", "/tables/players/shards/9", {}, 404, "unknown-shard"],
  ["what is no shard", "GET", `/tables/players/shards/${SECRET}`, {}, 400, "bad-shard"],
  ["a request that was never made", "GET", `/tables/players/shards/0/captures/${"0".repeat(16)}`, {}, 404, "unknown-request"],
  ["what is no request", "GET", `/tables/players/shards/0/captures/${SECRET}`, {}, 404, "unknown-request"],
  ["a capture of an unknown shard", "POST", "/tables/players/shards/9/captures", {}, 404, "unknown-shard"],
  ["a capture of an unknown table", "POST", `/tables/${SECRET}/captures`, {}, 404, "unknown-table"],
  ["no route", "GET", `/${SECRET}`, {}, 404, "unknown-route"],
  ["another method", "DELETE", "/tables/players", {}, 405, "wrong-method"],
  ["an unknown parameter", "GET", "/tables/players", { [SECRET]: "1" }, 400, "unknown-parameter"],
  ["a page from nowhere", "GET", "/tables/players", { from: SECRET }, 400, "bad-parameter"],
])("a call of %s is told so; nothing is written, sent or logged of it", async (_, method, path, query, status, code) => {
  const world = await worldWithTable();
  const before = stored(world);
  const { handler, captures } = service(world);
  expect(await call(handler, { method, path, query })).toMatchObject({ status, body: { error: { code } } });
  expect(await call(handler, { method, path, query, signed: false })).toMatchObject({ status: 403 });
  expect([stored(world), captures.sent]).toEqual([before, []]);
  expect(output.lines().join("\n")).not.toContain(SECRET);
});
