// Backs an InfluxDB up: one more generation of a table's state. The plan comes from the server's metastore; each shard is read
// and what is new of it is stored (read-shard.ts); then one batch says what the state is now (I2, I3: of two jobs that gather
// the same generation one wins, by its sequence), and a capture puts it into a snapshot with its checkpoint.
//
// All that the server acknowledged before the job began is in the generation: a server flushes a shard's cache before it
// answers. A shard that fails is told, and is as it was in the generation before; it never counts as read.

import { createHash } from "node:crypto";
import { openShard } from "../../checkpoint/control.ts";
import { createTable, findTable } from "../../jobs/tables.ts";
import { isTidemarkError, messageOf } from "../../model/errors.ts";
import { KEEP_GENERATIONS } from "../../model/limits.ts";
import { incarnationPrefix } from "../../model/names.ts";
import type { World } from "../../ports/world.ts";
import type { Life } from "../../redo-log/read.ts";
import { addressInWords } from "./connection.ts";
import type { InfluxClient } from "./client.ts";
import { commitGeneration, generationRecord, nextGeneration } from "./generation.ts";
import { beginGathering, endGathering, type Gathering } from "./gathering.ts";
import { parseMeta, type PlacedShard, shardsOf, withoutUsers } from "./meta.ts";
import { checkSource, idOf } from "./open-backup.ts";
import { readShards, type ShardResult } from "./read-shards.ts";
import { type Backup, digestOf, type GenerationRecord, type MetastoreRecord, recordOf, type ShardRecord } from "./records.ts";
import { checkSelection, type Range, selectShards, type Selection, wholeRange } from "./select.ts";
import { storeMetastore } from "./store.ts";

const JOB_DIGITS = 16;

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

async function gather(world: World, job: Job, gathering: Gathering): Promise<BackupOutcome> {
  const { client, id } = job;
  const { generation, head, oldestIndex } = await nextGeneration(world, id);
  const range = wholeRange(job.range ?? {});
  const { meta } = await client.metastore();
  const kept = job.withoutUsers === true ? withoutUsers(meta) : meta;
  const parsed = parseMeta(kept);
  const plan = selectShards(parsed, job.selection ?? {}, range);
  const { startedAtMs } = gathering;
  const results = await readShards(world, job, { plan, generation, startedAtMs, range, head, keep: () => gathering.keep() });
  if (results === "stopped") return { kind: "aborted", generation };
  const failed = results.filter((result) => result.kind === "failed");
  if (failed.length > 0 && (job.skipErrors !== true || failed.length === plan.length)) throw failed[0].error;

  const metastore = await metastoreOf(world, job, { kept, generation, before: job.full === true ? undefined : head.metastore });
  const next = stateAfter(head, { results, metastore, ofServer: shardsOf(parsed) });
  if (job.full !== true && failed.length === 0 && digestOf(next) === digestOf(head) && head.generations.size > 0) {
    return { kind: "ignored", generation: generation - 1, shards: plan.length };
  }
  const record = generationRecord(head, next, {
    generation,
    isFull: job.full === true,
    job: job.job,
    server: addressInWords(client.address),
    startedAtMs,
    finishedAtMs: world.clock.now(),
    selection: job.selection ?? {},
    ...(range && { range }),
    changedShards: results.filter((result) => result.kind === "read" && result.isChanged).length,
    failed: failed.map(({ placed: { shard, database, policy }, error }) => ({ shard, database, policy, error: messageOf(error) })),
  });
  if (!(await commitGeneration(world, job, { head, next, record, oldestIndex }))) return { kind: "outOfDate", generation };
  return { kind: record.outcome === "complete" ? "completed" : "partial", generation: record, vanished: results.flatMap(vanishedOf) };
}

function vanishedOf(result: ShardResult): readonly string[] {
  if (result.kind !== "read") return [];
  const { database, policy, shard } = result.record;
  return (result.reading?.vanished ?? []).map((file) => `${database}/${policy}/${shard}/${file}`);
}

async function metastoreOf(
  world: World,
  job: Job,
  { kept, generation, before }: { readonly kept: Buffer; readonly generation: number; readonly before: MetastoreRecord | undefined },
): Promise<MetastoreRecord> {
  const users = job.withoutUsers === true ? "left out" : "kept";
  const sha256 = createHash("sha256").update(kept).digest("hex");
  if (before?.sha256 === sha256) return { ...before, users };
  return storeMetastore(world, { prefix: job.prefix, generation }, { meta: kept, users });
}

/** The state with what was read. Shards that the server's metastore has no more are no part of it; earlier generations keep them. */
function stateAfter(
  head: Backup,
  about: { readonly results: readonly ShardResult[]; readonly metastore: MetastoreRecord; readonly ofServer: readonly PlacedShard[] },
): Backup {
  const shards = new Map<number, ShardRecord>();
  for (const placed of about.ofServer) {
    const record = recordOf(head, placed);
    if (record !== undefined) shards.set(record.shard, record);
  }
  for (const result of about.results) {
    if (result.kind === "read") shards.set(result.record.shard, result.record);
    if (result.kind === "dropped") shards.delete(result.shard);
  }
  const inOrder = new Map([...shards].sort(([a], [b]) => a - b));
  return { metastore: about.metastore, shards: inOrder, generations: head.generations };
}
