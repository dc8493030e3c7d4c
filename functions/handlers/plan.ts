// Asks for a capture of every shard that is due. Its cost is flat while shards rest.

import * as z from "zod/mini";
import { type AskReport, askForCaptures } from "../../lib/jobs/ask.ts";
import { type ShardId, shardName } from "../../lib/model/names.ts";
import type { ItemWorld } from "../../lib/ports/world.ts";
import { loggable } from "../runtime/faults.ts";
import type { SnapshotMessage } from "../runtime/messages.ts";
import type { Queue } from "../runtime/queue.ts";
import { lambdaHandler } from "../runtime/stack.ts";
import { type Instruments, publish, publishOfTable } from "../runtime/telemetry.ts";

export interface PlanDeps extends Instruments {
  readonly world: ItemWorld;
  readonly captures: Queue;
}

/** A line of log has 256 KiB at most. */
const NAMES_MAX = 100;

export function planHandler(deps: PlanDeps) {
  const { world, captures, logger, metrics } = deps;
  return lambdaHandler(deps, z.object({ kind: z.literal("plan") }), async () => {
    const names: string[] = [];
    const ask = async (shards: readonly ShardId[]): Promise<readonly ShardId[]> => {
      const taken = await captures.send(shards.map(({ table, shard }) => ({ body: { table, shard } satisfies SnapshotMessage, group: table })));
      const asked = shards.filter((_, place) => taken.has(place));
      names.push(...asked.slice(0, NAMES_MAX - names.length).map(shardName));
      return asked;
    };
    const report = await askForCaptures(world, ask, (id, fault) => {
      logger.error("a shard cannot be planned", { shard: shardName(id), fault: loggable(fault) });
      publish(metrics, { SnapshotsFailed: 1 }, id.table);
    });
    publishMetrics(metrics, report);
    const { tables: _, ...counts } = report;
    if (report.asked > 0) logger.info("asked for captures", { ...counts, shards: names });
    return counts;
  });
}

function publishMetrics(metrics: Instruments["metrics"], { dirty, tables }: AskReport): void {
  let lagMs = 0;
  for (const [table, tally] of tables) {
    const { recoveryMs, writeAmplification } = tally;
    publishOfTable(metrics, table, {
      ExpectedRecoveryTime: recoveryMs / 1_000,
      ...(writeAmplification !== undefined && { WriteAmplification: writeAmplification }),
    });
    if (tally.lagMs === undefined) continue;
    publish(metrics, { CheckpointLag: tally.lagMs / 1_000 }, table);
    lagMs = Math.max(lagMs, tally.lagMs);
  }
  // Also while nothing is due: that the metric is missing tells that the planner is.
  publish(metrics, { CheckpointLag: lagMs / 1_000, DirtyShards: dirty });
}
