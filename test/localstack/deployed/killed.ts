// The snapshot function is killed in the middle of a multipart upload, by its own limit and SIGKILL: the next delivery goes
// on from the parts that are stored (protocol rules 14 and 15). And messages that cannot succeed end with their reason.

import { randomBytes } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { expect, inject } from "vitest";
import { ReceiveMessageCommand, SendMessageCommand } from "@aws-sdk/client-sqs";
import { readControl } from "../../../lib/checkpoint/control.ts";
import { listObjects, listUploads } from "../../../lib/cleanup/sweep.ts";
import { tableWriter } from "../../../lib/jobs/append.ts";
import { createTable } from "../../../lib/jobs/tables.ts";
import { PARTS_TOGETHER } from "../../../lib/model/limits.ts";
import { recover } from "../../../lib/recovery/recover.ts";
import { s3, sqs } from "../clients.ts";
import { KILLED_MS } from "../context.ts";
import { overrideEnvironment } from "./override.ts";
import { deployedWorld, output, until } from "./stack.ts";
import { startProxy } from "./proxy.ts";
import { PutObjectCommand } from "@aws-sdk/client-s3";

const TABLE = "large";
/** Never due by itself. */
const NEVER = { captureAfterMs: 365 * 24 * 3_600_000, captureAfterMutations: Number.MAX_SAFE_INTEGER };
const RECORD_BYTES = 1024 * 1024;
/** Four parts of 8 MiB, and sent three at a time. */
const RECORDS = 28;
/** Stored by S3, but the function never learns of it. */
const LOST_PART = 3;
/** The function's limit, then the message's invisibility, then the capture again. */
const GOES_ON_MS = 900_000;

export async function killedInAnUploadItGoesOn(): Promise<void> {
  const world = deployedWorld();
  const id = { table: TABLE, shard: 0 };
  const table = await createTable(world, { name: TABLE, codec: "bytes", ...NEVER });
  const values = Array.from({ length: RECORDS }, () => randomBytes(RECORD_BYTES));
  const writer = tableWriter(world, table);
  for (const [n, value] of values.entries()) await writer.append({ mutations: [{ kind: "put", key: Buffer.from(`key/${n}`), value }] });
  await writer.close();

  const proxy = await startProxy(inject("localstack").endpoint);
  const restore = await overrideEnvironment(output("SnapshotFunctionName"), () => ({ AWS_ENDPOINT_URL_S3: proxy.url }));
  try {
    proxy.keepReplyOf((request) => partNumber(request) === LOST_PART);
    await sqs().send(
      new SendMessageCommand({ QueueUrl: output("SnapshotQueueUrl"), MessageBody: JSON.stringify({ table: TABLE, shard: 0 }), MessageGroupId: TABLE }),
    );
    await until("the part whose reply is lost", GOES_ON_MS, async () => proxy.kept);
    const before = await readControl(world.checkpoints, id);
    expect(before?.checkpoint).toBeUndefined();
    expect(await listUploads(world.objects, `${TABLE}/0/`)).toHaveLength(1);
    await pause(KILLED_MS);
    proxy.reply();

    const control = await until("the capture that goes on", GOES_ON_MS, async () => {
      const found = await readControl(world.checkpoints, id);
      return found?.checkpoint === undefined ? undefined : found;
    });
    expect(control.checkpoint).toMatchObject({ index: RECORDS });
    const parts = proxy.passed.flatMap((request) => partNumber(request) ?? []);
    const last = Math.max(...parts);
    expect(last).toBeGreaterThan(LOST_PART);
    expect([...new Set(parts)].sort((a, b) => a - b)).toEqual(Array.from({ length: last }, (_, i) => i + 1));
    // That one is sent again, since nobody knows that it is stored, and otherwise only what was on its way when a function came to its
    // limit: on a slow machine more than one does. Each had a lease, and so an epoch.
    expect(parts.filter((number) => number === LOST_PART).length).toBeGreaterThan(1);
    expect(parts.length - last).toBeLessThanOrEqual((control.epoch - 1) * PARTS_TOGETHER);
    const created = proxy.passed.filter((request) => request.startsWith("POST") && request.includes(`/${TABLE}/0/`) && /[?&]uploads/.test(request));
    expect(created).toHaveLength(1);
    expect(await listUploads(world.objects, `${TABLE}/0/`)).toEqual([]);
    const view = await recover(world, { id, codec: "bytes" });
    for (const [n, value] of values.entries()) expect((await view.get(Buffer.from(`key/${n}`)))?.value.equals(value)).toBe(true);
    await view.close();
  } finally {
    await restore();
    proxy.close();
  }
}

/** The part that a request uploads to the large table's snapshot. */
function partNumber(request: string): number | undefined {
  const number = request.startsWith("PUT") && request.includes(`/${TABLE}/0/`) ? /partNumber=([0-9]+)/.exec(request)?.[1] : undefined;
  return number === undefined ? undefined : Number(number);
}

export async function aPoisonedMessageEndsWithItsReason(): Promise<void> {
  const queue = output("SnapshotQueueUrl");
  await sqs().send(new SendMessageCommand({ QueueUrl: queue, MessageBody: "{not json", MessageGroupId: "poison" }));
  await sqs().send(new SendMessageCommand({ QueueUrl: queue, MessageBody: JSON.stringify({ table: "../x", shard: 0 }), MessageGroupId: "poison" }));
  await damagedTable("broken");
  await sqs().send(new SendMessageCommand({ QueueUrl: queue, MessageBody: JSON.stringify({ table: "broken", shard: 0 }), MessageGroupId: "broken" }));
  const reasons: string[] = [];
  await until("the dead letters", 300_000, async () => {
    const { Messages = [] } = await sqs().send(
      new ReceiveMessageCommand({
        QueueUrl: output("SnapshotDeadLetterQueueUrl"),
        MessageAttributeNames: ["All"],
        MaxNumberOfMessages: 10,
        WaitTimeSeconds: 1,
      }),
    );
    // LocalStack hands a JSON body over with other spaces.
    for (const { Body = "", MessageAttributes } of Messages) {
      reasons.push(`${Body.replaceAll(" ", "")} ${MessageAttributes?.code?.StringValue} ${MessageAttributes?.reason?.StringValue}`);
    }
    return reasons.length >= 3 || undefined;
  });
  expect(reasons.sort()).toEqual([
    expect.stringMatching(/^\{"table":"..\/x","shard":0\} malformed-message .*table/),
    expect.stringMatching(/^\{"table":"broken","shard":0\} damaged-object broken\/0\/.*\.redo is damaged/),
    expect.stringMatching(/^\{notjson malformed-message .*not JSON/),
  ]);
}

/** A table whose one redo file has a flipped byte. */
async function damagedTable(name: string): Promise<void> {
  const world = deployedWorld();
  const table = await createTable(world, { name, ...NEVER });
  const writer = tableWriter(world, table);
  await writer.append({ mutations: [{ kind: "put", key: Buffer.from("a"), value: Buffer.from("1") }] });
  await writer.close();
  const [{ key }] = await listObjects(world.objects, `${name}/0/`);
  const found = await world.objects.get(key);
  if (found.kind !== "found") throw new Error("the redo file was there just now");
  const bytes = Buffer.from(found.body);
  bytes[bytes.length - 1] ^= 1;
  await s3().send(new PutObjectCommand({ Bucket: output("BucketName"), Key: key, Body: bytes }));
}
