// The embedded store: a directory and an SQLite file in it. No service, no account, any number of processes on one machine.

import { cryptoRandom } from "./adapters/local/random.ts";
import { systemClock } from "./adapters/local/clock.ts";
import { initLocalStore, openLocalStore } from "./adapters/local/store.ts";
import { SILENT, type Store } from "./api/store.ts";
import type { Telemetry } from "./ports/telemetry.ts";

export interface LocalOptions {
  /** Is made if it is not there. */
  readonly directory: string;
  /** Is told what happens; nobody by default. */
  readonly telemetry?: Telemetry;
}

/** `open` throws TidemarkError: `call` "not-a-store" for a directory that holds something else, `wait` "no-space" for a full disk. */
export function local({ directory, telemetry = SILENT }: LocalOptions): Store {
  return {
    async open() {
      await initLocalStore(directory);
      const { objects, checkpoints, close } = await openLocalStore(directory);
      return { world: { objects, checkpoints, clock: systemClock(), random: cryptoRandom(), telemetry }, close };
    },
  };
}
