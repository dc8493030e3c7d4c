// Tables, called by CloudFormation.

import { tablesHandler } from "./handlers/tables.ts";
import { putResponse } from "./runtime/respond.ts";
import { clock, instruments, openItems } from "./runtime/wiring.ts";

export const handler = tablesHandler({ ...instruments, world: openItems(), respond: putResponse({ clock: clock() }) });
