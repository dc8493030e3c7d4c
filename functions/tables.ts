// Tables, called by CloudFormation.

import { tablesHandler } from "./handlers/tables.ts";
import { putResponse } from "./runtime/respond.ts";
import { clock, instruments, openWorld } from "./runtime/wiring.ts";

export const handler = tablesHandler({ ...instruments, world: openWorld(), respond: putResponse({ clock: clock() }) });
