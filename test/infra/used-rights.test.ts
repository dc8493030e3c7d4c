// What the functions do is what they may do: each job runs with the rights of its function's role, and no others. LocalStack
// checks none, so a right that a job lacks would show on AWS alone.

import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { Duration } from "aws-cdk-lib";
import { Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import { openWriter } from "../../lib/jobs/append.ts";
import { planPass, runCleanupTask } from "../../lib/jobs/cleanup-pass.ts";
import { ensureTables } from "../../lib/jobs/ensure-tables.ts";
import { askForCaptures } from "../../lib/jobs/ask.ts";
import { repairShard } from "../../lib/jobs/repair.ts";
import { getEntry, recoverTable } from "../../lib/jobs/recover.ts";
import { findRequest, requestCapture } from "../../lib/jobs/requests.ts";
import { runRound } from "../../lib/jobs/run.ts";
import { captureShard } from "../../lib/jobs/snapshot.ts";
import { shardStatus } from "../../lib/jobs/status.ts";
import { createTable, deleteTable, getTable } from "../../lib/jobs/tables.ts";
import { verifyShard } from "../../lib/recovery/verify.ts";
import type { World } from "../../lib/ports/world.ts";
import { backUp } from "../../lib/sources/influxdb/backup.ts";
import { influxClient } from "../../lib/sources/influxdb/client.ts";
import { parseAddress } from "../../lib/sources/influxdb/connection.ts";
import { verifyBackup } from "../../lib/sources/influxdb/verify.ts";
import { type Shards, startShards } from "../influxdb/shards.ts";
import { sharedStore } from "./guarded-world.ts";
import { may } from "./policies.ts";
import { synthesize } from "./scene.ts";

const GRANTS = ["grantAppend", "grantRead", "grantOperate"] as const;
const { template } = synthesize({ tables: [{ name: "players" }], influxdb: [{ name: "metrics", host: "10.0.0.5", every: Duration.hours(1) }] }, (pipeline) => {
  for (const name of GRANTS) pipeline[name](new Role(pipeline, name, { assumedBy: new ServicePrincipal("ecs-tasks.amazonaws.com") }));
});

const id = { table: "players", shard: 0 };
const POLICY = { captureAfterMutations: 1, captureAfterMs: 1_000 };
const FOREVER = new AbortController().signal;

function store() {
  const shared = sharedStore();
  return { clock: shared.clock, as: (role: string): World => shared.as((action, resource, context) => may(template, role, action, resource, context)) };
}

async function append(world: World, sequence: number, bytes = 10): Promise<void> {
  const writer = openWriter(world, { id, codec: "bytes" });
  const value = Buffer.alloc(bytes, sequence);
  await writer.append({ mutations: [{ kind: "put", key: Buffer.from(`k${sequence}`), value }], mark: { producer: "p", sequence: BigInt(sequence) } });
  await writer.close();
}

test("from tables to clean logs each function has the rights for its work", async () => {
  const { as, clock } = store();
  await ensureTables(as("TablesRole"), [{ name: "players", codec: "bytes", ...POLICY }]);
  await ensureTables(as("TablesRole"), [{ name: "players", codec: "bytes", ...POLICY, compactionOverhead: 1 }]);
  for (let sequence = 1; sequence <= 5; sequence++) {
    await append(as(sequence % 2 === 0 ? "IngestRole" : "IngestQueueRole"), sequence);
    clock.advance(60_000);
    const { asked } = await askForCaptures(as("PlanRole"), async (shards) => shards);
    expect(asked).toBe(1);
    const { request } = await requestCapture(as("RequestsRole"), id);
    expect(await captureShard(as("SnapshotRole"), { id, request })).toMatchObject({ outcome: { kind: "completed", index: sequence }, next: "cleanup" });
    expect(await findRequest(as("RequestsRole"), id, request)).toMatchObject({ state: "done" });
    const { cleaned } = await runCleanupTask(as("CleanupRole"), { kind: "after", ...id }, FOREVER);
    expect(cleaned).toMatchObject([{ report: { kind: "cleaned", failed: [] } }]);
  }
  const status = await shardStatus(as("RequestsRole"), await getTable(as("RequestsRole"), "players"), 0);
  expect(status).toMatchObject({ checkpoint: { index: 5 }, lastJob: { stage: "complete" }, generations: [{ index: 4 }, { index: 5 }] });
});

test("a capture that was stopped is gone on with, and what a killed one left is cleaned, with those rights", async () => {
  const { as, clock } = store();
  await ensureTables(as("TablesRole"), [{ name: "players", codec: "bytes", ...POLICY }]);
  await append(as("IngestRole"), 1, 6 * 1024 * 1024);
  await append(as("IngestRole"), 2, 6 * 1024 * 1024);
  expect(await captureShard(as("SnapshotRole"), { id, signal: AbortSignal.abort() })).toMatchObject({ next: "capture" });
  expect(await captureShard(as("SnapshotRole"), { id })).toMatchObject({ outcome: { kind: "completed", index: 2 } });
  const operator = as("grantOperate");
  await operator.objects.createUpload(`players/0/${"0".repeat(16)}/snapshots/0000000000000001-e1.parquet`);
  clock.advance(60_000);
  for (const task of await planPass(as("CleanupRole"))) await runCleanupTask(as("CleanupRole"), task, FOREVER);
  expect((await operator.objects.listUploads({ prefix: "" })).uploads).toEqual([]);
  await operator.checkpoints.write([{ item: { partition: "tables", sort: "players" }, when: [], set: { state: "deleting" } }]);
  for (const task of await planPass(as("CleanupRole"))) await runCleanupTask(as("CleanupRole"), task, FOREVER);
  expect((await operator.objects.list({ prefix: "" })).objects.map(({ key }) => key)).toEqual(["_store.json"]);
});

test("a program with grantAppend appends, one with grantRead reads, and an operator does all", async () => {
  const { as, clock } = store();
  const operator = as("grantOperate");
  await createTable(operator, { name: "players", codec: "bytes", ...POLICY });
  await append(as("grantAppend"), 1);
  clock.advance(60_000);
  expect(await runRound(operator, { cleanAll: true })).toMatchObject({ captured: [{ report: { outcome: { kind: "completed" } } }], failures: [] });
  await append(as("grantAppend"), 2);
  const reader = as("grantRead");
  expect(await getEntry(reader, { table: "players", key: "k1" })).toMatchObject({ kind: "found" });
  for await (const { view } of (await recoverTable(reader, { table: "players" })).shards()) expect(view.index).toBe(2);
  expect((await verifyShard(reader, { id, codec: "bytes" })).findings).toEqual([]);
  await expect(append(reader, 3)).rejects.toThrow("denied: s3:PutObject");
  await deleteTable(operator, "players");
});

test("an operator repairs, and what is in quarantine goes with its table, by whoever deletes that", async () => {
  const { as, clock } = store();
  const operator = as("grantOperate");
  const table = await createTable(operator, { name: "players", codec: "bytes", ...POLICY });
  for (const sequence of [1, 2]) {
    await append(operator, sequence);
    await captureShard(operator, { id });
    clock.advance(60_000);
  }
  await append(operator, 3);
  const [, newest] = (await shardStatus(operator, table, 0)).generations;
  await operator.objects.deleteMany([newest.key]);
  await operator.objects.createIfAbsent(newest.key, Buffer.alloc(newest.size));
  const copy = `_quarantine/${newest.key}`;
  expect(await repairShard(operator, { table, shard: 0 })).toMatchObject({ kind: "repaired", quarantined: [{ copy }], letGo: [newest.key], lost: [] });
  expect(await operator.objects.head(copy)).toMatchObject({ kind: "found", size: newest.size });
  expect(await repairShard(as("grantRead"), { table, shard: 0, dryRun: true })).toMatchObject({ kind: "sound" });
  await operator.checkpoints.write([{ item: { partition: "tables", sort: "players" }, when: [], set: { state: "deleting" } }]);
  for (const task of await planPass(as("CleanupRole"))) await runCleanupTask(as("CleanupRole"), task, FOREVER);
  expect((await operator.objects.list({ prefix: "" })).objects.map(({ key }) => key)).toEqual(["_store.json"]);
});

test("a server is backed up, captured and cleaned by those functions, and read by a reader", async ({ onTestFinished }) => {
  const { as } = store();
  await ensureTables(as("TablesRole"), [{ name: "metrics", source: "influxdb", keepSnapshots: 2 }]);
  const shards: Shards = new Map([
    [1, "small"],
    [2, randomBytes(8 * 1024 * 1024).toString("hex")],
  ]);
  const server = await startShards(shards);
  onTestFinished(() => server[Symbol.asyncDispose]());
  const backup = { name: "metrics", client: influxClient({ address: parseAddress(server.address) }) };
  const metrics = { table: "metrics", shard: 0 };
  for (let generation = 1; generation <= 4; generation++) {
    expect(await backUp(as("InfluxdbRole"), backup)).toMatchObject({ kind: "completed", generation: { generation } });
    expect(await captureShard(as("SnapshotRole"), { id: metrics })).toMatchObject({ outcome: { kind: "completed" }, next: "cleanup" });
    const { cleaned } = await runCleanupTask(as("CleanupRole"), { kind: "after", ...metrics }, FOREVER);
    expect(cleaned).toMatchObject([{ report: { kind: "cleaned", failed: [] } }]);
    shards.set(1, `small ${generation}`);
  }
  const kept = await as("grantRead").objects.list({ prefix: "metrics/" });
  expect(kept.objects.filter(({ key }) => /attached.[0-9]+.1.000/.test(key))).toHaveLength(2);
  expect(await verifyBackup(as("grantRead"), "metrics")).toMatchObject({ generations: 2, findings: [] });
  await expect(backUp(as("SnapshotRole"), backup)).rejects.toThrow("denied: s3:PutObject");
  await expect(append(as("InfluxdbRole"), 1)).rejects.toThrow("denied");
});

test("a part is copied by who may read its source and upload, which of the functions only the capture's may", async () => {
  const { as } = store();
  const [base, next] = [
    `players/0/${"0".repeat(16)}/snapshots/0000000000000001-e1.parquet`,
    `players/0/${"0".repeat(16)}/snapshots/0000000000000002-e1.parquet`,
  ];
  const { objects } = as("grantOperate");
  await objects.createIfAbsent(base, Buffer.from("rows"));
  const found = await objects.head(base);
  const upload = { key: next, ...(await objects.createUpload(next)) };
  const source = { key: base, etag: found.kind === "found" ? found.etag : "", offset: 1, length: 2 };
  const copyAs = (role: string, key = base) => as(role).objects.copyPart({ ...upload, number: 1, source: { ...source, key } });
  for (const role of ["SnapshotRole", "grantOperate"]) {
    expect(await copyAs(role), role).toMatchObject({ kind: "stored" });
    expect(await copyAs(role, base.replace("-e1", "-e2")), role).toEqual({ kind: "sourceChanged" });
  }
  for (const role of ["IngestRole", "IngestQueueRole", "CleanupRole", "RequestsRole", "PlanRole", "TablesRole", "grantAppend", "grantRead"]) {
    await expect(copyAs(role), role).rejects.toThrow("denied: s3:PutObject");
  }
  await expect(copyAs("SnapshotRole", "_store.json")).rejects.toThrow("denied: s3:GetObject");
});

test("the doors may not do cleanup's work, nor a capture its own cleaning", async () => {
  const { as } = store();
  await ensureTables(as("TablesRole"), [{ name: "players", codec: "bytes", ...POLICY }]);
  await append(as("IngestRole"), 1);
  for (const role of ["IngestRole", "IngestQueueRole", "SnapshotRole", "RequestsRole", "PlanRole", "TablesRole"]) {
    await expect(as(role).objects.deleteMany([`players/0/${"0".repeat(16)}/redo/0000000000000001.redo`]), role).rejects.toThrow("denied: s3:DeleteObject");
  }
  await expect(captureShard(as("IngestRole"), { id })).rejects.toThrow("denied: s3:PutObject");
  await expect(append(as("SnapshotRole"), 2)).rejects.toThrow("denied: s3:PutObject");
});
