// What a function is wired to, made once for each execution environment: the only place that reads its environment.
// Each function takes what it uses, so that its bundle holds, and its start loads, nothing else.

import { Logger } from "@aws-lambda-powertools/logger";
import { Metrics } from "@aws-lambda-powertools/metrics";
import { Tracer } from "@aws-lambda-powertools/tracer";
import { EventBridgeClient } from "@aws-sdk/client-eventbridge";
import { SQSClient } from "@aws-sdk/client-sqs";
import { dynamodbCheckpointStore } from "../../lib/adapters/aws/checkpoint-store.ts";
import { dynamodbClient, s3Client } from "../../lib/adapters/aws/clients.ts";
import { s3ObjectStore } from "../../lib/adapters/aws/object-store.ts";
import { systemClock } from "../../lib/adapters/local/clock.ts";
import { cryptoRandom } from "../../lib/adapters/local/random.ts";
import type { ItemWorld, World } from "../../lib/ports/world.ts";
import type { Clock } from "../../lib/ports/clock.ts";
import { type InfluxdbSource, needed, readEnvironment } from "./environment.ts";
import { type EventBus, eventBridgeBus } from "./event-bus.ts";
import type { DeadLetters, Queue } from "./queue.ts";
import { queueMadeAt, sqsDeadLetters, sqsQueue } from "./sqs.ts";
import { functionTelemetry, type Instruments } from "./telemetry.ts";

const environment = readEnvironment(process.env);
const logger = new Logger();
const tracer = new Tracer({ captureHTTPsRequests: false });
const metrics = new Metrics({ namespace: "Tidemark" });
// Powertools would add the service as a dimension: a metric for each function, each at a price.
metrics.clearDefaultDimensions();
metrics.setDefaultDimensions({ pipeline: environment.TIDEMARK_PIPELINE });

export const instruments: Instruments = { logger, metrics, tracer };

export const pipeline = environment.TIDEMARK_PIPELINE;

export function openWorld(): World {
  return {
    ...openItems(),
    objects: s3ObjectStore(tracer.captureAWSv3Client(s3Client()), { bucket: environment.TIDEMARK_BUCKET, prefix: environment.TIDEMARK_PREFIX }),
    telemetry: functionTelemetry(instruments),
  };
}

/** For a function that has no business with objects, and no right to them. */
export function openItems(): ItemWorld {
  return {
    checkpoints: dynamodbCheckpointStore(tracer.captureAWSv3Client(dynamodbClient()), { table: environment.TIDEMARK_TABLE }),
    clock: systemClock(),
    random: cryptoRandom(),
  };
}

/** The server that this function backs up. */
export function influxdbSource(): InfluxdbSource {
  return needed(environment, "TIDEMARK_INFLUXDB");
}

export function clock(): Clock {
  return systemClock();
}

export function openBus(): EventBus {
  return eventBridgeBus(tracer.captureAWSv3Client(new EventBridgeClient({})), { bus: needed(environment, "TIDEMARK_EVENT_BUS"), logger });
}

export function openQueue(name: "TIDEMARK_SNAPSHOT_QUEUE" | "TIDEMARK_CLEANUP_QUEUE" | "TIDEMARK_BACKUP_QUEUE"): Queue {
  return sqsQueue(sqs(), { url: needed(environment, name), logger });
}

export function openDeadLetters(): DeadLetters {
  return sqsDeadLetters(sqs(), { url: needed(environment, "TIDEMARK_DEAD_LETTER_QUEUE"), receivesMax: environment.TIDEMARK_RECEIVES_MAX });
}

/** Tells when the queue with an ARN was made. */
export function queueBirths(): (arn: string) => Promise<string> {
  const client = sqs();
  return (arn) => queueMadeAt(client, arn);
}

let client: SQSClient | undefined;

function sqs(): SQSClient {
  client ??= tracer.captureAWSv3Client(new SQSClient({}));
  return client;
}
