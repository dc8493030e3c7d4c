// One simulated schedule: a seed decides the settings, every interleaving, every fault. The promises are checked after
// every effect; then the faults stop, the work is finished, and they are checked whole, at rest.

import { seededRandom } from "../../lib/adapters/memory/random.ts";
import { createTable } from "../../lib/jobs/tables.ts";
import { cleanupShard } from "../../lib/jobs/cleanup.ts";
import { snapshotShard } from "../../lib/jobs/snapshot.ts";
import { CAPTURE_ABANDONED_MS, LEASE_TTL_MS, PIN_TTL_MS } from "../../lib/model/limits.ts";
import type { ShardId } from "../../lib/model/names.ts";
import type { Random } from "../../lib/ports/random.ts";
import { captures, cleaner, type Client, client, openWriterOf, reader, readOnce, sendOne, type Troupe, whole } from "./actors.ts";
import { broken, promises as watch } from "./promises.ts";
import { drawSettings } from "./settings.ts";
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
const ROUNDS_AT_REST_MAX = 8;
const STEP_MS_MAX = 40;

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
      onEffect: (effect) => promises.observe(effect),
      onEvent: (_, event) => {
        if (event.kind === "fell-back") count("fallbacks");
        if (event.kind === "capture-resumed") count("captures resumed");
        if (event.kind === "capture-uploaded" && event.copied) count("parts copied");
      },
    });
    const promises = watch({ id: ID, policy: settings.policy, stage: () => stage });
    const troupe: Troupe = { id: ID, stage, promises, settings, random, count, writers: [], messages: [], finals: [] };
    await setUp(troupe);
    const company = assemble(troupe);
    for (; steps < settings.steps; steps++) {
      await playOne(troupe, company, (line) => say(() => `${steps} ${line()}`));
      if (company.failure !== undefined) throw company.failure;
    }
    await comeToRest(troupe, company, say);
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
}

async function setUp({ stage, settings }: Troupe): Promise<void> {
  const builder = stage.process("builder");
  await stage.finish(builder, createTable(builder.world, { name: ID.table, ...settings.policy }));
  stage.kill(builder);
}

function assemble(troupe: Troupe): Company {
  const { stage, settings } = troupe;
  const clients: Client[] = [];
  const company: Company = { roles: new Map(), clients, last: undefined, failure: undefined };
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
    enter(`writer${i}`, (process) => troupe.writers.push({ process, writer: openWriterOf(troupe, process) }));
  }
  for (let i = 0; i < settings.captures; i++) enter(`capture${i}`, (process) => guard(captures(troupe, process)));
  for (let i = 0; i < settings.cleaners; i++) enter(`cleaner${i}`, (process) => guard(cleaner(troupe, process)));
  for (let i = 0; i < settings.readers; i++) enter(`reader${i}`, (process) => guard(reader(troupe, process)));
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

/** Writes a line of the log, if there is one. */
type Say = (line: () => string) => void;

/** Plays one step of one process, or lets something happen beside them. */
async function playOne(troupe: Troupe, company: Company, say: Say): Promise<void> {
  const { stage, random } = troupe;
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
  await stage.play(step, how);
  if (!step.process.live && role !== undefined) replace(troupe, company, step.process, role);
}

/** Clocks that jump, late effects that land, a snapshot that rots. */
async function happenBeside({ stage, settings, random, promises, count }: Troupe, company: Company): Promise<string | undefined> {
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
  if (stage.late.length > 0 && random.fraction() < 0.05) {
    const step = stage.late[whole(random, 0, stage.late.length - 1)];
    count("late effects");
    await stage.land(step);
    return `${step.process.name} ${describe(step)} takes effect late`;
  }
  const victim = random.fraction() < settings.damage && promises.damaged.size === 0 ? damageable(promises.rows) : undefined;
  if (victim === undefined || company.failure !== undefined) return undefined;
  count("damages");
  const at = whole(random, 0, victim.size - 1);
  stage.objects.damage(victim.key, (body) => {
    body[at] ^= 1 << whole(random, 0, 7);
    return body;
  });
  promises.damaged.add(victim.key);
  return `byte ${at} of ${victim.key} rots`;
}

/** One of at least two sound generations may be damaged: more than one damage is more than is promised. */
function damageable(rows: Troupe["promises"]["rows"]): { readonly key: string; readonly size: number } | undefined {
  const kept = [...rows.values()].filter(({ state, verified }) => state === "kept" && verified).sort((a, b) => b.index - a.index);
  return kept.length < 2 ? undefined : kept[0];
}

function choose({ stage, settings, random, promises }: Troupe, company: Company): Step | undefined {
  const waits = promises.log.tail.next - 1 > (promises.control?.checkpoint?.index ?? 0);
  const ready = stage.processes.flatMap((process) => {
    const steps = process.pending.filter(isReady);
    return steps.length > 0 ? [{ process, steps, weight: weightOf(process, steps[0], waits) }] : [];
  });
  if (ready.length === 0) {
    for (const { pending } of stage.processes) for (const step of pending) step.heldWhile = undefined;
    return stage.processes.flatMap(({ pending }) => pending)[0];
  }
  const again = random.fraction() < settings.burst ? ready.find(({ process, steps }) => process === company.last && steps[0].method !== "turn") : undefined;
  let chance = random.fraction() * ready.reduce((sum, { weight }) => sum + weight, 0);
  const drawn = ready.find(({ weight }) => {
    chance -= weight;
    return chance < 0;
  });
  const { steps } = again ?? drawn ?? ready[0];
  return steps.length === 1 ? steps[0] : steps[whole(random, 0, steps.length - 1)];
}

/** Captures have the most steps to go; whoever looks for work again and again would take the turns of those who work. */
function weightOf({ name }: Process, { method }: Step, mutationsWait: boolean): number {
  const isCapture = name.startsWith("capture");
  if (method !== "turn") return isCapture ? 3 : 1;
  if (isCapture) return mutationsWait ? 0.5 : 0.05;
  return name.startsWith("cleaner") || name.startsWith("reader") ? 0.1 : 1;
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
  if (falls(settings.failed)) return "failed";
  if (falls(settings.lost)) return "lost";
  if (falls(settings.late)) return "late";
  if (!falls(step.method === "createIfAbsent" ? settings.stall * 5 : settings.stall)) return "answered";
  troupe.count("stalls");
  stall(troupe, step);
  return "stalled";
}

/** Holds a step back for some steps, or until cleanup has raised the mark: behind the tail, where the step may make a ghost. */
function stall({ stage, promises, random }: Troupe, step: Step): void {
  const untilMs = stage.nowMs + whole(random, 10, 150) * (STEP_MS_MAX / 2);
  const claims = step.method === "createIfAbsent";
  const past = claims ? promises.log.tail.next : (promises.control?.lowWater ?? 1);
  const forMark = random.fraction() < (claims ? 0.8 : 0.3);
  step.heldWhile = () => (forMark ? (promises.control?.lowWater ?? 1) <= past : stage.nowMs < untilMs);
}

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

/** Everybody dies, what was on its way arrives or does not; then one process finishes all work, and nothing is left over. */
async function comeToRest(troupe: Troupe, company: Company, say: Say): Promise<void> {
  const { stage, promises, settings, random } = troupe;
  for (const process of [...stage.processes]) stage.kill(process);
  for (const step of [...stage.late]) if (random.fraction() < 0.8) await stage.land(step);
  stage.nowMs += LEASE_TTL_MS + PIN_TTL_MS + SKEW_MS_MAX * 2;
  const process = stage.process("finisher");
  const alone = <T>(work: Promise<T>): Promise<T> => stage.finish(process, work);
  const writer = openWriterOf(troupe, process);
  for (const { unanswered } of company.clients) {
    for (const batch of unanswered()) {
      const reply = await alone(sendOne(troupe, writer, batch));
      if (reply.kind !== "appended") broken("I9", "a batch is not appended at rest");
    }
  }
  for (let round = 0, before = ""; ; round++) {
    if (round === ROUNDS_AT_REST_MAX) broken("I7", `${ROUNDS_AT_REST_MAX} rounds of capture and cleanup do not come to rest`);
    const { outcome } = await alone(snapshotShard(process.world, { id: ID, sizes: settings.sizes[0] }));
    await alone(cleanupShard(process.world, { id: ID, policy: settings.policy }));
    const now = [...stage.objects.objects.keys(), ...stage.objects.uploads.keys(), promises.control?.stamp].join();
    say(() => `at rest, round ${round}: ${outcome.kind}`);
    if (now === before) break;
    before = now;
  }
  await promises.checkRest(stage.nowMs);
  for (const { timeMs, index } of troupe.finals) {
    if (promises.log.stateAt({ timeMs }).index !== index) broken("I5", `${index} was said to be final for the time ${timeMs}`);
  }
  await recoverAll(troupe, process, alone);
}

/** The head, and indexes since the oldest kept generation's: all of them for some seeds, a few for the others. */
async function recoverAll(troupe: Troupe, process: Process, alone: <T>(work: Promise<T>) => Promise<T>): Promise<void> {
  const { promises, random } = troupe;
  await alone(readOnce(troupe, process, {}, false));
  const last = promises.log.tail.next - 1;
  const from = promises.control?.lowWater === 1 ? 0 : Math.min(last, ...[...promises.rows.values()].map(({ index }) => index));
  const all = random.fraction() < ALL_INDEXES;
  const indexes = Array.from({ length: all ? last - from + 1 : 2 }, (_, place) => (all ? from + place : whole(random, from, last)));
  for (const index of indexes) await alone(readOnce(troupe, process, { index }, false));
}

/** Share of the schedules at whose end every index is recovered. */
const ALL_INDEXES = 0.05;

const SKEW_MS_MAX = 90_000;

function drawSkew(random: Random): number {
  return random.fraction() < 0.7 ? 0 : whole(random, -SKEW_MS_MAX, SKEW_MS_MAX);
}

function describe({ method, args }: Step): string {
  return `${method} ${JSON.stringify(args, (_, value: unknown) => (value instanceof Uint8Array || isBufferJson(value) ? "bytes" : value)).slice(0, 300)}`;
}

function isBufferJson(value: unknown): boolean {
  return typeof value === "object" && value !== null && "type" in value && value.type === "Buffer";
}
