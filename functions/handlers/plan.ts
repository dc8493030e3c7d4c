// Asks for a capture of every shard that is due. Its cost is flat while shards rest.

import * as z from "zod/mini";
import { askForCaptures } from "../../lib/jobs/plan.ts";
import { shardName } from "../../lib/model/names.ts";
import type { ItemWorld } from "../../lib/ports/world.ts";
import type { SnapshotMessage } from "../runtime/messages.ts";
import type { Queue } from "../runtime/queue.ts";
import { lambdaHandler } from "../runtime/stack.ts";
import { type Instruments, publish } from "../runtime/telemetry.ts";

export interface PlanDeps extends Instruments {
  readonly world: ItemWorld;
  readonly captures: Queue;
}

/** A line of log has 256 KiB at most. */
const NAMES_MAX = 100;

export function planHandler(deps: PlanDeps) {
  const { world, captures, logger, metrics } = deps;
  return lambdaHandler(deps, z.object({ kind: z.literal("plan") }), async () => {
    const { dirty, asked, lagMs } = await askForCaptures(world, async (shards) => {
      const taken = await captures.send(shards.map(({ table, shard }) => ({ body: { table, shard } satisfies SnapshotMessage, group: table })));
      return shards.filter((_, place) => taken.has(place));
    });
    for (const [table, ms] of lagMs) publish(metrics, { CheckpointLag: ms / 1_000 }, table);
    // Also while nothing is due: that the metric is missing tells that the planner is.
    publish(metrics, { CheckpointLag: Math.max(0, ...lagMs.values()) / 1_000, DirtyShards: dirty });
    if (asked.length > 0) logger.info("asked for captures", { dirty, asked: asked.length, shards: asked.slice(0, NAMES_MAX).map(shardName) });
    return { dirty, asked: asked.length };
  });
}
