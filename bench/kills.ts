// A capture that encodes a large snapshot anew, killed again and again by SIGKILL: how many lives it takes, and what they do twice.
//   node bench/kills.ts [--records=5000000] [--every=2000]     (milliseconds from the start of a process to its end)
// The table is loaded and captured first, then 1 % of its records, all over it, are changed; the capture of that is what is killed.
//
// Objects are on an S3 server on loopback, the checkpoint store is the local one.
// Not measured: Lambda, whose start takes longer, and the network.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createReadStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build } from "esbuild";
import { z } from "zod";
import { appendStream } from "../cli/append-stream.ts";
import { FOR_LAMBDA } from "../functions/bundle.ts";
import { SNAPSHOT_ENVIRONMENT } from "../infra/runtime.ts";
import { s3Client } from "../lib/adapters/aws/clients.ts";
import { s3ObjectStore } from "../lib/adapters/aws/object-store.ts";
import { localCheckpointStore } from "../lib/adapters/local/checkpoint-store.ts";
import { systemClock } from "../lib/adapters/local/clock.ts";
import { cryptoRandom } from "../lib/adapters/local/random.ts";
import { SILENT } from "../lib/api/store.ts";
import { tableWriter } from "../lib/jobs/append.ts";
import { snapshotShard } from "../lib/jobs/snapshot.ts";
import { createTable } from "../lib/jobs/tables.ts";
import { readBatches } from "../lib/ndjson/batches.ts";
import { verifyShard } from "../lib/recovery/verify.ts";
import { CREDENTIALS, REGION } from "../test/s3/versitygw.ts";
import { environment } from "./peers/bench.ts";
import { makeData } from "./peers/data.ts";
import { startServer } from "./peers/server.ts";

const WORKER = fileURLToPath(new URL("./kills-worker.ts", import.meta.url));
const ID = { table: "bench", shard: 0 };
const LIVES_MAX = 1_000;
const BATCH_LINES = 10_000;

const TOLD = z.object({ kind: z.string(), part: z.number().optional(), bytes: z.number().optional() });

const { values: flags } = parseArgs({ options: { records: { type: "string", default: "5000000" }, every: { type: "string", default: "2000" } } });
const everyMs = Number(flags.every);
const data = await makeData(Number(flags.records));
const folder = await mkdtemp(join(tmpdir(), "tidemark-kills-"));
const server = await startServer();
const client = s3Client({ endpoint: server.endpoint, region: REGION, credentials: CREDENTIALS, checksums: "none" });
const checkpoints = localCheckpointStore(join(folder, "checkpoints.sqlite"));
try {
  const objects = s3ObjectStore(client, { bucket: server.bucket, checksums: "none" });
  const world = { objects, checkpoints, clock: systemClock(), random: cryptoRandom(), telemetry: SILENT };
  const table = await createTable(world, { name: ID.table });
  const append = async (file: string): Promise<void> => {
    const batches = readBatches(createReadStream(file), { codec: table.codec, linesMax: BATCH_LINES });
    await appendStream(tableWriter(world, table), { batches });
  };
  await append(data.base);
  await snapshotShard(world, { id: ID });
  await append(data.changes("uniform-1"));
  await build({ ...FOR_LAMBDA, entryPoints: [WORKER], outdir: folder });
  await killUntilDone();
  const { findings } = await verifyShard(world, { id: ID, codec: table.codec });
  console.log(findings.length === 0 ? "the snapshot, its base and the log verify" : `FOUND: ${JSON.stringify(findings)}`);
} finally {
  checkpoints.close();
  client.destroy();
  await server.stop();
  await rm(folder, { recursive: true, force: true });
}

interface Life {
  readonly parts: readonly { readonly part: number; readonly bytes: number }[];
  readonly outcome?: string;
}

async function killUntilDone(): Promise<void> {
  const sent = new Set<number>();
  const again: number[] = [];
  let bytes = 0;
  let bytesAgain = 0;
  await server.traffic();
  const startedAt = performance.now();
  for (let life = 1; life <= LIVES_MAX; life++) {
    const { parts, outcome } = await live();
    const repeated = parts.filter(({ part }) => sent.has(part));
    for (const { part, bytes: length } of parts) {
      sent.add(part);
      bytes += length;
    }
    bytesAgain += repeated.reduce((sum, { bytes: length }) => sum + length, 0);
    again.push(repeated.length);
    if (outcome === undefined) continue;
    const seconds = (performance.now() - startedAt) / 1_000;
    console.log(`${data.count} records, killed every ${everyMs} ms: ${outcome} in life ${life}, after ${seconds.toFixed(1)} s`);
    const { up } = await server.traffic();
    const perKill = (up - bytes + bytesAgain) / Math.max(1, life - 1);
    console.log(
      `${sent.size} parts stored, ${(bytes / 1e6).toFixed(1)} MB; of them a second time ${(bytesAgain / 1e6).toFixed(1)} MB, ${Math.max(...again)} parts at most after a kill`,
    );
    console.log(`the server received ${(up / 1e6).toFixed(1)} MB: sent in vain ${(perKill / 1e6).toFixed(1)} MB a kill`);
    return;
  }
  console.log(`not done after ${LIVES_MAX} lives`);
}

/** One process, until it is done or killed. */
async function live(): Promise<Life> {
  const env = { ...environment(server.endpoint, server.bucket), ...SNAPSHOT_ENVIRONMENT };
  const worker: ChildProcess = spawn(process.execPath, [join(folder, "kills-worker.cjs"), folder, server.bucket], {
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const timer = setTimeout(() => worker.kill("SIGKILL"), everyMs);
  const parts: { part: number; bytes: number }[] = [];
  let outcome: string | undefined;
  if (worker.stdout === null) throw new Error("the worker's output is read");
  const lines = createInterface(worker.stdout);
  lines.on("line", (line) => {
    const { kind, part, bytes } = TOLD.parse(JSON.parse(line));
    if (kind === "capture-uploaded" && part !== undefined && bytes !== undefined) parts.push({ part, bytes });
    else if (!kind.startsWith("capture-")) outcome = kind;
  });
  await once(worker, "close");
  clearTimeout(timer);
  return { parts, ...(outcome !== undefined && { outcome }) };
}
