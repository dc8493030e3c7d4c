// Damage in the files that InfluxDB wrote: bits that changed, and files that were cut. What a CRC covers is never another answer.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { isTidemarkError } from "../../../../../lib/model/errors.ts";
import { HEADER } from "../../../../../lib/sources/influxdb/tsm/layout.ts";
import { withoutDeleted } from "../../../../../lib/sources/influxdb/tsm/rewrite.ts";
import { parseTombstones } from "../../../../../lib/sources/influxdb/tsm/tombstone.ts";
import { bytesOf, sourceOf } from "./files.ts";

const golden = (name: string) => readFileSync(join(import.meta.dirname, "../../../../golden/influxdb", name));
const tsm = golden("written.tsm");
const tombstone = golden("written.tombstone");
const indexStart = Number(tsm.readBigUInt64BE(tsm.length - 8));
const right = await bytesOf(await withoutDeleted(sourceOf(tsm), { tombstones: parseTombstones("t", tombstone) }));

/** The new file, or the fault; any other error goes on. */
async function outcome(file: Buffer, deletions: Buffer): Promise<Buffer | "fault" | "unchanged" | "empty"> {
  try {
    const rewrite = await withoutDeleted(sourceOf(file), { tombstones: parseTombstones("t", deletions) });
    return rewrite.kind === "rewritten" ? await bytesOf(rewrite) : rewrite.kind;
  } catch (error) {
    if (!isTidemarkError(error) || error.kind === "bug") throw error;
    return "fault";
  }
}

function flipped(bytes: Buffer, bits: readonly number[]): Buffer {
  const copy = Buffer.from(bytes);
  for (const bit of bits) copy[(bit >>> 3) % copy.length] ^= 1 << (bit & 7);
  return copy;
}

const flips = (from: number, to: number) => fc.uniqueArray(fc.integer({ min: from * 8, max: to * 8 - 1 }), { minLength: 1, maxLength: 3 });
const RUNS = { numRuns: 200 };

test("blocks with changed bits are a fault, or go anyway", async () => {
  await fc.assert(
    fc.asyncProperty(flips(HEADER.length, indexStart), async (bits) => {
      const found = await outcome(flipped(tsm, bits), tombstone);
      expect(found === "fault" || right.equals(found as Buffer)).toBe(true);
    }),
    RUNS,
  );
});

test("a header, an index or a footer with changed bits is a fault or a file, never another error", async () => {
  await fc.assert(
    fc.asyncProperty(fc.oneof(flips(0, HEADER.length), flips(indexStart, tsm.length), flips(tsm.length - 8, tsm.length)), async (bits) => {
      await outcome(flipped(tsm, bits), tombstone);
    }),
    RUNS,
  );
});

test("a file that is cut, or has bytes behind it, is a fault", async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(tsm.length - 1), fc.uint8Array({ minLength: 1, maxLength: 20 }), async (end, more) => {
      expect(await outcome(tsm.subarray(0, end), tombstone)).toBe("fault");
      expect(await outcome(Buffer.concat([tsm, more]), tombstone)).toBe("fault");
    }),
    RUNS,
  );
});

test("a tombstone file with changed bits is a fault or deletes the same", async () => {
  await fc.assert(
    fc.asyncProperty(flips(0, tombstone.length), async (bits) => {
      const found = await outcome(tsm, flipped(tombstone, bits));
      expect(found === "fault" || right.equals(found as Buffer)).toBe(true);
    }),
    RUNS,
  );
});
