// What the engine tells, as log lines and metrics. A shard's name stands in logs alone: a metric for each shard would cost
// dollars for each shard. Metrics go out for the pipeline and, where it matters, for the table. Keys and values of the
// users' state stand nowhere.

import type { Logger } from "@aws-lambda-powertools/logger";
import { type Metrics, MetricUnit } from "@aws-lambda-powertools/metrics";
import type { Tracer } from "@aws-lambda-powertools/tracer";
import type { Telemetry, TelemetryEvent } from "../../lib/ports/telemetry.ts";

/** What a function tells by. */
export interface Instruments {
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly tracer: Tracer;
}

/** Name and value of each metric; the name tells the unit. */
export type Values = Readonly<Record<string, number>>;

export function functionTelemetry({ logger, metrics }: Pick<Instruments, "logger" | "metrics">): Telemetry {
  return { report };

  function report(event: TelemetryEvent): void {
    const { kind, ...about } = event;
    switch (kind) {
      case "captured": {
        const { mutations, bytesSent, durationMs } = event;
        logger.info(kind, about);
        publish(metrics, { SnapshotsCompleted: 1, SnapshotMutations: mutations, SnapshotBytesSent: bytesSent, SnapshotMs: durationMs }, tableOf(event.shard));
        return;
      }
      case "cleaned": {
        const { redoFiles, snapshots, orphans } = event;
        logger.info(kind, about);
        publish(metrics, { ObjectsExpired: redoFiles + snapshots + orphans });
        return;
      }
      case "appended":
        publish(metrics, { MutationsAppended: event.mutations, RedoFilesAppended: 1 }, tableOf(event.shard));
        return;
      case "warning":
      case "fell-back":
      case "unparseable-name":
        logger.warn(kind, about);
        return;
      case "capture-uploaded":
      case "capture-resumed":
      case "job-stage":
      case "replayed":
      case "gathered":
        logger.debug(kind, about);
        return;
    }
  }
}

/** One line, at once: for the pipeline, and for the table where one is named. */
export function publish(metrics: Metrics, values: Values, table?: string): void {
  metrics.addDimensions({});
  if (table !== undefined) metrics.addDimensions({ table });
  send(metrics, values);
}

/** For the table alone: what would say nothing of several tables together is not paid for twice. */
export function publishOfTable(metrics: Metrics, table: string, values: Values): void {
  metrics.addDimensions({ table });
  send(metrics, values);
}

function send(metrics: Metrics, values: Values): void {
  for (const [name, value] of Object.entries(values)) metrics.addMetric(name, unitOf(name), value);
  metrics.publishStoredMetrics();
}

function unitOf(name: string): (typeof MetricUnit)[keyof typeof MetricUnit] {
  if (name.endsWith("Ms")) return MetricUnit.Milliseconds;
  if (name.includes("Bytes")) return MetricUnit.Bytes;
  if (name === "CheckpointLag" || name === "ExpectedRecoveryTime") return MetricUnit.Seconds;
  return name === "WriteAmplification" ? MetricUnit.NoUnit : MetricUnit.Count;
}

function tableOf(shard: string): string {
  return shard.slice(0, shard.indexOf("/"));
}
