// Records and snapshots for the tests of the codec and its reader.

import fc from "fast-check";
import { toIndex } from "../../../../lib/model/position.ts";
import type { Rows } from "../../../../lib/model/rows.ts";
import type { SnapshotDescription } from "../../../../lib/model/snapshot.ts";
import { type EncodedSnapshot, snapshotAssembly } from "../../../../lib/snapshot/parquet/encode.ts";
import { type FinishedGroup, rowGroupEncoder } from "../../../../lib/snapshot/parquet/groups.ts";
import { type GroupSizes, MAGIC } from "../../../../lib/snapshot/parquet/layout.ts";

export interface TestRecord {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly index: number;
  readonly timeMs: number;
}

export const description: SnapshotDescription = {
  table: "players",
  shard: 3,
  incarnation: "00112233aabbccdd",
  codec: "bytes",
  index: toIndex(9_007_199_254_740_991),
  position: { redoFile: toIndex(41), batchOffset: 7 },
  border: { next: toIndex(57), digest: "0123456789abcdef".repeat(4), timeMs: 1_700_000_000_123 },
  base: "players/3/00112233aabbccdd/snapshots/0000000000000040-e2.parquet",
  sessions: [
    { producer: "game-7", sequence: (1n << 192n) - 1n, lastIndex: toIndex(12) },
    { producer: "spiel-ß-\u{1f3b2}", sequence: 0n, lastIndex: toIndex(40) },
  ],
  forgottenThrough: toIndex(5),
  splices: 3,
};

export function toRows(records: readonly TestRecord[]): Rows {
  let keyEnd = 0;
  let valueEnd = 0;
  return {
    count: records.length,
    keys: Buffer.concat(records.map(({ key }) => key)),
    keyEnds: Uint32Array.from(records, ({ key }) => (keyEnd += key.length)),
    values: Buffer.concat(records.map(({ value }) => value)),
    valueEnds: Uint32Array.from(records, ({ value }) => (valueEnd += value.length)),
    indexes: Float64Array.from(records, ({ index }) => index),
    times: Float64Array.from(records, ({ timeMs }) => timeMs),
  };
}

export function toRecords(rows: Rows): readonly TestRecord[] {
  return Array.from({ length: rows.count }, (_, i) => ({
    key: Buffer.from(rows.keys.subarray(i === 0 ? 0 : rows.keyEnds[i - 1], rows.keyEnds[i])),
    value: Buffer.from(rows.values.subarray(i === 0 ? 0 : rows.valueEnds[i - 1], rows.valueEnds[i])),
    index: rows.indexes[i],
    timeMs: rows.times[i],
  }));
}

export interface WholeSnapshot extends EncodedSnapshot {
  readonly bytes: Buffer;
}

export async function encodeRecords(records: readonly TestRecord[], of: SnapshotDescription = description, sizes?: GroupSizes): Promise<WholeSnapshot> {
  const encoder = rowGroupEncoder(sizes);
  encoder.push(toRows(records), 0, records.length);
  encoder.cut();
  return assembled(await encoder.drain(), of);
}

/** The snapshot of these row groups, one behind the other. */
export function assembled(groups: readonly Pick<FinishedGroup, "group" | "pages" | "bytes">[], of: SnapshotDescription = description): WholeSnapshot {
  const assembly = snapshotAssembly();
  for (const { group, pages } of groups) assembly.add(group, pages);
  const encoded = assembly.finish(of);
  return { ...encoded, bytes: Buffer.concat([MAGIC, ...groups.map(({ bytes }) => bytes), ...encoded.tail]) };
}

/** `count` records of about 140 bytes with JSON values, numbered from 0. */
export function jsonRecords(count: number): readonly TestRecord[] {
  return Array.from({ length: count }, (_, i) => ({
    key: Buffer.from(`user/${String(i).padStart(8, "0")}`),
    value: Buffer.from(JSON.stringify({ id: i, city: ["Oslo", "Lima", "Kyoto"][i % 3], coins: (i * 7_919) % 1_000, note: "é\u{1f600}".repeat(i % 5) })),
    index: 1 + ((i * 48_271) % (count + 1)),
    timeMs: 1_700_000_000_000 + ((i * 16_807) % 86_400_000),
  }));
}

/** Keys of which many share a prefix, some with characters beyond U+FFFF, whose UTF-16 order differs from that of their bytes. */
export const anyKey = fc
  .oneof(
    fc.string({ unit: "binary", minLength: 1, maxLength: 12 }),
    fc.stringMatching(/^user\/[0-9]{1,4}$/),
    fc.constantFrom("\uffff", "\u{10000}", "\ue000a", "\u{1f600}a"),
  )
  .map((text) => Buffer.from(text, "utf8"));

const anyNumber = fc.oneof(fc.maxSafeNat(), fc.nat({ max: 1_000_000 }), fc.constantFrom(0, Number.MAX_SAFE_INTEGER, 2 ** 32, 2 ** 32 - 1));

/** Up to `maxLength` records in key order. */
export function anyRecords(maxLength: number): fc.Arbitrary<readonly TestRecord[]> {
  const record = fc.record({
    key: anyKey,
    value: fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ minLength: 900, maxLength: 1_000 })).map((bytes) => Buffer.from(bytes)),
    index: anyNumber,
    timeMs: anyNumber,
  });
  return fc
    .uniqueArray(record, { selector: ({ key }) => key.toString("hex"), maxLength })
    .map((records) => records.toSorted((a, b) => Buffer.compare(a.key, b.key)));
}
