// A TSM file through ranged reads. Guarantees: never more than a few reads of the index or of the blocks are in memory, however
// large the file; keys come ascending, the blocks of a key by their first time, and all lie within the file; a block comes out only
// where its bytes pass their CRC-32. Anything else is a fault that names the file and the place (I8).
//
// The index has no checksum of its own: its lengths, orders and places are checked, and whoever decodes a block compares its times.

import { crc32 } from "node:zlib";
import { damagedObject } from "../../../model/errors.ts";
import { quoted, tooLarge } from "./faults.ts";
import {
  BLOCK_BYTES_MIN,
  type BlockType,
  CHECKSUM_BYTES,
  ENTRY_BYTES,
  ENTRY_LAST_TIME,
  ENTRY_LENGTH,
  ENTRY_OFFSET,
  FOOTER_BYTES,
  HEADER,
  isBlockType,
  KEY_LENGTH_BYTES,
  KEY_TAIL_BYTES,
  type TsmSource,
} from "./layout.ts";
import { BLOCK_BYTES_MAX, INDEX_CHUNK_BYTES, READ_BYTES, READ_GAP_BYTES } from "./limits.ts";

export interface TsmFile {
  readonly source: TsmSource;
  /** Where the blocks end and the index begins. */
  readonly indexStart: number;
  readonly indexEnd: number;
}

/** One key and its blocks, as views of what was read. */
export interface IndexKey {
  /** Series and field: `cpu,host=a#!~#value`. */
  readonly key: Buffer;
  readonly type: BlockType;
  readonly blocks: readonly BlockEntry[];
}

export interface BlockEntry {
  /** Nanoseconds, both included. */
  readonly first: bigint;
  readonly last: bigint;
  readonly offset: number;
  /** Bytes, with the CRC. */
  readonly length: number;
}

/** Checks header and footer. */
export async function openTsm(source: TsmSource): Promise<TsmFile> {
  const indexEnd = source.size - FOOTER_BYTES;
  if (indexEnd <= HEADER.length) throw damagedObject(source.name, `it has ${source.size} bytes, too few for a TSM file`);
  const header = await readExactly(source, 0, HEADER.length);
  if (!header.equals(HEADER)) throw damagedObject(source.name, `it begins with ${header.toString("hex")}, not as a TSM file of version 1`);
  const indexStart = Number((await readExactly(source, indexEnd, FOOTER_BYTES)).readBigUInt64BE());
  if (indexStart < HEADER.length || indexStart >= indexEnd) throw damagedObject(source.name, "its footer points to no index");
  return { source, indexStart, indexEnd };
}

/** The index, in order: the keys of one chunk at a time. */
export async function* readIndex(file: TsmFile): AsyncGenerator<readonly IndexKey[]> {
  const { source, indexStart, indexEnd } = file;
  const parser = indexParser(file);
  let rest: Buffer = Buffer.alloc(0);
  for (let at = indexStart; at < indexEnd; ) {
    const chunk = await readExactly(source, at, Math.min(INDEX_CHUNK_BYTES, indexEnd - at));
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const start = at - rest.length;
    at += chunk.length;
    const { keys, end } = parser(bytes, start);
    rest = bytes.subarray(end);
    if (keys.length > 0) yield keys;
  }
  if (rest.length > 0) throw damagedObject(source.name, `its index is cut: ${rest.length} bytes at its end are no key`);
}

interface Parsed {
  readonly keys: readonly IndexKey[];
  /** Where the first key begins that is not whole. */
  readonly end: number;
}

/** Takes the index piece by piece; remembers what the order and the sum of the blocks need. */
function indexParser({ source, indexStart }: TsmFile): (bytes: Buffer, start: number) => Parsed {
  let previous: Buffer | undefined;
  let blockBytes = 0;
  return (bytes, start) => {
    const keys: IndexKey[] = [];
    let at = 0;
    for (;;) {
      const length = keyLength(bytes, at);
      if (length === undefined) return { keys, end: at };
      const found = parseKey(bytes, at, start + at);
      keys.push(found);
      previous = found.key;
      at += length;
    }
  };

  function parseKey(bytes: Buffer, at: number, place: number): IndexKey {
    const keyEnd = at + KEY_LENGTH_BYTES + bytes.readUInt16BE(at);
    const key = bytes.subarray(at + KEY_LENGTH_BYTES, keyEnd);
    const type = bytes[keyEnd];
    const damaged = (what: string) => damagedObject(source.name, `the index at ${place}, key ${quoted(key)}: ${what}`);
    if (key.length === 0) throw damaged("the key is empty");
    if (previous !== undefined && Buffer.compare(previous, key) >= 0) throw damaged(`it does not stand behind ${quoted(previous)}`);
    if (!isBlockType(type)) throw damaged(`it has the unknown type ${type}`);
    const blocks: BlockEntry[] = [];
    const count = bytes.readUInt16BE(keyEnd + 1);
    if (count === 0) throw damaged("it has no blocks");
    for (let i = 0; i < count; i++) blocks.push(parseEntry(bytes, keyEnd + KEY_TAIL_BYTES + i * ENTRY_BYTES, blocks[i - 1], damaged));
    return { key, type, blocks };
  }

  function parseEntry(bytes: Buffer, at: number, before: BlockEntry | undefined, damaged: (what: string) => Error): BlockEntry {
    const first = bytes.readBigInt64BE(at);
    const last = bytes.readBigInt64BE(at + ENTRY_LAST_TIME);
    const offset = Number(bytes.readBigUInt64BE(at + ENTRY_OFFSET));
    const length = bytes.readUInt32BE(at + ENTRY_LENGTH);
    if (first > last) throw damaged(`a block ends at ${last}, before it begins at ${first}`);
    if (before !== undefined && first < before.first) throw damaged("its blocks are not in order of time");
    if (length < BLOCK_BYTES_MIN || offset < HEADER.length || offset + length > indexStart) {
      throw damaged(`a block of ${length} bytes at ${offset} does not lie between header and index`);
    }
    blockBytes += length;
    if (HEADER.length + blockBytes > indexStart) throw damaged("the blocks have more bytes than the file");
    return { first, last, offset, length };
  }
}

/** Bytes of the whole key at `at`; nothing where it is not all there. */
function keyLength(bytes: Buffer, at: number): number | undefined {
  if (at + KEY_LENGTH_BYTES > bytes.length) return undefined;
  const head = KEY_LENGTH_BYTES + bytes.readUInt16BE(at) + KEY_TAIL_BYTES;
  if (at + head > bytes.length) return undefined;
  const length = head + bytes.readUInt16BE(at + head - 2) * ENTRY_BYTES;
  return at + length > bytes.length ? undefined : length;
}

/** Where some blocks lie that are read together. */
export interface BlockRead {
  readonly offset: number;
  readonly length: number;
  readonly blocks: readonly BlockEntry[];
}

/** Blocks in their order, neighbours in one read: up to READ_BYTES, or a single block that is larger. */
export function coalesced(blocks: readonly BlockEntry[]): readonly BlockRead[] {
  const reads: BlockRead[] = [];
  for (let from = 0; from < blocks.length; ) {
    const { offset } = blocks[from];
    let end = offset + blocks[from].length;
    let to = from + 1;
    for (; to < blocks.length; to++) {
      const next = blocks[to];
      if (next.offset < end || next.offset > end + READ_GAP_BYTES || next.offset + next.length > offset + READ_BYTES) break;
      end = next.offset + next.length;
    }
    reads.push({ offset, length: end - offset, blocks: blocks.slice(from, to) });
    from = to;
  }
  return reads;
}

/** The bytes of the blocks, in their order, those of one read together; each with its CRC, which holds. One read is made ahead. */
export async function* readBlocks({ source }: TsmFile, blocks: readonly BlockEntry[]): AsyncGenerator<readonly Buffer[]> {
  const large = blocks.find(({ length }) => length > BLOCK_BYTES_MAX);
  if (large !== undefined) throw tooLarge(source.name, `the block at ${large.offset} has ${large.length} bytes, above ${BLOCK_BYTES_MAX}`);
  const reads = coalesced(blocks);
  let ahead = reads.length === 0 ? undefined : readAhead(source, reads[0]);
  for (const [i, read] of reads.entries()) {
    const bytes = await ahead;
    ahead = i + 1 < reads.length ? readAhead(source, reads[i + 1]) : undefined;
    if (bytes === undefined) return;
    yield read.blocks.map(({ offset, length }) => checked(source, offset, bytes.subarray(offset - read.offset, offset - read.offset + length)));
  }
}

function checked({ name }: TsmSource, offset: number, block: Buffer): Buffer {
  if (crc32(block.subarray(CHECKSUM_BYTES)) !== block.readUInt32BE()) throw damagedObject(name, `the block at ${offset} fails its CRC-32`);
  return block;
}

function readAhead(source: TsmSource, { offset, length }: BlockRead): Promise<Buffer> {
  const reading = readExactly(source, offset, length);
  // It may fail while blocks before it are worked on, or when nobody reads on.
  reading.catch(() => undefined);
  return reading;
}

async function readExactly(source: TsmSource, offset: number, length: number): Promise<Buffer> {
  const bytes = await source.read(offset, length);
  if (bytes.length !== length) throw damagedObject(source.name, `it is cut: ${bytes.length} bytes came where ${length} are at ${offset}`);
  return bytes;
}
