// Cleanup where many workers share it: a pass over all tables, cut into tasks that each fit one invocation (I10), and the
// task that follows a capture. A pass is for what no capture's cleanup meets: generations whose time has passed, tails
// that were never published, tables half deleted, and what tables that are no more have left.

import { messageOf } from "../model/errors.ts";
import { CLEANUP_TASK_SHARDS_MAX } from "../model/limits.ts";
import { type ShardId, shardName } from "../model/names.ts";
import type { World } from "../ports/world.ts";
import { type CleanupReport, cleanupShard, cleanupStrays, undeletedOf } from "./cleanup.ts";
import { cleanupAfter } from "./snapshot.ts";
import { findTable, finishDeletion, listTables } from "./tables.ts";

/** `after`: the second stage of a shard's snapshot job. `shards`: those from `from` up to, not including, `to`. */
export type CleanupTask =
  | { readonly kind: "after"; readonly table: string; readonly shard: number }
  | { readonly kind: "shards"; readonly table: string; readonly from: number; readonly to: number }
  | { readonly kind: "deletion"; readonly table: string }
  | { readonly kind: "strays" };

export interface CleanupTaskReport {
  readonly cleaned: readonly { readonly id: ShardId; readonly report: CleanupReport }[];
  /** What is left, where there was no time for all of it. */
  readonly rest?: CleanupTask;
  /** Shards that failed, each to be tried again alone. */
  readonly failures: readonly { readonly task: CleanupTask; readonly error: unknown }[];
}

/** A table whose item cannot be read gets one task, which fails in its turn, and keeps no other from being cleaned. */
export async function planPass(world: World): Promise<readonly CleanupTask[]> {
  const unreadable: CleanupTask[] = [];
  const tables = await listTables(world, (table) => unreadable.push({ kind: "shards", table, from: 0, to: 1 }));
  const tasks = tables.flatMap((table) => (table.state === "deleting" ? [{ kind: "deletion", table: table.name } as const] : tasksOf(table)));
  return [...tasks, ...unreadable, { kind: "strays" }];
}

function tasksOf({ name, shards }: { readonly name: string; readonly shards: number }): readonly CleanupTask[] {
  const starts = Array.from({ length: Math.ceil(shards / CLEANUP_TASK_SHARDS_MAX) }, (_, task) => task * CLEANUP_TASK_SHARDS_MAX);
  return starts.map((from) => ({ kind: "shards", table: name, from, to: Math.min(from + CLEANUP_TASK_SHARDS_MAX, shards) }));
}

/** Carries a task out until the signal, but at least one shard of it: so however short the time, a pass ends. */
export async function runCleanupTask(world: World, task: CleanupTask, signal: AbortSignal): Promise<CleanupTaskReport> {
  switch (task.kind) {
    case "after": {
      const id = { table: task.table, shard: task.shard };
      const report = await cleanupAfter(world, id);
      const cleaned = report === undefined ? [] : [{ id, report }];
      refuseUndeleted(cleaned);
      return { cleaned, failures: [] };
    }
    case "shards":
      return cleanShards(world, task, signal);
    case "deletion": {
      const table = await findTable(world, task.table);
      const finished = table?.state !== "deleting" || (await finishDeletion(world, table, signal));
      return { cleaned: [], failures: [], ...(!finished && { rest: task }) };
    }
    case "strays": {
      const cleaned = await cleanupStrays(world, signal);
      refuseUndeleted(cleaned);
      return { cleaned, failures: [], ...(signal.aborted && cleaned.length > 0 && { rest: task }) };
    }
  }
}

async function cleanShards(world: World, task: Extract<CleanupTask, { kind: "shards" }>, signal: AbortSignal): Promise<CleanupTaskReport> {
  const cleaned: { id: ShardId; report: CleanupReport }[] = [];
  const failures: { task: CleanupTask; error: unknown }[] = [];
  const policy = await findTable(world, task.table);
  if (policy?.state !== "live") return { cleaned, failures };
  const to = Math.min(task.to, policy.shards);
  for (let shard = task.from; shard < to; shard++) {
    if (signal.aborted && shard > task.from) return { cleaned, failures, rest: { ...task, from: shard } };
    const id = { table: task.table, shard };
    try {
      const done = { id, report: await cleanupShard(world, { id, policy }) };
      cleaned.push(done);
      refuseUndeleted([done]);
    } catch (error) {
      // Alone, a shard's failure is the task's.
      if (task.to - task.from === 1) throw error;
      world.telemetry.report({ kind: "warning", shard: shardName(id), message: `it was not cleaned: ${messageOf(error)}` });
      failures.push({ task: { ...task, from: shard, to: shard + 1 }, error });
    }
  }
  return { cleaned, failures };
}

/** @throws {TidemarkError} `retry` "undeleted-objects" */
function refuseUndeleted(cleaned: CleanupTaskReport["cleaned"]): void {
  for (const { id, report } of cleaned) {
    const fault = undeletedOf(id, report);
    if (fault !== undefined) throw fault;
  }
}
