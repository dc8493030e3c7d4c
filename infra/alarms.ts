// What wakes somebody. Each alarm says what it means and what to look at first; each stands for work that would not be
// done, and none for what the next run cures by itself.

import { Duration } from "aws-cdk-lib";
import { Alarm, ComparisonOperator, type IMetric, TreatMissingData } from "aws-cdk-lib/aws-cloudwatch";
import type { Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
import type { IQueue } from "aws-cdk-lib/aws-sqs";
import { Construct } from "constructs";
import { pipelineMetric, tableMetric } from "./metrics.ts";
import type { AlarmsProps } from "./props.ts";
import type { QueueWithDeadLetters } from "./queues.ts";

export interface Watched {
  readonly pipelineName: string;
  readonly planEvery: Duration;
  readonly cleanupEvery: Duration;
  readonly ingest: LambdaFunction;
  /** Absent where there is none. */
  readonly ingestQueue: QueueWithDeadLetters | undefined;
  /** By what they hold, as in `Snapshot`. */
  readonly deadLetters: Readonly<Record<string, IQueue>>;
  /** By their names. */
  readonly sources: Readonly<Record<string, WatchedSource>>;
}

export interface WatchedSource {
  readonly every: Duration;
  readonly deadLetters: IQueue;
}

interface AlarmRequest {
  readonly metric: IMetric;
  readonly description: string;
  readonly when: "above" | "below";
  readonly threshold: number;
  readonly periods?: number;
  readonly missing?: TreatMissingData;
}

const CHECKPOINT_LAG = Duration.minutes(15);
const PERIOD_SECONDS = 300;
const MINUTE_SECONDS = 60;
const DAY_SECONDS = 86_400;

export function pipelineAlarms(scope: Construct, watched: Watched, { actions = [], checkpointLag = CHECKPOINT_LAG }: AlarmsProps): readonly Alarm[] {
  const folder = new Construct(scope, "Alarms");
  const alarms = [
    ...Object.entries(requests(watched, checkpointLag)).map(([id, request]) => alarm(folder, id, request)),
    ...Object.entries(watched.sources).flatMap(([name, source]) => sourceAlarms(folder, watched.pipelineName, name, source)),
  ];
  for (const made of alarms) {
    made.addAlarmAction(...actions);
    made.addOkAction(...actions);
  }
  return alarms;
}

function requests(watched: Watched, checkpointLag: Duration): Readonly<Record<string, AlarmRequest>> {
  return {
    ...captureAlarms(watched, checkpointLag),
    ...cleanupAlarms(watched),
    ...ingestAlarms(watched),
    ...deadLetterAlarms(watched),
  };
}

function captureAlarms({ pipelineName, planEvery }: Watched, checkpointLag: Duration): Readonly<Record<string, AlarmRequest>> {
  return {
    CheckpointLag: {
      // Of a planner that runs less often most shorter periods would have no figure, and one that has none counts as not above.
      metric: pipelineMetric(pipelineName, "CheckpointLag", { period: plannerPeriod(planEvery) }),
      when: "above",
      threshold: checkpointLag.toSeconds(),
      periods: 2,
      description: `A shard has been due for a capture for more than ${checkpointLag.toHumanString()}. Nothing is lost; recovery takes longer. Look first at the snapshot function's log, its throttles, and the snapshot queue.`,
    },
    PlannerStopped: {
      // Counted, for its value says nothing here: each run of the planner sends one.
      metric: pipelineMetric(pipelineName, "CheckpointLag", { statistic: "SampleCount", period: plannerPeriod(planEvery) }),
      when: "below",
      threshold: 1,
      periods: 2,
      missing: TreatMissingData.BREACHING,
      description:
        "The planner has not run: no shard is captured. Look first at the plan function's log, at its schedule, and whether the schedule is enabled.",
    },
    SnapshotsFailed: {
      metric: pipelineMetric(pipelineName, "SnapshotsFailed"),
      when: "above",
      threshold: 0,
      // One failure in one period: the next try comes only after the queue's visibility timeout, an hour and a half.
      description: "A capture failed; it will be tried again. Nothing is lost. Look first at the snapshot function's log, which names the shard and the error.",
    },
  };
}

function cleanupAlarms({ pipelineName, cleanupEvery }: Watched): Readonly<Record<string, AlarmRequest>> {
  return {
    CleanupStalled: {
      metric: pipelineMetric(pipelineName, "CleanupPasses", { period: halfOf(cleanupEvery) }),
      when: "below",
      threshold: 1,
      periods: 5,
      missing: TreatMissingData.BREACHING,
      description:
        "No scheduled cleanup ran for two and a half of its periods: storage grows. Look first at the cleanup function's log and at its schedule. In a new pipeline it ends with the first pass.",
    },
    CleanupsFailed: {
      metric: pipelineMetric(pipelineName, "CleanupsFailed"),
      when: "above",
      threshold: 0,
      description: "A shard could not be cleaned up; it will be tried again. Look first at the cleanup function's log, which names the shard and the error.",
    },
  };
}

function ingestAlarms({ ingest, ingestQueue }: Watched): Readonly<Record<string, AlarmRequest>> {
  return {
    ...(ingestQueue && { IngestWaits: waitingAlarm(ingestQueue) }),
    IngestFaults: {
      metric: ingest.metric("Url5xxCount", { statistic: "Sum" }),
      when: "above",
      threshold: 0,
      periods: 2,
      description: "Calls of the ingest URL keep failing on our side: the callers' batches are not appended. Look first at the ingest function's log.",
    },
    IngestThrottles: {
      metric: ingest.metricThrottles(),
      when: "above",
      threshold: 0,
      periods: 2,
      description:
        "Calls of the ingest URL are throttled: the callers' batches are not appended. Look first at the account's and the function's limits of concurrency.",
    },
  };
}

/**
 * One message that fails is gone by then, to the dead letters, which have an alarm of their own: what is older stands in a queue that
 * nobody takes from, or not as fast as it grows. SQS itself lets go of it after its retention.
 */
function waitingAlarm({ queue, triedFor }: QueueWithDeadLetters): AlarmRequest {
  return {
    metric: queue.metricApproximateAgeOfOldestMessage(),
    when: "above",
    threshold: triedFor.toSeconds(),
    description: `A message has waited in the ingest queue for more than ${triedFor.toHumanString()}, longer than one that fails is tried: its batch is not appended. Look first at the ingest-queue function's log and throttles, and whether its event source is enabled.`,
  };
}

function deadLetterAlarms({ deadLetters }: Watched): Readonly<Record<string, AlarmRequest>> {
  return Object.fromEntries(Object.entries(deadLetters).map(([id, queue]) => [`${id}DeadLetters`, deadLetterAlarm(id.toLowerCase(), queue)]));
}

function deadLetterAlarm(of: string, queue: IQueue): AlarmRequest {
  return {
    metric: queue.metricApproximateNumberOfMessagesVisible({ statistic: "Maximum" }),
    when: "above",
    threshold: 0,
    description: `A message of ${of} was given up after its last try. Read it in the dead-letter queue, where its reason is; cure that, then send it back.`,
  };
}

function sourceAlarms(folder: Construct, pipeline: string, name: string, { every, deadLetters }: WatchedSource): readonly Alarm[] {
  const scope = new Construct(folder, name);
  const all: Readonly<Record<string, AlarmRequest>> = {
    BackupOverdue: {
      metric: tableMetric(pipeline, "BackupsCompleted", name, { period: halfOf(every) }),
      when: "below",
      threshold: 1,
      periods: 5,
      missing: TreatMissingData.BREACHING,
      description: `No backup of ${name} was completed for two and a half of its periods; what came since is only on the server. Look first at its function's log, whether the server answers, and whether the schedule is enabled. For a new source it ends with the first backup.`,
    },
    BackupsPartial: {
      metric: tableMetric(pipeline, "BackupsPartial", name),
      when: "above",
      threshold: 0,
      description: `Shards of ${name} could not be read: in the newest backup they are as they were before. Look first at its function's log, which names them and the errors, then at the server's.`,
    },
    BackupDeadLetters: deadLetterAlarm(`the backups of ${name}`, deadLetters),
  };
  return Object.entries(all).map(([id, request]) => alarm(scope, id, request));
}

function alarm(
  scope: Construct,
  id: string,
  { metric, description, when, threshold, periods = 1, missing = TreatMissingData.NOT_BREACHING }: AlarmRequest,
): Alarm {
  return new Alarm(scope, id, {
    metric,
    alarmDescription: description,
    comparisonOperator: when === "above" ? ComparisonOperator.GREATER_THAN_THRESHOLD : ComparisonOperator.LESS_THAN_THRESHOLD,
    threshold,
    evaluationPeriods: periods,
    treatMissingData: missing,
  });
}

/** Long enough for two runs. */
function plannerPeriod(every: Duration): Duration {
  return Duration.seconds(Math.max(PERIOD_SECONDS, 2 * every.toSeconds()));
}

/** In whole minutes, as CloudWatch wants, and at most a day. */
function halfOf(every: Duration): Duration {
  const minutes = Math.ceil(every.toSeconds() / 2 / MINUTE_SECONDS);
  return Duration.seconds(Math.min(minutes * MINUTE_SECONDS, DAY_SECONDS));
}
