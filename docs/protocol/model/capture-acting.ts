// What the steps of a capture, in whatever file, are made with.

import { basesFor } from "./bases.ts";
import type { Capture } from "./capture-state.ts";
import type { Row } from "./stored.ts";
import type { Setting, Step, World } from "./world.ts";

export interface Acting {
  readonly world: World;
  readonly me: Capture;
  readonly name: string;
  readonly setting: Setting;
  readonly step: (says: string, take: (next: World) => void) => Step;
  readonly to: (next: World, change: Partial<Capture>) => void;
  readonly end: (next: World) => void;
}

/** The generation that the capture rests on; undefined where it is the empty state. */
export function baseOf({ world, me }: Acting): Row | undefined {
  const [base] = basesFor(world.rows, { mark: me.mark, upTo: me.index, life: me.life, damaged: me.damaged });
  return base === "empty" ? undefined : base;
}
