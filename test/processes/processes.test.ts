// Real processes over one local store: four writers, and others that capture and clean (I1 to I7, I9). What they were told
// makes a history, and that must be linearizable.

import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { seededRandom } from "../../lib/adapters/memory/random.ts";
import { readControl, readHistory } from "../../lib/checkpoint/control.ts";
import { snapshotShard } from "../../lib/jobs/snapshot.ts";
import { isTidemarkError } from "../../lib/model/errors.ts";
import { LEASE_TTL_MS } from "../../lib/model/limits.ts";
import { parseObjectName } from "../../lib/model/names.ts";
import type { Random } from "../../lib/ports/random.ts";
import type { World } from "../../lib/ports/world.ts";
import { WRITERS } from "./batches.ts";
import { makeRoot, removeRoot, startCapturer, startWriter, type Worker } from "./fleet.ts";
import { type LedgerLine, readLedger } from "./ledger.ts";
import { checkFolder, readLog, sentIn } from "./root.ts";
import { checkAtRest, checkHistory, checkStates, checkVerified, type Reading, readNow } from "./witness.ts";
import { ledgerOf, openWorld, PART_BYTES, SHARD } from "./world.ts";

const BATCHES = 250;
/** More of them, and another sequence of victims and moments: KILLS=1000 FREEZES=200 KILL_SEED=7 npx vitest run test/processes */
const KILLS = Number(process.env.KILLS ?? 100);
const FREEZES = Number(process.env.FREEZES ?? 20);
const SEED = Number(process.env.KILL_SEED ?? 1);
/** A lease lapses meanwhile. */
const FREEZE_MS_MIN = 200;
const FREEZE_MS_MAX = 600;
const CAPTURERS = ["capturer", "other-capturer"];
const CAPTURER_LIFE_MS_MAX = 1_000;
const CLEANUP_MS_MAX = 20;
const WRITER_LIFE_MS_MAX = 300;
const WRITER_PAUSE_MS = 15;
const READ_EVERY_MS = 300;
const LONG = { timeout: 600_000 + (KILLS + FREEZES) * 3_000 };

let root: string;
beforeEach(async () => {
  root = await makeRoot();
});
afterEach(() => removeRoot(root));

test("four processes append to one shard while a fifth captures and cleans: every acknowledged mutation once, in one order", LONG, async () => {
  const capturer = startCapturer(root, "capturer");
  await capturer.ready;
  const reader = startReader(root);
  const writers = WRITERS.map((name) => startWriter(root, name, { batches: BATCHES, pauseMs: 0 }));
  await Promise.all(writers.map(({ ended }) => ended));
  await capturer.stop();
  const readings = await reader.stop();

  const world = await openWorld(root);
  const { outcome } = await snapshotShard(world, { id: SHARD, sizes: { partBytes: PART_BYTES, partBytesMin: PART_BYTES } });
  expect(["completed", "ignored"]).toContain(outcome.kind);
  const log = await readLog(root, world);
  const told = checkHistory(log, sentIn(root), readings);
  expect(told.acknowledged).toBe(WRITERS.length * BATCHES);
  await checkStates(world, SHARD, log, readings);
  await checkVerified(world, SHARD);
  await checkFolder(root, await checkAtRest(world, SHARD, log));
  await world.close();

  const captures = count(readLedger(ledgerOf(root, "capturer")), "outcome", "completed");
  expect(captures).toBeGreaterThan(5);
  console.log(
    `${log.tail} mutations in ${log.files.length} redo files, ${captures} captures, ${readings.length} readings meanwhile; batches twice in the log: ${told.repeated}`,
  );
});

test(
  `kill -9 of any of them at random points, ${KILLS} times, and ${FREEZES} freezes past a lease: nothing acknowledged is lost, and the next run tidies up`,
  LONG,
  async () => {
    const random = seededRandom(SEED);
    const names = [...CAPTURERS, ...WRITERS];
    const fleet = new Map(names.map((name) => [name, start(name)]));
    /** One of the fleet, at work and at a moment to be stopped. */
    const victimOf = async (name: string): Promise<Worker> => {
      const victim = fleet.get(name);
      if (victim === undefined) throw new Error(`${name} is at work`);
      await victim.ready;
      await (CAPTURERS.includes(name) ? captureMoment(victim, random) : pause(random.fraction() * WRITER_LIFE_MS_MAX));
      return victim;
    };
    const reader = startReader(root);
    const observer = await openWorld(root);
    const found: Found[] = [];
    let freezes = 0;
    for (let kill = 1; kill <= KILLS; kill++) {
      for (; freezes < (FREEZES * kill) / KILLS; freezes++) {
        const victim = await victimOf(names[Math.floor(random.fraction() * names.length)]);
        await victim.freeze(FREEZE_MS_MIN + random.fraction() * (FREEZE_MS_MAX - FREEZE_MS_MIN));
      }
      // Two in five meet one that captures and cleans, and the last does: it leaves the most behind. It is given the time
      // for some captures, so that kills meet it at every stage.
      const name = kill === KILLS || random.fraction() < 0.25 ? CAPTURERS[kill % CAPTURERS.length] : names[Math.floor(random.fraction() * names.length)];
      const victim = await victimOf(name);
      await victim.kill();
      if (CAPTURERS.includes(name)) found.push(await lookAt(observer, name));
      if (kill < KILLS) fleet.set(name, start(name));
      else fleet.delete(name);
    }
    // Captures end as the last victim did, so that there is something to tidy up.
    await Promise.all([...fleet.values()].filter(({ name }) => CAPTURERS.includes(name)).map((capturer) => capturer.kill()));
    await Promise.all([...fleet.values()].filter(({ name }) => !CAPTURERS.includes(name)).map((writer) => writer.stop()));
    const readings = await reader.stop();
    await observer.close();

    const committedLast: string[] = [];
    const world = await openWorld(root, { onCommit: (key) => committedLast.push(key) });
    await world.clock.sleep(LEASE_TTL_MS);
    const { outcome } = await snapshotShard(world, { id: SHARD, sizes: { partBytes: PART_BYTES, partBytesMin: PART_BYTES } });
    expect(["completed", "ignored"]).toContain(outcome.kind);
    const log = await readLog(root, world);
    const told = checkHistory(log, sentIn(root), readings);
    await checkStates(world, SHARD, log, readings);
    await checkVerified(world, SHARD);
    await checkFolder(root, await checkAtRest(world, SHARD, log));
    await world.close();

    const committed = new Set(
      CAPTURERS.flatMap((name) => readLedger(ledgerOf(root, name)))
        .flatMap(({ words: [what, key] }) => (what === "committed" ? [key] : []))
        .concat(committedLast),
    );
    const summary = {
      seed: SEED,
      kills: KILLS,
      freezes,
      mutations: log.tail,
      acknowledgedBatches: told.acknowledged,
      batchesTwiceInTheLog: told.repeated,
      captures: committed.size,
      capturesInterrupted: found.filter(({ stage }) => stage === "snapshot").length,
      ofThoseUnderALease: found.filter(({ leased }) => leased).length,
      ofThoseWithAnUpload: found.filter(({ upload }) => upload !== undefined).length,
      ofThoseWithStoredParts: found.filter(({ parts }) => parts > 0).length,
      adoptedAndCommitted: found.filter(({ upload }) => upload !== undefined && committed.has(upload)).length,
      cleanupsInterrupted: found.filter(({ stage }) => stage === "cleanup").length,
      ofThoseHalfDone: found.filter(({ halfSwept }) => halfSwept).length,
      readingsMeanwhile: readings.length,
    };
    console.log(summary);
    expect(summary.ofThoseUnderALease).toBeGreaterThanOrEqual(Math.min(5, Math.floor(KILLS / 20)));
    expect(summary.cleanupsInterrupted).toBeGreaterThanOrEqual(1);
    expect(summary.readingsMeanwhile).toBeGreaterThan(0);
  },
);

function start(name: string): Worker {
  return CAPTURERS.includes(name) ? startCapturer(root, name) : startWriter(root, name, { batches: Number.MAX_SAFE_INTEGER, pauseMs: WRITER_PAUSE_MS });
}

/** Half of the time any moment, half of the time one soon after cleanup began: that is short, and would be met too seldom. */
async function captureMoment(capturer: Worker, random: Random): Promise<void> {
  await pause(random.fraction() * CAPTURER_LIFE_MS_MAX);
  if (random.fraction() < 0.5) return;
  await capturer.reached("cleanup");
  await pause(random.fraction() * CLEANUP_MS_MAX);
}

/** What a killed capture or cleanup left. */
interface Found {
  readonly stage: string;
  readonly leased: boolean;
  /** Key of the snapshot that was being uploaded. */
  readonly upload: string | undefined;
  readonly parts: number;
  /** The mark was raised, or a generation let go, and not all of it was deleted yet. */
  readonly halfSwept: boolean;
}

async function lookAt(world: World, capturer: string): Promise<Found> {
  const stages = readLedger(ledgerOf(root, capturer)).filter(({ words }) => words[0] === "stage" || words[0] === "outcome");
  const last = stages.at(-1)?.words;
  const control = await readControl(world.checkpoints, SHARD);
  const rows = await readHistory(world.checkpoints, SHARD);
  const parts = await world.checkpoints.query({ partition: `shard#${SHARD.table}/${SHARD.shard}`, sortPrefix: "part#" });
  const { objects } = await world.objects.list({ prefix: `${SHARD.table}/${SHARD.shard}/` });
  const isFreed = objects.some(({ key }) => {
    const name = parseObjectName(key.split("/").slice(3).join("/"));
    return name.kind === "redo" && name.first < (control?.lowWater ?? 0);
  });
  return {
    stage: last?.[0] === "stage" ? last[1] : "none",
    leased: control?.lease !== undefined,
    upload: control?.capture?.key,
    parts: control?.capture === undefined ? 0 : parts.items.length,
    halfSwept: isFreed || rows.some(({ state }) => state === "deleting"),
  };
}

/** Recovers the newest state again and again while the others are at work. */
function startReader(directory: string): { stop(): Promise<readonly Reading[]> } {
  const stopping = new AbortController();
  const reading = (async () => {
    const world = await openWorld(directory);
    const readings: Reading[] = [];
    while (!stopping.signal.aborted) {
      try {
        readings.push(await readNow(world, SHARD));
      } catch (error) {
        // Nothing pins what it reads: on a slow machine cleanup may let go of it meanwhile.
        if (!isTidemarkError(error) || error.code !== "expired-snapshot") throw error;
      }
      await pause(READ_EVERY_MS, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
    await world.close();
    return readings;
  })();
  reading.catch(() => undefined);
  return {
    stop() {
      stopping.abort();
      return reading;
    },
  };
}

function count(ledger: readonly LedgerLine[], ...words: readonly string[]): number {
  return ledger.filter((line) => words.every((word, place) => line.words[place] === word)).length;
}
