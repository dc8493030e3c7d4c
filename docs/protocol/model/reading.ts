// How the redo log is read, by writers, captures and readers alike: file after file by the chain, and at its end a look behind it.
// What is found wrong is damage only if the control item, read after it, still covers where the reading began.

import { type Border, continues, type RedoFile } from "./values.ts";
import { redoAt, type World } from "./world.ts";

export type Seen = { readonly kind: "found"; readonly file: RedoFile } | { readonly kind: "absent" } | { readonly kind: "broken" };

export function seenAt(world: World, life: number, border: Border): Seen {
  const file = redoAt(world, life, border.next);
  if (file === undefined) return { kind: "absent" };
  return continues(file, border) ? { kind: "found", file } : { kind: "broken" };
}

/** A later redo file, or the published tail, shows that the log goes on behind a name that was absent. */
export function goesOn({ redo, hint }: World, life: number, next: number): boolean {
  return redo.some((file) => file.life === life && file.first > next) || (hint?.life === life && hint.border.next > next);
}

/** Damage was reported: a false alarm unless a redo file from `first` on is damaged or lost. */
export function isFalseAlarm({ truth }: World, first: number): boolean {
  return !truth.damaged.some((damaged) => damaged >= first);
}
