// Those who call the functions while they are killed: writers, which repeat each call unchanged until it is answered; some who
// ask for captures and cleanups; and readers.

import { setTimeout as pause } from "node:timers/promises";
import { systemClock } from "../../../../lib/adapters/local/clock.ts";
import { readControl } from "../../../../lib/checkpoint/control.ts";
import { acquireLease } from "../../../../lib/checkpoint/lease.ts";
import { isTidemarkError } from "../../../../lib/model/errors.ts";
import { LEASE_TTL_MS } from "../../../../lib/model/limits.ts";
import type { ShardId } from "../../../../lib/model/names.ts";
import { shardOf } from "../../../../lib/model/table.ts";
import type { Random } from "../../../../lib/ports/random.ts";
import type { World } from "../../../../lib/ports/world.ts";
import { KEYS, mutationsOf, producerOf } from "../../../processes/batches.ts";
import type { ModelMutation } from "../../../processes/keyed-model.ts";
import { type Reading, readNow, type Sent } from "../../../processes/witness.ts";
import type { Calls } from "./calls.ts";
import type { FunctionName } from "./invocations.ts";

export interface Run {
  readonly world: World;
  readonly calls: Calls;
  readonly table: string;
  readonly shards: number;
  readonly random: Random;
  isOver(): boolean;
}

/** What one batch has in one shard. */
export interface SentShare extends Sent {
  readonly shard: number;
}

const BATCHES_TOGETHER_MAX = 3;
const CALLS_OF_ONE_MAX = 200;
/** Rests are cut short where the next call is to be killed. */
const WRITER_REST_MS = 1_000;
const CAPTURER_REST_MS = 500;
const REQUEST_REST_MS = 5_000;
const REST_STEP_MS = 20;
const READ_EVERY_MS = 500;
/** Of the leases of killed captures, and of those that may be at work. */
const LAPSE_KILLED = 0.7;
const LAPSE_ANY = 0.15;
const CLEAN_DIRECTLY = 0.3;

/** Appends until the run is over. The last call goes to all shards. */
export async function write(run: Run, writer: string): Promise<readonly SentShare[]> {
  const sent: SentShare[] = [];
  let next = 1;
  for (let isLast = false; !isLast; ) {
    isLast = run.isOver();
    const size = 1 + Math.floor(run.random.fraction() * BATCHES_TOGETHER_MAX);
    const batches = Array.from({ length: size }, () => sharesOf(run, writer, next++, isLast));
    sent.push(...(await appendAll(run, writer, batches)));
    await rest(run, "ingest", WRITER_REST_MS);
  }
  return sent;
}

type Share = Omit<SentShare, "sentAt" | "acknowledged"> & { readonly sequence: number };

function sharesOf({ random, shards }: Run, writer: string, sequence: number, inAll: boolean): readonly Share[] {
  const only = Math.floor(random.fraction() * shards);
  const chosen = Array.from({ length: shards }, (_, shard) => shard).filter((shard) => inAll || shard === only || random.fraction() < 0.3);
  return chosen.map((shard) => ({
    name: `batch ${sequence} of ${writer} in shard ${shard}`,
    producer: producerOf(writer),
    sequence,
    shard,
    mutations: mutationsOf(writer, sequence * shards + shard, keysIn(shard, shards)),
  }));
}

/** Keys of one shard, by their number. */
function keysIn(shard: number, shards: number): (number: number) => string {
  const keys = Array.from({ length: KEYS }, (_, number) => `k/${number}`).filter((key) => shardOf(Buffer.from(key), shards) === shard);
  return (number) => keys[number % keys.length];
}

async function appendAll({ calls, table }: Run, writer: string, batches: readonly (readonly Share[])[]): Promise<readonly SentShare[]> {
  const body = bodyOf(producerOf(writer), batches);
  const sentAt = process.hrtime.bigint();
  for (let attempt = 0; attempt < CALLS_OF_ONE_MAX; attempt++) {
    const answer = await calls.http("ingest", { method: "POST", path: `/tables/${table}/batches`, body });
    if (answer.kind === "none" || answer.status === 503) continue;
    if (answer.status !== 200) throw new Error(`a call of ${writer} was refused: ${answer.status} ${answer.body}`);
    const at = process.hrtime.bigint();
    const { shards }: { readonly shards: readonly { readonly shard: number; readonly lastIndex: number }[] } = JSON.parse(answer.body);
    const lasts = new Map(shards.map(({ shard, lastIndex }) => [shard, lastIndex]));
    // The batches of a call lie one behind the other: counted from the last.
    const shares = batches.flat().toReversed();
    return shares.map(({ sequence: _, ...share }) => {
      const last = lasts.get(share.shard) ?? 0;
      const first = last - share.mutations.length + 1;
      lasts.set(share.shard, first - 1);
      return { ...share, sentAt, acknowledged: { first, last, at } };
    });
  }
  throw new Error(`a call of ${writer} was not answered ${CALLS_OF_ONE_MAX} times`);
}

/** Values stand in the body as they are to be stored. */
function bodyOf(producer: string | undefined, batches: readonly (readonly Share[])[]): string {
  const texts = batches.map((shares) => {
    const sequence = producer === undefined ? "" : `"sequence":${shares[0].sequence},`;
    return `{${sequence}"mutations":[${shares.flatMap(({ mutations }) => mutations.map(mutationText)).join(",")}]}`;
  });
  return `{${producer === undefined ? "" : `"producer":"${producer}",`}"batches":[${texts.join(",")}]}`;
}

function mutationText({ kind, key, value }: ModelMutation): string {
  return kind === "delete" ? `{"op":"delete","key":"${key}"}` : `{"op":"${kind}","key":"${key}","value":${value}}`;
}

async function rest({ calls, random, isOver }: Run, name: FunctionName, msMax: number): Promise<void> {
  const until = performance.now() + random.fraction() * msMax;
  do await pause(REST_STEP_MS);
  while (performance.now() < until && !isOver() && !calls.isArmed(name));
}

/** Captures a shard, then now and then cleans it, again and again. Leases of killed captures lapse, and now and then one of a capture at work. */
export async function captureAndClean(run: Run): Promise<void> {
  const { calls, table, shards, random } = run;
  while (!run.isOver()) {
    const id = { table, shard: Math.floor(random.fraction() * shards) };
    if (random.fraction() < LAPSE_ANY) await lapse(run.world, id);
    const captured = await calls.message("snapshot", id, id);
    if (captured.kind === "none" && random.fraction() < LAPSE_KILLED) await lapse(run.world, id);
    if (captured.kind === "done" && (calls.isArmed("cleanup") || random.fraction() < CLEAN_DIRECTLY))
      await calls.message("cleanup", id, { kind: "after", ...id });
    await rest(run, "snapshot", CAPTURER_REST_MS);
  }
}

/** Ends a lease as its time does: one whose clock is ahead takes it, and lets go again. */
export async function lapse(world: World, id: ShardId): Promise<void> {
  const control = await readControl(world.checkpoints, id);
  if (control?.lease === undefined) return;
  const { now, sleep } = systemClock();
  let aheadMs = LEASE_TTL_MS;
  const acquired = await acquireLease({ ...world, clock: { now: () => now() + aheadMs, sleep } }, id, LEASE_TTL_MS);
  aheadMs = 0;
  if (acquired.kind === "held") await acquired.lease.release();
}

export interface Requested {
  readonly shard: number;
  readonly request: string;
}

/** Asks for captures, which the queue brings to the snapshot function. */
export async function request(run: Run): Promise<readonly Requested[]> {
  const requested: Requested[] = [];
  while (!run.isOver()) {
    const shard = Math.floor(run.random.fraction() * run.shards);
    const answer = await run.calls.http("requests", { method: "POST", path: `/tables/${run.table}/shards/${shard}/captures` });
    if (answer.kind === "answered" && answer.status !== 503) {
      if (answer.status !== 202) throw new Error(`a request was refused: ${answer.status} ${answer.body}`);
      requested.push({ shard, request: JSON.parse(answer.body).request });
    }
    await rest(run, "requests", REQUEST_REST_MS);
  }
  return requested;
}

/** Recovers the newest state of shard after shard. */
export async function read({ world, table, shards, isOver }: Run): Promise<ReadonlyMap<number, readonly Reading[]>> {
  const readings = new Map<number, Reading[]>(Array.from({ length: shards }, (_, shard) => [shard, []]));
  for (let shard = 0; !isOver(); shard = (shard + 1) % shards) {
    try {
      readings.get(shard)?.push(await readNow(world, { table, shard }));
    } catch (error) {
      if (!isTidemarkError(error) || error.kind !== "retry") throw error;
    }
    await pause(READ_EVERY_MS);
  }
  return readings;
}
