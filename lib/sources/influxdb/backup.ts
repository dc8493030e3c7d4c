// Backs an InfluxDB up: one more generation of a table's state. The plan comes from the server's metastore; each shard is read
// and what is new of it is stored (read-shard.ts); then one batch says what the state is now (I2, I3: of two jobs that gather
// the same generation one wins, by its sequence), and a capture puts it into a snapshot with its checkpoint.
//
// All that the server acknowledged before the job began is in the generation: a server flushes a shard's cache before it
// answers. A shard that fails is told, and is as it was in the generation before; it never counts as read.

import { createHash } from "node:crypto";
import { attach } from "../../attachments/attach.ts";
import { openShard } from "../../checkpoint/control.ts";
import { createTable, findTable } from "../../jobs/tables.ts";
import { isTidemarkError, messageOf, TidemarkError } from "../../model/errors.ts";
import { groupsOf } from "../../model/groups.ts";
import { KEEP_GENERATIONS } from "../../model/limits.ts";
import { attachmentReference, incarnationPrefix, shardName } from "../../model/names.ts";
import type { World } from "../../ports/world.ts";
import type { Life } from "../../redo-log/read.ts";
import { lastSequence } from "../../recovery/sessions.ts";
import { addressInWords } from "./connection.ts";
import type { InfluxClient } from "./client.ts";
import { commitGeneration, generationRecord } from "./generation.ts";
import { beginGathering, endGathering, type Gathering, type Notes, readNotes } from "./gathering.ts";
import { parseMeta, type PlacedShard, withoutUsers } from "./meta.ts";
import { checkSource, idOf, readNewest } from "./open-backup.ts";
import { isSame, readShard, type ShardReading } from "./read-shard.ts";
import { type Backup, digestOf, type GenerationRecord, type MetastoreRecord, PRODUCER, type ShardRecord } from "./records.ts";
import { checkSelection, isInside, type Range, selectShards, type Selection, wholeRange } from "./select.ts";

/** Shards that are read at a time. */
const SHARDS_TOGETHER = 3;
/** Notes that are written at a time. */
const NOTES_TOGETHER = 25;
/** Tries at a shard: a busy one answers nothing until its flush is done. */
const ATTEMPTS_MAX = 7;
const BACKOFF_MS = 500;
const BACKOFF_MAX_MS = 10_000;

export interface BackupRequest {
  readonly name: string;
  readonly client: InfluxClient;
  readonly selection?: Selection;
  readonly range?: Range;
  /** Store every file anew, and refer to none of a generation before. */
  readonly full?: boolean;
  /** Commit a generation although shards failed: those stay as they were. */
  readonly skipErrors?: boolean;
  /** Leave users and their passwords' hashes out of the metastore. */
  readonly withoutUsers?: boolean;
  /** Names the job: one that is begun again under its name goes on at the shard where it was stopped. */
  readonly job?: string;
  readonly signal?: AbortSignal;
}

/**
 * `completed`, `partial`: committed; of a partial one some shards failed. `ignored`: nothing is new, nothing was written. `rejected`:
 * another job is at it. `outOfDate`: another committed this generation first. `aborted`: told to stop; what is stored is not
 * stored again.
 */
export type BackupOutcome =
  | { readonly kind: "completed" | "partial"; readonly generation: GenerationRecord; readonly vanished: readonly string[] }
  | { readonly kind: "ignored"; readonly generation: number; readonly shards: number }
  | { readonly kind: "rejected"; readonly owner: string; readonly untilMs: number }
  | { readonly kind: "outOfDate"; readonly generation: number }
  | { readonly kind: "aborted"; readonly generation: number };

const JOB_DIGITS = 16;

/**
 * @throws {TidemarkError} `call` for a selection that the server does not have, or a name of another kind of table; `retry` where
 * the server cannot be read
 */
export async function backUp(world: World, request: BackupRequest): Promise<BackupOutcome> {
  const { name } = request;
  checkSelection(request.selection ?? {});
  // Before anything is made: a wrong address leaves no table behind.
  await request.client.dialect();
  await ensureSource(world, name);
  const id = idOf(name);
  const { incarnation } = await openShard(world, id, world.clock.now());
  const job = request.job ?? world.random.id(JOB_DIGITS);
  const begun = await beginGathering(world, id, job);
  if (begun.kind === "rejected") return begun;
  try {
    const outcome = await gather(world, { ...request, id, incarnation, job, prefix: incarnationPrefix(id, incarnation) }, begun.gathering);
    if (outcome.kind !== "aborted") await endGathering(world, id, job);
    return outcome;
  } finally {
    await begun.gathering.release();
  }
}

/**
 * Makes the table of a backup, if it is not there.
 * @throws {TidemarkError} `call` "other-source" where the name is that of another kind of table
 */
export async function ensureSource(world: World, name: string): Promise<void> {
  const table = await findTable(world, name);
  if (table === undefined) {
    try {
      await createTable(world, { name, source: "influxdb", keepSnapshots: KEEP_GENERATIONS });
    } catch (error) {
      if (!isTidemarkError(error) || error.code !== "table-exists") throw error;
    }
  }
  await checkSource(world, name);
}

interface Job extends BackupRequest, Life {
  readonly job: string;
  readonly prefix: string;
}

/** What one shard came to. `dropped`: the server has it no more. */
type ShardResult =
  | { readonly kind: "read"; readonly record: ShardRecord; readonly isChanged: boolean; readonly reading?: ShardReading }
  | { readonly kind: "dropped"; readonly shard: number }
  | { readonly kind: "failed"; readonly placed: PlacedShard; readonly error: unknown };

async function gather(world: World, job: Job, gathering: Gathering): Promise<BackupOutcome> {
  const { client, id } = job;
  // In this order: where another commits in between, this one's number is taken, and it changes nothing.
  const generation = Number((await lastSequence(world, id, PRODUCER, world.clock.now())) ?? 0n) + 1;
  const { backup: head, oldestIndex } = await readNewest(world, job.name);
  const range = wholeRange(job.range ?? {});
  const { meta } = await client.metastore();
  const kept = job.withoutUsers === true ? withoutUsers(meta) : meta;
  const parsed = parseMeta(kept);
  const plan = selectShards(parsed, job.selection ?? {}, range);
  const notes = await readNotes(world, id, { generation, job: job.job, prefix: job.prefix });
  const results: ShardResult[] = [];
  let bytesRead = 0;
  const waiting = [...plan];
  const stop = new AbortController();
  let fatal: TidemarkError | undefined;
  const isStopped = (): boolean => job.signal?.aborted === true || stop.signal.aborted;

  async function work(): Promise<void> {
    for (let placed = waiting.shift(); placed !== undefined && !isStopped(); placed = waiting.shift()) {
      const result = await oneShard(placed);
      if (isStopped() && result.kind === "failed") return;
      results.push(result);
      world.telemetry.report({
        kind: "gathered",
        shard: shardName(id),
        what: `shard ${placed.shard} of ${placed.database}/${placed.policy}`,
        done: results.length,
        total: plan.length,
        bytes: bytesRead,
      });
      if (result.kind === "failed" && job.skipErrors !== true) stop.abort();
    }
  }

  async function oneShard(placed: PlacedShard): Promise<ShardResult> {
    const noted = notes.shard(placed.shard);
    if (noted !== undefined) return { kind: "read", record: noted, isChanged: noted.generation === generation };
    try {
      const result = await readPlaced(world, job, {
        placed,
        generation,
        range: range !== undefined && !isInside(placed, range) ? range : undefined,
        before: head.shards.get(placed.shard),
        notes,
        onBytes: async (bytes) => {
          bytesRead += bytes;
          if (isStopped()) throw new TidemarkError("retry", "interrupted", "it was stopped");
          if (!(await gathering.keep())) throw new TidemarkError("retry", "lost-lease", "another job has taken this backup over: try again");
        },
      });
      if (result.kind === "read" && result.isChanged) await notes.addShard(result.record);
      return result;
    } catch (error) {
      if (isTidemarkError(error) && error.code === "lost-lease") {
        fatal ??= error;
        stop.abort();
      }
      return { kind: "failed", placed, error };
    }
  }

  await Promise.all(Array.from({ length: SHARDS_TOGETHER }, work));
  if (fatal !== undefined) throw fatal;
  if (job.signal?.aborted === true) {
    // Else a server whose unchanged shards take longer than one turn would be read for ever. Who is not stopped pays nothing for it.
    const unchanged = results.flatMap((result) =>
      result.kind === "read" && !result.isChanged && notes.shard(result.record.shard) === undefined ? [result.record] : [],
    );
    for (const some of groupsOf(unchanged, NOTES_TOGETHER)) await Promise.all(some.map((record) => notes.addShard(record)));
    return { kind: "aborted", generation };
  }
  const failed = results.filter((result) => result.kind === "failed");
  if (failed.length > 0 && (job.skipErrors !== true || failed.length === plan.length)) throw failed[0].error;

  const metastore = await storeMetastore(world, job, { kept, generation, before: job.full === true ? undefined : head.metastore });
  const next = stateAfter(head, { results, metastore, shardsOfServer: new Set(allShards(parsed)) });
  if (job.full !== true && failed.length === 0 && digestOf(next) === digestOf(head) && head.generations.size > 0) {
    return { kind: "ignored", generation: generation - 1, shards: plan.length };
  }
  const record = generationRecord(head, next, {
    generation,
    isFull: job.full === true,
    job: job.job,
    server: addressInWords(client.address),
    startedAtMs: gathering.startedAtMs,
    finishedAtMs: world.clock.now(),
    selection: job.selection ?? {},
    ...(range && { range }),
    changedShards: results.filter((result) => result.kind === "read" && result.isChanged).length,
    failed: failed.map(({ placed: { shard, database, policy }, error }) => ({ shard, database, policy, error: messageOf(error) })),
  });
  if (!(await commitGeneration(world, job, { head, next, record, oldestIndex }))) return { kind: "outOfDate", generation };
  const vanished = results.flatMap((result) =>
    result.kind === "read"
      ? (result.reading?.vanished ?? []).map((file) => `${result.record.database}/${result.record.policy}/${result.record.shard}/${file}`)
      : [],
  );
  return { kind: record.outcome === "complete" ? "completed" : "partial", generation: record, vanished };
}

function allShards({ databases }: ReturnType<typeof parseMeta>): readonly number[] {
  return databases.flatMap(({ policies }) => policies.flatMap(({ groups }) => groups.filter(({ isDeleted }) => !isDeleted).flatMap(({ shards }) => shards)));
}

interface Reading {
  readonly placed: PlacedShard;
  readonly generation: number;
  readonly range: { readonly start: string; readonly end: string } | undefined;
  readonly before: ShardRecord | undefined;
  readonly notes: Notes;
  readonly onBytes: (bytes: number) => Promise<void>;
}

/** Reads a shard, again and again while the server fails; then asks whether it has the shard at all. */
async function readPlaced(world: World, job: Job, about: Reading): Promise<ShardResult> {
  const { placed, generation, before, notes } = about;
  const { database, policy, shard } = placed;
  const known = [...notes.filesOf(shard)];
  const missed = new Set<string>();
  const comparable = job.full !== true && before !== undefined && JSON.stringify(before.range) === JSON.stringify(about.range) ? before : undefined;
  let { range } = about;
  for (let attempt = 1; ; attempt++) {
    try {
      const reading = await readShard(
        {
          objects: world.objects,
          random: world.random,
          client: job.client,
          read: about.onBytes,
          stored: async (file) => {
            known.push(file);
            await notes.addFile(shard, file);
          },
        },
        { place: { database, policy, shard }, range, prefix: job.prefix, generation, before: comparable?.files, known, missed },
      );
      if (comparable !== undefined && isSame(comparable.files, reading.files)) return { kind: "read", record: comparable, isChanged: false, reading };
      const record: ShardRecord = {
        shard,
        database,
        policy,
        startNs: String(placed.startNs),
        endNs: String(placed.endNs),
        generation,
        capturedAt: new Date(world.clock.now()).toISOString(),
        files: [...reading.files],
        ...(range && { range }),
      };
      return { kind: "read", record, isChanged: true, reading };
    } catch (error) {
      if (!isPassing(error)) throw error;
      if (await isGone(job, placed, before)) return { kind: "dropped", shard };
      if (attempt === ATTEMPTS_MAX) throw error;
      // A server cannot export a shard with tombstones: it breaks off at the first. All of the shard holds the range too.
      if (range !== undefined && attempt >= 2 && isTidemarkError(error) && error.code !== "unreachable") range = undefined;
      const waitMs = Math.min(BACKOFF_MAX_MS, BACKOFF_MS * 2 ** (attempt - 1)) * (0.5 + world.random.fraction() / 2);
      await world.clock.sleep(waitMs, job.signal);
    }
  }
}

/** What another try may not meet. */
function isPassing(error: unknown): boolean {
  return isTidemarkError(error) && error.kind === "retry" && !["interrupted", "lost-lease", "unreachable"].includes(error.code);
}

/**
 * Whether the server has the shard no more. One of which its metastore knows, but which it does not list, may have been made ahead
 * of its points; where there were files of it before, the server could not open it, and all of it is still to come. Where
 * the server does not tell, it is not gone.
 */
async function isGone({ client }: Job, { database, policy, shard }: PlacedShard, before: ShardRecord | undefined): Promise<boolean> {
  try {
    const { parsed } = await client.metastore();
    if (!allShards(parsed).includes(shard)) return true;
    return (before?.files ?? []).length === 0 && !(await client.shardIds({ database, policy })).includes(shard);
  } catch (error) {
    if (!isPassing(error)) throw error;
    return false;
  }
}

async function storeMetastore(
  world: World,
  job: Job,
  { kept, generation, before }: { readonly kept: Buffer; readonly generation: number; readonly before: MetastoreRecord | undefined },
): Promise<MetastoreRecord> {
  const users = job.withoutUsers === true ? "left out" : "kept";
  const sha256 = createHash("sha256").update(kept).digest("hex");
  if (before?.sha256 === sha256) return { ...before, users };
  const object = attachmentReference(generation, `metastore-${world.random.id(JOB_DIGITS)}`);
  const content = await attach(world, `${job.prefix}${object}`, [kept]);
  return { ...content, object, users };
}

/** The state with what was read. Shards that the server's metastore has no more are no part of it; earlier generations keep them. */
function stateAfter(
  head: Backup,
  about: { readonly results: readonly ShardResult[]; readonly metastore: MetastoreRecord; readonly shardsOfServer: ReadonlySet<number> },
): Backup {
  const shards = new Map([...head.shards].filter(([shard]) => about.shardsOfServer.has(shard)));
  for (const result of about.results) {
    if (result.kind === "read") shards.set(result.record.shard, result.record);
    if (result.kind === "dropped") shards.delete(result.shard);
  }
  const inOrder = new Map([...shards].sort(([a], [b]) => a - b));
  return { metastore: about.metastore, shards: inOrder, generations: head.generations };
}
