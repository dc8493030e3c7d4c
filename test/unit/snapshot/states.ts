// States for tests, loaded as captures and recoveries load them.

import { readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { rowsCollector } from "../../../lib/machines/keyed/collect.ts";
import { pour } from "../../../lib/snapshot/pour.ts";
import { loadState, type ShardState, type StateOutcome, type StateRequest } from "../../../lib/snapshot/state.ts";
import { id, listed, type MemoryWorld } from "../jobs/world.ts";

/** So little that a fold has one key. */
export const ONE_KEY = 1;

export async function outcomeOf(world: MemoryWorld, request: Partial<StateRequest> = {}): Promise<StateOutcome> {
  const control = await readControl(world.checkpoints, id);
  if (control === undefined) throw new Error("the shard was written");
  const life = { id, incarnation: control.incarnation };
  return loadState(world, { life, codec: "json", control, rows: await readHistory(world.checkpoints, id), ...request });
}

export async function load(world: MemoryWorld, request: Partial<StateRequest> = {}): Promise<ShardState> {
  const outcome = await outcomeOf(world, request);
  if (outcome.kind !== "loaded") throw new Error(`the state is ${outcome.kind}`);
  return outcome.state;
}

export async function rowsOf(state: ShardState, after?: string): Promise<readonly string[]> {
  const collector = rowsCollector();
  const content: string[] = [];
  for await (const _ of pour(state, collector, after === undefined ? undefined : Buffer.from(after))) content.push(...listed(collector.take()));
  return [...content, ...listed(collector.take())];
}
