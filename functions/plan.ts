// The planner, called by a schedule.

import { planHandler } from "./handlers/plan.ts";
import { instruments, openQueue, openItems } from "./runtime/wiring.ts";

export const handler = planHandler({ ...instruments, world: openItems(), captures: openQueue("TIDEMARK_SNAPSHOT_QUEUE") });
