// The promises, as what must hold in every state of the world. What only a step can break (an acknowledgement, a commit, what a
// recovery returns) is judged where that step is taken.

import { sameName } from "./stored.ts";
import { truthAt, truthAtTail } from "./truth.ts";
import { lastIndex, sameFold } from "./values.ts";
import type { Setting, World } from "./world.ts";

/** The promise that is broken; "" where all are kept. */
export function brokenPromise(world: World, setting: Setting): string {
  const { truth, control } = world;
  if (truth.broken !== "") return truth.broken;
  return (
    onceInTheLog(world, setting) ||
    (control === undefined
      ? ""
      : logIsThere(world) || generationsAreThere(world, setting) || attachmentsAreThere(world, setting) || headIsRecoverable(world, setting))
  );
}

/** I1 and I3: what was acknowledged has taken effect in the log, and nothing has twice. */
function onceInTheLog(world: World, setting: Setting): string {
  const { applied } = truthAtTail(world, setting);
  const names = applied === "" ? [] : applied.split(" ");
  if (new Set(names).size < names.length) return "I3: a batch applies twice";
  if (world.truth.acknowledged.some((name) => !names.includes(name))) return "I1: an acknowledged batch has no effect";
  return "";
}

/** I6: every redo file that holds an index at or above the mark. */
function logIsThere({ truth, control, redo }: World): string {
  const mark = control?.mark ?? 1;
  if (mark > (control?.checkpoint?.border.next ?? 1)) return "I6: the mark lies behind the checkpoint";
  for (const file of truth.log) {
    if (lastIndex(file) < mark || truth.damaged.includes(file.first)) continue;
    const stored = redo.find(({ life, first }) => life === truth.life && first === file.first);
    if (stored === undefined || stored.writeId !== file.writeId) return "I6: a redo file at or above the mark is gone";
  }
  return "";
}

/** I5 and I6: a kept generation's snapshot is there, and is the state at its index. */
function generationsAreThere(world: World, setting: Setting): string {
  const { control, rows, snapshots } = world;
  for (const row of rows) {
    if (row.life !== control?.life || row.state !== "kept") continue;
    const snapshot = snapshots.find((one) => sameName(one, row));
    if (snapshot === undefined) return "I6: the snapshot of a kept generation is gone";
    if (snapshot.of === "mixed" || !sameFold(snapshot.fold, truthAt(world, row.index, setting))) return "I5: a snapshot is not the state at its index";
  }
  const { checkpoint } = control ?? {};
  if (checkpoint !== undefined && !rows.some((row) => sameName(row, checkpoint) && row.state === "kept")) return "I6: the checkpoint's generation is let go";
  return "";
}

/** I6 and I8: two generations can recover the newest state, and where one was damaged, one still can. */
function headIsRecoverable(world: World, { bounds }: Setting): string {
  const { control, rows, snapshots, damagedAt } = world;
  if (control === undefined || bounds.damage === "redo") return "";
  const serving = rows.filter((row) => row.life === control.life && row.state === "kept" && row.border.next >= control.mark);
  const fromNothing = control.mark === 1 ? 1 : 0;
  const sound = serving.filter((row) => snapshots.some((one) => sameName(one, row) && !one.rotten)).length + fromNothing;
  if (sound === 0) return "I8: after one damage nothing can recover the newest state";
  if (damagedAt < 0 && bounds.keep > 1 && control.checkpoint !== undefined && serving.length + fromNothing < 2)
    return "I6: one generation alone can recover the newest state";
  return "";
}

/** I6: what a state names that can be brought back. */
function attachmentsAreThere(world: World, setting: Setting): string {
  if (setting.bounds.gatherers === 0) return "";
  const { attached, control } = world;
  for (const name of namedByKeptStates(world, setting)) {
    if (!attached.some((one) => one.life === control?.life && one.name === name)) return "I6: an attachment of a kept state is gone";
  }
  return "";
}

/** The attachments that kept generations name, and the states that the log behind the oldest of them leads to. */
export function namedByKeptStates(world: World, setting: Setting): ReadonlySet<string> {
  const { control, rows } = world;
  if (control === undefined) return new Set();
  const kept = rows.filter(({ life, state }) => life === control.life && state === "kept");
  const from = control.mark === 1 ? 0 : Math.min(...kept.filter(({ border }) => border.next >= control.mark).map(({ index }) => index));
  const tail = truthAtTail(world, setting).index;
  const indexes = [...kept.map(({ index }) => index), ...Array.from({ length: Math.max(0, tail - from + 1) }, (_, place) => from + place)];
  return new Set(indexes.flatMap((index) => truthAt(world, index, setting).names));
}
