// What the core reports while it works. An adapter turns events into logs, metrics, progress bars or nothing;
// it must not throw and must not wait.

import type { Index } from "../model/position.ts";

export interface Telemetry {
  report(event: TelemetryEvent): void;
}

/** Stages of a snapshot job, in their order (AresDB's). */
export type JobStage = "snapshot" | "cleanup" | "complete";

interface AtShard {
  /** `table/shard`. */
  readonly shard: string;
}

export type TelemetryEvent =
  | (AtShard & { readonly kind: "appended"; readonly first: Index; readonly mutations: number; readonly batches: number; readonly bytes: number })
  | (AtShard & { readonly kind: "job-stage"; readonly job: "snapshot"; readonly stage: JobStage })
  | (AtShard & { readonly kind: "capture-resumed"; readonly parts: number; readonly bytes: number; readonly bytesExpected: number })
  | (AtShard & {
      readonly kind: "capture-uploaded";
      readonly part: number;
      readonly bytes: number;
      readonly copied: boolean;
      readonly bytesDone: number;
      readonly bytesExpected: number;
    })
  | (AtShard & {
      readonly kind: "captured";
      readonly index: Index;
      readonly mutations: number;
      readonly rows: number;
      readonly bytes: number;
      readonly bytesSent: number;
      readonly durationMs: number;
    })
  | (AtShard & { readonly kind: "cleaned"; readonly redoFiles: number; readonly snapshots: number; readonly orphans: number; readonly lowWater: Index })
  | (AtShard & { readonly kind: "unparseable-name"; readonly key: string })
  | (AtShard & { readonly kind: "fell-back"; readonly damaged: string; readonly reason: string; readonly to: Index })
  | (AtShard & { readonly kind: "replayed"; readonly mutations: number; readonly redoFile: Index })
  /** A source has read, or brought back, one more piece of what it has; `bytes` so far. */
  | (AtShard & { readonly kind: "gathered"; readonly what: string; readonly done: number; readonly total: number; readonly bytes: number })
  | (AtShard & { readonly kind: "warning"; readonly message: string });
