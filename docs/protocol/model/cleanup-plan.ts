// What cleanup may delete, as lib/cleanup/plan.ts has it: redo files below the mark, generations let go, and whatever no row and
// no record names and whose epoch is past. Clocks say only whether a lease has lapsed: here both answers are tried.

import type { Cleaner } from "./cleaner-state.ts";
import type { Request } from "./request.ts";
import { type Control, type Row, sameName, type SnapshotName } from "./stored.ts";
import type { Setting } from "./world.ts";

export interface Plan {
  readonly mark: number;
  readonly fence: boolean;
  readonly todo: readonly Request[];
}

/** The plans that clocks may lead to; the one that cleans the most first. */
export function plansFor(me: Cleaner, setting: Setting): readonly Plan[] {
  const { control } = me;
  if (control === undefined) return [planForNothing(me)];
  const mayFence = setting.rules.fences && control.epoch < setting.bounds.epochs;
  const plans = [planFor(me, control, setting, mayFence && wantsFence(me, control, true))];
  if (plans[0].fence) plans.push(planFor(me, control, setting, false));
  return plans;
}

function planFor({ listing, rows }: Cleaner, control: Control, { bounds, rules }: Setting, fence: boolean): Plan {
  const { life, record, checkpoint } = control;
  const mine = rows.filter((row) => row.life === life);
  const kept = mine.filter(({ state }) => state === "kept").sort((a, b) => b.index - a.index);
  const counted = kept.filter(({ verified }) => verified || !rules.countsVerified);
  const oldest = counted[(rules.keepsTwo ? bounds.keep : 1) - 1];
  const held = kept.filter(({ index }) => oldest !== undefined && index >= oldest.index);
  const pinned = kept.filter(({ pins }) => pins.length > 0);
  const keep = new Set([...held, ...pinned]);
  const needing = rules.pinsHoldLog ? [...keep] : held;
  const mark = oldest === undefined ? control.mark : markFor(control, needing, listing, { bounds, rules });
  const going = rows.filter((row) => row.state === "deleting" || row.life !== life || (oldest !== undefined && !keep.has(row) && !sameName(row, checkpoint)));
  const isNamed = (name: SnapshotName): boolean => rows.some((row) => sameName(row, name)) || (rules.sparesRecord && sameName(name, record));
  const isDead = ({ epoch, life: of }: SnapshotName): boolean => of !== life || fence || epoch < control.epoch || !rules.judgesByEpoch;
  const isRecorded = (upload: { readonly id: number }): boolean => rules.sparesRecord && record !== undefined && upload.id === record.upload;
  const lowest = rules.deletesGhosts ? 0 : control.mark;
  return {
    mark,
    fence,
    todo: [
      ...listing.redo
        .filter((file) => file.life !== life || (file.first < mark && file.first >= lowest))
        .map(({ life: of, first }) => ({ kind: "delete redo file", life: of, first }) as const),
      ...listing.snapshots.filter((name) => !isNamed(name) && isDead(name)).map((name) => ({ kind: "delete snapshot", name }) as const),
      ...going.flatMap((row) => lettingGo(row)),
      ...listing.uploads
        .filter((upload) => (fence && isRecorded(upload)) || (!isRecorded(upload) && isDead(upload)))
        .map(({ id }) => ({ kind: "abort upload", id }) as const),
      ...listing.attached.filter((attachment) => attachment.life !== life).map((attachment) => ({ kind: "delete attachment", attachment }) as const),
      ...listing.parts.filter((item) => fence || item.epoch !== record?.epoch).map((item) => ({ kind: "drop part", item }) as const),
    ],
  };
}

/** Something of the newest epoch lies about, or the record waits for nobody. Who goes on with a record takes the next epoch. */
function wantsFence({ listing, rows }: Cleaner, { epoch, life, record }: Control, isAbandoned: boolean): boolean {
  if (record !== undefined) return isAbandoned;
  const isLeft = (name: SnapshotName): boolean => name.life === life && name.epoch === epoch;
  return listing.uploads.some(isLeft) || listing.snapshots.some((name) => isLeft(name) && !rows.some((row) => sameName(row, name)));
}

/** The lowest border that what is kept needs, less the overhead, at a redo file's beginning. */
function markFor(
  { mark, life, checkpoint }: Control,
  keep: readonly Row[],
  listing: Cleaner["listing"],
  { bounds, rules }: Pick<Setting, "bounds" | "rules">,
): number {
  const borders = keep.map(({ border }) => border.next);
  const needed = rules.keepsOlderGeneration ? Math.min(...borders) : Math.max(...borders);
  const withOverhead = (checkpoint?.border.next ?? 1) - bounds.overhead;
  if (withOverhead >= needed) return Math.max(mark, needed);
  if (!rules.roundsMark) return Math.max(mark, withOverhead);
  return Math.max(mark, ...listing.redo.filter((file) => file.life === life && file.first <= withOverhead).map(({ first }) => first));
}

/** Its row is marked, conditional on the control item; then its object goes, then the row. */
function lettingGo({ life, index, epoch, state }: Row): readonly Request[] {
  const name = { life, index, epoch };
  const marks: readonly Request[] = state === "kept" ? [{ kind: "mark row", from: 0, name }] : [];
  return [...marks, { kind: "delete snapshot", name }, { kind: "drop row", name }];
}

/** Without a control item, nothing that was listed is of a life. */
function planForNothing({ listing, rows }: Cleaner): Plan {
  return {
    mark: 0,
    fence: false,
    todo: [
      ...listing.redo.map(({ life, first }) => ({ kind: "delete redo file", life, first }) as const),
      ...listing.snapshots.map((name) => ({ kind: "delete snapshot", name }) as const),
      ...rows.flatMap((row) => lettingGo({ ...row, state: "deleting" })),
      ...listing.uploads.map(({ id }) => ({ kind: "abort upload", id }) as const),
      ...listing.attached.map((attachment) => ({ kind: "delete attachment", attachment }) as const),
      ...listing.parts.map((item) => ({ kind: "drop part", item }) as const),
    ],
  };
}
