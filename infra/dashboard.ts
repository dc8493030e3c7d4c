// One page to look at: how far behind, what was captured, what was appended, what was cleaned, what went wrong.

import { Duration } from "aws-cdk-lib";
import { Dashboard, GraphWidget, type IMetric, type IWidget } from "aws-cdk-lib/aws-cloudwatch";
import type { Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
import type { IQueue } from "aws-cdk-lib/aws-sqs";
import type { Construct } from "constructs";
import { metricOfTables, type PipelineMetric, pipelineMetric } from "./metrics.ts";

export interface Shown {
  readonly pipelineName: string;
  readonly queues: readonly IQueue[];
  readonly deadLetters: readonly IQueue[];
  readonly functions: readonly LambdaFunction[];
  /** Whether there are backups to show. */
  readonly backups: boolean;
}

export function pipelineDashboard(scope: Construct, { pipelineName, queues, deadLetters, functions, backups }: Shown): Dashboard {
  const own = (...names: readonly PipelineMetric[]) => names.map((name) => pipelineMetric(pipelineName, name));
  return new Dashboard(scope, "Dashboard", {
    defaultInterval: Duration.hours(12),
    widgets: [
      [graph("Checkpoint lag (s)", own("CheckpointLag")), graph("Dirty shards", own("DirtyShards"))],
      [
        graph("Expected recovery (s)", [metricOfTables(pipelineName, "ExpectedRecoveryTime")]),
        graph("Write amplification", [metricOfTables(pipelineName, "WriteAmplification")]),
      ],
      [graph("Captures", own("SnapshotsCompleted", "SnapshotsFailed")), graph("Bytes sent by captures", own("SnapshotBytesSent"))],
      [graph("Capture (ms)", own("SnapshotMs")), graph("Appended", own("MutationsAppended", "RedoFilesAppended"))],
      [graph("Cleanup", own("CleanupPasses", "CleanupsFailed", "ObjectsExpired")), graph("Messages waiting", depths(queues))],
      ...(backups
        ? [
            [
              graph(
                "Backups",
                (["BackupsCompleted", "BackupsPartial", "BackupsFailed"] as const).map((name) => metricOfTables(pipelineName, name)),
              ),
              graph("Bytes stored by backups", [metricOfTables(pipelineName, "BackupBytesStored")]),
            ],
          ]
        : []),
      [
        graph("Dead letters", depths(deadLetters)),
        graph(
          "Function errors",
          functions.map((one) => one.metricErrors()),
        ),
      ],
      [
        graph(
          "Function throttles",
          functions.map((one) => one.metricThrottles()),
        ),
        graph(
          "Function duration (ms)",
          functions.map((one) => one.metricDuration()),
        ),
      ],
    ],
  });
}

function depths(queues: readonly IQueue[]): readonly IMetric[] {
  return queues.map((queue) => queue.metricApproximateNumberOfMessagesVisible());
}

function graph(title: string, metrics: readonly IMetric[]): IWidget {
  return new GraphWidget({ title, left: [...metrics], width: 12, leftYAxis: { min: 0 } });
}
