// The foot of a stored snapshot to what it says. Guarantees: nothing is parsed before the whole foot is verified, and
// what comes out describes row groups and page indexes that tile the object without a gap, within the reader's limits
// (I8, I10). Anything else is an error that names the object.

import { hash } from "node:crypto";
import { damagedObject, newerFormat } from "../../model/errors.ts";
import type { SnapshotDescription } from "../../model/snapshot.ts";
import { decodeMetadata, type GroupMetadata } from "./description.ts";
import { orDamaged } from "./faults.ts";
import { COLUMNS, type ColumnChunk, FORMAT_VERSION, GROUP_BYTES_MAX, KEY, MAGIC, type RowGroup } from "./layout.ts";
import { checkIndexSize, checkTiles, type IndexPlace } from "./page-index.ts";
import { findSeal, SEAL_BYTES, sealHolds } from "./seal.ts";
import { readThrift, type ThriftStruct, type ThriftStructs } from "./thrift.ts";

/** A row group as the footer tells it, and where its page index lies. */
export interface StoredGroup extends RowGroup {
  readonly index: IndexPlace;
}

export interface SnapshotFooter {
  readonly description: SnapshotDescription;
  /** The encoder version that wrote it. */
  readonly encoder: string;
  readonly rows: number;
  readonly groups: readonly StoredGroup[];
  /** SHA-256 of the foot, 64 hex digits. */
  readonly footerSha256: string;
}

export type FootFinding = { readonly kind: "foot"; readonly footer: SnapshotFooter } | { readonly kind: "needs"; readonly lastBytes: number };

export interface FootRequest {
  /** The object's key, for errors. */
  readonly object: string;
  readonly size: number;
  /** The object's last bytes. Where they do not hold the whole foot, the answer says how many are needed. */
  readonly last: Buffer;
  /** As the checkpoint records it. */
  readonly footerSha256?: string;
}

export function decodeFoot({ object, size, last, footerSha256 }: FootRequest): FootFinding {
  const seal = findSeal(last, size);
  if (seal.kind === "damaged") throw damagedObject(object, seal.what);
  if (seal.kind === "needs") return seal;
  const foot = last.subarray(last.length - seal.footBytes);
  const found = hash("sha256", foot, "hex");
  if (footerSha256 !== undefined && found !== footerSha256) throw damagedObject(object, "its footer has another SHA-256 than the checkpoint records");
  if (!sealHolds(foot)) throw damagedObject(object, "its footer fails the SHA-256 of its seal");
  if (seal.version > FORMAT_VERSION) throw newerFormat(object, seal.version, FORMAT_VERSION);
  return orDamaged(object, () => {
    const footer = readFooter(foot.subarray(SEAL_BYTES), { indexesStart: seal.indexesStart, indexesEnd: size - seal.footBytes });
    return { kind: "foot", footer: { ...footer, footerSha256: found } };
  });
}

interface Bounds {
  readonly indexesStart: number;
  readonly indexesEnd: number;
}

function readFooter(bytes: Buffer, bounds: Bounds): Omit<SnapshotFooter, "footerSha256"> {
  const { struct: footer } = readThrift(bytes);
  const metadata = decodeMetadata(footer.structs(5).map((entry) => [entry.text(1), entry.text(2)] as const));
  const groups = readGroups(footer.eachStruct(4), metadata.groups, bounds);
  const rows = groups.reduce((sum, group) => sum + group.rows, 0);
  if (footer.integer(3) !== rows) throw new RangeError("the footer counts other rows than its row groups");
  return { description: metadata.description, encoder: metadata.encoder, rows, groups };
}

function readGroups(structs: ThriftStructs, metadata: readonly GroupMetadata[], { indexesStart, indexesEnd }: Bounds): readonly StoredGroup[] {
  if (structs.count !== metadata.length) throw new RangeError("the footer has another number of hashes than of row groups");
  const groups: StoredGroup[] = [];
  let offset = MAGIC.length;
  let indexAt = indexesStart;
  for (const [struct, next] of withNext(structs)) {
    const i = groups.length;
    const indexEnd = next === undefined ? indexesEnd : next.structs(1)[KEY]?.integer(6);
    const group = readGroup(struct, metadata[i], { offset, indexAt, indexEnd });
    if (i > 0 && Buffer.compare(groups[i - 1].lastKey, group.firstKey) >= 0) throw new RangeError("row groups overlap");
    groups.push(group);
    offset += group.byteLength;
    indexAt = indexEnd;
  }
  if (offset !== indexesStart || indexAt !== indexesEnd) throw new RangeError("row groups and page indexes do not tile the object");
  return groups;
}

/** Each with the one behind it. */
function* withNext(structs: Iterable<ThriftStruct>): Generator<readonly [ThriftStruct, ThriftStruct | undefined]> {
  let before: ThriftStruct | undefined;
  for (const struct of structs) {
    if (before !== undefined) yield [before, struct];
    before = struct;
  }
  if (before !== undefined) yield [before, undefined];
}

function readGroup(
  struct: ThriftStruct,
  { sha256, crc32, indexSha256, carried }: GroupMetadata,
  { offset, indexAt, indexEnd }: { readonly offset: number; readonly indexAt: number; readonly indexEnd: number },
): StoredGroup {
  const chunks = struct.structs(1);
  if (chunks.length !== COLUMNS.length) throw new RangeError(`a row group has ${chunks.length} columns`);
  const columns = chunks.map((chunk): ColumnChunk => {
    const about = chunk.struct(3);
    return { offset: about.integer(9) - offset, byteLength: about.integer(7), rawByteLength: about.integer(6) };
  });
  const byteLength = columns.reduce((sum, chunk) => sum + chunk.byteLength, 0);
  checkTiles({ byteLength, columns });
  if (byteLength > GROUP_BYTES_MAX) throw new RangeError(`a row group has ${byteLength} bytes`);
  const rows = struct.integer(3);
  const statistics = chunks[KEY].struct(3).struct(12);
  const lengths = readLengths(chunks, indexAt, indexEnd);
  const index = { offset: indexAt, byteLength: indexEnd - indexAt, sha256: indexSha256, lengths };
  checkIndexSize(index.byteLength);
  return { offset, byteLength, rows, sha256, crc32, firstKey: statistics.bytes(6), lastKey: statistics.bytes(5), columns, carried, index };
}

/** Bytes of the structures of a page index, which lie one behind the other from `start` on and leave room for checksums. */
function readLengths(chunks: readonly ThriftStruct[], start: number, end: number): readonly number[] {
  const places = [
    { offset: chunks[KEY].integer(6), byteLength: chunks[KEY].integer(7) },
    ...chunks.map((chunk) => ({ offset: chunk.integer(4), byteLength: chunk.integer(5) })),
  ];
  let at = start;
  for (const { offset, byteLength } of places) {
    if (offset !== at || byteLength < 1) throw new RangeError("the structures of a page index do not tile it");
    at += byteLength;
  }
  if (at > end) throw new RangeError("a page index reaches beyond its end");
  return places.map(({ byteLength }) => byteLength);
}
