// What a client sends to `tidemark influxdb serve` becomes generations: databases first, by their metastore, each shard then by
// its files. All is checked before it counts, and durable before it is answered.

import { openShard } from "../../checkpoint/control.ts";
import { callError, TidemarkError } from "../../model/errors.ts";
import { incarnationPrefix } from "../../model/names.ts";
import type { World } from "../../ports/world.ts";
import { ensureSource } from "./backup.ts";
import { fileOfEntry } from "./file-names.ts";
import { commitGeneration, generationRecord, nextGeneration } from "./generation.ts";
import {
  databaseMessages,
  INTERNAL,
  type Metastore,
  onlyDatabases,
  onlyPolicies,
  parseMeta,
  renamedDatabase,
  renumbered,
  shardsOf,
  withDatabases,
  withoutUsers,
} from "./meta.ts";
import { idOf, openBackup, readMetastore } from "./open-backup.ts";
import { type Backup, byName, type FileRecord, type ShardRecord, shardRecord } from "./records.ts";
import { storeFile, storeMetastore, type StorePlace } from "./store.ts";
import { tarEntries } from "./tar.ts";
import type { Renaming } from "./wire.ts";

const JOB_DIGITS = 16;

/**
 * Adds databases of a metastore to the newest generation, their shards numbered anew, each without files.
 * @returns old and new ids of the shards
 * @throws {TidemarkError} `call` "database-exists", "unknown-database"
 */
export async function addDatabases(
  world: World,
  { name, meta, renaming }: { readonly name: string; readonly meta: Buffer; readonly renaming: Renaming },
): Promise<ReadonlyMap<number, number>> {
  await ensureSource(world, name);
  const change = await beginChange(world, name);
  const { head, generation } = change;
  const before = head.metastore === undefined ? Buffer.alloc(0) : await newestMetastore(world, name);
  const known = parseMeta(before);
  const wanted = chosen(meta, renaming);
  const parsed = parseMeta(wanted);
  if (parsed.databases.length === 0) throw callError("unknown-database", `the metastore has no database ${JSON.stringify(renaming.database)} to take`);
  const nameOf = (database: string): string => (renaming.newDatabase === "" ? database : renaming.newDatabase);
  for (const { name: database } of parsed.databases) {
    const there = known.databases.find((one) => one.name === nameOf(database));
    if (there !== undefined) throw callError("database-exists", `${name} has a database ${JSON.stringify(there.name)}: restore under another name`);
  }
  const { ids, groupIds } = newIds(parsed, known);
  const messages = databaseMessages(renumbered(wanted, { ids, groupIds }));
  const policy = renaming.policy === "" ? undefined : renaming.newPolicy || renaming.policy;
  const added = [...messages].map(([database, message]) => renamedDatabase(message, { name: nameOf(database), policy }));
  const highest = { maxShardId: Math.max(known.maxShardId, ...ids.values()), maxShardGroupId: Math.max(known.maxShardGroupId, ...groupIds.values()) };
  // A first metastore has the client's terms and node, but neither its databases nor its users.
  const base = before.length > 0 ? before : onlyDatabases(withoutUsers(meta), () => false);
  const metastore = withDatabases(base, added, highest);
  const record = await storeMetastore(world, change, { meta: metastore, users: "kept" });
  const shards = new Map(head.shards);
  const given = new Set(ids.values());
  for (const placed of shardsOf(parseMeta(metastore))) {
    if (given.has(placed.shard)) shards.set(placed.shard, shardRecord(placed, { generation, atMs: world.clock.now(), files: [] }));
  }
  await change.commit({ metastore: record, shards, generations: head.generations });
  return ids;
}

/**
 * Adds an archive's files to a shard of the newest generation.
 * @throws {TidemarkError} `call` "unknown-shard"; `retry` where the archive is cut off or holds what it should not: then nothing is added
 */
export async function addFiles(
  world: World,
  { name, shard, archive }: { readonly name: string; readonly shard: number; readonly archive: AsyncIterable<Buffer> },
): Promise<void> {
  const change = await beginChange(world, name);
  const { head, generation } = change;
  const before = head.shards.get(shard);
  if (before === undefined) throw callError("unknown-shard", `${name} has no shard ${shard}`);
  const files: FileRecord[] = [];
  for await (const entry of tarEntries(archive, { goesOn: true })) {
    const file = fileOfEntry(entry.name, before);
    if (files.some(({ name: known }) => known === file)) throw new TidemarkError("retry", "bad-entry", `the archive holds ${file} twice`);
    files.push(await storeFile(world, change, { shard, name: file, entry }));
  }
  const kept = before.files.filter((file) => !files.some((added) => added.name === file.name));
  const after: ShardRecord = { ...before, generation, files: [...kept, ...files].sort(byName) };
  await change.commit({ ...head, shards: new Map(head.shards).set(shard, after) });
}

interface Change extends StorePlace {
  readonly head: Backup;
  commit(next: Backup): Promise<void>;
}

async function beginChange(world: World, name: string): Promise<Change> {
  const id = idOf(name);
  const startedAtMs = world.clock.now();
  const { incarnation } = await openShard(world, id, startedAtMs);
  const { generation, head, oldestIndex } = await nextGeneration(world, id);
  const job = world.random.id(JOB_DIGITS);
  return {
    head,
    generation,
    prefix: incarnationPrefix(id, incarnation),
    async commit(next) {
      const inOrder: Backup = { ...next, shards: new Map([...next.shards].sort(([a], [b]) => a - b)) };
      const about = { generation, isFull: false, job, server: "restored to tidemark influxdb serve", startedAtMs, finishedAtMs: world.clock.now() };
      const record = generationRecord(head, inOrder, { ...about, selection: {}, changedShards: 1, failed: [] });
      if (!(await commitGeneration(world, { id, incarnation }, { head, next: inOrder, record, oldestIndex }))) {
        throw new TidemarkError("retry", "contended", `another job has made generation ${generation} of ${name} meanwhile`);
      }
    },
  };
}

async function newestMetastore(world: World, name: string): Promise<Buffer> {
  const backup = await openBackup(world, name);
  try {
    return await readMetastore(backup);
  } finally {
    await backup.close();
  }
}

function chosen(meta: Buffer, { database, policy }: Renaming): Buffer {
  const databases = onlyDatabases(meta, (name) => (database === "" ? name !== INTERNAL : name === database));
  return onlyPolicies(databases, (_, name) => policy === "" || name === policy);
}

/** New ids behind all that are known, in the order of the old ones. Deleted shards have some too: a server deletes whatever has the id of one. */
function newIds(wanted: Metastore, known: Metastore): { readonly ids: ReadonlyMap<number, number>; readonly groupIds: ReadonlyMap<number, number> } {
  const groups = wanted.databases.flatMap(({ policies }) => policies.flatMap((policy) => policy.groups));
  const numbered = (olds: readonly number[], highest: number) => new Map([...olds].sort((a, b) => a - b).map((old, place) => [old, highest + 1 + place]));
  return {
    ids: numbered(
      groups.flatMap(({ shards }) => shards),
      known.maxShardId,
    ),
    groupIds: numbered(
      groups.map(({ id }) => id),
      known.maxShardGroupId,
    ),
  };
}
