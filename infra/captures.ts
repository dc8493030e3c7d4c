// From the clock to a snapshot, and behind it the cleanup: a schedule calls the planner, which sends a message for each
// shard that is due; each message is one capture, each capture sends one for its cleanup. A second schedule cleans all.

import { Duration } from "aws-cdk-lib";
import { type IFunction, RecursiveLoop } from "aws-cdk-lib/aws-lambda";
import { SqsEventSource } from "aws-cdk-lib/aws-lambda-event-sources";
import type { Construct } from "constructs";
import { type FunctionSettings, MEMORY_MIB, pipelineFunction, TIMEOUT } from "./functions.ts";
import { cleanupPermissions, planPermissions, sendPermissions, snapshotPermissions, together } from "./permissions.ts";
import type { SnapshotPipelineProps } from "./props.ts";
import { deadLetterEnvironment, type QueueWithDeadLetters, shardQueue } from "./queues.ts";
import { SNAPSHOT_ENVIRONMENT } from "./runtime.ts";
import { schedule } from "./schedules.ts";

export const PLAN_EVERY = Duration.minutes(1);
export const CLEANUP_EVERY = Duration.days(1);
const SNAPSHOT_CONCURRENCY = 10;
const CLEANUP_CONCURRENCY = 5;

export function captures(scope: Construct, settings: FunctionSettings, { plan, snapshot, cleanup }: SnapshotPipelineProps) {
  const { storage } = settings;
  const snapshotTimeout = snapshot?.timeout ?? TIMEOUT.long;
  const cleanupTimeout = cleanup?.timeout ?? TIMEOUT.long;
  const queues = {
    snapshot: shardQueue(scope, "Snapshot", { consumerTimeout: snapshotTimeout }),
    cleanup: shardQueue(scope, "Cleanup", { consumerTimeout: cleanupTimeout }),
  };
  const snapshotQueue = { TIDEMARK_SNAPSHOT_QUEUE: queues.snapshot.queue.queueUrl };
  const cleanupQueue = { TIDEMARK_CLEANUP_QUEUE: queues.cleanup.queue.queueUrl };

  const functions = {
    plan: pipelineFunction(scope, settings, {
      name: "plan",
      timeout: TIMEOUT.work,
      memorySize: MEMORY_MIB.small,
      permissions: together(planPermissions(storage), sendPermissions(queues.snapshot.queue)),
      environment: snapshotQueue,
      reservedConcurrency: plan?.reserveConcurrency === false ? undefined : 1,
      // A run that is late or failed is worth nothing: the next one sees all it would have seen.
      asynchronous: { maxEventAge: Duration.minutes(1), retryAttempts: 0 },
    }),
    snapshot: pipelineFunction(scope, settings, {
      name: "snapshot",
      timeout: snapshotTimeout,
      memorySize: snapshot?.memorySize ?? MEMORY_MIB.snapshot,
      permissions: together(snapshotPermissions(storage), sendPermissions(queues.snapshot.queue, queues.cleanup.queue, queues.snapshot.deadLetters)),
      environment: { ...SNAPSHOT_ENVIRONMENT, ...snapshotQueue, ...cleanupQueue, ...deadLetterEnvironment(queues.snapshot) },
      // A long capture is continued by messages to itself. Lambda would take that for a loop and end it after 16.
      recursiveLoop: RecursiveLoop.ALLOW,
    }),
    cleanup: pipelineFunction(scope, settings, {
      name: "cleanup",
      timeout: cleanupTimeout,
      memorySize: cleanup?.memorySize ?? MEMORY_MIB.cleanup,
      permissions: together(cleanupPermissions(storage), sendPermissions(queues.cleanup.queue, queues.cleanup.deadLetters)),
      environment: { ...cleanupQueue, ...deadLetterEnvironment(queues.cleanup) },
      recursiveLoop: RecursiveLoop.ALLOW,
    }),
  };
  functions.snapshot.addEventSource(shardSource(queues.snapshot, snapshot?.maxConcurrency ?? SNAPSHOT_CONCURRENCY));
  functions.cleanup.addEventSource(shardSource(queues.cleanup, cleanup?.maxConcurrency ?? CLEANUP_CONCURRENCY));
  schedule(scope, "Plan", { target: callOf(functions.plan), every: plan?.every ?? PLAN_EVERY, input: { kind: "plan" }, description: "Captures what is due" });
  schedule(scope, "Cleanup", {
    target: callOf(functions.cleanup),
    every: cleanup?.every ?? CLEANUP_EVERY,
    input: { kind: "pass" },
    description: "Cleans all shards",
  });
  return { functions, queues };
}

function callOf({ functionArn }: IFunction) {
  return { arn: functionArn, action: "lambda:InvokeFunction" } as const;
}

/** One shard a call: a capture may take all of its time. */
function shardSource({ queue }: QueueWithDeadLetters, maxConcurrency: number): SqsEventSource {
  return new SqsEventSource(queue, { batchSize: 1, reportBatchItemFailures: true, maxConcurrency });
}
