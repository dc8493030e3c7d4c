// What Lambda hands to the functions: valid events, with members lost, of another kind or in each other's places, and bodies
// edited. A call over HTTP gets an answer that is the caller's to mend, never a fault of the function; a message is done,
// set aside, or comes again; an event of no known form is refused as one.

import fc from "fast-check";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { cleanupHandler } from "../../functions/handlers/cleanup.ts";
import { eventsHandler } from "../../functions/handlers/events.ts";
import { ingestHandler } from "../../functions/handlers/ingest.ts";
import { ingestQueueHandler } from "../../functions/handlers/ingest-queue.ts";
import { requestsHandler } from "../../functions/handlers/requests.ts";
import { snapshotHandler } from "../../functions/handlers/snapshot.ts";
import { tablesHandler } from "../../functions/handlers/tables.ts";
import type { LambdaReply } from "../../functions/runtime/http.ts";
import type { BatchReply } from "../../functions/runtime/queue.ts";
import type { LambdaHandler } from "../../functions/runtime/stack.ts";
import { marshalItem } from "../../lib/adapters/aws/expressions.ts";
import { recover } from "../../lib/recovery/recover.ts";
import { context, keptDeadLetters, keptQueue, PIPELINE, queueRecord, SIGNATURE, wired } from "../functions/harness.ts";
import { appendEach, current, id, itemsOf, type MemoryWorld, put, worldWithTable } from "../unit/jobs/world.ts";
import { edited } from "./edited.ts";
import { editedJson, edits } from "./edits.ts";
import { casesTried, fuzz, FUZZING } from "./runs.ts";

let world: MemoryWorld;
let tried = 0;
beforeAll(async () => {
  world = await worldWithTable();
  await appendEach(world, [[put("before", 1)]]);
  // The functions' own logs, tens of thousands of lines.
  for (const stream of [process.stdout, process.stderr]) {
    const write = stream.write.bind(stream);
    vi.spyOn(stream, "write").mockImplementation((...words) => (/^\{"(level|_aws)/.test(String(words[0])) ? true : write(...(words as [string]))));
  }
});
afterAll(() => {
  vi.restoreAllMocks();
  console.log(`${tried} events`);
});

/** An event of no known form fails the invocation, and says no more than its place. */
async function taken<Reply>(handler: LambdaHandler<Reply>, event: unknown): Promise<Reply | undefined> {
  tried += casesTried();
  try {
    return await handler(event, context());
  } catch (error) {
    expect((error as Error).message).toMatch(/^malformed-event$/);
    return undefined;
  }
}

const httpEvent = (method: string, rawPath: string, more: object = {}) => ({
  version: "2.0",
  rawPath,
  headers: { authorization: SIGNATURE, "Content-Type": "application/json" },
  requestContext: { http: { method, path: rawPath }, authorizer: { iam: { userArn: "arn:aws:iam::000000000000:user/someone" } } },
  ...more,
});

const BODY = '{"producer":"p","batches":[{"sequence":"7","mutations":[{"key":"ada","value":{"score":1}},{"op":"delete","key":"bob"}]}]}';
const LINES = '{"key":"ada","value":1}\n{"op":"patch","key":"ada","value":{"x":2}}\n\n{"op":"delete","key":"bob"}\n';

test("a call of the ingest URL is answered, whatever it is, and what it says it appended is there", FUZZING, async () => {
  const handler = ingestHandler(wired(world));
  const path = "/tables/players/batches";
  const json = httpEvent("POST", path, { body: BODY });
  const ndjson = httpEvent("POST", path, {
    body: LINES,
    headers: { "content-type": "application/x-ndjson" },
    queryStringParameters: { producer: "q", sequence: "3" },
  });
  const bodies = fc.constantFrom(BODY, LINES).chain((text) => edits.map((list) => edited(Buffer.from(text), list).toString("base64")));
  const withBody = fc.tuple(fc.constantFrom(json, ndjson), bodies).map(([event, body]) => ({ ...event, body, isBase64Encoded: true }));
  await fuzz(fc.oneof(editedJson(json), editedJson(ndjson), withBody), 2_500, async (event) => {
    const reply = (await taken<LambdaReply>(handler, event)) ?? { statusCode: 400, body: "{}" };
    expect([200, 400, 403, 404, 405, 413, 415]).toContain(reply.statusCode);
    const { shards, error } = JSON.parse(reply.body);
    if (reply.statusCode !== 200) return;
    expect(error).toBeUndefined();
    for (const { lastIndex } of shards) expect((await recover(world, { id, codec: "json" })).index).toBeGreaterThanOrEqual(lastIndex);
  });
  expect(await current(world)).toContain("before=1@1");
});

test("a call of the requests URL is answered, whatever it is", FUZZING, async () => {
  const handler = requestsHandler({ ...wired(world), captures: keptQueue() });
  const paths = [
    "/tables",
    "/tables/players",
    "/tables/players/shards/0",
    "/tables/players/shards/0/captures/0123456789abcdef",
    "/tables/players/captures",
    "/tables/%ff",
    "/tables/%e0%a4/x",
  ];
  const near = fc.constantFrom(...paths).chain((path) => edits.map((list) => edited(Buffer.from(path), list).toString("latin1")));
  const call = fc
    .tuple(fc.constantFrom("GET", "POST", "PUT", ""), fc.oneof(fc.constantFrom(...paths), near))
    .map(([method, path]) => httpEvent(method, path, { queryStringParameters: { from: "0", limit: "10" } }));
  await fuzz(fc.oneof(call, call.chain(editedJson)), 2_000, async (event) => {
    const reply = (await taken<LambdaReply>(handler, event)) ?? { statusCode: 400 };
    expect([200, 202, 400, 403, 404, 405]).toContain(reply.statusCode);
  });
});

test("a message is done, set aside or comes again, whatever is in it", FUZZING, async () => {
  const deadLetters = keptDeadLetters();
  const queues = { captures: keptQueue(), cleanups: keptQueue(), deadLetters };
  const handlers = [
    snapshotHandler({ ...wired(world), ...queues }),
    cleanupHandler({ ...wired(world), ...queues }),
    ingestQueueHandler({ ...wired(world), deadLetters, queueMadeAt: async () => "1" }),
  ] as readonly LambdaHandler<BatchReply | object>[];
  const bodies = [
    { table: "players", shard: 0, turn: 2 },
    { table: "players", shard: 0, section: { epoch: 1, number: 0 } },
    { kind: "after", table: "players", shard: 0 },
    { kind: "shards", table: "players", from: 0, to: 1 },
    JSON.parse(BODY),
  ];
  const text = fc.constantFrom(...bodies).chain((body) =>
    fc.oneof(
      editedJson(body).map((wrong) => JSON.stringify(wrong) ?? ""),
      edits.map((list) => edited(Buffer.from(JSON.stringify(body)), list).toString()),
    ),
  );
  const record = (body: string) => queueRecord(body, { group: "players", sequence: "12", delivery: 5 });
  const event = fc.oneof(
    text.map((body) => ({ Records: [record(body)] })),
    text.chain((body) => editedJson({ Records: [record(body), record(body)] })),
  );
  await fuzz(fc.tuple(event, fc.nat(handlers.length - 1)), 2_000, async ([wrong, which]) => {
    const reply = await taken(handlers[which], wrong);
    if (reply === undefined || !("batchItemFailures" in reply)) return;
    const records = (wrong as { Records: readonly { messageId: string }[] }).Records.map(({ messageId }) => messageId);
    for (const { itemIdentifier } of reply.batchItemFailures as readonly { itemIdentifier: string }[]) expect(records).toContain(itemIdentifier);
  });
  expect(deadLetters.letters.length).toBeGreaterThan(0);
});

test("a record of the control table's stream is told or passed over, whatever it shows", FUZZING, async () => {
  const bus = { put: async (events: readonly object[]) => new Set(events.keys()) };
  const handler = eventsHandler({ ...wired(world), bus, clock: { sleep: async () => undefined }, pipeline: PIPELINE });
  const images = itemsOf(world).map(({ key, attributes }) => marshalItem(key, attributes));
  const stream = fc
    .constantFrom(...images)
    .chain((image) =>
      editedJson({ Records: [{ dynamodb: { SequenceNumber: "1", ApproximateCreationDateTime: 1_700_000_000, OldImage: image, NewImage: image } }] }),
    );
  await fuzz(stream, 2_500, async (event) => {
    const reply = await taken<BatchReply>(handler, event);
    if (reply !== undefined) expect(reply.batchItemFailures).toEqual([]);
  });
});

test("CloudFormation is answered, whatever tables it asks for", FUZZING, async () => {
  const own = await worldWithTable();
  const answers: string[] = [];
  const handler = tablesHandler({ ...wired(own), respond: async (_, answer) => void answers.push(answer) });
  const tables = [{ name: "players", shards: 1, codec: "json", keepSnapshots: 3 }, { name: "other" }];
  const sound = { RequestType: "Update", ResponseURL: "https://example.com/x", StackId: "s", RequestId: "r", LogicalResourceId: "Tables" };
  const wrongTables = editedJson(tables).map((wrong) => ({ event: { ...sound, ResourceProperties: { Tables: JSON.stringify(wrong) } }, isKnown: true }));
  const wrongEvents = editedJson({ ...sound, ResourceProperties: { Tables: JSON.stringify(tables) } }).map((event) => ({ event, isKnown: false }));
  await fuzz(fc.oneof(wrongTables, wrongEvents), 1_500, async ({ event, isKnown }) => {
    answers.length = 0;
    await taken<void>(handler, event);
    // Whom to answer, an event of no known form does not tell.
    if (isKnown) expect(answers).toHaveLength(1);
    for (const answer of answers) expect(JSON.parse(answer).Status).toMatch(/^(SUCCESS|FAILED)$/);
  });
});
