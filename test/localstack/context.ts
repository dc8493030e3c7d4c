// The settings that the tests' stack is deployed with.

import type { InfluxdbHere } from "./influxdb.ts";

/** Short, so that a function can be killed at its limit within a test. */
const TIMEOUT_SECONDS = 25;
/** When a function that has come to that limit is gone for certain. */
export const KILLED_MS = (TIMEOUT_SECONDS + 5) * 1_000;

export type StackContext = Readonly<Record<string, string>>;

export function contextWith(influxdb: InfluxdbHere): StackContext {
  return {
    // Due at once: the schedule that comes each minute captures it.
    tables: JSON.stringify([{ name: "players", shards: 2, captureEverySeconds: 1 }]),
    snapshotTimeoutSeconds: String(TIMEOUT_SECONDS),
    ...(influxdb.kind === "runs" && { influxdb: JSON.stringify(sourcesOf(influxdb.snapshotter)) }),
  };
}

/** One that its schedule backs up each minute, and one that it does once, as soon as it is there. */
function sourcesOf(snapshotter: string): readonly object[] {
  const [host, port] = snapshotter.split(":");
  const server = { host, port: Number(port) };
  return [
    { ...server, name: "metrics", everyMinutes: 1, database: "metrics", keepLast: 2 },
    { ...server, name: "slow", everyMinutes: 2_880, database: "slow", timeoutSeconds: TIMEOUT_SECONDS },
  ];
}
