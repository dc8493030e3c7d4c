// Who stalls, and until what. Every step may, for a while. But most bugs need more than a while: that something happened
// between what a process has seen and what it does. So a stalled step may wait for the mark, for a commit, for a pin, for
// another write of the control item, or for the table's next life; and whoever raised the mark may wait for those it passed.

import { whole, type Troupe } from "./actors.ts";
import type { Process, Step } from "./stage.ts";

/** Steps that were stalled; those that are not pending any more went on. */
export interface Stalls {
  /** Claims of names in the log. */
  readonly claims: Step[];
  /** What waits until the mark is raised. */
  readonly forMark: Step[];
  /** What waits until the table was made again. */
  readonly forLife: Step[];
  /** What waits until a cleaner has seen an upload that no record names yet. */
  readonly unrecorded: Step[];
  /** What each process did last. */
  readonly lastOf: Map<Process, Step["method"]>;
}

export function noStalls(): Stalls {
  return { claims: [], forMark: [], forLife: [], unrecorded: [], lastOf: new Map() };
}

/** Time that a step takes at most. */
export const STEP_MS_MAX = 40;
const READS: ReadonlySet<Step["method"]> = new Set(["get", "getRange"]);
/** What cleanup does once it has made its plan. */
const ACTS: ReadonlySet<Step["method"]> = new Set(["write", "deleteMany", "abortUpload"]);
/** Likelihood that who raised the mark stands until those whom it passed went on. */
const STANDS = 0.5;

export function isPending(step: Step): boolean {
  return step.process.live && step.process.pending.includes(step);
}

/** How likely a step stalls: more where something has been seen, or made, that others must not pass by. */
export function stallLikelihood(
  { settings, clients }: { readonly settings: Troupe["settings"]; readonly clients: number },
  step: Step,
  stalls: Stalls,
): number {
  const { stall, pins } = settings;
  const { process, method } = step;
  // One client at least goes on, or nothing would be captured behind the claims.
  if (method === "createIfAbsent") return stalls.claims.filter(isPending).length + 1 < clients ? stall * 5 : 0;
  if (process.name.startsWith("cleaner") && ACTS.has(method)) return stall * (pins || method === "abortUpload" ? 8 : 3);
  if (process.name.startsWith("reader") && method === "write") return stall * (pins ? 8 : 1);
  return isUnrecorded(step, stalls) ? stall * 5 : stall;
}

/** Whether a capture has created an upload that no record names yet. */
function isUnrecorded({ process }: Step, { lastOf }: Stalls): boolean {
  return process.name.startsWith("capture") && lastOf.get(process) === "createUpload";
}

/** A stalled claim of the name that the step reads; for a capture that writes, where there are others, any: its base may be old by then. */
export function ghostAhead({ claims }: Stalls, { process, method, args }: Step, othersCapture: boolean): Step | undefined {
  if (READS.has(method)) return claims.find((claim) => claim.args[0] === args[0] && isPending(claim));
  return othersCapture && method === "write" && process.name === "capture1" ? claims.find(isPending) : undefined;
}

/** Holds a step back: for some steps, or until something came between. */
export function stall(troupe: Troupe, step: Step, stalls: Stalls): void {
  const { stage, promises, random, settings } = troupe;
  const untilMs = stage.nowMs + whole(random, 10, 150) * (STEP_MS_MAX / 2);
  const lasts = (): boolean => stage.nowMs < untilMs;
  const { name } = step.process;
  const chance = random.fraction();
  if (settings.deletes && promises.met["lives ended"] === 0 && promises.control !== undefined && name !== "owner" && chance < 0.5) {
    stalls.forLife.push(step);
    step.heldWhile = () => promises.met["lives ended"] === 0 || promises.control === undefined;
  } else if (step.method === "createIfAbsent") {
    stalls.claims.push(step);
    const { next } = promises.log.tail;
    // Behind the tail, where it may make a ghost.
    step.heldWhile = chance < 0.8 ? () => lowWater() <= next : lasts;
  } else if (name.startsWith("cleaner") && ACTS.has(step.method)) {
    const seen = settings.pins ? pinsOf() : promises.control?.stamp;
    step.heldWhile = () => lasts() && seen === (settings.pins ? pinsOf() : promises.control?.stamp);
  } else if (isUnrecorded(step, stalls)) {
    stalls.unrecorded.push(step);
    step.heldWhile = () => lasts() && !stage.processes.some(isToAct);
  } else if (name !== "capture0" && name !== "cleaner0" && chance < (name.startsWith("reader") ? 0.5 : 0.3)) {
    // Of those who raise the mark one must go on.
    const past = lowWater();
    stalls.forMark.push(step);
    step.heldWhile = () => lowWater() <= past;
  } else if (name.startsWith("capture") && name !== "capture0" && chance < 0.6) {
    const checkpoint = promises.control?.checkpoint?.key;
    step.heldWhile = () => promises.control?.checkpoint?.key === checkpoint;
  } else step.heldWhile = lasts;

  function lowWater(): number {
    return promises.control?.lowWater ?? 1;
  }

  function pinsOf(): string {
    return [...promises.rows.values()].flatMap(({ pins }) => Object.keys(pins)).join();
  }
}

/** Whether a cleaner has made its plan. */
function isToAct({ name, pending }: Process): boolean {
  return name.startsWith("cleaner") && pending.some(({ method }) => ACTS.has(method));
}

/** Who has raised the mark may stand there until those who waited for that are done. */
export function standBehindMark({ stage, random }: Troupe, process: Process, { forMark }: Stalls): void {
  const passed = forMark.filter(isPending).map((step) => step.process);
  forMark.splice(0);
  if (passed.length === 0 || random.fraction() >= STANDS) return;
  const untilMs = stage.nowMs + 60 * (STEP_MS_MAX / 2);
  const atWork = ({ live, pending }: Process): boolean => live && pending.some(({ method }) => method !== "turn");
  for (const step of process.pending) step.heldWhile = () => stage.nowMs < untilMs && passed.some(atWork);
}
