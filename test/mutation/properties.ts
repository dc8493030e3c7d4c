// fast-check, for runner.ts: few runs of each property, always the same, and no shrinking of what is found.

import * as real from "fast-check";

const SEED = 20_261_126;

let runsMax = 100;

/** From now on a property has at most so many runs. */
export function limitRuns(most: number): void {
  runsMax = most;
}

function few<Parameters extends { numRuns?: number; seed?: number }>(given: Parameters | undefined): Parameters {
  return { seed: SEED, endOnFailure: true, ...given, numRuns: Math.min(given?.numRuns ?? runsMax, runsMax) } as unknown as Parameters;
}

const capped: typeof real.default = {
  ...real.default,
  assert: ((property: never, given: never) => real.assert(property, few(given))) as typeof real.assert,
};

// biome-ignore lint/style/noDefaultExport: it stands for the package, whose export is the default one
export default capped;
