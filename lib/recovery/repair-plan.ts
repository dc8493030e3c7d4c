// What can be done about damage (pure): which of the kept states can still be brought back, which are lost, and which
// generations count no more. Nothing here is a guess: a state can be brought back if a sound generation at or before it is
// kept, and the log from there to it is unbroken (rule 27).

import type { Control, HistoryRow } from "../model/control.ts";
import { incarnationPrefix, parseObjectName, type ShardId } from "../model/names.ts";
import { type Index, ORIGIN, toIndex } from "../model/position.ts";
import type { Finding } from "./verify.ts";

/** States by their indexes, both included. */
export interface IndexRange {
  readonly from: Index;
  readonly to: Index;
}

export interface RepairFacts {
  readonly id: ShardId;
  readonly control: Control;
  readonly rows: readonly HistoryRow[];
  /** Those of a verification. */
  readonly findings: readonly Finding[];
  /** The last index that anything tells of. */
  readonly tail: Index;
}

export interface RepairPlan {
  /** Generations whose snapshot is damaged or missing. */
  readonly damaged: readonly HistoryRow[];
  /** Keys of all objects that are damaged or missing. */
  readonly objects: readonly string[];
  /** States that can be brought back, and those that were kept and cannot. */
  readonly recoverable: readonly IndexRange[];
  readonly lost: readonly IndexRange[];
  /** Whether the newest state can. */
  readonly head: boolean;
}

export function planRepair({ id, control, rows, findings, tail }: RepairFacts): RepairPlan {
  const prefix = incarnationPrefix(id, control.incarnation);
  const objects = findings.map(({ object }) => object).filter((object) => object.startsWith(prefix));
  const names = objects.map((key) => parseObjectName(key.slice(prefix.length)));
  const breaks = names.flatMap((name) => (name.kind === "redo" ? [name.first] : []));
  const kept = rows.filter(({ state }) => state === "kept");
  const damaged = kept.filter(({ key }) => objects.includes(key));
  const sound = kept.filter((row) => !damaged.includes(row));
  const recoverable = joined(rangesOf(control, sound, { breaks, tail }));
  const lost = without(joined(rangesOf(control, kept, { breaks: [], tail })), recoverable);
  return { damaged, objects, recoverable, lost, head: recoverable.some(({ to }) => to >= tail) };
}

/** Whether the states of a generation do not depend on its own snapshot. */
export function isRecoverable({ recoverable }: Pick<RepairPlan, "recoverable">, index: Index): boolean {
  return recoverable.some(({ from, to }) => from <= index && index <= to);
}

/** From each base the states up to where the log breaks; below the mark a generation serves its own index alone (choose.ts). */
function rangesOf(
  { lowWater }: Control,
  rows: readonly HistoryRow[],
  { breaks, tail }: { readonly breaks: readonly Index[]; readonly tail: Index },
): readonly IndexRange[] {
  const reach = (next: Index): Index => toIndex(Math.min(tail, ...breaks.filter((first) => first >= next).map((first) => first - 1)));
  const ranges = rows.map(({ index, border }): IndexRange => ({ from: index, to: border.next >= lowWater ? reach(border.next) : index }));
  return lowWater === ORIGIN.next ? [{ from: toIndex(0), to: reach(ORIGIN.next) }, ...ranges] : ranges;
}

/** In order, those that touch made one. */
function joined(ranges: readonly IndexRange[]): readonly IndexRange[] {
  const whole: IndexRange[] = [];
  for (const range of ranges.toSorted((a, b) => a.from - b.from)) {
    const last = whole.at(-1);
    if (last === undefined || range.from > last.to + 1) whole.push(range);
    else if (range.to > last.to) whole[whole.length - 1] = { from: last.from, to: range.to };
  }
  return whole;
}

/** Of the first ranges what is in none of the second; both in order and apart. */
function without(ranges: readonly IndexRange[], others: readonly IndexRange[]): readonly IndexRange[] {
  return ranges.flatMap(({ from, to }) => {
    const left: IndexRange[] = [];
    let next: number = from;
    for (const other of others.filter((one) => one.to >= from && one.from <= to)) {
      if (other.from > next) left.push({ from: toIndex(next), to: toIndex(other.from - 1) });
      next = Math.max(next, other.to + 1);
    }
    if (next <= to) left.push({ from: toIndex(next), to });
    return left;
  });
}
