// The session table at a writer's belief, for batches so old that their producer may have been forgotten (rule 11). Read
// from the newest sound generation's footer and the heads of the redo files behind it; no record is read.

import { readControl, readHistory } from "../checkpoint/control.ts";
import { isTidemarkError, TidemarkError } from "../model/errors.ts";
import { type ShardId, shardName } from "../model/names.ts";
import { type Border, toIndex } from "../model/position.ts";
import { Sessions } from "../model/sessions.ts";
import type { CheckpointStore } from "../ports/checkpoint-store.ts";
import type { ObjectStore } from "../ports/object-store.ts";
import { type Life, readHead, settle } from "../redo-log/read.ts";
import { findTail, type TailDeps } from "../redo-log/tail.ts";
import { baseBorder, basesFor } from "../snapshot/choose.ts";
import { type GenerationRow, openGeneration } from "../snapshot/generation.ts";

export interface SessionDeps {
  readonly objects: Pick<ObjectStore, "get" | "getRange" | "head" | "list">;
  readonly checkpoints: Pick<CheckpointStore, "get" | "query">;
}

/**
 * The sequence of the producer's last batch that applied, so that a source can go on behind it; absent for a producer
 * that the shard does not know.
 */
export async function lastSequence(deps: SessionDeps & TailDeps, id: ShardId, producer: string, nowMs: number): Promise<bigint | undefined> {
  if ((await readControl(deps.checkpoints, id)) === undefined) return undefined;
  const { incarnation, border } = await findTail(deps, id, nowMs);
  const sessions = await sessionsAt(deps, { id, incarnation }, border);
  if (sessions === undefined) throw new TidemarkError("retry", "contended", `the log of ${shardName(id)} was cleaned while its sessions were read: try again`);
  return sessions.list().find((session) => session.producer === producer)?.sequence;
}

/**
 * The session table at a border of the log; nothing where the log that can be read now does not come to that very border: the
 * belief in it is outdated, or cleanup passed.
 * @throws {TidemarkError} `repair` where a redo file on the way is damaged
 */
export async function sessionsAt(deps: SessionDeps, life: Life, wanted: Border): Promise<Sessions | undefined> {
  const control = await readControl(deps.checkpoints, life.id);
  const rows = control === undefined ? [] : await readHistory(deps.checkpoints, life.id);
  const bases = control?.incarnation === life.incarnation ? basesFor(control, rows, { index: toIndex(wanted.next - 1) }) : [];
  for (const base of bases) {
    const sessions = await sessionsFrom(deps, life, base.kind === "generation" ? base.row : undefined);
    if (sessions === undefined) continue;
    const from = baseBorder(base);
    let border = from;
    while (border.next < wanted.next) {
      const step = await readHead(deps, life, border);
      if (step.kind !== "found") {
        await settle(deps, life, { step, from: from.next, border });
        return undefined;
      }
      let at = border.next - 1;
      for (const { count, mark } of step.file.batches) {
        at += count;
        if (mark !== undefined) sessions.apply(mark, toIndex(at));
      }
      border = step.border;
    }
    // The digests are a chain: one that ends otherwise is another log, with a ghost in it.
    return border.digest === wanted.digest ? sessions : undefined;
  }
  return undefined;
}

async function sessionsFrom({ objects }: SessionDeps, life: Life, row: GenerationRow | undefined): Promise<Sessions | undefined> {
  if (row === undefined) return new Sessions();
  try {
    const opened = await openGeneration({ store: objects }, life, row);
    if (opened.kind === "absent") return undefined;
    return new Sessions(opened.snapshot.description.sessions, opened.snapshot.description.forgottenThrough);
  } catch (error) {
    if (isTidemarkError(error) && error.kind === "repair") return undefined;
    throw error;
  }
}
