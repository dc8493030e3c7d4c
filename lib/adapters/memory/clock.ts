// A clock that stands still until it is moved.

import { assert } from "../../model/assert.ts";
import type { Clock } from "../../ports/clock.ts";

export interface ManualClock extends Clock {
  /** Moves on by `ms`, and wakes in order of their times all who slept until then. */
  advance(ms: number): void;
  /** Moves to a time; back as well, as a clock that is corrected does. Wakes all who slept until then or earlier. */
  set(nowMs: number): void;
  /** When the next sleeper wakes; absent when nobody sleeps. */
  readonly nextWakeMs: number | undefined;
}

interface Sleeper {
  readonly wakeMs: number;
  readonly wake: () => void;
}

/** `startMs`: the first time it tells, in milliseconds since 1970; default 0. */
export function manualClock(startMs = 0): ManualClock {
  let nowMs = startMs;
  // In order of waking; of those that wake together, the one that slept first comes first.
  let sleepers: readonly Sleeper[] = [];

  function set(ms: number): void {
    assert(Number.isSafeInteger(ms) && ms >= 0, `a time is a whole number of milliseconds since 1970, not ${ms}`);
    nowMs = ms;
    const due = sleepers.filter(({ wakeMs }) => wakeMs <= nowMs);
    sleepers = sleepers.filter(({ wakeMs }) => wakeMs > nowMs);
    for (const { wake } of due) wake();
  }

  return {
    now: () => nowMs,
    set,
    advance: (ms) => set(nowMs + ms),

    get nextWakeMs() {
      return sleepers[0]?.wakeMs;
    },

    sleep(ms, signal) {
      if (ms <= 0 || signal?.aborted) return Promise.resolve();
      const { promise, resolve } = Promise.withResolvers<void>();
      const wake = (): void => {
        signal?.removeEventListener("abort", stop);
        resolve();
      };
      const sleeper: Sleeper = { wakeMs: nowMs + ms, wake };
      const stop = (): void => {
        sleepers = sleepers.filter((other) => other !== sleeper);
        wake();
      };
      signal?.addEventListener("abort", stop);
      sleepers = [...sleepers, sleeper].sort((a, b) => a.wakeMs - b.wakeMs);
      return promise;
    },
  };
}
