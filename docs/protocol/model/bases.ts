// Which generations a state can be rebuilt from, as lib/snapshot/choose.ts has it: those at or before the index that is wanted
// whose log is still kept, and one below the mark for its own index alone. Verified ones first, the newest first.

import { type Generation, type Row, sameName } from "./stored.ts";

export type Base = Row | "empty";

export function basesFor(
  rows: readonly Row[],
  {
    mark,
    upTo,
    life,
    damaged = [],
  }: { readonly mark: number; readonly upTo: number; readonly life: number; readonly damaged?: readonly Pick<Generation, "life" | "index" | "epoch">[] },
): readonly Base[] {
  const serving = rows
    .filter((row) => row.life === life && row.state === "kept" && row.index <= upTo && (row.border.next >= mark || row.index === upTo))
    .filter((row) => !damaged.some((name) => sameName(row, name)))
    .sort((a, b) => Number(b.verified) - Number(a.verified) || b.index - a.index);
  return mark === 1 ? [...serving, "empty"] : serving;
}
