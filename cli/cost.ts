// What a pipeline with one table costs a month, as a pure function of a workload and a price list. Requests come from
// counts (request-counts.ts); what cannot be counted here, such as durations on Lambda, is assumed, in ASSUMED, and said.
//
// A month has 30 days. The figures are for the settings a deployment has by default; data moved within a region is free.

import { CAPTURE_LOG_BYTES_MIN, CLEANUP_TASK_SHARDS_MAX, KEEP_SNAPSHOTS_MIN, PART_BYTES } from "../lib/model/limits.ts";
import { ASSUMED_RATES } from "../lib/model/rates.ts";
import { dollarsOf, type Prices } from "./prices.ts";
import {
  APPEND,
  ASK,
  BECOME_DIRTY,
  captureRequests,
  CLEANUP_AT_REST,
  CLEANUP_PASS,
  cleanupRequests,
  LOOK,
  NO_REQUESTS,
  PLAN,
  type Requests,
  sumOf,
  times,
} from "./request-counts.ts";

export interface Workload {
  readonly shards: number;
  /** Of the whole table, while it is active. */
  readonly mutationsPerSecond: number;
  /** Of key and value. */
  readonly bytesPerMutation: number;
  readonly activeHoursPerDay: number;
  /** Who appends: programs with the library, the ingest URL, or the ingest queue. */
  readonly through: "library" | "url" | "queue";
  /** Mutations in one call of the URL, or one message of the queue. */
  readonly mutationsPerCall: number;
  /** How long the library's writer waits for company. */
  readonly lingerSeconds: number;
  /** What makes a capture due: the log's share of the snapshot, what a recovery may take, and at the latest time and mutations. */
  readonly captureLogShare: number;
  readonly recoverWithinSeconds: number;
  readonly captureAfterSeconds: number;
  readonly captureAfterMutations: number;
  /** Keys and values of the whole table, before compression. */
  readonly stateBytes: number;
  readonly keepSnapshots: number;
  readonly planEveryMinutes: number;
  readonly alarms: boolean;
  readonly ingestQueue: boolean;
  readonly events: boolean;
  readonly dashboard: boolean;
  readonly tracing: boolean;
}

export interface Cost {
  /** Dollars a month, by what they are for. */
  readonly parts: readonly { readonly name: string; readonly dollars: number }[];
  readonly total: number;
  /** What the computation rests on, a month. */
  readonly redoFiles: number;
  readonly captures: number;
  readonly storedBytes: number;
}

/** What nobody has measured on Lambda for this workload; the memory of functions is a deployment's default. */
export const ASSUMED = {
  planMs: 60,
  planMib: 512,
  ingestMs: 80,
  ingestMib: 1_024,
  captureMs: 1_500,
  /** Keys and values read, merged, encoded, uploaded and read back. */
  captureBytesPerSecond: 25e6,
  captureMib: 1_769,
  cleanupMs: 700,
  cleanupMib: 1_024,
  eventsMs: 60,
  eventsMib: 512,
  eventsRunsPerCapture: 4,
  eventsPerCapture: 3,
  /** Lambda's own lines, ours, and the metrics' among them. */
  logBytesPerRun: 1_200,
  /** Bytes of state for one stored, in snapshots and redo files. */
  compression: 3,
  /** Lambda asks each queue: about five long polls of 20 s at a time. */
  pollsPerQueueAndMinute: 15,
  /** X-Ray keeps the first of each second, and of the others this share. */
  tracedShare: 0.05,
  itemBytesPerShard: 4_000,
  /** Of a redo file beside its mutations: header and digests. */
  redoFileBytes: 200,
} as const;

/** Beside one for the dead letters of the ingest queue, and one for those of events. */
const ALARMS = 9;

/** What a pipeline sends while it rests, while it is active, and of those what it also sends for the table. */
const METRICS_AT_REST = 2;
const METRICS_OF_CAPTURES = 11;
/** Expected recovery time and write amplification, of the table alone, while a shard of it is dirty. */
const METRICS_WHILE_DIRTY = 2;
const METRICS_OF_INGEST = 4;
/** Of the daily cleanup: it sends two, in one hour of the day. */
const METRICS_OF_PASSES = 2 / 24;

const SECONDS_PER_DAY = 86_400;
const DAYS = 30;
const MINUTES = DAYS * 1_440;
/** A row group of a snapshot, as it is stored. */
const GROUP_BYTES = 1_750_000;
const INDEX_ENTRY_BYTES = 150;
const INDEX_PAGE_BYTES = 4_096;
/** Sent, received, deleted. */
const MESSAGE: Requests = { ...NO_REQUESTS, messages: 3 };
const FIFO_MESSAGE_REQUESTS = 3;

export function monthlyCost(workload: Workload, prices: Prices): Cost {
  const rhythm = rhythmOf(workload);
  const runs = runsOf(workload, rhythm);
  const { shards } = workload;
  const captures = times(captureStep(workload, rhythm), rhythm.captures);
  const passes = sumOf(times(CLEANUP_PASS, DAYS), times(CLEANUP_AT_REST, DAYS * shards));
  const storedBytes = storage(workload, rhythm);
  const items = (shards * ASSUMED.itemBytesPerShard) / 1e9;
  const all: Readonly<Record<string, number>> = {
    "appends: requests": dollarsOf(times(APPEND, rhythm.redoFiles), prices),
    "appends: ingest": ingest(workload, rhythm, prices),
    "captures and their cleanup: requests": dollarsOf(captures, prices),
    "captures and their cleanup: Lambda": runs.captures.dollars(prices),
    "planner: schedule, Lambda, requests":
      runs.plan.dollars(prices) + dollarsOf(planStep(workload, rhythm), prices) + (runs.plan.count * prices.schedulerPerMillion) / 1e6,
    "daily cleanup": runs.passes.dollars(prices) + dollarsOf(passes, prices) + (DAYS * prices.schedulerPerMillion) / 1e6,
    "queues asked while empty": polls(workload, prices),
    events: workload.events ? runs.events.dollars(prices) + (rhythm.captures * ASSUMED.eventsPerCapture * prices.eventsPerMillion) / 1e6 : 0,
    "metrics of its own": metrics(workload, rhythm) * prices.metricPerMonth,
    alarms: alarmCount(workload) * prices.alarmPerMonth,
    dashboard: workload.dashboard ? prices.dashboardPerMonth : 0,
    logs: ((runs.count * ASSUMED.logBytesPerRun) / 1e9) * prices.logsPerGb,
    traces: workload.tracing ? (traced(runs.count) * prices.tracesPerMillion) / 1e6 : 0,
    "storage: S3": (storedBytes / 1e9) * prices.s3StoragePerGb,
    "storage: DynamoDB": items * (prices.dynamodbStoragePerGb + prices.dynamodbPointInTimePerGb),
  };
  const parts = Object.entries(all).map(([name, dollars]) => ({ name, dollars }));
  const total = parts.reduce((sum, { dollars }) => sum + dollars, 0);
  return { parts, total, redoFiles: rhythm.redoFiles, captures: rhythm.captures, storedBytes };
}

export function alarmCount({ alarms, ingestQueue, events }: Pick<Workload, "alarms" | "ingestQueue" | "events">): number {
  return alarms ? ALARMS + 2 * Number(ingestQueue) + Number(events) : 0;
}

/** How often what happens. Counts are of a month. */
interface Rhythm {
  readonly activeSeconds: number;
  readonly calls: number;
  readonly redoFiles: number;
  /** From one capture of a shard to the next, while it is active. */
  readonly captureSeconds: number;
  readonly captures: number;
}

function rhythmOf(workload: Workload): Rhythm {
  const { shards, mutationsPerSecond, through, mutationsPerCall, planEveryMinutes } = workload;
  const activeSeconds = DAYS * SECONDS_PER_DAY * (workload.activeHoursPerDay / 24);
  const perShard = mutationsPerSecond / shards;
  if (perShard * activeSeconds === 0) return { activeSeconds: 0, calls: 0, redoFiles: 0, captureSeconds: Number.POSITIVE_INFINITY, captures: 0 };
  const calls = through === "library" ? 0 : (mutationsPerSecond / mutationsPerCall) * activeSeconds;
  // A writer waits from its first batch on. A call has no company but its own: a redo file for each shard that it touches.
  const redoFiles = calls === 0 ? (shards * activeSeconds) / (workload.lingerSeconds + 1 / perShard) : calls * shardsTouched(shards, mutationsPerCall);
  // The planner finds a shard due at its first run behind that time; a capture ends a little behind a run.
  const tick = 60 * planEveryMinutes;
  const byTime = (Math.floor(workload.captureAfterSeconds / tick) + 1) * tick;
  const filesPerSecond = redoFiles / shards / activeSeconds;
  const growths = [workload.captureAfterMutations / perShard, secondsToShare(workload, filesPerSecond), secondsToRecovery(workload, filesPerSecond)];
  const byGrowth = Math.ceil(Math.min(...growths) / tick) * tick;
  const captureSeconds = Math.max(Math.min(byTime, byGrowth), 1 / perShard);
  return { activeSeconds, calls, redoFiles, captureSeconds, captures: (shards * activeSeconds) / captureSeconds };
}

/** Until the log has grown to its share of the snapshot. */
function secondsToShare(workload: Workload, filesPerSecond: number): number {
  const { shards, mutationsPerSecond, bytesPerMutation, captureLogShare } = workload;
  const bytesPerSecond = (mutationsPerSecond * bytesPerMutation) / shards / ASSUMED.compression + filesPerSecond * ASSUMED.redoFileBytes;
  return Math.max(CAPTURE_LOG_BYTES_MIN, captureLogShare * snapshotBytes(workload)) / bytesPerSecond;
}

/** Until a recovery takes longer than it may, by the rates that are taken for granted before a capture has measured any. */
function secondsToRecovery(workload: Workload, filesPerSecond: number): number {
  const { shards, mutationsPerSecond, recoverWithinSeconds } = workload;
  const replayPerSecond = (filesPerSecond * ASSUMED_RATES.fileMicros) / 1e6 + mutationsPerSecond / shards / ASSUMED_RATES.replayPerSecond;
  const readSeconds = snapshotBytes(workload) / ASSUMED_RATES.readPerSecond;
  return Math.max(recoverWithinSeconds - readSeconds, readSeconds) / replayPerSecond;
}

/** Of so many shards, how many the keys of one call go to, on average. */
function shardsTouched(shards: number, mutations: number): number {
  return shards * (1 - (1 - 1 / shards) ** mutations);
}

function captureStep(workload: Workload, { redoFiles, captures }: Rhythm): Requests {
  if (captures === 0) return NO_REQUESTS;
  return capturesRequests(snapshotBytes(workload), { redoFiles: redoFiles / captures, keepSnapshots: workload.keepSnapshots });
}

/** Of a capture as the planner asks for it, and of its cleanup. */
function capturesRequests(bytes: number, { redoFiles, keepSnapshots }: { readonly redoFiles: number; readonly keepSnapshots: number }): Requests {
  const parts = Math.max(1, Math.ceil(bytes / PART_BYTES));
  const groups = Math.max(1, Math.ceil(bytes / GROUP_BYTES));
  const work = captureRequests({ redoFiles, parts, baseGroups: groups, groups });
  const cleanup = cleanupRequests({ parts, objects: redoFiles * keepSnapshots + keepSnapshots });
  return [work, cleanup, BECOME_DIRTY, ASK, MESSAGE].reduce(sumOf);
}

/** One capture of a shard that has a snapshot of so many bytes, as stored, and its cleanup: requests, and Lambda as assumed. */
export function captureDollars({ snapshotBytes: bytes, redoFiles }: { readonly snapshotBytes: number; readonly redoFiles: number }, prices: Prices): number {
  const capturing = lambda(1, captureMs(bytes * ASSUMED.compression), ASSUMED.captureMib);
  const cleaning = lambda(1, ASSUMED.cleanupMs, ASSUMED.cleanupMib);
  const requests = capturesRequests(bytes, { redoFiles, keepSnapshots: KEEP_SNAPSHOTS_MIN });
  return dollarsOf(requests, prices) + capturing.dollars(prices) + cleaning.dollars(prices);
}

function captureMs(stateBytes: number): number {
  return ASSUMED.captureMs + (stateBytes / ASSUMED.captureBytesPerSecond) * 1e3;
}

/** The planner's query; while shards are dirty, it reads their tail hints, and the list of tables. */
function planStep({ shards, planEveryMinutes }: Workload, { activeSeconds }: Rhythm): Requests {
  const active = activeSeconds / 60 / planEveryMinutes;
  const atRest = MINUTES / planEveryMinutes - active;
  const query = { ...PLAN, readUnits: PLAN.readUnits * Math.ceil((shards * INDEX_ENTRY_BYTES) / INDEX_PAGE_BYTES) + 1 };
  return sumOf(times(PLAN, atRest), times(sumOf(query, times(LOOK, shards)), active));
}

interface Runs {
  readonly count: number;
  dollars(prices: Prices): number;
}

function runsOf(workload: Workload, { calls, captures }: Rhythm): Record<"plan" | "captures" | "passes" | "events", Runs> & { readonly count: number } {
  const plan = lambda(MINUTES / workload.planEveryMinutes, ASSUMED.planMs, ASSUMED.planMib);
  const capturing = lambda(captures, captureMs(workload.stateBytes / workload.shards), ASSUMED.captureMib);
  const cleaning = lambda(captures, ASSUMED.cleanupMs, ASSUMED.cleanupMib);
  // The pass itself, the task of the strays, and tasks of shards, which take their time for each shard.
  const passRuns = 2 + Math.ceil(workload.shards / CLEANUP_TASK_SHARDS_MAX);
  const passes = lambda(DAYS * passRuns, (ASSUMED.cleanupMs * (2 + workload.shards)) / passRuns, ASSUMED.cleanupMib);
  const events = lambda(workload.events ? captures * ASSUMED.eventsRunsPerCapture : 0, ASSUMED.eventsMs, ASSUMED.eventsMib);
  return {
    plan,
    captures: { count: 2 * captures, dollars: (prices) => capturing.dollars(prices) + cleaning.dollars(prices) },
    passes,
    events,
    count: plan.count + 2 * captures + passes.count + events.count + calls,
  };
}

function lambda(count: number, ms: number, mib: number): Runs {
  return { count, dollars: (prices) => count * (prices.lambdaRequestsPerMillion / 1e6 + (ms / 1e3) * (mib / 1_024) * prices.lambdaPerGbSecond) };
}

/** Messages are taken one by one; under load they come by up to ten, and cost less. */
function ingest({ through }: Workload, { calls }: Rhythm, prices: Prices): number {
  const messages = through === "queue" ? FIFO_MESSAGE_REQUESTS * calls : 0;
  return lambda(calls, ASSUMED.ingestMs, ASSUMED.ingestMib).dollars(prices) + (messages * prices.sqsFifoPerMillion) / 1e6;
}

function polls({ ingestQueue }: Workload, prices: Prices): number {
  const perQueue = ASSUMED.pollsPerQueueAndMinute * MINUTES;
  return (perQueue * (2 * prices.sqsStandardPerMillion + (ingestQueue ? prices.sqsFifoPerMillion : 0))) / 1e6;
}

/** Metrics are billed by the hour in which they are sent. */
function metrics({ through }: Workload, { activeSeconds, captures, calls }: Rhythm): number {
  const hours = DAYS * 24;
  const captured = METRICS_OF_CAPTURES * Math.min(captures, activeSeconds / 3_600);
  const appended = through === "library" ? 0 : METRICS_OF_INGEST * Math.min(calls, activeSeconds / 3_600);
  const dirty = METRICS_WHILE_DIRTY * (activeSeconds / 3_600);
  return METRICS_AT_REST + METRICS_OF_PASSES + (captured + appended + dirty) / hours;
}

function traced(runs: number): number {
  const seconds = DAYS * SECONDS_PER_DAY;
  return Math.min(runs, seconds) + ASSUMED.tracedShare * Math.max(0, runs - seconds);
}

/** The snapshots that are kept, and the log back to the oldest of them. */
function storage(workload: Workload, { captureSeconds, captures }: Rhythm): number {
  const snapshots = workload.stateBytes * workload.keepSnapshots;
  const log = captures === 0 ? 0 : workload.mutationsPerSecond * workload.bytesPerMutation * captureSeconds * workload.keepSnapshots;
  return (snapshots + log) / ASSUMED.compression;
}

function snapshotBytes({ stateBytes, shards }: Workload): number {
  return stateBytes / shards / ASSUMED.compression;
}
