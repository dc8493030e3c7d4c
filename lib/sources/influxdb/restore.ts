// Restores a generation to a running server: databases made of the metastore, under the same or other names, then shard by
// shard the files, each read back and compared before it counts. Rows that were deleted stay deleted (prepared-files.ts).
//
// A server makes databases first and takes shards later, so what is stopped in between leaves a database that is there, but
// not whole. The map of shard ids is kept before the first shard is sent: by it the same restore goes on where it was stopped.

import { createHash } from "node:crypto";
import { z } from "zod";
import { restoreItem } from "../../checkpoint/items.ts";
import { callError, isTidemarkError, messageOf, TidemarkError } from "../../model/errors.ts";
import { groupsOf } from "../../model/groups.ts";
import { DYNAMODB_TRANSACTION_ITEMS_MAX } from "../../model/limits.ts";
import { shardName } from "../../model/names.ts";
import type { ItemKey } from "../../ports/checkpoint-store.ts";
import type { World } from "../../ports/world.ts";
import { addressInWords } from "./connection.ts";
import type { InfluxClient } from "./client.ts";
import { fileOfEntry, unexplained } from "./file-names.ts";
import { type Database, INTERNAL, isFolderName, onlyDatabases, onlyPolicies, parseMeta, shardsOf } from "./meta.ts";
import { type GenerationAt, type OpenBackup, openBackup, readMetastore } from "./open-backup.ts";
import { type PreparedFile, prepareFiles } from "./prepared-files.ts";
import type { GenerationRecord, ShardRecord } from "./records.ts";
import { shardArchive } from "./shard-archive.ts";
import { sha256Of } from "./sha256.ts";
import { checkSelection, checkThere } from "./select.ts";
import { ofShard } from "./shard-fault.ts";
import { tarEntries } from "./tar.ts";

const SHARD_ATTEMPTS_MAX = 4;
const BACKOFF_MS = 1_000;

export interface RestoreRequest {
  readonly name: string;
  readonly client: InfluxClient;
  readonly at?: GenerationAt;
  /** Default: every database but `_internal`. */
  readonly database?: string;
  readonly newDatabase?: string;
  readonly policy?: string;
  readonly newPolicy?: string;
  readonly signal?: AbortSignal;
}

export interface RestoreReport {
  readonly generation: GenerationRecord;
  readonly databases: readonly RestoredDatabase[];
}

export interface RestoredDatabase {
  readonly database: string;
  readonly newDatabase: string;
  /** Whether an earlier restore had begun it. */
  readonly resumed: boolean;
  readonly shards: readonly RestoredShard[];
  /** Shards that are older than their policy keeps: the server deletes them with a check to come, or has done so already. */
  readonly expired: readonly number[];
  /** Shards that the metastore names and the backup has no files of: they are restored empty. */
  readonly empty: readonly number[];
}

export interface RestoredShard {
  readonly shard: number;
  readonly newShard: number;
  readonly files: number;
  readonly bytes: number;
  /** Files that were written anew without rows that had been deleted from them. */
  readonly rewritten: number;
  /** Whether it was there already, from an earlier try. */
  readonly found: boolean;
}

/**
 * @throws {TidemarkError} `call` "unknown-database", "unknown-policy", "database-exists", "old-server"; `retry` where the server
 * cannot be reached or does not keep what it is sent; `repair` where the backup is damaged
 */
export async function restore(world: World, request: RestoreRequest): Promise<RestoreReport> {
  checkRequest(request);
  if ((await request.client.dialect()) === "1.0")
    throw callError("old-server", "an InfluxDB before 1.5 cannot be restored while it runs: export to data, and start it on that");
  const backup = await openBackup(world, request.name, request.at);
  try {
    const meta = await readMetastore(backup);
    const restored: RestoredDatabase[] = [];
    for (const database of databasesOf(request, meta)) restored.push(await restoreDatabase(world, { ...request, backup, meta, database }));
    await endRestore(
      world,
      restored.map(({ newDatabase }) => restoreItem(backup.id, placeDigest(request, newDatabase))),
    );
    return { generation: backup.generation, databases: restored };
  } finally {
    await backup.close();
  }
}

function checkRequest(request: RestoreRequest): void {
  const { database, newDatabase, policy, newPolicy } = request;
  checkSelection(request);
  if (newDatabase !== undefined && database === undefined) throw callError("bad-selection", "a new name is one for a database: name that with --database");
  if (newPolicy !== undefined && policy === undefined) throw callError("bad-selection", "a new policy's name is one for a policy: name that with --policy");
  for (const name of [newDatabase, newPolicy]) {
    if (name !== undefined && !isFolderName(name)) {
      throw callError("bad-name", `${JSON.stringify(name)} cannot be a name: it becomes a folder of the server, so no slash and not "." or ".."`);
    }
  }
}

function databasesOf(request: RestoreRequest, meta: Buffer): readonly string[] {
  const { databases } = parseMeta(meta);
  checkThere(databases, request, `this generation of ${request.name}`);
  return request.database === undefined ? databases.map(({ name }) => name).filter((name) => name !== INTERNAL) : [request.database];
}

interface DatabaseRequest extends RestoreRequest {
  readonly backup: OpenBackup;
  readonly meta: Buffer;
  readonly database: string;
}

async function restoreDatabase(world: World, request: DatabaseRequest): Promise<RestoredDatabase> {
  const { backup, database, policy } = request;
  const newDatabase = request.newDatabase ?? database;
  const { ids, resumed } = await makeDatabase(world, request, newDatabase);
  const records = [...backup.shards.values()].filter((record) => record.database === database && (policy === undefined || record.policy === policy));
  const shards: RestoredShard[] = [];
  const expired: number[] = [];
  const isExpired = expiryIn(request, world.clock.now());
  for (const record of records) {
    const newShard = ids.get(record.shard);
    if (newShard === undefined)
      throw new TidemarkError("retry", "bad-reply", `the server gave shard ${record.shard} of ${database}/${record.policy} no new id; its log tells why`);
    const place = { database: newDatabase, policy: request.newPolicy ?? record.policy };
    const restored = await restoreShard(world, request, { record, newShard, place, isNew: !resumed });
    if (restored !== "deleted") shards.push(restored);
    if (restored === "deleted" || isExpired(record)) expired.push(record.shard);
    const bytes = shards.reduce((sum, one) => sum + one.bytes, 0);
    world.telemetry.report({
      kind: "gathered",
      shard: shardName(backup.id),
      what: `shard ${record.shard} of ${database}/${record.policy}`,
      done: records.indexOf(record) + 1,
      total: records.length,
      bytes,
    });
  }
  const known = new Set(records.map(({ shard }) => shard));
  return { database, newDatabase, resumed, shards, expired, empty: [...ids.keys()].filter((shard) => !known.has(shard)) };
}

/** Whether all of a shard's points are older than the policy keeps that it is restored with. */
function expiryIn({ meta, database }: DatabaseRequest, nowMs: number): (record: ShardRecord) => boolean {
  const { policies = [] } = parseMeta(meta).databases.find(({ name }) => name === database) ?? {};
  const keptNs = new Map(policies.map(({ name, keptNs: duration }) => [name, duration]));
  return ({ policy, endNs }) => {
    const duration = keptNs.get(policy) ?? 0n;
    return duration > 0n && BigInt(endNs) + duration < BigInt(nowMs) * 1_000_000n;
  };
}

const KEPT = z.object({ generation: z.number(), digest: z.string(), policy: z.string(), newPolicy: z.string(), ids: z.string() });

/** Makes the database, or finds the one that an earlier try of this restore made. */
async function makeDatabase(
  world: World,
  request: DatabaseRequest,
  newDatabase: string,
): Promise<{ readonly ids: ReadonlyMap<number, number>; readonly resumed: boolean }> {
  const { client, backup, database, policy = "", newPolicy = "" } = request;
  const there = await databaseThere(client, newDatabase);
  const item = restoreItem(backup.id, placeDigest(request, newDatabase));
  if (there !== undefined) {
    const kept = KEPT.safeParse((await world.checkpoints.get(item))?.attributes);
    const { generation, digest } = backup.generation;
    const isOurs =
      kept.success && kept.data.generation === generation && kept.data.digest === digest && kept.data.policy === policy && kept.data.newPolicy === newPolicy;
    const ids = new Map<number, number>(kept.success ? (JSON.parse(kept.data.ids) as [number, number][]) : []);
    const shardsThere = new Set(there.policies.flatMap(({ groups }) => groups.flatMap(({ shards }) => shards)));
    if (isOurs && [...ids.values()].every((id) => shardsThere.has(id))) return { ids, resumed: true };
    throw callError(
      "database-exists",
      `the server has a database ${JSON.stringify(newDatabase)}: drop it there, or restore under another name with --database ${JSON.stringify(database)} --new-database NAME`,
    );
  }
  const wanted = onlyPolicies(
    onlyDatabases(request.meta, (name) => name === database),
    (_, name) => policy === "" || name === policy,
  );
  const given = await client.updateMetastore(wanted, { database, newDatabase, policy, newPolicy });
  const placed = new Set(shardsOf(parseMeta(wanted)).map(({ shard }) => shard));
  // For a database without shards it answers the same where it refuses.
  if (given.size === 0 && (placed.size > 0 || (await databaseThere(client, newDatabase)) === undefined))
    throw new TidemarkError("retry", "refused", `the server refused to make the database ${JSON.stringify(newDatabase)}: its log tells why`);
  // It numbers deleted shards too, and forgets them in time: the backup has none of them, and by them no restore could go on.
  const ids = new Map([...given].filter(([shard]) => placed.has(shard)));
  const put = {
    formatVersion: 1,
    generation: backup.generation.generation,
    digest: backup.generation.digest,
    policy,
    newPolicy,
    ids: JSON.stringify([...ids]),
  };
  await world.checkpoints.write([{ item, when: [], put }]);
  return { ids, resumed: false };
}

async function databaseThere(client: InfluxClient, newDatabase: string): Promise<Database | undefined> {
  const { parsed } = await client.metastore();
  return parsed.databases.find(({ name }) => name === newDatabase);
}

/** Of all databases at once: one that is there and no longer known would be refused, and the same restore could not go on behind it. */
async function endRestore({ checkpoints }: World, items: readonly ItemKey[]): Promise<void> {
  for (const some of groupsOf(items, DYNAMODB_TRANSACTION_ITEMS_MAX)) await checkpoints.write(some.map((item) => ({ item, when: [], delete: true as const })));
}

/** Names of servers and databases are longer than a key may be. */
function placeDigest({ client }: RestoreRequest, newDatabase: string): string {
  return createHash("sha256")
    .update(`${addressInWords(client.address)}\n${newDatabase}`)
    .digest("hex")
    .slice(0, 32);
}

interface ShardTarget {
  readonly record: ShardRecord;
  readonly newShard: number;
  readonly place: { readonly database: string; readonly policy: string };
  /** Whether this very restore made it: then nothing is in it. */
  readonly isNew: boolean;
}

async function restoreShard(world: World, request: DatabaseRequest, target: ShardTarget): Promise<RestoredShard | "deleted"> {
  const { client, signal } = request;
  const { record, newShard, place } = target;
  const files = await prepareFiles(request.backup, record, { tombstones: "applied" });
  const about = {
    shard: record.shard,
    newShard,
    files: files.length,
    bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    rewritten: files.filter(({ isRewritten }) => isRewritten).length,
  };
  for (let attempt = 1; ; attempt++) {
    if (signal?.aborted === true) throw new TidemarkError("retry", "interrupted", "interrupted: the same restore goes on where this one was stopped");
    try {
      const before = await filesThere(request, target);
      // Names would be taken: what a server wrote itself since the database was made would be lost.
      if (target.isNew && attempt === 1 && before.size > 0) throw foreignFiles(target);
      if (files.length === 0) return { ...about, found: false };
      if (await holds(before, target, files)) return { ...about, found: true };
      await client.updateShard(newShard, shardArchive(`${place.database}/${place.policy}/${newShard}`, files));
      if (await holds(await filesThere(request, target), target, files)) return { ...about, found: false };
      throw new TidemarkError(
        "retry",
        "not-kept",
        `the server did not keep all files of shard ${record.shard} (there ${newShard}): its log tells why; the same restore goes on where this one was stopped`,
      );
    } catch (error) {
      if (!isTidemarkError(error) || error.kind !== "retry" || error.code === "interrupted") throw error;
      if (await isDeleted(client, target)) return "deleted";
      if (attempt === SHARD_ATTEMPTS_MAX) throw error;
      world.telemetry.report({ kind: "warning", shard: shardName(request.backup.id), message: `${messageOf(error)}: trying again` });
      await world.clock.sleep(BACKOFF_MS * attempt, signal);
    }
  }
}

/**
 * Whether the server has deleted the shard since it was made, as it does where a policy keeps none so old: no try brings it back, and
 * those behind it are still to come. Where the server does not tell, it has not.
 */
async function isDeleted(client: InfluxClient, { newShard, place }: ShardTarget): Promise<boolean> {
  try {
    const there = await databaseThere(client, place.database);
    return (there?.policies ?? []).some(({ groups }) => groups.some((group) => group.isDeleted && group.shards.includes(newShard)));
  } catch (error) {
    if (isTidemarkError(error) && error.kind === "retry") return false;
    throw error;
  }
}

/** What the server's shard has, read whole: the SHA-256 of each file, by name. */
async function filesThere({ client, backup }: DatabaseRequest, { newShard, place }: ShardTarget): Promise<ReadonlyMap<string, string>> {
  const there = new Map<string, string>();
  const shard = { ...place, shard: newShard };
  try {
    for await (const entry of tarEntries(holding(backup, client.shard(shard)))) {
      const sha256 = await sha256Of(entry.body);
      there.set(fileOfEntry(entry.name, shard), sha256);
    }
  } catch (error) {
    throw ofShard(error, shard);
  }
  return there;
}

/** A large shard takes longer to come back than a generation is held. */
async function* holding({ keep }: OpenBackup, chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) {
    await keep();
    yield chunk;
  }
}

/**
 * Whether each file is there with its bytes, or was made into another by a compaction since.
 * @throws {TidemarkError} `call` "foreign-files" where a file of the same name has other bytes
 */
async function holds(there: ReadonlyMap<string, string>, target: ShardTarget, files: readonly PreparedFile[]): Promise<boolean> {
  for (const file of files) {
    const found = there.get(file.name);
    if (found !== undefined && found !== (await file.sha256())) throw foreignFiles(target);
  }
  const names = files.map(({ name }) => name);
  return unexplained(names, [...there.keys()]).length === 0;
}

function foreignFiles({ record, newShard, place }: ShardTarget): TidemarkError {
  return callError(
    "foreign-files",
    `shard ${newShard} of ${place.database}/${place.policy} has points that were written to it since it was made, and those of shard ${record.shard} would take their place: drop the database, and restore it before it is written to`,
  );
}
