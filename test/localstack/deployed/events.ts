// Events leave through the control table's stream: one at least for each commit.

import { expect } from "vitest";
import { PutRuleCommand, PutTargetsCommand } from "@aws-sdk/client-eventbridge";
import { CreateQueueCommand, DeleteMessageCommand, ReceiveMessageCommand, SendMessageCommand } from "@aws-sdk/client-sqs";
import { tableWriter } from "../../../lib/jobs/append.ts";
import { createTable } from "../../../lib/jobs/tables.ts";
import { events, sqs } from "../clients.ts";
import { deployedWorld, output, until } from "./stack.ts";

const TABLE = "told";

interface Told {
  readonly "detail-type": string;
  readonly detail: { readonly table: string; readonly shard: number; readonly index?: number };
}

export async function eventsAreSent(): Promise<void> {
  const world = deployedWorld();
  const { QueueUrl } = await sqs().send(new CreateQueueCommand({ QueueName: `told-${process.pid}` }));
  const EventBusName = output("EventBusName");
  await events().send(new PutRuleCommand({ Name: "told", EventBusName, EventPattern: JSON.stringify({ source: ["tidemark"], detail: { table: [TABLE] } }) }));
  const Arn = `arn:aws:sqs:us-east-1:000000000000:told-${process.pid}`;
  await events().send(new PutTargetsCommand({ Rule: "told", EventBusName, Targets: [{ Id: "told", Arn }] }));

  const table = await createTable(world, { name: TABLE });
  const writer = tableWriter(world, table);
  const told: Told[] = [];
  for (const n of [1, 2, 3]) {
    await writer.append({ mutations: [{ kind: "put", key: Buffer.from("a"), value: Buffer.from(String(n)) }] });
    await sqs().send(
      new SendMessageCommand({ QueueUrl: output("SnapshotQueueUrl"), MessageBody: JSON.stringify({ table: TABLE, shard: 0 }), MessageGroupId: TABLE }),
    );
    await until(`the event of snapshot ${n}`, 300_000, async () => {
      told.push(...(await received(QueueUrl)));
      return told.some((event) => event["detail-type"] === "SnapshotCompleted" && event.detail.index === n) || undefined;
    });
  }
  await writer.close();
  await until("the events of the expiry", 300_000, async () => {
    told.push(...(await received(QueueUrl)));
    const kinds = new Set(told.map((event) => event["detail-type"]));
    return (kinds.has("RedoLogExpired") && kinds.has("SnapshotExpired")) || undefined;
  });
  expect(told.every(({ detail }) => detail.table === TABLE && detail.shard === 0)).toBe(true);
}

async function received(QueueUrl: string | undefined): Promise<readonly Told[]> {
  const { Messages = [] } = await sqs().send(new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 1 }));
  for (const { ReceiptHandle } of Messages) await sqs().send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }));
  return Messages.map(({ Body = "" }) => JSON.parse(Body));
}
