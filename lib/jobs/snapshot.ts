// One snapshot job of one shard, in AresDB's stages: snapshot, cleanup, complete. What it did, or why it failed, is kept
// on the shard's job item, and told as it happens. With nothing new nothing is written, but cleanup still runs. Where
// cleanup is another function's right, that function ends the job.

import { controlItem, jobItem } from "../checkpoint/items.ts";
import { assert } from "../model/assert.ts";
import { messageOf } from "../model/errors.ts";
import type { ValueCodec } from "../model/mutation.ts";
import { CAPTURES_PER_RUN_MAX } from "../model/limits.ts";
import { type ShardId, shardName } from "../model/names.ts";
import type { Epoch, Index, Position } from "../model/position.ts";
import type { Attributes } from "../ports/checkpoint-store.ts";
import type { JobStage } from "../ports/telemetry.ts";
import type { ItemWorld, World } from "../ports/world.ts";
import { capture, spreadCapture } from "../snapshot/capture.ts";
import { captureSection, type SectionOutcome } from "../snapshot/capture-section.ts";
import type { Captured, CaptureOutcome, CaptureRequest, Spread } from "../snapshot/outcome.ts";
import { type CleanupReport, cleanupShard } from "./cleanup.ts";
import { tellRequest } from "./requests.ts";
import { findTable } from "./tables.ts";

export interface SnapshotRequest extends Omit<CaptureRequest, "codec"> {
  /** Id of the request that asked for it, if one did (lib/jobs/requests.ts): it is told the outcome. */
  readonly request?: string;
  /** Captures that one job begins at most; CAPTURES_PER_RUN_MAX by default. */
  readonly capturesMax?: number;
  /** Leave the sections of a large shard to others, each to be asked for by `section`. */
  readonly spread?: boolean;
  /** Make this section of the capture that was spread under the epoch, instead of a capture of its own. */
  readonly section?: { readonly epoch: Epoch; readonly number: number };
}

export interface CaptureReport {
  readonly outcome: SectionOutcome | Spread;
  /** How many captures the log took; their mutations and sent bytes are summed in `outcome`. */
  readonly captures: number;
  readonly durationMs: number;
  /**
   * What the job needs now. `capture`: it was stopped, or the log goes on behind its snapshot. `section`: the section was stopped.
   * `sections`: those that the outcome names. `nothing`: others have the shard, or it is gone.
   */
  readonly next: "capture" | "section" | "sections" | "cleanup" | "nothing";
}

export interface SnapshotReport extends Omit<CaptureReport, "next" | "outcome"> {
  readonly outcome: CaptureOutcome;
  readonly cleanup?: CleanupReport;
}

/** Captures until the log that was there is held, then cleans up. */
export async function snapshotShard(world: World, request: Omit<SnapshotRequest, "spread" | "section">): Promise<SnapshotReport> {
  const startedAtMs = world.clock.now();
  const { next: _, outcome, ...about } = await captureShard(world, request);
  assert(outcome.kind !== "spread" && outcome.kind !== "sectionDone", "a whole job leaves no sections to others");
  const captured = { ...about, outcome };
  if (outcome.kind === "ignored" && outcome.reason === "shard-deleted") return captured;
  const cleanup = await cleanupAfter(world, request.id);
  return { ...captured, ...(cleanup && { cleanup }), durationMs: world.clock.now() - startedAtMs };
}

/** The job's first stage. It leaves the job at "cleanup", for `cleanupAfter`. */
export async function captureShard(world: World, request: SnapshotRequest): Promise<CaptureReport> {
  const { id } = request;
  const { clock, telemetry } = world;
  const startedAtMs = clock.now();
  const table = await findTable(world, id.table);
  if (table === undefined || table.state === "deleting" || id.shard >= table.shards) {
    telemetry.report({ kind: "warning", shard: shardName(id), message: "there is no such shard: was it deleted? nothing was captured" });
    return { outcome: { kind: "ignored", reason: "shard-deleted" }, captures: 0, durationMs: 0, next: "nothing" };
  }
  let stage: JobStage = "snapshot";
  let progress: Progress = {};
  let state: "running" | "done" = "running";
  try {
    await enter("snapshot");
    const { outcome, captures } = await work(world, request, table.codec);
    const next = nextOf(outcome, request);
    if (next === "cleanup" || next === "nothing") state = "done";
    progress = { outcome: outcome.kind, ...(outcome.kind === "completed" && describe(outcome)) };
    const durationMs = clock.now() - startedAtMs;
    if (outcome.kind === "completed") {
      const { index, mutations, rows, bytes, bytesSent } = outcome;
      telemetry.report({ kind: "captured", shard: shardName(id), index, mutations, rows, bytes, bytesSent, durationMs });
    }
    await enter("cleanup");
    return { outcome, captures, durationMs, next };
  } catch (error) {
    state = "done";
    progress = { outcome: "failed", error: messageOf(error) };
    // The job's own failure is what the caller must learn, even where keeping it fails too.
    await keep().catch(() => undefined);
    throw error;
  }

  async function enter(entered: JobStage): Promise<void> {
    stage = entered;
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
    // A section that others go on behind ends no request: the last one does, and may have by now.
    if (request.request === undefined || progress.outcome === "sectionDone") return;
    const { outcome: _, ...rest } = put;
    await tellRequest(world, { id, request: request.request }, state === "done" ? { ...put, state } : { ...rest, state });
  }
}

/** The job's second stage, and its end. Nothing where the table is gone. */
export async function cleanupAfter(world: World, id: ShardId): Promise<CleanupReport | undefined> {
  const table = await findTable(world, id.table);
  if (table === undefined || table.state === "deleting") return undefined;
  try {
    const report = await cleanupShard(world, { id, policy: table });
    await endJob(world, id, {});
    return report;
  } catch (error) {
    await endJob(world, id, { outcome: "failed", error: messageOf(error) }).catch(() => undefined);
    throw error;
  }
}

/** Only a job that waits for its cleanup is ended: another may have begun meanwhile. */
async function endJob({ checkpoints, clock, telemetry }: World, id: ShardId, failure: Progress): Promise<void> {
  const job = await checkpoints.get(jobItem(id));
  if (job?.attributes.stage !== "cleanup") return;
  const stage: JobStage = failure.error === undefined ? "complete" : "cleanup";
  const durationMs = clock.now() - Number(job.attributes.startedAtMs);
  telemetry.report({ kind: "job-stage", shard: shardName(id), job: "snapshot", stage });
  await checkpoints.write([{ item: jobItem(id), when: [{ kind: "eq", attribute: "stage", value: "cleanup" }], set: { stage, durationMs, ...failure } }]);
}

/** The shard's last snapshot job, as its item has it; absent before the first. */
export async function lastJob({ checkpoints }: ItemWorld, id: ShardId): Promise<Attributes | undefined> {
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

function nextOf(outcome: SectionOutcome | Spread, { section, signal }: SnapshotRequest): CaptureReport["next"] {
  switch (outcome.kind) {
    case "spread":
      return "sections";
    case "sectionDone":
      return "nothing";
    case "completed":
      return outcome.more ? "capture" : "cleanup";
    case "aborted":
      return section !== undefined && signal?.aborted === true ? "section" : "capture";
    case "rejected":
      return "nothing";
    case "ignored":
      return outcome.reason === "nothing-new" ? "cleanup" : "nothing";
    case "outOfDate":
      return "cleanup";
  }
}

async function work(
  world: World,
  { section, spread, capturesMax, request: _, ...rest }: SnapshotRequest,
  codec: ValueCodec,
): Promise<{ readonly outcome: SectionOutcome | Spread; readonly captures: number }> {
  const request = { ...rest, codec };
  if (section !== undefined) return { outcome: await captureSection(world, { ...request, epoch: section.epoch, section: section.number }), captures: 1 };
  return spread === true ? { outcome: await spreadCapture(world, request), captures: 1 } : captureAll(world, request, capturesMax);
}

/** A log too long for one capture takes several. */
async function captureAll(
  world: World,
  request: CaptureRequest,
  capturesMax = CAPTURES_PER_RUN_MAX,
): Promise<{ readonly outcome: CaptureOutcome; readonly captures: number }> {
  let outcome = await capture(world, request);
  let captures = 1;
  while (outcome.kind === "completed" && outcome.more && captures < capturesMax) {
    const next = await capture(world, request);
    if (next.kind !== "completed") break;
    captures++;
    outcome = {
      ...next,
      mutations: outcome.mutations + next.mutations,
      bytesSent: outcome.bytesSent + next.bytesSent,
      bytesCopied: outcome.bytesCopied + next.bytesCopied,
    };
  }
  return { outcome, captures };
}
