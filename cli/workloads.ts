// Three workloads to compare one's own with. docs/cost.md shows what they cost.

import { POLICY_DEFAULTS } from "../lib/model/table.ts";
import type { Workload } from "./cost.ts";

/** A table as a deployment makes it, that nobody writes to. */
const IDLE: Workload = {
  shards: 1,
  mutationsPerSecond: 0,
  bytesPerMutation: 250,
  activeHoursPerDay: 24,
  through: "url",
  mutationsPerCall: 10,
  lingerSeconds: 1,
  captureLogShare: POLICY_DEFAULTS.captureLogPercent / 100,
  recoverWithinSeconds: POLICY_DEFAULTS.recoverWithinMs / 1e3,
  captureAfterSeconds: POLICY_DEFAULTS.captureAfterMs / 1e3,
  captureAfterMutations: POLICY_DEFAULTS.captureAfterMutations,
  stateBytes: 0,
  keepSnapshots: 2,
  planEveryMinutes: 1,
  alarms: true,
  ingestQueue: true,
  events: true,
  dashboard: false,
  tracing: false,
};

export const WORKLOADS = {
  idle: IDLE,
  /** A service with ten changes a second in office hours, ten in each call. */
  small: { ...IDLE, mutationsPerSecond: 10, activeHoursPerDay: 12, stateBytes: 100e6 },
  /** 20,000 changes a second day and night, by programs with the library; a day's state of 100 GB. */
  large: { ...IDLE, shards: 32, mutationsPerSecond: 20_000, through: "library", stateBytes: 100e9, dashboard: true },
} as const satisfies Readonly<Record<string, Workload>>;
