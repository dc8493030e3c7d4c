// Appending through a table's writer into a local store, each batch acknowledged once it is durable: one batch at a time,
// and many on their way at once, which share redo files (group commit). The bound, in the same run on the same disk: files
// of the same sizes, each created, written and synced, and nothing else. So the distance to it is what encoding, the claim
// of the name, the check of the control item and the published tail cost.
// Not measured: S3 and DynamoDB, several shards or processes, patches. MB are 10^6 bytes of keys and values.
//   node bench/append.ts        (TMPDIR names the disk)

import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { json, openTable } from "../lib/index.ts";
import { tableWriter } from "../lib/jobs/append.ts";
import { local } from "../lib/local.ts";
import { batchBytes, type Mutation } from "../lib/model/mutation.ts";
import { benchPut, benchRows } from "./records.ts";

const ROUNDS = 3;
const RECORDS = 1_000_000;

interface Load {
  readonly name: string;
  readonly batches: number;
  readonly batchRecords: number;
  readonly inFlight: number;
}

const LOADS: readonly Load[] = [
  { name: "1 record a batch, 1 in flight", batches: 300, batchRecords: 1, inFlight: 1 },
  { name: "1 record a batch, 256 in flight", batches: 20_000, batchRecords: 1, inFlight: 256 },
  { name: "1,000 records a batch, 1 in flight", batches: 200, batchRecords: 1_000, inFlight: 1 },
  { name: "1,000 records a batch, 64 in flight", batches: 1_000, batchRecords: 1_000, inFlight: 64 },
];

const rows = benchRows(RECORDS);
const puts = Array.from({ length: RECORDS }, (_, row) => benchPut(rows, row));
const directory = await mkdtemp(join(tmpdir(), "tidemark-bench-"));
try {
  console.log(`appending to a local store; median of ${ROUNDS} rounds`);
  for (const load of LOADS) await measure(load);
} finally {
  await rm(directory, { recursive: true, force: true });
}

async function measure(load: Load): Promise<void> {
  const batches = Array.from({ length: load.batches }, (_, batch) => puts.slice(batch * load.batchRecords, (batch + 1) * load.batchRecords));
  const runs: { readonly ms: number; readonly boundMs: number; readonly sizes: readonly number[] }[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const { ms, sizes } = await appendAll(join(directory, `${load.name} ${round}`), batches, load.inFlight);
    runs.push({ ms, sizes, boundMs: await writeAll(join(directory, `raw ${load.name} ${round}`), sizes) });
  }
  const { ms, boundMs, sizes } = runs.sort((a, b) => a.ms - b.ms)[ROUNDS >> 1];
  const megabytes = batches.reduce((sum, batch) => sum + batchBytes(batch), 0) / 1e6;
  console.log(`  ${load.name}: ${sizes.length} redo files`);
  report("append", { ms, batches: load.batches, megabytes }, "");
  report("write and sync the same files", { ms: boundMs, batches: load.batches, megabytes }, `append takes ${(ms / boundMs).toFixed(1)} times as long`);
}

async function appendAll(
  path: string,
  batches: readonly (readonly Mutation[])[],
  inFlight: number,
): Promise<{ readonly ms: number; readonly sizes: readonly number[] }> {
  const sizes: number[] = [];
  const telemetry = { report: (event: { readonly kind: string; readonly bytes?: number }) => void (event.kind === "appended" && sizes.push(event.bytes ?? 0)) };
  await using table = await openTable({ name: "bench", codec: json(), store: local({ directory: path, telemetry }), create: {} });
  const writer = tableWriter(table.world, table.settings);
  const start = performance.now();
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < batches.length) {
      const sequence = next++;
      await writer.append({ mutations: batches[sequence], mark: { producer: "bench", sequence: BigInt(sequence) } });
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  const ms = performance.now() - start;
  await writer.close();
  return { ms, sizes };
}

async function writeAll(path: string, sizes: readonly number[]): Promise<number> {
  const bytes = Buffer.alloc(Math.max(...sizes), 7);
  const start = performance.now();
  for (const [place, size] of sizes.entries()) {
    const file = await open(`${path}.${place}`, "wx");
    await file.write(bytes, 0, size);
    await file.sync();
    await file.close();
  }
  return performance.now() - start;
}

function report(what: string, { ms, batches, megabytes }: { readonly ms: number; readonly batches: number; readonly megabytes: number }, note: string): void {
  const batchRate = (batches / (ms / 1e3)).toFixed(0);
  console.log(
    `    ${what.padEnd(30)} ${ms.toFixed(0).padStart(6)} ms ${batchRate.padStart(7)} batches/s ${(megabytes / (ms / 1e3)).toFixed(1).padStart(7)} MB/s  ${note}`,
  );
}
