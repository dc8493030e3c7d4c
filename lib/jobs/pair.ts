// Makes a store ready, or pairs it anew where its object was lost: what an operator does by hand. And looks whether it is one,
// before a deployment goes on.

import { checkPaired, pairStore } from "../checkpoint/pairing.ts";
import type { StoreWorld } from "../ports/world.ts";

/** @throws {TidemarkError} `call` "foreign-store" */
export async function pair(world: StoreWorld): Promise<void> {
  await pairStore(world);
}

/** @throws {TidemarkError} `call` "foreign-store", "unpaired-store" */
export async function checkPair(world: StoreWorld): Promise<void> {
  await checkPaired(world);
}
