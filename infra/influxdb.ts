// Backups of InfluxDB servers. Each source has all of its own: a schedule, which sends a message to a queue, whose function
// makes one backup for each. So each may run in the network of its server, and may write to its own table alone.

import { type Duration, Stack, Token } from "aws-cdk-lib";
import { type Function as LambdaFunction, RecursiveLoop } from "aws-cdk-lib/aws-lambda";
import { SqsEventSource } from "aws-cdk-lib/aws-lambda-event-sources";
import type { Queue } from "aws-cdk-lib/aws-sqs";
import { ContextAttribute } from "aws-cdk-lib/aws-scheduler";
import { Construct, type IDependable } from "constructs";
import { GATHERING_TTL_MS, KEEP_GENERATIONS } from "../lib/model/limits.ts";
import { type FunctionSettings, MEMORY_MIB, type Network, networkOf, pipelineFunction, TIMEOUT } from "./functions.ts";
import { backupPermissions, sendPermissions, together } from "./permissions.ts";
import type { InfluxdbSource, PipelineTable, SnapshotPipelineProps } from "./props.ts";
import { deadLetterEnvironment, type QueueWithDeadLetters, shardQueue } from "./queues.ts";
import { schedule } from "./schedules.ts";

const SNAPSHOTTER_PORT = 8088;
/** Of an event source the least there is. Of two backups of one source, one is at it and the other is turned away. */
const CONCURRENCY = 2;

/** What backs one server up. */
export interface PipelineSource extends QueueWithDeadLetters {
  /** In a VPC also what the server's security group has to let in. */
  readonly function: LambdaFunction;
  readonly every: Duration;
}

/** By their names; none where the props name none. */
export function influxdbSources(
  scope: Construct,
  settings: FunctionSettings,
  { props, captures, tables }: { readonly props: SnapshotPipelineProps; readonly captures: Queue; readonly tables: IDependable },
): Readonly<Record<string, PipelineSource>> {
  const { influxdb = [] } = props;
  if (influxdb.length === 0) return {};
  const folder = new Construct(scope, "Influxdb");
  // The first schedule fires as soon as it is there, and the backup wants its table.
  folder.node.addDependency(tables);
  return Object.fromEntries(influxdb.map((source) => [source.name, pipelineSource(new Construct(folder, source.name), settings, { source, captures })]));
}

function pipelineSource(
  scope: Construct,
  settings: FunctionSettings,
  { source, captures }: { readonly source: InfluxdbSource; readonly captures: Queue },
): PipelineSource {
  const { name, every } = source;
  const timeout = source.timeout ?? TIMEOUT.long;
  const queues = shardQueue(scope, "Backup", { consumerTimeout: timeout, leaseMs: GATHERING_TTL_MS });
  const handler = pipelineFunction(scope, settings, {
    name: "influxdb",
    of: name,
    timeout,
    memorySize: source.memorySize ?? MEMORY_MIB.snapshot,
    permissions: together(backupPermissions(settings.storage, name), sendPermissions(queues.queue, captures, queues.deadLetters)),
    environment: {
      TIDEMARK_INFLUXDB: Stack.of(scope).toJsonString(sourceSettings(source)),
      TIDEMARK_BACKUP_QUEUE: queues.queue.queueUrl,
      TIDEMARK_SNAPSHOT_QUEUE: captures.queueUrl,
      ...deadLetterEnvironment(queues),
    },
    network: networkOfSource(settings.network, source),
    // A long backup is continued by messages to itself.
    recursiveLoop: RecursiveLoop.ALLOW,
  });
  handler.addEventSource(new SqsEventSource(queues.queue, { batchSize: 1, reportBatchItemFailures: true, maxConcurrency: CONCURRENCY }));
  schedule(scope, "Backup", {
    target: { arn: queues.queue.queueArn, action: "sqs:SendMessage" },
    every,
    // Another job with each firing, and the same one each time that its message is delivered.
    input: { source: name, job: ContextAttribute.executionId },
    description: `Backs ${name} up`,
  });
  return { ...queues, function: handler, every };
}

/** What the function reads (functions/runtime/environment.ts). */
function sourceSettings({ name, host, port = SNAPSHOTTER_PORT, selection, skipErrors = true, withoutUsers = false, silentFor }: InfluxdbSource): object {
  const { database, policy } = selection ?? {};
  return {
    name,
    host,
    port,
    ...(database !== undefined && { selection: { database, ...(policy !== undefined && { policy }) } }),
    skipErrors,
    withoutUsers,
    ...(silentFor && { silentMs: silentFor.toMilliseconds() }),
  };
}

function networkOfSource(pipeline: Network, source: InfluxdbSource): Network {
  const own = networkOf(source);
  return source.vpc === undefined ? { ...pipeline, ...own } : own;
}

/** The table of a source. Each generation is one mutation, and is captured by itself. */
export function tableOfSource({ name, keep }: InfluxdbSource): PipelineTable {
  return { name, capture: { afterMutations: 1 }, keep: { ...keep, last: keep?.last ?? KEEP_GENERATIONS } };
}

/** A host that is only known when it is deployed is not looked at. */
export function isHost(host: string): boolean {
  return Token.isUnresolved(host) || /^[a-zA-Z0-9](?:[a-zA-Z0-9._-]{0,252})$/.test(host) || /^[0-9a-fA-F:]*:[0-9a-fA-F:]*:[0-9a-fA-F:.]*$/.test(host);
}
