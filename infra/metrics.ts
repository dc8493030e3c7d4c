// The metrics that the functions send, by name. Their dimension is the pipeline, never a shard: a metric for each shard
// would cost dollars for each shard. Some are a table's.

import { MathExpression, Metric, type MetricOptions, Stats } from "aws-cdk-lib/aws-cloudwatch";

export const METRICS_NAMESPACE = "Tidemark";

/** Each with the statistic that makes sense of it. */
const STATISTICS = {
  /** Seconds that the shard waiting longest has been due; sent by each run of the planner. */
  CheckpointLag: Stats.MAXIMUM,
  /** Shards with mutations that no snapshot holds. */
  DirtyShards: Stats.MAXIMUM,
  SnapshotsCompleted: Stats.SUM,
  SnapshotsFailed: Stats.SUM,
  /** Mutations folded by captures. */
  SnapshotMutations: Stats.SUM,
  /** Bytes that captures uploaded. */
  SnapshotBytesSent: Stats.SUM,
  /** Duration of captures, in ms. */
  SnapshotMs: Stats.AVERAGE,
  /** Scheduled cleanups of all shards. */
  CleanupPasses: Stats.SUM,
  CleanupsFailed: Stats.SUM,
  /** Redo files, snapshots and orphans deleted. */
  ObjectsExpired: Stats.SUM,
  MutationsAppended: Stats.SUM,
  RedoFilesAppended: Stats.SUM,
} as const;

/** Those that a table alone has, a source's among them, and no pipeline as a whole. */
const TABLE_STATISTICS = {
  /** Seconds that a recovery of the table's dirty shard with the most to recover is expected to take. */
  ExpectedRecoveryTime: Stats.MAXIMUM,
  /** Bytes stored, in redo files and by captures, for each byte appended. */
  WriteAmplification: Stats.MAXIMUM,
  /** Backups of a source that are whole, those with nothing new among them. */
  BackupsCompleted: Stats.SUM,
  /** Backups in which some shards stayed as they were. */
  BackupsPartial: Stats.SUM,
  /** Tries at a backup that failed. */
  BackupsFailed: Stats.SUM,
  /** Bytes of files that backups stored anew. */
  BackupBytesStored: Stats.SUM,
  /** Duration of a backup's last invocation, in ms. */
  BackupMs: Stats.AVERAGE,
} as const;

export type PipelineMetric = keyof typeof STATISTICS;
export type TableMetric = keyof typeof TABLE_STATISTICS;

/** Over five minutes unless `options` say otherwise. */
export function pipelineMetric(pipeline: string, metricName: PipelineMetric, options: MetricOptions = {}): Metric {
  return new Metric({ namespace: METRICS_NAMESPACE, metricName, statistic: STATISTICS[metricName], dimensionsMap: { pipeline }, ...options });
}

/** The metric of one table. */
export function tableMetric(pipeline: string, metricName: TableMetric, table: string, options: MetricOptions = {}): Metric {
  return new Metric({ namespace: METRICS_NAMESPACE, metricName, statistic: TABLE_STATISTICS[metricName], dimensionsMap: { pipeline, table }, ...options });
}

/** A line for each table of the pipeline, those that come later included. An expression cannot be alarmed on, and costs nothing. */
export function metricOfTables(pipeline: string, metricName: TableMetric): MathExpression {
  const search = `{${METRICS_NAMESPACE},pipeline,table} MetricName="${metricName}" pipeline="${pipeline}"`;
  return new MathExpression({ expression: `SEARCH('${search}', '${TABLE_STATISTICS[metricName]}')`, label: "", usingMetrics: {} });
}
