// What a snapshot says of itself, as key-value metadata of the Parquet footer. Order and form are the format's: the same
// description is always the same bytes.

import { assert } from "../../model/assert.ts";
import { PRODUCER_BYTES_MAX, SEQUENCE_BITS, SESSIONS_MAX } from "../../model/limits.ts";
import { toIndex } from "../../model/position.ts";
import type { Session } from "../../model/sessions.ts";
import type { SnapshotDescription } from "../../model/snapshot.ts";
import { CHECKSUM_BYTES, FORMAT_VERSION, SHA256_BYTES } from "./layout.ts";
import { compress, decompressUpTo } from "./page.ts";

const PREFIX = "tidemark.";
/** Of this program's encoder; together with the version of the zstd library it decides the bytes. */
const ENCODER_REVISION = 2;
/** The bytes of a snapshot are a function of its rows, its description and this. */
export const ENCODER_VERSION = `${ENCODER_REVISION}/zstd-${process.versions.zstd}`;

const COUNT_BYTES = 4;
const SEQUENCE_BYTES = SEQUENCE_BITS / 8;
const LAST_INDEX_BYTES = 8;
const SESSION_BYTES_MAX = 1 + PRODUCER_BYTES_MAX + SEQUENCE_BYTES + LAST_INDEX_BYTES;
const SESSIONS_BYTES_MAX = COUNT_BYTES + SESSIONS_MAX * SESSION_BYTES_MAX;

export type Metadata = readonly (readonly [key: string, value: string])[];

/** What the metadata tells of each row group. */
export interface GroupMetadata {
  /** Of the row group's bytes, and of its page index: 64 hex digits each. */
  readonly sha256: string;
  readonly indexSha256: string;
  /** Of the row group's bytes, unsigned. */
  readonly crc32: number;
  /** At most 255. */
  readonly carried: number;
}

/** More generations than this are told as so many: long before, the row group was read back. */
const CARRIED_TOLD_MAX = 255;
const GROUP_METADATA_BYTES = 2 * SHA256_BYTES + CHECKSUM_BYTES + 1;

export function encodeMetadata(description: SnapshotDescription, groups: readonly GroupMetadata[]): Metadata {
  const { position, border, base } = description;
  const entries: readonly (readonly [string, string])[] = [
    ["format", String(FORMAT_VERSION)],
    ["encoder", ENCODER_VERSION],
    ["table", description.table],
    ["shard", String(description.shard)],
    ["incarnation", description.incarnation],
    ["codec", description.codec],
    ["index", String(description.index)],
    ["position", JSON.stringify({ redoFile: position.redoFile, batchOffset: position.batchOffset })],
    ["border", JSON.stringify({ next: border.next, digest: border.digest, timeMs: border.timeMs })],
    ...(base === undefined ? [] : [["base", base] as const]),
    ["sessions", compress(encodeSessions(description.sessions)).toString("base64")],
    ["forgottenThrough", String(description.forgottenThrough)],
    ["splices", String(description.splices)],
    ["groups", encodeGroups(groups).toString("base64")],
  ];
  return entries.map(([key, value]) => [PREFIX + key, value] as const);
}

export interface DecodedMetadata {
  readonly description: SnapshotDescription;
  readonly encoder: string;
  readonly groups: readonly GroupMetadata[];
}

/** Throws RangeError where the metadata is not what `encodeMetadata` makes. Keys of others are passed over. */
export function decodeMetadata(metadata: Metadata): DecodedMetadata {
  const byKey = new Map(metadata);
  function text(key: string): string {
    const value = byKey.get(PREFIX + key);
    if (value === undefined) throw new RangeError(`the metadata has no ${PREFIX}${key}`);
    return value;
  }
  const codec = text("codec");
  if (codec !== "json" && codec !== "bytes") throw new RangeError(`the metadata has the unknown codec ${JSON.stringify(codec)}`);
  const position = jsonObject(text("position"));
  const border = jsonObject(text("border"));
  const digest = border.digest;
  if (typeof digest !== "string" || !/^[0-9a-f]{64}$/.test(digest)) throw new RangeError("the border has no digest");
  const base = byKey.get(`${PREFIX}base`);
  const description: SnapshotDescription = {
    table: text("table"),
    shard: whole(text("shard")),
    incarnation: text("incarnation"),
    codec,
    index: toIndex(whole(text("index"))),
    position: { redoFile: toIndex(whole(position.redoFile)), batchOffset: whole(position.batchOffset) },
    border: { next: toIndex(whole(border.next)), digest, timeMs: whole(border.timeMs) },
    ...(base === undefined ? {} : { base }),
    sessions: decodeSessions(decompressUpTo(Buffer.from(text("sessions"), "base64"), SESSIONS_BYTES_MAX)),
    forgottenThrough: toIndex(whole(text("forgottenThrough"))),
    splices: whole(text("splices")),
  };
  return { description, encoder: text("encoder"), groups: decodeGroups(Buffer.from(text("groups"), "base64")) };
}

/** Sessions in the format's order, whatever the order they come in. */
function encodeSessions(sessions: readonly Session[]): Buffer {
  assert(sessions.length <= SESSIONS_MAX, "a shard remembers a bounded number of producers");
  const named = sessions.map((session) => ({ ...session, name: Buffer.from(session.producer, "utf8") }));
  named.sort((a, b) => a.lastIndex - b.lastIndex || Buffer.compare(a.name, b.name));
  const bytes = Buffer.allocUnsafe(COUNT_BYTES + named.reduce((sum, { name }) => sum + 1 + name.length + SEQUENCE_BYTES + LAST_INDEX_BYTES, 0));
  let at = bytes.writeUInt32LE(named.length, 0);
  for (const { name, sequence, lastIndex } of named) {
    assert(name.length <= PRODUCER_BYTES_MAX, "a producer's name is bounded");
    at = bytes.writeUInt8(name.length, at);
    at += name.copy(bytes, at);
    for (let bits = SEQUENCE_BITS - 64; bits >= 0; bits -= 64) at = bytes.writeBigUInt64BE(BigInt.asUintN(64, sequence >> BigInt(bits)), at);
    at = bytes.writeBigUInt64LE(BigInt(lastIndex), at);
  }
  return bytes;
}

function decodeSessions(bytes: Buffer): readonly Session[] {
  const count = bytes.readUInt32LE(0);
  if (count > SESSIONS_MAX) throw new RangeError(`the metadata has ${count} sessions`);
  const sessions: Session[] = [];
  let at = COUNT_BYTES;
  for (let i = 0; i < count; i++) {
    const nameAt = at + 1;
    at = nameAt + bytes.readUInt8(at);
    const producer = bytes.toString("utf8", nameAt, at);
    let sequence = 0n;
    for (const end = at + SEQUENCE_BYTES; at < end; at += 8) sequence = (sequence << 64n) | bytes.readBigUInt64BE(at);
    const lastIndex = toIndex(Number(bytes.readBigUInt64LE(at)));
    at += LAST_INDEX_BYTES;
    sessions.push({ producer, sequence, lastIndex });
  }
  if (at !== bytes.length) throw new RangeError("bytes stand behind the sessions");
  return sessions;
}

function encodeGroups(groups: readonly GroupMetadata[]): Buffer {
  const bytes = Buffer.allocUnsafe(groups.length * GROUP_METADATA_BYTES);
  let at = 0;
  for (const { sha256, indexSha256, crc32, carried } of groups) {
    at += bytes.write(sha256, at, "hex");
    at += bytes.write(indexSha256, at, "hex");
    at = bytes.writeUInt32LE(crc32, at);
    at = bytes.writeUInt8(Math.min(carried, CARRIED_TOLD_MAX), at);
  }
  return bytes;
}

function decodeGroups(bytes: Buffer): readonly GroupMetadata[] {
  if (bytes.length % GROUP_METADATA_BYTES !== 0) throw new RangeError("what the metadata tells of row groups is cut");
  return Array.from({ length: bytes.length / GROUP_METADATA_BYTES }, (_, i) => {
    const at = i * GROUP_METADATA_BYTES;
    const indexAt = at + SHA256_BYTES;
    const crcAt = indexAt + SHA256_BYTES;
    return {
      sha256: bytes.toString("hex", at, indexAt),
      indexSha256: bytes.toString("hex", indexAt, crcAt),
      crc32: bytes.readUInt32LE(crcAt),
      carried: bytes.readUInt8(crcAt + CHECKSUM_BYTES),
    };
  });
}

function jsonObject(text: string): Readonly<Record<string, unknown>> {
  const value: unknown = JSON.parse(text);
  if (typeof value !== "object" || value === null) throw new RangeError("the metadata has no object where one must be");
  return value as Readonly<Record<string, unknown>>;
}

function whole(value: unknown): number {
  const number = typeof value === "string" && /^[0-9]+$/.test(value) ? Number(value) : value;
  if (typeof number !== "number" || !Number.isSafeInteger(number) || number < 0) throw new RangeError("the metadata has no number where one must be");
  return number;
}
