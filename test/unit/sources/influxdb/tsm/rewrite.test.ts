// The law: a rewritten file holds exactly the points that a naive filter keeps, in a file that is right in every part.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Points } from "../../../../../lib/sources/influxdb/tsm/block.ts";
import { FLOAT, INTEGER, STRING, TIME_MAX, TIME_MIN } from "../../../../../lib/sources/influxdb/tsm/layout.ts";
import { PIECE_BYTES } from "../../../../../lib/sources/influxdb/tsm/limits.ts";
import type { TimeRange } from "../../../../../lib/sources/influxdb/tsm/ranges.ts";
import { openTsm, readIndex } from "../../../../../lib/sources/influxdb/tsm/read.ts";
import type { Removal } from "../../../../../lib/sources/influxdb/tsm/removal.ts";
import { withoutDeleted } from "../../../../../lib/sources/influxdb/tsm/rewrite.ts";
import { parseTombstones } from "../../../../../lib/sources/influxdb/tsm/tombstone.ts";
import { bytesOf, type DeletionText, integers, pointsOf, type Series, sourceOf, stringsOf, tombstoneFile, tsmOf } from "./files.ts";

const KEYS = ["a#!~#v", "b,t=1#!~#v", "b,t=1#!~#w", "ü#!~#v"];
const time = fc.oneof({ weight: 9, arbitrary: fc.bigInt(-40n, 40n) }, { weight: 1, arbitrary: fc.constantFrom(TIME_MIN, TIME_MAX) });

/** Ascending times in blocks that follow each other or, seldom, overlap. */
const blocks = fc
  .tuple(fc.array(fc.uniqueArray(time, { minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 4 }), fc.constantFrom(FLOAT, INTEGER, STRING))
  .map(([lists, type]) => {
    const ascending = lists.map((list) => list.toSorted((one, other) => (one < other ? -1 : 1)));
    return ascending.sort((one, other) => (one[0] < other[0] ? -1 : 1)).map((times) => pointsAt(type, times));
  });
const file = fc
  .uniqueArray(fc.constantFrom(...KEYS), { minLength: 1 })
  .chain((keys) =>
    fc.tuple(...keys.toSorted((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other))).map((key) => fc.record({ key: fc.constant(key), blocks }))),
  );
const range = fc.record({ min: time, max: time });
const deletions = fc.array(
  fc.array(
    fc.tuple(fc.constantFrom(...KEYS, "0#!~#v", "zz#!~#v"), range).map(([key, times]) => ({ key, ...times })),
    { maxLength: 6 },
  ),
  { maxLength: 3 },
);

function pointsAt(type: typeof FLOAT | typeof INTEGER | typeof STRING, times: readonly bigint[]): Points {
  if (type === INTEGER) return integers(times);
  const found = BigInt64Array.from(times);
  if (type === FLOAT) return { type, times: found, values: Float64Array.from(times, (each) => Number(each) / 3) };
  return { type, times: found, values: stringsOf(times.map((each) => Buffer.from(`text ${each}`))) };
}

async function expected(bytes: Buffer, deleted: readonly DeletionText[], keep: TimeRange | undefined): Promise<Record<string, readonly string[]>> {
  const all = await pointsOf(bytes);
  const kept = Array.from(all, ([key, lines]) => {
    const stays = (at: bigint) =>
      !deleted.some((each) => each.key === key && each.min <= at && at <= each.max) && (keep === undefined || (keep.min <= at && at <= keep.max));
    return [key, lines.filter((line) => stays(BigInt(line.split("\t")[0])))] as const;
  });
  return Object.fromEntries(kept.filter(([, lines]) => lines.length > 0));
}

/** First and last times of the blocks, from the index and from the points. */
async function expectExactIndex(bytes: Buffer): Promise<void> {
  for await (const keys of readIndex(await openTsm(sourceOf(bytes)))) {
    // Reading checks all orders; a removal that touches nothing but must look at every block checks first, last and type of each.
    for (const { key, blocks: entries } of keys) expect([key.toString(), entries.length > 0]).toEqual([key.toString(), true]);
  }
  const looking = KEYS.map((key) => ({ key, min: 1_000n, max: 1_000n }));
  expect(await withoutDeleted(sourceOf(bytes), { tombstones: parseTombstones("t", tombstoneFile([looking])) })).toEqual({ kind: "unchanged" });
}

test("a rewritten file holds exactly the points that are neither deleted nor out of range, and has the size that was told before", async () => {
  await fc.assert(
    fc.asyncProperty(file, deletions, fc.option(range, { nil: undefined }), async (series, members, keep) => {
      const bytes = tsmOf(series);
      const right = await expected(bytes, members.flat(), keep);
      const removal: Removal = { tombstones: parseTombstones("t", tombstoneFile(members)), ...(keep === undefined ? {} : { keep }) };
      const rewrite = await withoutDeleted(sourceOf(bytes), removal);
      if (rewrite.kind === "empty") expect(right).toEqual({});
      else if (rewrite.kind === "unchanged") expect(right).toEqual(Object.fromEntries(await pointsOf(bytes)));
      else {
        const found = await bytesOf(rewrite);
        expect(found.length).toBe(rewrite.byteLength);
        const points = Object.fromEntries(Array.from(await pointsOf(found), ([key, lines]) => [key, lines.toSorted()]));
        expect(points).toEqual(Object.fromEntries(Object.entries(right).map(([key, lines]) => [key, lines.toSorted()])));
        expect(Object.values(right).flat().length).toBeLessThan(Array.from((await pointsOf(bytes)).values()).flat().length);
        await expectExactIndex(found);
        expect(await withoutDeleted(sourceOf(found), removal)).toEqual({ kind: "unchanged" });
      }
    }),
    { numRuns: 300 },
  );
});

describe("a file", () => {
  const series: readonly Series[] = [
    { key: "a#!~#v", blocks: [integers([1n, 2n, 3n]), integers([5n, 7n])] },
    { key: "b#!~#v", blocks: [integers([4n])] },
  ];
  const bytes = tsmOf(series);
  const without = (members: readonly DeletionText[]) => withoutDeleted(sourceOf(bytes), { tombstones: parseTombstones("t", tombstoneFile([members])) });

  test("of which nothing goes is unchanged, also where a range reaches into it between two points", async () => {
    expect(await withoutDeleted(sourceOf(bytes), {})).toEqual({ kind: "unchanged" });
    expect(await withoutDeleted(sourceOf(bytes), { keep: { min: 1n, max: 7n } })).toEqual({ kind: "unchanged" });
    expect(
      await without([
        { key: "a#!~#v", min: 4n, max: 4n },
        { key: "a#!~#v", min: 6n, max: 6n },
      ]),
    ).toEqual({ kind: "unchanged" });
    expect(
      await without([
        { key: "a#!~#v", min: 7n, max: 1n },
        { key: "c#!~#v", min: TIME_MIN, max: TIME_MAX },
      ]),
    ).toEqual({ kind: "unchanged" });
  });

  test("of which all goes is empty", async () => {
    expect(await withoutDeleted(sourceOf(bytes), { keep: { min: 8n, max: TIME_MAX } })).toEqual({ kind: "empty" });
    expect(await withoutDeleted(sourceOf(bytes), { keep: { min: 2n, max: 1n } })).toEqual({ kind: "empty" });
  });

  test("says how many keys and blocks went and how many were cut", async () => {
    const rewrite = await without([
      { key: "a#!~#v", min: 2n, max: 5n },
      { key: "b#!~#v", min: TIME_MIN, max: TIME_MAX },
    ]);
    expect(rewrite).toMatchObject({ kind: "rewritten", keysGone: 1, blocksGone: 1, blocksCut: 2 });
    expect(Object.fromEntries(await pointsOf(await bytesOf(rewrite)))).toEqual({ "a#!~#v": ["1\t1", "7\t7"] });
  });

  test("keeps the blocks that stay as their bytes, and can be streamed twice", async () => {
    const rewrite = await without([{ key: "b#!~#v", min: 4n, max: 4n }]);
    const [one, two] = [await bytesOf(rewrite), await bytesOf(rewrite)];
    expect(one.equals(two)).toBe(true);
    expect(one.equals(tsmOf(series.slice(0, 1)))).toBe(true);
  });

  test("that changes between the passes is a fault that asks for another try", async () => {
    const ofTexts = (texts: readonly string[]) =>
      tsmOf([{ key: "a#!~#v", blocks: [{ type: STRING, times: BigInt64Array.of(1n, 2n), values: stringsOf(texts.map((text) => Buffer.from(text))) }] }]);
    let stored = ofTexts(["abcde", "0123456789"]);
    const source = { ...sourceOf(stored), read: async (offset: number, length: number) => stored.subarray(offset, offset + length) };
    const rewrite = await withoutDeleted(source, { keep: { min: 2n, max: 2n } });
    stored = ofTexts(["0123456789", "abcde"]);
    await expect(bytesOf(rewrite)).rejects.toMatchObject({ kind: "retry", code: "file-changed", object: "a.tsm" });
  });

  test("whose index tells other times or another type than a block that is cut has is damaged", async () => {
    const indexStart = Number(bytes.readBigUInt64BE(bytes.length - 8));
    const firstEntry = indexStart + 2 + 6 + 3;
    const fault = async (change: (copy: Buffer) => void) => {
      const copy = Buffer.from(bytes);
      change(copy);
      return withoutDeleted(sourceOf(copy), { keep: { min: 2n, max: 6n } });
    };
    const place = 'a.tsm is damaged: the block at 5, key "a#!~#v": ';
    await expect(fault((copy) => copy.writeBigInt64BE(0n, firstEntry))).rejects.toThrow(`${place}it has other times than the index says`);
    await expect(fault((copy) => copy.writeUInt8(FLOAT, firstEntry - 3))).rejects.toThrow(`${place}it has the type 1 where the index says 0`);
  });
});

test("a large file is read in ranges, handed out in pieces, and never held", async () => {
  const times = Array.from({ length: 1_000 }, (_, i) => BigInt(i) * 1_000_003n);
  const noise = times.map((_, i) => BigInt(i * 7_919) ** 5n % 2n ** 62n);
  const block = integers(times, noise);
  const later = integers(
    times.map((each) => each + 2_000_000_000n),
    noise,
  );
  const bytes = tsmOf(Array.from({ length: 300 }, (_, i) => ({ key: `k${String(i).padStart(4, "0")}`, blocks: [block, later] })));
  const reads = { count: 0, longest: 0 };
  const rewrite = await withoutDeleted(sourceOf(bytes, reads), { keep: { min: 500_000_000n, max: TIME_MAX } });
  if (rewrite.kind !== "rewritten") throw new Error("points go");
  const sizes: number[] = [];
  for await (const piece of rewrite.bytes()) sizes.push(piece.length);
  expect(sizes.reduce((sum, size) => sum + size)).toBe(rewrite.byteLength);
  expect(Math.max(...sizes)).toBeLessThan(PIECE_BYTES + 10_000);
  expect(bytes.length).toBeGreaterThan(4_500_000);
  expect(reads.longest).toBeLessThanOrEqual(4 * 1024 * 1024);
  expect(reads.count).toBeLessThan(15);
});
