// The planner, called by a schedule.

import { planHandler } from "./handlers/plan.ts";
import { instruments, openQueue, openWorld } from "./runtime/wiring.ts";

export const handler = planHandler({ ...instruments, world: openWorld(), captures: openQueue("TIDEMARK_SNAPSHOT_QUEUE") });
