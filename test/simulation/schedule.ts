// One simulated schedule: a seed decides the settings, every interleaving, every fault. The promises are checked after
// every effect; then the faults stop, the work is finished, and they are checked whole, at rest.
//
// What the scheduler decides is kept. Some of it can be played again, and the rest left out: see shrink.ts.

import { seededRandom } from "../../lib/adapters/memory/random.ts";
import { createTable } from "../../lib/jobs/tables.ts";
import type { ShardId } from "../../lib/model/names.ts";
import { type Troupe, whole } from "./actors.ts";
import { type Chance, chanceOf } from "./chance.ts";
import { choose } from "./choosing.ts";
import { assemble, type Company, replace } from "./company.ts";
import { choosePlay, happenBeside, hold, mayBeMisread, type Turn } from "./faults.ts";
import { promises as watch } from "./promises.ts";
import { comeToRest, type Say } from "./rest.ts";
import { drawSettings } from "./settings.ts";
import { describeStep, stage as openStage, type Step } from "./stage.ts";
import { standBehindMark, STEP_MS_MAX } from "./stalls.ts";

export interface ScheduleResult {
  readonly seed: number;
  readonly steps: number;
  /** How often each thing was met: faults, outcomes, ghosts … */
  readonly counts: ReadonlyMap<string, number>;
  /** What was decided, but for what was no longer there to be done. */
  readonly decisions: readonly Decision[];
  /** One line a step; empty unless asked for. */
  readonly log: readonly string[];
  /** Which promise was broken, and how. */
  readonly violation?: string;
}

/** What the scheduler decided at a step. */
export interface Decision {
  readonly step: number;
  readonly atMs: number;
  /** Which of a process's pending steps is played, and how. Absent where something happens beside the processes. */
  readonly play?: { readonly process: string; readonly method: Step["method"]; readonly place: number; readonly how: Turn };
}

export interface ScheduleOptions {
  readonly logged?: boolean;
  /** Play these instead of what the seed would decide. A step that is not there is passed over. */
  readonly decisions?: readonly Decision[];
}

const ID: ShardId = { table: "t", shard: 0 };

export async function runSchedule(seed: number, { logged = false, decisions: given }: ScheduleOptions = {}): Promise<ScheduleResult> {
  const log: string[] = [];
  const decisions: Decision[] = [];
  const counts = new Map<string, number>();
  const count = (what: string): void => {
    counts.set(what, (counts.get(what) ?? 0) + 1);
  };
  const settings = drawSettings(seededRandom(seed));
  const chance = chanceOf(seed);
  const say: Say = logged ? (line) => log.push(line()) : () => undefined;
  say(() => `seed ${seed} ${JSON.stringify(settings)}`);
  let steps = 0;
  try {
    chance.begin("set-up");
    const stage = openStage({
      random: chance.players,
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
    const troupe: Troupe = { id: ID, stage, promises, settings, random: chance.players, count, writers: [], messages: [], finals: [] };
    await setUp(troupe);
    const company = assemble(troupe, kept);
    const note = (decision: Decision): void => {
      decisions.push(decision);
    };
    const direction: Direction = { troupe, directed: { ...troupe, random: chance.director }, company, chance, say, note };
    if (given === undefined) {
      for (; steps < settings.steps; steps++) {
        await playOne(direction, steps);
        if (company.failure !== undefined) throw company.failure;
      }
    } else {
      for (const decision of given) {
        steps = decision.step;
        await playAgain(direction, decision);
        if (company.failure !== undefined) throw company.failure;
      }
    }
    chance.begin("rest");
    await comeToRest(
      troupe,
      company.clients.flatMap(({ unanswered }) => unanswered()),
      say,
    );
    for (const [shard, others] of kept.entries()) if (shard > 0) await comeToRest({ ...troupe, id: { ...ID, shard }, promises: others, finals: [] }, [], say);
    for (const [what, times] of Object.entries(promises.met)) counts.set(what, times);
    return { seed, steps, counts, decisions, log };
  } catch (error) {
    const violation = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    say(() => `=> ${error instanceof Error ? error.stack : violation}`);
    return { seed, steps, counts, decisions, log, violation };
  }
}

interface Direction {
  readonly troupe: Troupe;
  /** The same, for what the scheduler draws. */
  readonly directed: Troupe;
  readonly company: Company;
  readonly chance: Chance;
  readonly say: Say;
  readonly note: (decision: Decision) => void;
}

async function setUp({ stage, settings }: Troupe): Promise<void> {
  const builder = stage.process("builder");
  const about = { shards: settings.shards, codec: settings.codec, ...(settings.gatherers > 0 && { source: "influxdb" as const }) };
  await stage.finish(builder, createTable(builder.world, { name: ID.table, ...about, ...settings.policy }));
  stage.kill(builder);
}

/** Plays one step of one process, or lets something happen beside them. */
async function playOne(direction: Direction, number: number): Promise<void> {
  const { directed, company, chance, say, note } = direction;
  const atMs = begin(direction, number);
  const beside = await happenBeside(directed, company);
  if (beside !== undefined) {
    note({ step: number, atMs });
    say(() => `${number} ${beside}`);
    return;
  }
  chance.decide("choice");
  const step = choose(directed, company);
  if (step === undefined) return;
  chance.decide("fault");
  const how = choosePlay(directed, step, company);
  note({ step: number, atMs, play: { process: step.process.name, method: step.method, place: step.process.pending.indexOf(step), how } });
  await take(direction, number, step, how);
}

/** The same as was decided before, where it is still there to be done. Nobody is asked whether he is to wait. */
async function playAgain(direction: Direction, decision: Decision): Promise<void> {
  const { step: number, atMs, play } = decision;
  const { directed, company, chance, say, note } = direction;
  begin(direction, number);
  directed.stage.nowMs = Math.max(directed.stage.nowMs, atMs);
  if (play === undefined) {
    const beside = await happenBeside(directed, company);
    if (beside === undefined) return;
    note(decision);
    say(() => `${number} ${beside}`);
    return;
  }
  // Whoever would be ready is.
  chance.decide("choice");
  choose(directed, company);
  const { pending } = directed.stage.processes.find(({ name }) => name === play.process) ?? { pending: [] };
  const step = pending[play.place]?.method === play.method ? pending[play.place] : pending.find(({ method }) => method === play.method);
  if (step === undefined) return;
  step.heldWhile = undefined;
  note(decision);
  await take(direction, number, step, play.how === "misread" && !mayBeMisread(directed, step) ? "answered" : play.how);
}

/** The time of the step. */
function begin({ directed: { stage, random }, chance }: Direction, number: number): number {
  chance.begin(number);
  chance.decide("beside");
  stage.nowMs += whole(random, 0, STEP_MS_MAX);
  return stage.nowMs;
}

async function take({ troupe, directed, company, chance, say }: Direction, number: number, step: Step, how: Turn): Promise<void> {
  const { stage, promises } = troupe;
  company.last = step.process;
  say(() => `${number} ${step.process.name} ${describeStep(step)}${how === "answered" ? "" : ` ${how}`}`);
  if (how === "stalled" || how === "behind-ghost") {
    chance.decide("hold");
    hold(directed, step, how, company);
    return;
  }
  if (how !== "answered") troupe.count(how);
  const role = company.roles.get(step.process);
  const mark = promises.control?.lowWater;
  await stage.play(step, how);
  company.stalls.lastOf.set(step.process, step.method);
  chance.decide("stand");
  if (mark !== undefined && mark < (promises.control?.lowWater ?? 1)) standBehindMark(directed, step.process, company.stalls);
  if (!step.process.live && role !== undefined) replace(troupe, company, step.process, role);
}
