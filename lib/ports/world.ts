// All that a job is handed of the world. Mechanisms take the part they use.

import type { CheckpointStore } from "./checkpoint-store.ts";
import type { Clock } from "./clock.ts";
import type { ObjectStore } from "./object-store.ts";
import type { Random } from "./random.ts";
import type { Telemetry } from "./telemetry.ts";

/** What a job is handed that touches no object. */
export type ItemWorld = Pick<World, "checkpoints" | "clock" | "random">;

export interface World {
  readonly objects: ObjectStore;
  readonly checkpoints: CheckpointStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Telemetry;
}

/** What the tables are made with: items, and the object that pairs them with the store's objects. */
export type StoreWorld = ItemWorld & Pick<World, "objects">;
