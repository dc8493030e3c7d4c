// Opens what is backed up under a name: the newest generation, or an earlier one. What is opened is held until it is closed,
// so that cleanup leaves its attachments alone.

import { attachmentReader, readAttachment } from "../../attachments/read.ts";
import { readControl, readHistory } from "../../checkpoint/control.ts";
import { getTable } from "../../jobs/tables.ts";
import { callError, TidemarkError } from "../../model/errors.ts";
import { PIN_TTL_MS } from "../../model/limits.ts";
import { incarnationPrefix, type ShardId } from "../../model/names.ts";
import { type Index, ORIGIN, toIndex } from "../../model/position.ts";
import { keyOfRow, releaseRows } from "../../model/rows.ts";
import type { World } from "../../ports/world.ts";
import { recover, type ShardView } from "../../recovery/recover.ts";
import { type Attached, type Backup, backupReader, EMPTY_BACKUP, type GenerationRecord, type KeptGeneration } from "./records.ts";

/** A generation by its number, or the newest at a time (ms since 1970). */
export type GenerationAt = { readonly generation: number } | { readonly timeMs: number };

export interface OpenBackup extends Backup {
  readonly id: ShardId;
  readonly generation: GenerationRecord;
  /** The bytes of an attachment, in pieces; the last only comes if the whole has the SHA-256. */
  read(file: Attached): AsyncGenerator<Buffer>;
  /** Reads some bytes of an attachment at a time, held against no SHA-256: read it whole before. */
  reader(file: Attached): (offset: number, length: number) => Promise<Buffer>;
  /** Holds the generation for longer, as reading it does: for who is busy elsewhere for long. */
  keep(): Promise<void>;
  close(): Promise<void>;
}

export function idOf(name: string): ShardId {
  return { table: name, shard: 0 };
}

/** @throws {TidemarkError} `call` "unknown-table", "other-source" */
export async function checkSource(world: World, name: string): Promise<void> {
  const { source } = await getTable(world, name);
  if (source !== "influxdb") throw callError("other-source", `table ${name} holds no backups of InfluxDB: choose another name`);
}

/** The records of the newest state, and the lowest index whose state can be brought back. */
export async function readNewest(world: World, name: string): Promise<{ readonly backup: Backup; readonly oldestIndex: Index }> {
  const view = await recover(world, { id: idOf(name), codec: "json" });
  const backup = view.index === 0 ? EMPTY_BACKUP : await readRecords(name, view);
  await view.close();
  return { backup, oldestIndex: await oldestIndex(world, idOf(name)) };
}

/** The generations that can be brought back, oldest first. */
export async function listGenerations(world: World, name: string): Promise<readonly KeptGeneration[]> {
  await checkSource(world, name);
  const { backup, oldestIndex: oldest } = await readNewest(world, name);
  return [...backup.generations.values()].filter(({ index }) => index >= oldest);
}

/** @throws {TidemarkError} `call` "unknown-table", "no-backup", "unknown-generation" */
export async function openBackup(world: World, name: string, at?: GenerationAt): Promise<OpenBackup> {
  const generations = await listGenerations(world, name);
  const chosen = choose(name, generations, at);
  const id = idOf(name);
  const view = await recover(world, { id, codec: "json", at: { index: chosen.index }, pinned: true });
  try {
    const control = await readControl(world.checkpoints, id);
    if (control === undefined) throw callError("unknown-table", `table ${name} was deleted meanwhile`);
    const prefix = incarnationPrefix(id, control.incarnation);
    const backup = await readRecords(name, view);
    const keep = holding(world, view);
    const objects: Objects = {
      async getRange(key, range) {
        await keep();
        return world.objects.getRange(key, range);
      },
    };
    return {
      ...backup,
      id,
      generation: chosen,
      read: (file) => readAttachment({ objects }, `${prefix}${file.object}`, file),
      reader: (file) => attachmentReader({ objects }, `${prefix}${file.object}`, file),
      keep,
      close: () => view.close(),
    };
  } catch (error) {
    await view.close();
    throw error;
  }
}

/** @throws {TidemarkError} `repair` where it is missing or damaged */
export async function readMetastore({ metastore, read, id }: OpenBackup): Promise<Buffer> {
  if (metastore === undefined)
    throw new TidemarkError("repair", "missing-record", `${id.table} has no record of a metastore`, { object: `${id.table} metastore` });
  const chunks: Buffer[] = [];
  for await (const chunk of read(metastore)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function choose(name: string, generations: readonly KeptGeneration[], at: GenerationAt | undefined) {
  const newest = generations.at(-1);
  if (newest === undefined) throw callError("no-backup", `${name} has no backup yet: "tidemark influxdb backup HOST:PORT ${name}" makes one`);
  if (at === undefined) return newest;
  const found = generations.findLast((one) => ("generation" in at ? one.generation === at.generation : Date.parse(one.startedAt) <= at.timeMs));
  if (found !== undefined) return found;
  const asked = "generation" in at ? `generation ${at.generation}` : `generation of ${new Date(at.timeMs).toISOString()} or before`;
  throw callError(
    "unknown-generation",
    `${name} keeps no ${asked}: it has ${generations[0].generation} to ${newest.generation}, the oldest of ${generations[0].startedAt}; "tidemark influxdb list ${name}" shows them`,
  );
}

async function readRecords(name: string, view: ShardView): Promise<Backup> {
  const reader = backupReader(name);
  for await (const rows of view.rows()) {
    for (let row = 0; row < rows.count; row++) {
      const value = rows.values.subarray(row === 0 ? 0 : rows.valueEnds[row - 1], rows.valueEnds[row]);
      reader.add(keyOfRow(rows, row), value, toIndex(rows.indexes[row]));
    }
    releaseRows(rows);
  }
  return reader.backup();
}

/** Everything is kept while the log is; else from the oldest kept generation of the table on. */
async function oldestIndex({ checkpoints }: World, id: ShardId): Promise<Index> {
  const control = await readControl(checkpoints, id);
  if (control === undefined || control.lowWater <= ORIGIN.next) return toIndex(0);
  const kept = (await readHistory(checkpoints, id)).filter(({ state, border }) => state === "kept" && border.next >= control.lowWater);
  return kept.reduce((low, { index }) => (index < low ? index : low), control.checkpoint?.index ?? toIndex(0));
}

type Objects = Pick<World["objects"], "getRange">;

/** Holds the generation anew where that is due: a restore may take longer than a pin does. */
function holding({ clock }: World, view: ShardView): () => Promise<void> {
  let renewAtMs = clock.now() + PIN_TTL_MS / 3;
  return async () => {
    if (clock.now() < renewAtMs) return;
    renewAtMs = clock.now() + PIN_TTL_MS / 3;
    await view.keep();
  };
}
