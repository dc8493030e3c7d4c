// What a handler is called with in tests: a world in memory, queues that keep what they are sent, events as Lambda makes
// them, and everything that the function would write to its log.

import { Logger } from "@aws-lambda-powertools/logger";
import { Metrics } from "@aws-lambda-powertools/metrics";
import { Tracer } from "@aws-lambda-powertools/tracer";
import type { Context } from "aws-lambda";
import { afterEach, beforeEach, vi } from "vitest";
import type { LambdaReply } from "../../functions/runtime/http.ts";
import type { DeadLetters, Message, Queue } from "../../functions/runtime/queue.ts";
import type { LambdaHandler } from "../../functions/runtime/stack.ts";
import { functionTelemetry, type Instruments } from "../../functions/runtime/telemetry.ts";
import { TidemarkError } from "../../lib/model/errors.ts";
import type { World } from "../../lib/ports/world.ts";

export const PIPELINE = "Test/State";

/** As runtime/wiring.ts makes them; they write to the process's own output. */
export function instruments(): Instruments {
  const metrics = new Metrics({ namespace: "Tidemark" });
  metrics.clearDefaultDimensions();
  metrics.setDefaultDimensions({ pipeline: PIPELINE });
  return { logger: new Logger({ logLevel: "DEBUG" }), metrics, tracer: new Tracer({ enabled: false }) };
}

/** What a handler is handed: the instruments, and the world with its telemetry told to them. */
export function wired<W extends World>(world: W): Instruments & { readonly world: W } {
  const told = instruments();
  return { ...told, world: { ...world, telemetry: functionTelemetry(told) } };
}

/** Everything that is written during a test, line by line. */
export function keptOutput(): {
  readonly lines: () => readonly string[];
  readonly logs: () => readonly LogLine[];
  readonly metrics: () => readonly MetricLine[];
} {
  let written: string[] = [];
  beforeEach(() => {
    written = [];
    const keep = (chunk: unknown): boolean => {
      written.push(...String(chunk).trimEnd().split("\n"));
      return true;
    };
    vi.spyOn(process.stdout, "write").mockImplementation(keep);
    vi.spyOn(process.stderr, "write").mockImplementation(keep);
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });
  const parsed = () => written.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  return {
    lines: () => written,
    logs: () => parsed().filter((line) => "level" in line),
    metrics: () => parsed().filter((line) => "_aws" in line),
  };
}

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly [member: string]: unknown;
}

export interface MetricLine {
  readonly _aws: {
    readonly CloudWatchMetrics: readonly {
      readonly Namespace: string;
      readonly Dimensions: readonly (readonly string[])[];
      readonly Metrics: readonly object[];
    }[];
  };
  readonly [member: string]: unknown;
}

export function context(leftMs = 60_000): Context {
  return {
    callbackWaitsForEmptyEventLoop: false,
    functionName: "test",
    functionVersion: "1",
    invokedFunctionArn: "arn:aws:lambda:eu-central-1:000000000000:function:test",
    memoryLimitInMB: "1024",
    awsRequestId: "request-1",
    logGroupName: "group",
    logStreamName: "stream",
    getRemainingTimeInMillis: () => leftMs,
    done: () => undefined,
    fail: () => undefined,
    succeed: () => undefined,
  };
}

/** Keeps what it is sent; `refuses` says of which it takes none. */
export interface KeptQueue extends Queue {
  readonly sent: Message[];
}

export function keptQueue(refuses: (message: Message) => boolean = () => false): KeptQueue {
  const sent: Message[] = [];
  return {
    sent,
    async send(messages) {
      const taken = messages.flatMap((message, place) => (refuses(message) ? [] : [place]));
      sent.push(...taken.map((place) => messages[place]));
      return new Set(taken);
    },
  };
}

export interface KeptDeadLetters extends DeadLetters {
  readonly put: DeadLetters["put"];
  readonly letters: { readonly messageId: string; readonly body: string; readonly code: string; readonly message: string }[];
}

export function keptDeadLetters({ takes = true, receivesMax = 5 } = {}): KeptDeadLetters {
  const letters: KeptDeadLetters["letters"] = [];
  return {
    letters,
    receivesMax,
    async put({ messageId, body }, reason) {
      if (!takes) throw new TidemarkError("retry", "no-answer", "the queue gave no answer");
      letters.push({ messageId, body, ...reason });
    },
  };
}

export interface RecordOptions {
  readonly group?: string;
  /** SQS's number of the message; none on a queue without order. */
  readonly sequence?: string | undefined;
  readonly delivery?: number;
  readonly id?: string;
}

export const QUEUE_ARN = "arn:aws:sqs:eu-central-1:000000000000:ingest.fifo";

export function queueRecord(body: object | string, { group, sequence, delivery = 1, id = `message-${sequence ?? 1}` }: RecordOptions = {}) {
  return {
    messageId: id,
    receiptHandle: "handle",
    body: typeof body === "string" ? body : JSON.stringify(body),
    eventSource: "aws:sqs",
    eventSourceARN: QUEUE_ARN,
    awsRegion: "eu-central-1",
    attributes: {
      ApproximateReceiveCount: String(delivery),
      SentTimestamp: "1",
      ...(group !== undefined && { MessageGroupId: group }),
      ...(sequence !== undefined && { SequenceNumber: sequence }),
    },
  };
}

export interface Call {
  readonly method?: string;
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
  readonly signed?: boolean;
}

export const SIGNATURE = "AWS4-HMAC-SHA256 Credential=AKIASECRET/20260101/eu-central-1/lambda/aws4_request";

/** Calls a function URL, and gives the answer with its body parsed. */
export async function call(handler: LambdaHandler<LambdaReply>, { method = "GET", path, query, type, headers, body, signed = true }: Call) {
  const event = {
    version: "2.0",
    rawPath: path,
    headers: { authorization: SIGNATURE, ...(type !== undefined && { "Content-Type": type }), ...headers },
    ...(query && { queryStringParameters: query }),
    requestContext: { http: { method, path }, ...(signed && { authorizer: { iam: { userArn: "arn:aws:iam::000000000000:user/someone" } } }) },
    ...(body !== undefined && (typeof body === "string" ? { body } : { body: body.toString("base64"), isBase64Encoded: true })),
  };
  const reply = await handler(event, context());
  return { status: reply.statusCode, headers: reply.headers, body: JSON.parse(reply.body) };
}
