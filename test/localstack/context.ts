// The settings that the tests' stack is deployed with.

/** Short, so that a function can be killed at its limit within a test. */
export const SNAPSHOT_TIMEOUT_SECONDS = 25;

export const CONTEXT: Readonly<Record<string, string>> = {
  // Due at once: the schedule that comes each minute captures it.
  tables: JSON.stringify([{ name: "players", shards: 2, captureEverySeconds: 1 }]),
  snapshotTimeoutSeconds: String(SNAPSHOT_TIMEOUT_SECONDS),
};
