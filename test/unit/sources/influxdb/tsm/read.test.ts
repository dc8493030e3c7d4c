import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isTidemarkError } from "../../../../../lib/model/errors.ts";
import { READ_BYTES, READ_GAP_BYTES, INDEX_CHUNK_BYTES } from "../../../../../lib/sources/influxdb/tsm/limits.ts";
import { type BlockEntry, coalesced, openTsm, readIndex } from "../../../../../lib/sources/influxdb/tsm/read.ts";
import { footer, indexKey } from "../../../../../lib/sources/influxdb/tsm/write.ts";
import { HEADER, INTEGER } from "../../../../../lib/sources/influxdb/tsm/layout.ts";
import { integers, pointsOf, sourceOf, tsmOf } from "./files.ts";

const small = tsmOf([
  { key: "a#!~#v", blocks: [integers([1n, 2n]), integers([5n, 7n, 8n])] },
  { key: "b#!~#v", blocks: [integers([-3n])] },
]);
const ENTRY = 28;
/** Behind header, key length, key, type and count; the first entry of key a. */
const indexStart = Number(small.readBigUInt64BE(small.length - 8));
const firstEntry = indexStart + 2 + 6 + 3;

async function fault(bytes: Buffer): Promise<string> {
  try {
    await pointsOf(bytes);
  } catch (error) {
    if (isTidemarkError(error)) return `${error.kind}: ${error.message}`;
    throw error;
  }
  return "none";
}

function changed(change: (bytes: Buffer) => void): Buffer {
  const bytes = Buffer.from(small);
  change(bytes);
  return bytes;
}

describe("a TSM file", () => {
  test("gives its keys and points", async () => {
    expect(Object.fromEntries(await pointsOf(small))).toEqual({ "a#!~#v": ["1\t1", "2\t2", "5\t5", "7\t7", "8\t8"], "b#!~#v": ["-3\t-3"] });
  });

  test("is read a chunk of its index at a time, with keys that lie across two chunks", async () => {
    const entry = { first: 1n, last: 2n, offset: HEADER.length, length: 10 };
    const keys = Array.from({ length: 9_000 }, (_, i) => `${String(i).padStart(6, "0")}${"x".repeat(i % 300)}`);
    const index = keys.map((key) => indexKey(Buffer.from(key), INTEGER, [entry]));
    const start = HEADER.length + 10 * keys.length;
    const bytes = Buffer.concat([HEADER, Buffer.alloc(10 * keys.length), ...index, footer(start)]);
    const reads = { count: 0, longest: 0 };
    const found: string[] = [];
    for await (const chunk of readIndex(await openTsm(sourceOf(bytes, reads)))) found.push(...chunk.map(({ key }) => key.toString()));
    expect(found).toEqual(keys);
    expect(reads).toEqual({ count: 2 + Math.ceil((bytes.length - 8 - start) / INDEX_CHUNK_BYTES), longest: INDEX_CHUNK_BYTES });
    expect(reads.count).toBeGreaterThan(3);
  });
});

describe("a TSM file is refused", () => {
  test("that is cut anywhere", async () => {
    for (let end = 0; end < small.length; end++)
      expect([end, await fault(small.subarray(0, end))]).toEqual([end, expect.stringMatching("^repair: a.tsm is damaged")]);
  });

  test("of which a reader gets fewer bytes than it says", async () => {
    const source = { ...sourceOf(small), read: async (offset: number, length: number) => small.subarray(offset, Math.min(offset + length, small.length - 9)) };
    const file = openTsm(source).then((opened) => Array.fromAsync(readIndex(opened)));
    await expect(file).rejects.toMatchObject({ kind: "repair", code: "damaged-object", object: "a.tsm" });
  });

  test("whose header or footer is not one", async () => {
    expect(await fault(changed((bytes) => bytes.writeUInt8(2, 4)))).toBe("repair: a.tsm is damaged: it begins with 16d116d102, not as a TSM file of version 1");
    for (const start of [0n, 4n, BigInt(small.length - 8), 2n ** 63n]) {
      expect(await fault(changed((bytes) => bytes.writeBigUInt64BE(start, small.length - 8)))).toBe("repair: a.tsm is damaged: its footer points to no index");
    }
  });

  test("whose index breaks an order, a length or a place; the fault names the key", async () => {
    const place = `repair: a.tsm is damaged: the index at ${indexStart}, key "a#!~#v": `;
    expect(await fault(changed((bytes) => bytes.write("c", indexStart + 2)))).toMatch('key "b#!~#v": it does not stand behind "c#!~#v"');
    expect(await fault(changed((bytes) => bytes.writeUInt8(5, firstEntry - 3)))).toBe(`${place}it has the unknown type 5`);
    expect(await fault(changed((bytes) => bytes.writeUInt16BE(0, firstEntry - 2)))).toBe(`${place}it has no blocks`);
    expect(await fault(changed((bytes) => bytes.writeUInt16BE(60_000, firstEntry - 2)))).toMatch("its index is cut");
    expect(await fault(changed((bytes) => bytes.writeBigInt64BE(9n, firstEntry)))).toBe(`${place}a block ends at 2, before it begins at 9`);
    expect(await fault(changed((bytes) => bytes.writeBigInt64BE(0n, firstEntry + ENTRY)))).toBe(`${place}its blocks are not in order of time`);
    for (const offset of [0n, 4n, BigInt(indexStart), 2n ** 63n]) {
      expect(await fault(changed((bytes) => bytes.writeBigUInt64BE(offset, firstEntry + 16)))).toMatch("does not lie between header and index");
    }
    for (const length of [0, 6, 1_000_000]) {
      expect(await fault(changed((bytes) => bytes.writeUInt32BE(length, firstEntry + 24)))).toMatch("does not lie between header and index");
    }
    const twice = changed((bytes) => bytes.copy(bytes, firstEntry + ENTRY + 16, firstEntry + 16, firstEntry + ENTRY));
    expect(await fault(changed((bytes) => bytes.writeUInt32BE(indexStart - 5, firstEntry + 24)))).toMatch("more bytes than the file");
    expect(await fault(twice)).toBe("none");
  });

  test("whose blocks have one changed bit", async () => {
    for (let bit = HEADER.length * 8; bit < indexStart * 8; bit++) {
      const bytes = changed((copy) => {
        copy[bit >>> 3] ^= 1 << (bit & 7);
      });
      expect([bit, await fault(bytes)]).toEqual([bit, expect.stringMatching("^repair: a.tsm is damaged: the block at [0-9]+ fails its CRC-32$")]);
    }
  });
});

test("blocks are read together where they are neighbours, each once and in order, within the limits", () => {
  const gap = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 2 * READ_GAP_BYTES }), fc.integer({ min: -10_000, max: -1 }));
  const length = fc.oneof(fc.integer({ min: 7, max: 9_000 }), fc.integer({ min: 7, max: 2 * READ_BYTES }));
  fc.assert(
    fc.property(fc.array(fc.tuple(gap, length), { maxLength: 60 }), (parts) => {
      const blocks: BlockEntry[] = [];
      let at = 100_000_000;
      for (const [distance, bytes] of parts) {
        at += distance;
        blocks.push({ first: 0n, last: 0n, offset: at, length: bytes });
        at += bytes;
      }
      const reads = coalesced(blocks);
      expect(reads.flatMap((read) => read.blocks)).toEqual(blocks);
      for (const read of reads) {
        const last = read.blocks[read.blocks.length - 1];
        expect([read.offset, read.length]).toEqual([read.blocks[0].offset, last.offset + last.length - read.offset]);
        expect(read.length <= READ_BYTES || read.blocks.length === 1).toBe(true);
      }
    }),
  );
});
