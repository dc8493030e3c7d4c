// The deployed functions work on one table, and the processes that run them are killed in the middle of invocations, or stopped
// until their lease has passed to another (I1 to I7, I9). What their callers were told makes a history of each shard, and that must be linearizable; and the next capture and
// the next cleanup leave nothing that should not be there.

import { GetQueueAttributesCommand, ReceiveMessageCommand } from "@aws-sdk/client-sqs";
import { expect } from "vitest";
import { seededRandom } from "../../../../lib/adapters/memory/random.ts";
import { queryAll, readControl } from "../../../../lib/checkpoint/control.ts";
import { createTable } from "../../../../lib/jobs/tables.ts";
import type { ShardId } from "../../../../lib/model/names.ts";
import type { Attributes } from "../../../../lib/ports/checkpoint-store.ts";
import type { Random } from "../../../../lib/ports/random.ts";
import type { World } from "../../../../lib/ports/world.ts";
import { WRITERS } from "../../../processes/batches.ts";
import { checkAtRest, checkHistory, checkStates, checkVerified, logOf, type Reading, watchGrowth } from "../../../processes/witness.ts";
import { sqs } from "../../clients.ts";
import { deployedWorld, output, until } from "../stack.ts";
import { type Calls, type Killed, openCalls } from "./calls.ts";
import { captureAndClean, lapse, read, request, type Requested, type Run, type SentShare, write } from "./clients.ts";
import { type FunctionName, openInvocations } from "./invocations.ts";
import { captureStage, cleanupStage } from "./stages.ts";
import { keepVersions, keptRedoFiles } from "./versions.ts";

/** More of them, and other victims and moments: FUNCTION_KILLS=200 KILL_SEED=7 npx vitest run --project localstack test/localstack/deployed.test.ts */
export const FUNCTION_KILLS = Number(process.env.FUNCTION_KILLS ?? 10);
/** Captures that are stopped while another takes their lease and commits. */
const FREEZES = Number(process.env.FUNCTION_FREEZES ?? Math.ceil(FUNCTION_KILLS / 5));
/** For each of them: some end before they are stopped. */
const FREEZE_ATTEMPTS_MAX = 5;
const SEED = Number(process.env.KILL_SEED ?? 1);
const TABLE = `killed-${process.pid}`;
const SHARDS = 3;
/** One of them appends without a producer. */
const WRITERS_HERE = WRITERS.slice(-3);
const CAPTURERS = 2;
/** Kills that are waited for at a time. */
const KILLERS = 2;
/** Never due by itself. */
const NEVER = { captureAfterMs: 365 * 24 * 3_600_000, captureAfterMutations: Number.MAX_SAFE_INTEGER, captureLogPercent: 10_000 };
const LOOK_EVERY_MS = 300;
const OUTCOMES_MS = 120_000;
const QUIET_MS = 60_000;
const CAPTURED_MS = 120_000;
const CAPTURES_AT_REST_MAX = 5;
const PERCENT: Readonly<Record<FunctionName, number>> = { snapshot: 45, ingest: 30, cleanup: 15, requests: 10 };

export async function killedAnywhereNothingIsLost(): Promise<void> {
  const world = deployedWorld();
  await createTable(world, { name: TABLE, shards: SHARDS, ...NEVER });
  const invocations = openInvocations();
  const calls = openCalls({ invocations, world, random: seededRandom(SEED) });
  const endVersions = await keepVersions();
  try {
    const startedAt = performance.now();
    const work = await workAndKill(world, calls);
    const secondsAKill = (performance.now() - startedAt) / 1_000 / work.killed.length;
    const requests = await outcomesOf(world, work.requests);
    await Promise.all(shardsOf().map((id) => rest(world, calls, id)));
    const found: Readonly<Record<string, number>>[] = [];
    for (const id of shardsOf()) found.push(await checkShard(world, id, work));
    await nothingIsSetAside();
    console.log({
      seed: SEED,
      kills: work.killed.length,
      freezes: work.frozen,
      secondsAKill: Number(secondsAKill.toFixed(2)),
      ...stagesOf(work.killed),
      ...Object.fromEntries(Object.keys(found[0]).map((name) => [name, found.reduce((sum, each) => sum + each[name], 0)])),
      captures: work.committed.size,
      adopted: work.killed.filter(({ after }) => after?.control?.capture !== undefined && work.committed.has(after.control.capture.key)).length,
      requests,
      ...Object.fromEntries([...calls.counts].sort()),
    });
  } finally {
    invocations.close();
    await endVersions();
  }
}

/** What was done and told until the last kill. */
interface Work {
  readonly killed: readonly Killed[];
  /** Captures that went on behind a stop. */
  readonly frozen: number;
  readonly sent: readonly SentShare[];
  readonly readings: ReadonlyMap<number, readonly Reading[]>;
  readonly requests: readonly Requested[];
  /** Keys of snapshots that a checkpoint named. */
  readonly committed: ReadonlySet<string>;
}

async function workAndKill(world: World, calls: Calls): Promise<Work> {
  let isEnding = false;
  const isOver = (): boolean => isEnding;
  const runOf = (place: number): Run => ({ world, calls, table: TABLE, shards: SHARDS, random: seededRandom(SEED * 100 + place), isOver });
  const all = Promise.all([
    Promise.all(WRITERS_HERE.map((writer, place) => write(runOf(place), writer))),
    Promise.all(Array.from({ length: CAPTURERS }, (_, place) => captureAndClean(runOf(10 + place)))),
    request(runOf(20)),
    read(runOf(30)),
    Promise.all(shardsOf().map((id) => watchGrowth(world, id, { everyMs: LOOK_EVERY_MS, isOver }))),
  ]);
  // One that fails ends the run for all.
  const failure = all.then(() => new Promise<never>(() => undefined));
  failure.catch(() => {
    isEnding = true;
  });
  const [killed, frozen] = await Promise.all([killFunctions(calls, failure), freezeCaptures(world, calls, failure)]);
  await Promise.race([allCaptured(world), failure]);
  isEnding = true;
  const [sent, , requests, readings, committed] = await all;
  return { killed, frozen, sent: sent.flat(), readings, requests, committed: new Set(committed.flatMap((keys) => [...keys])) };
}

/** Throws where something of a shard is not as it must be; else figures. */
async function checkShard(world: World, id: ShardId, { sent, readings, requests }: Work): Promise<Readonly<Record<string, number>>> {
  const { files, ghosts } = await keptRedoFiles(id);
  const log = logOf(files);
  const here = readings.get(id.shard) ?? [];
  const sentHere = sent.filter(({ shard }) => shard === id.shard);
  const { acknowledged, repeated } = checkHistory(log, sentHere, here);
  await checkStates(world, id, log, here);
  await checkVerified(world, id);
  await checkAtRest(world, id, log);
  const unanswered = (await requestItems(world, id)).length - requests.filter(({ shard }) => shard === id.shard).length;
  return { mutations: log.tail, redoFiles: files.length, ghosts, acknowledged, repeated, readings: here.length, requestsUnanswered: unanswered };
}

function shardsOf(): readonly ShardId[] {
  return Array.from({ length: SHARDS }, (_, shard) => ({ table: TABLE, shard }));
}

/** The last one meets a capture, which leaves the most behind. */
async function killFunctions(calls: Calls, failure: Promise<never>): Promise<readonly Killed[]> {
  const random = seededRandom(SEED + 1);
  const killed: Killed[] = [];
  let begun = 0;
  const killer = async (): Promise<void> => {
    while (begun < FUNCTION_KILLS) {
      const name = ++begun === FUNCTION_KILLS ? "snapshot" : chosen(random);
      const found = await Promise.race([calls.killNext(name), failure]);
      if (found === undefined) begun--;
      else killed.push(found);
    }
  };
  await Promise.all(Array.from({ length: KILLERS }, killer));
  return killed;
}

/** Whoever goes on behind a stop has a lease that is another's by then (I4). */
async function freezeCaptures(world: World, calls: Calls, failure: Promise<never>): Promise<number> {
  const meanwhile = async (id: ShardId): Promise<void> => {
    await lapse(world, id);
    await calls.message("snapshot", id, id);
  };
  let frozen = 0;
  for (let attempt = 0; attempt < FREEZES * FREEZE_ATTEMPTS_MAX && frozen < FREEZES; attempt++) {
    if (await Promise.race([calls.freezeNext(meanwhile), failure])) frozen++;
  }
  return frozen;
}

/** With what the last calls append to each shard, the capture at rest makes the second generation. */
async function allCaptured({ checkpoints }: World): Promise<void> {
  await until("a snapshot of each shard", CAPTURED_MS, async () => {
    const controls = await Promise.all(shardsOf().map((id) => readControl(checkpoints, id)));
    return controls.every((control) => control?.checkpoint !== undefined) || undefined;
  });
}

function chosen(random: Random): FunctionName {
  let left = random.fraction() * 100;
  for (const name of ["snapshot", "ingest", "cleanup"] as const) {
    if (left < PERCENT[name]) return name;
    left -= PERCENT[name];
  }
  return "requests";
}

/** How often a kill met each function at each stage. */
function stagesOf(killed: readonly Killed[]): Readonly<Record<string, number>> {
  const names = killed.map(({ name, before, after }) => {
    if (before === undefined || after === undefined) return `kill of ${name}`;
    return `kill of ${name}: ${name === "snapshot" ? captureStage(before, after) : cleanupStage(before, after)}`;
  });
  return Object.fromEntries([...Map.groupBy(names, (name) => name)].map(([name, all]) => [name, all.length] as const).sort());
}

/** What was asked for, and answered, is done: how it ended. */
async function outcomesOf(world: World, requests: readonly Requested[]): Promise<Readonly<Record<string, number>>> {
  const items = await until("the outcomes of requests", OUTCOMES_MS, async () => {
    const found = new Map((await Promise.all(shardsOf().map((id) => requestItems(world, id)))).flat());
    const asked = requests.map(({ request: name }) => found.get(`request#${name}`));
    return asked.every((item) => item?.state === "done") ? asked : undefined;
  });
  const outcomes = Map.groupBy(items, (item) => String(item?.outcome));
  return Object.fromEntries([...outcomes].map(([outcome, all]) => [outcome, all.length]));
}

async function requestItems({ checkpoints }: World, { table, shard }: ShardId): Promise<readonly (readonly [string, Attributes])[]> {
  const items = await queryAll(checkpoints, { table, shard }, "request#");
  return items.map(({ key, attributes }) => [key.sort, attributes]);
}

/** One capture, unless one that was asked for is at it, and one cleanup. */
async function rest(world: World, calls: Calls, id: ShardId): Promise<void> {
  await lapse(world, id);
  for (let attempt = 0; attempt < CAPTURES_AT_REST_MAX; attempt++) {
    expect(await calls.message("snapshot", id, id)).toEqual({ kind: "done" });
    const control = await readControl(world.checkpoints, id);
    if (control?.lease === undefined && control?.capture === undefined) break;
  }
  await until("the queue of cleanups to be empty", QUIET_MS, async () => {
    const AttributeNames = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"] as const;
    const { Attributes } = await sqs().send(new GetQueueAttributesCommand({ QueueUrl: output("CleanupQueueUrl"), AttributeNames: [...AttributeNames] }));
    return AttributeNames.every((name) => Attributes?.[name] === "0") || undefined;
  });
  expect(await calls.message("cleanup", id, { kind: "after", ...id })).toEqual({ kind: "done" });
}

/** A message that can never succeed would have been put there, and the function would have answered all the same. */
async function nothingIsSetAside(): Promise<void> {
  for (const name of ["SnapshotDeadLetterQueueUrl", "CleanupDeadLetterQueueUrl"]) {
    const { Messages = [] } = await sqs().send(new ReceiveMessageCommand({ QueueUrl: output(name), MaxNumberOfMessages: 10, MessageAttributeNames: ["All"] }));
    expect(Messages.filter(({ Body }) => Body?.includes(`"${TABLE}"`))).toEqual([]);
  }
}
