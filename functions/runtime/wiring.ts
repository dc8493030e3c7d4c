// What a function is wired to, made once for each execution environment: the store, the queues, and what tells of it.

import { Logger } from "@aws-lambda-powertools/logger";
import { Metrics } from "@aws-lambda-powertools/metrics";
import { Tracer } from "@aws-lambda-powertools/tracer";
import { SQSClient } from "@aws-sdk/client-sqs";
import { dynamodbCheckpointStore } from "../../lib/adapters/aws/checkpoint-store.ts";
import { awsClients } from "../../lib/adapters/aws/clients.ts";
import { s3ObjectStore } from "../../lib/adapters/aws/object-store.ts";
import { systemClock } from "../../lib/adapters/local/clock.ts";
import { cryptoRandom } from "../../lib/adapters/local/random.ts";
import type { World } from "../../lib/ports/world.ts";
import { readEnvironment } from "./environment.ts";
import { functionTelemetry } from "./telemetry.ts";

export const environment = readEnvironment(process.env);
export const logger = new Logger();
export const tracer = new Tracer({ captureHTTPsRequests: false });
export const metrics = new Metrics();
// Powertools would add the service as a dimension: a metric for each function, each at a price.
metrics.clearDefaultDimensions();
metrics.setDefaultDimensions({ pipeline: environment.TIDEMARK_PIPELINE });

export const sqs = tracer.captureAWSv3Client(new SQSClient({}));

const { s3, dynamodb } = awsClients();

export const world: World = {
  objects: s3ObjectStore(tracer.captureAWSv3Client(s3), { bucket: environment.TIDEMARK_BUCKET, prefix: environment.TIDEMARK_PREFIX }),
  checkpoints: dynamodbCheckpointStore(tracer.captureAWSv3Client(dynamodb), { table: environment.TIDEMARK_TABLE }),
  clock: systemClock(),
  random: cryptoRandom(),
  telemetry: functionTelemetry({ logger, metrics }),
};
