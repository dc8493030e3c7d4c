// The only function that deletes objects and ends uploads. A schedule begins a pass over all tables, which it cuts into
// messages to itself; a message after each capture cleans that shard.

import * as z from "zod/mini";
import { type CleanupTask, planPass, runCleanupTask } from "../../lib/jobs/cleanup-pass.ts";
import type { World } from "../../lib/ports/world.ts";
import { CLEANUP_MESSAGE } from "../runtime/messages.ts";
import { type DeadLetters, handleRecords, QUEUE_EVENT, type Queue, sendAll } from "../runtime/queue.ts";
import { lambdaHandler } from "../runtime/stack.ts";
import { type Instruments, publish } from "../runtime/telemetry.ts";

export interface CleanupDeps extends Instruments {
  readonly world: World;
  readonly cleanups: Queue;
  readonly deadLetters: DeadLetters;
}

const EVENT = z.union([z.object({ kind: z.literal("pass") }), QUEUE_EVENT]);

export function cleanupHandler(deps: CleanupDeps) {
  const { world, cleanups, logger, metrics } = deps;
  return lambdaHandler(deps, EVENT, async (event, { signal }) => {
    if ("Records" in event) return handleRecords(deps, event.Records, CLEANUP_MESSAGE, (task) => carryOut(task, signal));
    const tasks = await planPass(world);
    await hand(tasks);
    logger.info("a cleanup pass begins", { tasks: tasks.length });
    return { tasks: tasks.length };
  });

  async function carryOut(task: CleanupTask, signal: AbortSignal): Promise<void> {
    try {
      const { cleaned, rest, failures } = await runCleanupTask(world, task, signal);
      // Before this task is done with: what is handed on twice is cleaned twice, what is not is left lying.
      await hand([...(rest === undefined ? [] : [rest]), ...failures.map((failure) => failure.task)]);
      publish(metrics, { CleanupsFailed: failures.length, ...(task.kind === "strays" && rest === undefined && { CleanupPasses: 1 }) });
      logger.info("cleanup", { task, shards: cleaned.length, failures: failures.length, rest });
    } catch (error) {
      publish(metrics, { CleanupsFailed: 1 });
      throw error;
    }
  }

  function hand(tasks: readonly CleanupTask[]): Promise<void> {
    return sendAll(
      cleanups,
      tasks.map((task) => ({ body: task, group: "table" in task ? task.table : "strays" })),
    );
  }
}
