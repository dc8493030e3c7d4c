// What the planner's default settings make of 100 rounds of 1 % uniform changes: a round a minute by the clock, real redo
// files and real captures by the scheduled loop's own rounds, on a store in memory. Write amplification is what was stored,
// in redo files and by captures, over the keys and values that were appended; the load before the first round is left out.
// Bytes, so they are the same on every machine. With fewer records than a million the floor (8 MiB of log) decides, not the
// share. `--percent=N` is the table's capture-log-share in hundredths.
//   node bench/amplification.ts [--records=N] [--rounds=N] [--percent=N]

import { manualClock } from "../lib/adapters/memory/clock.ts";
import { json, openTable } from "../lib/index.ts";
import { tableWriter } from "../lib/jobs/append.ts";
import { runRound } from "../lib/jobs/run.ts";
import { shardStatus } from "../lib/jobs/status.ts";
import { memory } from "../lib/memory.ts";
import type { TelemetryEvent } from "../lib/ports/telemetry.ts";
import type { Mutation } from "../lib/model/mutation.ts";
import { POLICY_DEFAULTS } from "../lib/model/table.ts";
import { benchPut, benchRows, seededRandom } from "./records.ts";

const MINUTE_MS = 60_000;
const LOAD_BATCH = 10_000;
const CLEAN_EVERY_ROUNDS = 10;

const records = numberOf("records", 1_000_000);
const rounds = numberOf("rounds", 100);
const captureLogPercent = numberOf("percent", POLICY_DEFAULTS.captureLogPercent);

const sums = { redoBytes: 0, redoFiles: 0, captures: 0, sentBytes: 0, logicalBytes: 0 };
const captured: string[] = [];
const clock = manualClock(Date.UTC(2026, 0, 1));
const store = memory({ clock, telemetry: { report: count } });
await using table = await openTable({ name: "bench", codec: json(), store, create: { captureLogPercent } });
const writer = tableWriter(table.world, table.settings);

const rows = benchRows(records);
for (let from = 0; from < records; from += LOAD_BATCH)
  await append(Array.from({ length: Math.min(LOAD_BATCH, records - from) }, (_, i) => benchPut(rows, from + i)));
await table.snapshot();
const before = await statusNow();
console.log(
  `${records} records, ${megabytes(sums.logicalBytes)} of keys and values, a snapshot of ${megabytes(before.bytes)}; ${rounds} rounds of ${changesOf()} changes, one a minute`,
);

Object.assign(sums, { redoBytes: 0, redoFiles: 0, captures: 0, sentBytes: 0, logicalBytes: 0 });
const random = seededRandom(7);
const changed = benchRows(records, 2);
const startMs = performance.now();
for (let round = 1; round <= rounds; round++) {
  await append(Array.from({ length: changesOf() }, () => benchPut(changed, Math.floor(random() * records))));
  clock.advance(MINUTE_MS);
  const { failures, captured: done } = await runRound(table.world, { cleanAll: round % CLEAN_EVERY_ROUNDS === 0 });
  if (failures.length > 0) throw new Error(failures[0].error);
  if (done.length > 0) captured.push(String(round));
}
await writer.close();

const { redoBytes, redoFiles, captures, sentBytes, logicalBytes } = sums;
const after = await statusNow();
console.log(`  appended                 ${megabytes(logicalBytes)} of keys and values`);
console.log(`  redo files               ${megabytes(redoBytes)} in ${redoFiles}`);
console.log(`  captures                 ${captures}${captures > 0 ? `, behind rounds ${captured.join(", ")}` : ""}`);
console.log(`  sent by captures         ${megabytes(sentBytes)}`);
console.log(`  write amplification      ${((redoBytes + sentBytes) / logicalBytes).toFixed(2)}`);
console.log(`  as the tail item tells   ${after.amplification.toFixed(2)}, the load and its capture included`);
console.log(`  took                     ${((performance.now() - startMs) / 1e3).toFixed(1)} s`);

async function append(mutations: readonly Mutation[]): Promise<void> {
  for (const mutation of mutations) sums.logicalBytes += mutation.key.length + ("value" in mutation ? mutation.value.length : 0);
  await writer.append({ mutations });
}

function count(event: TelemetryEvent): void {
  if (event.kind === "appended") {
    sums.redoBytes += event.bytes;
    sums.redoFiles += 1;
  } else if (event.kind === "captured") {
    sums.captures += 1;
    sums.sentBytes += event.bytesSent;
  }
}

async function statusNow(): Promise<{ readonly bytes: number; readonly amplification: number }> {
  const { checkpoint, outlook } = await shardStatus(table.world, table.settings, 0);
  return { bytes: checkpoint?.size ?? 0, amplification: outlook?.writeAmplification ?? Number.NaN };
}

function changesOf(): number {
  return Math.ceil(records / 100);
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function numberOf(name: string, fallback: number): number {
  return Number(process.argv.find((argument) => argument.startsWith(`--${name}=`))?.slice(name.length + 3) ?? fallback);
}
