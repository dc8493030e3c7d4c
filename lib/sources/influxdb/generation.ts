// One more generation of a backup: what is told of it, and how it becomes the newest.

import { storedBytes } from "../../attachments/attach.ts";
import { openWriter } from "../../jobs/append.ts";
import { callError } from "../../model/errors.ts";
import { attachmentReference, type ShardId } from "../../model/names.ts";
import type { Index } from "../../model/position.ts";
import type { World } from "../../ports/world.ts";
import type { Life } from "../../redo-log/read.ts";
import { recover } from "../../recovery/recover.ts";
import { lastSequence } from "../../recovery/sessions.ts";
import { readNewest } from "./open-backup.ts";
import { type Backup, digestOf, type GenerationRecord, generationKey, mutationsBetween, parseGeneration, PRODUCER, totalsOf } from "./records.ts";

export interface GenerationAbout extends Pick<GenerationRecord, "generation" | "job" | "server" | "selection" | "range" | "changedShards" | "failed"> {
  /** Whether it was to rest on no earlier generation; the first never does. */
  readonly isFull: boolean;
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
}

/**
 * The number of the next generation, and the newest state. In this order: where another commits in between, the number is taken,
 * and whoever commits under it changes nothing.
 */
export async function nextGeneration(world: World, id: ShardId): Promise<{ readonly generation: number; readonly head: Backup; readonly oldestIndex: Index }> {
  const generation = Number((await lastSequence(world, id, PRODUCER, world.clock.now())) ?? 0n) + 1;
  const { backup: head, oldestIndex } = await readNewest(world, id.table);
  return { generation, head, oldestIndex };
}

/** The record of the generation that makes the state `head` into `next`. */
export function generationRecord(head: Backup, next: Backup, about: GenerationAbout): GenerationRecord {
  const { isFull, startedAtMs, finishedAtMs, failed, ...rest } = about;
  const parent = [...head.generations.values()].at(-1);
  // Counted by what refers to attachments of this generation: what an earlier attempt of it stored is among them.
  const stored = [...next.shards.values()].flatMap(({ files }) => files).filter(({ object }) => object.startsWith(attachmentReference(about.generation, "")));
  return {
    ...rest,
    failed,
    kind: isFull || parent === undefined ? "full" : "incremental",
    ...(parent && { parent: { generation: parent.generation, digest: parent.digest } }),
    startedAt: new Date(startedAtMs).toISOString(),
    finishedAt: new Date(finishedAtMs).toISOString(),
    databases: [...new Set([...next.shards.values()].map(({ database }) => database))].sort(),
    shards: next.shards.size,
    ...totalsOf(next),
    storedFiles: stored.length,
    storedBytes: stored.reduce((sum, file) => sum + storedBytes(file), 0),
    outcome: failed.length === 0 ? "complete" : "partial",
    digest: digestOf(next),
  };
}

/**
 * Appends it as one batch to the life of the table that its attachments were stored for, with its number as the sequence: of two
 * with one number the first applies, and the other changes nothing (I3). False where another one's came first.
 */
export async function commitGeneration(
  world: World,
  { id, incarnation }: Life,
  about: { readonly head: Backup; readonly next: Backup; readonly record: GenerationRecord; readonly oldestIndex: Index },
): Promise<boolean> {
  const { head, next, record } = about;
  const mutations = mutationsBetween(head, next, { generation: record, oldestIndex: about.oldestIndex });
  const writer = openWriter(world, { id, codec: "json", incarnation });
  try {
    const outcome = await writer.append({ mutations, mark: { producer: PRODUCER, sequence: BigInt(record.generation) } });
    if (outcome.kind !== "appended") throw callError("deleted-table", `table ${id.table} was deleted or made anew meanwhile: begin again`);
  } finally {
    await writer.close();
  }
  const view = await recover(world, { id, codec: "json" });
  const entry = await view.get(Buffer.from(generationKey(record.generation)));
  await view.close();
  return entry !== undefined && parseGeneration(entry.value, id.table).job === record.job;
}
