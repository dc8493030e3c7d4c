// Changes one generation's history row. The control item is written along, so that cleanup, whose writes are conditional
// on its stamp, sees every change of a row (rule 19), and no two changes of a row undo each other.

import type { Control, HistoryRow } from "../model/control.ts";
import { CONTROL_ATTEMPTS_MAX } from "../model/limits.ts";
import type { ShardId } from "../model/names.ts";
import type { Epoch, Index } from "../model/position.ts";
import { contended, type ControlDeps, readControl, writeControl } from "./control.ts";
import { historyAttributes, historyItem, parseHistoryRow } from "./items.ts";

export interface RowChange {
  readonly id: ShardId;
  readonly incarnation: string;
  readonly row: { readonly index: Index; readonly epoch: Epoch };
  /** The row as it shall be; nothing to leave it as it is. Asked again whenever another change came first. */
  readonly change: (row: HistoryRow, control: Control) => HistoryRow | undefined;
}

/**
 * True once the row is changed; false where `change` left it, or where cleanup has let the generation or the life go.
 * @throws {TidemarkError} `retry` where others kept changing the control item: what was to be changed is not
 */
export async function changeHistoryRow(deps: ControlDeps, { id, incarnation, row, change }: RowChange): Promise<boolean> {
  const item = historyItem(id, row);
  for (let attempt = 0; attempt < CONTROL_ATTEMPTS_MAX; attempt++) {
    const control = await readControl(deps.checkpoints, id);
    const found = await deps.checkpoints.get(item);
    if (control === undefined || control.incarnation !== incarnation || found === undefined) return false;
    const now = parseHistoryRow(found);
    const to = now.state === "kept" ? change(now, control) : undefined;
    if (to === undefined) return false;
    const also = [{ item, when: [{ kind: "eq", attribute: "state", value: "kept" } as const], put: historyAttributes(to) }];
    const written = await writeControl(deps, { id, from: control, to: control, also });
    if (written.kind === "written") return true;
  }
  throw contended(id);
}
