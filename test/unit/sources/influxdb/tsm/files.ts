// TSM files and tombstone files made by hand, and readers of whole ones.

import { gzipSync } from "node:zlib";
import { type Points, decodeBlock, encodeBlock } from "../../../../../lib/sources/influxdb/tsm/block.ts";
import { BOOLEAN, FLOAT, HEADER, INTEGER, STRING, type TsmSource } from "../../../../../lib/sources/influxdb/tsm/layout.ts";
import { openTsm, readBlocks, readIndex } from "../../../../../lib/sources/influxdb/tsm/read.ts";
import type { Rewrite } from "../../../../../lib/sources/influxdb/tsm/rewrite.ts";
import type { Strings } from "../../../../../lib/sources/influxdb/tsm/strings.ts";
import type { Tombstones } from "../../../../../lib/sources/influxdb/tsm/tombstone.ts";
import { footer, indexKey, sealBlock } from "../../../../../lib/sources/influxdb/tsm/write.ts";

export interface Reads {
  count: number;
  longest: number;
}

export function sourceOf(bytes: Buffer, reads: Reads = { count: 0, longest: 0 }): TsmSource {
  return {
    name: "a.tsm",
    size: bytes.length,
    read: async (offset, length) => {
      reads.count++;
      reads.longest = Math.max(reads.longest, length);
      return bytes.subarray(offset, offset + length);
    },
  };
}

/** A key and its blocks; keys ascend. */
export interface Series {
  readonly key: string;
  readonly blocks: readonly Points[];
}

export function tsmOf(series: readonly Series[]): Buffer {
  const parts: Buffer[] = [HEADER];
  const index: Buffer[] = [];
  let offset = HEADER.length;
  for (const { key, blocks } of series) {
    const entries = blocks.map((points) => {
      const stored = sealBlock(encodeBlock(points));
      parts.push(stored);
      offset += stored.length;
      return { first: points.times[0], last: points.times[points.times.length - 1], offset: offset - stored.length, length: stored.length };
    });
    index.push(indexKey(Buffer.from(key), blocks[0].type, entries));
  }
  return Buffer.concat([...parts, ...index, footer(offset)]);
}

export function integers(times: readonly bigint[], values: readonly bigint[] = times): Points {
  return { type: INTEGER, times: BigInt64Array.from(times), values: BigInt64Array.from(values) };
}

export function stringsOf(texts: readonly Buffer[]): Strings {
  const starts = new Uint32Array(texts.length);
  const ends = new Uint32Array(texts.length);
  let at = 0;
  for (const [i, text] of texts.entries()) {
    starts[i] = at;
    at += text.length;
    ends[i] = at;
  }
  return { bytes: Buffer.concat(texts), starts, ends };
}

/** All points of a file by key, as text: `time value`. Floats are their bits. */
export async function pointsOf(bytes: Buffer): Promise<ReadonlyMap<string, readonly string[]>> {
  const file = await openTsm(sourceOf(bytes));
  const found = new Map<string, readonly string[]>();
  for await (const keys of readIndex(file)) {
    for (const { key, blocks } of keys) {
      const lines: string[] = [];
      for await (const together of readBlocks(file, blocks)) lines.push(...together.flatMap((block) => linesOf(decodeBlock(block.subarray(4)))));
      found.set(key.toString(), lines);
    }
  }
  return found;
}

export function linesOf(points: Points): readonly string[] {
  return Array.from(points.times, (time, i) => `${time}\t${valueAt(points, i)}`);
}

function valueAt(points: Points, at: number): string {
  if (points.type === FLOAT) {
    const bits = new BigUint64Array(points.values.buffer, points.values.byteOffset, points.values.length);
    return bits[at].toString(16).padStart(16, "0");
  }
  if (points.type === BOOLEAN) return String(points.values[at] === 1);
  if (points.type !== STRING) return String(points.values[at]);
  const { bytes, starts, ends } = points.values;
  return JSON.stringify(bytes.toString("utf8", starts[at], ends[at]));
}

export interface DeletionText {
  readonly key: string;
  readonly min: bigint;
  readonly max: bigint;
}

/** What a parsed tombstone file deletes, by key. */
export function deletionsOf({ records, starts }: Tombstones): readonly DeletionText[] {
  return Array.from(starts, (start) => {
    const keyEnd = start + 4 + records.readUInt32BE(start);
    return { key: records.toString("utf8", start + 4, keyEnd), min: records.readBigInt64BE(keyEnd), max: records.readBigInt64BE(keyEnd + 8) };
  });
}

export function records(deletions: readonly DeletionText[]): Buffer {
  const parts = deletions.map(({ key, min, max }) => {
    const bytes = Buffer.from(key);
    const record = Buffer.alloc(20 + bytes.length);
    record.writeUInt32BE(bytes.length);
    bytes.copy(record, 4);
    record.writeBigInt64BE(min, 4 + bytes.length);
    record.writeBigInt64BE(max, 12 + bytes.length);
    return record;
  });
  return Buffer.concat(parts);
}

/** A tombstone file of version 4, one gzip member for each list of deletions. */
export function tombstoneFile(members: readonly (readonly DeletionText[])[]): Buffer {
  return Buffer.concat([Buffer.of(0, 0, 0x15, 4), ...members.map((deletions) => goGzip(records(deletions)))]);
}

export function goGzip(bytes: Buffer): Buffer {
  return gzipSync(bytes);
}

export async function bytesOf(rewrite: Rewrite): Promise<Buffer> {
  if (rewrite.kind !== "rewritten") throw new Error(`the file is ${rewrite.kind}`);
  const pieces: Buffer[] = [];
  for await (const piece of rewrite.bytes()) pieces.push(piece);
  return Buffer.concat(pieces);
}
