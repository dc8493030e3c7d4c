// Messages: taken one by one, and set aside with the reason where they can never succeed. SQS moves a message to the dead
// letters by itself after so many deliveries, but tells no reason; so the last delivery does it here.

import type { Logger } from "@aws-lambda-powertools/logger";
import * as z from "zod/mini";
import { callError, isTidemarkError, messageOf, TidemarkError } from "../../lib/model/errors.ts";
import { faultsOf, isOfTheCall, loggable } from "./faults.ts";

export interface Message {
  readonly body: object;
  /** Messages of a group do not hold up those of others: the table. */
  readonly group: string;
}

export interface Queue {
  /** Sends messages; tells the places of those that the queue took. */
  send(messages: readonly Message[]): Promise<ReadonlySet<number>>;
}

export interface DeadLetters {
  /** Deliveries of a message, the last of which sets it aside. */
  readonly receivesMax: number;
  /** The code and the message of the error that speaks against it go along. */
  put(record: QueueRecord, reason: { readonly code: string; readonly message: string }): Promise<void>;
}

/** @throws {TidemarkError} `retry` where the queue did not take them all */
export async function sendAll(queue: Queue, messages: readonly Message[]): Promise<void> {
  const taken = await queue.send(messages);
  if (taken.size < messages.length) {
    throw new TidemarkError("retry", "unsent-message", `the queue took ${taken.size} of ${messages.length} messages; call again`);
  }
}

const RECORD = z.object({
  messageId: z.string(),
  body: z.string(),
  eventSourceARN: z._default(z.string(), ""),
  attributes: z.object({
    ApproximateReceiveCount: z.coerce.number().check(z.int(), z.gte(1)),
    MessageGroupId: z.optional(z.string()),
    SequenceNumber: z.optional(z.string().check(z.regex(/^[0-9]+$/))),
  }),
});

export type QueueRecord = z.infer<typeof RECORD>;

export const QUEUE_EVENT = z.object({ Records: z.array(RECORD) });

export interface BatchReply {
  readonly batchItemFailures: readonly { readonly itemIdentifier: string }[];
}

export interface RecordDeps {
  readonly logger: Logger;
  readonly deadLetters: DeadLetters;
}

/** Takes messages one by one: those that failed come again, those that never can succeed are set aside. */
export async function handleRecords<Body>(
  deps: RecordDeps,
  records: readonly QueueRecord[],
  schema: z.core.$ZodType<Body>,
  work: (body: Body) => Promise<void>,
): Promise<BatchReply> {
  const failed: QueueRecord[] = [];
  for (const record of records) {
    try {
      await work(parseBody(record.body, schema));
    } catch (error) {
      if (!(await setAside(deps, record, error))) failed.push(record);
    }
  }
  return batchReply(failed);
}

export function batchReply(failed: readonly QueueRecord[]): BatchReply {
  return { batchItemFailures: failed.map(({ messageId }) => ({ itemIdentifier: messageId })) };
}

/** @throws {TidemarkError} `call` "malformed-message" */
function parseBody<Body>(text: string, schema: z.core.$ZodType<Body>): Body {
  const parsed = z.safeParse(schema, parseJson(text));
  if (parsed.success) return parsed.data;
  throw callError("malformed-message", `the message is not one that this function takes: ${faultsOf(parsed.error)}`);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw callError("malformed-message", "the message is not JSON", error);
  }
}

/**
 * Moves a message that can never succeed, or has failed often enough, to the dead letters. False where it shall come
 * again: no reason speaks against it, or the dead letters did not take it.
 */
export async function setAside({ logger, deadLetters }: RecordDeps, record: QueueRecord, error: unknown): Promise<boolean> {
  const { messageId, attributes } = record;
  const isHopeless = isOfTheCall(error) || (isTidemarkError(error) && error.kind === "repair");
  const isLast = attributes.ApproximateReceiveCount >= deadLetters.receivesMax;
  logger.error("a message failed", { messageId, delivery: attributes.ApproximateReceiveCount, fault: loggable(error) });
  if (!isHopeless && !isLast) return false;
  const code = isTidemarkError(error) ? error.code : "unknown";
  const message = messageOf(error);
  try {
    await deadLetters.put(record, { code, message });
    return true;
  } catch (cause) {
    logger.error("the dead letters did not take a message", { messageId, fault: loggable(cause) });
    return false;
  }
}
