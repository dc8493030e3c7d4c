// All that may happen next in a state of the world, and the state that a scenario begins in.

import { IDLE_CAPTURE } from "./capture-state.ts";
import { captureSteps } from "./capture.ts";
import { IDLE_CLEANER } from "./cleaner-state.ts";
import { cleanerSteps } from "./cleaner.ts";
import { fateSteps } from "./fate.ts";
import { IDLE_GATHERER } from "./gatherer-state.ts";
import { gathererSteps } from "./gatherer.ts";
import { IDLE_READER } from "./reader-state.ts";
import { readerSteps } from "./reader.ts";
import { ORIGIN } from "./values.ts";
import type { Setting, Step, World } from "./world.ts";
import { writerSteps } from "./writer.ts";
import { IDLE_WRITER } from "./writer-state.ts";

export function stepsFrom(world: World, setting: Setting): readonly Step[] {
  return [
    ...world.writers.flatMap((_, n) => writerSteps(world, n, setting)),
    ...world.captures.flatMap((_, n) => captureSteps(world, n, setting)),
    ...world.cleaners.flatMap((_, n) => cleanerSteps(world, n, setting)),
    ...world.readers.flatMap((_, n) => readerSteps(world, n, setting)),
    ...world.gatherers.flatMap((_, n) => gathererSteps(world, n, setting)),
    ...fateSteps(world, setting),
  ];
}

export function taken(world: World, { take }: Step): World {
  const next = { ...world };
  take(next);
  return next;
}

/**
 * A shard that is open and empty; writers know its life, as those that have opened it do. In it so many generations are made, of one
 * batch each, and then the prelude is played: `says` tells its steps.
 */
export function beginning(setting: Setting): { readonly world: World; readonly says: readonly string[] } {
  const { bounds } = setting;
  const { captures, cleanups, gatherings, reads, crashes, lost, late, damages, lapses, deletions } = bounds;
  const empty: World = {
    redo: [],
    snapshots: [],
    uploads: [],
    control: { stamp: 1, life: 1, epoch: 0, mark: 1, checkpoint: undefined, record: undefined },
    rows: [],
    parts: [],
    attached: [],
    hint: { life: 1, border: ORIGIN },
    writers: Array.from({ length: bounds.writers }, () => ({ ...IDLE_WRITER, life: bounds.fresh ? 0 : 1 })),
    captures: Array.from({ length: bounds.capturers }, () => IDLE_CAPTURE),
    cleaners: Array.from({ length: bounds.cleaners }, () => IDLE_CLEANER),
    readers: Array.from({ length: bounds.readers }, () => IDLE_READER),
    gatherers: Array.from({ length: bounds.gatherers }, () => IDLE_GATHERER),
    late: [],
    producers: Array.from({ length: bounds.producers }, () => ({ sequence: 1, since: 0, sent: false, taken: 0 })),
    truth: { life: 1, log: [], acknowledged: [], damaged: [], broken: "" },
    left: { captures, cleanups, gatherings, reads, crashes, lost, late, damages, lapses, deletions },
    given: 1,
    damagedAt: -1,
    deleting: false,
  };
  const quiet: Setting = { ...setting, bounds: { ...bounds, brief: true, cuts: false, takes: 1, epochs: 99 } };
  const begun = Array.from({ length: bounds.begun }).reduce<World>((world) => finishes(finishes(world, "writers", quiet), "captures", quiet), {
    ...empty,
    left: { captures: 99, cleanups: 0, gatherings: 0, reads: 0, crashes: 0, lost: 0, late: 0, damages: 0, lapses: 0, deletions: 0 },
  });
  const says: string[] = [];
  let world: World = { ...begun, left: empty.left };
  for (const line of setting.prelude) {
    const name = line.endsWith(FINISHES) ? `${line.slice(0, -FINISHES.length)} ` : line;
    do {
      const step = stepsFrom(world, setting).find((one) => one.says.startsWith(name));
      if (step === undefined)
        throw new Error(
          `the prelude asks for "${line}"; there is: ${stepsFrom(world, setting)
            .map((one) => one.says)
            .join("; ")}`,
        );
      says.push(step.says);
      world = taken(world, step);
    } while (line.endsWith(FINISHES) && processNamed(world, name).at !== "idle");
  }
  return { world, says };
}

/** A line of a prelude: the process is let go on until it is idle again. */
const FINISHES = " finishes";

function processNamed({ writers, captures, cleaners, readers, gatherers }: World, name: string): { readonly at: string } {
  const kind = { W: writers, C: captures, K: cleaners, R: readers, G: gatherers }[name[0]] ?? [];
  return kind[Number(name[1])];
}

type Kind = "writers" | "captures" | "cleaners";

const STEPS_OF: Readonly<Record<Kind, (world: World, n: number, setting: Setting) => readonly Step[]>> = {
  writers: writerSteps,
  captures: captureSteps,
  cleaners: cleanerSteps,
};

const STEPS_MAX = 200;

/** The first process of a kind, left alone, until it is idle again. */
export function finishes(world: World, kind: Kind, setting: Setting): World {
  let now = world;
  for (let count = 0; count < STEPS_MAX; count++) {
    const [step] = STEPS_OF[kind](now, 0, setting);
    if (step === undefined) return now;
    now = taken(now, step);
    if (now[kind][0].at === "idle") return now;
  }
  throw new Error(`the first of the ${kind} does not come to an end`);
}
