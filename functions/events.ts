// Events, called by the control table's stream.

import { eventsHandler } from "./handlers/events.ts";
import { clock, instruments, openBus, pipeline } from "./runtime/wiring.ts";

export const handler = eventsHandler({ ...instruments, bus: openBus(), clock: clock(), pipeline });
