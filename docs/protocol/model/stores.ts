// What the two stores do with a request. A request is data: it can be lost, its answer can be lost, and it can come late.
// The laws are those of docs/guarantees.md: one winner of a name, parts known by number and ETag, conditional writes of items
// as one step.

import type { Request } from "./request.ts";
import { type Control, type Part, type PartItem, type Row, sameName, type Snapshot } from "./stored.ts";
import { borderBehind, digestOf, ORIGIN, type RedoFile } from "./values.ts";
import { breaks, type Step, type World } from "./world.ts";

/** `done`: as asked. `refused`: a condition did not hold, the name is taken, or what was named is gone. */
export type Answer = "done" | "refused" | "exists" | "no such upload" | "invalid part" | "source gone";

export function carryOut(next: World, request: Request): Answer {
  switch (request.kind) {
    case "create redo file":
      return createRedoFile(next, request.file);
    case "delete redo file":
      next.redo = next.redo.filter(({ life, first }) => life !== request.life || first !== request.first);
      return "done";
    case "delete snapshot":
      next.snapshots = next.snapshots.filter((one) => !sameName(one, request.name));
      return "done";
    case "create upload":
      next.uploads = [...next.uploads, request.upload];
      return "done";
    case "send part":
      return putPart(next, request.upload, request.part);
    case "copy part": {
      const source = next.snapshots.find((one) => sameName(one, request.base));
      return source === undefined ? "source gone" : putPart(next, request.upload, { ...request.part, rotten: source.rotten });
    }
    case "complete upload":
      return completeUpload(next, request);
    case "abort upload":
      next.uploads = next.uploads.filter(({ id }) => id !== request.id);
      return "done";
    case "write control":
      return writeControl(next, request);
    case "mark row":
      if (next.control?.stamp !== request.from || !next.rows.some((row) => sameName(row, request.name) && row.state === "kept")) return "refused";
      next.rows = next.rows.map((row) => (sameName(row, request.name) ? { ...row, state: "deleting" } : row));
      return "done";
    case "drop row":
      next.rows = next.rows.filter((row) => !sameName(row, request.name));
      return "done";
    case "note part": {
      const { control } = next;
      if (request.checksHolder && (control?.life !== request.life || control.epoch !== request.epoch)) return "refused";
      next.parts = [...next.parts.filter((item) => !samePart(item, request.item)), request.item].sort((a, b) => partOrder(a) - partOrder(b));
      return "done";
    }
    case "drop part":
      next.parts = next.parts.filter((item) => !samePart(item, request.item));
      return "done";
    case "store attachment":
      next.attached = [...next.attached, request.attachment].sort((a, b) => (a.name < b.name ? -1 : 1));
      return "done";
    case "delete attachment":
      next.attached = next.attached.filter(({ life, name }) => life !== request.attachment.life || name !== request.attachment.name);
      return "done";
    case "publish tail": {
      const { hint } = request;
      if (next.hint?.life !== hint.life || next.hint.border.next >= hint.border.next) return "refused";
      next.hint = hint;
      return "done";
    }
  }
}

/** One winner of a name. What is true of the log changes here: a file at its end owns its indexes from now on (I2). */
function createRedoFile(next: World, file: RedoFile): Answer {
  if (next.redo.some(({ life, first }) => life === file.life && first === file.first)) return "exists";
  next.redo = [...next.redo, file].sort((a, b) => a.life - b.life || a.first - b.first);
  const { truth, control } = next;
  if (control === undefined || file.life !== truth.life) return "done";
  const tail = truthTail(next);
  if (file.first === tail.next) {
    if (file.previous !== tail.digest) breaks(next, "I5: a redo file at the tail does not continue the chain");
    else if (file.time < tail.time) breaks(next, "the time of batches went back");
    else next.truth = { ...truth, log: [...truth.log, file] };
  } else if (file.first > tail.next) breaks(next, "I2: a redo file lies beyond the tail, behind a gap");
  else if (file.first >= control.mark && !truth.damaged.includes(file.first)) breaks(next, "I2: an index has a second owner");
  return "done";
}

export function truthTail({ truth }: World): { readonly next: number; readonly digest: number; readonly time: number } {
  const last = truth.log.at(-1);
  return last === undefined ? ORIGIN : borderBehind(last);
}

export function ownsItsIndexes({ truth }: World, file: RedoFile): boolean {
  return truth.life === file.life && truth.log.some((one) => one.first === file.first && digestOf(one) === digestOf(file));
}

function putPart(next: World, upload: number, part: Part): Answer {
  if (!next.uploads.some(({ id }) => id === upload)) return "no such upload";
  next.uploads = next.uploads.map((one) =>
    one.id === upload ? { ...one, parts: [...one.parts.filter(({ number }) => number !== part.number), part].sort((a, b) => a.number - b.number) } : one,
  );
  return "done";
}

function completeUpload(next: World, { record, parts, fold }: Extract<Request, { kind: "complete upload" }>): Answer {
  const upload = next.uploads.find(({ id }) => id === record.upload);
  if (upload === undefined) return "no such upload";
  const listed = parts.map(({ number, etag }) => upload.parts.find((part) => part.number === number && part.etag === etag));
  if (listed.includes(undefined)) return "invalid part";
  if (next.snapshots.some((one) => sameName(one, record))) return "exists";
  const { life, index, epoch } = record;
  const contents = new Set(listed.map((part) => part?.of ?? ""));
  const [of] = contents.size === 1 ? contents : ["mixed"];
  const rotten = listed.filter((part) => part?.rotten);
  const snapshot: Snapshot = { life, index, epoch, of, fold, rotten: rotten.length > 0, carriedRot: rotten.every((part) => part?.number === 1) };
  next.snapshots = [...next.snapshots, snapshot].sort((a, b) => a.life - b.life || a.index - b.index || a.epoch - b.epoch);
  next.uploads = next.uploads.filter(({ id }) => id !== record.upload);
  return "done";
}

function writeControl(next: World, { from, to, adds, changes }: Extract<Request, { kind: "write control" }>): Answer {
  if ((next.control?.stamp ?? 0) !== from) return "refused";
  if (adds !== undefined && next.rows.some((row) => sameName(row, adds))) return "refused";
  if (changes !== undefined && !next.rows.some((row) => sameName(row, changes) && row.state === "kept")) return "refused";
  next.control = to;
  if (adds !== undefined) next.rows = [...next.rows, adds].sort((a, b) => a.index - b.index || a.epoch - b.epoch);
  if (changes !== undefined) next.rows = next.rows.map((row) => (sameName(row, changes) ? changes : row));
  return "done";
}

function samePart(a: PartItem, b: PartItem): boolean {
  return a.epoch === b.epoch && a.section === b.section && a.number === b.number;
}

function partOrder({ epoch, section, number }: PartItem): number {
  return epoch * 100 + section * 10 + number;
}

export interface Asking {
  readonly says: string;
  readonly request: (next: World) => Request;
  readonly answered: (next: World, answer: Answer, request: Request) => void;
  readonly unanswered: (next: World, request: Request) => void;
}

/** A request, with all that may become of it: an answer; none though it was carried out; none, and it is carried out later, or never. */
export function asks({ left }: World, { says, request, answered, unanswered }: Asking): readonly Step[] {
  const steps: Step[] = [
    {
      says,
      take(next) {
        const asked = request(next);
        answered(next, carryOut(next, asked), asked);
      },
    },
  ];
  if (left.lost > 0) {
    steps.push({
      says: `${says}; the answer is lost`,
      take(next) {
        next.left = { ...next.left, lost: next.left.lost - 1 };
        const asked = request(next);
        carryOut(next, asked);
        unanswered(next, asked);
      },
    });
  }
  if (left.late > 0) {
    steps.push({
      says: `${says}; no answer, it is still under way`,
      take(next) {
        next.left = { ...next.left, late: next.left.late - 1 };
        const asked = request(next);
        next.late = [...next.late, asked];
        unanswered(next, asked);
      },
    });
  }
  return steps;
}

/** A control item as it shall be, with the rows that go with it. */
export interface ControlChange {
  readonly to: Control;
  readonly adds?: Row;
  readonly changes?: Row;
}

export interface Changing {
  readonly says: string;
  /** The stamp of an earlier write of this change that had no answer; 0 if there is none. */
  readonly doubt: number;
  readonly decide: (control: Control) => ControlChange | undefined;
  readonly written: (next: World, control: Control) => void;
  /** There is nothing to write, or no control item. */
  readonly refused: (next: World) => void;
  readonly inDoubt: (next: World, stamp: number) => void;
}

/**
 * Read, decide, write if the stamp is still the one that was read, else again: what becomes of it is what a single step would
 * do, but for lost answers. Those are settled by reading: the write came through if the item bears its stamp; if another's
 * write came since, nobody can tell, and it is decided anew.
 */
export function changesControl(world: World, { says, doubt, decide, written, refused, inDoubt }: Changing): readonly Step[] {
  const { control } = world;
  if (control !== undefined && doubt !== 0 && control.stamp === doubt) {
    return [{ says: `${says}: it had come through`, take: (next) => written(next, control) }];
  }
  const change = control && decide(control);
  if (control === undefined || change === undefined) return [{ says: `${says}: refused`, take: refused }];
  return asks(world, {
    says,
    request: (next) => ({ kind: "write control", from: control.stamp, ...change, to: { ...change.to, stamp: give(next) } }),
    answered: (next, answer) => (answer === "done" && next.control !== undefined ? written(next, next.control) : refused(next)),
    unanswered: (next) => inDoubt(next, next.given),
  });
}

/** A number that was never given out before. */
export function give(next: World): number {
  next.given += 1;
  return next.given;
}
