// Which shards are to be captured now (pure). A capture costs by the state, not by what changed, so it is due when the log
// has grown to a share of the snapshot, or when replaying it would take too long; and at the latest by the table's limits
// of mutations and time. Nothing is due of a shard of which a capture holds everything.

import type { TailHint } from "../model/control.ts";
import type { ShardId } from "../model/names.ts";
import { type CapturePolicy, outlookOf } from "./outlook.ts";

/** `mutations` and `interval` are the table's limits, `log` is the share of the snapshot, `recovery` the wanted time of one. */
export type DueBy = "mutations" | "log" | "recovery" | "interval";

/** `qualifies` with the limit that was reached, the first in the order of `DueBy`; `waits` with what waits and until when at the latest; `idle` where a capture holds everything. */
export type Qualification =
  | { readonly kind: "qualifies"; readonly by: DueBy; readonly mutations: number }
  | { readonly kind: "waits"; readonly mutations: number; readonly dueAtMs: number }
  | { readonly kind: "idle" };

export function qualify(shard: { readonly id: ShardId; readonly hint: TailHint }, policy: CapturePolicy, nowMs: number): Qualification {
  const { mutations, log, logDueBytes, recovery, dueAtMs } = outlookOf(shard, policy);
  if (mutations === 0) return { kind: "idle" };
  if (mutations >= policy.captureAfterMutations) return { kind: "qualifies", by: "mutations", mutations };
  if (log.bytes >= (logDueBytes ?? Number.POSITIVE_INFINITY)) return { kind: "qualifies", by: "log", mutations };
  if (recovery.expectedMs > recovery.dueMs) return { kind: "qualifies", by: "recovery", mutations };
  return nowMs >= dueAtMs ? { kind: "qualifies", by: "interval", mutations } : { kind: "waits", mutations, dueAtMs };
}
