// Which shards are to be captured now (pure). Mutations are counted from indexes, one per record, and by subtraction, so
// that those which arrive during a capture stay counted.

import type { TailHint } from "../model/control.ts";
import type { TablePolicy } from "../model/table.ts";

/** `qualifies` with the limit that was reached; `waits` with what waits; `idle` where a capture holds everything. */
export type Qualification =
  | { readonly kind: "qualifies"; readonly by: "mutations" | "interval"; readonly mutations: number }
  | { readonly kind: "waits"; readonly mutations: number; readonly dueAtMs: number }
  | { readonly kind: "idle" };

export function qualify(
  { border, capturedNext, capturedAtMs }: TailHint,
  policy: Pick<TablePolicy, "captureAfterMutations" | "captureAfterMs">,
  nowMs: number,
): Qualification {
  const mutations = border.next - capturedNext;
  if (mutations <= 0) return { kind: "idle" };
  if (mutations >= policy.captureAfterMutations) return { kind: "qualifies", by: "mutations", mutations };
  const dueAtMs = capturedAtMs + policy.captureAfterMs;
  return nowMs >= dueAtMs ? { kind: "qualifies", by: "interval", mutations } : { kind: "waits", mutations, dueAtMs };
}
