import fc from "fast-check";
import { expect, test } from "vitest";
import { COPY_BY_HAND_BYTES_MAX, S3_PARTS_MAX } from "../../../lib/model/limits.ts";
import { partPlanner } from "../../../lib/snapshot/parts.ts";
import { SNAPSHOT_SIZES, sizesOf } from "../../../lib/snapshot/sizes.ts";

const GB = 1e9;

test("a snapshot has the sizes that are asked for, unless it is so large that its parts have to be larger", () => {
  expect(sizesOf(undefined, 15 * GB)).toEqual(SNAPSHOT_SIZES);
  expect(sizesOf({ pageRows: 2, partBytesMin: 100 }, 300_000)).toEqual({ ...SNAPSHOT_SIZES, pageRows: 2, partBytesMin: 100 });
  expect(sizesOf({ partBytes: 200, partBytesMin: 100 }, 900_001)).toEqual({ ...SNAPSHOT_SIZES, partBytes: 301, partBytesMin: 301 });
});

/** So many bytes of row groups of the usual size, of which one in so many is made anew. */
function partsOf(bytes: number, oneIn: number, sizes = sizesOf(undefined, bytes)): readonly number[] {
  const planner = partPlanner(sizes);
  const lengths: number[] = [];
  const { groupBytes } = sizes;
  for (let at = 0; at < bytes; at += oneIn * groupBytes) {
    const carried = (oneIn - 1) * groupBytes;
    const parts = [...planner.made(groupBytes), ...(carried > 0 ? planner.carried(at + groupBytes, carried) : [])];
    lengths.push(...parts.map(({ length }) => length));
  }
  return [...lengths, ...planner.end().map(({ length }) => length)];
}

test("whatever changes of a large snapshot, S3 takes its parts, and a server that cannot copy sends each of them", () => {
  expect(partsOf(60 * GB, 6, SNAPSHOT_SIZES).length).toBeGreaterThan(S3_PARTS_MAX);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 60 }), (gigabytes, oneIn) => {
      const lengths = partsOf(gigabytes * GB, oneIn);
      expect(lengths.length).toBeLessThan(S3_PARTS_MAX);
      expect(lengths.filter((length) => length > COPY_BY_HAND_BYTES_MAX)).toEqual([]);
    }),
    { numRuns: 20 },
  );
});
