// A snapshotter that answers from a model of a server: databases, policies, shards, files, each changed at will between two
// requests. For what a real server does only now and then, and where what is read must be the test's own to the byte.

import type { Socket } from "node:net";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { tarEnd, tarHeader, tarPadding } from "../../lib/sources/influxdb/tar.ts";
import { metastoreReply, pathsReply } from "../../lib/sources/influxdb/wire.ts";
import { type Dialect, type Double, type SnapshotterRequest, startDouble } from "./double.ts";

const DAY_NS = 86_400_000_000_000n;
const EMPTY_ARCHIVE_BYTES = 1_024;
const NODE = Buffer.from("null\n");

export interface ModelFile {
  readonly bytes: Buffer;
  /** Milliseconds since 1970; an archive tells whole seconds, `Since` compares all of it. */
  readonly modifiedMs: number;
}

export interface ModelShard {
  readonly shard: number;
  readonly database: string;
  readonly policy: string;
  readonly files: Map<string, ModelFile>;
}

export interface ModelServer extends Double {
  /** In the metastore, and there; changed by the test. */
  readonly shards: Map<number, ModelShard>;
  /** Of the metastore's shards those that the server could not open: it lists none of them, and answers nothing for them. */
  readonly unopened: Set<number>;
  /** Asked before each answer; what is returned is written in its place. */
  spoil: (request: SnapshotterRequest) => Buffer | undefined;
}

export async function startModelServer(shards: readonly ModelShard[], { dialect = "1.5" }: { readonly dialect?: Dialect } = {}): Promise<ModelServer> {
  const types =
    dialect === "1.5" ? (["shard", "metastore", "", "database", "policy", "shard"] as const) : (["shard", "metastore", "database", "policy"] as const);
  const model = { shards: new Map(shards.map((one) => [one.shard, one])), unopened: new Set<number>(), spoil: (): Buffer | undefined => undefined };
  const double = await startDouble(
    (request: SnapshotterRequest, socket: Socket) => {
      const spoiled = server.spoil(request);
      socket.end(spoiled ?? answerOf(types[request.type] ?? "", request));
    },
    { dialect },
  );

  function answerOf(kind: string, { json }: SnapshotterRequest): Buffer {
    const text = (...names: readonly string[]): string => String(names.map((name) => json[name]).find((value) => value !== undefined) ?? "");
    switch (kind) {
      case "metastore":
        return metastoreReply({ meta: metaOf([...model.shards.values()]), node: NODE });
      case "database":
      case "policy": {
        const [database, policy] = [text("BackupDatabase", "Database"), text("BackupRetentionPolicy", "RetentionPolicy")];
        const known = [...model.shards.values()].filter((one) => one.database === database && (kind === "database" || one.policy === policy));
        return known.length === 0 ? Buffer.alloc(0) : pathsReply(known.filter(({ shard }) => !model.unopened.has(shard)));
      }
      case "shard": {
        const found = model.shards.get(Number(json.ShardID));
        if (found === undefined || model.unopened.has(found.shard)) return Buffer.alloc(0);
        const reply = archiveOf(found, Date.parse(text("Since")));
        // An old one has no bytes where it has no files.
        return dialect === "1.0" && reply.length === EMPTY_ARCHIVE_BYTES ? Buffer.alloc(0) : reply;
      }
      default:
        return Buffer.alloc(0);
    }
  }

  const server: ModelServer = Object.assign(double, model);
  return server;
}

export function modelShard(shard: number, files: Readonly<Record<string, string | ModelFile>>, place: Partial<ModelShard> = {}): ModelShard {
  const held = Object.entries(files).map(([name, file]): [string, ModelFile] => [
    name,
    typeof file === "string" ? { bytes: Buffer.from(file), modifiedMs: 1_700_000_000_000 } : file,
  ]);
  return { database: "db", policy: "policy", ...place, shard, files: new Map(held) };
}

function archiveOf({ shard, database, policy, files }: ModelShard, sinceMs: number): Buffer {
  const newer = [...files].filter(([, { modifiedMs }]) => modifiedMs > sinceMs).sort(([a], [b]) => (a < b ? -1 : 1));
  return archive(
    newer.map(([name, { bytes, modifiedMs }]) => ({ name: `${database}/${policy}/${shard}/${name}`, bytes, modifiedS: Math.floor(modifiedMs / 1_000) })),
  );
}

export interface ArchiveEntry {
  readonly name: string;
  readonly bytes: Buffer;
  readonly modifiedS?: number;
  /** Of a header: "0" for a regular file, "5" for a directory, "1" and "2" for links. */
  readonly type?: string;
}

export function archive(entries: readonly ArchiveEntry[]): Buffer {
  const blocks = entries.flatMap(({ name, bytes, modifiedS = 1_700_000_000, type = "0" }) => {
    const header = tarHeader({ name, size: bytes.length, modifiedS });
    if (type !== "0") retype(header.subarray(-512), type);
    return [header, bytes, tarPadding(bytes.length)];
  });
  return Buffer.concat([...blocks, tarEnd()]);
}

function retype(block: Buffer, type: string): void {
  block.write(type, 156, "latin1");
  block.fill(0x20, 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
}

/** The metastore of a server with these shards; of those that it has deleted the groups are left for a while, marked. */
export function metaOf(shards: readonly ModelShard[], { deleted = [] }: { readonly deleted?: readonly number[] } = {}): Buffer {
  const data = new BinaryWriter().tag(1, WireType.Varint).uint64(1).tag(2, WireType.Varint).uint64(1).tag(3, WireType.Varint).uint64(1);
  for (const database of new Set(shards.map((one) => one.database))) {
    const inDatabase = shards.filter((one) => one.database === database);
    const message = named(database);
    message.tag(2, WireType.LengthDelimited).string(inDatabase[0].policy);
    for (const policy of new Set(inDatabase.map((one) => one.policy))) {
      const of = named(policy).tag(2, WireType.Varint).int64(0).tag(3, WireType.Varint).int64(DAY_NS).tag(4, WireType.Varint).uint32(1);
      for (const { shard } of inDatabase.filter((one) => one.policy === policy)) {
        const one = new BinaryWriter().tag(1, WireType.Varint).uint64(shard).finish();
        const group = new BinaryWriter().tag(1, WireType.Varint).uint64(shard);
        group
          .tag(2, WireType.Varint)
          .int64(DAY_NS * BigInt(shard))
          .tag(3, WireType.Varint)
          .int64(DAY_NS * BigInt(shard + 1))
          .tag(4, WireType.Varint)
          .int64(deleted.includes(shard) ? DAY_NS : 0);
        of.tag(5, WireType.LengthDelimited).bytes(group.tag(5, WireType.LengthDelimited).bytes(one).finish());
      }
      message.tag(3, WireType.LengthDelimited).bytes(of.finish());
    }
    data.tag(5, WireType.LengthDelimited).bytes(message.finish());
  }
  const highest = Math.max(0, ...shards.map(({ shard }) => shard));
  return Buffer.from(data.tag(8, WireType.Varint).uint64(highest).tag(9, WireType.Varint).uint64(highest).finish());
}

function named(name: string): BinaryWriter {
  return new BinaryWriter().tag(1, WireType.LengthDelimited).string(name);
}
