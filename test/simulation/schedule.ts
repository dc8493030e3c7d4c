// One simulated schedule: a seed decides the settings, every interleaving, every fault. The promises are checked after
// every effect; then the faults stop, the work is finished, and they are checked whole, at rest.

import { seededRandom } from "../../lib/adapters/memory/random.ts";
import { createTable } from "../../lib/jobs/tables.ts";
import { CAPTURE_ABANDONED_MS, LEASE_TTL_MS, PIN_TTL_MS } from "../../lib/model/limits.ts";
import type { ShardId } from "../../lib/model/names.ts";
import type { Random } from "../../lib/ports/random.ts";
import { captures, cleaner, type Client, client, openWriterOf, type Troupe, whole } from "./actors.ts";
import { gatherer } from "./gatherers.ts";
import { broadClient, keeper, type Kept } from "./keepers.ts";
import { operate } from "./operations.ts";
import { owner } from "./owner.ts";
import { promises as watch } from "./promises.ts";
import { reader } from "./readers.ts";
import { comeToRest, type Say, SKEW_MS_MAX } from "./rest.ts";
import { drawSettings } from "./settings.ts";
import { ghostAhead, isPending, noStalls, stall, stallLikelihood, type Stalls, standBehindMark, STEP_MS_MAX } from "./stalls.ts";
import { type Play, type Process, stage as openStage, type Step } from "./stage.ts";

export interface ScheduleResult {
  readonly seed: number;
  readonly steps: number;
  /** How often each thing was met: faults, outcomes, ghosts … */
  readonly counts: ReadonlyMap<string, number>;
  /** One line a step; empty unless asked for. */
  readonly log: readonly string[];
  /** Which promise was broken, and how. */
  readonly violation?: string;
}

const ID: ShardId = { table: "t", shard: 0 };

export async function runSchedule(seed: number, { logged = false }: { readonly logged?: boolean } = {}): Promise<ScheduleResult> {
  const log: string[] = [];
  const counts = new Map<string, number>();
  const count = (what: string): void => {
    counts.set(what, (counts.get(what) ?? 0) + 1);
  };
  const random = seededRandom(seed);
  const settings = drawSettings(random);
  const say: Say = logged ? (line) => log.push(line()) : () => undefined;
  say(() => `seed ${seed} ${JSON.stringify(settings)}`);
  let steps = 0;
  try {
    const stage = openStage({
      random,
      onEffect: async (effect) => {
        for (const each of kept) await each.observe(effect);
      },
      onEvent: (_, event) => {
        if (event.kind === "fell-back") count("fallbacks");
        if (event.kind === "capture-resumed") count("captures resumed");
        if (event.kind === "capture-uploaded" && event.copied) count("parts copied");
      },
    });
    const kept = Array.from({ length: settings.shards }, (_, shard) => watch({ id: { ...ID, shard }, policy: settings.policy, stage: () => stage }));
    const [promises] = kept;
    const troupe: Troupe = { id: ID, stage, promises, settings, random, count, writers: [], messages: [], finals: [] };
    await setUp(troupe);
    const company = assemble(troupe, kept);
    for (; steps < settings.steps; steps++) {
      await playOne(troupe, company, (line) => say(() => `${steps} ${line()}`));
      if (company.failure !== undefined) throw company.failure;
    }
    await comeToRest(
      troupe,
      company.clients.flatMap(({ unanswered }) => unanswered()),
      say,
    );
    for (const [shard, others] of kept.entries()) if (shard > 0) await comeToRest({ ...troupe, id: { ...ID, shard }, promises: others, finals: [] }, [], say);
    for (const [what, times] of Object.entries(promises.met)) counts.set(what, times);
    return { seed, steps, counts, log };
  } catch (error) {
    const violation = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    say(() => `=> ${error instanceof Error ? error.stack : violation}`);
    return { seed, steps, counts, log, violation };
  }
}

/** Who plays, and what the scheduler remembers of it. */
interface Company {
  readonly roles: Map<Process, (process: Process) => void>;
  readonly clients: readonly Client[];
  last: Process | undefined;
  failure: Error | undefined;
  /** The object store takes no bytes for now. */
  full: boolean;
  /** Neither store answers for now. */
  away: boolean;
  readonly stalls: Stalls;
}

async function setUp({ stage, settings }: Troupe): Promise<void> {
  const builder = stage.process("builder");
  const about = { shards: settings.shards, codec: settings.codec, ...(settings.gatherers > 0 && { source: "influxdb" as const }) };
  await stage.finish(builder, createTable(builder.world, { name: ID.table, ...about, ...settings.policy }));
  stage.kill(builder);
}

function assemble(troupe: Troupe, kept: Kept): Company {
  const { stage, settings } = troupe;
  const clients: Client[] = [];
  const company: Company = { roles: new Map(), clients, last: undefined, failure: undefined, full: false, away: false, stalls: noStalls() };
  const guard = (work: Promise<void>): void => {
    work.catch((error: Error) => {
      company.failure ??= error;
    });
  };
  const enter = (name: string, role: (process: Process) => void): void => {
    const process = stage.process(name);
    process.skewMs = drawSkew(troupe.random);
    company.roles.set(process, role);
    role(process);
  };
  for (let i = 0; i < settings.writers; i++) {
    enter(`writer${i}`, (process) => troupe.writers.push(openWriterOf(troupe, process)));
  }
  for (let i = 0; i < settings.captures; i++) enter(`capture${i}`, (process) => guard(captures(troupe, process)));
  for (let i = 0; i < settings.cleaners; i++) enter(`cleaner${i}`, (process) => guard(cleaner(troupe, process)));
  for (let i = 0; i < settings.gatherers; i++) enter(`gatherer${i}`, (process) => guard(gatherer(troupe, process)));
  for (let i = 0; i < settings.keepers; i++) enter(`keeper${i}`, (process) => guard(keeper(troupe, process, kept)));
  const broad = broadClient(troupe, kept);
  if (settings.shards > 1) enter("broad", (process) => guard(broad(process)));
  for (let i = 0; i < settings.readers; i++) enter(`reader${i}`, (process) => guard(reader(troupe, process)));
  if (settings.deletes) enter("owner", (process) => guard(owner(troupe, process)));
  const names = [...Array.from({ length: settings.producers }, (_, i) => `p${i}`), ...Array.from({ length: settings.strangers }, () => undefined)];
  for (const producer of names) {
    // Clients are no part of the core: they do not die, and call no port.
    const process = stage.process(producer ?? "stranger");
    const each = client(troupe, process, producer);
    clients.push(each);
    guard(each.play());
  }
  return company;
}

/** Plays one step of one process, or lets something happen beside them. */
async function playOne(troupe: Troupe, company: Company, say: Say): Promise<void> {
  const { stage, random, promises } = troupe;
  stage.nowMs += whole(random, 0, STEP_MS_MAX);
  const beside = await happenBeside(troupe, company);
  if (beside !== undefined) {
    say(() => beside);
    return;
  }
  const step = choose(troupe, company);
  if (step === undefined) return;
  company.last = step.process;
  const how = choosePlay(troupe, step, company);
  say(() => `${step.process.name} ${describe(step)}${how === "answered" ? "" : ` ${how}`}`);
  if (how === "stalled") return;
  if (how !== "answered") troupe.count(how);
  const role = company.roles.get(step.process);
  const mark = promises.control?.lowWater;
  await stage.play(step, how);
  company.stalls.lastOf.set(step.process, step.method);
  if (mark !== undefined && mark < (promises.control?.lowWater ?? 1)) standBehindMark(troupe, step.process, company.stalls);
  if (!step.process.live && role !== undefined) replace(troupe, company, step.process, role);
}

/** Clocks that jump, late effects that land, objects that rot, a store that is full, stores that are away. */
async function happenBeside(troupe: Troupe, company: Company): Promise<string | undefined> {
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
    return `${landing.process.name} ${describe(landing)} takes effect late`;
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

/** A step that is ready. Who ran last may run on; else each process has its weight, and of its steps one is drawn. */
function choose({ stage, settings, random, promises }: Troupe, company: Company): Step | undefined {
  const waits = promises.log.tail.next - 1 > (promises.control?.checkpoint?.index ?? 0);
  const ghostWaits = company.stalls.claims.some(isPending);
  const cleanerIsDue = ghostWaits || settings.pins || company.stalls.unrecorded.some(isPending);
  const ownerWaits = company.stalls.forLife.length === 0 && promises.met["lives ended"] === 0;
  const ready: { readonly process: Process; readonly first: Step; readonly upTo: number }[] = [];
  let weights = 0;
  for (const process of stage.processes) {
    const first = process.pending.find(isReady);
    if (first === undefined) continue;
    weights += weightOf(process, first, { waits, ghostWaits, ownerWaits, cleanerIsDue, pins: settings.pins });
    ready.push({ process, first, upTo: weights });
  }
  if (ready.length === 0) return letGo(stage, company);
  const again = random.fraction() < settings.burst ? ready.find(({ process, first }) => process === company.last && first.method !== "turn") : undefined;
  const chance = random.fraction() * weights;
  const { process, first } = again ?? ready.find(({ upTo }) => chance < upTo) ?? ready[0];
  if (process.pending.length === 1) return first;
  const steps = process.pending.filter(isReady);
  return steps.length === 1 ? first : steps[whole(random, 0, steps.length - 1)];
}

/** Everybody waits: they go on, and claims last, as what comes of the others may make ghosts of them. */
function letGo(stage: Troupe["stage"], { stalls: { claims } }: Company): Step | undefined {
  const steps = stage.processes.flatMap(({ pending }) => pending);
  const others = steps.filter((step) => !claims.includes(step));
  for (const step of others.length > 0 ? others : steps) step.heldWhile = undefined;
  return others[0] ?? steps[0];
}

/**
 * Captures have the most steps to go; whoever looks for work again and again would take the turns of those who work. While a
 * claim is stalled, the work is what makes a ghost of it.
 */
function weightOf(
  { name }: Process,
  { method }: Step,
  { waits, ghostWaits, ownerWaits, cleanerIsDue, pins }: Readonly<Record<"waits" | "ghostWaits" | "ownerWaits" | "cleanerIsDue" | "pins", boolean>>,
): number {
  if (name === "owner") return method !== "turn" ? 2 : ownerWaits ? 0.01 : 0.2;
  const isCapture = name.startsWith("capture");
  if (method !== "turn") return isCapture ? 3 : 1;
  if (isCapture) return waits ? (ghostWaits || pins ? 2 : 0.5) : 0.05;
  if (name.startsWith("cleaner")) return cleanerIsDue ? 0.3 : 0.04;
  return name.startsWith("reader") ? 0.1 : 1;
}

function isReady(step: Step): boolean {
  if (step.heldWhile?.() === true) return false;
  step.heldWhile = undefined;
  return true;
}

/** The fault that befalls a step, if any; a stalled step stays where it is. */
function choosePlay(troupe: Troupe, step: Step, company: Company): Play | "stalled" {
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
  const [key] = step.args;
  // Both stores have a `get`: only an object's key is a text.
  if (falls(settings.misread) && READS.has(step.method) && typeof key === "string" && troupe.promises.damage.misread(key)) return "misread";
  const { stalls, clients } = company;
  const ghost = settings.stall > 0 ? ghostAhead(stalls, step, settings.captures > 1) : undefined;
  if (ghost !== undefined && falls(GHOST_MET)) step.heldWhile = () => isPending(ghost);
  else if (falls(stallLikelihood({ settings, clients: clients.length }, step, stalls))) stall(troupe, step, stalls);
  else return "answered";
  troupe.count("stalls");
  return "stalled";
}

/** Likelihood that a step waits for a ghost that it could meet. */
const GHOST_MET = 0.25;

/** Methods that a full object store refuses. */
export const TAKES_ROOM: ReadonlySet<Step["method"]> = new Set(["createIfAbsent", "createUpload", "uploadPart", "copyPart", "completeUpload"]);
const READS: ReadonlySet<Step["method"]> = new Set(["get", "getRange"]);

function replace(troupe: Troupe, company: Company, dead: Process, role: (process: Process) => void): void {
  company.roles.delete(dead);
  const { writers } = troupe;
  const place = writers.findIndex(({ process }) => process === dead);
  if (place >= 0) writers.splice(place, 1);
  const process = troupe.stage.process(dead.name);
  process.skewMs = dead.skewMs;
  company.roles.set(process, role);
  role(process);
}

function drawSkew(random: Random): number {
  const chance = random.fraction();
  // Where clocks are far apart, leases have run out for one that still run for the other.
  if (chance < 0.15) return chance < 0.075 ? -SKEW_MS_MAX : SKEW_MS_MAX;
  return chance < 0.85 ? 0 : whole(random, -SKEW_MS_MAX, SKEW_MS_MAX);
}

function describe({ method, args }: Step): string {
  return `${method} ${JSON.stringify(args, (_, value: unknown) => (value instanceof Uint8Array || isBufferJson(value) ? "bytes" : value)).slice(0, 300)}`;
}

function isBufferJson(value: unknown): boolean {
  return typeof value === "object" && value !== null && "type" in value && value.type === "Buffer";
}
