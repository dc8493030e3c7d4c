// Reads the shards of a plan, several at a time: each again and again while the server fails, until it was read rightly
// (read-shard.ts), is known to be gone, or is given up. What is read is noted, so that the same job goes on behind it.

import { isTidemarkError, TidemarkError } from "../../model/errors.ts";
import { groupsOf } from "../../model/groups.ts";
import { shardName } from "../../model/names.ts";
import type { World } from "../../ports/world.ts";
import type { Life } from "../../redo-log/read.ts";
import type { InfluxClient } from "./client.ts";
import { type Notes, readNotes } from "./gathering.ts";
import { type PlacedShard, shardsOf } from "./meta.ts";
import { isSame, readShard, type ShardReading } from "./read-shard.ts";
import { type Backup, isOf, recordOf, type ShardRecord, shardRecord } from "./records.ts";
import { isInside, type WholeRange } from "./select.ts";

/** Shards that are read at a time. */
const SHARDS_TOGETHER = 3;
/** Notes that are written at a time. */
const NOTES_TOGETHER = 25;
/** Tries at a shard: a busy one answers nothing until its flush is done. */
const ATTEMPTS_MAX = 7;
const BACKOFF_MS = 500;
const BACKOFF_MAX_MS = 10_000;

export interface ReadingJob extends Life {
  readonly client: InfluxClient;
  readonly job: string;
  /** Of the keys of the life's attachments. */
  readonly prefix: string;
  /** Store every file anew. */
  readonly full?: boolean;
  /** Go on behind a shard that fails. */
  readonly skipErrors?: boolean;
  readonly signal?: AbortSignal;
}

export interface ReadingPlan {
  readonly plan: readonly PlacedShard[];
  readonly generation: number;
  /** When the job began: what was noted before is read again. */
  readonly startedAtMs: number;
  readonly range: WholeRange | undefined;
  /** The state before. */
  readonly head: Backup;
  /** Asked all the while; false once another has taken the work over. */
  readonly keep: () => Promise<boolean>;
}

/** What one shard came to. `dropped`: the server has it no more. */
export type ShardResult =
  | { readonly kind: "read"; readonly record: ShardRecord; readonly isChanged: boolean; readonly reading?: ShardReading }
  | { readonly kind: "dropped"; readonly shard: number }
  | { readonly kind: "failed"; readonly placed: PlacedShard; readonly error: unknown };

/**
 * What each shard came to; of those behind one that failed nothing, unless errors are skipped.
 * @throws {TidemarkError} `retry` "lost-lease"
 */
export async function readShards(world: World, job: ReadingJob, about: ReadingPlan): Promise<readonly ShardResult[] | "stopped"> {
  const { plan, generation, startedAtMs, range, head } = about;
  const notes = await readNotes(world, job.id, { generation, job: job.job, startedAtMs, prefix: job.prefix });
  const results: ShardResult[] = [];
  const waiting = [...plan];
  const stop = new AbortController();
  let bytesRead = 0;
  let fatal: TidemarkError | undefined;
  const isStopped = (): boolean => job.signal?.aborted === true || stop.signal.aborted;

  async function work(): Promise<void> {
    for (let placed = waiting.shift(); placed !== undefined && !isStopped(); placed = waiting.shift()) {
      const result = await oneShard(placed);
      if (isStopped() && result.kind === "failed") return;
      results.push(result);
      const what = `shard ${placed.shard} of ${placed.database}/${placed.policy}`;
      world.telemetry.report({ kind: "gathered", shard: shardName(job.id), what, done: results.length, total: plan.length, bytes: bytesRead });
      if (result.kind === "failed" && job.skipErrors !== true) stop.abort();
    }
  }

  async function oneShard(placed: PlacedShard): Promise<ShardResult> {
    const noted = notes.shard(placed.shard);
    if (noted !== undefined && isOf(noted, placed)) return { kind: "read", record: noted, isChanged: noted.generation === generation };
    try {
      const result = await readPlaced(world, job, {
        placed,
        generation,
        range: range !== undefined && !isInside(placed, range) ? range : undefined,
        before: recordOf(head, placed),
        notes,
        onBytes: goOn,
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

  async function goOn(bytes: number): Promise<void> {
    bytesRead += bytes;
    if (isStopped()) throw new TidemarkError("retry", "interrupted", "it was stopped");
    if (!(await about.keep())) throw new TidemarkError("retry", "lost-lease", "another job has taken this backup over: try again");
  }

  await Promise.all(Array.from({ length: SHARDS_TOGETHER }, work));
  if (fatal !== undefined) throw fatal;
  if (job.signal?.aborted !== true) return results;
  await noteUnchanged(notes, results);
  return "stopped";
}

/** Else a server whose unchanged shards take longer than one turn would be read for ever. Who is not stopped pays nothing for it. */
async function noteUnchanged(notes: Notes, results: readonly ShardResult[]): Promise<void> {
  const unchanged = results.flatMap((result) =>
    result.kind === "read" && !result.isChanged && notes.shard(result.record.shard) === undefined ? [result.record] : [],
  );
  for (const some of groupsOf(unchanged, NOTES_TOGETHER)) await Promise.all(some.map((record) => notes.addShard(record)));
}

interface Reading {
  readonly placed: PlacedShard;
  readonly generation: number;
  readonly range: WholeRange | undefined;
  readonly before: ShardRecord | undefined;
  readonly notes: Notes;
  readonly onBytes: (bytes: number) => Promise<void>;
}

/** Reads a shard, again and again while the server fails; then asks whether it has the shard at all. */
async function readPlaced(world: World, job: ReadingJob, about: Reading): Promise<ShardResult> {
  const { placed, generation, before, notes } = about;
  const { database, policy, shard } = placed;
  // Also where the shard was taken by another range before: a file that is the same is not stored again.
  const known = [...notes.filesOf(shard), ...(job.full === true ? [] : (before?.files ?? []))];
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
      const record = shardRecord(placed, { generation, atMs: world.clock.now(), files: reading.files, range });
      return { kind: "read", record, isChanged: true, reading };
    } catch (error) {
      if (!isPassing(error)) throw error;
      if (await isGone(job, placed, before)) return { kind: "dropped", shard };
      if (attempt === ATTEMPTS_MAX) throw error;
      // A server cannot export a shard with tombstones: it breaks off at the first. All of the shard holds the range too.
      if (attempt >= 2) range = undefined;
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
async function isGone({ client }: ReadingJob, { database, policy, shard }: PlacedShard, before: ShardRecord | undefined): Promise<boolean> {
  try {
    const { parsed } = await client.metastore();
    if (!shardsOf(parsed).some((one) => one.shard === shard)) return true;
    return (before?.files ?? []).length === 0 && !(await client.shardIds({ database, policy })).includes(shard);
  } catch (error) {
    if (!isPassing(error)) throw error;
    return false;
  }
}
