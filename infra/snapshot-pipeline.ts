// The construct: a whole pipeline in one's own stack. Its parts are put together here and made in the files beside it.
// The ids of its constructs are contract: bucket and table keep their logical ids, so that no update replaces them.

import { Annotations } from "aws-cdk-lib";
import type { Alarm, Metric, MetricOptions } from "aws-cdk-lib/aws-cloudwatch";
import type { ITable } from "aws-cdk-lib/aws-dynamodb";
import type { IEventBus } from "aws-cdk-lib/aws-events";
import type { Grant, IGrantable } from "aws-cdk-lib/aws-iam";
import type { Function as LambdaFunction, FunctionUrl } from "aws-cdk-lib/aws-lambda";
import type { IBucket } from "aws-cdk-lib/aws-s3";
import type { Queue } from "aws-cdk-lib/aws-sqs";
import { Construct } from "constructs";
import { pipelineAlarms } from "./alarms.ts";
import { captures, CLEANUP_EVERY, PLAN_EVERY } from "./captures.ts";
import { checkProps } from "./checks.ts";
import { pipelineDashboard } from "./dashboard.ts";
import { eventsOf } from "./events.ts";
import { defaultPipelineName, functionSettings } from "./functions.ts";
import { influxdbSources, type PipelineSource } from "./influxdb.ts";
import { ingestDoors } from "./ingest.ts";
import { type PipelineMetric, pipelineMetric, tableMetric } from "./metrics.ts";
import { appendPermissions, callPermissions, grant, operatePermissions, readPermissions, sendPermissions, together } from "./permissions.ts";
import type { SnapshotPipelineProps } from "./props.ts";
import type { QueueWithDeadLetters } from "./queues.ts";
import { requestsDoor } from "./requests.ts";
import { pipelineStorage, type Storage } from "./storage.ts";
import { tablesOf } from "./tables.ts";

export type { PipelineSource } from "./influxdb.ts";
export type { PipelineMetric } from "./metrics.ts";
export type {
  AlarmsProps,
  CleanupProps,
  EventsProps,
  InfluxdbSource,
  IngestProps,
  PipelineTable,
  PlanProps,
  SnapshotPipelineProps,
  SnapshotProps,
} from "./props.ts";

/** `ingestQueue` and `events` are there where the props ask for them. */
export interface PipelineFunctions {
  readonly plan: LambdaFunction;
  readonly snapshot: LambdaFunction;
  readonly cleanup: LambdaFunction;
  readonly ingest: LambdaFunction;
  readonly requests: LambdaFunction;
  readonly tables: LambdaFunction;
  readonly ingestQueue?: LambdaFunction;
  readonly events?: LambdaFunction;
}

/** The queues with their dead letters; `ingest` and `eventsDeadLetters` are there where the props ask for them. */
export interface PipelineQueues {
  readonly snapshot: QueueWithDeadLetters;
  readonly cleanup: QueueWithDeadLetters;
  readonly ingest?: QueueWithDeadLetters;
  readonly eventsDeadLetters?: Queue;
}

/** A serverless snapshot pipeline: storage, functions, queues, schedules, alarms. */
export class SnapshotPipeline extends Construct {
  readonly bucket: IBucket;
  readonly table: ITable;
  /** Goes before the key of every object; ends with a slash, or is empty. */
  readonly prefix: string;
  /** The value of the metrics' dimension `pipeline`. */
  readonly pipelineName: string;
  readonly functions: PipelineFunctions;
  readonly queues: PipelineQueues;
  /** What backs InfluxDB servers up, by the names of the sources. */
  readonly influxdb: Readonly<Record<string, PipelineSource>>;
  readonly ingestUrl: FunctionUrl;
  readonly requestsUrl: FunctionUrl;
  /** Where events go, if they are sent. */
  readonly eventBus: IEventBus | undefined;
  readonly alarms: readonly Alarm[];
  readonly #storage: Storage;

  /** @throws {TidemarkError} `call`, where a prop cannot be kept; the message names it and says what to write */
  constructor(scope: Construct, id: string, props: SnapshotPipelineProps = {}) {
    super(scope, id);
    checkProps(props);
    warnOfLoneBucket(this, props);
    this.#storage = pipelineStorage(this, props);
    this.bucket = this.#storage.bucket;
    this.table = this.#storage.table;
    this.prefix = this.#storage.prefix;
    this.pipelineName = props.pipelineName ?? defaultPipelineName(this);
    const settings = functionSettings(this.#storage, this.pipelineName, props);

    const capturing = captures(this, settings, props);
    const ingest = ingestDoors(this, settings, props);
    const requests = requestsDoor(this, settings, capturing.queues.snapshot);
    const events = eventsOf(this, settings, props);
    const tables = tablesOf(this, settings, props);

    this.functions = { ...capturing.functions, ...ingest.functions, ...requests.functions, ...events?.functions, ...tables.functions };
    for (const one of Object.values(this.functions)) if (one !== tables.functions.tables) one?.node.addDependency(tables.resource);
    this.queues = { ...capturing.queues, ...ingest.queues, ...events?.queues };
    this.influxdb = influxdbSources(this, settings, { props, captures: this.queues.snapshot.queue, tables: tables.resource });
    this.ingestUrl = ingest.url;
    this.requestsUrl = requests.url;
    this.eventBus = events?.bus;
    this.alarms = props.alarms === false ? [] : pipelineAlarms(this, this.#watched(props), props.alarms ?? {});
    if (props.dashboard === true) pipelineDashboard(this, this.#shown());
  }

  /** Lets a program append with the library: create and read redo files, read snapshots, write control items. */
  grantAppend(grantee: IGrantable): Grant {
    return grant(grantee, appendPermissions(this.#storage));
  }

  /** Lets a principal of this account call the ingest URL and send to the ingest queue. */
  grantIngest(grantee: IGrantable): Grant {
    const { ingest } = this.queues;
    return grant(grantee, together(callPermissions(this.functions.ingest), ...(ingest ? [sendPermissions(ingest.queue)] : [])));
  }

  /** Lets a program recover, get, verify and see the status. A recovery pins what it reads: it writes items of shards. */
  grantRead(grantee: IGrantable): Grant {
    return grant(grantee, readPermissions(this.#storage));
  }

  /** Lets a principal of this account call the requests URL. */
  grantRequest(grantee: IGrantable): Grant {
    return grant(grantee, callPermissions(this.functions.requests));
  }

  /** Lets a principal do all that the command line does, deleting included. */
  grantOperate(grantee: IGrantable): Grant {
    return grant(grantee, operatePermissions(this.#storage));
  }

  /** Any of the pipeline's metrics, over five minutes by default. */
  metric(name: PipelineMetric, options?: MetricOptions): Metric {
    return pipelineMetric(this.pipelineName, name, options);
  }

  /** Seconds that the shard waiting longest has been due for a capture; the maximum. */
  metricCheckpointLag(options?: MetricOptions): Metric {
    return this.metric("CheckpointLag", options);
  }

  /** Shards with mutations that no snapshot holds; the maximum. */
  metricDirtyShards(options?: MetricOptions): Metric {
    return this.metric("DirtyShards", options);
  }

  /** Seconds that the recovery of a table's shard is expected to take, of the one that takes longest; the maximum. Sent while a shard of it is dirty. */
  metricExpectedRecoveryTime(table: string, options?: MetricOptions): Metric {
    return tableMetric(this.pipelineName, "ExpectedRecoveryTime", table, options);
  }

  /** Bytes stored for each byte appended to a table, over the lives of its dirty shards; the maximum. Sent while a shard of it is dirty. */
  metricWriteAmplification(table: string, options?: MetricOptions): Metric {
    return tableMetric(this.pipelineName, "WriteAmplification", table, options);
  }

  /** Backups of a source that are whole, those with nothing new among them; the sum. */
  metricBackupsCompleted(source: string, options?: MetricOptions): Metric {
    return tableMetric(this.pipelineName, "BackupsCompleted", source, options);
  }

  /** Backups of a source in which some shards stayed as they were; the sum. */
  metricBackupsPartial(source: string, options?: MetricOptions): Metric {
    return tableMetric(this.pipelineName, "BackupsPartial", source, options);
  }

  /** Tries at a backup of a source that failed; the sum. */
  metricBackupsFailed(source: string, options?: MetricOptions): Metric {
    return tableMetric(this.pipelineName, "BackupsFailed", source, options);
  }

  /** Captures that made a snapshot; the sum. */
  metricSnapshotsCompleted(options?: MetricOptions): Metric {
    return this.metric("SnapshotsCompleted", options);
  }

  /** Captures that failed; the sum. */
  metricSnapshotsFailed(options?: MetricOptions): Metric {
    return this.metric("SnapshotsFailed", options);
  }

  /** Cleanups that failed; the sum. */
  metricCleanupsFailed(options?: MetricOptions): Metric {
    return this.metric("CleanupsFailed", options);
  }

  /** Mutations appended through the pipeline's functions; the sum. */
  metricMutationsAppended(options?: MetricOptions): Metric {
    return this.metric("MutationsAppended", options);
  }

  #watched(props: SnapshotPipelineProps) {
    const { snapshot, cleanup, ingest, eventsDeadLetters } = this.queues;
    return {
      pipelineName: this.pipelineName,
      planEvery: props.plan?.every ?? PLAN_EVERY,
      cleanupEvery: props.cleanup?.every ?? CLEANUP_EVERY,
      ingest: this.functions.ingest,
      ingestQueue: ingest,
      deadLetters: {
        Snapshot: snapshot.deadLetters,
        Cleanup: cleanup.deadLetters,
        ...(ingest && { Ingest: ingest.deadLetters }),
        ...(eventsDeadLetters && { Events: eventsDeadLetters }),
      },
      sources: this.influxdb,
    };
  }

  #shown() {
    const { snapshot, cleanup, ingest } = this.queues;
    const sources = Object.values(this.influxdb);
    const withDeadLetters = [snapshot, cleanup, ...(ingest ? [ingest] : []), ...sources];
    return {
      pipelineName: this.pipelineName,
      queues: withDeadLetters.map(({ queue }) => queue),
      deadLetters: [...Object.values(this.#watched({}).deadLetters), ...sources.map(({ deadLetters }) => deadLetters)],
      functions: [...Object.values(this.functions).filter((one) => one !== undefined), ...sources.map((source) => source.function)],
      backups: sources.length > 0,
    };
  }
}

/** Beside an empty table what an earlier pipeline left belongs to another store. */
function warnOfLoneBucket(scope: Construct, { bucket, table }: SnapshotPipelineProps): void {
  if (bucket === undefined || table !== undefined) return;
  Annotations.of(scope).addWarningV2(
    "tidemark:bucket-without-table",
    "bucket is given and table is not: beside what an earlier pipeline left below this prefix the deployment is refused. Give its table, too; acknowledge this where there is nothing.",
  );
}
