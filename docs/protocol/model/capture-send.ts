// How a capture sends a snapshot, and commits it. It has two parts: what the store copies from the base, and what is made. Each is
// noted before it counts; the upload is completed by what was noted, read back, and then the checkpoint moves, in one write with
// the history row.

import type { Acting } from "./capture-acting.ts";
import { contentOf, isHolder } from "./capture-state.ts";
import { type CaptureRecord, type Control, type Part, type Row, sameName, type SnapshotName, snapshotText } from "./stored.ts";
import { asks, carryOut, changesControl, give } from "./stores.ts";
import { breaks, type Step, type World } from "./world.ts";

export function sendSteps(acting: Acting): readonly Step[] {
  const { world, me, name, setting, step, to, end } = acting;
  const { rules, bounds } = setting;

  switch (me.at) {
    case "create upload":
      if (bounds.brief) return [step(`uploads snapshots/${me.fold.index}-e${me.epoch}`, uploadsAtOnce)];
      return asks(world, {
        says: `${name} creates an upload for snapshots/${me.fold.index}-e${me.epoch}`,
        request: (next) => ({ kind: "create upload", upload: { ...nameOfMine(), id: give(next), parts: [] } }),
        answered: (next) => to(next, { at: "record", record: recordOf(next.given) }),
        unanswered: end,
      });
    case "record": {
      const record = me.record as CaptureRecord;
      return changesControl(world, {
        says: `${name} records its capture`,
        doubt: me.doubt,
        decide: (control) => (isHolder(me, control) ? { to: { ...control, record } } : undefined),
        written: (next) => to(next, { at: record.sections > 1 ? "sections" : "send", doubt: 0 }),
        refused: end,
        inDoubt: (next, doubt) => to(next, { doubt }),
      });
    }
    case "send":
      return sends(acting);
    case "note": {
      const record = me.record as CaptureRecord;
      const part = me.parts.at(-1) ?? { number: 0, etag: 0 };
      return asks(world, {
        says: `${name} notes part ${part.number}`,
        request: () => ({
          kind: "note part",
          life: me.life,
          epoch: me.epoch,
          checksHolder: rules.notesAsHolder,
          item: { epoch: record.epoch, upload: record.upload, section: 0, ...part },
        }),
        answered: (next, answer) => (answer === "refused" ? end(next) : to(next, { at: part.number === 2 ? "complete" : "send" })),
        unanswered: end,
      });
    }
    case "complete":
      return completes(acting);
    case "read back": {
      const record = me.record as CaptureRecord;
      const object = world.snapshots.find((one) => sameName(one, record));
      const isRotten = object?.rotten && (rules.comparesCarried || !object.carriedRot);
      const isSound = object !== undefined && (!rules.readsBack || (object.of === contentOf(record) && !isRotten));
      if (!isSound)
        return [step(`reads back, and finds ${snapshotText(record)} ${object === undefined ? "gone" : "wrong"}`, (next) => to(next, { at: "clear" }))];
      const at = me.damaged.length > 0 && rules.doubtsDamaged ? "doubt" : "commit";
      return [step(`reads ${snapshotText(record)} back`, (next) => to(next, { at }))];
    }
    case "doubt": {
      const [first, ...others] = me.damaged;
      const done = (next: World): void => to(next, { at: others.length > 0 ? "doubt" : "commit", damaged: others, doubt: 0 });
      return changesControl(world, {
        says: `${name} notes that ${snapshotText(first)} is damaged`,
        doubt: me.doubt,
        decide: (control) => {
          const row = world.rows.find((one) => sameName(one, first) && one.state === "kept");
          return row && { to: control, changes: { ...row, verified: false } };
        },
        written: done,
        refused: done,
        inDoubt: (next, doubt) => to(next, { doubt }),
      });
    }
    case "commit":
      return commits(acting);
    case "clear":
      if (!rules.clearsRecord) return [step("leaves the record as it is", end)];
      return changesControl(world, {
        says: `${name} clears the record`,
        doubt: me.doubt,
        decide: (control) => (isHolder(me, control) ? { to: { ...control, record: undefined } } : undefined),
        written: end,
        refused: end,
        inDoubt: (next, doubt) => to(next, { doubt }),
      });
    case "delete own":
      return asks(world, {
        says: `${name} deletes ${snapshotText(me.record ?? nameOfMine())}, which it takes for an orphan`,
        request: () => ({ kind: "delete snapshot", name: me.record ?? nameOfMine() }),
        answered: end,
        unanswered: end,
      });
    case "publish":
      return asks(world, {
        says: `${name} publishes how far it came`,
        request: () => ({ kind: "publish tail", hint: { life: me.life, border: me.fold.border } }),
        answered: end,
        unanswered: end,
      });
    default:
      return [];
  }

  function nameOfMine(): SnapshotName {
    return { life: me.life, index: me.fold.index, epoch: me.epoch };
  }

  function recordOf(upload: number): CaptureRecord {
    const { base, fold } = me;
    const named = base && { life: base.life, index: base.index, epoch: base.epoch };
    return { ...nameOfMine(), upload, target: fold.border, base: named, sections: base === undefined ? 1 : bounds.sections };
  }

  /** For scenarios about something else: the whole upload in one step. */
  function uploadsAtOnce(next: World): void {
    const record = recordOf(0);
    const parts: readonly Part[] = [{ number: 1, of: contentOf(record), etag: 1, rotten: false }];
    next.uploads = [...next.uploads, { ...nameOfMine(), id: 0, parts }];
    carryOut(next, { kind: "complete upload", record, parts, fold: kept(acting) });
    to(next, { at: me.damaged.length > 0 && rules.doubtsDamaged ? "doubt" : "commit", record });
  }
}

/** The state as the snapshot holds it. */
function kept({ me, setting }: Acting): Acting["me"]["fold"] {
  return setting.rules.carriesSessions ? me.fold : { ...me.fold, sessions: [], forgottenThrough: 0 };
}

function sends({ world, me, name, to, end }: Acting): readonly Step[] {
  const record = me.record as CaptureRecord;
  const number = me.parts.length + 1;
  const { base } = record;
  const part = (etag: number): Part => ({ number, of: contentOf({ ...record, base: me.base }), etag, rotten: false });
  return asks(world, {
    says: number === 1 && base !== undefined ? `${name} has part 1 copied from ${snapshotText(base)}` : `${name} sends part ${number}`,
    request: (next) =>
      number === 1 && base !== undefined
        ? { kind: "copy part", upload: record.upload, part: part(give(next)), base }
        : { kind: "send part", upload: record.upload, part: part(give(next)) },
    answered(next, answer) {
      if (answer === "no such upload") to(next, { at: "clear" });
      else if (answer === "source gone") to(next, { at: "base", damaged: base ? [...me.damaged, base] : [], record: undefined, parts: [] });
      else to(next, { at: "note", parts: [...me.parts, { number, etag: next.given }] });
    },
    unanswered: end,
  });
}

function completes(acting: Acting): readonly Step[] {
  const { world, me, name, setting, step, to, end } = acting;
  const record = me.record as CaptureRecord;
  const { base } = record;
  const [first] = me.parts;
  const copied = world.uploads.find(({ id }) => id === record.upload)?.parts.find(({ number, etag }) => number === 1 && etag === first?.etag);
  if (setting.rules.comparesCarried && base !== undefined && record.sections === 1 && copied?.rotten) {
    const again = { at: "base", damaged: [...me.damaged, base], record: undefined, parts: [] } as const;
    return [step(`finds that what ${snapshotText(base)} gave is damaged`, (next) => to(next, again))];
  }
  return asks(world, {
    says: `${name} completes ${snapshotText(record)}`,
    request: () => ({ kind: "complete upload", record, parts: me.parts, fold: kept(acting) }),
    // That the name is taken, or the upload gone, may be a lost answer's doing: the object tells.
    answered: (next, answer) => to(next, { at: answer === "invalid part" ? "clear" : "read back" }),
    unanswered: end,
  });
}

/** The epoch is mine, and the index grows: checkpoint and history row in one write. */
function commits({ world, me, name, setting, step, to, end }: Acting): readonly Step[] {
  const { rules } = setting;
  const { life, index, epoch } = me.record as CaptureRecord;
  const row: Row = { life, index, epoch, border: me.fold.border, state: "kept", verified: true, pins: [] };
  const mayCommit = (control: Control): boolean =>
    control.life === life && (isHolder(me, control) || !rules.commitsAsHolder) && (index > (control.checkpoint?.index ?? 0) || !rules.commitsForward);
  const settle = (next: World): void => to(next, rules.readsRowAfterCommit ? { at: "commit", doubt: 0 } : { at: "delete own" });
  if (world.control === undefined || (me.doubt !== world.control.stamp && !mayCommit(world.control))) {
    if (!rules.readsRowAfterCommit) return [step("may not commit", settle)];
    const isDone = world.rows.some((one) => sameName(one, row));
    return [step(isDone ? "finds its generation committed" : "may not commit: out of date", (next) => (isDone ? to(next, { at: "publish" }) : end(next)))];
  }
  return changesControl(world, {
    says: `${name} COMMITS ${snapshotText(row)}`,
    doubt: me.doubt,
    decide: (control) => ({
      to: { ...control, checkpoint: { life, index, epoch, border: row.border }, record: undefined },
      ...(world.rows.some((one) => sameName(one, row)) && !rules.commitsForward ? {} : { adds: row }),
    }),
    written(next) {
      const { control } = world;
      const was = control?.checkpoint?.index ?? 0;
      if (me.doubt === 0 && control?.epoch !== me.epoch) breaks(next, "I4: the checkpoint is moved by who no longer holds the lease");
      else if (me.doubt === 0 && was >= index) breaks(next, "I4: the checkpoint does not move forward");
      to(next, { at: "publish", doubt: 0 });
    },
    refused: settle,
    inDoubt: (next, doubt) => (rules.readsRowAfterCommit ? to(next, { doubt }) : to(next, { at: "delete own" })),
  });
}
