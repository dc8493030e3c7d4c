// What holds at rest (I7, I9): every process is killed where it is, and then one capture and one cleanup at a time are let finish.
// The next runs must end the work that was begun, and leave exactly what checkpoint and retention justify.

import { contentOf, IDLE_CAPTURE } from "./capture-state.ts";
import { IDLE_CLEANER } from "./cleaner-state.ts";
import { IDLE_GATHERER } from "./gatherer-state.ts";
import { brokenPromise, namedByKeptStates } from "./promises.ts";
import { IDLE_READER } from "./reader-state.ts";
import { finishes } from "./steps.ts";
import { sameName } from "./stored.ts";
import { truthAtTail } from "./truth.ts";
import type { Setting, World } from "./world.ts";
import { IDLE_WRITER } from "./writer-state.ts";

const CAPTURES_MAX = 2;
const SWEEPS_MAX = 4;

export function brokenAtRest(world: World, setting: Setting): string {
  const calm: Setting = { ...setting, bounds: { ...setting.bounds, epochs: 99, page: 99, cuts: false } };
  const stopped: World = {
    ...world,
    writers: world.writers.map(() => IDLE_WRITER),
    captures: world.captures.map(() => IDLE_CAPTURE),
    cleaners: [IDLE_CLEANER],
    readers: world.readers.map(() => IDLE_READER),
    gatherers: world.gatherers.map(() => IDLE_GATHERER),
    late: [],
    rows: world.rows.map((row) => (row.pins.length > 0 ? { ...row, pins: [] } : row)),
    left: { captures: 99, cleanups: 99, gatherings: 0, reads: 0, crashes: 0, lost: 0, late: 0, damages: 0, lapses: 0, deletions: 0 },
  };
  return leavesNothing(stopped, calm) || finishesWork(stopped, calm);
}

/** I9: the next capture ends what was begun, or clears it away, and the one after it does the rest. */
function finishesWork(stopped: World, setting: Setting): string {
  const tail = stopped.truth.log.reduce((sum, { batches }) => sum + batches.length, 0);
  const record = stopped.control?.record;
  const isComplete = record !== undefined && stopped.snapshots.some((one) => sameName(one, record) && one.of === contentOf(record) && !one.rotten);
  let world = stopped;
  for (let run = 0; run < CAPTURES_MAX && world.control !== undefined && (world.control.checkpoint?.index ?? 0) < tail; run++) {
    world = finishes(world, "captures", setting);
    const broken = brokenPromise(world, setting);
    if (broken !== "") return broken;
    if (isComplete && run === 0 && world.control?.checkpoint?.index === stopped.control?.checkpoint?.index)
      return "I9: a snapshot that is complete is made once more";
  }
  if (world.control !== undefined && (world.control.checkpoint?.index ?? 0) < tail) return "I9: the next runs do not finish a capture";
  return leavesNothing(world, setting);
}

/** I7: when nothing is left to do, nothing is left over. */
function leavesNothing(stopped: World, setting: Setting): string {
  let world = stopped;
  for (let sweep = 0; sweep < SWEEPS_MAX; sweep++) world = finishes(world, "cleaners", setting);
  const { control, redo, snapshots, uploads, rows, parts, attached } = world;
  const isMine = ({ life }: { readonly life: number }): boolean => life === control?.life;
  if (redo.some((file) => !isMine(file) || file.first < (control?.mark ?? 0))) return "I7: a redo file is left over";
  if (snapshots.some((one) => !isMine(one) || !rows.some((row) => sameName(row, one)))) return "I7: a snapshot is left over";
  if (uploads.length > 0) return "I7: an upload is left over";
  if (parts.length > 0 || control?.record !== undefined) return "I7: a note of a capture is left over";
  if (rows.some((row) => row.state === "deleting" || !isMine(row))) return "I7: a history row is left over";
  if (rows.filter(({ verified }) => verified).length > setting.bounds.keep) return "I7: a generation is kept that nothing asks for";
  const applied = truthAtTail(world, setting).sessions.reduce((most, { sequence }) => Math.max(most, sequence), 0);
  const named = namedByKeptStates(world, setting);
  if (attached.some((one) => !isMine(one) || (one.sequence <= applied && !named.has(one.name)))) return "I7: an attachment is left over";
  return brokenPromise(world, setting);
}
