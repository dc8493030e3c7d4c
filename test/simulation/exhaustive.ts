// Every fault at every step of the canonical stories, and every two of them stopped at every pair of their steps. What a
// seed finds with luck, this finds by going through all of it.

import { assert } from "../../lib/model/assert.ts";
import { broken, BrokenPromise } from "./promises.ts";
import { comeToRest } from "./rest.ts";
import { TAKES_ROOM } from "./faults.ts";
import type { Play, Process, Stage, Step } from "./stage.ts";
import { openPlot, type Past, type Plot, STORIES, type Story, timePasses } from "./stories.ts";

/** How a faulty step is played that changes something. `late`: its effect happens when the story is over. */
const FAULTS: readonly Play[] = ["crash-before", "crash-after", "crash-late", "failed", "lost", "late", "twice", "full"];
/** To one that only reads, a fault happens or not. */
const FAULTS_OF_READS: readonly Play[] = ["crash-before", "failed"];
const READS: ReadonlySet<Step["method"]> = new Set(["get", "getRange", "head", "list", "listUploads", "query", "queryDirty", "sleep"]);
const STEPS_MAX = 1_000;

export interface Report {
  readonly cases: number;
  /** One line each. */
  readonly violations: readonly string[];
}

/** One fault at one step: all of them. */
export async function everyFault(past: Past): Promise<Report> {
  const report = tally();
  for (const story of STORIES) {
    for (const [at, method] of (await stepsOf(past, story)).entries()) {
      for (const fault of READS.has(method) ? FAULTS_OF_READS : FAULTS) {
        await report.note(`${past.name}: ${story.name}, ${fault} at step ${at}`, () => playFault(past, story, at, fault));
      }
    }
  }
  return report;
}

export interface RaceBounds {
  /** Both are stopped at each of their steps; else only before those that change something, unless they only read. */
  readonly everyStep: boolean;
  /** Whether the shard goes on while the first one is stopped, until what it saw is captured and cleaned. */
  readonly timePasses: boolean;
  /** Of all these races one in so many is played. */
  readonly oneIn: number;
}

/** One stopped before some step, another played meanwhile up to some step of its own, then both to their ends: all of them. */
export async function everyRace(past: Past, { everyStep, timePasses: passes, oneIn }: RaceBounds): Promise<Report> {
  const report = tally();
  let races = 0;
  const stops = new Map<Story, readonly number[]>();
  for (const story of STORIES) stops.set(story, stopsOf(await stepsOf(past, story), everyStep));
  for (const [one, ats] of stops) {
    for (const [other, untils] of stops) {
      for (const at of ats) {
        for (const until of [...untils, STEPS_MAX]) {
          races += 1;
          if (races % oneIn !== 0) continue;
          const what = `${past.name}: ${one.name} stopped at step ${at}${passes ? ", time passes" : ""}, ${other.name} at step ${until}`;
          await report.note(what, () => playRace(past, { one, at, other, until, passes }));
        }
      }
    }
  }
  return report;
}

function stopsOf(methods: readonly Step["method"][], everyStep: boolean): readonly number[] {
  const onlyReads = methods.every((method) => READS.has(method));
  return [...methods.keys()].filter((at) => everyStep || onlyReads || !READS.has(methods[at]));
}

async function playFault(past: Past, story: Story, at: number, fault: Play): Promise<void> {
  const plot = await openPlot(past);
  const { stage } = plot.troupe;
  const player = begin(stage, plot, story, "player");
  await advance(stage, player, at);
  const step = player.process.pending[0];
  await stage.play(step, fault === "full" && !TAKES_ROOM.has(step.method) ? "failed" : fault);
  await advance(stage, player);
  if (fault === "late") for (const late of [...stage.late]) await stage.land(late);
  await comeToRest(plot.troupe, [...plot.unanswered], () => undefined);
}

interface Race {
  readonly one: Story;
  readonly at: number;
  readonly other: Story;
  readonly until: number;
  readonly passes: boolean;
}

async function playRace(past: Past, { one, at, other, until, passes }: Race): Promise<void> {
  const plot = await openPlot(past);
  const { stage } = plot.troupe;
  const first = begin(stage, plot, one, "first");
  await advance(stage, first, at);
  if (passes) await timePasses(plot);
  const second = begin(stage, plot, other, "second");
  await advance(stage, second, until);
  await advance(stage, first);
  await advance(stage, second);
  await comeToRest(plot.troupe, [...plot.unanswered], () => undefined);
}

interface Player {
  readonly process: Process;
  readonly outcome: { settled: boolean; failure?: Error };
}

function begin(stage: Stage, plot: Plot, story: Story, name: string): Player {
  const process = stage.process(name);
  const outcome: Player["outcome"] = { settled: false };
  story.play(plot, process).then(
    () => {
      outcome.settled = true;
    },
    (failure: Error) => Object.assign(outcome, { settled: true, failure }),
  );
  return { process, outcome };
}

/** Plays the process' steps, at most so many; true once its story is over, by its end or its death. */
async function advance(stage: Stage, { process, outcome }: Player, stepsMax = STEPS_MAX): Promise<boolean> {
  await stage.settle();
  for (let played = 0; played < stepsMax && process.live && !outcome.settled; played++) {
    assert(played < STEPS_MAX - 1 && process.pending.length > 0, `${process.name} comes to an end`);
    await stage.play(process.pending[0]);
  }
  if (outcome.failure !== undefined) throw outcome.failure;
  return !process.live || outcome.settled;
}

/** The methods of the story's steps, with nobody else on the stage. */
async function stepsOf(past: Past, story: Story): Promise<readonly Step["method"][]> {
  const plot = await openPlot(past);
  const { stage } = plot.troupe;
  const player = begin(stage, plot, story, "player");
  const methods: Step["method"][] = [];
  await stage.settle();
  while (!player.outcome.settled) {
    methods.push(player.process.pending[0].method);
    await advance(stage, player, 1);
  }
  if (methods.length === 0) broken("I9", `${story.name} does nothing`);
  return methods;
}

function tally(): { readonly cases: number; readonly violations: readonly string[]; note(what: string, play: () => Promise<void>): Promise<void> } {
  const violations: string[] = [];
  let cases = 0;
  return {
    get cases() {
      return cases;
    },
    violations,
    async note(what, play) {
      cases += 1;
      try {
        await play();
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        violations.push(`${what}: ${error instanceof BrokenPromise ? error.message : error.stack}`);
      }
    },
  };
}
