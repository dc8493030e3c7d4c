// Where tables live, as a program names it: local(), memory() and aws() make one, openTable opens it.

import type { Telemetry } from "../ports/telemetry.ts";
import type { World } from "../ports/world.ts";

export interface Store {
  /** Opens it once more; each is closed by itself. */
  open(): Promise<OpenStore>;
}

export interface OpenStore {
  /** What jobs are handed. */
  readonly world: World;
  close(): Promise<void>;
}

/** Tells nobody. */
export const SILENT: Telemetry = { report: () => undefined };
