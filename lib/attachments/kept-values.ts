// Every value that some state has which can still be brought back: those in the oldest kept generation, and all that batches
// which apply (I3) put in the log behind it. An attachment that none of them refers to is needed by no recovery.

import { rowsCollector } from "../machines/keyed/collect.ts";
import type { Control, HistoryRow } from "../model/control.ts";
import type { ShardId } from "../model/names.ts";
import { type Border, ORIGIN, toIndex } from "../model/position.ts";
import { RECORD_DELETE, releaseRows, type Rows, type LogRecords } from "../model/rows.ts";
import type { Sessions } from "../model/sessions.ts";
import { filesFrom, settle } from "../redo-log/read.ts";
import { pour } from "../snapshot/pour.ts";
import { loadState, type StateDeps } from "../snapshot/state.ts";

export interface KeptSubject {
  readonly id: ShardId;
  readonly control: Control;
  readonly rows: readonly HistoryRow[];
}

/** `read`: with the highest sequence of all batches that applied; 0 if none did. `stale`: cleanup passed meanwhile, start over. */
export type KeptOutcome = { readonly kind: "read"; readonly sequence: number } | { readonly kind: "stale" };

/** Shows each value once or more often; it is the visitor's only until it returns. */
export async function eachKeptValue(deps: StateDeps, { id, control, rows }: KeptSubject, visit: (value: Buffer) => void): Promise<KeptOutcome> {
  const life = { id, incarnation: control.incarnation };
  const kept = rows.filter(({ state, border }) => state === "kept" && border.next >= control.lowWater);
  const isWhole = control.lowWater <= ORIGIN.next;
  const oldest = isWhole ? undefined : kept.reduce<HistoryRow | undefined>((low, row) => (low === undefined || row.index < low.index ? row : low), undefined);
  const index = oldest?.index ?? toIndex(0);
  const outcome = await loadState(deps, { life, codec: "json", control, rows, bound: { index } });
  if (outcome.kind !== "loaded") return { kind: "stale" };
  const { state } = outcome;
  const collector = rowsCollector();
  for await (const _ of pour(state, collector)) visitRows(collector.take(), visit);
  const sessions = state.sessions;
  let border: Border = oldest?.border ?? ORIGIN;
  for (;;) {
    const from = border;
    for await (const step of filesFrom(deps, life, from)) {
      if (step.kind !== "found") {
        const told = await settle(deps, life, { step, from: oldest?.border.next ?? ORIGIN.next, border });
        if (told === "stale") return { kind: "stale" };
        if (told === "tail") return { kind: "read", sequence: highest(sessions) };
        break;
      }
      let done = 0;
      for (const { count, mark } of step.file.header.batches) {
        // One that does not apply is of no state.
        const applies = mark === undefined || sessions.apply(mark, toIndex(border.next + done + count - 1)) === "applies";
        if (applies) visitRecords(step.file.records, { from: done, to: done + count }, visit);
        done += count;
      }
      border = step.border;
    }
  }
}

function highest(sessions: Sessions): number {
  return sessions.list().reduce((most, { sequence }) => Math.max(most, Number(sequence)), 0);
}

function visitRows(rows: Rows, visit: (value: Buffer) => void): void {
  for (let row = 0; row < rows.count; row++) visit(rows.values.subarray(row === 0 ? 0 : rows.valueEnds[row - 1], rows.valueEnds[row]));
  releaseRows(rows);
}

function visitRecords(
  { bytes, kinds, valueStarts, valueLengths }: LogRecords,
  { from, to }: { readonly from: number; readonly to: number },
  visit: (value: Buffer) => void,
): void {
  for (let at = from; at < to; at++) {
    if (kinds[at] !== RECORD_DELETE) visit(bytes.subarray(valueStarts[at], valueStarts[at] + valueLengths[at]));
  }
}
