// Before a batch is appended that its shard may have forgotten, its writer asks: it reads the session table before the border
// that it is about to append at, from a generation and the log behind it.

import { basesFor } from "./bases.ts";
import { seenAt } from "./reading.ts";
import { EMPTY, type Fold, nameOf, replay, verdict } from "./values.ts";
import { breaks, type Setting, type Step, type World } from "./world.ts";
import { answeredUpTo, type Writer } from "./writer-state.ts";

/** A batch so young that its producer cannot have been forgotten since it was first sent needs no look. */
export function mustAsk({ asked, border, batches }: Writer, { bounds, rules }: Setting): boolean {
  if (asked || !rules.asksBeforeAppend) return false;
  return batches.some(({ since }) => border.next + batches.length - since >= bounds.remembered);
}

interface Acting {
  readonly step: (says: string, take: (next: World) => void) => Step;
  readonly to: (next: World, change: Partial<Writer>) => void;
  readonly claims: (next: World, belief: Partial<Writer>) => void;
}

export function askSteps(world: World, n: number, setting: Setting, { step, to, claims }: Acting): readonly Step[] {
  const me = world.writers[n];
  const { rules } = setting;
  const { control } = world;
  // No answer: the batches stay in doubt, and the belief what it was.
  const fails = (next: World): void => to(next, { at: "idle", batches: [], file: undefined, sessions: undefined, claimsLost: 0 });

  if (me.at === "ask") {
    if (control?.life !== me.life) return [step("finds its life ended while it asks", fails)];
    return [step("asks: reads the control item", (next) => to(next, { at: "ask base", from: control.mark }))];
  }
  if (me.at === "ask base") {
    const [base] = basesFor(world.rows, { mark: me.from, upTo: me.border.next - 1, life: me.life });
    if (base === undefined) return [step("finds no base to ask", fails)];
    const fold =
      base === "empty" ? EMPTY : world.snapshots.find(({ index, epoch, life }) => index === base.index && epoch === base.epoch && life === me.life)?.fold;
    if (fold === undefined) return [step("finds its base gone", fails)];
    return [step(`asks: reads the sessions at ${fold.index}`, (next) => to(next, { at: "ask log", sessions: fold }))];
  }
  const { sessions = EMPTY } = me;
  if (sessions.border.next < me.border.next) {
    const seen = seenAt(world, me.life, sessions.border);
    if (seen.kind !== "found") return [step(`asks: finds redo/${sessions.border.next} ${seen.kind}`, fails)];
    return [step(`asks: reads redo/${seen.file.first}`, (next) => to(next, { sessions: replay(sessions, seen.file, { ...setting.bounds, ...rules }) }))];
  }
  // A ghost may have been read for the file that it stands for: then the digest is another one.
  if (rules.asksTheSameLog && sessions.border.digest !== me.border.digest) return [step("asks: it has read another log", fails)];
  const forgotten = forgottenOf(me, sessions, setting);
  if (forgotten.length === 0) return [step("hears that nothing was forgotten", (next) => claims(next, { asked: true, from: 0, sessions: undefined }))];
  return [
    step(`is told that ${forgotten.map(nameOf).join(" and ")} may be forgotten`, (next) => {
      for (const { producer, sequence } of forgotten) {
        const known = world.producers[producer];
        // No other writer has it, and no claim of this one can have counted.
        if (known.sequence === sequence && !known.sent && known.taken === 1) breaks(next, "I3: a batch that was never sent is said to be forgotten");
      }
      // Its caller reads the state to see whether it was applied, and goes on.
      next.producers = next.producers.map((one, producer) =>
        answeredUpTo(
          one,
          forgotten.filter((batch) => batch.producer === producer),
        ),
      );
      fails(next);
    }),
  ];
}

/** In their order: each that applies may make the shard forget the producer of a later one. */
function forgottenOf({ batches, border }: Writer, sessions: Fold, { bounds, rules }: Setting): Writer["batches"] {
  let fold = sessions;
  return batches.filter((batch, place) => {
    const forgotten = verdict(fold, batch, { ...bounds, ...rules }) === "forgotten";
    const file = { life: 0, first: border.next + place, batches: [batch], previous: 0, writeId: "", time: 0, damaged: false };
    fold = replay(fold, file, { ...bounds, ...rules });
    return forgotten;
  });
}
