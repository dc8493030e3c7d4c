// Events leave through the control table's stream, so that each commit is told at least once, and nothing is told that
// was not committed. Filtered by Lambda: appends, the most of all changes, wake no function and cost nothing.

import { Duration } from "aws-cdk-lib";
import { EventBus } from "aws-cdk-lib/aws-events";
import { EventSourceMapping, type IFunction, StartingPosition } from "aws-cdk-lib/aws-lambda";
import { SqsDlq } from "aws-cdk-lib/aws-lambda-event-sources";
import type { IQueue } from "aws-cdk-lib/aws-sqs";
import type { Construct } from "constructs";
import { type FunctionSettings, MEMORY_MIB, pipelineFunction, TIMEOUT } from "./functions.ts";
import { eventPermissions, streamPermissions, together } from "./permissions.ts";
import type { SnapshotPipelineProps } from "./props.ts";
import { deadLetterQueue } from "./queues.ts";

/** Generations, the control item (checkpoint, low-water mark), the last job. The tail is left out: it moves with each append. */
const TOLD_ITEMS = { dynamodb: { Keys: { sort: { S: [{ prefix: "snapshot#" }, "control", "job#snapshot"] } } } };

const BATCH_RECORDS = 100;
/** A bus that takes nothing for hours loses no event; the stream itself forgets after a day. */
const RECORD_AGE_MAX = Duration.hours(23);

/** Nothing where events are off, or the table has no stream. */
export function eventsOf(scope: Construct, settings: FunctionSettings, { events }: SnapshotPipelineProps) {
  const streamArn = settings.storage.table.tableStreamArn;
  if (events === false || streamArn === undefined) return undefined;
  const bus = events?.bus ?? EventBus.fromEventBusName(scope, "DefaultBus", "default");
  const eventsDeadLetters = deadLetterQueue(scope, "EventsDeadLetterQueue");
  const target = pipelineFunction(scope, settings, {
    name: "events",
    timeout: TIMEOUT.work,
    memorySize: MEMORY_MIB.small,
    permissions: together(streamPermissions(settings.storage, streamArn), eventPermissions(bus)),
    // Its ARN, for a bus may lie in another account.
    environment: { TIDEMARK_EVENT_BUS: bus.eventBusArn },
  });
  streamToFunction(scope, { target, streamArn, deadLetters: eventsDeadLetters });
  return { functions: { events: target }, queues: { eventsDeadLetters }, bus };
}

function streamToFunction(
  scope: Construct,
  { target, streamArn, deadLetters }: { readonly target: IFunction; readonly streamArn: string; readonly deadLetters: IQueue },
): void {
  new EventSourceMapping(scope, "EventsSource", {
    target,
    eventSourceArn: streamArn,
    startingPosition: StartingPosition.TRIM_HORIZON,
    batchSize: BATCH_RECORDS,
    maxBatchingWindow: Duration.seconds(1),
    filters: [{ pattern: JSON.stringify(TOLD_ITEMS) }],
    reportBatchItemFailures: true,
    bisectBatchOnError: true,
    maxRecordAge: RECORD_AGE_MAX,
    onFailure: new SqsDlq(deadLetters),
  });
}
