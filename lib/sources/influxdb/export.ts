// Writes a generation to a folder: in InfluxDB's portable format, which `influxd restore -portable` takes, or as its data folder,
// on which a stopped server starts. The folder appears whole, under its name, or not at all.

import { randomUUID } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, readdir, rename, rm, rmdir, stat, utimes, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { callError, TidemarkError } from "../../model/errors.ts";
import { shardName } from "../../model/names.ts";
import type { World } from "../../ports/world.ts";
import { isFolderName, parseMeta } from "./meta.ts";
import { type GenerationAt, type OpenBackup, openBackup, readMetastore } from "./open-backup.ts";
import { type PreparedFile, prepareFiles } from "./prepared-files.ts";
import type { GenerationRecord, ShardRecord } from "./records.ts";
import { archiveBytes, shardArchive } from "./shard-archive.ts";

export interface ExportRequest {
  readonly name: string;
  readonly directory: string;
  readonly format: "portable" | "data";
  readonly at?: GenerationAt;
  readonly signal?: AbortSignal;
}

export interface ExportReport {
  readonly generation: GenerationRecord;
  readonly directory: string;
  readonly shards: number;
  readonly files: number;
  readonly bytes: number;
}

/** @throws {TidemarkError} `call` "bad-directory" where the folder is there and not empty; `repair` where the backup is damaged */
export async function exportBackup(world: World, request: ExportRequest): Promise<ExportReport> {
  const directory = resolve(request.directory);
  await refuseFilled(directory);
  const backup = await openBackup(world, request.name, request.at);
  const work = join(dirname(directory), `.${basename(directory)}.${randomUUID()}.tmp`);
  try {
    // Passwords' hashes may be in it.
    await mkdir(work, { recursive: true, mode: 0o700 });
    const written = await writeAs(request.format)(world, { backup, directory: work, signal: request.signal });
    await rmdir(directory).catch(ignoreAbsent);
    await rename(work, directory);
    return { generation: backup.generation, directory, ...written };
  } finally {
    await rm(work, { recursive: true, force: true });
    await backup.close();
  }
}

async function refuseFilled(directory: string): Promise<void> {
  const found = await stat(directory).catch(ignoreAbsent);
  if (found === undefined) return;
  if (!found.isDirectory()) throw callError("bad-directory", `${directory} is no folder: name one that is not there, or empty`);
  if ((await readdir(directory)).length > 0) throw callError("bad-directory", `${directory} is not empty: name a folder that is not there, or empty`);
}

function ignoreAbsent(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT") return undefined;
  throw error;
}

interface Writing {
  readonly backup: OpenBackup;
  readonly directory: string;
  readonly signal: AbortSignal | undefined;
}

type Written = Pick<ExportReport, "shards" | "files" | "bytes">;

function writeAs(format: ExportRequest["format"]): (world: World, writing: Writing) => Promise<Written> {
  switch (format) {
    case "portable":
      return writePortable;
    case "data":
      return writeData;
  }
}

/** Rows that were deleted are left out of the files: `influxd restore` takes no tombstones. */
async function writePortable(world: World, { backup, directory, signal }: Writing): Promise<Written> {
  const meta = await readMetastore(backup);
  const stamp = backup.generation.startedAt.replace(/[-:]|\.[0-9]+/g, "");
  const metaFile = new BinaryWriter().tag(1, WireType.LengthDelimited).bytes(meta).tag(2, WireType.Varint).uint64(parseMeta(meta).maxNodeId).finish();
  await writeFile(join(directory, `${stamp}.meta`), metaFile, { mode: 0o600 });
  const files: object[] = [];
  const tally = tallyOf(world, backup);
  for (const record of backup.shards.values()) {
    const prepared = await prepareFiles(backup, record, { tombstones: "applied" });
    const { database, policy, shard } = record;
    const folder = `${database}/${policy}/${shard}`;
    const fileName = `${stamp}.s${shard}.tar.gz`;
    await pipeline(
      streamOf(shardArchive(folder, prepared)),
      createGzip({ level: 1 }),
      createWriteStream(join(directory, fileName), { mode: 0o600 }),
      aborting(signal),
    );
    files.push({ database, policy, shardID: shard, fileName, size: archiveBytes(folder, prepared), lastModified: 0 });
    tally.add(record, prepared);
  }
  // Last, as the official client does it: a folder without it is no backup.
  const manifest = { meta: { fileName: `${stamp}.meta`, size: metaFile.length }, limited: false, files };
  await writeFile(join(directory, `${stamp}.manifest`), JSON.stringify(manifest), { mode: 0o600 });
  return tally.written();
}

/** `meta/meta.db` and `data/DATABASE/POLICY/SHARD/`: a server makes everything else anew. */
async function writeData(world: World, { backup, directory, signal }: Writing): Promise<Written> {
  await mkdir(join(directory, "meta"));
  await mkdir(join(directory, "data"));
  await writeFile(join(directory, "meta", "meta.db"), await readMetastore(backup), { mode: 0o600 });
  const tally = tallyOf(world, backup);
  for (const record of backup.shards.values()) {
    for (const name of [record.database, record.policy]) checkFolderName(name);
    const folder = join(directory, "data", record.database, record.policy, String(record.shard));
    await mkdir(folder, { recursive: true });
    const prepared = await prepareFiles(backup, record, { tombstones: "kept" });
    for (const file of prepared) {
      const path = join(folder, file.name);
      await pipeline(streamOf(file.chunks()), createWriteStream(path), aborting(signal));
      await utimes(path, file.modifiedS, file.modifiedS);
    }
    tally.add(record, prepared);
  }
  return tally.written();
}

/** A stream asks for the next piece before it is done with the one before, whose memory is freed by then: so each is copied. */
function streamOf(pieces: AsyncIterable<Buffer>): Readable {
  return Readable.from(copies(pieces));
}

async function* copies(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const piece of pieces) yield Buffer.from(piece);
}

function aborting(signal: AbortSignal | undefined): { readonly signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

/** Names become folders: a server refuses such ones, a metastore from elsewhere may have them. */
function checkFolderName(name: string): void {
  if (!isFolderName(name)) {
    throw new TidemarkError("call", "bad-name", `${JSON.stringify(name)} cannot be the name of a folder: export in the portable format instead`);
  }
}

function tallyOf(world: World, backup: OpenBackup): { add(record: ShardRecord, files: readonly PreparedFile[]): void; written(): Written } {
  let [shards, files, bytes] = [0, 0, 0];
  return {
    add({ database, policy, shard }, prepared) {
      shards += 1;
      files += prepared.length;
      bytes += prepared.reduce((sum, file) => sum + file.bytes, 0);
      const what = `shard ${shard} of ${database}/${policy}`;
      world.telemetry.report({ kind: "gathered", shard: shardName(backup.id), what, done: shards, total: backup.shards.size, bytes });
    },
    written: () => ({ shards, files, bytes }),
  };
}
