// Appends, called by an ordered queue.

import { ingestQueueHandler } from "./handlers/ingest-queue.ts";
import { instruments, openDeadLetters, openWorld, queueBirths } from "./runtime/wiring.ts";

export const handler = ingestQueueHandler({ ...instruments, world: openWorld(), deadLetters: openDeadLetters(), queueMadeAt: queueBirths() });
