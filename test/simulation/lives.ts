// Which life of a shard a writer's batches are meant for: that of the claim they were first part of, since they were handed in.

import { controlItem, parseControl } from "../../lib/checkpoint/items.ts";
import type { Batch } from "../../lib/model/mutation.ts";
import type { ShardId } from "../../lib/model/names.ts";
import type { CheckpointStore } from "../../lib/ports/checkpoint-store.ts";
import type { ObjectStore } from "../../lib/ports/object-store.ts";
import type { World } from "../../lib/ports/world.ts";
import { decodeRedoFile } from "../../lib/redo-log/codec.ts";
import type { TrueLog } from "./truth.ts";

/** Lives that a writer has had to do with. */
export interface SeenLives {
  /** Incarnation in which each batch was first claimed since it was last handed in, by its mark. */
  readonly claimed: Map<string, string>;
  /** The one of its first acknowledgement: from then on all is meant for that. */
  acknowledged?: string;
  /** The one that a control item told it of last. */
  last?: { readonly incarnation: string; readonly log: TrueLog };
}

/** The writer's world, and what it sees there of lives. */
export function watchedLives(world: World, id: ShardId, log: () => TrueLog): { readonly world: World; readonly seen: SeenLives } {
  const seen: SeenLives = { claimed: new Map() };
  const { sort, partition } = controlItem(id);
  const get: CheckpointStore["get"] = async (key) => {
    const item = await world.checkpoints.get(key);
    if (item !== undefined && key.sort === sort && key.partition === partition) seen.last = { incarnation: parseControl(item).incarnation, log: log() };
    return item;
  };
  const createIfAbsent: ObjectStore["createIfAbsent"] = (key, body) => {
    for (const { mark } of decodeRedoFile(Buffer.from(body), key).header.batches) {
      if (mark !== undefined && !seen.claimed.has(markText(mark))) seen.claimed.set(markText(mark), incarnationIn(key));
    }
    return world.objects.createIfAbsent(key, body);
  };
  return { world: { ...world, checkpoints: { ...world.checkpoints, get }, objects: { ...world.objects, createIfAbsent } }, seen };
}

/** From now on a batch with the mark may be meant for another life. */
export function handsIn({ claimed }: SeenLives, { mark }: Batch): void {
  if (mark !== undefined) claimed.delete(markText(mark));
}

/** Whether a batch that was acknowledged just now is in the life that it is meant for. */
export function isMeantForIt(seen: SeenLives, { mark }: Batch): boolean {
  const meant = seen.acknowledged ?? (mark && seen.claimed.get(markText(mark)));
  if (seen.last === undefined || (meant !== undefined && seen.last.incarnation !== meant)) return false;
  seen.acknowledged = seen.last.incarnation;
  return true;
}

function markText({ producer, sequence }: NonNullable<Batch["mark"]>): string {
  return `${producer} ${sequence}`;
}

function incarnationIn(key: string): string {
  return key.split("/")[2];
}
