// What goes wrong: with a step as it is played, and beside all steps.

import { CAPTURE_ABANDONED_MS, LEASE_TTL_MS, PIN_TTL_MS } from "../../lib/model/limits.ts";
import type { Random } from "../../lib/ports/random.ts";
import { type Troupe, whole } from "./actors.ts";
import { type Company, drawSkew } from "./company.ts";
import { operate } from "./operations.ts";
import { ghostAhead, isPending, stall, stallLikelihood } from "./stalls.ts";
import { describeStep, type Play, type Step } from "./stage.ts";

/** Clocks that jump, late effects that land, objects that rot, a store that is full, stores that are away. */
export async function happenBeside(troupe: Troupe, company: Company): Promise<string | undefined> {
  const { stage, settings, random, promises, count } = troupe;
  if (settings.operation > 0 && random.fraction() < settings.operation) return operate(troupe);
  if (random.fraction() < settings.clockJump) {
    count("clock jumps");
    if (random.fraction() < 0.5) {
      const jumpMs = [LEASE_TTL_MS / 2, LEASE_TTL_MS, LEASE_TTL_MS * 2, PIN_TTL_MS * 2, CAPTURE_ABANDONED_MS][whole(random, 0, 4)];
      stage.nowMs += jumpMs;
      return `all clocks jump by ${jumpMs} ms`;
    }
    const process = stage.processes[whole(random, 0, stage.processes.length - 1)];
    process.skewMs = drawSkew(random);
    return `the clock of ${process.name} is now ${process.skewMs} ms ahead`;
  }
  const landing = stage.late.length > 0 ? landingStep(stage, random) : undefined;
  if (landing !== undefined) {
    count("late effects");
    await stage.land(landing);
    return `${landing.process.name} ${describeStep(landing)} takes effect late`;
  }
  const deps = { store: stage.objects, random };
  if (random.fraction() < settings.damage) {
    const said = promises.damage.snapshotRots(deps, promises.rows.values());
    if (said !== undefined) {
      count("damages");
      return said;
    }
  }
  if (promises.damage.inLog && random.fraction() < LOG_HEALS) {
    promises.damage.logHeals(stage.objects);
    return "the log is healed";
  }
  if (random.fraction() < settings.redoDamage) {
    const said = promises.damage.logRots(deps, promises.redoKeys());
    if (said !== undefined) {
      count("damages of the log");
      return said;
    }
  }
  if (random.fraction() < (company.full ? STORE_EMPTIES : settings.full)) {
    company.full = !company.full;
    return company.full ? "the store is full" : "the store has room again";
  }
  if (random.fraction() < (company.away ? STORES_RETURN : settings.away)) {
    company.away = !company.away;
    if (company.away) count("outages");
    return company.away ? "the stores are away" : "the stores are back";
  }
  return undefined;
}

/** The late effect that happens now, if any. A part mostly waits until another is about to complete its upload: there it hurts. */
function landingStep({ late, processes }: Troupe["stage"], random: Random): Step | undefined {
  const completed = processes.flatMap(({ pending }) => pending.filter(({ method }) => method === "completeUpload").map(uploadIdOf));
  const zombie = late.find((step) => step.method === "uploadPart" && completed.includes(uploadIdOf(step)));
  if (zombie !== undefined && random.fraction() < 0.5) return zombie;
  if (random.fraction() >= 0.05) return undefined;
  const step = late[whole(random, 0, late.length - 1)];
  return step.method === "uploadPart" && random.fraction() < 0.8 ? undefined : step;
}

function uploadIdOf({ args }: Step): string {
  return (args[0] as { readonly uploadId: string }).uploadId;
}

/** Likelihood a step that what is wrong for a while is right again. */
const LOG_HEALS = 0.03;
const STORE_EMPTIES = 0.05;
const STORES_RETURN = 0.08;

/** `stalled`: the step stays where it is. `behind-ghost`: until the claim has happened that makes a ghost of what it could meet. */
export type Turn = Play | "stalled" | "behind-ghost";

/** The fault that befalls a step, if any. */
export function choosePlay(troupe: Troupe, step: Step, company: Company): Turn {
  const { settings, random } = troupe;
  if (!company.roles.has(step.process)) return "answered";
  let chance = random.fraction();
  const falls = (likelihood: number): boolean => {
    chance -= likelihood;
    return chance < 0;
  };
  if (falls(settings.crash)) return (["crash-before", "crash-after", "crash-late"] as const)[whole(random, 0, 2)];
  if (step.method === "turn" || step.method === "sleep") return "answered";
  if (company.away) return random.fraction() < 0.5 ? "failed" : "lost";
  if (falls(settings.failed)) return "failed";
  if (falls(settings.lost)) return "lost";
  // The parts of captures are few.
  if (falls(step.method === "uploadPart" ? settings.late * 5 : settings.late)) return "late";
  if (falls(settings.twice)) return "twice";
  if (company.full && TAKES_ROOM.has(step.method)) return "full";
  if (falls(settings.misread) && READS.has(step.method) && mayBeMisread(troupe, step)) return "misread";
  const { stalls, clients } = company;
  if (settings.stall > 0 && ghostAhead(stalls, step, settings.captures > 1) !== undefined && falls(GHOST_MET)) return "behind-ghost";
  return falls(stallLikelihood({ settings, clients: clients.length }, step, stalls)) ? "stalled" : "answered";
}

/** From here on the promises allow for it. Both stores have a `get`: only an object's key is a text. */
export function mayBeMisread({ promises }: Troupe, { args: [key] }: Step): boolean {
  return typeof key === "string" && promises.damage.misread(key);
}

export function hold(troupe: Troupe, step: Step, turn: "stalled" | "behind-ghost", { stalls }: Company): void {
  troupe.count("stalls");
  const ghost = turn === "behind-ghost" ? ghostAhead(stalls, step, troupe.settings.captures > 1) : undefined;
  if (ghost === undefined) stall(troupe, step, stalls);
  else step.heldWhile = () => isPending(ghost);
}

/** Likelihood that a step waits for a ghost that it could meet. */
const GHOST_MET = 0.25;

/** Methods that a full object store refuses. */
export const TAKES_ROOM: ReadonlySet<Step["method"]> = new Set(["createIfAbsent", "createUpload", "uploadPart", "copyPart", "completeUpload"]);
const READS: ReadonlySet<Step["method"]> = new Set(["get", "getRange"]);
