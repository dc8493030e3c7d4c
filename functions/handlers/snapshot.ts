// Captures one shard for each message. What does not fit one invocation goes on in the next, from the parts that are
// stored; cleanup is another function's right, and follows by a message.

import type { CleanupTask } from "../../lib/jobs/cleanup-pass.ts";
import { captureShard } from "../../lib/jobs/snapshot.ts";
import type { World } from "../../lib/ports/world.ts";
import { SNAPSHOT_MESSAGE, type SnapshotMessage, type TakenMessage } from "../runtime/messages.ts";
import { type DeadLetters, handleRecords, QUEUE_EVENT, type Queue, sendAll } from "../runtime/queue.ts";
import { lambdaHandler } from "../runtime/stack.ts";
import { type Instruments, publish } from "../runtime/telemetry.ts";

export interface SnapshotDeps extends Instruments {
  readonly world: World;
  readonly captures: Queue;
  readonly cleanups: Queue;
  readonly deadLetters: DeadLetters;
}

export function snapshotHandler(deps: SnapshotDeps) {
  const { world, captures, cleanups, logger, metrics } = deps;
  return lambdaHandler(deps, QUEUE_EVENT, ({ Records }, { signal }) => handleRecords(deps, Records, SNAPSHOT_MESSAGE, (message) => carryOut(message, signal)));

  async function carryOut({ table, shard, request, turn }: TakenMessage, signal: AbortSignal): Promise<void> {
    logger.appendKeys({ shard: `${table}/${shard}` });
    try {
      const report = await captureShard(world, { id: { table, shard }, ...(request !== undefined && { request }), signal });
      logger.info("capture", { ...report, turn });
      switch (report.next) {
        case "capture":
          return await sendAll(captures, [{ body: { table, shard, request, turn: turn + 1 } satisfies SnapshotMessage, group: table }]);
        case "cleanup":
          return await sendAll(cleanups, [{ body: { kind: "after", table, shard } satisfies CleanupTask, group: table }]);
        case "nothing":
          return;
      }
    } catch (error) {
      publish(metrics, { SnapshotsFailed: 1 }, table);
      throw error;
    }
  }
}
