// Queues on SQS.

import { GetQueueAttributesCommand, GetQueueUrlCommand, SendMessageBatchCommand, SendMessageCommand, type SQSClient } from "@aws-sdk/client-sqs";
import type { Logger } from "@aws-lambda-powertools/logger";
import { orAwsFault } from "../../lib/adapters/aws/errors.ts";
import { TidemarkError } from "../../lib/model/errors.ts";
import type { DeadLetters, Queue } from "./queue.ts";

/** SQS takes so many messages at once. */
const SEND_TOGETHER_MAX = 10;

export function sqsQueue(client: SQSClient, { url, logger }: { readonly url: string; readonly logger: Logger }): Queue {
  return {
    async send(messages) {
      const taken = new Set<number>();
      for (let at = 0; at < messages.length; at += SEND_TOGETHER_MAX) {
        const some = messages.slice(at, at + SEND_TOGETHER_MAX);
        const Entries = some.map(({ body, group }, place) => ({ Id: String(at + place), MessageBody: JSON.stringify(body), MessageGroupId: group }));
        const { Successful = [], Failed = [] } = await orAwsFault(`the queue ${url}`, () =>
          client.send(new SendMessageBatchCommand({ QueueUrl: url, Entries })),
        );
        for (const { Id } of Successful) taken.add(Number(Id));
        for (const { Code, Message } of Failed) logger.warn("the queue refused a message", { code: Code, reason: Message });
      }
      return taken;
    },
  };
}

/** An attribute of a message is not to crowd out its body: SQS counts both together. */
const REASON_LENGTH_MAX = 1_024;
/** What SQS takes in an attribute: XML's characters. */
const UNSENDABLE = /[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu;

export function sqsDeadLetters(client: SQSClient, { url, receivesMax }: { readonly url: string; readonly receivesMax: number }): DeadLetters {
  return {
    receivesMax,
    async put({ messageId, body, attributes: { MessageGroupId, SequenceNumber } }, { code, message }) {
      const reason = message.slice(0, REASON_LENGTH_MAX).replaceAll(UNSENDABLE, "\uFFFD");
      // An ordered queue's dead letters are ordered too, and know a message that is set aside twice by its id.
      const place = SequenceNumber === undefined ? {} : { MessageGroupId, MessageDeduplicationId: messageId };
      await client.send(
        new SendMessageCommand({
          QueueUrl: url,
          MessageBody: body,
          MessageAttributes: {
            code: { DataType: "String", StringValue: code },
            reason: { DataType: "String", StringValue: reason === "" ? code : reason },
            messageId: { DataType: "String", StringValue: messageId },
          },
          ...place,
        }),
      );
    },
  };
}

/** When a queue was made, in s since 1970. */
export async function queueMadeAt(client: SQSClient, arn: string): Promise<string> {
  const [, , , , QueueOwnerAWSAccountId, QueueName] = arn.split(":");
  return orAwsFault(`the queue ${arn}`, async () => {
    const { QueueUrl } = await client.send(new GetQueueUrlCommand({ QueueName, QueueOwnerAWSAccountId }));
    const { Attributes } = await client.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ["CreatedTimestamp"] }));
    if (Attributes?.CreatedTimestamp === undefined) throw new TidemarkError("retry", "unreadable-answer", `SQS did not tell when the queue ${arn} was made`);
    return Attributes.CreatedTimestamp;
  });
}
