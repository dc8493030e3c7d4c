// Reads one shard from a server and stores those of its files that are not stored yet: each known by its name, its size and
// its SHA-256, never by a clock. A file streams through; what is known already is only hashed on its way.
//
// The protocol has no status. An archive that was cut off lacks its end (tar.ts). One that lacks files, because the server
// failed between two of them, looks whole: so a shard counts as read only once a second reading lacks no file of the first, or,
// where nothing seems to have changed, once the server says that nothing newer is there.

import { storedBytes } from "../../attachments/attach.ts";
import { TidemarkError } from "../../model/errors.ts";
import type { InfluxClient } from "./client.ts";
import { fileOfEntry, isOfIndex, unexplained } from "./file-names.ts";
import { byName, type FileRecord } from "./records.ts";
import type { WholeRange } from "./select.ts";
import { ofShard } from "./shard-fault.ts";
import { sha256Of } from "./sha256.ts";
import { type StoreDeps, storeFile } from "./store.ts";
import { tarEntries, type TarEntry } from "./tar.ts";
import type { ShardPlace } from "./wire.ts";

/** Readings of one shard, before it is taken for one that cannot be read rightly. */
const READINGS_MAX = 5;

export interface ReadShardDeps extends StoreDeps {
  readonly client: Pick<InfluxClient, "shard" | "dialect">;
  /** Told of each file once it is stored, so that who comes after a kill needs not store it again. */
  readonly stored: (file: FileRecord) => Promise<void>;
  /** Told of bytes as they come; may throw to stop. */
  readonly read: (bytes: number) => Promise<void>;
}

export interface ReadShardRequest {
  readonly place: ShardPlace;
  /** Blocks between two times alone. */
  readonly range?: WholeRange | undefined;
  /** The prefix of keys, and the generation that attachments are stored under. */
  readonly prefix: string;
  readonly generation: number;
  /** The shard's files in the generation before; absent for one that was not there, or that is to be stored anew. */
  readonly before?: readonly FileRecord[] | undefined;
  /** Files that an earlier attempt has stored. */
  readonly known: readonly FileRecord[];
  /** Names of files that an attempt has seen and, without a compaction that accounts for it, not seen again; added to. */
  readonly missed?: Set<string>;
}

export interface ShardReading {
  /** By name, in order. */
  readonly files: readonly FileRecord[];
  readonly storedFiles: number;
  readonly storedBytes: number;
  readonly readings: number;
  /** Files of the generation before, or of an earlier attempt, that are gone, and no compaction accounts for it: their rows were all deleted. */
  readonly vanished: readonly string[];
}

/** @throws {TidemarkError} `retry` where the server failed, or its answers differ; the message names the shard */
export async function readShard(deps: ReadShardDeps, request: ReadShardRequest): Promise<ShardReading> {
  try {
    return await readSteadily(deps, request);
  } catch (error) {
    throw ofShard(error, request.place);
  }
}

async function readSteadily(deps: ReadShardDeps, request: ReadShardRequest): Promise<ShardReading> {
  const { before } = request;
  const stored: FileRecord[] = [];
  const pool = (): readonly FileRecord[] => [...(before ?? []), ...request.known, ...stored];
  let last = await readOnce(deps, request, pool(), stored);
  if (before !== undefined && isSame(before, last) && (await isUnchanged(deps, request, last))) return reading(last, 1);
  let missed: readonly string[] = [];
  const seen = new Set<string>();
  for (let readings = 2; readings <= READINGS_MAX; readings++) {
    for (const name of namesOf(last)) seen.add(name);
    const next = await readOnce(deps, request, pool(), stored);
    missed = unexplained([...new Set([...missed, ...namesOf(last)])], namesOf(next), seen);
    // A compaction takes files away, and may hide one that the server failed at: the reading behind it tells. A server that
    // compacts all the time is believed in the end.
    const isSteady = namesOf(last).every((name) => namesOf(next).includes(name));
    if (missed.length === 0 && (isSteady || readings === READINGS_MAX)) return reading(next, readings);
    last = next;
  }
  for (const name of missed) request.missed?.add(name);
  throw new TidemarkError(
    "retry",
    "unsteady-shard",
    `${READINGS_MAX} readings of it differ by files that no compaction accounts for: the server fails now and then; its log tells why`,
  );

  function reading(files: readonly FileRecord[], readings: number): ShardReading {
    const fresh = stored.filter((file) => files.includes(file));
    return {
      files,
      storedFiles: fresh.length,
      storedBytes: fresh.reduce((sum, file) => sum + storedBytes(file), 0),
      readings,
      vanished: unexplained([...new Set([...namesOf(before ?? []), ...(request.missed ?? [])])], namesOf(files)),
    };
  }
}

function namesOf(files: readonly FileRecord[]): readonly string[] {
  return files.map(({ name }) => name);
}

export function isSame(one: readonly FileRecord[], other: readonly FileRecord[]): boolean {
  return one.length === other.length && one.every(({ name, sha256 }, place) => other[place].name === name && other[place].sha256 === sha256);
}

/** One reading. A file that is known by name and size, but has other bytes, takes a second look, which stores it. */
async function readOnce(deps: ReadShardDeps, request: ReadShardRequest, pool: readonly FileRecord[], stored: FileRecord[]): Promise<readonly FileRecord[]> {
  const files: FileRecord[] = [];
  const otherThanKnown = new Set<string>();
  for await (const entry of entriesOf(deps, request)) {
    if (isOfIndex(entry.name, request.place)) {
      for await (const _ of entry.body);
      continue;
    }
    const name = fileOfEntry(entry.name, request.place);
    if (files.some((file) => file.name === name) || otherThanKnown.has(name)) throw new TidemarkError("retry", "bad-entry", `the archive holds ${name} twice`);
    const alike = pool.filter((file) => file.name === name && file.bytes === entry.size);
    const found = alike.length === 0 ? await store(name, entry) : await known(alike, entry);
    if (found === undefined) otherThanKnown.add(name);
    else files.push(found);
  }
  if (otherThanKnown.size > 0) {
    const rest = [...pool, ...stored].filter(({ name }) => !otherThanKnown.has(name));
    return readOnce(deps, request, rest, stored);
  }
  return files.sort(byName);

  async function store(name: string, entry: TarEntry): Promise<FileRecord> {
    const file = await storeFile(deps, request, { shard: request.place.shard, name, entry });
    await deps.stored(file);
    stored.push(file);
    return file;
  }

  async function known(alike: readonly FileRecord[], entry: TarEntry): Promise<FileRecord | undefined> {
    const sha256 = await sha256Of(entry.body);
    return alike.find((file) => file.sha256 === sha256);
  }
}

/** Whether the server has no other file that it changed since the newest of these. An archive's times are rounded, so that one comes along, and is compared. */
async function isUnchanged(deps: ReadShardDeps, request: ReadShardRequest, files: readonly FileRecord[]): Promise<boolean> {
  // A server before 1.5 answers nothing both where there is nothing and where it failed; of a range no newer files can be asked for.
  if (request.range !== undefined || files.length === 0 || (await deps.client.dialect()) === "1.0") return false;
  const newestS = Math.max(...files.map(({ modifiedS }) => modifiedS));
  let same = true;
  for await (const entry of entriesOf(deps, request, { since: new Date((newestS - 1) * 1_000).toISOString() })) {
    const name = fileOfEntry(entry.name, request.place);
    const sha256 = await sha256Of(entry.body);
    same &&= files.some((file) => file.name === name && file.sha256 === sha256);
  }
  return same;
}

function entriesOf(deps: ReadShardDeps, { place, range }: ReadShardRequest, which: { readonly since?: string } = {}): AsyncGenerator<TarEntry> {
  return tarEntries(told(deps, deps.client.shard(place, range ?? which)));
}

async function* told(deps: ReadShardDeps, chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let bytes = 0;
  for await (const chunk of chunks) {
    bytes += chunk.length;
    await deps.read(chunk.length);
    yield chunk;
  }
  if (bytes > 0) return;
  throw new TidemarkError("retry", "empty-reply", "the server answered nothing: it is busy with a flush of it, does not have it, or failed; its log tells why");
}
