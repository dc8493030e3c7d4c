// Readers recover a state: the newest, or that at an index. They choose a generation, replay the log behind it, and check at the
// end that what they read is still covered. One that pins its generation may go on reading it until it lets go.

import { basesFor } from "./bases.ts";
import { IDLE_READER, NEWEST, type Reader } from "./reader-state.ts";
import { goesOn, isFalseAlarm, seenAt } from "./reading.ts";
import { sameName, snapshotText } from "./stored.ts";
import { changesControl } from "./stores.ts";
import { truthAt } from "./truth.ts";
import { borderBehind, EMPTY, replay, sameFold } from "./values.ts";
import { breaks, covers, redoAt, replaced, type Setting, type Step, type World } from "./world.ts";

export function readerSteps(world: World, n: number, setting: Setting): readonly Step[] {
  const me = world.readers[n];
  const { bounds, rules } = setting;
  const { control } = world;
  const step = (says: string, take: (next: World) => void): Step => ({ says: `R${n} ${says}`, take });
  const to = (next: World, change: Partial<Reader>): void => {
    next.readers = replaced(next.readers, n, { ...next.readers[n], ...change });
  };
  const end = (next: World): void => to(next, IDLE_READER);
  const [base] = me.bases;
  const row = base === undefined || base === "empty" ? undefined : base;
  const from = row?.border.next ?? 1;

  switch (me.at) {
    case "idle": {
      if (world.left.reads === 0 || control === undefined) return [];
      const tail = world.truth.log.reduce((sum, { batches }) => sum + batches.length, 0);
      const asked = [NEWEST, ...Array.from({ length: tail }, (_, place) => place + 1)];
      return asked.flatMap((upTo) =>
        (bounds.pins ? [false, true] : [false]).map((pins) =>
          step(`recovers ${upTo === NEWEST ? "the newest state" : `the state at ${upTo}`}${pins ? ", to pin it" : ""}: reads the control item`, (next) => {
            next.left = { ...next.left, reads: next.left.reads - 1 };
            to(next, { at: "rows", life: control.life, mark: control.mark, upTo, pins, acknowledged: world.truth.acknowledged });
          }),
        ),
      );
    }
    case "rows": {
      const bases = basesFor(world.rows, { mark: me.mark, upTo: me.upTo, life: me.life });
      if (bases.length > 0) return [step("reads the history rows", (next) => to(next, { at: "base", bases }))];
      return [
        step("finds nothing to begin with", (next) => {
          if (me.upTo === NEWEST && control?.life === me.life) breaks(next, "I6: no generation is left to recover from");
          end(next);
        }),
      ];
    }
    case "base": {
      if (row === undefined) return [step("begins with the empty state", (next) => to(next, { at: "log", fold: EMPTY }))];
      const snapshot = world.snapshots.find((one) => sameName(one, row));
      const isKept = world.rows.some((one) => sameName(one, row) && one.state === "kept");
      if (snapshot === undefined && !isKept) return [step(`finds ${snapshotText(row)} gone, and begins anew`, end)];
      if (snapshot === undefined || snapshot.rotten) {
        const others = me.bases.slice(1);
        return [step(`finds ${snapshotText(row)} damaged`, (next) => (others.length > 0 ? to(next, { bases: others }) : end(next)))];
      }
      return [step(`reads ${snapshotText(row)}`, (next) => to(next, { at: "log", fold: snapshot.fold }))];
    }
    case "log": {
      if (me.fold.index >= me.upTo) return [step(`has come to ${me.upTo}`, me.hasReadLog ? (next) => ends(next) : (next) => loaded(next))];
      const seen = seenAt(world, me.life, me.fold.border);
      if (seen.kind === "found") {
        const fold = replay(me.fold, seen.file, { ...bounds, ...rules }, me.upTo);
        return [step(`reads redo/${seen.file.first}`, (next) => to(next, { fold, hasReadLog: true }))];
      }
      if (seen.kind === "broken") return [step(`finds redo/${me.fold.border.next} broken`, (next) => to(next, { at: "check break" }))];
      return [step(`finds no redo/${me.fold.border.next}`, (next) => (rules.looksBehind ? to(next, { at: "look behind" }) : ends(next)))];
    }
    case "look behind": {
      const { next: name } = me.fold.border;
      if (!goesOn(world, me.life, name)) return [step("finds nothing behind it", ends)];
      if (redoAt(world, me.life, name) !== undefined) return [step("finds that the log went on", (next) => to(next, { at: "log" }))];
      return [step(`finds the log behind redo/${name}, which is missing`, (next) => to(next, { at: "check break" }))];
    }
    case "check break":
      if (!covers(world, me.life, from)) return [step("sees that cleanup has passed, and begins anew", end)];
      return [
        step(`reports redo/${me.fold.border.next} as damaged`, (next) => {
          if (isFalseAlarm(world, from)) breaks(next, "I8: a sound log is reported as damaged");
          end(next);
        }),
      ];
    case "check end":
      if (!covers(world, me.life, from)) return [step("sees that cleanup has passed, and begins anew", end)];
      return [step("sees that what it read is still covered", (next) => loaded(next))];
    case "pin":
      return pins();
    case "again":
      return [step("reads what it pinned", readsAgain)];
    case "unpin":
      return changesControl(world, {
        says: `R${n} lets go of its pin`,
        doubt: me.doubt,
        decide: (now) => {
          const held = heldRow();
          return held && { to: now, changes: { ...held, pins: held.pins.filter((pin) => pin !== n) } };
        },
        written: end,
        refused: end,
        inDoubt: (next, doubt) => to(next, { doubt }),
      });
  }

  function ends(next: World): void {
    if (rules.checksEnd) to(next, { at: "check end" });
    else loaded(next);
  }

  /** The state stands. What it must be is known here alone. */
  function loaded(next: World): void {
    if (world.truth.life === me.life) {
      const isNewest = me.upTo === NEWEST;
      const applied = me.fold.applied.split(" ");
      if (isNewest && me.acknowledged.some((name) => !applied.includes(name))) breaks(next, "I1: a recovery misses what was acknowledged before it began");
      else if (!sameFold(me.fold, truthAt(world, me.fold.index, setting))) breaks(next, "I5: a recovery returns a wrong state");
    }
    if (me.pins && row !== undefined) to(next, { at: "pin" });
    else end(next);
  }

  /** Held, once the row is still kept and the mark at or below its border: in one write with the control item. */
  function pins(): readonly Step[] {
    const kept = row && world.rows.find((one) => sameName(one, row) && one.state === "kept");
    if (!rules.pinsWithControl) {
      if (kept === undefined) return [step("cannot pin it any more", end)];
      return [
        step(`pins ${snapshotText(kept)}`, (next) => {
          next.rows = next.rows.map((one) => (one === kept ? { ...one, pins: [...one.pins, n] } : one));
          to(next, { at: "again" });
        }),
      ];
    }
    return changesControl(world, {
      says: `R${n} pins ${row ? snapshotText(row) : ""}`,
      doubt: me.doubt,
      decide: (now) => {
        if (kept === undefined || now.life !== me.life || now.mark > from) return undefined;
        return { to: now, changes: { ...kept, pins: [...new Set([...kept.pins, n])] } };
      },
      written: (next) => to(next, { at: "again", doubt: 0 }),
      refused: end,
      inDoubt: (next, doubt) => to(next, { doubt }),
    });
  }

  /** The records of a snapshot, and of a log that memory does not hold, are read while they are wanted. */
  function readsAgain(next: World): void {
    const isHeld = heldRow() !== undefined && control?.life === me.life;
    const object = world.snapshots.find((one) => sameName(one, row));
    let border = row?.border;
    while (border !== undefined && border.next <= me.fold.index) {
      const seen = seenAt(world, me.life, border);
      border = seen.kind === "found" ? borderBehind(seen.file) : undefined;
    }
    if (isHeld && (object === undefined || border === undefined)) breaks(next, "I6: what a pin holds is gone");
    to(next, { at: "unpin" });
  }

  function heldRow(): (typeof world.rows)[number] | undefined {
    return world.rows.find((one) => sameName(one, row) && one.pins.includes(n));
  }
}
