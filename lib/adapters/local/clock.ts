import type { Clock } from "../../ports/clock.ts";

// setTimeout fires at once for a longer wait.
const TIMEOUT_MS_MAX = 2 ** 31 - 1;

/** The clock of the machine. */
export function systemClock(): Clock {
  return {
    now: () => Date.now(),

    sleep(ms, signal) {
      if (signal?.aborted) return Promise.resolve();
      const { promise, resolve } = Promise.withResolvers<void>();
      const wake = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      const timer = setTimeout(wake, Math.min(Math.max(ms, 0), TIMEOUT_MS_MAX));
      signal?.addEventListener("abort", wake);
      return promise;
    },
  };
}
