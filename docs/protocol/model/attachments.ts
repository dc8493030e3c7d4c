// Which attachments a cleaner may delete, as lib/cleanup/attachments.ts has it: it reads the oldest generation that is kept and the
// log behind it, and collects what they name. What none of them names goes, once a batch of its sequence has applied.

import { type Cleaner, IDLE_CLEANER } from "./cleaner-state.ts";
import { goesOn, seenAt } from "./reading.ts";
import { sameName, snapshotText } from "./stored.ts";
import { truthAtTail } from "./truth.ts";
import { EMPTY, type Fold, replay } from "./values.ts";
import { covers, redoAt, type Setting, type Step, type World } from "./world.ts";

interface Keeping {
  readonly world: World;
  readonly me: Cleaner;
  readonly setting: Setting;
  readonly step: (says: string, take: (next: World) => void) => Step;
  readonly to: (next: World, change: Partial<Cleaner>) => void;
  readonly end: (next: World) => void;
}

export function keptSteps({ world, me, setting, step, to, end }: Keeping): readonly Step[] {
  const { bounds, rules } = setting;
  const { kept } = me;
  const life = me.control?.life ?? 0;
  const from = kept.base?.border.next ?? 1;
  const reads = (next: World, fold: Fold): void => to(next, { at: "kept log", kept: { ...kept, fold, names: together(kept.names, fold.names) } });

  switch (me.at) {
    case "kept control":
      if (world.control === undefined) return [step("finds no control item", end)];
      return [step("reads the control item again", (next) => to(next, { at: "kept rows", control: world.control }))];
    case "kept rows": {
      const mark = me.control?.mark ?? 1;
      const serving = world.rows.filter((row) => row.life === life && row.state === "kept" && row.border.next >= mark);
      const base = mark === 1 ? undefined : serving.reduce((oldest, row) => (row.index < oldest.index ? row : oldest), serving[0]);
      if (mark > 1 && base === undefined) return [step("finds no generation", end)];
      return [step("reads the history rows again", (next) => to(next, { at: "kept base", kept: { ...kept, base } }))];
    }
    case "kept base": {
      if (!rules.looksThroughLog) {
        const fold = truthAtTail(world, setting);
        return [step("reads the newest state alone", (next) => to(next, { at: "kept check", kept: { ...kept, fold, names: fold.names } }))];
      }
      const { base } = kept;
      if (base === undefined) return [step("begins with the empty state", (next) => reads(next, EMPTY))];
      const snapshot = world.snapshots.find((one) => sameName(one, base));
      if (snapshot === undefined) return [step(`finds ${snapshotText(base)} gone`, end)];
      return [step(`reads ${snapshotText(base)}`, (next) => reads(next, snapshot.fold))];
    }
    case "kept log": {
      const seen = seenAt(world, life, kept.fold.border);
      if (seen.kind === "broken") return [step(`finds redo/${kept.fold.border.next} broken`, end)];
      if (seen.kind === "absent") return [step(`finds no redo/${kept.fold.border.next}`, (next) => to(next, { at: "kept behind" }))];
      return [step(`reads redo/${seen.file.first}`, (next) => reads(next, replay(kept.fold, seen.file, { ...bounds, ...rules })))];
    }
    case "kept behind": {
      const { next: name } = kept.fold.border;
      if (!goesOn(world, life, name)) return [step("finds nothing behind it", (next) => to(next, { at: "kept check" }))];
      if (redoAt(world, life, name) !== undefined) return [step("finds that the log went on", (next) => to(next, { at: "kept log" }))];
      return [step(`finds the log behind redo/${name}, which is missing`, rules.checksKeptValues ? end : (next) => to(next, { at: "kept check" }))];
    }
    default: {
      if (rules.checksKeptValues && !covers(world, life, from)) return [step("sees that cleanup has passed what it read", end)];
      const applied = kept.fold.sessions.reduce((most, { sequence }) => Math.max(most, sequence), 0);
      const dead = me.listing.attached.filter(
        (one) => one.life === life && !kept.names.includes(one.name) && (one.sequence <= applied || !rules.sparesGathered),
      );
      const todo = dead.map((attachment) => ({ kind: "delete attachment", attachment }) as const);
      return [
        step(`plans to delete ${todo.length} attachments`, (next) => (todo.length === 0 ? end(next) : to(next, { ...IDLE_CLEANER, at: "delete", todo }))),
      ];
    }
  }
}

function together(names: readonly string[], more: readonly string[]): readonly string[] {
  return [...new Set([...names, ...more])].sort();
}
