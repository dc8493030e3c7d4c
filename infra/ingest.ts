// The ways in for mutations: a function URL, whose caller waits until they are durable, and a FIFO queue, whose sender
// does not. Programs that hold the library need neither.

import { FunctionUrlAuthType } from "aws-cdk-lib/aws-lambda";
import { SqsEventSource } from "aws-cdk-lib/aws-lambda-event-sources";
import type { Construct } from "constructs";
import { type FunctionSettings, MEMORY_MIB, pipelineFunction, TIMEOUT } from "./functions.ts";
import { appendPermissions, sendPermissions, together } from "./permissions.ts";
import type { SnapshotPipelineProps } from "./props.ts";
import { deadLetterEnvironment, mutationQueue } from "./queues.ts";

const INGEST_MESSAGES = 10;

export function ingestDoors(scope: Construct, settings: FunctionSettings, { ingest, encryptionKey }: SnapshotPipelineProps) {
  const { storage } = settings;
  const timeout = ingest?.timeout ?? TIMEOUT.call;
  const common = { timeout, memorySize: ingest?.memorySize ?? MEMORY_MIB.ingest };
  const byUrl = pipelineFunction(scope, settings, {
    ...common,
    name: "ingest",
    permissions: appendPermissions(storage),
    reservedConcurrency: ingest?.reservedConcurrency,
  });
  const url = byUrl.addFunctionUrl({ authType: FunctionUrlAuthType.AWS_IAM });
  if (ingest?.queue === false) return { functions: { ingest: byUrl }, queues: {}, url };
  const queue = mutationQueue(scope, "Ingest", { consumerTimeout: timeout, encryptionKey });
  const byQueue = pipelineFunction(scope, settings, {
    ...common,
    name: "ingest-queue",
    permissions: together(appendPermissions(storage), sendPermissions(queue.deadLetters)),
    environment: deadLetterEnvironment(queue),
  });
  byQueue.addEventSource(new SqsEventSource(queue.queue, { batchSize: INGEST_MESSAGES, reportBatchItemFailures: true }));
  return { functions: { ingest: byUrl, ingestQueue: byQueue }, queues: { ingest: queue }, url };
}
