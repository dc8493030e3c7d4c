// The session table at a writer's belief, for batches so old that their producer may have been forgotten (rule 11). Read
// from the newest sound generation's footer and the heads of the redo files behind it; no record is read.

import { readControl, readHistory } from "../checkpoint/control.ts";
import { isTidemarkError, TidemarkError } from "../model/errors.ts";
import type { ShardId } from "../model/names.ts";
import { type Index, toIndex } from "../model/position.ts";
import { Sessions } from "../model/sessions.ts";
import type { CheckpointStore } from "../ports/checkpoint-store.ts";
import type { ObjectStore } from "../ports/object-store.ts";
import { type Life, readHead } from "../redo-log/read.ts";
import { findTail, type TailDeps } from "../redo-log/tail.ts";
import { baseBorder, basesFor } from "../snapshot/choose.ts";
import { type GenerationRow, openGeneration } from "../snapshot/generation.ts";

export interface SessionDeps {
  readonly objects: Pick<ObjectStore, "getRange" | "head">;
  readonly checkpoints: Pick<CheckpointStore, "get" | "query">;
}

/**
 * The sequence of the producer's last batch that applied, so that a source can go on behind it; absent for a producer
 * that the shard does not know.
 */
export async function lastSequence(deps: SessionDeps & TailDeps, id: ShardId, producer: string, nowMs: number): Promise<bigint | undefined> {
  if ((await readControl(deps.checkpoints, id)) === undefined) return undefined;
  const { incarnation, border } = await findTail(deps, id, nowMs);
  const sessions = await sessionsAt(deps, { id, incarnation }, border.next);
  return sessions.list().find((session) => session.producer === producer)?.sequence;
}

/** The session table before the mutation `next`. */
export async function sessionsAt(deps: SessionDeps, life: Life, next: Index): Promise<Sessions> {
  const control = await readControl(deps.checkpoints, life.id);
  const rows = control === undefined ? [] : await readHistory(deps.checkpoints, life.id);
  const bases = control?.incarnation === life.incarnation ? basesFor(control, rows, { index: toIndex(next - 1) }) : [];
  for (const base of bases) {
    const sessions = await sessionsFrom(deps, life, base.kind === "generation" ? base.row : undefined);
    if (sessions === undefined) continue;
    let border = baseBorder(base);
    while (border.next < next) {
      const step = await readHead(deps, life, border);
      if (step.kind !== "found")
        throw new TidemarkError("retry", "contended", `the log of ${life.id.table}/${life.id.shard} was cleaned while its sessions were read: append again`);
      let at = border.next - 1;
      for (const { count, mark } of step.file.batches) {
        at += count;
        if (mark !== undefined) sessions.apply(mark, toIndex(at));
      }
      border = step.border;
    }
    return sessions;
  }
  throw new TidemarkError("retry", "contended", `the sessions of ${life.id.table}/${life.id.shard} cannot be read now: append again`);
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
