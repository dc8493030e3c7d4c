// What a pipeline can be told. Everything may be left away: the defaults make a pipeline that a small service can live
// with. Checked in checks.ts before anything is made.

import type { Duration } from "aws-cdk-lib";
import type { IAlarmAction } from "aws-cdk-lib/aws-cloudwatch";
import type { ITable } from "aws-cdk-lib/aws-dynamodb";
import type { ISecurityGroup, IVpc, SubnetSelection } from "aws-cdk-lib/aws-ec2";
import type { IEventBus } from "aws-cdk-lib/aws-events";
import type { IKey } from "aws-cdk-lib/aws-kms";
import type { RetentionDays } from "aws-cdk-lib/aws-logs";
import type { IBucket, ObjectLockRetention } from "aws-cdk-lib/aws-s3";

export interface SnapshotPipelineProps {
  /** Where redo files and snapshots go. With objects of an earlier pipeline only beside that one's `table`: cleanup deletes what no item accounts for. Versioning off, TLS only, no lifecycle rule that deletes or archives objects. Default: a bucket of its own. */
  readonly bucket?: IBucket;
  /** Goes before the key of every object; ends with a slash. Cannot be changed: a deployment with another one is refused. Two prefixes of one bucket need two DynamoDB tables. Default: none. */
  readonly prefix?: string;
  /**
   * Where control items go. Keys `partition` (S, hash) and `sort` (S, range); global index `dirty` with hash key `dirty` (S), range key
   * `partition` (S), projection KEYS_ONLY (a wider one costs a write unit more with each redo file); TTL attribute `expiresAt`; for events a stream with new and old images. Default: a table of its own.
   */
  readonly table?: ITable;
  /** Encrypts the bucket, the table and the ingest queues that the pipeline makes, and is taken for the key of a given bucket or table that names none. Default: S3's, DynamoDB's and SQS's own keys. */
  readonly encryptionKey?: IKey;
  /** Locks each object of the pipeline's own bucket for so long; versioning is then on, and what cleanup deletes is billed until its lock lapses. Cannot be put on later, nor taken off: CloudFormation would make a new bucket, and the deployment is refused. Default: no lock. */
  readonly objectLock?: ObjectLockRetention;
  /** Where the functions run; it needs ways to S3, DynamoDB, SQS, X-Ray and, with events, EventBridge. Default: no VPC. */
  readonly vpc?: IVpc;
  /** The subnets within `vpc`. Default: its private ones. */
  readonly vpcSubnets?: SubnetSelection;
  /** The security groups within `vpc`. Default: one for each function, all outbound. */
  readonly securityGroups?: ISecurityGroup[];
  /** The tables to make, and to change when this list changes. One that leaves the list is kept: nothing here deletes a table. Default: none. */
  readonly tables?: readonly PipelineTable[];
  /** InfluxDB 1.x servers to back up, each into a table of its name. One that leaves the list is backed up no more; what is backed up is kept. Default: none. */
  readonly influxdb?: readonly InfluxdbSource[];
  readonly plan?: PlanProps;
  readonly snapshot?: SnapshotProps;
  readonly cleanup?: CleanupProps;
  readonly ingest?: IngestProps;
  /** Sends events of snapshots to a bus. Default: the account's default bus, if the table has a stream. */
  readonly events?: EventsProps | false;
  /** Default: alarms without actions. */
  readonly alarms?: AlarmsProps | false;
  /** Makes a CloudWatch dashboard, for 3 dollars a month. Default: false. */
  readonly dashboard?: boolean;
  /** How long the functions' logs are kept. Default: one month. */
  readonly logRetention?: RetentionDays;
  /** From which level on the functions log. Default: INFO. */
  readonly logLevel?: "DEBUG" | "INFO" | "WARN" | "ERROR";
  /** Traces the functions and their calls of AWS by X-Ray, for up to 13 dollars a month for each function that is always busy. Default: false. */
  readonly tracing?: boolean;
  /** Names the functions `PREFIX-plan`, `PREFIX-snapshot` …; at most 48 letters, digits, `-` and `_`. Default: names made by CloudFormation. */
  readonly functionNamePrefix?: string;
  /** The value of the metrics' dimension `pipeline`. Default: the stack's name, a slash, the construct's id. */
  readonly pipelineName?: string;
  /** The folder with the built functions. Default: those of the package. */
  readonly bundles?: string;
}

/** One table, as `tidemark table create` makes it. */
export interface PipelineTable {
  /** Lower-case letters, digits, `-`, `_` and single dots, a letter or digit first; at most 64 characters. */
  readonly name: string;
  /** Parts that are written side by side, 1 to 10,000; few and large is right. Cannot be changed. Default: 1. */
  readonly shards?: number;
  /** JSON texts, kept byte for byte, or bytes. Cannot be changed. Default: "json". */
  readonly codec?: "json" | "bytes";
  /** When a shard is captured, besides by `recoverWithin`. Default: once its log is half of its snapshot, at the latest after a day or 10,000,000 mutations. */
  readonly capture?: {
    /** Captures once the redo files that no snapshot holds have grown to this share of the newest one, as stored, and to 8 MiB; from 0.01, in hundredths. Default: 0.5. */
    readonly logShare?: number;
    /** Captures at the latest so long after the last capture, if a mutation waits; at least a second. Default: one day. */
    readonly every?: Duration;
    /** Captures at the latest once so many mutations wait. Default: 10,000,000. */
    readonly afterMutations?: number;
    /** The planner has so many captures of the table under way at most, 1 to 10,000. Default: 10,000, which is no limit. */
    readonly together?: number;
  };
  /** Captures once a recovery is expected to take longer, unless the snapshot alone takes more than half of that; at least a second. Default: one minute. */
  readonly recoverWithin?: Duration;
  /** Default: the last 2 snapshots. */
  readonly keep?: {
    /** Keeps so many snapshots, and the log back to the oldest of them; at least 2. Default: 2. */
    readonly last?: number;
    /** Keeps every state of so long a time. Default: none. */
    readonly for?: Duration;
  };
  /** Keeps so many mutations behind the checkpoint in any case. Default: 0. */
  readonly compactionOverhead?: number;
}

/** One InfluxDB 1.x server, or a part of what it holds, and the table that its backups go to. */
export interface InfluxdbSource {
  /** Of the backup and its table; as of a table, and no table's. */
  readonly name: string;
  /** Name or IP address of the server, as the function finds it. */
  readonly host: string;
  /** Of its snapshotter, `bind-address` in its settings, not that of its HTTP API. Default: 8088. */
  readonly port?: number;
  /** How often it is backed up: whole minutes, at most 2 days. */
  readonly every: Duration;
  /** Default: all but `_internal`. */
  readonly selection?: {
    /** This database alone. */
    readonly database: string;
    /** This retention policy of it alone. Default: all of them. */
    readonly policy?: string;
  };
  /** Default: the last 30 backups. */
  readonly keep?: {
    /** Keeps so many backups; at least 2. Default: 30. */
    readonly last?: number;
    /** Keeps every backup of so long a time. Default: none. */
    readonly for?: Duration;
  };
  /** Goes on behind shards that fail: they stay as they were, and the backup is partial. Default: true. */
  readonly skipErrors?: boolean;
  /** Leaves users and their passwords' hashes out. Default: false. */
  readonly withoutUsers?: boolean;
  /** Where its function runs; it needs ways to the server, S3, DynamoDB and SQS. Default: that of all functions. */
  readonly vpc?: IVpc;
  /** The subnets within that VPC. Default: its private ones, or those of all functions. */
  readonly vpcSubnets?: SubnetSelection;
  /** The security groups within that VPC. Default: one for the function, all outbound, or those of all functions. */
  readonly securityGroups?: ISecurityGroup[];
  /** Of one invocation, at most 15 minutes; a longer backup is continued by the next, but has to read its largest shard twice in one. Default: 15 minutes. */
  readonly timeout?: Duration;
  /** How long the server may say nothing. Default: 2 minutes. */
  readonly silentFor?: Duration;
  /** In MiB; processor and network grow with it. Default: 1769, one whole processor. */
  readonly memorySize?: number;
}

export interface PlanProps {
  /** How often it is looked for shards that are due: whole minutes, at most an hour. Default: one minute. */
  readonly every?: Duration;
  /** Reserves one execution for the planner, so that two never run at once; an account with a limit of 10 cannot. Default: true. */
  readonly reserveConcurrency?: boolean;
}

export interface SnapshotProps {
  /** Of one invocation, at most 15 minutes; a longer capture is continued by the next. Default: 15 minutes. */
  readonly timeout?: Duration;
  /** In MiB; processor and network grow with it. Default: 1769, one whole processor. */
  readonly memorySize?: number;
  /** Captures at the same time, 2 to 1,000. Default: 10. */
  readonly maxConcurrency?: number;
}

export interface CleanupProps {
  /** How often all shards are cleaned, besides after each capture: whole minutes, at most 2 days. Default: one day. */
  readonly every?: Duration;
  /** Of one invocation, at most 15 minutes. Default: 15 minutes. */
  readonly timeout?: Duration;
  /** In MiB. Default: 1024. */
  readonly memorySize?: number;
  /** Cleanups at the same time, 2 to 1,000. Default: 5. */
  readonly maxConcurrency?: number;
}

export interface IngestProps {
  /** Makes the SQS FIFO queue and its function, besides the function URL. Default: true. */
  readonly queue?: boolean;
  /** Of one invocation of either ingest function, at most 15 minutes. Default: 30 seconds. */
  readonly timeout?: Duration;
  /** In MiB, of either ingest function. Default: 1024. */
  readonly memorySize?: number;
  /** Executions set aside for the function URL, and its limit. Default: none of its own. */
  readonly reservedConcurrency?: number;
}

export interface EventsProps {
  /** The bus that the events go to. Default: the account's default bus. */
  readonly bus?: IEventBus;
}

export interface AlarmsProps {
  /** What an alarm does when it starts and when it ends. Default: nothing. */
  readonly actions?: readonly IAlarmAction[];
  /** How long a shard may have been due and still wait. Default: 15 minutes. */
  readonly checkpointLag?: Duration;
}
