// A snapshot in the making: the row groups that are placed so far, what of them the stored parts have noted, and its head.

import { type SnapshotAssembly, snapshotAssembly } from "./parquet/encode.ts";
import type { StoredGroup } from "./parquet/footer.ts";
import type { FinishedGroup } from "./parquet/groups.ts";
import { type GroupPages, MAGIC } from "./parquet/layout.ts";
import { type DoneGroups, encodeNote, type Progress } from "./progress.ts";
import type { Snapshot } from "./read.ts";

export interface Draft {
  readonly assembly: SnapshotAssembly;
  /** Places of the row groups that were carried over. */
  readonly carried: ReadonlySet<number>;
  /** Takes the magic that the object begins with, if nobody has; else nothing. */
  takeHead(): readonly Buffer[];
  /** Places an encoded row group; returns its bytes, with the head where they are the first. */
  fresh(group: FinishedGroup): readonly Buffer[];
  /** Places row groups of the base, the first of which is its `from`th. */
  carry(groups: readonly StoredGroup[], pages: readonly GroupPages[], from: number): void;
  /** The row groups that end at or before `offset` and that no note has yet, as a part's note. */
  noteUpTo(offset: number): string | undefined;
}

interface Placed {
  readonly end: number;
  readonly done: DoneGroups;
}

/**
 * @param progress what an earlier worker has done of it; `base` is the snapshot that it carries row groups over from
 * @param hasHead false for a section behind the first: its row groups are placed from 0 on
 */
export async function openDraft(progress: Progress | undefined, base: Snapshot | undefined, hasHead = true): Promise<Draft> {
  const assembly = hasHead ? snapshotAssembly() : snapshotAssembly(0);
  const carried = new Set<number>();
  let headIsTaken = !hasHead;
  let unnoted: Placed[] = [];

  const draft: Draft = {
    assembly,
    carried,
    takeHead() {
      if (headIsTaken) return [];
      headIsTaken = true;
      return [MAGIC];
    },
    fresh({ group, pages, bytes, open }) {
      const placed = assembly.add(group, pages);
      unnoted.push({ end: assembly.end, done: { kind: "fresh", placed, open } });
      return [...draft.takeHead(), bytes];
    },
    carry(groups, pages, from) {
      for (const [i, group] of groups.entries()) {
        carried.add(assembly.groups.length);
        assembly.add({ ...group, carried: group.carried + 1 }, pages[i]);
        unnoted.push({ end: assembly.end, done: { kind: "carried", from: from + i, to: from + i + 1, lastKey: group.lastKey } });
      }
    },
    noteUpTo(offset) {
      const ended = unnoted.findIndex(({ end }) => end > offset);
      const noted = unnoted.splice(0, ended < 0 ? unnoted.length : ended);
      return encodeNote(joined(noted.map(({ done }) => done)));
    },
  };

  for (const done of progress?.done ?? []) {
    if (done.kind === "fresh") assembly.restore(done.placed);
    else if (base !== undefined) await carryOver(draft, base, done);
  }
  if (assembly.groups.length > 0) draft.takeHead();
  unnoted = [];
  return draft;
}

/** Row groups of the base whose page indexes are read together: those of a whole snapshot would fill the memory. */
const CARRIED_TOGETHER = 64;

/** Places the base's row groups `from` (included) to `to` (excluded). */
export async function carryOver(draft: Draft, base: Snapshot, run: CarriedRun): Promise<void> {
  for await (const { groups, pages, at } of carriedGroups(base, run)) draft.carry(groups, pages, at);
}

/** They and their page indexes, some at a time, each time from the place `at` on. */
export async function* carriedGroups(base: Snapshot, { from, to }: CarriedRun): AsyncGenerator<CarriedGroups> {
  for (let at = from; at < to; at += CARRIED_TOGETHER) {
    const end = Math.min(to, at + CARRIED_TOGETHER);
    yield { groups: base.groups.slice(at, end), pages: await base.pagesOf(at, end), at };
  }
}

interface CarriedRun {
  readonly from: number;
  readonly to: number;
}

interface CarriedGroups {
  readonly groups: Snapshot["groups"];
  readonly pages: Awaited<ReturnType<Snapshot["pagesOf"]>>;
  readonly at: number;
}

/** Row groups of the base that follow one another are one entry. */
function joined(done: readonly DoneGroups[]): readonly DoneGroups[] {
  const all: DoneGroups[] = [];
  for (const one of done) {
    const last = all.at(-1);
    if (one.kind === "carried" && last?.kind === "carried" && last.to === one.from) all[all.length - 1] = { ...one, from: last.from };
    else all.push(one);
  }
  return all;
}

/** So many bytes of the object are of row groups that are placed. */
export function placedBytes({ assembly }: Draft): number {
  return assembly.groups.length === 0 ? 0 : assembly.end;
}
