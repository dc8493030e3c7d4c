// Chance of a schedule: whatever is decided at a step, and whatever those who play draw there, has a stream of its own. So a step
// that is played without some of those before it draws the same, and a schedule can be cut down to what matters (shrink.ts).

import { seededRandom } from "../../lib/adapters/memory/random.ts";
import { assert } from "../../lib/model/assert.ts";
import type { Random } from "../../lib/ports/random.ts";

export interface Chance {
  /** What the scheduler draws. */
  readonly director: Random;
  /** What processes, and those who look at them, draw. */
  readonly players: Random;
  /** What is drawn from now on is the step's. */
  begin(step: number | "set-up" | "rest"): void;
  /** What the scheduler draws from now on is for this decision of the step. */
  decide(decision: Deciding): void;
}

const DECISIONS = ["beside", "choice", "fault", "hold", "stand"] as const;
export type Deciding = (typeof DECISIONS)[number];

const STREAMS = 8;
const STEPS_MAX = 4_096;

export function chanceOf(seed: number): Chance {
  let first = 0;
  let director = seededRandom(0);
  let players = director;
  return {
    director: drawing(() => director),
    players: drawing(() => players),
    begin(step) {
      const place = step === "set-up" ? 0 : step === "rest" ? STEPS_MAX - 1 : step + 1;
      assert(place < STEPS_MAX, `a schedule has fewer than ${STEPS_MAX} steps`);
      first = (seed * STEPS_MAX + place) * STREAMS;
      players = seededRandom(first);
    },
    decide(decision) {
      director = seededRandom(first + 1 + DECISIONS.indexOf(decision));
    },
  };
}

function drawing(current: () => Random): Random {
  return { id: (digits) => current().id(digits), fraction: () => current().fraction() };
}
