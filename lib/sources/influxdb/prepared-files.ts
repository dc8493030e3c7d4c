// The files of a backed-up shard as they go out again: to a server, which takes no tombstones, so that a file with one is written
// anew without the rows that were deleted from it; or to a folder, where tombstones stay beside their files.

import type { OpenBackup } from "./open-backup.ts";
import type { FileRecord, ShardRecord } from "./records.ts";
import { withoutDeleted } from "./tsm/rewrite.ts";
import { sha256Of } from "./sha256.ts";
import type { TimeRange } from "./tsm/ranges.ts";
import { checkTombstoneSize, parseTombstones, type Tombstones } from "./tsm/tombstone.ts";

export interface PreparedFile {
  readonly name: string;
  readonly bytes: number;
  readonly modifiedS: number;
  /** Whether rows that were deleted from it are left out. */
  readonly isRewritten: boolean;
  /** May be called again. */
  chunks(): AsyncGenerator<Buffer>;
  sha256(): Promise<string>;
}

/**
 * By name, in order. With `tombstones` "applied" there are none among them, and files of which nothing is left are not there either; with `keep`
 * all points go that are not within.
 * @throws {TidemarkError} `repair` where a file is damaged
 */
export async function prepareFiles(
  backup: Pick<OpenBackup, "read" | "reader">,
  { shard, files }: ShardRecord,
  { tombstones, keep }: { readonly tombstones: "applied" | "kept"; readonly keep?: TimeRange },
): Promise<readonly PreparedFile[]> {
  if (tombstones === "kept") return files.map((file) => asStored(backup, file));
  const prepared: PreparedFile[] = [];
  for (const file of files.filter(({ name }) => name.endsWith(".tsm"))) {
    const tombstone = files.find(({ name }) => name === file.name.replace(/\.tsm$/, ".tombstone"));
    const made = tombstone === undefined && keep === undefined ? asStored(backup, file) : await rewritten(backup, { shard, file, tombstone, keep });
    if (made !== undefined) prepared.push(made);
  }
  return prepared;
}

function asStored(backup: Pick<OpenBackup, "read">, file: FileRecord): PreparedFile {
  const { name, bytes, modifiedS } = file;
  return { name, bytes, modifiedS, isRewritten: false, chunks: () => backup.read(file), sha256: async () => file.sha256 };
}

interface Rewriting {
  readonly shard: number;
  readonly file: FileRecord;
  readonly tombstone: FileRecord | undefined;
  readonly keep: TimeRange | undefined;
}

async function rewritten(backup: Pick<OpenBackup, "read" | "reader">, { shard, file, tombstone, keep }: Rewriting): Promise<PreparedFile | undefined> {
  // All of the file is held against its SHA-256 once; what is read of it by places is not.
  for await (const _ of backup.read(file));
  const source = { name: `${shard}/${file.name}`, size: file.bytes, read: backup.reader(file) };
  const deletions = tombstone === undefined ? undefined : await deletionsIn(backup, { shard, tombstone });
  const result = await withoutDeleted(source, { ...(deletions && { tombstones: deletions }), ...(keep && { keep }) });
  switch (result.kind) {
    case "unchanged":
      return asStored(backup, file);
    case "empty":
      return undefined;
    case "rewritten":
      return {
        name: file.name,
        bytes: result.byteLength,
        modifiedS: Math.max(file.modifiedS, tombstone?.modifiedS ?? 0),
        isRewritten: true,
        chunks: () => result.bytes(),
        sha256: () => sha256Of(result.bytes()),
      };
  }
}

async function deletionsIn(
  backup: Pick<OpenBackup, "read">,
  { shard, tombstone }: { readonly shard: number; readonly tombstone: FileRecord },
): Promise<Tombstones> {
  const name = `${shard}/${tombstone.name}`;
  // Before it is held in memory.
  checkTombstoneSize(name, tombstone.bytes);
  const deleted: Buffer[] = [];
  for await (const chunk of backup.read(tombstone)) deleted.push(chunk);
  return parseTombstones(name, Buffer.concat(deleted));
}
