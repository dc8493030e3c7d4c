// Who owns the table on the stage: deletes it once, with all it holds, and makes it again. Killed half-way, it looks what is
// left to do. What stalled in the old life goes on in the new one.

import { createTable, deleteTable, findTable } from "../../lib/jobs/tables.ts";
import { isTidemarkError } from "../../lib/model/errors.ts";
import type { World } from "../../lib/ports/world.ts";
import { expectReason, type Troupe } from "./actors.ts";
import type { Process } from "./stage.ts";

export async function owner(troupe: Troupe, process: Process): Promise<void> {
  const { stage, promises, settings, id, count } = troupe;
  for (;;) {
    await stage.turn(process, promises.met["lives ended"] === 0 ? "delete" : "make again");
    try {
      const table = await findTable(process.world, id.table);
      if (table === undefined) await createTable(process.world, { name: id.table, codec: settings.codec, ...settings.policy });
      else if (table.state === "deleting" || promises.met["lives ended"] === 0) await deleteTable(process.world, id.table);
      else return;
      count(table === undefined ? "tables made again" : "tables deleted");
    } catch (error) {
      // Its own, whose answer never came.
      if (isTidemarkError(error) && error.code === "table-exists") count("tables made again before");
      else expectReason(troupe, error);
    }
  }
}

/** At rest: a deletion that was begun is finished, and the table is there. */
export async function tableStands({ settings, id }: Pick<Troupe, "settings" | "id">, world: World): Promise<void> {
  if ((await findTable(world, id.table))?.state === "deleting") await deleteTable(world, id.table);
  if ((await findTable(world, id.table)) === undefined) await createTable(world, { name: id.table, codec: settings.codec, ...settings.policy });
}
