// What a run of the planner would do now, shard by shard, and why; nothing is asked for, and nothing written. For people: it
// holds a table's dirty shards, which the planner itself never does.

import type { ShardId } from "../model/names.ts";
import type { Table } from "../model/table.ts";
import { type Outlook, outlookOf } from "../planner/outlook.ts";
import type { Qualification } from "../planner/qualify.ts";
import { isUnderWay, turns } from "../planner/turns.ts";
import type { ItemWorld } from "../ports/world.ts";
import { plan, type PlannedShard } from "./plan.ts";

/**
 * `goes`: its capture would be asked for now. `asked`: it was, and has not come yet. `held`: it is due, but enough captures
 * of the table are under way. `waits`: it is not due.
 */
export type Decision = "goes" | "asked" | "held" | "waits";

export interface ExplainedShard {
  readonly id: ShardId;
  readonly table: Table;
  readonly decision: Decision;
  readonly qualification: Qualification;
  readonly outlook: Outlook;
  /** Bytes of the newest snapshot, if that is known: about what a capture writes. */
  readonly snapshotBytes?: number;
  /** When the newest snapshot was captured, or the shard was opened. */
  readonly capturedAtMs: number;
  readonly askedAtMs?: number;
  /** Whether a capture has measured how fast the shard is read, and replayed. */
  readonly measured: { readonly read: boolean; readonly replay: boolean };
}

/** The dirty shards of all tables, or of one. */
export async function explainPlan(world: ItemWorld, { table }: { readonly table?: string }): Promise<readonly ExplainedShard[]> {
  const nowMs = world.clock.now();
  const shards: PlannedShard[] = [];
  for await (const shard of plan(world, table === undefined ? {} : { table })) shards.push(shard);
  const going = new Set(
    Map.groupBy(shards, ({ id }) => id.table)
      .values()
      .flatMap((some) => goingOf(some, nowMs)),
  );
  return shards.map((shard) => explained(shard, decisionOf(shard, going, nowMs)));
}

function goingOf(shards: readonly PlannedShard[], nowMs: number): readonly PlannedShard[] {
  const queue = turns<PlannedShard>(shards[0].table.capturesTogetherMax);
  for (const shard of shards) {
    if (shard.qualification.kind !== "qualifies") continue;
    if (isUnderWay(shard.hint, nowMs)) queue.underWay();
    else queue.offer(shard);
  }
  return queue.end().go;
}

function decisionOf(shard: PlannedShard, going: ReadonlySet<PlannedShard>, nowMs: number): Decision {
  if (shard.qualification.kind !== "qualifies") return "waits";
  if (isUnderWay(shard.hint, nowMs)) return "asked";
  return going.has(shard) ? "goes" : "held";
}

function explained({ id, table, hint, qualification }: PlannedShard, decision: Decision): ExplainedShard {
  const { snapshotBytes, capturedAtMs, askedAtMs, rates } = hint;
  return {
    id,
    table,
    decision,
    qualification,
    outlook: outlookOf({ id, hint }, table),
    ...(snapshotBytes !== undefined && { snapshotBytes }),
    capturedAtMs,
    ...(askedAtMs !== undefined && { askedAtMs }),
    measured: { read: rates.readPerSecond !== undefined, replay: rates.replayPerSecond !== undefined || rates.fileMicros !== undefined },
  };
}
