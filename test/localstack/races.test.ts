// Four writers, two captures and two cleanups race for one shard on S3 and DynamoDB by LocalStack (I1 to I5, I7), while
// connections break: some calls never arrive, the replies to some that were carried out are lost, and some redo files
// arrive so late that cleanup has freed their names.
//
// The clock of one capture is ahead by hours, so that it takes every lease for lapsed, and takes over whatever the other
// is at. Nothing's safety rests on clocks.

import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { CreateBucketCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { dynamodbCheckpointStore } from "../../lib/adapters/aws/checkpoint-store.ts";
import { initAwsStore } from "../../lib/adapters/aws/init.ts";
import { s3ObjectStore } from "../../lib/adapters/aws/object-store.ts";
import { systemClock } from "../../lib/adapters/local/clock.ts";
import { cryptoRandom } from "../../lib/adapters/local/random.ts";
import { seededRandom } from "../../lib/adapters/memory/random.ts";
import { listObjects, listUploads } from "../../lib/cleanup/sweep.ts";
import { cleanupShard } from "../../lib/jobs/cleanup.ts";
import { snapshotShard } from "../../lib/jobs/snapshot.ts";
import { STORE_KEY } from "../../lib/model/names.ts";
import { createTable } from "../../lib/jobs/tables.ts";
import { isTidemarkError } from "../../lib/model/errors.ts";
import { POLICY_DEFAULTS } from "../../lib/model/table.ts";
import type { ObjectStore } from "../../lib/ports/object-store.ts";
import type { World } from "../../lib/ports/world.ts";
import { WRITERS } from "../processes/batches.ts";
import { readLog, sentIn } from "../processes/root.ts";
import { checkAtRest, checkHistory, checkStates, checkVerified, type Reading, readNow, watchGrowth } from "../processes/witness.ts";
import { freedOf, SHARD } from "../processes/world.ts";
import { appendBatches } from "../processes/writing.ts";
import { type HttpDouble, httpDouble, type Played, type SeenRequest } from "../unit/adapters/aws/http-double.ts";

/** A race takes so long, and on a slow machine as long as it takes to have met what it is for. */
const RACE_MS = 40_000;
const RACE_MS_MAX = 150_000;
const READINGS_MIN = 3;
const CAPTURES_MIN = 3;
const CLEANUPS_MIN = 4;
/** Of a hundred calls so many never arrive, and so many replies are lost; of redo files so many are late. */
const CUT_PERCENT = 1;
const LOST_PERCENT = 3;
const LATE_PERCENT = 3;
const LATE_MS = 6_000;
const SEED = Number(process.env.RACE_SEED ?? 1);
const AHEAD_MS = 6 * 3_600_000;
const READ_EVERY_MS = 700;
const LOOK_EVERY_MS = 50;

const names = { bucket: `tidemark-races-${process.pid}`, table: `tidemark-races-${process.pid}` };
let root: string;
let steady: HttpDouble;
let shaky: HttpDouble;
beforeAll(async () => {
  const { endpoint: upstream, region } = inject("localstack");
  const random = seededRandom(SEED);
  const otherwise = ({ method, path }: SeenRequest): Played => {
    const chance = random.fraction() * 100;
    if (method === "PUT" && path.includes(".redo") && random.fraction() * 100 < LATE_PERCENT) return { lateMs: LATE_MS };
    if (chance < CUT_PERCENT) return "cut";
    return chance < CUT_PERCENT + LOST_PERCENT ? "lost" : "pass";
  };
  steady = await httpDouble({ upstream, region, attemptsMax: 4 });
  // The SDK's own repetitions hide what is lost: with two attempts, some losses reach the jobs.
  shaky = await httpDouble({ upstream, region, attemptsMax: 2, otherwise });
  root = await mkdtemp(join(tmpdir(), "tidemark-races-"));
  await mkdir(join(root, "ledgers"));
  await mkdir(freedOf(root));
  await steady.s3.send(new CreateBucketCommand({ Bucket: names.bucket }));
  await initAwsStore({ ...steady, clock: systemClock() }, names);
});
afterAll(async () => {
  await shaky.close();
  await steady.close();
  await rm(root, { recursive: true, force: true });
});

test("four writers, two captures and two cleanups race, replies are lost, and every promise holds", { timeout: 600_000 }, async () => {
  const world = worldBy(steady);
  await createTable(world, { name: SHARD.table });
  const race = new AbortController();
  const isOver = () => race.signal.aborted;
  const counts = new Map<string, number>();
  const count = (what: string) => counts.set(what, (counts.get(what) ?? 0) + 1);

  const readings: Reading[] = [];
  const racers = [
    ...WRITERS.map((name, place) =>
      appendBatches(worldBy(place % 2 === 0 ? shaky : steady), { root, name, last: Number.MAX_SAFE_INTEGER, restMs: 0, isStopped: isOver }),
    ),
    ...[worldBy(shaky), worldBy(steady, AHEAD_MS)].map((captures) =>
      repeat(isOver, async () => count(`capture ${(await snapshotShard(captures, { id: SHARD })).outcome.kind}`), count),
    ),
    ...[worldBy(shaky), worldBy(steady)].map((cleans) =>
      repeat(isOver, async () => count(`cleanup ${(await cleanupShard(cleans, { id: SHARD, policy: POLICY_DEFAULTS })).kind}`), count),
    ),
    repeat(isOver, async () => readings.push(await readNow(world, SHARD)), count, READ_EVERY_MS),
    watchGrowth(world, SHARD, { everyMs: LOOK_EVERY_MS, isOver }),
  ];
  // One that fails ends the race for all.
  const stop = () => race.abort();
  for (const racer of racers) racer.catch(stop);
  const met = (what: string) => counts.get(what) ?? 0;
  const hasMetEnough = () => readings.length >= READINGS_MIN && met("capture completed") >= CAPTURES_MIN && met("cleanup cleaned") >= CLEANUPS_MIN;
  for (const startedAt = performance.now(); !isOver(); await pause(LOOK_EVERY_MS)) {
    const tookMs = performance.now() - startedAt;
    if (tookMs > RACE_MS_MAX || (tookMs > RACE_MS && hasMetEnough())) stop();
  }
  await Promise.all(racers);

  // Whatever lease was left lies behind this clock.
  const late = worldBy(steady, 2 * AHEAD_MS);
  await snapshotShard(late, { id: SHARD });
  await snapshotShard(late, { id: SHARD });
  const log = await readLog(root, world);
  const told = checkHistory(log, sentIn(root), readings);
  await checkStates(world, SHARD, log, readings);
  await checkVerified(world, SHARD);
  await checkBucket(world, await checkAtRest(world, SHARD, log));

  console.log({
    seed: SEED,
    mutations: log.tail,
    redoFiles: log.files.length,
    acknowledgedBatches: told.acknowledged,
    batchesTwiceInTheLog: told.repeated,
    ghosts: (await readdir(freedOf(root))).filter((name) => name.includes(".ghost-")).length,
    readingsMeanwhile: readings.length,
    requests: steady.requests.length + shaky.requests.length,
    ...Object.fromEntries([...counts].sort()),
  });
  expect(told.acknowledged).toBeGreaterThan(30);
  expect(readings.length).toBeGreaterThanOrEqual(READINGS_MIN);
  expect(met("capture completed")).toBeGreaterThanOrEqual(CAPTURES_MIN);
  expect(met("cleanup cleaned")).toBeGreaterThanOrEqual(CLEANUPS_MIN);
});

function worldBy({ s3, dynamodb }: HttpDouble, aheadMs = 0): World {
  const { now, sleep } = systemClock();
  return {
    objects: keepingFreed(s3ObjectStore(s3, names)),
    checkpoints: dynamodbCheckpointStore(dynamodb, names),
    clock: { now: () => now() + aheadMs, sleep },
    random: cryptoRandom(),
    telemetry: { report: () => undefined },
  };
}

/** Again and again; what asks to be tried again is counted. */
async function repeat(isOver: () => boolean, work: () => Promise<unknown>, count: (what: string) => void, restMs = 0): Promise<void> {
  while (!isOver()) {
    try {
      await work();
    } catch (error) {
      if (!isTidemarkError(error) || error.kind !== "retry") throw error;
      count(`retry: ${error.code}`);
    }
    await pause(restMs);
  }
}

/** Copies each redo file before it is deleted, for the model, which folds the log from its beginning. A later file of the same name is a ghost. */
function keepingFreed(objects: ObjectStore): ObjectStore {
  return {
    ...objects,
    async deleteMany(keys) {
      for (const key of keys.filter((each) => each.endsWith(".redo"))) {
        const got = await objects.get(key);
        if (got.kind === "found") await keep(join(freedOf(root), basename(key)), got.body);
      }
      return objects.deleteMany(keys);
    },
  };
}

async function keep(file: string, body: Buffer): Promise<void> {
  try {
    await writeFile(file, body, { flag: "wx" });
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
    if (!(await readFile(file)).equals(body)) await writeFile(`${file}.ghost-${process.hrtime.bigint()}`, body);
  }
}

/** The bucket holds these objects, and nothing besides. */
async function checkBucket({ objects }: World, keys: readonly string[]): Promise<void> {
  const held = (await listObjects(objects, "")).map(({ key }) => key);
  expect(held).toEqual([STORE_KEY, ...[...keys].sort()]);
  expect(await listUploads(objects, "")).toEqual([]);
}
