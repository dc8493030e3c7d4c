// The main job on the deployed stack: records in by both doors, captured by the schedule, cleaned, recovered, and still
// there after an update and after the stack is gone.

import { expect, inject } from "vitest";
import { SendMessageBatchCommand } from "@aws-sdk/client-sqs";
import { InvokeCommand } from "@aws-sdk/client-lambda";
import { readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { listObjects } from "../../../lib/cleanup/sweep.ts";
import { shardOf } from "../../../lib/model/table.ts";
import { makePlace } from "../../cli/tidemark.ts";
import { lambda, signedFetch, sqs } from "../clients.ts";
import { awsEnvironment } from "../localstack.ts";
import { deployedWorld, output, storeUrl, until } from "./stack.ts";

export const TABLE = "players";
const SHARDS = 2;
/** The schedule comes each minute, and may find the function cold. */
const SCHEDULE_MS = 300_000;
const QUEUE_MS = 200_000;

/** What was sent and acknowledged, in the plainest form: values by key. */
const model = new Map<string, unknown>();

export async function recordsGoInByBothDoors(): Promise<void> {
  const first = Array.from({ length: 200 }, (_, n) => ({ key: `url/${n}`, value: { n, by: "url" } }));
  const call = { method: "POST", headers: { "content-type": "application/x-ndjson" }, body: first.map((line) => `${JSON.stringify(line)}\n`).join("") };
  const url = `${output("IngestUrl")}tables/${TABLE}/batches?producer=story&sequence=1`;
  const reply = await signedFetch(url, call);
  const told: unknown = await reply.json();
  expect({ status: reply.status, told }).toMatchObject({ status: 200, told: { table: TABLE, mutations: 200 } });
  for (const { key, value } of first) model.set(key, value);
  // The same call again applies once (I3): the two that come behind it show that.
  expect((await signedFetch(url, call)).status).toBe(200);
  await change(2, [
    { op: "patch", key: "url/1", value: { by: "patch" } },
    { op: "delete", key: "url/2" },
  ]);
  expect((await signedFetch(url, call)).status).toBe(200);
  model.set("url/1", { n: 1, by: "patch" });
  model.delete("url/2");

  const queued = Array.from({ length: 10 }, (_, n) => ({ key: `queue/${n}`, value: { n, by: "queue" } }));
  const Entries = queued.map(({ key, value }, n) => ({
    Id: String(n),
    MessageBody: JSON.stringify({ mutations: [{ op: "put", key, value }] }),
    MessageGroupId: `${TABLE}/${shardOf(Buffer.from(key), SHARDS)}`,
    MessageDeduplicationId: `story-${n}`,
  }));
  await sqs().send(new SendMessageBatchCommand({ QueueUrl: output("IngestQueueUrl"), Entries }));
  for (const { key, value } of queued) model.set(key, value);
  await until("the queue's records", QUEUE_MS, async () => ((await recovered()).has("queue/9") ? true : undefined));
  expect(await recovered()).toEqual(model);
}

/** One call over the function URL. */
async function change(sequence: number, mutations: readonly object[]): Promise<void> {
  const reply = await signedFetch(`${output("IngestUrl")}tables/${TABLE}/batches`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ producer: "story", sequence: String(sequence), mutations }),
  });
  expect({ status: reply.status, told: await reply.json() }).toMatchObject({ status: 200 });
}

/** Nobody calls the planner here but its schedule. */
export async function theScheduleCaptures(): Promise<void> {
  const { checkpoints } = deployedWorld();
  for (let shard = 0; shard < SHARDS; shard++) {
    await until(`the checkpoint of shard ${shard}`, SCHEDULE_MS, async () => (await readControl(checkpoints, { table: TABLE, shard }))?.checkpoint);
  }
}

/** Two generations stay: with the third, the log behind the first is superseded. */
export async function cleanupExpires(): Promise<void> {
  const { checkpoints, objects } = deployedWorld();
  const id = { table: TABLE, shard: shardOf(Buffer.from("url/0"), SHARDS) };
  const before = await listObjects(objects, `${TABLE}/${id.shard}/`);
  for (const sequence of [3, 4, 5]) {
    await change(sequence, [{ op: "put", key: "url/0", value: { sequence } }]);
    model.set("url/0", { sequence });
    const index = (await readControl(checkpoints, id))?.checkpoint?.index ?? 0;
    await until(`a capture of change ${sequence}`, QUEUE_MS, async () => {
      await lambda().send(new InvokeCommand({ FunctionName: output("PlanFunctionName"), Payload: JSON.stringify({ kind: "plan" }) }));
      return ((await readControl(checkpoints, id))?.checkpoint?.index ?? 0) > index || undefined;
    });
  }
  const rows = await until("the third generation to go", QUEUE_MS, async () => {
    const kept = await readHistory(checkpoints, id);
    return kept.length === 2 ? kept : undefined;
  });
  const control = await readControl(checkpoints, id);
  expect(control?.lowWater).toBeGreaterThan(1);
  const oldest = Math.min(...rows.map(({ border }) => border.next));
  const after = await until("the superseded redo files to go", QUEUE_MS, async () => {
    const left = await listObjects(objects, `${TABLE}/${id.shard}/`);
    return left.some(({ key }) => firstIndexOf(key) < oldest) ? undefined : left;
  });
  expect(before.some(({ key }) => firstIndexOf(key) === 1)).toBe(true);
  expect(after.filter(({ key }) => key.endsWith(".parquet")).map(({ key }) => key)).toEqual(rows.map(({ key }) => key).sort());
}

function firstIndexOf(key: string): number {
  return Number(/\/redo\/([0-9]+)\.redo$/.exec(key)?.[1] ?? Number.POSITIVE_INFINITY);
}

/** By the CLI, in a process of its own. */
export async function theStateIsTheModels(): Promise<void> {
  expect(await recovered()).toEqual(model);
  const { code, stdout } = await tidemark("verify", TABLE);
  expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringContaining("sound") });
}

async function recovered(): Promise<ReadonlyMap<string, unknown>> {
  const { code, stdout, stderr } = await tidemark("recover", TABLE);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const records: { readonly key: string; readonly value: unknown }[] = stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
  return new Map(records.map(({ key, value }) => [key, value]));
}

async function tidemark(...words: readonly string[]): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> {
  const place = await makePlace();
  try {
    return await place.run(["--quiet", "--store", storeUrl(), ...words], "", awsEnvironment(inject("localstack").endpoint));
  } finally {
    await place.remove();
  }
}
