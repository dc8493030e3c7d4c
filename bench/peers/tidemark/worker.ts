// Tidemark's own side, one task a process: `worker.ts FOLDER BUCKET ACTION …`. Objects are in S3, by the adapter and the
// clients that programs get; the checkpoint store is the local one, in FOLDER, as no DynamoDB runs on loopback.

import { writeFile } from "node:fs/promises";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { appendStream } from "../../../cli/append-stream.ts";
import { writeWholeFile } from "../../../cli/whole-file.ts";
import { s3Client } from "../../../lib/adapters/aws/clients.ts";
import { s3ObjectStore } from "../../../lib/adapters/aws/object-store.ts";
import { localCheckpointStore } from "../../../lib/adapters/local/checkpoint-store.ts";
import { systemClock } from "../../../lib/adapters/local/clock.ts";
import { cryptoRandom } from "../../../lib/adapters/local/random.ts";
import { SILENT } from "../../../lib/api/store.ts";
import { tableWriter } from "../../../lib/jobs/append.ts";
import { getEntry } from "../../../lib/jobs/recover.ts";
import { snapshotShard } from "../../../lib/jobs/snapshot.ts";
import { createTable, getTable } from "../../../lib/jobs/tables.ts";
import { release } from "../../../lib/model/memory.ts";
import { releaseRows } from "../../../lib/model/rows.ts";
import { readBatches } from "../../../lib/ndjson/batches.ts";
import { recordLines } from "../../../lib/ndjson/record-lines.ts";
import type { World } from "../../../lib/ports/world.ts";
import { recover } from "../../../lib/recovery/recover.ts";
import { reportWork, type Told } from "../work.ts";

const TABLE = "bench";
const SHARD = { table: TABLE, shard: 0 };
/** As `tidemark append` does by default. */
const BATCH_LINES = 1_000;
const LINGER_MS = 20;
const READ_BYTES = 1024 * 1024;

type Action = (world: World, ...args: readonly string[]) => Promise<Told>;

const ACTIONS: Readonly<Record<string, Action>> = { create, append, capture, "recover-ndjson": recoverNdjson, "recover-parquet": recoverParquet, get };

const [folder = "", bucket = "", action = "", ...args] = process.argv.slice(2);
// versitygw tells no CRC-32 of a part that it copied.
const checksums = "none";
void work();

async function work(): Promise<void> {
  const s3 = s3Client({ endpoint: process.env.AWS_ENDPOINT_URL, checksums });
  const checkpoints = localCheckpointStore(join(folder, "checkpoints.sqlite"));
  try {
    const world = { objects: s3ObjectStore(s3, { bucket, checksums }), checkpoints, clock: systemClock(), random: cryptoRandom(), telemetry: SILENT };
    await reportWork(() => ACTIONS[action](world, ...args));
  } finally {
    checkpoints.close();
    s3.destroy();
  }
}

async function create(world: World): Promise<Told> {
  await createTable(world, { name: TABLE });
  return {};
}

async function append(world: World, file = ""): Promise<Told> {
  const table = await getTable(world, TABLE);
  const source = createReadStream(file, { highWaterMark: READ_BYTES });
  const batches = readBatches(source, { codec: table.codec, linesMax: BATCH_LINES });
  const { mutations, stopped } = await appendStream(tableWriter(world, table, { lingerMs: LINGER_MS }), { batches });
  if (stopped !== undefined) throw stopped.error;
  return { note: `${mutations} mutations` };
}

async function capture(world: World): Promise<Told> {
  const { outcome, captures } = await snapshotShard(world, { id: SHARD });
  if (outcome.kind !== "completed") throw new Error(`the capture was ${outcome.kind}`);
  return { snapshotBytes: outcome.bytes, note: `${captures === 1 ? "1 capture" : `${captures} captures`}, snapshot of ${(outcome.bytes / 1e6).toFixed(1)} MB` };
}

async function recoverNdjson(world: World, file = ""): Promise<Told> {
  const { codec } = await getTable(world, TABLE);
  const view = await recover(world, { id: SHARD, codec, pinned: true });
  const lines = recordLines(codec);
  await writeWholeFile(file, async (whole) => {
    for await (const rows of view.rows()) {
      await whole.write(lines.encode(rows));
      releaseRows(rows);
    }
  });
  await view.close();
  return {};
}

async function recoverParquet(world: World, file = ""): Promise<Told> {
  const { codec } = await getTable(world, TABLE);
  const view = await recover(world, { id: SHARD, codec, pinned: true });
  await writeWholeFile(file, async (whole) => {
    for await (const chunk of view.snapshotFile()) {
      await (chunk === "restart" ? whole.startOver() : whole.write(chunk));
      if (chunk !== "restart") release(chunk);
    }
  });
  await view.close();
  return {};
}

/** Writes the value of one key. */
async function get(world: World, key = "", file = ""): Promise<Told> {
  const found = await getEntry(world, { table: TABLE, key });
  if (found.kind === "absent") throw new Error(`${key} is absent`);
  await writeFile(file, found.entry.value);
  return {};
}
