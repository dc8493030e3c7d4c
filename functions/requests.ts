// Status and requests, called by a function URL.

import { requestsHandler } from "./handlers/requests.ts";
import { instruments, openQueue, openItems } from "./runtime/wiring.ts";

export const handler = requestsHandler({ ...instruments, world: openItems(), captures: openQueue("TIDEMARK_SNAPSHOT_QUEUE") });
