// What a run of the planner tells of each table: sums and the worst, never a list of shards.

import { outlookOf } from "../planner/outlook.ts";
import type { PlannedShard } from "./plan.ts";

export interface TableTally {
  readonly dirty: number;
  readonly due: number;
  /** How long the due shard that waits longest has been due, in ms; absent where none is. */
  readonly lagMs?: number;
  /** What the recovery of the dirty shard that would take longest is expected to take, in ms. */
  readonly recoveryMs: number;
  /** Bytes stored for each byte appended, over the lives of the dirty shards; absent where nothing is known of them. */
  readonly writeAmplification?: number;
}

export interface Tally {
  add(shard: PlannedShard): void;
  report(): { readonly dirty: number; readonly due: number; readonly tables: ReadonlyMap<string, TableTally> };
}

interface Sums {
  dirty: number;
  due: number;
  lagMs: number;
  recoveryMs: number;
  storedBytes: number;
  rawBytes: number;
}

export function tally(nowMs: number): Tally {
  const tables = new Map<string, Sums>();
  return {
    add({ id, table, hint, qualification }) {
      const sums = tables.get(id.table) ?? { dirty: 0, due: 0, lagMs: 0, recoveryMs: 0, storedBytes: 0, rawBytes: 0 };
      tables.set(id.table, sums);
      sums.dirty += 1;
      sums.recoveryMs = Math.max(sums.recoveryMs, outlookOf({ id, hint }, table).recovery.expectedMs);
      sums.storedBytes += hint.log.bytes + hint.sentBytes;
      sums.rawBytes += hint.log.rawBytes;
      if (qualification.kind !== "qualifies") return;
      sums.due += 1;
      sums.lagMs = Math.max(sums.lagMs, nowMs - (hint.dueSinceMs ?? nowMs));
    },
    report() {
      const all = [...tables.values()];
      return {
        dirty: all.reduce((sum, { dirty }) => sum + dirty, 0),
        due: all.reduce((sum, { due }) => sum + due, 0),
        tables: new Map([...tables].map(([name, sums]) => [name, tallyOf(sums)])),
      };
    },
  };
}

function tallyOf({ dirty, due, lagMs, recoveryMs, storedBytes, rawBytes }: Sums): TableTally {
  return { dirty, due, ...(due > 0 && { lagMs }), recoveryMs, ...(rawBytes > 0 && { writeAmplification: storedBytes / rawBytes }) };
}
