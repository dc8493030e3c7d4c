// What the pipeline does day by day, each on a world of its own that counts. A shard is brought to where its life is
// steady first (written, captured three times, cleaned), unless the scenario is its beginning.
//
// `fewest` is what the protocol cannot do without, and `surplus` says what the rest is for.

import { createHash } from "node:crypto";
import { type TableWriter, tableWriter } from "../lib/jobs/append.ts";
import { getEntry } from "../lib/jobs/recover.ts";
import { planPass, runCleanupTask } from "../lib/jobs/cleanup-pass.ts";
import { askForCaptures } from "../lib/jobs/ask.ts";
import { captureShard } from "../lib/jobs/snapshot.ts";
import { shardStatus } from "../lib/jobs/status.ts";
import { createTable, getTable } from "../lib/jobs/tables.ts";
import { POLICY_DEFAULTS } from "../lib/model/table.ts";
import type { BatchRequest } from "../lib/redo-log/writer.ts";
import type { Requests } from "../cli/request-counts.ts";
import { countedWorld, type CountedWorld } from "./counted-world.ts";

export interface Scenario {
  readonly name: string;
  run(): Promise<Requests>;
  readonly fewest: Partial<Requests>;
  /** What is sent beyond the fewest, and why. */
  readonly surplus: string;
}

const START_MS = Date.UTC(2026, 10, 1);
const TABLE = "players";
const SHARD = { table: TABLE, shard: 0 } as const;
const HOUR_MS = 3_600_000;
const VALUE_BYTES = 200;
const LARGE_VALUE_BYTES = 900 * 1_024;
/** Redo files of the capture of many parts, each with values that do not compress. */
const LARGE_FILES = 5;
const LARGE_FILE_VALUES = 7;

export const SCENARIOS: readonly Scenario[] = [
  {
    name: "first append to a new shard",
    run: async () => {
      const place = await newPlace();
      return place.world.count(async () => append(await openCold(place), place));
    },
    fewest: { s3Writes: 1, readUnits: 3, writeUnits: 8 },
    surplus: "a read of the tail hint, which is not there yet, and of the table once more, whether it is still that one",
  },
  {
    name: "first append of a cold writer",
    run: async () => {
      const place = await steadyPlace();
      return place.world.count(async () => append(await openCold(place), place));
    },
    fewest: { s3Writes: 1, readUnits: 3, writeUnits: 2 },
    surplus: "a look at the control item beside the tail hint, before anything is written, and at the table, whether it is still that one",
  },
  {
    name: "append of a warm writer",
    run: async () => {
      const place = await steadyPlace();
      const writer = await openWarm(place);
      return place.world.count(() => append(writer, place));
    },
    fewest: { s3Writes: 1, readUnits: 1, writeUnits: 1 },
    surplus: "none",
  },
  {
    name: "append of 10 batches together",
    run: async () => {
      const place = await steadyPlace();
      const writer = await openWarm(place);
      return place.world.count(() => append(writer, place, 10));
    },
    fewest: { s3Writes: 1, readUnits: 1, writeUnits: 1 },
    surplus: "none",
  },
  {
    name: "capture, 1 part",
    run: async () => {
      const place = await steadyPlace();
      await append(await openWarm(place), place);
      return place.world.count(() => capture(place));
    },
    fewest: { s3Writes: 3, s3Reads: 5, writeUnits: 12, readUnits: 4 },
    surplus:
      "the job item, twice and in a transaction (8 write units); a first look whether anything is new; the control item read before each write of it, the tail hint, twice; a LIST at the log's end; of base and result the page indexes, which a snapshot of one row group could do without",
  },
  {
    name: "capture, 3 parts",
    run: async () => {
      const place = await steadyPlace();
      const writer = await openCold(place);
      for (let file = 0; file < LARGE_FILES; file++) await append(writer, place, LARGE_FILE_VALUES, LARGE_VALUE_BYTES);
      return place.world.count(() => capture(place));
    },
    fewest: { s3Writes: 5, s3Reads: 22, writeUnits: 20, readUnits: 4 },
    surplus: "as above; here only the base is small",
  },
  {
    name: "capture with nothing new",
    run: async () => {
      const place = await steadyPlace();
      return place.world.count(() => capture(place));
    },
    fewest: { s3Reads: 1, readUnits: 3 },
    surplus: "the job item, twice and in a transaction; a LIST and a read of the tail hint at the log's end",
  },
  {
    name: "minute of the planner, nothing due",
    run: async () => {
      const place = await steadyPlace();
      return place.world.count(() => plan(place));
    },
    fewest: { readUnits: 0.5 },
    surplus: "none",
  },
  {
    name: "minute of the planner, 1 shard due",
    run: async () => {
      const place = await steadyPlace();
      await append(await openWarm(place), place);
      place.world.clock.advance(POLICY_DEFAULTS.captureAfterMs);
      return place.world.count(() => plan(place));
    },
    fewest: { writeUnits: 1, readUnits: 2.5, messages: 3 },
    surplus: "none",
  },
  {
    name: "cleanup after a capture",
    run: async () => {
      const place = await steadyPlace();
      await append(await openWarm(place), place);
      await capture(place);
      return place.world.count(() => cleanAfter(place));
    },
    fewest: { s3Writes: 2, s3Deletes: 1, writeUnits: 7, readUnits: 4 },
    surplus: "the job's end, read and written; the tail hint, read to mend it; a DELETE for redo files and one for snapshots, both free",
  },
  {
    name: "cleanup of a shard at rest",
    run: async () => {
      const place = await steadyPlace();
      return place.world.count(() => runCleanupTask(place.world, { kind: "shards", table: TABLE, from: 0, to: 1 }, NEVER));
    },
    fewest: { s3Writes: 2, readUnits: 4 },
    surplus: "the tail hint, read to mend it",
  },
  {
    name: "cleanup pass beside its shards",
    run: async () => {
      const place = await steadyPlace();
      return place.world.count(async () => {
        const tasks = await planPass(place.world);
        for (const _ of tasks) place.world.message();
        await runCleanupTask(place.world, { kind: "strays" }, NEVER);
      });
    },
    fewest: { s3Writes: 3, readUnits: 2, messages: 6 },
    surplus: "none",
  },
  {
    name: "get of one key",
    run: async () => {
      const place = await steadyPlace();
      await append(await openWarm(place), place);
      return place.world.count(() => getEntry(place.world, { table: TABLE, key: "key-0" }));
    },
    fewest: { s3Reads: 4, readUnits: 4 },
    surplus: "the tail hint and a LIST at the log's end; the snapshot, small as it is, read in two pieces",
  },
  {
    name: "status of one shard",
    run: async () => {
      const place = await steadyPlace();
      return place.world.count(async () => shardStatus(place.world, await getTable(place.world, TABLE), 0));
    },
    fewest: { readUnits: 5 },
    surplus: "none",
  },
];

interface Place {
  readonly world: CountedWorld;
  appended: number;
}

const NEVER = new AbortController().signal;

async function newPlace(): Promise<Place> {
  const world = countedWorld({ startMs: START_MS });
  await createTable(world, { name: TABLE });
  return { world, appended: 0 };
}

/** Captured three times, so that each capture lets a snapshot and a redo file go; cleaned, and clean. */
async function steadyPlace(): Promise<Place> {
  const place = await newPlace();
  const writer = await openCold(place);
  for (let round = 0; round < 3; round++) {
    await append(writer, place);
    place.world.clock.advance(HOUR_MS);
    await capture(place);
    await cleanAfter(place);
  }
  return place;
}

/** A writer as a function makes it that was just started. */
async function openCold({ world }: Place): Promise<TableWriter> {
  return tableWriter(world, await getTable(world, TABLE));
}

/** A writer that has appended before. */
async function openWarm(place: Place): Promise<TableWriter> {
  const writer = await openCold(place);
  await append(writer, place);
  return writer;
}

async function append(writer: TableWriter, place: Place, batches = 1, valueBytes = VALUE_BYTES): Promise<void> {
  await Promise.all(Array.from({ length: batches }, () => writer.append(batch(place, valueBytes))));
}

function batch(place: Place, valueBytes: number): BatchRequest {
  const number = place.appended++;
  const value = Buffer.from(JSON.stringify(noise(number, valueBytes)));
  return { mutations: [{ kind: "put", key: Buffer.from(`key-${number}`), value }], mark: { producer: "requests", sequence: BigInt(number) } };
}

/** Text that compresses by a quarter at most. */
function noise(seed: number, length: number): string {
  return createHash("shake256", { outputLength: Math.ceil((length * 3) / 4) })
    .update(String(seed))
    .digest("base64");
}

async function capture({ world }: Place): Promise<void> {
  await captureShard(world, { id: SHARD });
}

async function cleanAfter({ world }: Place): Promise<void> {
  await runCleanupTask(world, { kind: "after", ...SHARD }, NEVER);
}

async function plan({ world }: Place): Promise<void> {
  await askForCaptures(world, async (shards) => {
    world.message();
    return shards;
  });
}
