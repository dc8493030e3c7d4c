// The way in for questions and requests: status, a capture on demand, its outcome.

import { FunctionUrlAuthType } from "aws-cdk-lib/aws-lambda";
import type { Construct } from "constructs";
import { type FunctionSettings, MEMORY_MIB, pipelineFunction, TIMEOUT } from "./functions.ts";
import { requestPermissions, sendPermissions, together } from "./permissions.ts";
import type { QueueWithDeadLetters } from "./queues.ts";

export function requestsDoor(scope: Construct, settings: FunctionSettings, { queue }: QueueWithDeadLetters) {
  const requests = pipelineFunction(scope, settings, {
    name: "requests",
    timeout: TIMEOUT.call,
    memorySize: MEMORY_MIB.small,
    permissions: together(requestPermissions(settings.storage), sendPermissions(queue)),
    environment: { TIDEMARK_SNAPSHOT_QUEUE: queue.queueUrl },
  });
  return { functions: { requests }, url: requests.addFunctionUrl({ authType: FunctionUrlAuthType.AWS_IAM }) };
}
