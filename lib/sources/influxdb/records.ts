// What a table that InfluxDB is backed up to holds: one record for the metastore, one for each shard, one for each
// generation. docs/format-influxdb.md is the same in words. A record names the attachments that have the bytes.

import { createHash } from "node:crypto";
import * as z from "zod";
import type { Content } from "../../attachments/attach.ts";
import { callError, damagedItem, TidemarkError } from "../../model/errors.ts";
import { BATCH_BYTES_MAX, VALUE_BYTES_MAX } from "../../model/limits.ts";
import type { Mutation } from "../../model/mutation.ts";
import { pad } from "../../model/names.ts";
import type { Index } from "../../model/position.ts";
import type { PlacedShard } from "./meta.ts";

export const PRODUCER = "influxdb";

const digest = z.string().regex(/^[0-9a-f]{64}$/);
const whole = z.int().nonnegative();
/** What an attachment is called, its first number the generation that stored it; of the content the bytes and SHA-256, of each zstd frame the bytes. */
const ATTACHED = { bytes: whole, sha256: digest, object: z.string(), frames: z.array(z.int().positive()).readonly() };
/** Nanoseconds since 1970, in decimal digits: more than a JSON number holds. */
const nanoseconds = z.string().regex(/^-?[0-9]{1,19}$/);

export const FILE_RECORD = z.strictObject({
  name: z.string().regex(/^[0-9]{9,16}-[0-9]{9,16}\.(tsm|tombstone)$/),
  ...ATTACHED,
  /** Seconds since 1970, by the server's clock. */
  modifiedS: z.int(),
});

const RANGE = z.strictObject({ start: z.string(), end: z.string() });

export const SHARD_RECORD = z.strictObject({
  shard: whole,
  database: z.string(),
  policy: z.string(),
  startNs: nanoseconds,
  endNs: nanoseconds,
  /** The generation that last found it changed. */
  generation: whole,
  capturedAt: z.iso.datetime(),
  files: z.array(FILE_RECORD),
  /** Of which times the files' blocks are; absent where they are all. */
  range: RANGE.optional(),
});

const METASTORE = z.strictObject({
  ...ATTACHED,
  users: z.enum(["kept", "left out"]),
});

const GENERATION = z.strictObject({
  generation: whole,
  kind: z.enum(["full", "incremental"]),
  /** The generation that it was made from. */
  parent: z.strictObject({ generation: whole, digest }).optional(),
  job: z.string(),
  server: z.string(),
  /** All that was acknowledged before this is in it. */
  startedAt: z.iso.datetime(),
  finishedAt: z.iso.datetime(),
  selection: z.strictObject({ database: z.string().optional(), policy: z.string().optional(), shard: whole.optional() }),
  range: RANGE.optional(),
  databases: z.array(z.string()),
  shards: whole,
  files: whole,
  bytes: whole,
  /** Shards that were found changed, and what was stored of them. */
  changedShards: whole,
  storedFiles: whole,
  storedBytes: whole,
  outcome: z.enum(["complete", "partial"]),
  failed: z.array(z.strictObject({ shard: whole, database: z.string(), policy: z.string(), error: z.string() })),
  /** SHA-256 over the metastore's record and all shards', and so over the SHA-256 of every file. */
  digest,
});

export type FileRecord = z.output<typeof FILE_RECORD>;
export type ShardRecord = z.output<typeof SHARD_RECORD>;
export type MetastoreRecord = z.output<typeof METASTORE>;
export type GenerationRecord = z.output<typeof GENERATION>;

/** What an attachment holds, and what records call it. */
export interface Attached extends Content {
  readonly object: string;
}

/** A generation, with the index at which the table's state is it. */
export interface KeptGeneration extends GenerationRecord {
  readonly index: Index;
}

/** The state of a backup: what the records of a table say. */
export interface Backup {
  readonly metastore?: MetastoreRecord;
  /** By id, in order. */
  readonly shards: ReadonlyMap<number, ShardRecord>;
  /** By number, in order. */
  readonly generations: ReadonlyMap<number, KeptGeneration>;
}

export const EMPTY_BACKUP: Backup = { shards: new Map(), generations: new Map() };

const METASTORE_KEY = "metastore";

export function shardKey(shard: number): string {
  return `shard/${pad(shard)}`;
}

export function generationKey(generation: number): string {
  return `generation/${pad(generation)}`;
}

/** Takes records one by one, in any order. */
export function backupReader(table: string): { add(key: Buffer, value: Buffer, index: Index): void; readonly backup: () => Backup } {
  let metastore: MetastoreRecord | undefined;
  const shards: ShardRecord[] = [];
  const generations: KeptGeneration[] = [];
  return {
    add(key, value, index) {
      const name = key.toString("utf8");
      const [kind] = name.split("/");
      if (name === METASTORE_KEY) metastore = parse(METASTORE, value, `${table} ${name}`);
      else if (kind === "shard") shards.push(parse(SHARD_RECORD, value, `${table} ${name}`));
      else if (kind === "generation") generations.push({ ...parse(GENERATION, value, `${table} ${name}`), index });
      else throw damagedItem(`${table} ${name}`, "no record of a backup has this key");
    },
    backup: () => ({
      ...(metastore && { metastore }),
      shards: new Map(shards.sort((a, b) => a.shard - b.shard).map((record) => [record.shard, record])),
      generations: new Map(generations.sort((a, b) => a.generation - b.generation).map((record) => [record.generation, record])),
    }),
  };
}

export function parseGeneration(value: Buffer, table: string): GenerationRecord {
  return parse(GENERATION, value, `${table} generation`);
}

/** The attachments that a value of such a table names, with what they hold; none for a generation's record. */
export function attachmentsOf(value: Buffer): readonly Attached[] {
  const document: unknown = JSON.parse(value.toString("utf8"));
  const shard = SHARD_RECORD.safeParse(document);
  if (shard.success) return shard.data.files;
  const metastore = METASTORE.safeParse(document);
  return metastore.success ? [metastore.data] : [];
}

function parse<Schema extends z.ZodType>(schema: Schema, value: Buffer, record: string): z.output<Schema> {
  let document: unknown;
  try {
    document = JSON.parse(value.toString("utf8"));
  } catch {
    throw damagedItem(record, "its value is no JSON");
  }
  const parsed = schema.safeParse(document);
  if (parsed.success) return parsed.data;
  const [{ path, message }] = parsed.error.issues;
  throw damagedItem(record, `${path.join(".") || "its value"}: ${message}`);
}

/** The digest of a state: the same where, and only where, metastore, shards and every file's SHA-256 are. */
export function digestOf({ metastore, shards }: Pick<Backup, "metastore" | "shards">): string {
  const hash = createHash("sha256");
  hash.update(`${metastore?.sha256 ?? ""}\n`);
  for (const { shard, database, policy, files, range } of shards.values()) {
    hash.update(`${JSON.stringify([shard, database, policy, files.map(({ name, bytes, sha256 }) => [name, bytes, sha256]), range ?? null])}\n`);
  }
  return hash.digest("hex");
}

/** What makes the state `from` into `to`. The generation's record comes last: its index is that of the whole. */
export function mutationsBetween(from: Backup, to: Backup, about: { readonly generation: GenerationRecord; readonly oldestIndex: Index }): readonly Mutation[] {
  const puts = [...to.shards.values()].filter((record) => JSON.stringify(record) !== JSON.stringify(from.shards.get(record.shard)));
  const gone = [...from.shards.keys()].filter((shard) => !to.shards.has(shard));
  const forgotten = [...from.generations.values()].filter(({ index }) => index < about.oldestIndex);
  const mutations = [
    ...(to.metastore !== undefined && JSON.stringify(to.metastore) !== JSON.stringify(from.metastore) ? [put(METASTORE_KEY, to.metastore)] : []),
    ...puts.map((record) => put(shardKey(record.shard), record)),
    ...gone.map((shard) => remove(shardKey(shard))),
    ...forgotten.map(({ generation }) => remove(generationKey(generation))),
    put(generationKey(about.generation.generation), about.generation),
  ];
  checkFits(mutations);
  return mutations;
}

/** A generation is one batch: that of a first backup of very many files, or of terabytes, may be more than one takes. */
function checkFits(mutations: readonly Mutation[]): void {
  const bytes = mutations.reduce((sum, mutation) => sum + mutation.key.length + (mutation.kind === "delete" ? 0 : mutation.value.length), 0);
  if (bytes <= BATCH_BYTES_MAX) return;
  throw callError(
    "too-many-files",
    `the records of what is new would have ${bytes} bytes, and one generation takes ${BATCH_BYTES_MAX}: back it up in parts first, into the same name, by --database and --policy or by --start and --end`,
  );
}

function put(key: string, record: object): Mutation {
  const value = Buffer.from(JSON.stringify(record));
  if (value.length > VALUE_BYTES_MAX) {
    throw new TidemarkError(
      "call",
      "too-many-files",
      `the record ${key} would have ${value.length} bytes, and may have ${VALUE_BYTES_MAX}: let InfluxDB compact the shard first`,
    );
  }
  return { kind: "put", key: Buffer.from(key), value };
}

function remove(key: string): Mutation {
  return { kind: "delete", key: Buffer.from(key) };
}

/** The record of that very shard, and not of one with its id: a server that was set up anew counts its shards from 1 again. */
export function recordOf({ shards }: Pick<Backup, "shards">, placed: PlacedShard): ShardRecord | undefined {
  const record = shards.get(placed.shard);
  return record !== undefined && isOf(record, placed) ? record : undefined;
}

export function isOf(record: ShardRecord, { shard, database, policy, startNs, endNs }: PlacedShard): boolean {
  const { shard: id, database: ofDatabase, policy: ofPolicy } = record;
  return id === shard && ofDatabase === database && ofPolicy === policy && record.startNs === String(startNs) && record.endNs === String(endNs);
}

/** What a generation has of a shard from now on. */
export function shardRecord(
  { shard, database, policy, startNs, endNs }: PlacedShard,
  { generation, atMs, files, range }: Pick<ShardRecord, "generation" | "range"> & { readonly atMs: number; readonly files: readonly FileRecord[] },
): ShardRecord {
  return {
    shard,
    database,
    policy,
    startNs: String(startNs),
    endNs: String(endNs),
    generation,
    capturedAt: new Date(atMs).toISOString(),
    files: [...files].sort(byName),
    ...(range && { range }),
  };
}

export function byName(one: FileRecord, other: FileRecord): number {
  return one.name < other.name ? -1 : 1;
}

/** Bytes and files of all shards. */
export function totalsOf({ shards }: Pick<Backup, "shards">): { readonly files: number; readonly bytes: number } {
  const files = [...shards.values()].flatMap((record) => record.files);
  return { files: files.length, bytes: files.reduce((sum, { bytes }) => sum + bytes, 0) };
}
