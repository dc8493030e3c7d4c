// A generation's snapshot, opened by its history row. Items have no checksum: so what the row says is held against the
// verified footer of the snapshot that it names, before anything is built on either (I8).

import type { HistoryRow } from "../model/control.ts";
import { damagedObject } from "../model/errors.ts";
import { incarnationPrefix, shardName } from "../model/names.ts";
import type { SnapshotDescription } from "../model/snapshot.ts";
import type { Life } from "../redo-log/read.ts";
import { openSnapshot, type OpenSnapshotOutcome, type ReadSnapshotDeps } from "./read.ts";

export type GenerationRow = Pick<HistoryRow, "index" | "position" | "border" | "key" | "size" | "footerSha256" | "footerBytes">;

/** @throws {TidemarkError} `repair` that names the snapshot, where it is damaged, or is not what its row says; and as `openSnapshot` does */
export async function openGeneration(deps: ReadSnapshotDeps, life: Life, row: GenerationRow): Promise<OpenSnapshotOutcome> {
  const { key, size, footerSha256, footerBytes } = row;
  if (!key.startsWith(incarnationPrefix(life.id, life.incarnation))) throw damagedObject(key, `its history row is one of incarnation ${life.incarnation}`);
  const opened = await openSnapshot(deps, { key, size, footerSha256, footerBytes });
  if (opened.kind === "absent") return opened;
  const wrong = differenceOf(life, row, opened.snapshot.description);
  if (wrong !== undefined) throw damagedObject(key, `its footer and its history row differ: ${wrong}`);
  return opened;
}

function differenceOf({ id, incarnation }: Life, row: GenerationRow, footer: SnapshotDescription): string | undefined {
  const pairs: readonly (readonly [what: string, footer: string | number, row: string | number])[] = [
    ["the shard", shardName(footer), shardName(id)],
    ["the incarnation", footer.incarnation, incarnation],
    ["the index", footer.index, row.index],
    ["the redo file of its position", footer.position.redoFile, row.position.redoFile],
    ["the batch of its position", footer.position.batchOffset, row.position.batchOffset],
    ["where the log goes on", footer.border.next, row.border.next],
    ["the chain digest", footer.border.digest, row.border.digest],
    ["the time", footer.border.timeMs, row.border.timeMs],
  ];
  const wrong = pairs.find(([, one, other]) => one !== other);
  return wrong && `${wrong[0]} is ${wrong[1]} in the one, ${wrong[2]} in the other`;
}
