// How long is fuzzed, and what must hold of every door, whatever comes: an answer or a refusal that the door documents, soon,
// and in bounded memory.
//
// A run of the tests takes the same cases each time. For longer ones: FUZZ_SECONDS for each property, with a seed of the
// moment, or FUZZ_SEED. A failure prints its seed and path.

import fc from "fast-check";
import { expect } from "vitest";
import { isTidemarkError, type FaultKind } from "../../lib/model/errors.ts";

const SECONDS = Number(process.env.FUZZ_SECONDS ?? 0);
const SEED = Number(process.env.FUZZ_SEED ?? (SECONDS > 0 ? Date.now() % 2 ** 31 : 1));
/** One input is not worth more time, on a slow machine under load. */
const CASE_MS_MAX = 5_000;
const MIB = 1024 * 1024;

/** A test's time, with room for a failure to shrink. */
export const FUZZING = { timeout: SECONDS * 1_000 + 240_000 };

let cases = 0;

/** How many inputs were tried since the last call. */
export function casesTried(): number {
  const tried = cases;
  cases = 0;
  return tried;
}

/** @param runs in a usual run; ten thousand times as many, within the time, in a longer one */
export function fuzz<Input>(arbitrary: fc.Arbitrary<Input>, runs: number, holds: (input: Input) => Promise<void> | void): Promise<void> {
  const property = fc.asyncProperty(arbitrary, async (input) => {
    cases++;
    await holds(input);
  });
  const longer = SECONDS > 0 && { interruptAfterTimeLimit: SECONDS * 1_000, markInterruptAsFailure: false };
  return fc.assert(property, { seed: SEED, numRuns: SECONDS > 0 ? runs * 10_000 : runs, ...longer });
}

export interface DoorOptions {
  /** Kinds of TidemarkError that the door refuses with. */
  readonly refuses?: readonly FaultKind[];
  /** Classes of errors that it refuses with instead, within the core. */
  readonly throws?: readonly (new (
    ...words: never[]
  ) => Error)[];
  /** What all messages of its refusals name. */
  readonly names?: string;
  /** Bytes outside of the heap that it may take beyond what it had. */
  readonly bytesMax?: number;
}

/** What comes of an input at a door: its answer, or nothing where it was refused as documented. */
export async function atDoor<Answer>(work: () => Answer | Promise<Answer>, options: DoorOptions): Promise<{ readonly answer: Answer } | undefined> {
  const { refuses = [], throws = [], names, bytesMax = 64 * MIB } = options;
  const before = process.memoryUsage().arrayBuffers;
  const startedAt = performance.now();
  try {
    return { answer: await work() };
  } catch (error) {
    const isKnown = (isTidemarkError(error) && refuses.includes(error.kind)) || throws.some((one) => error instanceof one);
    if (!isKnown) throw error;
    if (names !== undefined) expect((error as Error).message).toContain(names);
    return undefined;
  } finally {
    expect(performance.now() - startedAt, "milliseconds").toBeLessThan(CASE_MS_MAX);
    expect(process.memoryUsage().arrayBuffers - before, "bytes").toBeLessThan(bytesMax);
  }
}
