// At what stage a kill met a function, by what it left.

import { readControl, readHistory } from "../../../../lib/checkpoint/control.ts";
import { listObjects, listUploads } from "../../../../lib/cleanup/sweep.ts";
import type { Control, HistoryRow } from "../../../../lib/model/control.ts";
import { incarnationPrefix, parseObjectName, type ShardId } from "../../../../lib/model/names.ts";
import type { World } from "../../../../lib/ports/world.ts";

export interface Sight {
  readonly control: Control | undefined;
  readonly rows: readonly HistoryRow[];
  /** Keys of the open uploads. */
  readonly uploads: readonly string[];
  /** Parts that are noted of the capture on record. */
  readonly parts: number;
  /** Redo files below the mark. */
  readonly freed: number;
}

export async function lookAt({ checkpoints, objects }: World, id: ShardId): Promise<Sight> {
  const control = await readControl(checkpoints, id);
  const rows = await readHistory(checkpoints, id);
  const { items } = await checkpoints.query({ partition: `shard#${id.table}/${id.shard}`, sortPrefix: "part#" });
  const below = `${id.table}/${id.shard}/`;
  const uploads = (await listUploads(objects, below)).map(({ key }) => key);
  const prefix = incarnationPrefix(id, control?.incarnation ?? "");
  const names = (await listObjects(objects, below)).map(({ key }) => parseObjectName(key.slice(prefix.length)));
  const freed = names.filter((name) => name.kind === "redo" && name.first < (control?.lowWater ?? 0)).length;
  return { control, rows, uploads, parts: control?.capture === undefined ? 0 : items.length, freed };
}

export function captureStage({ control: before }: Sight, { control, uploads, parts }: Sight): string {
  if (control === undefined || control.epoch === before?.epoch) return "before its lease";
  if (control.checkpoint?.key !== before?.checkpoint?.key) return "committed, not answered";
  const { capture } = control;
  if (capture === undefined) return uploads.length > 0 ? "upload open, not recorded" : "under its lease";
  if (!uploads.includes(capture.key)) return "upload completed, not committed";
  return parts > 0 ? "upload open, parts stored" : "upload open, no part stored";
}

export function cleanupStage(before: Sight, after: Sight): string {
  if (after.freed > 0 || after.rows.some(({ state }) => state === "deleting")) return "mark raised, not all deleted";
  return after.control?.lowWater === before.control?.lowWater ? "before its mark, or nothing to do" : "all deleted, not answered";
}
