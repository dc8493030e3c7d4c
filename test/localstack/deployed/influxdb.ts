// InfluxDB on the deployed stack: a schedule backs it up, what changed is stored, what is superseded goes, and a function that
// was killed goes on where it was.

import { setTimeout as pause } from "node:timers/promises";
import { SendMessageCommand } from "@aws-sdk/client-sqs";
import { expect, inject } from "vitest";
import { readControl } from "../../../lib/checkpoint/control.ts";
import { listObjects } from "../../../lib/cleanup/sweep.ts";
import { listGenerations, openBackup } from "../../../lib/sources/influxdb/open-backup.ts";
import type { GenerationRecord } from "../../../lib/sources/influxdb/records.ts";
import { verifyBackup } from "../../../lib/sources/influxdb/verify.ts";
import { startProxy as startInfluxdbProxy } from "../../influxdb/double.ts";
import { sqs } from "../clients.ts";
import { KILLED_MS } from "../context.ts";
import { overrideEnvironment } from "./override.ts";
import { startProxy } from "./proxy.ts";
import { deployedWorld, output, until } from "./stack.ts";

const DAY_MS = 86_400_000;
const FROM_MS = Date.UTC(2024, 0, 1);
/** The default policy puts a week into a shard. */
const WEEK_MS = 7 * DAY_MS;
const SCHEDULE_MS = 300_000;
const CLEANUP_MS = 300_000;
/** The function's limit, then the message's invisibility, which is longer than the lease, then the backup again. */
const GOES_ON_MS = 900_000;
const SHARD_BACKUP = 0;

/** Nobody asks for these backups but the schedule. */
export async function theScheduleBacksUp(): Promise<void> {
  const world = deployedWorld();
  const id = { table: "metrics", shard: 0 };
  const next = (what: string, isIt: (generation: GenerationRecord) => boolean) =>
    until(what, SCHEDULE_MS, async () => (await listGenerations(world, id.table)).find(isIt));
  await write(
    "metrics",
    [0, 1, 2].flatMap((week) => lines(week, "first")),
  );
  const first = await next("the first backup", ({ shards }) => shards === 3);
  expect(first).toMatchObject({ outcome: "complete", databases: ["metrics"], files: 3, server: server().snapshotter });
  const isCaptured = async ({ index }: { readonly index: number }) =>
    ((await readControl(world.checkpoints, id))?.checkpoint?.index ?? 0) >= index || undefined;
  await until("its checkpoint", SCHEDULE_MS, () => isCaptured(first));

  await write("metrics", lines(1, "second"));
  const second = await next("the second backup", ({ generation }) => generation === first.generation + 1);
  expect(second).toMatchObject({ kind: "incremental", parent: { generation: first.generation }, changedShards: 1, shards: 3, files: 4, storedFiles: 1 });
  expect(second.storedBytes).toBeLessThan(first.storedBytes);
  await until("the second checkpoint", SCHEDULE_MS, () => isCaptured(second));

  const backup = await openBackup(world, id.table);
  const [dropped] = [...backup.shards.keys()];
  await backup.close();
  const attachmentsOf = async (shard: number) =>
    (await listObjects(world.objects, `${id.table}/0/`)).filter(({ key }) => new RegExp(`/attached/[0-9]+/${shard}/`).test(key));
  expect(await attachmentsOf(dropped)).toHaveLength(1);
  await query(`DROP SHARD ${dropped}`);
  const third = await next("the third backup", ({ generation }) => generation === second.generation + 1);
  expect(third).toMatchObject({ shards: 2 });
  await write("metrics", lines(2, "fourth"));
  await next("the fourth backup", ({ generation }) => generation === third.generation + 1);
  await until("what was superseded to go", CLEANUP_MS, async () => (await attachmentsOf(dropped)).length === 0 || undefined);
  const kept = await listGenerations(world, id.table);
  expect(kept.map(({ generation }) => generation)).toEqual([third.generation, third.generation + 1]);
  expect(await verifyBackup(world, id.table)).toMatchObject({ generations: 2, findings: [] });
}

/** Killed by its own limit and SIGKILL, for S3 does not answer it. */
export async function killedInABackupItGoesOn(): Promise<void> {
  const world = deployedWorld();
  const name = "slow";
  const { function: FunctionName, queue } = sources()[name];
  await until("the first backup, of an empty database", SCHEDULE_MS, async () => (await listGenerations(world, name))[0]);
  await write(
    name,
    [0, 1, 2, 3, 4, 5].flatMap((week) => lines(week, "all")),
  );
  await using between = await startInfluxdbProxy(server().snapshotter, () => undefined);
  const s3 = await startProxy(inject("localstack").endpoint);
  const restore = await overrideEnvironment(FunctionName, (before) => {
    const source = JSON.parse(before.TIDEMARK_INFLUXDB);
    return { AWS_ENDPOINT_URL_S3: s3.url, TIDEMARK_INFLUXDB: JSON.stringify({ ...source, port: Number(between.address.split(":")[1]) }) };
  });
  try {
    let attachments = 0;
    s3.keepReplyOf((request) => shardOf(request) !== undefined && ++attachments === 2);
    const message = { source: name, job: "killed-1" };
    await sqs().send(new SendMessageCommand({ QueueUrl: queue, MessageBody: JSON.stringify(message), MessageGroupId: name }));
    const stuck = shardOf(await until("the attachment whose reply is lost", GOES_ON_MS, async () => s3.kept));
    await pause(KILLED_MS);
    expect(await listGenerations(world, name)).toHaveLength(1);
    const [asked, stored] = [between.requests.length, s3.passed.length];
    s3.reply();
    expect(new Set(s3.passed.flatMap((request) => shardOf(request) ?? [])).size).toBe(6);

    const generation = await until("the backup that goes on", GOES_ON_MS, async () =>
      (await listGenerations(world, name)).find(({ job }) => job === message.job),
    );
    expect(generation).toMatchObject({ outcome: "complete", shards: 6, files: 6, storedFiles: 6 });
    // Read, and stored, by the first one: nobody asks for them again.
    const again = between.requests.slice(asked).filter(({ type }) => type === SHARD_BACKUP);
    expect(new Set(again.map(({ json }) => json.ShardID))).toEqual(new Set([stuck]));
    expect(s3.passed.slice(stored).flatMap((request) => shardOf(request) ?? [])).toEqual([stuck]);
    expect(await verifyBackup(world, name)).toMatchObject({ findings: [] });
    await until(
      "its checkpoint",
      SCHEDULE_MS,
      async () => (await readControl(world.checkpoints, { table: name, shard: 0 }))?.checkpoint?.index === generation.index || undefined,
    );
  } finally {
    await restore();
    s3.close();
  }
}

/** The shard whose file a request stores. */
function shardOf(request: string): number | undefined {
  const shard = /^PUT .*\/slow\/0\/[0-9a-f]+\/attached\/[0-9]+\/([0-9]+)\//.exec(request)?.[1];
  return shard === undefined ? undefined : Number(shard);
}

interface DeployedSource {
  readonly function: string;
  readonly queue: string;
}

function sources(): Readonly<Record<string, DeployedSource>> {
  return JSON.parse(output("InfluxdbSources"));
}

function server() {
  const here = inject("influxdb");
  if (here.kind === "lacks") throw new Error(here.why);
  return here;
}

function lines(week: number, by: string): readonly string[] {
  return Array.from({ length: 100 }, (_, n) => `cpu,host=h${n % 5} by="${by}",value=${n} ${BigInt(FROM_MS + week * WEEK_MS + n * 60_000) * 1_000_000n}`);
}

async function write(database: string, points: readonly string[]): Promise<void> {
  const reply = await fetch(`${server().http}/write?db=${database}`, { method: "POST", body: points.join("\n") });
  expect({ status: reply.status, told: await reply.text() }).toEqual({ status: 204, told: "" });
}

async function query(statement: string): Promise<void> {
  const reply = await fetch(`${server().http}/query`, { method: "POST", body: new URLSearchParams({ q: statement }) });
  expect(await reply.json()).toEqual({ results: [{ statement_id: 0 }] });
}
