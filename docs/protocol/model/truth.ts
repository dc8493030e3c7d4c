// What the log says, as no process can see it whole: the state after the mutations 1…index.

import { EMPTY, type Fold, lastIndex, type RedoFile, replay, type ReplayRules } from "./values.ts";
import type { Setting, World } from "./world.ts";

const folds = new WeakMap<readonly RedoFile[], readonly Fold[]>();

export function truthAt({ truth }: World, index: number, { bounds, rules }: Setting): Fold {
  const known = folds.get(truth.log) ?? foldsOf(truth.log, { ...bounds, ...rules });
  const before = known.findLastIndex((fold) => fold.index <= index);
  const file = truth.log[before];
  return file === undefined || known[before].index === index || lastIndex(file) < index
    ? known[before]
    : replay(known[before], file, { ...bounds, ...rules }, index);
}

/** The state before the first redo file, and behind each. */
function foldsOf(log: readonly RedoFile[], rules: ReplayRules): readonly Fold[] {
  const all = [EMPTY];
  for (const file of log) all.push(replay(all[all.length - 1], file, rules));
  folds.set(log, all);
  return all;
}

/** The state at the log's end. */
export function truthAtTail(world: World, setting: Setting): Fold {
  return truthAt(world, Number.POSITIVE_INFINITY, setting);
}
