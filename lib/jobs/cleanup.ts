// Cleans a shard, and looks after what other runs may have lost: a tail that was never published, a table that was
// deleted half-way, objects of tables that are no more.

import { tableItem } from "../checkpoint/items.ts";
import type { DoomedObject } from "../cleanup/plan.ts";
import { listObjects, listUploads, sweep, type SweepOutcome } from "../cleanup/sweep.ts";
import { TidemarkError } from "../model/errors.ts";
import { incarnationPrefix, isTableName, parseObjectName, type ShardId, shardName } from "../model/names.ts";
import type { Index } from "../model/position.ts";
import { POLICY_DEFAULTS, type TablePolicy } from "../model/table.ts";
import { pages } from "../ports/pages.ts";
import type { World } from "../ports/world.ts";
import { findTail, publishCaptured, publishTail, readTail } from "../redo-log/tail.ts";

export interface CleanupReport {
  readonly kind: SweepOutcome["kind"];
  readonly lowWater: Index;
  readonly redoFiles: readonly DoomedObject[];
  readonly snapshots: readonly DoomedObject[];
  readonly orphans: readonly DoomedObject[];
  /** Attachments that no kept state refers to. */
  readonly attachments: readonly DoomedObject[];
  readonly uploads: readonly string[];
  readonly unparseable: readonly string[];
  readonly failed: readonly { readonly key: string; readonly reason: string }[];
}

export interface CleanupRequest {
  readonly id: ShardId;
  readonly policy: TablePolicy;
  readonly dryRun?: boolean;
}

export async function cleanupShard(world: World, request: CleanupRequest): Promise<CleanupReport> {
  const outcome = await sweep(world, request);
  if (outcome.kind !== "planned") await mendTail(world, request.id, outcome);
  const { plan, attachments } = outcome;
  return {
    kind: outcome.kind,
    lowWater: plan.lowWater,
    redoFiles: plan.redoFiles,
    snapshots: plan.generations,
    orphans: plan.orphans,
    attachments: attachments.objects,
    uploads: [...plan.uploads, ...attachments.uploads].map(({ key, uploadId }) => `${key} (upload ${uploadId})`),
    unparseable: plan.unparseable,
    failed: outcome.kind === "cleaned" ? outcome.failed : [],
  };
}

/** Objects that the store would not delete, as a fault of their shard: the next run tries again, but what is denied stays so until somebody hears of it. */
export function undeletedOf(id: ShardId, { failed }: Pick<CleanupReport, "failed">): TidemarkError | undefined {
  if (failed.length === 0) return undefined;
  const [{ key, reason }] = failed;
  return new TidemarkError("retry", "undeleted-objects", `${failed.length} objects of ${shardName(id)} were not deleted, first ${key}: ${reason}`);
}

/**
 * A writer that was killed before it published leaves mutations that the planner cannot see; the listing shows them. A
 * capture that was killed before it published leaves a shard that looks as if it had mutations waiting.
 */
async function mendTail(world: World, id: ShardId, { control, listing }: SweepOutcome): Promise<void> {
  if (control === undefined) return;
  const { incarnation, checkpoint } = control;
  const prefix = incarnationPrefix(id, incarnation);
  const found = await readTail(world.checkpoints, id);
  const hint = found?.incarnation === incarnation ? found : undefined;
  if (checkpoint !== undefined && hint !== undefined && hint.capturedNext < checkpoint.border.next) {
    const { border, size } = checkpoint;
    await publishCaptured(world.checkpoints, id, { incarnation, border, atMs: world.clock.now(), snapshotBytes: size });
  }
  const published = hint?.border.next ?? 0;
  const lost = listing.objects.some(({ key }) => {
    const name = key.startsWith(prefix) ? parseObjectName(key.slice(prefix.length)) : undefined;
    return name?.kind === "redo" && name.first >= published && name.first >= control.lowWater;
  });
  if (!lost) return;
  const tail = await findTail(world, id, world.clock.now());
  await publishTail(world.checkpoints, id, tail);
}

/**
 * Cleans the shards of tables that are no more: a writer or a capture that stalled before its table was deleted may have
 * left something there. A table made meanwhile is safe: a sweep lists before it looks for the control item, and
 * incarnations differ (rule 25). Stops behind the shard at which the signal aborts.
 */
export async function cleanupStrays(world: World, signal?: AbortSignal): Promise<readonly { readonly id: ShardId; readonly report: CleanupReport }[]> {
  const reports: { id: ShardId; report: CleanupReport }[] = [];
  for (const table of await storedTables(world)) {
    if ((await world.checkpoints.get(tableItem(table))) !== undefined) continue;
    const keys = [...(await listObjects(world.objects, `${table}/`)), ...(await listUploads(world.objects, `${table}/`))];
    const shards = new Map(keys.flatMap(({ key }) => shardOfKey(key) ?? []).map((id) => [shardName(id), id]));
    for (const id of shards.values()) {
      reports.push({ id, report: await cleanupShard(world, { id, policy: POLICY_DEFAULTS }) });
      if (signal?.aborted === true) return reports;
    }
  }
  return reports;
}

/** The tables that the store's objects and uploads name, found without listing every object. */
async function storedTables({ objects }: World): Promise<ReadonlySet<string>> {
  const tables = new Set((await listUploads(objects, "")).map(({ key }) => folderOf(key)));
  const folders = pages<string, { readonly folder?: string; readonly next?: string }>(async (after) => {
    const first = (await objects.list({ prefix: "", limit: 1, ...after })).objects[0]?.key;
    if (first === undefined) return {};
    const folder = folderOf(first);
    // "0" is the character behind "/": the next page begins behind the whole folder.
    return { folder, next: first.includes("/") ? `${folder}0` : first };
  });
  for await (const { folder } of folders) if (folder !== undefined) tables.add(folder);
  return new Set([...tables].filter(isTableName));
}

function folderOf(key: string): string {
  return key.split("/")[0];
}

/** The shard that a key says it belongs to; absent where it is not of this program's making. */
function shardOfKey(key: string): ShardId | undefined {
  const [table, shard] = key.split("/");
  return /^(0|[1-9][0-9]*)$/.test(shard) ? { table, shard: Number(shard) } : undefined;
}
