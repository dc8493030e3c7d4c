// Capture and recovery of 1,000,000 records of about 235 bytes on a local store: captured whole, 1 % of them changed at
// random, captured again, recovered from the snapshot, and recovered from the snapshot before with the log behind it.
// The bounds, in the same run on the same disk: writing and syncing, and reading, a file as large as the snapshot.
// Not measured: S3, memory, skewed keys. A capture reads the whole object back before it counts; that is in its time.
// The file that is read was just written: it comes from the operating system's cache, in recovery and in its bound alike.
//   node bench/recovery.ts [--records=N]        (TMPDIR names the disk)

import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { json, openTable, recover } from "../lib/index.ts";
import { tableWriter } from "../lib/jobs/append.ts";
import { local } from "../lib/local.ts";
import type { Mutation } from "../lib/model/mutation.ts";
import { benchPut, benchRows, rowsBytes, seededRandom } from "./records.ts";

const ROUNDS = 3;
const BATCH_RECORDS = 10_000;

const records = Number(process.argv.find((argument) => argument.startsWith("--records="))?.slice("--records=".length) ?? 1_000_000);
const rows = benchRows(records);
const puts = Array.from({ length: records }, (_, row) => benchPut(rows, row));
const megabytes = rowsBytes(rows) / 1e6;
const directory = await mkdtemp(join(tmpdir(), "tidemark-bench-"));
try {
  console.log(`${records} records, ${megabytes.toFixed(0)} MB of keys and values; recoveries: median of ${ROUNDS} rounds`);
  await measure();
} finally {
  await rm(directory, { recursive: true, force: true });
}

async function measure(): Promise<void> {
  await using table = await openTable({ name: "bench", codec: json(), store: local({ directory: join(directory, "store") }), create: {} });
  const writer = tableWriter(table.world, table.settings);
  const append = async (mutations: readonly Mutation[]): Promise<void> => {
    for (let from = 0; from < mutations.length; from += BATCH_RECORDS) await writer.append({ mutations: mutations.slice(from, from + BATCH_RECORDS) });
  };
  report("append, one batch at a time", await time(() => append(puts)), `batches of ${BATCH_RECORDS}`);
  report("recover from the log alone", await median(read), "");

  let note = "";
  const capture = async (): Promise<void> => {
    const [{ outcome, captures }] = await table.snapshot();
    if (outcome.kind !== "completed") throw new Error(`the capture was ${outcome.kind}`);
    note = `${captures} captures, ${(outcome.bytes / 1e6).toFixed(1)} MB, sent ${(outcome.bytesSent / 1e6).toFixed(1)} MB`;
    size = outcome.bytes;
  };
  let size = 0;
  report("capture all, read back", await time(capture), () => note);
  const random = seededRandom(3);
  await append(Array.from({ length: Math.ceil(records / 100) }, () => puts[Math.floor(random() * puts.length)]));
  report("recover from snapshot and log", await median(read), "1 % of the records in the log");
  report("capture the 1 %, read back", await time(capture), () => note);
  report("recover from the snapshot", await median(read), "");

  const raw = join(directory, "raw");
  const bytes = Buffer.alloc(size, 7);
  report("bound: write and sync", await median(() => writeDurably(raw, bytes)), "a file as large as the snapshot");
  report("bound: read", await median(async () => (await readFile(raw)).length), "the same file");

  async function read(): Promise<number> {
    await using view = await recover(table);
    let count = 0;
    for await (const block of view.shards[0].rows()) count += block.count;
    if (count !== records) throw new Error(`${count} records were recovered, not ${records}`);
    return count;
  }
  await writer.close();
}

async function writeDurably(path: string, bytes: Buffer): Promise<void> {
  const file = await open(path, "w");
  await file.writeFile(bytes);
  await file.sync();
  await file.close();
}

async function time(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

async function median(work: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) times.push(await time(work));
  return times.sort((a, b) => a - b)[ROUNDS >> 1];
}

function report(what: string, ms: number, note: string | (() => string)): void {
  const rate = (megabytes / (ms / 1e3)).toFixed(0);
  console.log(`  ${what.padEnd(30)} ${ms.toFixed(0).padStart(7)} ms ${rate.padStart(6)} MB/s  ${typeof note === "string" ? note : note()}`);
}
