// A schedule that breaks a promise is played again from what was decided, and cut down to what it takes.

import { describe, expect, test } from "vitest";
import { runSchedule, type ScheduleOptions, type ScheduleResult } from "./schedule.ts";
import { describeShrunk, shrink, smallest } from "./shrink.ts";

const SEEDS = 40;

test("what was decided, played again, logs the same steps", async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const once = await runSchedule(seed, { logged: true });
    const again = await runSchedule(seed, { logged: true, decisions: once.decisions });
    expect(again.log).toEqual(once.log);
    expect(again.counts).toEqual(once.counts);
  }
});

describe("shrinking", () => {
  test("leaves the items that it takes, and no others", async () => {
    const items = Array.from({ length: 100 }, (_, place) => place);
    const takes = (some: readonly number[], all: readonly number[]) => Promise.resolve(all.every((each) => some.includes(each)));
    expect(await smallest(items, (some) => takes(some, [7]))).toEqual([7]);
    expect(await smallest(items, (some) => takes(some, [3, 50, 51, 99]))).toEqual([3, 50, 51, 99]);
    expect(await smallest(items, (some) => takes(some, items))).toEqual(items);
    expect(await smallest(items, () => Promise.resolve(true))).toEqual([]);
  });

  test("cuts a schedule down to decisions that all are needed, and takes back faults that are not", async () => {
    const seed = await firstSeed(({ counts, decisions }) => hasResumed(counts) && decisions.length > 200);
    const { result, from, to } = await shrink(seed, { run: resumedIsBroken });
    expect(result.violation).toBe("BrokenPromise: I4: a capture was resumed");
    expect(to).toBeLessThan(from / 3);
    const { decisions } = result;
    expect(decisions).toHaveLength(to);
    for (const place of decisions.keys()) {
      expect((await resumedIsBroken(seed, { decisions: decisions.toSpliced(place, 1) })).violation).toBeUndefined();
    }
    for (const [place, { play, ...about }] of decisions.entries()) {
      if (play === undefined || play.how === "answered") continue;
      expect((await resumedIsBroken(seed, { decisions: decisions.with(place, { ...about, play: { ...play, how: "answered" } }) })).violation).toBeUndefined();
    }
  });

  test("plays no more schedules than it may, and tells how many it was", async () => {
    const seed = await firstSeed(({ counts }) => hasResumed(counts));
    const shrunk = await shrink(seed, { run: resumedIsBroken, runsMax: 3 });
    expect(shrunk.runs).toBe(3);
    expect(describeShrunk(shrunk)).toMatch(/^\d+ decisions cut down to \d+, in 3 schedules:\nseed /);
  });

  test("there is nothing to shrink where no promise is broken", async () => {
    await expect(shrink(1)).rejects.toThrow("seed 1 breaks no promise");
  });
});

/** As if nobody might go on with a capture. */
async function resumedIsBroken(seed: number, options: ScheduleOptions = {}): Promise<ScheduleResult> {
  const result = await runSchedule(seed, options);
  return hasResumed(result.counts) ? { ...result, violation: "BrokenPromise: I4: a capture was resumed" } : result;
}

function hasResumed(counts: ReadonlyMap<string, number>): boolean {
  return (counts.get("captures resumed") ?? 0) > 0;
}

async function firstSeed(isThat: (result: ScheduleResult) => boolean): Promise<number> {
  for (let seed = 1; ; seed++) if (isThat(await runSchedule(seed))) return seed;
}
