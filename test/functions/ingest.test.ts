// The HTTP door: what comes in is in the log byte for byte, once; what is refused has written nothing and is in no log.

import { describe, expect, test } from "vitest";
import { ingestHandler } from "../../functions/handlers/ingest.ts";
import { deleteTable } from "../../lib/jobs/tables.ts";
import { TidemarkError } from "../../lib/model/errors.ts";
import { INGEST_BODY_BYTES_MAX, REDO_FILE_BATCHES_MAX } from "../../lib/model/limits.ts";
import { shardOf } from "../../lib/model/table.ts";
import type { World } from "../../lib/ports/world.ts";
import { recover } from "../../lib/recovery/recover.ts";
import { contentOf, keysOf, type MemoryWorld, noAnswer, stored, withObjects, worldWithTable } from "../unit/jobs/world.ts";
import { type Call, call, context, keptOutput, wired } from "./harness.ts";

const output = keptOutput();
const JSON_TYPE = "application/json";
const LINES_TYPE = "application/x-ndjson";

function post(body: string | Buffer, more: Partial<Call> = {}): Call {
  return { method: "POST", path: "/tables/players/batches", type: JSON_TYPE, body, ...more };
}

async function state(world: World, shard = 0): Promise<readonly string[]> {
  const view = await recover(world, { id: { table: "players", shard }, codec: "json" });
  try {
    return await contentOf(view);
  } finally {
    await view.close();
  }
}

describe("a call that is taken", () => {
  test("is durable, and tells the last index of each shard", async () => {
    const world = await worldWithTable({ shards: 2 });
    const handler = ingestHandler(wired(world));
    const keys = ["a", "b", "c", "d", "e"];
    const reply = await call(handler, post(JSON.stringify({ mutations: keys.map((key) => ({ op: "put", key, value: 1 })) })));
    const inFirst = keys.filter((key) => shardOf(Buffer.from(key), 2) === 0).length;
    const shards = [
      { shard: 0, lastIndex: inFirst },
      { shard: 1, lastIndex: keys.length - inFirst },
    ];
    expect(reply).toMatchObject({ status: 200, body: { table: "players", batches: 1, mutations: 5, shards } });
    expect([...(await state(world, 0)), ...(await state(world, 1))].map((row) => row.slice(0, 3)).sort()).toEqual(keys.map((key) => `${key}=1`));
  });

  test.each([
    ["JSON", JSON_TYPE, (values: readonly string[]) => `{ "mutations" : [ ${values.map((value, i) => `{"key":"${i}", "value": ${value} }`).join(" ,\n")} ] }`],
    ["NDJSON", `${LINES_TYPE}; charset=utf-8`, (values: readonly string[]) => values.map((value, i) => `{"key":"${i}","value":${value}}`).join("\n")],
  ])("keeps values byte for byte: %s", async (_, type, bodyOf) => {
    const values = ["1e400", "12345678901234567890", `{"z":1,"a":2,"z":3,"__proto__":4}`, `"\\u00e9\\/"`, "-0.0", `[ 1 , 2 ]`];
    const world = await worldWithTable();
    const handler = ingestHandler(wired(world));
    for (const body of [bodyOf(values), Buffer.from(bodyOf(values))]) expect(await call(handler, post(body, { type }))).toMatchObject({ status: 200 });
    expect(await state(world)).toEqual(values.map((value, i) => `${i}=${value}@${values.length + i + 1}`));
  });

  test("of a table of bytes takes base64", async () => {
    const world = await worldWithTable({ codec: "bytes" });
    const handler = ingestHandler(wired(world));
    expect(await call(handler, post(`{"mutations":[{"key":"a","value":"${Buffer.from("raw").toString("base64")}"}]}`))).toMatchObject({ status: 200 });
    expect(await call(handler, post(`{"mutations":[{"key":"a","value":1}]}`))).toMatchObject({ status: 400, body: { error: { code: "bad-line" } } });
    expect(await state(world)).toEqual(["a=raw@1"]);
  });

  test("with a producer applies once, however often it comes, to whichever process", async () => {
    const world = await worldWithTable();
    const calls = [
      post(`{"producer":"p","sequence":7,"mutations":[{"key":"a","value":1}]}`),
      post(`{"producer":"p","batches":[{"sequence":"8","mutations":[{"key":"a","value":2}]},{"sequence":"9","mutations":[{"key":"b","value":3}]}]}`),
      post(`{"key":"a","value":4}\n\n{"key":"b","value":5}\n`, { type: LINES_TYPE, query: { producer: "p", sequence: "10" } }),
    ];
    for (const one of calls) for (let time = 0; time < 2; time++) expect(await call(ingestHandler(wired(world)), one)).toMatchObject({ status: 200 });
    const last = (await state(world)).map((row) => row.split("@")[0]);
    expect(last).toEqual(["a=4", "b=5"]);
    expect(await call(ingestHandler(wired(world)), calls[0])).toMatchObject({ status: 200 });
    expect((await state(world)).map((row) => row.split("@")[0])).toEqual(last);
  });

  test("goes into one redo file, however many batches it has", async () => {
    const world = await worldWithTable();
    const lines = Array.from({ length: 100 }, (_, i) => `{"key":"k${i}","value":${i}}`).join("\n\n");
    expect(await call(ingestHandler(wired(world)), post(lines, { type: LINES_TYPE }))).toMatchObject({ body: { batches: 100, mutations: 100 } });
    expect(keysOf(world).length).toBe(1);
  });

  test("is counted, and leaves no key, value or signature in the log", async () => {
    const world = await worldWithTable();
    await call(ingestHandler(wired(world)), post(`{"producer":"p","sequence":"1","mutations":[{"key":"secret-key","value":"secret-value"}]}`));
    expect(output.metrics()).toMatchObject([{ pipeline: "Test/State", table: "players", MutationsAppended: 1, RedoFilesAppended: 1 }]);
    expect(output.lines().join("\n")).not.toMatch(/secret|AWS4/);
  });
});

/** Words that stand in every refused call: none may get into the log. */
const SECRET = "secret-word";

const refused: readonly (readonly [name: string, status: number, code: string, call: Call])[] = [
  ["unsigned", 403, "unsigned-call", post(`{"mutations":[{"key":"${SECRET}","value":1}]}`, { signed: false })],
  ["to an unknown table", 404, "unknown-table", post(`{"mutations":[{"key":"${SECRET}","value":1}]}`, { path: `/tables/${SECRET}/batches` })],
  ["to what is no table's name", 400, "bad-table-name", post(`{"mutations":[]}`, { path: `/tables/${SECRET.toUpperCase()}/batches` })],
  ["to an unknown path", 404, "unknown-route", post(SECRET, { path: `/${SECRET}` })],
  ["to a path that is no text", 400, "bad-path", post(SECRET, { path: `/tables/%ff${SECRET}/batches` })],
  ["by another method", 405, "wrong-method", post(SECRET, { method: "PUT" })],
  ["of another content type", 415, "wrong-content-type", post(SECRET, { type: `text/${SECRET}` })],
  ["with too large a body", 413, "body-too-large", post(SECRET.padEnd(INGEST_BODY_BYTES_MAX + 1))],
  ["with an unknown parameter", 400, "unknown-parameter", post(`{"mutations":[{"key":"a","value":1}]}`, { query: { [SECRET]: SECRET } })],
  ["with no JSON", 400, "bad-json", post(`{"mutations":[{"key":"${SECRET}"`)],
  ["with no UTF-8", 400, "bad-json", post(Buffer.from(`{"mutations":[{"key":"${SECRET}\xff","value":1}]}`, "latin1"))],
  ["with an unknown member", 400, "bad-body", post(`{"mutations":[],"${SECRET}":1}`)],
  ["without mutations", 400, "empty-batch", post(`{"mutations":[]}`)],
  ["without batches", 400, "empty-body", post(`{"batches":[]}`)],
  ["with a wrong last mutation", 400, "bad-line", post(`{"mutations":[{"key":"a","value":1},{"op":"${SECRET}","key":"${SECRET}","value":2}]}`)],
  ["with a member that a mutation has not", 400, "bad-line", post(`{"mutations":[{"key":"a","value":1},{"key":"b","${SECRET}":2}]}`)],
  ["with a wrong last line", 400, "bad-line", post(`{"key":"a","value":1}\n\n{"key":"${SECRET}"}`, { type: LINES_TYPE })],
  ["with a line that is no JSON", 400, "bad-json", post(`{"key":"a","value":1}\n${SECRET}`, { type: LINES_TYPE })],
  ["with no lines", 400, "empty-body", post("\n\n", { type: LINES_TYPE })],
  ["with a producer and no sequence", 400, "bad-sequence", post(`{"key":"a","value":1}`, { type: LINES_TYPE, query: { producer: SECRET } })],
  ["with a sequence and no producer", 400, "bad-producer", post(`{"sequence":"1","mutations":[{"key":"a","value":1}]}`)],
  ["with a sequence that is no number", 400, "bad-sequence", post(`{"producer":"${SECRET}","sequence":"${SECRET}","mutations":[{"key":"a","value":1}]}`)],
  ["with a sequence of too many bits", 400, "bad-sequence", post(`{"producer":"${SECRET}","sequence":"${2n ** 192n}","mutations":[{"key":"a","value":1}]}`)],
  ["with too long a producer", 400, "bad-producer", post(`{"producer":"${SECRET.padEnd(129, "x")}","sequence":1,"mutations":[{"key":"a","value":1}]}`)],
  [
    "with sequences that do not grow",
    400,
    "bad-sequence",
    post(`{"producer":"p","batches":[{"sequence":2,"mutations":[{"key":"a","value":1}]},{"sequence":2,"mutations":[{"key":"${SECRET}","value":1}]}]}`),
  ],
  ["with too many batches", 400, "too-many-batches", post(`{"k":"a","v":1}\n\n`.repeat(REDO_FILE_BATCHES_MAX + 1), { type: LINES_TYPE })],
];

describe("a call that is refused", () => {
  test.each(refused)("%s, is told why, has written nothing, and is in no log", async (_, status, code, one) => {
    const world = await worldWithTable({ shards: 3 });
    const before = stored(world);
    const reply = await call(ingestHandler(wired(world)), one);
    expect(reply).toMatchObject({ status, body: { error: { code } }, headers: { "content-type": "application/json" } });
    expect(stored(world)).toEqual(before);
    expect(output.logs()).toMatchObject([{ level: "WARN", message: "a call was refused", status, fault: { code } }]);
    expect(output.lines().join("\n")).not.toMatch(new RegExp(`${SECRET}|AWS4`, "i"));
  });

  test("for its method is told which there is", async () => {
    const reply = await call(ingestHandler(wired(await worldWithTable())), post("", { method: "GET" }));
    expect(reply).toMatchObject({ status: 405, headers: { allow: "POST" } });
  });

  test("is no event of a function URL: the invocation fails, and repeats nothing of it", async () => {
    const handler = ingestHandler(wired(await worldWithTable()));
    await expect(handler({ [SECRET]: SECRET, body: SECRET }, context())).rejects.toThrow(/^malformed-event$/);
    expect(output.lines().join("\n")).not.toContain(SECRET);
  });
});

describe("a call without an answer from the store", () => {
  const one = post(`{"producer":"p","sequence":"1","mutations":[{"key":"a","value":1}]}`);

  test("is an error that asks for a repetition, and the repetition applies once", async () => {
    const world = await worldWithTable();
    let silent = true;
    const failing = withObjects(world, (objects) => ({
      async createIfAbsent(key, body) {
        const created = await objects.createIfAbsent(key, body);
        if (silent) throw noAnswer();
        return created;
      },
    }));
    const handler = ingestHandler(wired(failing));
    expect(await call(handler, one)).toMatchObject({ status: 503, headers: { "retry-after": "1" }, body: { error: { code: "no-answer" } } });
    silent = false;
    expect(await call(handler, one)).toMatchObject({ status: 200 });
    expect(await call(handler, post(`{"producer":"p","sequence":"2","mutations":[{"key":"b","value":2}]}`))).toMatchObject({ status: 200 });
    expect((await state(world)).map((row) => row.split("@")[0])).toEqual(["a=1", "b=2"]);
  });

  test("does not wait here for the repetition, which may go elsewhere", async () => {
    const world = await worldWithTable();
    let silent = true;
    const failing = withObjects(world, (objects) => ({
      createIfAbsent: async (key, body) => (silent ? Promise.reject(noAnswer()) : objects.createIfAbsent(key, body)),
    }));
    const here = ingestHandler(wired(failing));
    expect(await call(here, one)).toMatchObject({ status: 503 });
    silent = false;
    expect(await call(ingestHandler(wired(world)), one)).toMatchObject({ status: 200 });
    expect(await call(here, post(`{"producer":"p","sequence":"2","mutations":[{"key":"a","value":2}]}`))).toMatchObject({ status: 200 });
    expect((await state(world)).map((row) => row.split("@")[0])).toEqual(["a=2"]);
  });

  test("for want of a right is not the caller's fault, and the log says what lacks", async () => {
    const denied = withObjects(await worldWithTable(), () => ({
      createIfAbsent: async () => Promise.reject(new TidemarkError("call", "no-access", 'bucket "states": access is denied')),
    }));
    const reply = await call(ingestHandler(wired(denied)), one);
    expect(reply).toMatchObject({ status: 503, body: { error: { code: "no-access" } } });
    expect(JSON.stringify(reply.body)).not.toContain("states");
    expect(output.logs()).toMatchObject([{ level: "ERROR", fault: { code: "no-access", message: 'bucket "states": access is denied' } }]);
  });

  test("for a bug tells nothing of it", async () => {
    const broken = withObjects(await worldWithTable(), () => ({ createIfAbsent: async () => Promise.reject(new TypeError("x is not a function")) }));
    expect(await call(ingestHandler(wired(broken)), one)).toMatchObject({ status: 500, body: { error: { code: "internal-error" } } });
    expect(output.logs()).toMatchObject([{ level: "ERROR", fault: { name: "TypeError", message: "x is not a function" } }]);
  });
});

test("a table that was deleted and made anew is found again", async () => {
  const world: MemoryWorld = await worldWithTable();
  const handler = ingestHandler(wired(world));
  const one = post(`{"mutations":[{"key":"a","value":1}]}`);
  expect(await call(handler, one)).toMatchObject({ status: 200 });
  await deleteTable(world, "players");
  expect((await call(handler, one)).status).toBe(503);
  expect(await call(handler, one)).toMatchObject({ status: 404 });
});
