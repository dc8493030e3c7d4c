// Captures one shard for each message. What does not fit one invocation goes on in the next, from the parts that are
// stored; cleanup is another function's right, and follows by a message.

import { captureShard } from "../lib/jobs/snapshot.ts";
import type { CleanupTask } from "../lib/jobs/cleanup-pass.ts";
import { needed } from "./runtime/environment.ts";
import { SNAPSHOT_MESSAGE, type SnapshotMessage } from "./runtime/messages.ts";
import { queueHandler, sendMessage } from "./runtime/queue.ts";
import { publish } from "./runtime/telemetry.ts";
import { environment, logger, metrics, world } from "./runtime/wiring.ts";

const snapshotQueue = needed(environment.TIDEMARK_SNAPSHOT_QUEUE, "TIDEMARK_SNAPSHOT_QUEUE");
const cleanupQueue = needed(environment.TIDEMARK_CLEANUP_QUEUE, "TIDEMARK_CLEANUP_QUEUE");

export const handler = queueHandler(SNAPSHOT_MESSAGE, async ({ table, shard, request, turn }, { signal }) => {
  logger.appendKeys({ shard: `${table}/${shard}` });
  try {
    const report = await captureShard(world, { id: { table, shard }, ...(request !== undefined && { request }), signal });
    logger.info("capture", { ...report, turn });
    switch (report.next) {
      case "capture":
        return await sendMessage(snapshotQueue, { body: { table, shard, request, turn: turn + 1 } satisfies SnapshotMessage, group: table });
      case "cleanup":
        return await sendMessage(cleanupQueue, { body: { kind: "after", table, shard } satisfies CleanupTask, group: table });
      case "nothing":
        return;
    }
  } catch (error) {
    publish(metrics, { SnapshotsFailed: 1 }, table);
    throw error;
  }
});
