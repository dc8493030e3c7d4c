// Which generations a state can be rebuilt from (pure). A base serves a bound if it lies at or before it and the log
// behind it is still kept; a generation below the low-water mark serves only its own index, for which no log is read.

import type { Control, HistoryRow } from "../model/control.ts";
import { type Border, ORIGIN } from "../model/position.ts";
import type { Bound } from "../redo-log/replay.ts";

export type Base = { readonly kind: "generation"; readonly row: HistoryRow } | { readonly kind: "empty" };

/** Bases that can serve the bound, the one with the least log to replay first; those that were found damaged last. */
export function basesFor(control: Control, rows: readonly HistoryRow[], bound: Bound): readonly Base[] {
  const newestFirst = rows.filter(({ state }) => state === "kept").sort((a, b) => b.index - a.index);
  const soundFirst = [...newestFirst.filter(({ verified }) => verified), ...newestFirst.filter(({ verified }) => !verified)];
  const bases: Base[] = soundFirst.filter((row) => serves(control, row, bound)).map((row) => ({ kind: "generation", row }));
  if (control.lowWater === ORIGIN.next) bases.push({ kind: "empty" });
  return bases;
}

export function baseBorder(base: Base): Border {
  return base.kind === "generation" ? base.row.border : ORIGIN;
}

function serves(control: Control, row: HistoryRow, bound: Bound): boolean {
  if (row.index > (bound.index ?? Number.POSITIVE_INFINITY)) return false;
  if (row.border.timeMs > (bound.timeMs ?? Number.POSITIVE_INFINITY)) return false;
  return row.border.next >= control.lowWater || row.index === bound.index;
}
