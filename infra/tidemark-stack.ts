// One pipeline as a stack of its own, with what others need to know of it as outputs.

import { CfnOutput, Duration, Stack } from "aws-cdk-lib";
import type { IAlarmAction } from "aws-cdk-lib/aws-cloudwatch";
import { SnsAction } from "aws-cdk-lib/aws-cloudwatch-actions";
import { type CfnTable, Table } from "aws-cdk-lib/aws-dynamodb";
import { SecurityGroup, Subnet, Vpc } from "aws-cdk-lib/aws-ec2";
import { EventBus } from "aws-cdk-lib/aws-events";
import { ServicePrincipal } from "aws-cdk-lib/aws-iam";
import { Alias, type IKey, Key } from "aws-cdk-lib/aws-kms";
import { Bucket, type CfnBucket, ObjectLockRetention } from "aws-cdk-lib/aws-s3";
import { Topic } from "aws-cdk-lib/aws-sns";
import { EmailSubscription } from "aws-cdk-lib/aws-sns-subscriptions";
import { Construct } from "constructs";
import { type Network, pascal } from "./functions.ts";
import type { Settings, SourceSetting, TableSetting } from "./settings.ts";
import { type InfluxdbSource, type PipelineTable, SnapshotPipeline, type SnapshotPipelineProps } from "./snapshot-pipeline.ts";

export class TidemarkStack extends Stack {
  readonly pipeline: SnapshotPipeline;

  constructor(scope: Construct, settings: Settings) {
    super(scope, settings.stackName, { description: "Tidemark: snapshots of keyed state on object storage" });
    this.pipeline = new SnapshotPipeline(this, "Pipeline", pipelineProps(this, settings));
    nameResources(this.pipeline, settings);
    for (const [name, value] of Object.entries(outputs(this, this.pipeline))) new CfnOutput(this, name, { value });
  }
}

function pipelineProps(stack: Stack, settings: Settings): SnapshotPipelineProps {
  const { existingBucket, existingTable, existingTableStream, objectLockDays, eventBusName } = settings;
  return {
    ...(existingBucket !== undefined && { bucket: Bucket.fromBucketName(stack, "ExistingBucket", existingBucket) }),
    ...(existingTable !== undefined && {
      table: Table.fromTableAttributes(stack, "ExistingTable", {
        tableArn: existingTable,
        ...(existingTableStream !== undefined && { tableStreamArn: existingTableStream }),
      }),
    }),
    ...(settings.prefix !== undefined && { prefix: settings.prefix }),
    ...(settings.kms !== undefined && { encryptionKey: encryptionKey(stack, settings.kms) }),
    ...(objectLockDays !== undefined && { objectLock: ObjectLockRetention.governance(Duration.days(objectLockDays)) }),
    tables: settings.tables.map(pipelineTable),
    influxdb: settings.influxdb.map((source) => influxdbSource(stack, source)),
    plan: { every: Duration.minutes(settings.planEveryMinutes), reserveConcurrency: settings.planReservedConcurrency },
    snapshot: {
      timeout: Duration.seconds(settings.snapshotTimeoutSeconds),
      memorySize: settings.snapshotMemoryMb,
      maxConcurrency: settings.snapshotConcurrency,
    },
    cleanup: { every: Duration.minutes(settings.cleanupEveryMinutes), timeout: Duration.seconds(settings.cleanupTimeoutSeconds) },
    ingest: { queue: settings.ingestQueue },
    ...(!settings.events && { events: false }),
    ...(settings.events && eventBusName !== undefined && { events: { bus: EventBus.fromEventBusName(stack, "EventBus", eventBusName) } }),
    alarms: settings.alarms && { actions: alarmActions(stack, settings), checkpointLag: Duration.minutes(settings.checkpointLagMinutes) },
    dashboard: settings.dashboard,
    logRetention: settings.logRetentionDays,
    logLevel: settings.logLevel,
    tracing: settings.tracing,
    ...(settings.functionNamePrefix !== undefined && { functionNamePrefix: settings.functionNamePrefix }),
    ...(settings.bundles !== undefined && { bundles: settings.bundles }),
  };
}

function pipelineTable(table: TableSetting): PipelineTable {
  const { name, shards, codec, captureLogShare: logShare, captureAfterMutations: afterMutations, capturesTogether: together, keepLast: last } = table;
  const [every, recoverWithin, keepFor] = [table.captureEverySeconds, table.recoverWithinSeconds, table.keepForSeconds].map(secondsLong);
  return {
    name,
    shards,
    codec,
    capture: { logShare, afterMutations, together, ...(every && { every }) },
    ...(recoverWithin && { recoverWithin }),
    keep: { last, ...(keepFor && { for: keepFor }) },
    compactionOverhead: table.compactionOverhead,
  };
}

function influxdbSource(stack: Stack, source: SourceSetting): InfluxdbSource {
  const { name, host, port, everyMinutes, database, policy, keepLast: last, skipErrors, withoutUsers, memoryMb: memorySize } = source;
  const [keepFor, timeout, silentFor] = [source.keepForSeconds, source.timeoutSeconds, source.silentSeconds].map(secondsLong);
  return {
    name,
    host,
    port,
    every: Duration.minutes(everyMinutes),
    ...(database !== undefined && { selection: { database, policy } }),
    keep: { last, ...(keepFor && { for: keepFor }) },
    skipErrors,
    withoutUsers,
    ...(timeout && { timeout }),
    ...(silentFor && { silentFor }),
    memorySize,
    ...networkOfSource(stack, source),
  };
}

/** By ids alone: to look a VPC up, the command would have to know the account. */
function networkOfSource(stack: Stack, { name, vpcId, subnetIds = [], securityGroupIds = [] }: SourceSetting): Network {
  if (vpcId === undefined) return {};
  const scope = new Construct(stack, `NetworkOf-${name}`);
  const vpc = Vpc.fromVpcAttributes(scope, "Vpc", { vpcId, availabilityZones: [`${stack.region}a`] });
  const subnets = subnetIds.map((id) => Subnet.fromSubnetId(scope, id, id));
  const groups = securityGroupIds.map((id) => SecurityGroup.fromSecurityGroupId(scope, id, id));
  return { vpc, vpcSubnets: { subnets }, ...(groups.length > 0 && { securityGroups: groups }) };
}

function secondsLong(seconds: number | undefined): Duration | undefined {
  return seconds === undefined ? undefined : Duration.seconds(seconds);
}

function encryptionKey(stack: Stack, kms: string): IKey {
  if (kms === "new") return new Key(stack, "Key", { enableKeyRotation: true, description: `Tidemark: state of ${stack.stackName}` });
  return kms.startsWith("alias/") ? Alias.fromAliasName(stack, "Key", kms) : Key.fromKeyArn(stack, "Key", kms);
}

function alarmActions(stack: Stack, { alarmTopicArn, alarmEmail }: Settings): readonly IAlarmAction[] {
  if (alarmTopicArn !== undefined) return [new SnsAction(Topic.fromTopicArn(stack, "AlarmTopic", alarmTopicArn))];
  if (alarmEmail === undefined) return [];
  const topic = new Topic(stack, "AlarmTopic", { enforceSSL: true });
  topic.addSubscription(new EmailSubscription(alarmEmail));
  // The policy that asks for TLS stands in for SNS's own, by which the alarms of the account might publish.
  topic.grantPublish(new ServicePrincipal("cloudwatch.amazonaws.com", { conditions: { StringEquals: { "aws:SourceAccount": stack.account } } }));
  return [new SnsAction(topic)];
}

/** The construct leaves names to CloudFormation; a stack that stands alone may want its own. */
function nameResources({ bucket, table }: SnapshotPipeline, { bucketName, tableName }: Settings): void {
  if (bucketName !== undefined) (bucket.node.defaultChild as CfnBucket).bucketName = bucketName;
  if (tableName !== undefined) (table.node.defaultChild as CfnTable).tableName = tableName;
}

function outputs(stack: Stack, pipeline: SnapshotPipeline): Readonly<Record<string, string>> {
  const { region } = stack;
  const sources = Object.entries(pipeline.influxdb).map(([name, source]) => [
    name,
    { function: source.function.functionName, queue: source.queue.queueUrl, deadLetters: source.deadLetters.queueUrl },
  ]);
  const { bucket, table, prefix, queues, eventBus } = pipeline;
  const names = Object.entries(pipeline.functions).map(([name, { functionName }]) => [`${pascal(name)}FunctionName`, functionName]);
  return {
    StoreUrl: `s3://${bucket.bucketName}/${prefix}?table=${table.tableName}&region=${region}`,
    IngestUrl: pipeline.ingestUrl.url,
    RequestsUrl: pipeline.requestsUrl.url,
    BucketName: bucket.bucketName,
    TableName: table.tableName,
    SnapshotQueueUrl: queues.snapshot.queue.queueUrl,
    SnapshotDeadLetterQueueUrl: queues.snapshot.deadLetters.queueUrl,
    CleanupQueueUrl: queues.cleanup.queue.queueUrl,
    CleanupDeadLetterQueueUrl: queues.cleanup.deadLetters.queueUrl,
    ...(queues.ingest && { IngestQueueUrl: queues.ingest.queue.queueUrl, IngestDeadLetterQueueUrl: queues.ingest.deadLetters.queueUrl }),
    ...(queues.eventsDeadLetters && { EventsDeadLetterQueueUrl: queues.eventsDeadLetters.queueUrl }),
    ...(eventBus && { EventBusName: eventBus.eventBusName }),
    ...Object.fromEntries(names),
    ...(sources.length > 0 && { InfluxdbSources: stack.toJsonString(Object.fromEntries(sources)) }),
  };
}
