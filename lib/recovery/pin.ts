// Pins hold a generation while someone reads it (rule 19). They are for progress; safety is the check at the end of a
// reading (rule 21), so a pin that lapses can make a reader start over, never return a wrong state.

import type { ControlDeps } from "../checkpoint/control.ts";
import { changeHistoryRow } from "../checkpoint/history.ts";
import type { HistoryRow } from "../model/control.ts";
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

function changePins(deps: PinDeps, { life, row }: PinRequest, change: (pins: HistoryRow["pins"]) => HistoryRow["pins"]): Promise<boolean> {
  return changeHistoryRow(deps, {
    ...life,
    row,
    change: (now, control) => (control.lowWater > row.border.next ? undefined : { ...now, pins: change(unlapsed(now.pins, deps.clock.now())) }),
  });
}

/** Whoever holds one for longer than it lasts has started over, or is no more. */
function unlapsed(pins: HistoryRow["pins"], nowMs: number): HistoryRow["pins"] {
  return Object.fromEntries(Object.entries(pins).filter(([, untilMs]) => untilMs > nowMs));
}
