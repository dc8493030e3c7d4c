// InfluxDB's metastore: which databases, policies and shards there are, as one protobuf text. What is not looked at is
// carried over byte for byte, so that a later server's fields survive.

import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { messageOf, TidemarkError } from "../../model/errors.ts";

export interface Metastore {
  readonly databases: readonly Database[];
  readonly maxShardGroupId: number;
  readonly maxShardId: number;
  readonly maxNodeId: number;
  readonly users: number;
}

export interface Database {
  readonly name: string;
  readonly policies: readonly Policy[];
}

export interface Policy {
  readonly name: string;
  /** How long the server keeps points, in nanoseconds; 0 for ever. */
  readonly keptNs: bigint;
  readonly groups: readonly ShardGroup[];
}

/** All shards of one stretch of time, in nanoseconds since 1970: from `startNs` up to, not including, `endNs`. */
export interface ShardGroup {
  readonly id: number;
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly isDeleted: boolean;
  readonly shards: readonly number[];
}

/** A shard with where it belongs. */
export interface PlacedShard {
  readonly database: string;
  readonly policy: string;
  readonly shard: number;
  readonly startNs: bigint;
  readonly endNs: bigint;
}

/** InfluxDB's own monitoring, which changes all the time and which no restore takes: left out unless it is asked for. */
export const INTERNAL = "_internal";

const DATA = { databases: 5, users: 6, maxNodeId: 7, maxShardGroupId: 8, maxShardId: 9 } as const;
const DATABASE = { name: 1, defaultPolicy: 2, policies: 3 } as const;
const POLICY = { name: 1, keptNs: 2, groups: 5 } as const;
const GROUP = { id: 1, startNs: 2, endNs: 3, deletedAtNs: 4, shards: 5 } as const;
const SHARD = { id: 1 } as const;

/** @throws {TidemarkError} `retry` "bad-reply" */
export function parseMeta(meta: Uint8Array): Metastore {
  const data = fieldsOf(meta, "the metastore");
  return {
    databases: data.messages(DATA.databases).map(parseDatabase),
    maxNodeId: data.number(DATA.maxNodeId),
    maxShardGroupId: data.number(DATA.maxShardGroupId),
    maxShardId: data.number(DATA.maxShardId),
    users: data.messages(DATA.users).length,
  };
}

/** Every shard that is not deleted, by id. */
export function shardsOf({ databases }: Metastore): readonly PlacedShard[] {
  return databases
    .flatMap(({ name: database, policies }) =>
      policies.flatMap(({ name: policy, groups }) =>
        groups
          .filter(({ isDeleted }) => !isDeleted)
          .flatMap(({ startNs, endNs, shards }) => shards.map((shard) => ({ database, policy, shard, startNs, endNs }))),
      ),
    )
    .sort((a, b) => a.shard - b.shard);
}

/** The same metastore without its users and their passwords' hashes. */
export function withoutUsers(meta: Uint8Array): Buffer {
  return keep(meta, ({ field }) => field !== DATA.users);
}

/** The same metastore with those databases alone. */
export function onlyDatabases(meta: Uint8Array, isWanted: (name: string) => boolean): Buffer {
  return keep(meta, ({ field, message }) => field !== DATA.databases || isWanted(fieldsOf(message, "a database").text(DATABASE.name)));
}

/** The same metastore without policies of a database that are not wanted. */
export function onlyPolicies(meta: Uint8Array, isWanted: (database: string, policy: string) => boolean): Buffer {
  return change(meta, DATA.databases, (database) => {
    const name = fieldsOf(database, "a database").text(DATABASE.name);
    return keep(database, ({ field, message }) => field !== DATABASE.policies || isWanted(name, fieldsOf(message, "a policy").text(POLICY.name)));
  });
}

/** The metastore with its shards and their groups numbered anew; those without a new number keep theirs. */
export function renumbered(meta: Uint8Array, about: { readonly ids: ReadonlyMap<number, number>; readonly groupIds: ReadonlyMap<number, number> }): Buffer {
  const group = (bytes: Uint8Array): Buffer => {
    const id = fieldsOf(bytes, "a shard group").number(GROUP.id);
    const shards = change(bytes, GROUP.shards, (shard) => {
      const old = fieldsOf(shard, "a shard").number(SHARD.id);
      return withNumber(shard, SHARD.id, about.ids.get(old) ?? old);
    });
    return withNumber(shards, GROUP.id, about.groupIds.get(id) ?? id);
  };
  return change(meta, DATA.databases, (database) => change(database, DATABASE.policies, (policy) => change(policy, POLICY.groups, group)));
}

/** The raw messages of the databases, by name. */
export function databaseMessages(meta: Uint8Array): ReadonlyMap<string, Uint8Array> {
  const messages = fieldsOf(meta, "the metastore").messages(DATA.databases);
  return new Map(messages.map((message) => [fieldsOf(message, "a database").text(DATABASE.name), message]));
}

/** A database's message under another name; with `policy`, that of its only policy too, which becomes its default. */
export function renamedDatabase(message: Uint8Array, { name, policy }: { readonly name: string; readonly policy?: string | undefined }): Buffer {
  const renamed = withText(message, DATABASE.name, name);
  if (policy === undefined) return renamed;
  return withText(
    change(renamed, DATABASE.policies, (one) => withText(one, POLICY.name, policy)),
    DATABASE.defaultPolicy,
    policy,
  );
}

/** The metastore with more databases, and with its highest ids raised. */
export function withDatabases(meta: Uint8Array, added: readonly Uint8Array[], highest: Pick<Metastore, "maxShardGroupId" | "maxShardId">): Buffer {
  const more = new BinaryWriter();
  for (const message of added) more.tag(DATA.databases, WireType.LengthDelimited).bytes(message);
  const whole = Buffer.concat([meta, more.finish()]);
  return withNumber(withNumber(whole, DATA.maxShardGroupId, highest.maxShardGroupId), DATA.maxShardId, highest.maxShardId);
}

function parseDatabase(message: Uint8Array): Database {
  const database = fieldsOf(message, "a database");
  return { name: database.text(DATABASE.name), policies: database.messages(DATABASE.policies).map(parsePolicy) };
}

function parsePolicy(message: Uint8Array): Policy {
  const policy = fieldsOf(message, "a policy");
  return { name: policy.text(POLICY.name), keptNs: policy.int64(POLICY.keptNs), groups: policy.messages(POLICY.groups).map(parseGroup) };
}

function parseGroup(message: Uint8Array): ShardGroup {
  const group = fieldsOf(message, "a shard group");
  return {
    id: group.number(GROUP.id),
    startNs: group.int64(GROUP.startNs),
    endNs: group.int64(GROUP.endNs),
    isDeleted: group.int64(GROUP.deletedAtNs) !== 0n,
    shards: group.messages(GROUP.shards).map((shard) => fieldsOf(shard, "a shard").number(SHARD.id)),
  };
}

interface Field {
  readonly field: number;
  /** The field with its tag, as it stands. */
  readonly raw: Uint8Array;
  /** Of a field with a length, its content; else nothing. */
  readonly message: Uint8Array;
  readonly number: bigint;
}

/** The fields of a message, in their order. */
function walk(message: Uint8Array, what: string): readonly Field[] {
  const found: Field[] = [];
  try {
    const reader = new BinaryReader(message);
    while (reader.pos < reader.len) {
      const start = reader.pos;
      const [field, type] = reader.tag();
      const value = reader.pos;
      let content: Uint8Array = message.subarray(0, 0);
      let number = 0n;
      if (type === WireType.LengthDelimited) content = reader.bytes();
      else if (type === WireType.Varint) number = BigInt(reader.uint64());
      else reader.skip(type, field);
      if (reader.pos > reader.len || reader.pos <= value - 1) throw new RangeError("it is cut off");
      found.push({ field, raw: message.subarray(start, reader.pos), message: content, number });
    }
  } catch (error) {
    throw badMeta(what, messageOf(error), error);
  }
  return found;
}

function fieldsOf(message: Uint8Array, what: string) {
  const fields = walk(message, what);
  const last = (field: number) => fields.findLast((one) => one.field === field);
  return {
    messages: (field: number) => fields.filter((one) => one.field === field).map((one) => one.message),
    text(field: number): string {
      const found = Buffer.from(last(field)?.message ?? []).toString("utf8");
      if (found === "") throw badMeta(what, "it has no name");
      return found;
    },
    /** A whole number from 0. */
    number(field: number): number {
      const value = last(field)?.number ?? 0n;
      if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw badMeta(what, `field ${field} of it is ${value}`);
      return Number(value);
    },
    int64: (field: number) => BigInt.asIntN(64, last(field)?.number ?? 0n),
  };
}

function keep(message: Uint8Array, isKept: (field: Field) => boolean): Buffer {
  return Buffer.concat(
    walk(message, "the metastore")
      .filter(isKept)
      .map(({ raw }) => raw),
  );
}

/** The message with every field of that number made anew. */
function change(message: Uint8Array, field: number, to: (content: Uint8Array) => Uint8Array): Buffer {
  return Buffer.concat(
    walk(message, "the metastore").map((one) =>
      one.field === field ? new BinaryWriter().tag(field, WireType.LengthDelimited).bytes(to(one.message)).finish() : one.raw,
    ),
  );
}

function withNumber(message: Uint8Array, field: number, value: number): Buffer {
  return Buffer.concat([keep(message, (one) => one.field !== field), new BinaryWriter().tag(field, WireType.Varint).uint64(value).finish()]);
}

function withText(message: Uint8Array, field: number, value: string): Buffer {
  return Buffer.concat([keep(message, (one) => one.field !== field), new BinaryWriter().tag(field, WireType.LengthDelimited).string(value).finish()]);
}

function badMeta(what: string, finding: string, cause?: unknown): TidemarkError {
  return new TidemarkError("retry", "bad-reply", `${what}, as the server sent it, cannot be read: ${finding}`, { cause });
}

/** Whether a server takes it for a database or policy, whose names are folders of its own. */
export function isFolderName(name: string): boolean {
  return !/[/\\\0]/.test(name) && name !== "" && name !== "." && name !== "..";
}
