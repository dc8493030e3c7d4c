// The tail of a stored snapshot to what it says. Guarantees: nothing is parsed before the whole tail is verified, and
// what comes out describes row groups and pages that tile the object without a gap, within the reader's limits
// (I8, I10). Anything else is an error that names the object.

import { hash } from "node:crypto";
import { damagedObject, isTidemarkError, messageOf, newerFormat } from "../../model/errors.ts";
import type { SnapshotDescription } from "../../model/snapshot.ts";
import { decodeMetadata } from "./description.ts";
import {
  CHECKSUM_BYTES,
  COLUMNS,
  type ColumnChunk,
  FORMAT_VERSION,
  firstKey,
  GROUP_BYTES_MAX,
  KEY,
  lastKey,
  MAGIC,
  PAGE_BYTES_MAX,
  PAGE_ROWS_MAX,
  type RowGroup,
} from "./layout.ts";
import { findSeal, sealHolds } from "./seal.ts";
import { readThrift, type ThriftStruct } from "./thrift.ts";

export interface SnapshotFooter {
  readonly description: SnapshotDescription;
  /** The encoder version that wrote it. */
  readonly encoder: string;
  readonly rows: number;
  readonly groups: readonly RowGroup[];
  /** SHA-256 of the tail, 64 hex digits. */
  readonly footerSha256: string;
}

export type TailFinding = { readonly kind: "tail"; readonly footer: SnapshotFooter } | { readonly kind: "needs"; readonly lastBytes: number };

export interface TailRequest {
  /** The object's key, for errors. */
  readonly object: string;
  readonly size: number;
  /** The object's last bytes. Where they do not hold the whole tail, the answer says how many are needed. */
  readonly last: Buffer;
  /** As the checkpoint records it. */
  readonly footerSha256?: string;
}

export function decodeTail({ object, size, last, footerSha256 }: TailRequest): TailFinding {
  const seal = findSeal(last, size);
  if (seal.kind === "damaged") throw damagedObject(object, seal.what);
  if (seal.kind === "needs") return seal;
  const tailLength = size - seal.tailStart;
  if (tailLength > last.length) return { kind: "needs", lastBytes: tailLength };
  const tail = last.subarray(last.length - tailLength);
  const found = hash("sha256", tail, "hex");
  if (footerSha256 !== undefined && found !== footerSha256) throw damagedObject(object, "its tail has another SHA-256 than the checkpoint records");
  if (!sealHolds(tail, seal.footerStart - seal.tailStart)) throw damagedObject(object, "its tail fails the SHA-256 of its seal");
  if (seal.version > FORMAT_VERSION) throw newerFormat(object, seal.version, FORMAT_VERSION);
  return orDamaged(object, () => {
    const footer = readFooter(tail, seal.tailStart, seal.footerStart);
    return { kind: "tail", footer: { ...footer, footerSha256: found } };
  });
}

/** What `decode` gives; a fault of the codec becomes one that names the object. */
export function orDamaged<T>(object: string, decode: () => T): T {
  try {
    return decode();
  } catch (cause) {
    if (isTidemarkError(cause) && cause.kind === "repair") throw cause;
    throw damagedObject(object, messageOf(cause), cause);
  }
}

function readFooter(tail: Buffer, tailStart: number, footerStart: number): Omit<SnapshotFooter, "footerSha256"> {
  const { struct: footer } = readThrift(tail, footerStart - tailStart);
  const metadata = decodeMetadata(footer.structs(5).map((entry) => [entry.text(1), entry.text(2)] as const));
  const groups = readGroups(footer.structs(4), metadata.groupHashes, tail, tailStart);
  const rows = groups.reduce((sum, group) => sum + group.rows, 0);
  if (footer.integer(3) !== rows) throw new RangeError("the footer counts other rows than its row groups");
  return { description: metadata.description, encoder: metadata.encoder, rows, groups };
}

function readGroups(structs: readonly ThriftStruct[], hashes: readonly string[], tail: Buffer, tailStart: number): readonly RowGroup[] {
  if (structs.length !== hashes.length) throw new RangeError("the footer has another number of hashes than of row groups");
  const groups: RowGroup[] = [];
  let offset = MAGIC.length;
  for (const [i, struct] of structs.entries()) {
    const group = readGroup(struct, offset, hashes[i], tail, tailStart);
    if (i > 0 && Buffer.compare(lastKey(groups[i - 1]), firstKey(group)) >= 0) throw new RangeError("row groups overlap");
    groups.push(group);
    offset += group.byteLength;
  }
  if (offset !== tailStart) throw new RangeError("the row groups do not end where the tail starts");
  return groups;
}

function readGroup(struct: ThriftStruct, offset: number, sha256: string, tail: Buffer, tailStart: number): RowGroup {
  const chunks = struct.structs(1);
  if (chunks.length !== COLUMNS.length) throw new RangeError(`a row group has ${chunks.length} columns`);
  const columnIndex = indexStruct(chunks[KEY], 6, tail, tailStart).struct;
  const firstKeys = columnIndex.binaries(2);
  const lastKeys = columnIndex.binaries(3);
  const rows = struct.integer(3);
  let pageRows: readonly number[] = [];
  let at = offset;
  let checksumsAt = 0;
  const places = chunks.map((chunk, column) => {
    const { struct: offsetIndex, end } = indexStruct(chunk, 4, tail, tailStart);
    const pages = readPages(offsetIndex.structs(1), at, rows);
    if (column === KEY) pageRows = pages.pageRows;
    else if (pages.pageRows.some((count, page) => count !== pageRows[page])) throw new RangeError("the pages of a row group's columns differ");
    at += pages.byteLength;
    checksumsAt = end;
    return { ...pages, offset: at - pages.byteLength - offset, rawByteLength: chunk.struct(3).integer(6) };
  });
  const byteLength = at - offset;
  if (byteLength > GROUP_BYTES_MAX) throw new RangeError(`a row group has ${byteLength} bytes`);
  if (firstKeys.length !== pageRows.length || lastKeys.length !== pageRows.length)
    throw new RangeError("a row group's column index has another number of pages");
  const columns = places.map((place, column): ColumnChunk => {
    const pageChecksums = pageRows.map((_, page) => tail.readUInt32LE(checksumsAt + (column * pageRows.length + page) * CHECKSUM_BYTES));
    return { offset: place.offset, byteLength: place.byteLength, rawByteLength: place.rawByteLength, pageBytes: place.pageBytes, pageChecksums };
  });
  return { offset, byteLength, rows, sha256, pageRows, firstKeys, lastKeys, columns };
}

/** A page index of a chunk; `id` is the field that tells its offset, the next one its length. `end` is where it ends in the tail. */
function indexStruct(chunk: ThriftStruct, id: number, tail: Buffer, tailStart: number): { readonly struct: ThriftStruct; readonly end: number } {
  const start = chunk.integer(id) - tailStart;
  const end = start + chunk.integer(id + 1);
  if (start < 0 || end < start || end > tail.length) throw new RangeError("a page index lies outside the tail");
  return { struct: readThrift(tail.subarray(start, end)).struct, end };
}

/** The pages of one chunk, which tile it from `offset` on and hold `rows` rows. */
function readPages(
  locations: readonly ThriftStruct[],
  offset: number,
  rows: number,
): { readonly pageRows: readonly number[]; readonly pageBytes: readonly number[]; readonly byteLength: number } {
  const firstRows = locations.map((location) => location.integer(3));
  const pageRows = firstRows.map((first, page) => (page + 1 < firstRows.length ? firstRows[page + 1] : rows) - first);
  if (firstRows[0] !== 0 || pageRows.some((count) => count < 1 || count > PAGE_ROWS_MAX)) throw new RangeError("the rows of a row group's pages do not add up");
  let byteLength = 0;
  const pageBytes = locations.map((location) => {
    const bytes = location.integer(2);
    if (location.integer(1) !== offset + byteLength || bytes < 1 || bytes > PAGE_BYTES_MAX) throw new RangeError("the pages of a row group do not tile it");
    byteLength += bytes;
    return bytes;
  });
  return { pageRows, pageBytes, byteLength };
}
