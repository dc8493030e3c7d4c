// What a snapshot says of itself, apart from its bytes: a function of base, target and encoder version alone, so that
// two workers on one upload write the same (rule 15). The codec is lib/snapshot/parquet/, the bytes docs/format.md.

import type { ValueCodec } from "./mutation.ts";
import type { Border, Index, Position } from "./position.ts";
import type { Session } from "./sessions.ts";

export interface SnapshotDescription {
  readonly table: string;
  readonly shard: number;
  readonly incarnation: string;
  readonly codec: ValueCodec;
  /** The state is exactly that after mutations 1…index (I5). */
  readonly index: Index;
  /** The last batch folded; always its redo file's last. */
  readonly position: Position;
  /** Where the log goes on. */
  readonly border: Border;
  /** Key of the snapshot it was made from; absent for the first. */
  readonly base?: string;
  readonly sessions: readonly Session[];
  readonly forgottenThrough: Index;
  /** Generations since the last one of which every row group was encoded: 0 for such a one. */
  readonly splices: number;
}
