// The header's rules at their bounds, for who writes it and for who reads it; and what no encoder writes.

import { describe, expect, test } from "vitest";
import {
  BATCH_MUTATIONS_MAX,
  PRODUCER_BYTES_MAX,
  REDO_FILE_BATCHES_MAX,
  REDO_FILE_MUTATIONS_MAX,
  SHARDS_MAX,
  TABLE_NAME_LENGTH_MAX,
} from "../../../lib/model/limits.ts";
import type { BatchHeader } from "../../../lib/model/redo-file.ts";
import { byteWriter } from "../../../lib/redo-log/byte-fields.ts";
import { decodeHeader, encodeHeader, type HeaderFields } from "../../../lib/redo-log/header.ts";
import { COMPRESSED_BODY_BYTES_MAX, HEADER_BYTES_MAX, RAW_BODY_BYTES_MAX } from "../../../lib/redo-log/layout.ts";

type Change = Partial<Omit<HeaderFields, "body" | "first">> & { readonly first?: number; readonly body?: Partial<HeaderFields["body"]> };

function refuse(what: string): never {
  throw new Error(what);
}

const ONE: BatchHeader = { count: 1, timeMs: 5 };
const marked = (mark: Partial<Omit<NonNullable<BatchHeader["mark"]>, "since">> & { readonly since?: number }): Change => ({
  batches: [{ ...ONE, mark: { producer: "p", sequence: 1n, ...mark, since: (mark.since ?? 0) as never } }],
});
const several = (batches: number, count: number): Change => ({
  count: batches * count,
  batches: Array.from({ length: batches }, () => ({ count, timeMs: 5 })),
});

function fieldsOf({ body, ...change }: Change): HeaderFields {
  const names = { table: "players", shard: 3, incarnation: "00000000000000aa", first: 42, previousDigest: "ab".repeat(32), writeId: "cd".repeat(16) };
  const described = { encoding: 1, compressedBytes: 10, rawBytes: 20, sha256: Buffer.alloc(32, 7), ...body };
  return { ...names, count: 1, batches: [ONE], ...change, body: described } as HeaderFields;
}

const written = (change: Change) => encodeHeader(fieldsOf(change), refuse);
const read = (bytes: Buffer) => decodeHeader(bytes, refuse);

interface Strange {
  readonly firstTimeMs?: number;
  readonly lastTimeMs?: number;
  readonly flags?: number;
}

/** As docs/format-redo.md has it, without asking whether that may be. */
function unchecked(change: Change, strange: Strange = {}): Buffer {
  const { incarnation, first, count, batches, previousDigest, writeId, body, shard, table } = fieldsOf(change);
  const writer = byteWriter(HEADER_BYTES_MAX);
  writer.hex(incarnation);
  writer.u64(first);
  writer.u32(count);
  writer.u64(strange.firstTimeMs ?? batches[0]?.timeMs ?? 0);
  writer.u64(strange.lastTimeMs ?? batches.at(-1)?.timeMs ?? 0);
  writer.hex(previousDigest);
  writer.hex(writeId);
  writer.u8(body.encoding);
  writer.u32(body.compressedBytes);
  writer.u32(body.rawBytes);
  writer.bytes(body.sha256);
  writer.u16(shard);
  writer.u32(batches.length);
  writer.text(table);
  let before = batches[0]?.timeMs ?? 0;
  for (const { count: mutations, timeMs, mark } of batches) {
    writer.varint(mutations);
    writer.varint(timeMs - before);
    before = timeMs;
    writer.u8(strange.flags ?? (mark === undefined ? 0 : 1));
    if (mark === undefined) continue;
    writer.text(mark.producer);
    writer.hex(mark.sequence.toString(16).padStart(48, "0"));
    writer.varint(mark.since);
  }
  return writer.take();
}

test.each<[string, Change]>([
  ["the first index", { first: 1 }],
  ["the last index that is safe", { first: Number.MAX_SAFE_INTEGER - 1 }],
  ["the first shard", { shard: 0 }],
  ["the last shard", { shard: SHARDS_MAX - 1 }],
  ["the longest table name", { table: "t".repeat(TABLE_NAME_LENGTH_MAX) }],
  ["the smallest body", { body: { compressedBytes: 1, rawBytes: 1 } }],
  ["the largest body", { body: { compressedBytes: COMPRESSED_BODY_BYTES_MAX, rawBytes: RAW_BODY_BYTES_MAX } }],
  ["the most batches", several(REDO_FILE_BATCHES_MAX, 1)],
  ["the most mutations of a file and of a batch", several(REDO_FILE_MUTATIONS_MAX / BATCH_MUTATIONS_MAX, BATCH_MUTATIONS_MAX)],
  ["times from the first to the last", { count: 3, batches: [0, 0, Number.MAX_SAFE_INTEGER].map((timeMs) => ({ count: 1, timeMs })) }],
  ["a producer of one byte, its first sequence, and nothing seen", marked({ producer: "p", sequence: 0n, since: 0 })],
  [
    "a producer of the most bytes, its last sequence, and everything seen",
    marked({ producer: "é".repeat(PRODUCER_BYTES_MAX / 2), sequence: 2n ** 192n - 1n, since: Number.MAX_SAFE_INTEGER }),
  ],
])("at the bound a header is written as the format says, and read: %s", (_, change) => {
  const bytes = written(change);
  expect(bytes.equals(unchecked(change))).toBe(true);
  expect(read(bytes)).toEqual(fieldsOf(change));
});

const REFUSED: readonly [string, Change, string][] = [
  ["the index 0", { first: 0 }, "its first index is 0"],
  ["a last index that is not safe", { first: Number.MAX_SAFE_INTEGER }, "its last index is not a safe integer"],
  ["a shard that no table has", { shard: SHARDS_MAX }, "its shard is"],
  ["a table name in capitals", { table: "Players" }, "its table is named"],
  ["no table name", { table: "" }, "its table is named"],
  ["another encoding", { body: { encoding: 2 } }, "its body has encoding 2"],
  ["no compressed body", { body: { compressedBytes: 0 } }, "its body counts 0 bytes"],
  ["a compressed body that is too long", { body: { compressedBytes: COMPRESSED_BODY_BYTES_MAX + 1 } }, "its body counts"],
  ["no raw body", { body: { rawBytes: 0 } }, "its raw body counts 0 bytes"],
  ["a raw body that is too long", { body: { rawBytes: RAW_BODY_BYTES_MAX + 1 } }, "its raw body counts"],
  ["no batches", { count: 0, batches: [] }, "lists 0 batches"],
  ["too many batches", several(REDO_FILE_BATCHES_MAX + 1, 1), "lists 4097 batches"],
  ["too many mutations", several(REDO_FILE_MUTATIONS_MAX / BATCH_MUTATIONS_MAX + 1, BATCH_MUTATIONS_MAX), "it counts 1100000 mutations"],
  ["a batch of too many mutations", several(1, BATCH_MUTATIONS_MAX + 1), "a batch counts 100001 mutations"],
  ["an empty batch", { batches: [ONE, { ...ONE, count: 0 }] }, "a batch counts 0 mutations"],
  ["counts that add up to more", { count: 2 }, "its batches count 1 mutations, its header 2"],
  ["counts that add up to less", { count: 1, batches: [ONE, ONE] }, "its batches count 2 mutations, its header 1"],
  ["a producer without a name", marked({ producer: "" }), "the name of a producer"],
];

test.each(REFUSED)("%s is neither written nor read", (_, change, words) => {
  expect(() => written(change)).toThrow(words);
  expect(() => read(unchecked(change))).toThrow(words);
});

test.each<[string, Change, string]>([
  ["an index that is not whole", { first: 1.5 }, "its first index is 1.5"],
  ["a shard that is not whole", { shard: 0.5 }, "its shard is 0.5"],
  ["a negative shard", { shard: -1 }, "its shard is -1"],
  ["an incarnation in capitals", { incarnation: "00000000000000AA" }, "its incarnation is"],
  ["a digest that is too long", { previousDigest: "ab".repeat(33) }, "its previous digest is"],
  ["a digest of other characters", { previousDigest: "xy".repeat(32) }, "its previous digest is"],
  ["a digest in capitals", { previousDigest: "AB".repeat(32) }, "its previous digest is"],
  ["a write id that starts otherwise", { writeId: `g${"c".repeat(31)}` }, "its write id is"],
  ["a write id that ends otherwise", { writeId: `${"c".repeat(31)}g` }, "its write id is"],
  ["a batch count that is not whole", { batches: [{ ...ONE, count: 1.5 }] }, "a batch counts 1.5 mutations"],
  ["a time that is not whole", { batches: [{ ...ONE, timeMs: 0.5 }] }, "a batch has the time 0.5"],
  ["a negative time", { batches: [{ ...ONE, timeMs: -1 }] }, "the times of its batches go back"],
  ["times that go back", { count: 2, batches: [ONE, { ...ONE, timeMs: 4 }] }, "the times of its batches go back"],
  ["a producer of too many bytes", marked({ producer: "é".repeat(PRODUCER_BYTES_MAX / 2 + 1) }), "the name of a producer"],
  ["a producer that is not text", marked({ producer: "\ud800" }), "the name of a producer"],
  ["a negative sequence", marked({ sequence: -1n }), "a producer's sequence is -1"],
  ["a sequence of too many bits", marked({ sequence: 2n ** 192n }), "a producer's sequence is"],
  ["a negative index that was seen", marked({ since: -1 }), "a batch was sent since -1"],
  ["an index that was seen and is not whole", marked({ since: 0.5 }), "a batch was sent since 0.5"],
])("%s is not written", (_, change, words) => {
  expect(() => written(change)).toThrow(words);
});

describe("what no encoder writes is refused", () => {
  const two: Change = { count: 2, batches: [ONE, { ...ONE, timeMs: 9 }] };

  test.each<[string, Buffer, string]>([
    // The first batch's own time, a millisecond behind that, stands behind the table's name and its count.
    ["a first time that is not the first batch's", unchecked(two, { firstTimeMs: 4 }).fill(1, 140, 141), "times are not those of its batches"],
    ["a last time that is not the last batch's", unchecked(two, { lastTimeMs: 8 }), "times are not those of its batches"],
    ["unknown flags of a batch", unchecked({}, { flags: 2 }), "a batch with flags 2"],
    ["flags beside the producer's", unchecked(marked({}), { flags: 3 }), "a batch with flags 3"],
    ["bytes behind the last batch", Buffer.concat([unchecked(two), Buffer.alloc(1)]), "goes on behind its last batch"],
    ["a table name that is too long", unchecked({ table: "t".repeat(TABLE_NAME_LENGTH_MAX + 1) }), "its header holds a name"],
    ["a producer that is too long", unchecked(marked({ producer: "p".repeat(PRODUCER_BYTES_MAX + 1) })), "its header holds a name"],
    ["more batches than there may be, before they are read", unchecked({}).fill(0xff, 127, 131), "its header lists 4294967295 batches"],
    [
      "times that leave the safe integers",
      unchecked({ count: 2, batches: [0, 1].map((more) => ({ count: 1, timeMs: Number.MAX_SAFE_INTEGER + more })) }, { lastTimeMs: 0 }),
      "a batch has the time 9007199254740992",
    ],
  ])("%s", (_, bytes, words) => {
    expect(() => read(bytes)).toThrow(words);
  });

  test("a header that ends anywhere before its end", () => {
    const whole = written({ count: 2, batches: [ONE, ...(marked({}).batches ?? [])] });
    for (let length = 0; length < whole.length; length += 1)
      expect(() => read(whole.subarray(0, length)), `${length}`).toThrow("its header ends inside of a field");
  });
});
