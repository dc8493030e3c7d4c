// Makes a store ready, or pairs it anew where its object was lost: what an operator does by hand.

import { pairStore } from "../checkpoint/pairing.ts";
import type { StoreWorld } from "../ports/world.ts";

/** @throws {TidemarkError} `call` "foreign-store" */
export async function pair(world: StoreWorld): Promise<void> {
  await pairStore(world);
}
