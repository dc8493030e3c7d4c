// Captures, called by the snapshot queue.

import { snapshotHandler } from "./handlers/snapshot.ts";
import { instruments, openDeadLetters, openQueue, openWorld } from "./runtime/wiring.ts";

export const handler = snapshotHandler({
  ...instruments,
  world: openWorld(),
  captures: openQueue("TIDEMARK_SNAPSHOT_QUEUE"),
  cleanups: openQueue("TIDEMARK_CLEANUP_QUEUE"),
  deadLetters: openDeadLetters(),
});
