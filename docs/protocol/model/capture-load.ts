// How a capture loads the state at its cut point: the newest sound generation, and the log behind it to its end, or to the
// target of the capture that it adopts.

import { type Acting, baseOf } from "./capture-acting.ts";
import { type Capture, isHolder, sameBase } from "./capture-state.ts";
import { goesOn, isFalseAlarm, seenAt } from "./reading.ts";
import { sameName, snapshotText } from "./stored.ts";
import { EMPTY, type Fold, lastIndex, replay } from "./values.ts";
import { breaks, covers, redoAt, type Step, type World } from "./world.ts";

export function loadSteps(acting: Acting): readonly Step[] {
  const { world, me, setting, step, to, end } = acting;
  const { rules, bounds } = setting;
  const from = me.base?.border.next ?? 1;

  switch (me.at) {
    case "parts": {
      const upload = me.record?.upload;
      const noted = world.parts.filter((item) => item.upload === upload).map(({ number, etag }) => ({ number, etag }));
      const parts = noted.filter(({ number }, place) => number === place + 1);
      return [step(`adopts the capture under way, with ${parts.length} parts`, (next) => to(next, { at: "base", parts }))];
    }
    case "base": {
      const base = baseOf(acting);
      if (base === undefined && me.mark > 1) {
        return [
          step("finds no base", (next) => {
            if (isHolder(me, world.control) && me.damaged.length === 0) breaks(next, "I6: a running capture finds no base");
            end(next);
          }),
        ];
      }
      if (bounds.brief) return loadsAtOnce(acting, base);
      if (base === undefined) return [step("begins with the empty state", (next) => to(next, { at: "log", base, fold: EMPTY }))];
      return [step(`chooses ${snapshotText(base)} as its base`, (next) => to(next, { at: "open", base }))];
    }
    case "open": {
      const { base } = me;
      const snapshot = world.snapshots.find((one) => sameName(one, base));
      if (snapshot === undefined || base === undefined) {
        const isKept = world.rows.some((row) => sameName(row, base) && row.state === "kept");
        return [step("finds its base gone", (next) => (isKept && base ? to(next, { at: "base", damaged: [...me.damaged, base] }) : end(next)))];
      }
      const opened = (fold: Fold) => (next: World) => to(next, { at: "log", fold });
      const opens = step(`opens ${snapshotText(snapshot)}`, opened(snapshot.fold));
      if (rules.forgetsByIndex || snapshot.fold.sessions.length === 0) return [opens];
      const [idle, ...others] = snapshot.fold.sessions;
      return [opens, step("finds a producer idle for long, and forgets it", opened({ ...snapshot.fold, sessions: others, forgottenThrough: idle.last }))];
    }
    case "log":
      return reads(acting);
    case "look behind": {
      const { next: name } = me.fold.border;
      if (!goesOn(world, me.life, name)) return [step("finds nothing behind it", (next) => to(next, { at: "check load" }))];
      if (redoAt(world, me.life, name) !== undefined) return [step("finds that the log went on", (next) => to(next, { at: "log" }))];
      return [step(`finds the log behind redo/${name}, which is missing`, (next) => to(next, { at: "check break" }))];
    }
    case "check break":
      if (!covers(world, me.life, from)) return [step("sees that cleanup has passed it", end)];
      return [step(`reports redo/${me.fold.border.next} as damaged`, (next) => reportDamage(next, from))];
    default: {
      if (rules.checksCaptureLoad && !covers(world, me.life, from)) return [step("sees that cleanup has passed it", end)];
      if (me.fold.index <= me.index) return [step("finds nothing new", end)];
      return [step(`has loaded the state at ${me.fold.index}`, (next) => isLoaded(next, me))];
    }
  }

  function reportDamage(next: World, first: number): void {
    if (isFalseAlarm(world, first) && isHolder(me, world.control)) breaks(next, "I8: a sound log is reported as damaged");
    end(next);
  }

  function isLoaded(next: World, { record, fold, base, parts }: Capture): void {
    if (record === undefined) to(next, { at: "create upload" });
    // Its base was found damaged since: the bytes of another one would differ.
    else if (rules.adoptsSameBase && !sameBase(base, record.base)) to(next, { at: "base", record: undefined, parts: [] });
    else if (fold.border.digest !== record.target.digest) reportDamage(next, base?.border.next ?? 1);
    else to(next, { at: parts.length === 2 ? "complete" : "send" });
  }

  /** For scenarios about something else: base and log in one step. */
  function loadsAtOnce({ world: now }: Acting, base: Capture["base"]): readonly Step[] {
    const snapshot = now.snapshots.find((one) => sameName(one, base));
    if (base !== undefined && snapshot === undefined) return [step("finds its base gone", end)];
    const folds = foldsBehind(acting, snapshot?.fold ?? EMPTY).filter(({ index }) => index > me.index);
    const ends = bounds.cuts ? folds : folds.slice(0, 1);
    if (ends.length === 0) return [step("finds nothing new", end)];
    return ends.map((fold) =>
      step(`loads the state at ${fold.index}`, (next) => {
        to(next, { base, fold });
        isLoaded(next, { ...me, base, fold });
      }),
    );
  }
}

/** Reads the next redo file of the log. */
function reads({ world, me, setting, step, to }: Acting): readonly Step[] {
  const { rules, bounds } = setting;
  const { fold } = me;
  const bound = me.record === undefined ? Number.POSITIVE_INFINITY : me.record.target.next - 1;
  if (fold.index >= bound) return [step("has come to the target", (next) => to(next, { at: "check load" }))];
  const seen = seenAt(world, me.life, fold.border);
  const steps: Step[] = [];
  if (seen.kind === "found") {
    const { file } = seen;
    steps.push(step(`reads redo/${file.first}`, (next) => to(next, { fold: replay(fold, file, { ...bounds, ...rules }) })));
    if (!rules.cutsAtFiles && file.first < lastIndex(file)) {
      const inside = replay(fold, file, { ...bounds, ...rules }, file.first);
      steps.push(step(`reads redo/${file.first}, and stops inside it`, (next) => to(next, { at: "check load", fold: inside })));
    }
  } else if (seen.kind === "broken") steps.push(step(`finds redo/${fold.border.next} broken`, (next) => to(next, { at: "check break" })));
  else steps.push(step(`finds no redo/${fold.border.next}`, (next) => to(next, { at: rules.looksBehind ? "look behind" : "check load" })));
  if (bounds.cuts && me.record === undefined && fold.index > me.index) steps.push(step("cuts the log here", (next) => to(next, { at: "check load" })));
  return steps;
}

/** The states behind a base, at each redo file's end, the last one first; none where the log is broken. */
function foldsBehind({ world, me, setting }: Acting, base: Fold): readonly Fold[] {
  const folds: Fold[] = [];
  for (let fold = base; ; folds.unshift(fold)) {
    const seen = seenAt(world, me.life, fold.border);
    if (seen.kind === "broken" || (seen.kind === "absent" && goesOn(world, me.life, fold.border.next))) return [];
    if (seen.kind === "absent") return folds;
    fold = replay(fold, seen.file, { ...setting.bounds, ...setting.rules });
  }
}
