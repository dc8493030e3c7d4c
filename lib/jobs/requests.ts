// Captures that somebody asks for, and what became of them: one item for each request, told by the job that serves it.
// The items lapse by themselves (DynamoDB's time to live reads `expiresAt`).

import { requestItem } from "../checkpoint/items.ts";
import { callError } from "../model/errors.ts";
import { REQUEST_KEPT_MS } from "../model/limits.ts";
import { type ShardId, shardName } from "../model/names.ts";
import type { Attributes } from "../ports/checkpoint-store.ts";
import type { World } from "../ports/world.ts";
import { getShards } from "./tables.ts";

const REQUEST_DIGITS = 16;
const REQUEST = /^[0-9a-f]{16}$/;

/**
 * Puts a request on record: `pending` until a job begins with it. Whoever asked must see to that.
 * @throws {TidemarkError} `call` "unknown-table", "unknown-shard"
 */
export async function requestCapture(world: World, id: ShardId): Promise<{ readonly request: string }> {
  await getShards(world, id);
  const request = world.random.id(REQUEST_DIGITS);
  const nowMs = world.clock.now();
  // DynamoDB counts in seconds.
  const expiresAt = Math.ceil((nowMs + REQUEST_KEPT_MS) / 1_000);
  await world.checkpoints.write([
    { item: requestItem(id, request), when: [{ kind: "absent" }], put: { formatVersion: 1, state: "pending", askedAtMs: nowMs, expiresAt } },
  ]);
  return { request };
}

/**
 * What became of a request: its `state` is "pending", "running" or "done"; then `outcome` tells how it ended.
 * @throws {TidemarkError} `call` "unknown-request"
 */
export async function findRequest({ checkpoints }: World, id: ShardId, request: string): Promise<Attributes> {
  const item = REQUEST.test(request) ? await checkpoints.get(requestItem(id, request)) : undefined;
  if (item === undefined) {
    throw callError("unknown-request", `${shardName(id)} has no request ${JSON.stringify(request)}: it was never made, or it was a week ago`);
  }
  const { formatVersion: _, expiresAt: __, ...rest } = item.attributes;
  return rest;
}
