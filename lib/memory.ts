// A store in memory, for tests of programs that use Tidemark: gone when nobody holds it any more.

import { systemClock } from "./adapters/local/clock.ts";
import { cryptoRandom } from "./adapters/local/random.ts";
import { memoryCheckpointStore } from "./adapters/memory/checkpoint-store.ts";
import { memoryObjectStore } from "./adapters/memory/object-store.ts";
import { SILENT, type Store } from "./api/store.ts";
import type { Clock } from "./ports/clock.ts";
import type { Telemetry } from "./ports/telemetry.ts";

export interface MemoryOptions {
  /** The machine's by default. */
  readonly clock?: Clock;
  /** Is told what happens; nobody by default. */
  readonly telemetry?: Telemetry;
}

/** Every `open` gives the same content. */
export function memory({ clock = systemClock(), telemetry = SILENT }: MemoryOptions = {}): Store {
  const world = { objects: memoryObjectStore(), checkpoints: memoryCheckpointStore(), clock, random: cryptoRandom(), telemetry };
  return { open: async () => ({ world, close: async () => undefined }) };
}
