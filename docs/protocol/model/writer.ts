// Writers: they take batches from callers, claim the next name of the log, and acknowledge once the claim is validated.
// What a writer believes comes from the published tail, a validated walk, a validated winner, or its own validated PUT.

import { goesOn, isFalseAlarm, seenAt } from "./reading.ts";
import { asks, give, ownsItsIndexes } from "./stores.ts";
import { type Batch, type Border, borderBehind, nameOf, ORIGIN, type RedoFile } from "./values.ts";
import { breaks, covers, redoAt, replaced, type Setting, type Step, type World } from "./world.ts";
import { askSteps, mustAsk } from "./writer-sessions.ts";
import { answeredUpTo, FOR_EVER, IDLE_WRITER, type Writer, type WriterAt } from "./writer-state.ts";

/** Writers' clocks differ. */
const CLOCKS = [7, 3, 5];

export function writerSteps(world: World, n: number, setting: Setting): readonly Step[] {
  const me = world.writers[n];
  const { rules } = setting;
  const step = (says: string, take: (next: World) => void): Step => ({ says: `W${n} ${says}`, take });
  const to = (next: World, change: Partial<Writer>): void => {
    next.writers = replaced(next.writers, n, { ...next.writers[n], ...change });
  };

  switch (me.at) {
    case "idle":
      return choices(world, setting).map((batches) =>
        step(`takes ${batches.map(nameOf).join(" and ")}`, (next) => {
          next.producers = next.producers.map((one, producer) =>
            batches.some((batch) => batch.producer === producer) ? { ...one, taken: one.taken + 1 } : one,
          );
          if (me.life === 0) to(next, { at: "begin", batches });
          else claims(next, { batches });
        }),
      );

    // Where it begins: the control item, opened if there is none, and the published tail.
    case "begin":
      if (world.control === undefined) return world.deleting && rules.opensLive ? [] : opens(world, step);
      return [
        step(`reads the control item: life ${world.control.life}`, (next) =>
          to(next, { at: "begin at hint", life: world.control?.life ?? 0, border: world.control?.checkpoint?.border ?? ORIGIN }),
        ),
      ];
    case "begin at hint":
      return [step("reads the published tail", (next) => claims(next, { border: furthest(world, me) }))];

    // The claim. A PUT without an answer is repeated with the same write id.
    case "put": {
      const file = me.file as RedoFile;
      return asks(world, {
        says: `W${n} PUTs redo/${file.first}${isGhost(world, file) ? ", which is a ghost" : ""}`,
        request: () => ({ kind: "create redo file", file }),
        answered(next, answer) {
          if (answer === "done") sent(next);
          to(next, { at: answer === "done" ? validated(setting) : "winner" });
        },
        unanswered: sent,
      });
    }
    case "winner": {
      const winner = redoAt(world, me.life, me.border.next);
      if (winner !== undefined && (winner.writeId === me.file?.writeId || !rules.knowsItsOwn)) {
        return [step(`finds its own redo/${winner.first}`, (next) => to(next, { at: validated(setting) }))];
      }
      const seen = seenAt(world, me.life, me.border);
      if (seen.kind !== "found") return [step(`finds redo/${me.border.next} ${seen.kind}`, (next) => walkAgain(next))];
      return [
        step(`reads the winner, redo/${seen.file.first}`, (next) => {
          if (rules.checksWinner) to(next, { at: "check winner", file: seen.file });
          else moveBehind(next, seen.file);
        }),
      ];
    }
    case "check winner": {
      const winner = me.file as RedoFile;
      if (!covers(world, me.life, winner.first)) return [step("sees that the mark has passed the winner", walkAgain)];
      return [step(`moves behind redo/${winner.first}`, (next) => moveBehind(next, winner))];
    }
    case "check claim": {
      const file = me.file as RedoFile;
      const { control } = world;
      const isOfMyLife = control?.life === me.life || !rules.checksLifeAfterPut;
      if (control === undefined || !isOfMyLife) return [step("finds its life ended: sealed", seal)];
      if (control.mark > file.first && rules.checksAfterPut) return [step(`sees the mark above redo/${file.first}: the claim is void`, walkAgain)];
      return [step(`ACKNOWLEDGES ${file.batches.map(nameOf).join(" and ")} in redo/${file.first}`, (next) => acknowledge(next, file))];
    }
    case "publish": {
      const file = me.file as RedoFile;
      const done = (next: World): void => {
        const at = rules.publishesValidated ? "idle" : "check claim";
        to(next, at === "idle" ? { ...IDLE_WRITER, life: me.life, border: borderBehind(file) } : { at });
      };
      return asks(world, {
        says: `W${n} publishes the tail ${borderBehind(file).next}`,
        request: () => ({ kind: "publish tail", hint: { life: me.life, border: borderBehind(file) } }),
        answered: done,
        unanswered: done,
      });
    }

    // The walk to the end of the log.
    case "walk": {
      const { control } = world;
      if (control === undefined) return [step("finds no control item: sealed", seal)];
      if (control.life !== me.life && rules.sealsOldLives) return [step(`finds life ${control.life}: sealed`, seal)];
      const border = control.checkpoint?.border ?? ORIGIN;
      return [step("begins to walk: reads the control item", (next) => to(next, { at: "walk from hint", life: control.life, border }))];
    }
    case "walk from hint": {
      const border = furthest(world, me);
      return [step(`walks from ${border.next}`, (next) => to(next, { at: "walk on", border, from: border.next }))];
    }
    case "walk on": {
      const seen = seenAt(world, me.life, me.border);
      if (seen.kind === "found") return [step(`walks over redo/${seen.file.first}`, (next) => to(next, { border: borderBehind(seen.file) }))];
      if (seen.kind === "broken") return [step(`finds redo/${me.border.next} broken`, (next) => to(next, { at: "check break" }))];
      return [step(`finds no redo/${me.border.next}`, (next) => to(next, { at: rules.looksBehind ? "look behind" : "check walk" }))];
    }
    case "look behind": {
      if (!goesOn(world, me.life, me.border.next)) {
        return [step("finds nothing behind it", (next) => (rules.checksWalk ? to(next, { at: "check walk" }) : claims(next, { from: 0 })))];
      }
      if (redoAt(world, me.life, me.border.next) !== undefined) return [step("finds that the log went on", (next) => to(next, { at: "walk on" }))];
      return [step(`finds the log behind redo/${me.border.next}, which is missing`, (next) => to(next, { at: "check break" }))];
    }
    case "check walk":
      if (!covers(world, me.life, me.from)) return [step("sees that cleanup has passed its walk", walkAgain)];
      return [step(`has found the tail, ${me.border.next}`, (next) => claims(next, { from: 0 }))];
    case "check break":
      if (!covers(world, me.life, rules.judgesByBeginning ? me.from : me.border.next)) return [step("sees that cleanup has passed its walk", walkAgain)];
      return [
        step(`reports redo/${me.border.next} as damaged`, (next) => {
          if (isFalseAlarm(world, me.from)) breaks(next, "I8: a sound log is reported as damaged");
          to(next, IDLE_WRITER);
        }),
      ];

    case "ask":
    case "ask base":
    case "ask log":
      return askSteps(world, n, setting, { step, to, claims });
  }

  /** Makes the redo file for the next name, unless its batches may have been forgotten: then it asks first. */
  function claims(next: World, belief: Partial<Writer>): void {
    const claiming = { ...next.writers[n], ...belief };
    const batches = stamped(next, claiming, setting);
    if (mustAsk({ ...claiming, batches }, setting)) {
      to(next, { ...claiming, at: "ask", batches, file: undefined });
      return;
    }
    const file = fileOf(next, n, { ...claiming, batches }, setting);
    next.producers = next.producers.map((one, producer) => {
      const mine = batches.find((batch) => batch.producer === producer && batch.sequence === one.sequence);
      return mine === undefined ? one : { ...one, since: mine.since };
    });
    to(next, { ...claiming, at: "put", batches, file });
  }

  /** From now on a claim of these batches may count. */
  function sent(next: World): void {
    if (setting.bounds.remembered === FOR_EVER) return;
    next.producers = next.producers.map((one, producer) =>
      me.batches.some((batch) => batch.producer === producer && batch.sequence === one.sequence) ? { ...one, sent: true } : one,
    );
  }

  function walkAgain(next: World): void {
    to(next, { at: "walk", border: ORIGIN, from: 0, file: undefined, asked: false });
  }

  /** Where a second claim is lost, the published tail is nearer than the next name. */
  function moveBehind(next: World, winner: RedoFile): void {
    if (me.claimsLost > 0) walkAgain(next);
    else claims(next, { border: borderBehind(winner), claimsLost: 1, asked: false });
  }

  /** The caller learns that the shard has another life: it opens the table again, with a new writer. */
  function seal(next: World): void {
    to(next, IDLE_WRITER);
  }

  /** The caller of each batch goes on to its next one. */
  function acknowledge(next: World, file: RedoFile): void {
    // Into the gap that a lost file left, a writer that began before may append: readers refuse such a log.
    if (!world.truth.damaged.includes(file.first)) {
      if (!ownsItsIndexes(world, file)) breaks(next, "I1: an append is acknowledged that is in no recovery");
      next.truth = { ...next.truth, acknowledged: [...new Set([...next.truth.acknowledged, ...file.batches.map(nameOf)])].sort() };
    }
    next.producers = next.producers.map((one, producer) =>
      answeredUpTo(
        one,
        file.batches.filter((batch) => batch.producer === producer),
      ),
    );
    if (rules.publishesValidated) to(next, { at: "publish" });
    else to(next, { ...IDLE_WRITER, life: me.life, border: borderBehind(file) });
  }
}

function validated({ rules }: Setting): WriterAt {
  return rules.publishesValidated ? "check claim" : "publish";
}

/** The batches that callers may hand to a writer now: of each producer the one in doubt, or the next one, and what may go into one file with it. */
function choices({ producers }: World, { bounds, rules }: Setting): readonly (readonly Batch[])[] {
  const ready = producers.flatMap(({ sequence, since, taken }, producer) => {
    const batches = taken < bounds.takes && sequence <= bounds.sequences ? [{ producer, sequence, since }] : [];
    const early = !rules.oneInDoubt && taken > 0 && taken < bounds.takes && sequence < bounds.sequences;
    return early ? [...batches, { producer, sequence: sequence + 1, since: 0 }] : batches;
  });
  if (bounds.group < 2) return ready.map((batch) => [batch]);
  const pairs = ready.flatMap((one) => ready.filter(({ producer }) => producer > one.producer).map((other) => [one, other]));
  const runs = ready.filter(({ sequence }) => sequence < bounds.sequences).map((one) => [one, { ...one, sequence: one.sequence + 1, since: 0 }]);
  return [...ready.map((batch) => [batch]), ...pairs, ...runs];
}

/** What a batch was stamped with when it was first sent, it keeps. Until a claim of it may count, it is stamped anew. */
function stamped({ producers }: World, { batches, border }: Writer, { bounds, rules }: Setting): readonly Batch[] {
  if (bounds.remembered === FOR_EVER) return batches.map((batch) => ({ ...batch, since: ORIGIN.next }));
  return batches.map((batch) => {
    const { sequence, since, sent, taken } = producers[batch.producer];
    const known = batch.since > 0 ? batch.since : sequence === batch.sequence ? since : 0;
    const isUnsent = rules.stampsUnsentAnew && sequence === batch.sequence && !sent && taken === 1;
    return { ...batch, since: known > 0 && rules.keepsSince && !isUnsent ? known : border.next };
  });
}

/** The published tail, or where the reading of the control item has come to, whichever is further on. */
function furthest({ hint }: World, { life, border }: Writer): Border {
  return hint?.life === life && hint.border.next > border.next ? hint.border : border;
}

/** The write id is this writer's, and none that it used is still about. */
function fileOf(world: World, n: number, { life, border, batches, claimsLost }: Writer, { rules }: Setting): RedoFile {
  const used = new Set(
    [...world.redo, ...world.truth.log, ...world.late.flatMap((request) => (request.kind === "create redo file" ? [request.file] : []))].map(
      (one) => one.writeId,
    ),
  );
  let attempt = 1;
  while (used.has(`W${n}.${attempt}`)) attempt++;
  const clock = CLOCKS[n];
  const time = rules.stampsAnew || claimsLost === 0 ? Math.max(clock, border.time) : clock;
  return { life, first: border.next, batches, previous: border.digest, writeId: `W${n}.${attempt}`, time, damaged: false };
}

function isGhost({ control, redo }: World, { life, first }: RedoFile): boolean {
  return control !== undefined && (control.life !== life || first < control.mark) && !redo.some((one) => one.life === life && one.first === first);
}

/** A new life begins with its control item, and with its tail. */
function opens(world: World, step: (says: string, take: (next: World) => void) => Step): readonly Step[] {
  return [
    step("opens the shard: a new life begins", (next) => {
      const life = world.truth.life;
      next.control = { stamp: give(next), life, epoch: 0, mark: ORIGIN.next, checkpoint: undefined, record: undefined };
      next.hint = { life, border: ORIGIN };
    }),
  ];
}
