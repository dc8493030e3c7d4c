// Tidemark's rows divided by those of its peers that are comparable.

import { COMPARISONS, type Measure } from "./comparisons.ts";
import type { Row } from "./peer.ts";

export interface Ratio {
  readonly comparison: string;
  readonly ours: string;
  readonly peer: string;
  readonly theirs: string;
  /** Ours divided by theirs. */
  readonly ratios: Readonly<Partial<Record<Measure, number>>>;
}

export function ratiosOf(rows: readonly Row[], own: string): readonly Ratio[] {
  return Object.entries(COMPARISONS).flatMap(([comparison, measures]) => {
    const comparable = rows.filter((row) => row.comparisons?.some((name) => name === comparison));
    const ours = comparable.filter(({ peer }) => peer === own);
    const theirs = comparable.filter(({ peer }) => peer !== own);
    return ours.flatMap((our) =>
      theirs.map((their) => ({ comparison, ours: our.task, peer: their.peer, theirs: their.task, ratios: divide(our, their, measures) })),
    );
  });
}

/** What one of the two does not have, or has none of, has no ratio. */
function divide(our: Row, their: Row, measures: readonly Measure[]): Ratio["ratios"] {
  const pairs = measures.map((measure) => [measure, valueOf(our, measure), valueOf(their, measure)] as const);
  return Object.fromEntries(pairs.flatMap(([measure, a, b]) => (a === undefined || b === undefined || b === 0 ? [] : [[measure, a / b]])));
}

function valueOf(row: Row, measure: Measure): number | undefined {
  switch (measure) {
    case "seconds":
      return row.seconds;
    case "CPU s":
      return row.cpuSeconds;
    case "MB up":
      return row.up;
    case "MB down":
      return row.down;
    case "peak RSS":
      return row.process?.peakBytes;
    case "snapshot bytes":
      return row.snapshotBytes;
  }
}
