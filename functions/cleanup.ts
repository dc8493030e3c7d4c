// Cleanup, called by a schedule and by the cleanup queue.

import { cleanupHandler } from "./handlers/cleanup.ts";
import { instruments, openDeadLetters, openQueue, openWorld } from "./runtime/wiring.ts";

export const handler = cleanupHandler({
  ...instruments,
  world: openWorld(),
  cleanups: openQueue("TIDEMARK_CLEANUP_QUEUE"),
  deadLetters: openDeadLetters(),
});
