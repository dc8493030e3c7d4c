// The bytes of InfluxDB 1.x's snapshotter protocol, in both dialects: 1.0 to 1.4, and 1.5 on. Pure: requests to bytes and
// replies to values. docs/influxdb-protocol.md tells them byte by byte.
//
// There is no status and no version on the wire: a server that fails answers nothing, or less than it should. So every
// reply is held against its own lengths here, and a shard's archive against its end (tar.ts).

import { TidemarkError } from "../../model/errors.ts";

/** First byte of every request: which of the services behind one port is meant. */
export const MUX_HEADER = 0x03;
export const METASTORE_MAGIC = 0x59590101n;
const MAGIC_BYTES = 8;
/** That of a million shards has about so many. */
export const METASTORE_BYTES_MAX = 64 * 1024 * 1024;

/** `1.0`: of the servers 1.0 to 1.4, which only back up. `1.5`: of all later ones. */
export type Dialect = "1.0" | "1.5";

/** Times are ISO 8601. A backup since a time is of the files that the server changed after it, whatever times their points have. */
export type ReadRequest =
  | { readonly kind: "metastore" }
  | { readonly kind: "database-info"; readonly database: string }
  | { readonly kind: "policy-info"; readonly database: string; readonly policy: string }
  | ({ readonly kind: "shard-backup"; readonly since?: string } & ShardPlace)
  | ({ readonly kind: "shard-export"; readonly start: string; readonly end: string } & ShardPlace);

export interface ShardPlace {
  readonly database: string;
  readonly policy: string;
  readonly shard: number;
}

/** Which of a metastore's databases and policies to restore, and under which names; empty names stand for all, and for the old ones. */
export interface Renaming {
  readonly database: string;
  readonly newDatabase: string;
  readonly policy: string;
  readonly newPolicy: string;
}

/** Of dialect 1.5, where the byte in front of the JSON text counts. */
export const REQUEST_TYPES = {
  "shard-backup": 0,
  metastore: 1,
  "database-info": 3,
  "policy-info": 4,
  "shard-export": 5,
  "metastore-update": 6,
  "shard-update": 7,
} as const;

const TYPES_OF_1_0: Readonly<Partial<Record<ReadRequest["kind"], number>>> = { "shard-backup": 0, metastore: 1, "database-info": 2, "policy-info": 3 };

const NO_TIME = "0001-01-01T00:00:00Z";

/** @throws {TidemarkError} `call` "old-server" for an export of a server before 1.5 */
export function requestFrame(dialect: Dialect, request: ReadRequest): Buffer {
  const place = { database: "", policy: "", shard: 0, ...request };
  if (dialect === "1.5") return frame(REQUEST_TYPES[request.kind], fields(request.kind, place));
  const type = TYPES_OF_1_0[request.kind];
  if (type === undefined)
    throw new TidemarkError("call", "old-server", "an InfluxDB before 1.5 cannot export a shard by time: back it up without --start and --end");
  const since = "since" in request ? request.since : undefined;
  const text = JSON.stringify({ Type: type, Database: place.database, RetentionPolicy: place.policy, ShardID: place.shard, Since: since ?? NO_TIME });
  return Buffer.concat([Buffer.of(MUX_HEADER), Buffer.from(`${text}\n`)]);
}

/** What comes in one segment with what stands before it, whatever the network. */
const SEGMENT_BYTES = 800;
const BLANKS_PER_BYTE = 16;
const BLANKS_MIN = 1024 * 1024;
const BLANKS_MAX = 16 * BLANKS_MIN;

/**
 * Asks to take the databases of a metastore. To be sent by one write: servers before 1.8.10 read the whole of it with a
 * single read, so a later segment is lost to them. Where it takes several, blanks end the JSON text: a server goes through those
 * once more after it has read them, and meanwhile the rest arrives.
 */
export function metastoreUpdateFrame(meta: Uint8Array, { database, newDatabase, policy, newPolicy }: Renaming): Buffer {
  const about = { database, policy, newDatabase, newPolicy, shard: 0, uploadBytes: meta.length };
  const blanks = meta.length <= SEGMENT_BYTES ? 0 : Math.min(BLANKS_MAX, BLANKS_MIN + BLANKS_PER_BYTE * meta.length);
  return Buffer.concat([frame(REQUEST_TYPES["metastore-update"], fields("metastore-update", about), blanks), meta]);
}

/** What goes before the archive of a shard's files; by one write, like the above. */
export function shardUpdateHead(shard: number): Buffer {
  const head = Buffer.alloc(10);
  head[0] = MUX_HEADER;
  head[1] = REQUEST_TYPES["shard-update"];
  head.writeBigUInt64BE(BigInt(shard), 2);
  return head;
}

interface Fields extends ShardPlace {
  readonly newDatabase?: string;
  readonly newPolicy?: string;
  readonly since?: string;
  readonly start?: string;
  readonly end?: string;
  readonly uploadBytes?: number;
}

function fields(kind: keyof typeof REQUEST_TYPES, about: Fields): object {
  return {
    Type: REQUEST_TYPES[kind],
    BackupDatabase: about.database,
    RestoreDatabase: about.newDatabase ?? "",
    BackupRetentionPolicy: about.policy,
    RestoreRetentionPolicy: about.newPolicy ?? "",
    ShardID: about.shard,
    Since: about.since ?? NO_TIME,
    ExportStart: about.start ?? NO_TIME,
    ExportEnd: about.end ?? NO_TIME,
    UploadSize: about.uploadBytes ?? 0,
  };
}

function frame(type: number, json: object, blanks = 0): Buffer {
  return Buffer.concat([Buffer.of(MUX_HEADER, type), Buffer.from(`${JSON.stringify(json).slice(0, -1)}${" ".repeat(blanks)}}\n`)]);
}

/** Whether a reply begins as that to a metastore request, in the dialect it was asked in; of one that was cut off so many bytes may do. */
export function isMetastoreReply(reply: Buffer, bytes = MAGIC_BYTES): boolean {
  const compared = Math.min(bytes, MAGIC_BYTES);
  return reply.length >= compared && reply.subarray(0, compared).equals(uint64(METASTORE_MAGIC).subarray(0, compared));
}

/** The metastore's protobuf text (meta.ts) and the node's JSON text. */
export interface MetastoreReply {
  readonly meta: Buffer;
  readonly node: Buffer;
}

/** Magic, length, metastore, length, node: nothing less, and nothing behind. */
export function parseMetastore(reply: Buffer): MetastoreReply {
  if (!isMetastoreReply(reply)) throw badReply("the metastore", `it begins with ${reply.subarray(0, 8).toString("hex") || "nothing"}`);
  const metaBytes = lengthAt(reply, 8);
  const nodeBytes = lengthAt(reply, 16 + metaBytes);
  const wanted = 24 + metaBytes + nodeBytes;
  if (reply.length !== wanted) throw badReply("the metastore", `it has ${reply.length} bytes and says that they are ${wanted}`);
  return { meta: reply.subarray(16, 16 + metaBytes), node: reply.subarray(24 + metaBytes) };
}

export function metastoreReply({ meta, node }: MetastoreReply): Buffer {
  return Buffer.concat([uint64(METASTORE_MAGIC), uint64(meta.length), meta, uint64(node.length), node]);
}

function lengthAt(reply: Buffer, offset: number): number {
  if (offset + 8 > reply.length) throw badReply("the metastore", `it is cut off behind ${reply.length} bytes`);
  const length = reply.readBigUInt64BE(offset);
  if (length > BigInt(reply.length)) throw badReply("the metastore", `a length in it is ${length}, of ${reply.length} bytes`);
  return Number(length);
}

/** The ids of the shards that a database's or a policy's info names. Names in the paths are not escaped, so the ids alone are taken. */
export function parsePaths(reply: Buffer): readonly number[] {
  const text = reply.toString("utf8");
  let paths: unknown;
  try {
    const document: unknown = JSON.parse(text);
    paths = typeof document === "object" && document !== null && "Paths" in document ? document.Paths : undefined;
  } catch (error) {
    throw badReply("the list of shards", `it is not JSON: ${JSON.stringify(text.slice(0, 100))}`, error);
  }
  if (paths === null) return [];
  if (!Array.isArray(paths)) throw badReply("the list of shards", `it has no Paths: ${JSON.stringify(text.slice(0, 100))}`);
  return paths.map((path: unknown) => {
    const digits = /\/([0-9]{1,16})$/.exec(String(path))?.[1];
    if (digits === undefined || !Number.isSafeInteger(Number(digits))) throw badReply("the list of shards", `${JSON.stringify(path)} names no shard`);
    return Number(digits);
  });
}

export function pathsReply(paths: readonly ShardPlace[]): Buffer {
  const texts = paths.map(({ database, policy, shard }) => `${database}/${policy}/${shard}`);
  return Buffer.from(`${JSON.stringify({ Paths: texts.length === 0 ? null : texts })}\n`);
}

/** Old shard ids and the new ones that the server gave them; none where it refused. */
export function parseIdMap(reply: Buffer): ReadonlyMap<number, number> {
  if (reply.length < 16 || reply.readBigUInt64BE(0) !== METASTORE_MAGIC) {
    throw badReply("the map of shard ids", reply.length === 0 ? "it is empty" : `it begins with ${reply.subarray(0, 8).toString("hex")}`);
  }
  const count = reply.readBigUInt64BE(8);
  if (BigInt(reply.length) !== 16n + 16n * count) throw badReply("the map of shard ids", `it has ${reply.length} bytes for ${count} pairs`);
  const id = (at: number): number => {
    const given = Number(reply.readBigUInt64BE(at));
    if (!Number.isSafeInteger(given)) throw badReply("the map of shard ids", `an id in it is ${reply.readBigUInt64BE(at)}`);
    return given;
  };
  const ids = new Map(Array.from({ length: Number(count) }, (_, pair) => [id(16 + 16 * pair), id(24 + 16 * pair)]));
  if (BigInt(ids.size) !== count) throw badReply("the map of shard ids", "it has an id twice");
  return ids;
}

export function idMapReply(ids: ReadonlyMap<number, number>): Buffer {
  return Buffer.concat([uint64(METASTORE_MAGIC), uint64(ids.size), ...[...ids].flatMap(([old, given]) => [uint64(old), uint64(given)])]);
}

function uint64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

/** A server that was cut off answers otherwise the next time. */
function badReply(what: string, finding: string, cause?: unknown): TidemarkError {
  return new TidemarkError("retry", "bad-reply", `what the server sent as ${what} is not that: ${finding}; its log tells why`, { cause });
}
