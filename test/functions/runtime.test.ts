// What all functions share: faults that logs may have, the environment, routes, and the ways to SQS, EventBridge and
// CloudFormation, which an HTTP server on this machine plays.

import { readFileSync, readdirSync } from "node:fs";
import { once } from "node:events";
import { createServer } from "node:http";
import { EventBridgeClient } from "@aws-sdk/client-eventbridge";
import { SQSClient } from "@aws-sdk/client-sqs";
import { describe, expect, onTestFinished, test } from "vitest";
import * as z from "zod/mini";
import { needed, readEnvironment } from "../../functions/runtime/environment.ts";
import { eventBridgeBus } from "../../functions/runtime/event-bus.ts";
import { isOfTheCall, isOfTheDeployment, loggable, presentable } from "../../functions/runtime/faults.ts";
import { putResponse } from "../../functions/runtime/respond.ts";
import { matchRoute } from "../../functions/runtime/routes.ts";
import { queueMadeAt, sqsDeadLetters, sqsQueue } from "../../functions/runtime/sqs.ts";
import { lambdaHandler } from "../../functions/runtime/stack.ts";
import { callError, damagedObject, TidemarkError } from "../../lib/model/errors.ts";
import { listenAnywhere } from "../loopback.ts";
import { context, instruments, keptOutput, queueRecord } from "./harness.ts";

const output = keptOutput();
const SECRET = "secret-word";

describe("a fault in the log", () => {
  test("of a call is its code alone, for its words quote the call", () => {
    const error = callError("bad-line", `line 1 has op ${SECRET}`, new SyntaxError(`Unexpected token in ${SECRET}`));
    expect(loggable(error)).toEqual({ name: "TidemarkError", kind: "call", code: "bad-line" });
    expect(presentable(error)).toMatchObject({ message: "bad-line", stack: "TidemarkError: bad-line" });
  });

  test("of the deployment or the store has its words, its place and its causes", () => {
    const cause = Object.assign(new Error("the reply was lost"), { name: "TimeoutError", Item: { value: { S: SECRET } }, $response: SECRET });
    const fault = loggable(new TidemarkError("retry", "no-answer", "bucket: no answer", { cause }));
    expect(fault).toMatchObject({
      kind: "retry",
      code: "no-answer",
      message: "bucket: no answer",
      cause: { name: "TimeoutError", message: "the reply was lost" },
    });
    expect(fault.stack?.[0]).toMatch(/^at .*runtime\.test\.ts/);
    expect(JSON.stringify(fault)).not.toContain(SECRET);
    expect(loggable(callError("no-access", "access is denied"))).toMatchObject({ code: "no-access", message: "access is denied" });
    expect(loggable(damagedObject("a/0/x", "cut off"))).toMatchObject({ kind: "repair", message: "a/0/x is damaged: cut off" });
  });

  test.each([
    ["JSON.parse", () => JSON.parse(`{"a":${SECRET}`)],
    ["BigInt", () => BigInt(SECRET)],
    ["decodeURIComponent", () => decodeURIComponent(`%${SECRET}`)],
    ["RegExp", () => new RegExp(`(${SECRET}`)],
  ])("of %s does not repeat what it was given", (_, fail) => {
    expect.assertions(2);
    try {
      fail();
    } catch (error) {
      expect(JSON.stringify(loggable(error))).not.toContain(SECRET);
      expect(`${presentable(error).message} ${presentable(error).stack}`).not.toContain(SECRET);
    }
  });

  test("of what is no error is its type", () => expect(loggable(SECRET)).toEqual({ name: "string" }));

  test("with itself for a cause has an end", () => {
    const error = new Error("round");
    error.cause = error;
    expect(JSON.stringify(loggable(error)).length).toBeLessThan(20_000);
  });
});

test("whatever the adapter of the store tells its caller to correct is the deployment's to correct", () => {
  const folder = `${import.meta.dirname}/../../lib/adapters/aws/`;
  const codes = readdirSync(folder).flatMap((file) => {
    const text = readFileSync(folder + file, "utf8");
    return [...text.matchAll(/(?:\bcode:|\bcallError\()\s*"([a-z-]+)"/g)].map(([, code]) => code);
  });
  expect(codes.length).toBeGreaterThan(10);
  for (const code of codes) expect([code, isOfTheDeployment(callError(code, ""))]).toEqual([code, true]);
  expect([isOfTheCall(callError("bad-line", "")), isOfTheDeployment(callError("bad-line", ""))]).toEqual([true, false]);
});

describe("the stack", () => {
  test("logs neither event nor reply, and what leaves it bears no words of a call", async () => {
    process.env.POWERTOOLS_LOGGER_LOG_EVENT = "true";
    onTestFinished(() => {
      delete process.env.POWERTOOLS_LOGGER_LOG_EVENT;
    });
    const handler = lambdaHandler(instruments(), z.object({ word: z.string() }), async ({ word }) => {
      throw callError("bad-line", word);
    });
    const error: unknown = await handler({ word: SECRET }, context()).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ message: "bad-line" });
    expect(`${output.lines().join("\n")}${error instanceof Error ? error.stack : ""}`).not.toContain(SECRET);
  });

  test("tells in time that the time runs out, and not before", async () => {
    const left = async (ms: number) => {
      const handler = lambdaHandler(instruments(), z.unknown(), async (_, { signal }) => signal.aborted);
      return handler({}, context(ms));
    };
    expect([await left(0), await left(60_000)]).toEqual([true, false]);
    const waits = lambdaHandler(instruments(), z.unknown(), (_, { signal }) => once(signal, "abort").then(() => "stopped"));
    expect(await waits({}, context(100))).toBe("stopped");
  });
});

describe("the environment", () => {
  const variables = { TIDEMARK_BUCKET: "b", TIDEMARK_TABLE: "t", TIDEMARK_PIPELINE: "p" };

  test("is read with its defaults", () => {
    expect(readEnvironment(variables)).toEqual({ ...variables, TIDEMARK_PREFIX: "", TIDEMARK_RECEIVES_MAX: 5 });
    expect(readEnvironment({ ...variables, TIDEMARK_RECEIVES_MAX: "3", TIDEMARK_PREFIX: "a/" })).toMatchObject({ TIDEMARK_RECEIVES_MAX: 3 });
  });

  test("that is wrong is told with every variable that is", () => {
    expect(() => readEnvironment({ TIDEMARK_TABLE: "t", TIDEMARK_PREFIX: "a" })).toThrow(
      /TIDEMARK_BUCKET must be of type string; TIDEMARK_PREFIX must be empty or end.*deploy again/,
    );
    expect(() => needed(readEnvironment(variables), "TIDEMARK_EVENT_BUS")).toThrow(/lacks TIDEMARK_EVENT_BUS/);
  });
});

test("a route is found by its path, then by its method", () => {
  const routes = [
    { method: "GET", path: "/tables", work: 1 },
    { method: "GET", path: "/tables/{table}", work: 2 },
    { method: "POST", path: "/tables/{table}/captures", work: 3 },
  ];
  expect(matchRoute(routes, "GET", ["tables", "a/b"])).toMatchObject({ kind: "found", route: { work: 2 }, parameters: { table: "a/b" } });
  expect(matchRoute(routes, "POST", ["tables"])).toEqual({ kind: "no-method", allowed: ["GET"] });
  expect(matchRoute(routes, "GET", ["tables", "a", "captures"])).toEqual({ kind: "no-method", allowed: ["POST"] });
  expect(matchRoute(routes, "GET", ["tables", "a", "b"])).toEqual({ kind: "no-path" });
  expect(matchRoute(routes, "GET", [])).toEqual({ kind: "no-path" });
});

interface Seen {
  readonly target: string;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

/** A server that answers with what `answer` makes of a request; 500 where that is nothing. */
async function server(answer: (seen: Seen) => object | undefined) {
  const seen: Seen[] = [];
  const listening = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const one = { target: String(request.headers["x-amz-target"]), headers: request.headers, body: Buffer.concat(chunks).toString() };
      seen.push(one);
      const reply = answer(one);
      response.writeHead(reply === undefined ? 500 : 200, { "content-type": "application/x-amz-json-1.1" }).end(JSON.stringify(reply ?? {}));
    });
  });
  onTestFinished(() => void listening.close());
  const endpoint = `http://127.0.0.1:${await listenAnywhere(listening)}`;
  return { seen, endpoint, client: { endpoint, region: "eu-central-1", credentials: { accessKeyId: "a", secretAccessKey: "b" }, maxAttempts: 1 } };
}

describe("on SQS", () => {
  test("messages go by tens with their group, and those that were refused are told", async () => {
    const { seen, client } = await server(({ body }) => {
      const entries: { Id: string }[] = JSON.parse(body).Entries;
      const Failed = entries.filter(({ Id }) => Id === "11").map(({ Id }) => ({ Id, Code: "InternalError", SenderFault: false }));
      return { Successful: entries.filter(({ Id }) => Id !== "11").map(({ Id }) => ({ Id, MessageId: Id, MD5OfMessageBody: "" })), Failed };
    });
    const queue = sqsQueue(new SQSClient({ ...client, md5: false }), { url: "http://localhost/q", logger: instruments().logger });
    const taken = await queue.send(Array.from({ length: 12 }, (_, shard) => ({ group: "players", body: { shard } })));
    expect([...taken]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(seen.map(({ body }) => JSON.parse(body).Entries.length)).toEqual([10, 2]);
    expect(JSON.parse(seen[0].body).Entries[3]).toEqual({ Id: "3", MessageBody: `{"shard":3}`, MessageGroupId: "players" });
    expect(output.logs()).toMatchObject([{ message: "the queue refused a message", code: "InternalError" }]);
  });

  test("a queue without an answer is a fault to repeat", async () => {
    const { client } = await server(() => undefined);
    const queue = sqsQueue(new SQSClient(client), { url: "http://localhost/q", logger: instruments().logger });
    await expect(queue.send([{ group: "players", body: {} }])).rejects.toMatchObject({ kind: "retry" });
  });

  test("a dead letter is the message as it was, with its reason; of an ordered queue in its group", async () => {
    const { seen, client } = await server(() => ({ MessageId: "1" }));
    const letters = sqsDeadLetters(new SQSClient({ ...client, md5: false }), { url: "http://localhost/d", receivesMax: 5 });
    const reason = { code: "bad-line", message: `\u0000${"x".repeat(2_000)}` };
    await letters.put(
      {
        ...queueRecord("body", { group: "players/0", sequence: "7", id: "m" }),
        attributes: { ApproximateReceiveCount: 1, MessageGroupId: "players/0", SequenceNumber: "7" },
      },
      reason,
    );
    await letters.put(
      { ...queueRecord("body", { id: "n" }), attributes: { ApproximateReceiveCount: 1, MessageGroupId: "players" } },
      { code: "unknown", message: "" },
    );
    const [ordered, plain] = seen.map(({ body }) => JSON.parse(body));
    expect(ordered).toMatchObject({ MessageBody: "body", MessageGroupId: "players/0", MessageDeduplicationId: "m" });
    expect(ordered.MessageAttributes).toMatchObject({ code: { StringValue: "bad-line" }, messageId: { StringValue: "m" } });
    expect(ordered.MessageAttributes.reason.StringValue).toMatch(/^\uFFFDx{1023}$/);
    expect(plain).not.toHaveProperty("MessageGroupId");
    expect(plain.MessageAttributes.reason.StringValue).toBe("unknown");
  });

  test("a queue tells when it was made", async () => {
    const { seen, client, endpoint } = await server(({ target }) =>
      target.endsWith("GetQueueUrl") ? { QueueUrl: `${endpoint}/0/q.fifo` } : { Attributes: { CreatedTimestamp: "17" } },
    );
    expect(await queueMadeAt(new SQSClient(client), "arn:aws:sqs:eu-central-1:000000000000:q.fifo")).toBe("17");
    expect(JSON.parse(seen[0].body)).toEqual({ QueueName: "q.fifo", QueueOwnerAWSAccountId: "000000000000" });
  });
});

test("on EventBridge events go by tens, and those that were refused are told", async () => {
  const { seen, client } = await server(({ body }) => ({
    Entries: JSON.parse(body).Entries.map(({ Detail }: { Detail: string }) =>
      Detail === `{"place":10}` ? { ErrorCode: "ThrottlingException" } : { EventId: "e" },
    ),
  }));
  const bus = eventBridgeBus(new EventBridgeClient(client), { bus: "default", logger: instruments().logger });
  const taken = await bus.put(Array.from({ length: 12 }, (_, place) => ({ type: "SnapshotCompleted", detail: { place }, atMs: 1_700_000_000_000 })));
  expect([...taken]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11]);
  expect(JSON.parse(seen[0].body).Entries[0]).toEqual({
    EventBusName: "default",
    Source: "tidemark",
    DetailType: "SnapshotCompleted",
    Detail: `{"place":0}`,
    Time: 1_700_000_000,
  });
});

describe("CloudFormation", () => {
  const clock = { sleep: async () => undefined };

  test("gets the answer as bytes without a content type, again where it does not take it", async () => {
    let refusals = 2;
    const { seen, endpoint } = await server(() => (refusals-- > 0 ? undefined : {}));
    await putResponse({ clock })(endpoint, `{"Status":"SUCCESS"}`);
    expect(seen.map(({ body }) => body)).toEqual(Array.from({ length: 3 }, () => `{"Status":"SUCCESS"}`));
    expect(seen[0].headers["content-type"]).toBeUndefined();
  });

  test("that never takes it is a fault that does not repeat the address", async () => {
    const put = () => Promise.reject(new TypeError(`fetch failed: ${SECRET}`));
    await expect(putResponse({ clock, put })(`http://${SECRET}`, "{}")).rejects.toThrow(/^CloudFormation did not take the answer \(no reply\)$/);
  });
});
