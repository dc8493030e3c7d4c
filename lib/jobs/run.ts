// The scheduled loop in one process: plan, snapshot, cleanup, then wait. A failure of one shard is kept on its job item
// and told, and stops no other.

import { isTidemarkError, messageOf } from "../model/errors.ts";
import { type ShardId, shardName } from "../model/names.ts";
import type { World } from "../ports/world.ts";
import { type CleanupReport, cleanupShard, cleanupStrays, undeletedOf } from "./cleanup.ts";
import { plan } from "./plan.ts";
import { type SnapshotReport, snapshotShard } from "./snapshot.ts";
import { finishDeletion, listTables, shardsOf } from "./tables.ts";

export interface RoundReport {
  readonly dirty: number;
  readonly captured: readonly { readonly id: ShardId; readonly report: SnapshotReport }[];
  readonly cleaned: readonly { readonly id: ShardId; readonly report: CleanupReport }[];
  readonly failures: readonly { readonly id: ShardId; readonly error: string }[];
}

export interface RoundRequest {
  /** Clean every shard, not only those that were captured, and what deleted tables left. */
  readonly cleanAll?: boolean;
  readonly signal?: AbortSignal;
}

/** One round: captures every shard that qualifies, cleans, and finishes tables that were deleted half-way. */
export async function runRound(world: World, { cleanAll = false, signal }: RoundRequest = {}): Promise<RoundReport> {
  const captured: { id: ShardId; report: SnapshotReport }[] = [];
  const cleaned: { id: ShardId; report: CleanupReport }[] = [];
  const failures: { id: ShardId; error: string }[] = [];
  const failed = (id: ShardId, error: unknown): void => {
    const message = messageOf(error);
    failures.push({ id, error: message });
    world.telemetry.report({ kind: "warning", shard: shardName(id), message });
  };
  const attempt = async (id: ShardId, work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      failed(id, error);
    }
  };
  const heard = (id: ShardId, report: CleanupReport): void => {
    const fault = undeletedOf(id, report);
    if (fault !== undefined) failed(id, fault);
  };
  let dirty = 0;
  for await (const { id, qualification } of plan(world, { onFault: failed })) {
    dirty += 1;
    if (signal?.aborted) break;
    if (qualification.kind !== "qualifies") continue;
    await attempt(id, async () => {
      const report = await snapshotShard(world, { id, ...(signal && { signal }) });
      captured.push({ id, report });
      if (report.cleanup !== undefined) heard(id, report.cleanup);
    });
  }
  const tables = cleanAll ? await listTables(world, (table, fault) => failed({ table, shard: 0 }, fault)) : [];
  for (const table of tables) {
    if (table.state === "deleting") {
      await attempt({ table: table.name, shard: 0 }, async () => {
        await finishDeletion(world, table, signal);
      });
      continue;
    }
    for (const id of shardsOf(table)) {
      if (signal?.aborted) break;
      await attempt(id, async () => {
        const report = await cleanupShard(world, { id, policy: table });
        cleaned.push({ id, report });
        heard(id, report);
      });
    }
  }
  for (const stray of cleanAll ? await cleanupStrays(world, signal) : []) {
    cleaned.push(stray);
    heard(stray.id, stray.report);
  }
  return { dirty, captured, cleaned, failures };
}

export interface LoopRequest {
  /** Time from the end of a round to the next, so that rounds never pile up. */
  readonly everyMs: number;
  /** Every so many rounds all shards are cleaned. */
  readonly cleanEvery: number;
  readonly signal: AbortSignal;
  readonly onRound: (report: RoundReport) => void;
}

export async function runLoop(world: World, { everyMs, cleanEvery, signal, onRound }: LoopRequest): Promise<void> {
  for (let round = 0; !signal.aborted; round++) {
    try {
      onRound(await runRound(world, { cleanAll: round % cleanEvery === 0, signal }));
    } catch (error) {
      // A store that gave no answer, or has no room, may have it in the next round: the loop outlives both.
      if (!isTidemarkError(error) || (error.kind !== "retry" && error.kind !== "wait")) throw error;
      world.telemetry.report({ kind: "warning", shard: "run", message: `this round was given up: ${error.message}` });
    }
    await world.clock.sleep(everyMs, signal);
  }
}
