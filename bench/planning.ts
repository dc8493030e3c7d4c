// One run of the planner, on items in memory: over shards that all rest, and over ever more that are due. Requests are
// counted as AWS bills them; time is that of the planner alone, and once more with a wait in each call, as a network has it;
// memory is what the run holds beyond what the store does, at its peak, behind a collection of garbage at each fifth message.
// The bound beside each figure is the least that is asked for: one query for each thousand dirty shards, a read of each.
// Not measured: DynamoDB and SQS themselves, the start of a function.
//   node bench/planning.ts [--shards=N] [--wait-ms=N]

import { setTimeout as wait } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { type Ask, askForCaptures } from "../lib/jobs/ask.ts";
import { createTable } from "../lib/jobs/tables.ts";
import { tailAttributes, tailItem } from "../lib/checkpoint/items.ts";
import { NO_LOG } from "../lib/model/log-size.ts";
import { SHARDS_MAX } from "../lib/model/limits.ts";
import { ORIGIN, toIndex } from "../lib/model/position.ts";
import type { CheckpointStore } from "../lib/ports/checkpoint-store.ts";
import type { World } from "../lib/ports/world.ts";
import type { Requests } from "../cli/request-counts.ts";
import { countedWorld, type CountedWorld } from "./counted-world.ts";

const SHARDS = numberOf("shards", 100_000);
const WAIT_MS = numberOf("wait-ms", 10);
const DIRTY = [0, 1, 1_000, 10_000];
const START_MS = Date.UTC(2026, 0, 1);
const ALL_TAKEN: Ask = async (shards) => shards;

setFlagsFromString("--expose-gc");
const collect: () => void = runInNewContext("gc");

const world = countedWorld({ startMs: START_MS });
const tables = Math.ceil(SHARDS / SHARDS_MAX);
for (let table = 0; table < tables; table++) await createTable(world, { name: nameOf(table), shards: SHARDS_MAX, captureAfterMutations: 1 });
for (let shard = 0; shard < SHARDS; shard++) await putTail(shard, false);

console.log(`${SHARDS} shards of ${tables} tables; asked for by messages of up to ten`);
console.log(
  `  ${["dirty", "dispatched", "read units", "write units", "messages", "run", `run, ${WAIT_MS} ms a call`, "held at most"].map((head) => head.padStart(18)).join("")}`,
);
let dirty = 0;
for (const count of DIRTY.filter((some) => some <= SHARDS)) {
  // Of all tables alike.
  for (; dirty < count; dirty++) await putTail((dirty % tables) * SHARDS_MAX + Math.floor(dirty / tables), true);
  await measure(count);
}

async function measure(count: number): Promise<void> {
  // A warm planner, as most are.
  await askForCaptures(forgetful(world), ALL_TAKEN);
  const startMs = performance.now();
  await askForCaptures(forgetful(world), ALL_TAKEN);
  const ranMs = performance.now() - startMs;
  const waitedFromMs = performance.now();
  await askForCaptures(forgetful(slow(world)), async (shards) => {
    await wait(WAIT_MS);
    return shards;
  });
  const waitedMs = performance.now() - waitedFromMs;
  const heldBytes = await peakOf(forgetful(world));
  let asked = 0;
  const { readUnits, writeUnits, messages }: Requests = await world.count(async () => {
    const report = await askForCaptures(world, async (shards) => {
      for (const _ of shards) world.message();
      return shards;
    });
    asked = report.asked;
  });
  // The next count starts with shards that nobody asked for.
  for (let shard = 0; shard < count; shard++) await putTail((shard % tables) * SHARDS_MAX + Math.floor(shard / tables), true);
  const figures = [
    count,
    asked,
    readUnits,
    writeUnits,
    messages,
    `${ranMs.toFixed(0)} ms`,
    `${(waitedMs / 1e3).toFixed(1)} s`,
    `${(heldBytes / 1e3).toFixed(0)} kB`,
  ];
  console.log(`  ${figures.map((figure) => String(figure).padStart(18)).join("")}`);
}

/** What the run adds to the heap at most; the messages that were sent are not kept. */
async function peakOf(planned: World): Promise<number> {
  collect();
  const before = process.memoryUsage().heapUsed;
  let peak = Number.NEGATIVE_INFINITY;
  let messages = 0;
  await askForCaptures(planned, async (shards) => {
    if (messages++ % 5 === 0) {
      collect();
      peak = Math.max(peak, process.memoryUsage().heapUsed - before);
    }
    return shards;
  });
  return Math.max(0, peak);
}

/** A world in which a run leaves nothing: what the store would hold more is not what the planner does. */
function forgetful(some: World): World {
  return { ...some, checkpoints: { ...some.checkpoints, write: async () => ({ kind: "written" }) } };
}

function slow(some: CountedWorld): World {
  const { checkpoints } = some;
  const slowed: CheckpointStore = {
    get: (key) => wait(WAIT_MS).then(() => checkpoints.get(key)),
    query: (request) => wait(WAIT_MS).then(() => checkpoints.query(request)),
    queryDirty: (request) => wait(WAIT_MS).then(() => checkpoints.queryDirty(request)),
    write: (changes) => wait(WAIT_MS).then(() => checkpoints.write(changes)),
  };
  return { ...some, checkpoints: slowed };
}

async function putTail(number: number, isDirty: boolean): Promise<void> {
  const id = { table: nameOf(Math.floor(number / SHARDS_MAX)), shard: number % SHARDS_MAX };
  const figures = { log: { files: 9, bytes: 9_000, rawBytes: 27_000 }, capturedLog: NO_LOG, sentBytes: 5_000, snapshotBytes: 5_000, rates: {} };
  const hint = {
    incarnation: "0".repeat(16),
    border: { ...ORIGIN, next: toIndex(10) },
    capturedNext: toIndex(isDirty ? 9 : 10),
    capturedAtMs: START_MS,
    ...figures,
  };
  await world.checkpoints.write([{ item: tailItem(id), when: [], put: { ...tailAttributes(hint), ...(isDirty && { dirty: "dirty" }) } }]);
}

function nameOf(table: number): string {
  return `t${table}`;
}

function numberOf(name: string, fallback: number): number {
  return Number(process.argv.find((argument) => argument.startsWith(`--${name}=`))?.slice(name.length + 3) ?? fallback);
}
