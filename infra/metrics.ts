// The metrics that the functions send, by name. Their dimension is the pipeline, never a shard: a metric for each shard
// would cost dollars for each shard.

import { Metric, type MetricOptions, Stats } from "aws-cdk-lib/aws-cloudwatch";

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

export type PipelineMetric = keyof typeof STATISTICS;

/** Over five minutes unless `options` say otherwise. */
export function pipelineMetric(pipeline: string, metricName: PipelineMetric, options: MetricOptions = {}): Metric {
  return new Metric({ namespace: METRICS_NAMESPACE, metricName, statistic: STATISTICS[metricName], dimensionsMap: { pipeline }, ...options });
}
