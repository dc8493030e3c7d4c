import { randomBytes, randomInt } from "node:crypto";
import { assert } from "../../model/assert.ts";
import type { Random } from "../../ports/random.ts";

const STEPS = 2 ** 47;

/** Chance from the operating system: ids differ between processes and machines. */
export function cryptoRandom(): Random {
  return {
    id(digits) {
      assert(digits >= 16, `an id has at least 16 digits, not ${digits}`);
      return randomBytes(Math.ceil(digits / 2))
        .toString("hex")
        .slice(0, digits);
    },
    fraction: () => randomInt(STEPS) / STEPS,
  };
}
