// What the changes of items tell the world (docs/http.md): one event for each commit, made of the item before and after it.
// Pure: whoever reads the changes sends the events, at least once for each. The id is the same for the same commit, so
// that a consumer knows a repetition again.

import { HISTORY_SORT, parseControl, parseHistoryRow, shardOfItem } from "../checkpoint/items.ts";
import { type ShardId, shardName } from "../model/names.ts";
import type { Attributes, ItemKey } from "../ports/checkpoint-store.ts";

/** An item before and after one change; absent where it was not, or is no more. */
export interface ItemHistory {
  readonly key: ItemKey;
  readonly before?: Attributes;
  readonly after?: Attributes;
}

export interface PipelineEvent {
  readonly type: "SnapshotCompleted" | "SnapshotExpired" | "SnapshotFailed" | "RedoLogExpired";
  /** Times are texts as in ISO 8601. */
  readonly detail: Readonly<Record<string, string | number | boolean>> & { readonly id: string; readonly table: string; readonly shard: number };
}

/** An event's own words are short; what a failure says may not be. */
const ERROR_LENGTH_MAX = 1_000;

/** @throws {TidemarkError} `repair` or `call` for an item that cannot be read */
export function eventsOf(change: ItemHistory): readonly PipelineEvent[] {
  const { key } = change;
  if (!key.partition.startsWith("shard#")) return [];
  const id = shardOfItem(key);
  if (key.sort.startsWith(HISTORY_SORT)) return snapshotEvents(id, change);
  if (key.sort === "control") return redoLogEvents(id, change);
  return key.sort === "job#snapshot" ? failureEvents(id, change) : [];
}

/** A generation's row comes with its checkpoint's commit, and goes with its object. */
function snapshotEvents(id: ShardId, { key, before, after }: ItemHistory): readonly PipelineEvent[] {
  if (before === undefined && after !== undefined) {
    const row = parseHistoryRow({ key, attributes: after });
    return [
      {
        type: "SnapshotCompleted",
        detail: {
          id: `completed:${row.key}`,
          ...id,
          index: row.index,
          epoch: row.epoch,
          redoFile: row.position.redoFile,
          batchOffset: row.position.batchOffset,
          key: row.key,
          bytes: row.size,
          rows: row.rows,
          mutations: row.mutations,
          capturedAt: timeText(row.capturedAtMs),
        },
      },
    ];
  }
  if (before === undefined || after !== undefined) return [];
  const row = parseHistoryRow({ key, attributes: before });
  const detail = { id: `expired:${row.key}`, ...id, index: row.index, epoch: row.epoch, key: row.key, bytes: row.size, capturedAt: timeText(row.capturedAtMs) };
  return [{ type: "SnapshotExpired", detail }];
}

/** Of one life of the shard: another one's mark counts other mutations. */
function redoLogEvents(id: ShardId, { key, before, after }: ItemHistory): readonly PipelineEvent[] {
  if (before === undefined || after === undefined) return [];
  const from = parseControl({ key, attributes: before });
  const to = parseControl({ key, attributes: after });
  if (from.incarnation !== to.incarnation || to.lowWater <= from.lowWater) return [];
  const detail = { id: `redo-log-expired:${shardName(id)}/${to.incarnation}/${to.lowWater}`, ...id, from: from.lowWater, to: to.lowWater };
  return [{ type: "RedoLogExpired", detail }];
}

function failureEvents(id: ShardId, { before, after }: ItemHistory): readonly PipelineEvent[] {
  if (after?.outcome !== "failed" || before?.outcome === "failed") return [];
  const startedAtMs = Number(after.startedAtMs);
  const stage = String(after.stage);
  const detail = {
    id: `failed:${shardName(id)}/${startedAtMs}/${stage}`,
    ...id,
    stage,
    error: String(after.error).slice(0, ERROR_LENGTH_MAX),
    startedAt: timeText(startedAtMs),
    durationMs: Number(after.durationMs),
  };
  return [{ type: "SnapshotFailed", detail }];
}

function timeText(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
