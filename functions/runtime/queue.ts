// Messages: sent, taken one by one, and set aside with the reason where they can never succeed. SQS moves a message to the
// dead letters by itself after so many deliveries, but tells no reason; so the last delivery does it here.

import { SendMessageBatchCommand, SendMessageCommand } from "@aws-sdk/client-sqs";
import { z } from "zod";
import { assert } from "../../lib/model/assert.ts";
import { callError, isTidemarkError, TidemarkError } from "../../lib/model/errors.ts";
import { faultsOf, type Invocation, lambdaHandler } from "./stack.ts";
import { environment, logger, sqs } from "./wiring.ts";
import { needed } from "./environment.ts";

/** SQS takes so many messages at once. */
export const SEND_TOGETHER_MAX = 10;

export interface Message {
  readonly body: object;
  /** Messages of a group do not hold up those of others: the table. */
  readonly group: string;
}

/** Sends messages; tells the places of those that the queue took. */
export async function sendMessages(queueUrl: string, messages: readonly Message[]): Promise<ReadonlySet<number>> {
  const taken = new Set<number>();
  for (let at = 0; at < messages.length; at += SEND_TOGETHER_MAX) {
    const some = messages.slice(at, at + SEND_TOGETHER_MAX);
    const Entries = some.map(({ body, group }, place) => ({ Id: String(at + place), MessageBody: JSON.stringify(body), MessageGroupId: group }));
    const { Successful = [], Failed = [] } = await sqs.send(new SendMessageBatchCommand({ QueueUrl: queueUrl, Entries }));
    for (const { Id } of Successful) taken.add(Number(Id));
    for (const { Code, Message } of Failed) logger.warn("the queue refused a message", { code: Code, reason: Message });
  }
  return taken;
}

/** @throws {TidemarkError} `retry` where the queue did not take it */
export async function sendMessage(queueUrl: string, message: Message): Promise<void> {
  const taken = await sendMessages(queueUrl, [message]);
  if (taken.size === 0) throw new TidemarkError("retry", "unsent-message", `the queue ${queueUrl} took no message; call again`);
}

const RECORD = z.object({
  messageId: z.string(),
  body: z.string(),
  attributes: z.object({
    ApproximateReceiveCount: z.coerce.number().int().min(1),
    MessageGroupId: z.string().optional(),
    SequenceNumber: z
      .string()
      .regex(/^[0-9]+$/)
      .optional(),
  }),
});

export type QueueRecord = z.infer<typeof RECORD>;

export const QUEUE_EVENT = z.object({ Records: z.array(RECORD) });

export interface BatchReply {
  readonly batchItemFailures: readonly { readonly itemIdentifier: string }[];
}

/** A handler that takes messages one by one: those that failed come again, those that never can succeed are set aside. */
export function queueHandler<Body>(schema: z.ZodType<Body>, work: (body: Body, invocation: Invocation) => Promise<void>) {
  return lambdaHandler(QUEUE_EVENT, ({ Records }, invocation) => handleRecords(Records, schema, (body) => work(body, invocation)));
}

export async function handleRecords<Body>(records: readonly QueueRecord[], schema: z.ZodType<Body>, work: (body: Body) => Promise<void>): Promise<BatchReply> {
  const failed: string[] = [];
  for (const record of records) {
    try {
      await work(parseBody(record.body, schema));
    } catch (error) {
      if (!(await setAside(record, error))) failed.push(record.messageId);
    }
  }
  return { batchItemFailures: failed.map((itemIdentifier) => ({ itemIdentifier })) };
}

/** @throws {TidemarkError} `call` "malformed-message" */
export function parseBody<Body>(text: string, schema: z.ZodType<Body>): Body {
  const parsed = schema.safeParse(parseJson(text));
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

/** Dead letters bear the error's code and message as attributes; SQS takes 256 KiB with the body, which is as it was. */
const REASON_LENGTH_MAX = 1_024;

/**
 * Moves a message that can never succeed, or has failed often enough, to the dead letters. False where it shall come
 * again: no reason speaks against it, or the dead letters did not take it.
 */
export async function setAside({ messageId, body, attributes }: QueueRecord, error: unknown): Promise<boolean> {
  const isHopeless = isTidemarkError(error) && (error.kind === "call" || error.kind === "repair");
  const isLast = attributes.ApproximateReceiveCount >= environment.TIDEMARK_RECEIVES_MAX;
  logger.error("a message failed", { messageId, delivery: attributes.ApproximateReceiveCount, error });
  if (!isHopeless && !isLast) return false;
  const code = isTidemarkError(error) ? error.code : "unknown";
  const message = error instanceof Error ? error.message : String(error);
  const { MessageGroupId } = attributes;
  const isOrdered = attributes.SequenceNumber !== undefined;
  assert(!isOrdered || MessageGroupId !== undefined, "a message of an ordered queue has a group");
  try {
    await sqs.send(
      new SendMessageCommand({
        QueueUrl: needed(environment.TIDEMARK_DEAD_LETTER_QUEUE, "TIDEMARK_DEAD_LETTER_QUEUE"),
        MessageBody: body,
        MessageAttributes: {
          code: { DataType: "String", StringValue: code },
          reason: { DataType: "String", StringValue: message.slice(0, REASON_LENGTH_MAX) },
          messageId: { DataType: "String", StringValue: messageId },
        },
        ...(isOrdered && { MessageGroupId, MessageDeduplicationId: messageId }),
      }),
    );
    return true;
  } catch (cause) {
    logger.error("the dead letters did not take a message", { messageId, error: cause });
    return false;
  }
}
