// The parts of a TSM file as they are written, but for the blocks' own bytes.

import { crc32 } from "node:zlib";
import {
  type BlockType,
  CHECKSUM_BYTES,
  ENTRY_BYTES,
  ENTRY_LAST_TIME,
  ENTRY_LENGTH,
  ENTRY_OFFSET,
  FOOTER_BYTES,
  KEY_LENGTH_BYTES,
  KEY_TAIL_BYTES,
} from "./layout.ts";
import { PIECE_BYTES } from "./limits.ts";
import type { BlockEntry } from "./read.ts";

/** A block as it is stored: its CRC-32 in front. */
export function sealBlock(block: Buffer): Buffer {
  const stored = Buffer.allocUnsafe(CHECKSUM_BYTES + block.length);
  stored.writeUInt32BE(crc32(block));
  block.copy(stored, CHECKSUM_BYTES);
  return stored;
}

export function indexKeyBytes(key: Buffer, blockCount: number): number {
  return KEY_LENGTH_BYTES + key.length + KEY_TAIL_BYTES + blockCount * ENTRY_BYTES;
}

/** A key of the index, its blocks by their first time. */
export function indexKey(key: Buffer, type: BlockType, blocks: readonly BlockEntry[]): Buffer {
  const bytes = Buffer.allocUnsafe(indexKeyBytes(key, blocks.length));
  let at = bytes.writeUInt16BE(key.length);
  at += key.copy(bytes, at);
  at = bytes.writeUInt8(type, at);
  at = bytes.writeUInt16BE(blocks.length, at);
  for (const { first, last, offset, length } of inOrder(blocks)) {
    bytes.writeBigInt64BE(first, at);
    bytes.writeBigInt64BE(last, at + ENTRY_LAST_TIME);
    bytes.writeBigUInt64BE(BigInt(offset), at + ENTRY_OFFSET);
    bytes.writeUInt32BE(length, at + ENTRY_LENGTH);
    at += ENTRY_BYTES;
  }
  return bytes;
}

/** Cutting can change the order only of blocks that overlap, which InfluxDB seldom leaves. */
function inOrder(blocks: readonly BlockEntry[]): readonly BlockEntry[] {
  const isOrdered = blocks.every(({ first }, i) => i === 0 || blocks[i - 1].first <= first);
  return isOrdered ? blocks : blocks.toSorted((one, other) => (one.first < other.first ? -1 : one.first > other.first ? 1 : 0));
}

export function footer(indexStart: number): Buffer {
  const bytes = Buffer.allocUnsafe(FOOTER_BYTES);
  bytes.writeBigUInt64BE(BigInt(indexStart));
  return bytes;
}

/** Small parts together are pieces that are worth handing on. */
export async function* inPieces(parts: AsyncIterable<readonly Buffer[]>): AsyncGenerator<Buffer> {
  let waiting: Buffer[] = [];
  let length = 0;
  for await (const together of parts) {
    for (const part of together) {
      waiting.push(part);
      length += part.length;
      if (length < PIECE_BYTES) continue;
      yield Buffer.concat(waiting, length);
      waiting = [];
      length = 0;
    }
  }
  if (length > 0) yield Buffer.concat(waiting, length);
}
