// A recovered state as one snapshot: a Parquet file like those in the store, that any engine reads. Row groups that no change
// touches are taken from the base as they are, verified but not decoded; so it costs little more than to read it.

import { assert } from "../model/assert.ts";
import type { ValueCodec } from "../model/mutation.ts";
import type { ShardId } from "../model/names.ts";
import { ORIGIN, type Position, toIndex } from "../model/position.ts";
import type { SnapshotDescription } from "../model/snapshot.ts";
import type { Base } from "../snapshot/choose.ts";
import { carryOver, openDraft } from "../snapshot/draft.ts";
import { SNAPSHOT_SIZES } from "../snapshot/sizes.ts";
import { NO_BASE, splice } from "../snapshot/splice.ts";
import type { ShardState } from "../snapshot/state.ts";

export interface SnapshotFileRequest {
  readonly id: ShardId;
  readonly incarnation: string;
  readonly codec: ValueCodec;
}

/** The file's bytes from first to last. */
export async function* snapshotFile(state: ShardState, request: SnapshotFileRequest): AsyncGenerator<Buffer> {
  const { snapshot, changes } = state;
  const draft = await openDraft(undefined, snapshot);
  for await (const piece of splice({ base: snapshot ?? NO_BASE, changes, full: false, sizes: SNAPSHOT_SIZES })) {
    if (piece.kind === "fresh") {
      yield* draft.fresh(piece.group);
      continue;
    }
    assert(snapshot !== undefined, "what is carried over has a base");
    const { from, to } = piece;
    await carryOver(draft, snapshot, piece);
    yield* draft.takeHead();
    yield* snapshot.bytesOfGroups(from, to);
  }
  yield* draft.takeHead();
  // All of it was just verified.
  yield* draft.assembly.finish(describe(state, request), [...draft.carried]).tail;
}

function describe(
  { index, timeMs, border, position, sessions, base, snapshot }: ShardState,
  { id, incarnation, codec }: SnapshotFileRequest,
): SnapshotDescription {
  return {
    table: id.table,
    shard: id.shard,
    incarnation,
    codec,
    index,
    position: position ?? positionOf(base),
    // A state inside of a redo file has no border: no log goes on behind the file then.
    border: border ?? { next: toIndex(index + 1), digest: ORIGIN.digest, timeMs },
    ...(base.kind === "generation" && { base: base.row.key }),
    sessions: sessions.list(),
    forgottenThrough: sessions.forgottenThrough,
    splices: snapshot === undefined ? 0 : snapshot.description.splices + 1,
  };
}

function positionOf(base: Base): Position {
  return base.kind === "generation" ? base.row.position : { redoFile: ORIGIN.next, batchOffset: 0 };
}
