// Captures that somebody asks for, and what became of them: one item for each request, told by the job that serves it.
// The items lapse by themselves (DynamoDB's time to live reads `expiresAt`).

import { requestItem } from "../checkpoint/items.ts";
import { callError } from "../model/errors.ts";
import { groupsOf } from "../model/groups.ts";
import { CONTROL_ATTEMPTS_MAX, REQUEST_KEPT_MS } from "../model/limits.ts";
import { type ShardId, shardName } from "../model/names.ts";
import type { Attributes } from "../ports/checkpoint-store.ts";
import type { ItemWorld } from "../ports/world.ts";
import { getShards } from "./tables.ts";

const REQUEST_DIGITS = 16;
const REQUEST = /^[0-9a-f]{16}$/;

/** Items written side by side. */
const TOGETHER_MAX = 25;

export interface CaptureRequest {
  readonly id: ShardId;
  readonly request: string;
}

/**
 * Puts a request for a shard on record: `pending` until a job begins with it. Whoever asked must see to that.
 * @throws {TidemarkError} `call` "unknown-table", "unknown-shard"
 */
export async function requestCapture(world: ItemWorld, id: ShardId): Promise<CaptureRequest> {
  await getShards(world, id);
  return recordRequest(world, id);
}

/** The same for each of several shards that are known to be there. */
export async function requestCaptures(world: ItemWorld, ids: readonly ShardId[]): Promise<readonly CaptureRequest[]> {
  const requests: CaptureRequest[] = [];
  for (const some of groupsOf(ids, TOGETHER_MAX)) requests.push(...(await Promise.all(some.map((id) => recordRequest(world, id)))));
  return requests;
}

async function recordRequest({ checkpoints, clock, random }: ItemWorld, id: ShardId): Promise<CaptureRequest> {
  const request = random.id(REQUEST_DIGITS);
  const nowMs = clock.now();
  // DynamoDB counts in seconds.
  const expiresAt = Math.ceil((nowMs + REQUEST_KEPT_MS) / 1_000);
  await checkpoints.write([{ item: requestItem(id, request), when: [], put: { formatVersion: 1, state: "pending", askedAtMs: nowMs, expiresAt } }]);
  return { id, request };
}

/**
 * Writes how far the job is that serves a request. One that has completed stays so: a message that is delivered again finds
 * nothing to do, or that others were quicker.
 */
export async function tellRequest({ checkpoints }: ItemWorld, { id, request }: CaptureRequest, set: Attributes): Promise<void> {
  const item = requestItem(id, request);
  // Of an attempt that failed before.
  const remove = ["outcome", "error"].filter((name) => !(name in set));
  for (let attempt = 0; attempt < CONTROL_ATTEMPTS_MAX; attempt++) {
    const attributes = (await checkpoints.get(item))?.attributes;
    if (attributes === undefined || (attributes.state === "done" && attributes.outcome === "completed")) return;
    const { kind } = await checkpoints.write([{ item, when: [{ kind: "eq", attribute: "state", value: String(attributes.state) }], set, remove }]);
    if (kind === "written") return;
  }
}

/**
 * What became of a request: its `state` is "pending", "running" or "done"; then `outcome` tells how it ended.
 * @throws {TidemarkError} `call` "unknown-request"
 */
export async function findRequest({ checkpoints }: ItemWorld, id: ShardId, request: string): Promise<Attributes> {
  const item = REQUEST.test(request) ? await checkpoints.get(requestItem(id, request)) : undefined;
  if (item === undefined) {
    throw callError("unknown-request", `${shardName(id)} has no request ${JSON.stringify(request)}: it was never made, or it was a week ago`);
  }
  const { formatVersion: _, expiresAt: __, ...rest } = item.attributes;
  return rest;
}
