// The planner, called by a schedule: asks for a capture of every shard that is due. Its cost is flat while shards rest.

import { z } from "zod";
import { askForCaptures } from "../lib/jobs/plan.ts";
import type { SnapshotMessage } from "./runtime/messages.ts";
import { needed } from "./runtime/environment.ts";
import { sendMessages } from "./runtime/queue.ts";
import { lambdaHandler } from "./runtime/stack.ts";
import { publish } from "./runtime/telemetry.ts";
import { environment, logger, metrics, world } from "./runtime/wiring.ts";

const queueUrl = needed(environment.TIDEMARK_SNAPSHOT_QUEUE, "TIDEMARK_SNAPSHOT_QUEUE");

export const handler = lambdaHandler(z.object({ kind: z.literal("plan") }), async () => {
  const { dirty, asked, lagMs } = await askForCaptures(world, async (shards) => {
    const messages = shards.map(({ table, shard }) => ({ body: { table, shard } satisfies SnapshotMessage, group: table }));
    const taken = await sendMessages(queueUrl, messages);
    return shards.filter((_, place) => taken.has(place));
  });
  for (const [table, ms] of lagMs) publish(metrics, { CheckpointLag: ms / 1_000 }, table);
  // Also while nothing is due: that the metric is missing tells that the planner is.
  publish(metrics, { CheckpointLag: Math.max(0, ...lagMs.values()) / 1_000, DirtyShards: dirty });
  if (asked.length > 0) logger.info("asked for captures", { dirty, asked });
  return { dirty, asked: asked.length };
});
