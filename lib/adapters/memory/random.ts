// Chance that comes out the same for the same seed.

import { assert } from "../../model/assert.ts";
import type { Random } from "../../ports/random.ts";

const TWO_TO_32 = 2 ** 32;
const WARM_UP_ROUNDS = 12;

/** Chris Doty-Humphrey's sfc32 (PractRand), seeded with the low 53 bits of a whole number. */
export function seededRandom(seed: number): Random {
  assert(Number.isSafeInteger(seed), `a seed is a whole number, not ${seed}`);
  let a = seed >>> 0;
  let b = Math.floor(seed / TWO_TO_32) >>> 0;
  let c = 0;
  let counter = 1;

  function next(): number {
    const sum = (a + b + counter) >>> 0;
    counter = (counter + 1) >>> 0;
    a = (b ^ (b >>> 9)) >>> 0;
    b = (c + (c << 3)) >>> 0;
    c = (((c << 21) | (c >>> 11)) + sum) >>> 0;
    return sum;
  }
  for (let round = 0; round < WARM_UP_ROUNDS; round++) next();

  return {
    id(digits) {
      assert(digits >= 16, `an id has at least 16 digits, not ${digits}`);
      let id = "";
      while (id.length < digits) id += next().toString(16).padStart(8, "0");
      return id.slice(0, digits);
    },
    fraction: () => next() / TWO_TO_32,
  };
}
