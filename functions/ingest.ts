// Appends, called by a function URL.

import { ingestHandler } from "./handlers/ingest.ts";
import { instruments, openWorld } from "./runtime/wiring.ts";

export const handler = ingestHandler({ ...instruments, world: openWorld() });
