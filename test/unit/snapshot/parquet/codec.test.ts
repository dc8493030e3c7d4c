import { hash } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { VALUE_BYTES_MAX } from "../../../../lib/model/limits.ts";
import { toIndex } from "../../../../lib/model/position.ts";
import { decodeGroup } from "../../../../lib/snapshot/parquet/decode.ts";
import { type EncodedSnapshot, snapshotEncoder } from "../../../../lib/snapshot/parquet/encode.ts";
import { decodeTail, type SnapshotFooter } from "../../../../lib/snapshot/parquet/footer.ts";
import { GROUP_BYTES_MAX, GROUP_STORED_BYTES, PAGE_ROWS_MAX, PAGE_VALUE_BYTES } from "../../../../lib/snapshot/parquet/layout.ts";
import { anyRecords, description, encodeRecords, jsonRecords, type TestRecord, toRecords, toRows } from "./records.ts";

function footerOf({ bytes, footerSha256 }: { bytes: Buffer; footerSha256: string }): SnapshotFooter {
  const finding = decodeTail({ object: "snapshot", size: bytes.length, last: bytes, footerSha256 });
  if (finding.kind !== "tail") throw new Error("the whole snapshot holds its tail");
  return finding.footer;
}

function decodeAll(snapshot: { bytes: Buffer; footerSha256: string }): readonly TestRecord[] {
  return footerOf(snapshot).groups.flatMap((group) => {
    const bytes = snapshot.bytes.subarray(group.offset, group.offset + group.byteLength);
    return [...decodeGroup("snapshot", group, bytes)].flatMap(toRecords);
  });
}

/** The same records by runs and single rows, cut where `cuts` say, with the bytes taken along the way. */
function encodeInPieces(records: readonly TestRecord[], cuts: readonly number[]): EncodedSnapshot & { readonly bytes: Buffer } {
  const rows = toRows(records);
  const encoder = snapshotEncoder(description);
  const taken: Buffer[] = [];
  for (let at = 0, i = 0; at < records.length; i++) {
    const run = cuts[i % cuts.length];
    if (run === 0) {
      const { key, value, index, timeMs } = records[at++];
      encoder.pushRow(key, 0, key.length, value, 0, value.length, index, timeMs);
    } else {
      encoder.push(rows, at, Math.min(records.length, at + run));
      at += run;
    }
    taken.push(...encoder.take());
  }
  const encoded = encoder.finish();
  return { ...encoded, bytes: Buffer.concat([...taken, ...encoded.chunks]) };
}

/** For comparing many records at once. */
function textOf(records: readonly TestRecord[]): string {
  return records.map(({ key, value, index, timeMs }) => `${key.toString("hex")} ${value.toString("latin1")} ${index} ${timeMs}`).join("\n");
}

const large = [
  ...jsonRecords(2_500),
  ...[0, 1, PAGE_VALUE_BYTES, PAGE_VALUE_BYTES + 1, VALUE_BYTES_MAX, 0, 300_000, 300_000].map((length, i) => ({
    key: Buffer.from(`value/${i}`),
    value: Buffer.alloc(length, `${i}`),
    index: i + 1,
    timeMs: i,
  })),
];

test("a snapshot reads back as the records that were pushed", () => {
  fc.assert(
    fc.property(anyRecords(60), (records) => {
      expect(textOf(decodeAll(encodeRecords(records)))).toBe(textOf(records));
    }),
  );
});

test("many pages and the largest values read back as they were pushed", () => {
  const encoded = encodeRecords(large);
  expect(textOf(decodeAll(encoded)) === textOf(large)).toBe(true);
  expect(encoded.rows).toBe(large.length);
});

test("the description comes back as it went in, sessions by last index", () => {
  expect(footerOf(encodeRecords([])).description).toEqual(description);
  const first = { ...description, codec: "json" as const, sessions: [], base: undefined };
  const { base: _, ...expected } = first;
  expect(footerOf(encodeRecords(jsonRecords(3), expected)).description).toEqual(expected);
  const reversed = { ...description, sessions: description.sessions.toReversed() };
  expect(encodeRecords([], reversed).bytes).toEqual(encodeRecords([], description).bytes);
});

test("the bytes do not depend on how the rows were handed over", () => {
  const whole = encodeRecords(large).bytes;
  fc.assert(
    fc.property(fc.array(fc.constantFrom(0, 0, 1, 7, 1_000, 3_000), { minLength: 1, maxLength: 9 }), (cuts) => {
      expect(encodeInPieces(large, cuts).bytes.equals(whole)).toBe(true);
    }),
    { numRuns: 20 },
  );
});

test("what the encoder says of the bytes is what they are", () => {
  const { bytes, size, footerSha256, groups, rows } = encodeRecords(large);
  const tailStart = groups.reduce((end, group) => end + group.byteLength, 4);
  expect(size).toBe(bytes.length);
  expect(footerSha256).toBe(hash("sha256", bytes.subarray(tailStart), "hex"));
  const footer = footerOf({ bytes, footerSha256 });
  expect(footer.groups).toEqual(groups);
  expect(footer.rows).toBe(rows);
});

test("pages and row groups end within their bounds", () => {
  const noise = Array.from({ length: 9_000 }, (_, i) => ({
    key: Buffer.from(String(i).padStart(6, "0")),
    value: Buffer.from(Array.from({ length: 12 }, (_value, part) => hash("sha512", `${i}/${part}`, "hex")).join(""), "hex"),
    index: i,
    timeMs: i,
  }));
  const { groups } = encodeRecords(noise);
  expect(groups.length).toBeGreaterThan(3);
  for (const [i, group] of groups.entries()) {
    expect(group.byteLength).toBeLessThan(GROUP_BYTES_MAX);
    if (i < groups.length - 1) {
      expect(group.byteLength).toBeGreaterThanOrEqual(GROUP_STORED_BYTES);
      expect(group.byteLength).toBeLessThan(GROUP_STORED_BYTES + 1.1 * PAGE_VALUE_BYTES);
    }
    for (const rows of group.pageRows) expect(rows).toBeLessThanOrEqual(PAGE_ROWS_MAX);
  }
});

test("rows out of order, equal keys and numbers that are no safe integers stop the encoder", () => {
  const [a, b] = jsonRecords(2);
  const bug = expect.objectContaining({ kind: "bug" });
  for (const wrong of [[b, a], [a, a], [{ ...a, index: -1 }], [{ ...a, timeMs: 0.5 }], [{ ...a, timeMs: 2 ** 53 }]]) {
    expect(() => encodeRecords(wrong)).toThrow(bug);
  }
  const page = jsonRecords(PAGE_ROWS_MAX);
  expect(() => encodeRecords([...page, page[PAGE_ROWS_MAX - 1]])).toThrow(bug);
});

test("forgotten and remembered producers up to the bound fit", () => {
  const sessions = Array.from({ length: 16_384 }, (_, i) => ({ producer: `${i}`.padStart(128, "p"), sequence: BigInt(i) << 100n, lastIndex: toIndex(i) }));
  expect(footerOf(encodeRecords([], { ...description, sessions })).description.sessions).toEqual(sessions);
});
