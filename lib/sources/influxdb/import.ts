// Reads an official portable backup in: each manifest of the folder, in the order of its time, becomes a generation; one made with
// -since adds to the one before. The official format has no checksums, and its client takes a cut stream for a whole one: so each
// archive counts only with its end, and with the size that the manifest tells.

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createGunzip } from "node:zlib";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { z } from "zod";
import { openShard } from "../../checkpoint/control.ts";
import { callError, isTidemarkError, messageOf, TidemarkError } from "../../model/errors.ts";
import { incarnationPrefix, shardName } from "../../model/names.ts";
import type { World } from "../../ports/world.ts";
import type { Life } from "../../redo-log/read.ts";
import { ensureSource } from "./backup.ts";
import { fileOfEntry, parseFileName } from "./file-names.ts";
import { commitGeneration, generationRecord, nextGeneration } from "./generation.ts";
import { type Metastore, parseMeta, type PlacedShard, shardsOf } from "./meta.ts";
import { idOf, readNewest } from "./open-backup.ts";
import { type Backup, type FileRecord, type GenerationRecord, recordOf, type ShardRecord, shardRecord } from "./records.ts";
import { storeFile, storeMetastore } from "./store.ts";
import { tarEntries } from "./tar.ts";

const MANIFESTS_MAX = 10_000;
const MANIFEST_BYTES_MAX = 64 * 1024 * 1024;

const fileName = z.string().regex(/^[A-Za-z0-9._-]{1,200}$/, "it is no plain file name");
const MANIFEST = z.object({
  meta: z.object({ fileName, size: z.int().nonnegative() }),
  files: z
    .array(z.object({ database: z.string(), policy: z.string(), shardID: z.int().positive(), fileName, size: z.int().nonnegative() }))
    .nullable()
    .transform((files) => files ?? []),
});

type Manifest = z.output<typeof MANIFEST> & { readonly stamp: string };

export interface ImportRequest {
  readonly name: string;
  readonly directory: string;
  readonly signal?: AbortSignal;
}

export interface ImportReport {
  readonly generations: readonly GenerationRecord[];
  /** Manifests that an earlier import had read in already. */
  readonly found: number;
}

/** @throws {TidemarkError} `call` "bad-backup" for a folder that is no whole portable backup, "not-empty" where NAME has others */
export async function importBackup(world: World, { name, directory, signal }: ImportRequest): Promise<ImportReport> {
  const folder = resolve(directory);
  const manifests = await readManifests(folder);
  await ensureSource(world, name);
  const id = idOf(name);
  const { incarnation } = await openShard(world, id, world.clock.now());
  const jobs = manifests.map(jobOf);
  const before = [...(await readNewest(world, name)).backup.generations.values()];
  const foreign = before.find(({ job }) => !jobs.includes(job));
  if (foreign !== undefined) throw callError("not-empty", `${name} has backups of ${foreign.server} already: import into another name`);
  const generations: GenerationRecord[] = [];
  // Those before the last that was read in were too, though their generations may be let go: read again they would undo it.
  const found = manifests.findLastIndex((manifest) => before.some(({ job }) => job === jobOf(manifest))) + 1;
  for (const manifest of manifests.slice(found)) {
    if (signal?.aborted === true) throw new TidemarkError("retry", "interrupted", "interrupted: the same import goes on where this one was stopped");
    generations.push(await importManifest(world, { id, incarnation, folder, manifest, prefix: incarnationPrefix(id, incarnation) }));
  }
  return { generations, found };
}

function jobOf({ stamp, meta, files }: Manifest): string {
  const digest = createHash("sha256")
    .update(JSON.stringify([stamp, meta, files]))
    .digest("hex");
  return `import-${stamp}-${digest.slice(0, 16)}`;
}

async function readManifests(folder: string): Promise<readonly Manifest[]> {
  const names = (await readdir(folder).catch((error: unknown) => refuse(folder, messageOf(error)))).filter((name) => name.endsWith(".manifest")).sort();
  if (names.length === 0) refuse(folder, `it has no *.manifest: "influxd backup -portable" makes one`);
  if (names.length > MANIFESTS_MAX) refuse(folder, `it has ${names.length} manifests`);
  const manifests: Manifest[] = [];
  for (const name of names) {
    const bytes = await readFile(join(folder, name));
    if (bytes.length > MANIFEST_BYTES_MAX) refuse(join(folder, name), `it has ${bytes.length} bytes`);
    const parsed = MANIFEST.safeParse(jsonOf(bytes, join(folder, name)));
    if (!parsed.success) refuse(join(folder, name), `${parsed.error.issues[0].path.join(".")}: ${parsed.error.issues[0].message}`);
    else manifests.push({ ...parsed.data, stamp: name.replace(/\.manifest$/, "").replace(/[^A-Za-z0-9]/g, "-") });
  }
  return manifests;
}

function jsonOf(bytes: Buffer, place: string): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    return refuse(place, "it is no JSON");
  }
}

interface Importing extends Life {
  readonly folder: string;
  readonly manifest: Manifest;
  readonly prefix: string;
}

async function importManifest(world: World, about: Importing): Promise<GenerationRecord> {
  const { id, folder, manifest } = about;
  const startedAtMs = world.clock.now();
  const { generation, head, oldestIndex } = await nextGeneration(world, id);
  const meta = await readMeta(join(folder, manifest.meta.fileName));
  const parsed = parseMeta(meta);
  const placed = new Map(shardsOf(parsed).map((shard) => [shard.shard, shard]));
  const shards = new Map([...placed.values()].flatMap((one) => recordOf(head, one) ?? []).map((record) => [record.shard, record]));
  let bytes = 0;
  for (const [place, file] of manifest.files.entries()) {
    if (isDeleted(parsed, file)) continue;
    const known = placed.get(file.shardID);
    const path = join(folder, file.fileName);
    if (known === undefined || known.database !== file.database || known.policy !== file.policy) {
      refuse(path, `the metastore beside it has no shard ${file.shardID} of ${file.database}/${file.policy}`);
    }
    const found = await readArchive(world, { ...about, generation, path, size: file.size, placed: known });
    const record = joined(shards.get(file.shardID), found, { placed: known, generation, atMs: world.clock.now() });
    shards.set(file.shardID, record);
    bytes += file.size;
    world.telemetry.report({ kind: "gathered", shard: shardName(id), what: file.fileName, done: place + 1, total: manifest.files.length, bytes });
  }
  const metastore = await storeMetastore(world, { ...about, generation }, { meta, users: "kept" });
  const next: Backup = {
    metastore,
    shards: new Map([...shards].sort(([a], [b]) => a - b)),
    generations: head.generations,
  };
  const record = generationRecord(head, next, {
    generation,
    isFull: false,
    job: jobOf(manifest),
    server: `import of ${manifest.stamp}`,
    startedAtMs,
    finishedAtMs: world.clock.now(),
    selection: {},
    changedShards: manifest.files.length,
    failed: [],
  });
  if (!(await commitGeneration(world, about, { head, next, record, oldestIndex }))) {
    throw new TidemarkError("retry", "contended", `another job has made generation ${generation} of ${id.table} meanwhile: import again`);
  }
  return record;
}

/** A server that is just deleting a shard still hands it out, while its metastore says already that it is gone. */
function isDeleted({ databases }: Metastore, { database, policy, shardID }: Manifest["files"][number]): boolean {
  const groups = databases.filter(({ name }) => name === database).flatMap(({ policies }) => policies.filter(({ name }) => name === policy));
  return groups.flatMap((one) => one.groups).some((group) => group.isDeleted && group.shards.includes(shardID));
}

/** The files of an increment beside those before; what the increment has compacted, and what has the same name, goes. */
function joined(
  before: ShardRecord | undefined,
  found: readonly FileRecord[],
  { placed, generation, atMs }: { readonly placed: PlacedShard; readonly generation: number; readonly atMs: number },
): ShardRecord {
  const isReplaced = (name: string): boolean => {
    const { generation: of, sequence } = parseFileName(name);
    return found.some((file) => {
      const other = parseFileName(file.name);
      return file.name === name || (other.kind === "tsm" && other.generation === of && other.sequence > sequence);
    });
  };
  const files = [...(before?.files ?? []).filter(({ name }) => !isReplaced(name)), ...found];
  return shardRecord(placed, { generation, atMs, files });
}

async function readArchive(
  world: World,
  about: Importing & { readonly generation: number; readonly path: string; readonly size: number; readonly placed: PlacedShard },
): Promise<readonly FileRecord[]> {
  const { path, size, placed } = about;
  const files: FileRecord[] = [];
  let read = 0;
  async function* counted(): AsyncGenerator<Buffer> {
    const source = createReadStream(path);
    const unzip = createGunzip();
    source.on("error", (error) => unzip.destroy(error));
    source.pipe(unzip);
    for await (const chunk of unzip) {
      read += (chunk as Buffer).length;
      yield chunk as Buffer;
    }
  }
  try {
    for await (const entry of tarEntries(counted())) {
      const name = fileOfEntry(entry.name, placed);
      if (files.some((file) => file.name === name)) refuse(path, `it holds ${name} twice`);
      files.push(await storeFile(world, about, { shard: placed.shard, name, entry }));
    }
  } catch (error) {
    const isOfFile = isTidemarkError(error) ? ["cut-archive", "bad-archive", "bad-entry"].includes(error.code) : isFileFault(error);
    if (!isOfFile) throw error;
    refuse(path, messageOf(error));
  }
  if (read !== size) refuse(path, `unpacked it has ${read} bytes, and its manifest tells ${size}`);
  return files;
}

function isFileFault(error: unknown): boolean {
  return error instanceof Error && "code" in error;
}

/** The metastore's text, inside of a portable backup's file for it. */
async function readMeta(path: string): Promise<Buffer> {
  const bytes = await readFile(path).catch((error: unknown) => refuse(path, messageOf(error)));
  try {
    const reader = new BinaryReader(bytes);
    const [field] = reader.tag();
    const meta = Buffer.from(reader.bytes());
    if (field === 1 && reader.pos <= reader.len) {
      parseMeta(meta);
      return meta;
    }
  } catch (error) {
    return refuse(path, messageOf(error));
  }
  return refuse(path, "it is no metastore of a portable backup");
}

function refuse(place: string, finding: string): never {
  throw callError("bad-backup", `${place} is no whole portable backup: ${finding}; nothing of it was taken over, make it anew with "influxd backup -portable"`);
}
