// Pins hold a generation while someone reads it (rule 19). They are for progress; safety is the check at the end of a
// reading (rule 21), so a pin that lapses can make a reader start over, never return a wrong state.

import { type ControlDeps, readControl, writeControl } from "../checkpoint/control.ts";
import { historyAttributes, historyItem, parseHistoryRow } from "../checkpoint/items.ts";
import type { HistoryRow } from "../model/control.ts";
import { CONTROL_ATTEMPTS_MAX } from "../model/limits.ts";
import type { Clock } from "../ports/clock.ts";
import type { Life } from "../redo-log/read.ts";

export interface PinDeps extends ControlDeps {
  readonly clock: Clock;
}

export interface PinRequest {
  readonly life: Life;
  readonly row: HistoryRow;
  readonly pinId: string;
}

/** True once the generation and the log behind it are held; false where cleanup has let one of them go. */
export function pin(deps: PinDeps, request: PinRequest, untilMs: number): Promise<boolean> {
  return changePins(deps, request, (pins) => ({ ...pins, [request.pinId]: untilMs }));
}

/** Drops the pin, if the generation is still there. */
export function unpin(deps: PinDeps, request: PinRequest): Promise<boolean> {
  return changePins(deps, request, ({ [request.pinId]: _, ...others }) => others);
}

/** The control item is written along, so that cleanup, whose writes are conditional on it, sees every pin. */
async function changePins(deps: PinDeps, { life, row }: PinRequest, change: (pins: HistoryRow["pins"]) => HistoryRow["pins"]): Promise<boolean> {
  const item = historyItem(life.id, row);
  for (let attempt = 0; attempt < CONTROL_ATTEMPTS_MAX; attempt++) {
    const control = await readControl(deps.checkpoints, life.id);
    const found = await deps.checkpoints.get(item);
    if (control === undefined || control.incarnation !== life.incarnation || found === undefined) return false;
    const now = parseHistoryRow(found);
    if (now.state !== "kept" || control.lowWater > row.border.next) return false;
    const written = await writeControl(deps, {
      id: life.id,
      from: control,
      to: control,
      also: [
        {
          item,
          when: [{ kind: "eq", attribute: "state", value: "kept" }],
          put: historyAttributes({ ...now, pins: change(unlapsed(now.pins, deps.clock.now())) }),
        },
      ],
    });
    if (written.kind === "written") return true;
  }
  return false;
}

/** Whoever holds one for longer than it lasts has started over, or is no more. */
function unlapsed(pins: HistoryRow["pins"], nowMs: number): HistoryRow["pins"] {
  return Object.fromEntries(Object.entries(pins).filter(([, untilMs]) => untilMs > nowMs));
}
