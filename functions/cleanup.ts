// The only function that deletes objects and ends uploads. A schedule begins a pass over all tables, which it cuts into
// messages to itself; a message after each capture cleans that shard.

import { z } from "zod";
import { type CleanupTask, planPass, runCleanupTask } from "../lib/jobs/cleanup-pass.ts";
import { needed } from "./runtime/environment.ts";
import { CLEANUP_MESSAGE } from "./runtime/messages.ts";
import { handleRecords, QUEUE_EVENT, sendMessage } from "./runtime/queue.ts";
import { type Invocation, lambdaHandler } from "./runtime/stack.ts";
import { publish } from "./runtime/telemetry.ts";
import { environment, logger, metrics, world } from "./runtime/wiring.ts";

const queueUrl = needed(environment.TIDEMARK_CLEANUP_QUEUE, "TIDEMARK_CLEANUP_QUEUE");

const EVENT = z.union([z.object({ kind: z.literal("pass") }), QUEUE_EVENT]);

export const handler = lambdaHandler(EVENT, async (event, invocation) => {
  if ("Records" in event) return handleRecords(event.Records, CLEANUP_MESSAGE, (task) => carryOut(task, invocation));
  const tasks = await planPass(world);
  for (const task of tasks) await hand(task);
  logger.info("a cleanup pass begins", { tasks: tasks.length });
  return { tasks: tasks.length };
});

async function carryOut(task: CleanupTask, { signal }: Invocation): Promise<void> {
  try {
    const { cleaned, rest, failures } = await runCleanupTask(world, task, signal);
    if (rest !== undefined) await hand(rest);
    for (const failure of failures) await hand(failure.task);
    publish(metrics, { CleanupsFailed: failures.length, ...(task.kind === "strays" && { CleanupPasses: 1 }) });
    logger.info("cleanup", { task, shards: cleaned.length, failures: failures.length, rest });
  } catch (error) {
    publish(metrics, { CleanupsFailed: 1 });
    throw error;
  }
}

async function hand(task: CleanupTask): Promise<void> {
  await sendMessage(queueUrl, { body: task, group: "table" in task ? task.table : "strays" });
}
