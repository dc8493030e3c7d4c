// One snapshot job of one shard, in AresDB's stages: snapshot, cleanup, complete. What it did, or why it failed, is kept
// on the shard's job item, and told as it happens. With nothing new nothing is written, but cleanup still runs.

import { controlItem, jobItem } from "../checkpoint/items.ts";
import { CAPTURES_PER_RUN_MAX } from "../model/limits.ts";
import { type ShardId, shardName } from "../model/names.ts";
import type { Index, Position } from "../model/position.ts";
import type { Attributes } from "../ports/checkpoint-store.ts";
import type { JobStage } from "../ports/telemetry.ts";
import type { World } from "../ports/world.ts";
import { type CaptureOutcome, type Captured, capture } from "../snapshot/capture.ts";
import { type CleanupReport, cleanupShard } from "./cleanup.ts";
import { findTable } from "./tables.ts";

export interface SnapshotRequest {
  readonly id: ShardId;
  readonly foldBytesMax?: number;
  readonly partBytes?: number;
  readonly signal?: AbortSignal;
}

export interface SnapshotReport {
  readonly outcome: CaptureOutcome;
  /** How many captures the log took; their mutations and sent bytes are summed in `outcome`. */
  readonly captures: number;
  readonly cleanup?: CleanupReport;
  readonly durationMs: number;
}

/** Captures until the log that was there is held, then cleans up. */
export async function snapshotShard(world: World, request: SnapshotRequest): Promise<SnapshotReport> {
  const { id } = request;
  const { clock, telemetry } = world;
  const startedAtMs = clock.now();
  const table = await findTable(world, id.table);
  if (table === undefined || table.state === "deleting" || id.shard >= table.shards) {
    telemetry.report({ kind: "warning", shard: shardName(id), message: "there is no such shard: was it deleted? nothing was captured" });
    return { outcome: { kind: "ignored", reason: "shard-deleted" }, captures: 0, durationMs: 0 };
  }
  let stage: JobStage = "snapshot";
  let progress: Progress = {};
  try {
    await enter("snapshot");
    const { outcome, captures } = await captureAll(world, { ...request, codec: table.codec });
    progress = { outcome: outcome.kind, ...(outcome.kind === "completed" && describe(outcome)) };
    const durationMs = clock.now() - startedAtMs;
    if (outcome.kind === "completed") {
      const { index, mutations, rows, bytes } = outcome;
      telemetry.report({ kind: "captured", shard: shardName(id), index, mutations, rows, bytes, durationMs });
    }
    await enter("cleanup");
    const cleanup = await cleanupShard(world, { id, policy: table });
    await enter("complete");
    return { outcome, captures, cleanup, durationMs: clock.now() - startedAtMs };
  } catch (error) {
    progress = { ...progress, outcome: "failed", error: error instanceof Error ? error.message : String(error) };
    // The job's own failure is what the caller must learn, even where keeping it fails too.
    await keep().catch(() => undefined);
    throw error;
  }

  async function enter(next: JobStage): Promise<void> {
    stage = next;
    telemetry.report({ kind: "job-stage", shard: shardName(id), job: "snapshot", stage });
    await keep();
  }

  async function keep(): Promise<void> {
    const put: Attributes = { formatVersion: 1, stage, startedAtMs, durationMs: clock.now() - startedAtMs, ...progress };
    // A shard that was never written, or was deleted meanwhile, has no job item either.
    await world.checkpoints.write([
      { item: controlItem(id), when: [{ kind: "present" }], check: true },
      { item: jobItem(id), when: [], put },
    ]);
  }
}

/** The shard's last snapshot job, as its item has it; absent before the first. */
export async function lastJob({ checkpoints }: World, id: ShardId): Promise<Attributes | undefined> {
  const item = await checkpoints.get(jobItem(id));
  if (item === undefined) return undefined;
  const { formatVersion: _, ...job } = item.attributes;
  return job;
}

interface Progress {
  readonly outcome?: string;
  readonly index?: Index;
  readonly redoFile?: Index;
  readonly batchOffset?: number;
  readonly mutations?: number;
  readonly rows?: number;
  readonly bytes?: number;
  readonly bytesSent?: number;
  readonly error?: string;
}

function describe({ index, position, mutations, rows, bytes, bytesSent }: Captured & { readonly position: Position }): Progress {
  return { index, ...position, mutations, rows, bytes, bytesSent };
}

/** A log too long for the memory of one capture takes several. */
async function captureAll(world: World, request: Parameters<typeof capture>[1]): Promise<{ readonly outcome: CaptureOutcome; readonly captures: number }> {
  let outcome = await capture(world, request);
  let captures = 1;
  while (outcome.kind === "completed" && outcome.more && captures < CAPTURES_PER_RUN_MAX) {
    const next = await capture(world, request);
    if (next.kind !== "completed") break;
    captures++;
    outcome = { ...next, mutations: outcome.mutations + next.mutations, bytesSent: outcome.bytesSent + next.bytesSent };
  }
  return { outcome, captures };
}
