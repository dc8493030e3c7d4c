// Files that InfluxDB 1.6.7 wrote, and what it answered from them before and after it deleted: for each key the count of its points
// and the beginning of a SHA-256 of them as text. The tombstone file is what twelve DELETE and DROP statements left.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { decodeBlock, encodeBlock } from "../../../../../lib/sources/influxdb/tsm/block.ts";
import { FLOAT, STRING, TIME_MAX, TIME_MIN } from "../../../../../lib/sources/influxdb/tsm/layout.ts";
import { openTsm, readBlocks, readIndex } from "../../../../../lib/sources/influxdb/tsm/read.ts";
import { withoutDeleted } from "../../../../../lib/sources/influxdb/tsm/rewrite.ts";
import { parseTombstones } from "../../../../../lib/sources/influxdb/tsm/tombstone.ts";
import { bytesOf, deletionsOf, pointsOf, sourceOf } from "./files.ts";

const golden = (name: string) => readFileSync(join(import.meta.dirname, "../../../../golden/influxdb", name));
const tsm = golden("written.tsm");
const tombstones = parseTombstones("written.tombstone", golden("written.tombstone"));
const answers: Record<"before" | "after", Record<string, readonly [number, string]>> = JSON.parse(golden("written.answers.json").toString());

async function answersOf(bytes: Buffer): Promise<Record<string, readonly [number, string]>> {
  const points = await pointsOf(bytes);
  return Object.fromEntries(
    Array.from(points, ([key, lines]) => [key, [lines.length, createHash("sha256").update(lines.join("\n")).digest("hex").slice(0, 16)]]),
  );
}

describe("a file that InfluxDB wrote", () => {
  test("holds the points that it answered", async () => {
    expect(await answersOf(tsm)).toEqual(answers.before);
  });

  test("without its deleted points holds those that it answered after it deleted", async () => {
    const rewrite = await withoutDeleted(sourceOf(tsm), { tombstones });
    expect(rewrite).toMatchObject({ kind: "rewritten", keysGone: 4, blocksGone: 5, blocksCut: 15 });
    const bytes = await bytesOf(rewrite);
    expect(rewrite).toMatchObject({ byteLength: bytes.length });
    expect(await answersOf(bytes)).toEqual(answers.after);
  });

  test("is unchanged by the same deletions a second time", async () => {
    const once = await bytesOf(await withoutDeleted(sourceOf(tsm), { tombstones }));
    expect(await withoutDeleted(sourceOf(once), { tombstones })).toEqual({ kind: "unchanged" });
  });

  test("has blocks that are encoded to the same bytes, or to fewer", async () => {
    const file = await openTsm(sourceOf(tsm));
    const blocks = { same: 0, smaller: 0, larger: 0 };
    for await (const keys of readIndex(file)) {
      for (const key of keys) {
        for (const stored of (await Array.fromAsync(readBlocks(file, key.blocks))).flat()) {
          const block = stored.subarray(4);
          const again = encodeBlock(decodeBlock(block));
          if (key.type === FLOAT) expect(again.equals(block)).toBe(true);
          if (key.type !== STRING) blocks[again.equals(block) ? "same" : again.length < block.length ? "smaller" : "larger"]++;
        }
      }
    }
    // One has a first value of more than 60 bits: 1.6.7 leaves such a block raw, 1.7 and later do not.
    expect(blocks).toEqual({ same: 29, smaller: 1, larger: 0 });
  });
});

describe("a tombstone file that InfluxDB wrote", () => {
  const found = deletionsOf(tombstones);

  test("holds what each statement deleted, by key", () => {
    expect(found).toHaveLength(25);
    expect(found.map(({ key }) => key)).toEqual(found.map(({ key }) => key).toSorted());
    expect(found.filter(({ key }) => key.startsWith("gone"))).toEqual([
      { key: "gone,host=x#!~#v", min: TIME_MIN, max: TIME_MAX },
      { key: "gone,host=y#!~#v", min: TIME_MIN, max: TIME_MAX },
    ]);
    expect(found.filter(({ key }) => key.endsWith("#cf"))).toEqual([
      { key: "walk,host=a#!~#cf", min: 1_704_067_300_000_000_000n, max: 1_704_068_195_000_000_000n },
      { key: "walk,host=a#!~#cf", min: 1_704_069_200_000_000_000n, max: 1_704_070_199_999_999_999n },
    ]);
  });
});
