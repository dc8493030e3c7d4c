import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { constants, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BATCH_MUTATIONS_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX } from "../../../lib/model/limits.ts";
import type { Mutation } from "../../../lib/model/mutation.ts";
import { ORIGIN, toIndex } from "../../../lib/model/position.ts";
import type { RedoFile } from "../../../lib/model/redo-file.ts";
import { RECORD_DELETE, RECORD_PUT } from "../../../lib/model/rows.ts";
import { decodeRedoFile, decodeRedoHeader, type EncodeRedoRequest, encodeRedoBody, encodeRedoFile, type RedoBatch } from "../../../lib/redo-log/codec.ts";

const NAME = "players/3/00000000000000aa/redo/0000000000000042.redo";
const GOLDEN = new URL("../../golden/redo-v1.redo", import.meta.url);
const damage = expect.objectContaining({ kind: "repair", code: "damaged-object", message: expect.stringContaining(NAME) });
const bug = expect.objectContaining({ kind: "bug" });

const put = (key: string, value: string): Mutation => ({ kind: "put", key: Buffer.from(key), value: Buffer.from(value) });
const remove = (key: string): Mutation => ({ kind: "delete", key: Buffer.from(key) });
const patch = (key: string, value: string): Mutation => ({ kind: "patch", key: Buffer.from(key), value: Buffer.from(value) });

function request(batches: readonly RedoBatch[], fields: Partial<EncodeRedoRequest> = {}): EncodeRedoRequest {
  const name = { table: "players", shard: 3, incarnation: "00000000000000aa", first: toIndex(42) };
  return { ...name, previousDigest: "ab".repeat(32), writeId: "cd".repeat(16), batches, ...fields };
}

/** Each kind of mutation and of batch, lengths of one and of two bytes. */
const SAMPLE = request([
  { mutations: [put("user/1", '{"name":"Ada"}'), remove("user/2"), patch("é\u{1f600}", '{"level":2}')], timeMs: 1_700_000_000_000 },
  {
    mutations: [put("k".repeat(200), "v".repeat(300))],
    timeMs: 1_700_000_000_000,
    mark: { producer: "game-7", sequence: 2n ** 192n - 1n, since: toIndex(40) },
  },
  { mutations: [put("user/1", "")], timeMs: 1_700_000_000_300, mark: { producer: "gäme", sequence: 0n, since: toIndex(0) } },
]);

function mutationsOf({ records, header }: RedoFile): readonly (readonly Mutation[])[] {
  let done = 0;
  return header.batches.map(({ count }) => {
    done += count;
    return Array.from({ length: count }, (_, place) => mutationAt(records, done - count + place));
  });
}

function mutationAt({ bytes, kinds, keyStarts, keyLengths, valueStarts, valueLengths }: RedoFile["records"], record: number): Mutation {
  const key = Buffer.from(bytes.subarray(keyStarts[record], keyStarts[record] + keyLengths[record]));
  const value = Buffer.from(bytes.subarray(valueStarts[record], valueStarts[record] + valueLengths[record]));
  if (kinds[record] === RECORD_DELETE) return { kind: "delete", key };
  return { kind: kinds[record] === RECORD_PUT ? "put" : "patch", key, value };
}

describe("round trips", () => {
  const key = fc.string({ minLength: 1, maxLength: 20, unit: "binary" }).map((text) => Buffer.from(text));
  const value = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
  const mutation: fc.Arbitrary<Mutation> = fc.oneof(
    fc.record({ kind: fc.constantFrom("put" as const, "patch" as const), key, value }),
    fc.record({ kind: fc.constant("delete" as const), key }),
  );
  const mark = fc.record({
    producer: fc.string({ minLength: 1, maxLength: 30, unit: "binary" }),
    sequence: fc.bigInt({ min: 0n, max: 2n ** 192n - 1n }),
    since: fc.maxSafeNat().map(toIndex),
  });
  const batch = fc.record(
    { mutations: fc.array(mutation, { minLength: 1, maxLength: 8 }), timeMs: fc.maxSafeNat(), mark },
    { requiredKeys: ["mutations", "timeMs"] },
  );
  const batches = fc.array(batch, { minLength: 1, maxLength: 8 }).map((list) => list.sort((a, b) => a.timeMs - b.timeMs));

  test("a file is what was encoded", () => {
    fc.assert(
      fc.property(batches, fc.integer({ min: 1, max: 2 ** 52 }), (list, first) => {
        const { bytes, header } = encodeRedoFile(request(list, { first: toIndex(first) }));
        const file = decodeRedoFile(bytes, NAME);
        expect(file.header).toEqual(header);
        expect(header).toMatchObject({
          table: "players",
          shard: 3,
          incarnation: "00000000000000aa",
          first,
          previousDigest: "ab".repeat(32),
          writeId: "cd".repeat(16),
        });
        expect(mutationsOf(file)).toEqual(list.map(({ mutations }) => mutations));
        expect(header.batches).toEqual(list.map(({ mutations, ...rest }) => ({ count: mutations.length, ...rest })));
        expect(header.count).toBe(list.reduce((sum, { mutations }) => sum + mutations.length, 0));
      }),
    );
  });

  test("the largest keys, values and batches pass", () => {
    const value = Buffer.alloc(VALUE_BYTES_MAX, "v");
    const large = request([{ mutations: [{ kind: "put", key: Buffer.alloc(KEY_BYTES_MAX, "k"), value }], timeMs: 0 }]);
    const { records } = decodeRedoFile(encodeRedoFile(large).bytes, NAME);
    expect(records.bytes.subarray(records.valueStarts[0], records.valueStarts[0] + records.valueLengths[0]).equals(value)).toBe(true);
    const many = [{ mutations: Array.from({ length: BATCH_MUTATIONS_MAX }, (_, place) => remove(`${place}`)), timeMs: 0 }];
    expect(decodeRedoFile(encodeRedoFile(request(many)).bytes, NAME).records.count).toBe(BATCH_MUTATIONS_MAX);
  });

  test("the same request gives the same bytes, with a body of its own or one that was kept", () => {
    const { bytes } = encodeRedoFile(SAMPLE);
    expect(encodeRedoFile(SAMPLE).bytes.equals(bytes)).toBe(true);
    expect(encodeRedoFile({ ...SAMPLE, body: encodeRedoBody(SAMPLE.batches) }).bytes.equals(bytes)).toBe(true);
  });

  test("the digest is SHA-256 of all bytes before it, and the header's name for the file", () => {
    const { bytes, header } = encodeRedoFile(SAMPLE);
    const head = decodeRedoHeader(bytes, NAME);
    if (head.kind !== "header") throw new Error("the whole file has its header");
    expect(header.digest).toBe(
      createHash("sha256")
        .update(bytes.subarray(0, head.headerBytes - 32))
        .digest("hex"),
    );
    expect(bytes.toString("hex", head.headerBytes - 32, head.headerBytes)).toBe(header.digest);
  });
});

describe("damage", () => {
  const { bytes, header } = encodeRedoFile(SAMPLE);

  test("every flipped bit of every byte is damage of the named object", () => {
    for (let at = 0; at < bytes.length; at += 1) {
      for (const bits of [0x01, 0x80, 0xff]) {
        const flipped = Buffer.from(bytes);
        flipped[at] ^= bits;
        expect(() => decodeRedoFile(flipped, NAME), `byte ${at} ^ ${bits}`).toThrow(damage);
      }
    }
  });

  test("a file cut at any length is damage", () => {
    for (let length = 0; length < bytes.length; length += 1) expect(() => decodeRedoFile(bytes.subarray(0, length), NAME), `${length}`).toThrow(damage);
  });

  test("appended bytes, a missing byte in the middle and an empty object are damage", () => {
    expect(() => decodeRedoFile(Buffer.concat([bytes, Buffer.from([0])]), NAME)).toThrow(damage);
    expect(() => decodeRedoFile(Buffer.concat([bytes, bytes]), NAME)).toThrow(damage);
    expect(() => decodeRedoFile(Buffer.concat([bytes.subarray(0, 100), bytes.subarray(101)]), NAME)).toThrow(damage);
    expect(() => decodeRedoFile(Buffer.alloc(0), NAME)).toThrow(damage);
  });

  test("the head of one file with the body of another is damage", () => {
    const other = encodeRedoFile({ ...SAMPLE, batches: SAMPLE.batches.map((each) => ({ ...each, mutations: each.mutations.map(() => put("q", "r")) })) }).bytes;
    const head = decodeRedoHeader(bytes, NAME);
    const otherHead = decodeRedoHeader(other, NAME);
    if (head.kind !== "header" || otherHead.kind !== "header") throw new Error("whole files have their headers");
    expect(() => decodeRedoFile(Buffer.concat([bytes.subarray(0, head.headerBytes), other.subarray(otherHead.headerBytes)]), NAME)).toThrow(damage);
  });

  test("a swapped file tells itself by its first index and its previous digest", () => {
    const next = encodeRedoFile({ ...SAMPLE, first: toIndex(42 + header.count), previousDigest: header.digest });
    expect(decodeRedoFile(next.bytes, NAME).header).toMatchObject({ first: 42 + header.count, previousDigest: header.digest });
    expect(next.header.digest).not.toBe(header.digest);
  });

  test("a newer version is told from a flipped one", () => {
    expect(() =>
      decodeRedoFile(
        forged(bytes, (head) => head.writeUInt16LE(2, 8)),
        NAME,
      ),
    ).toThrow(expect.objectContaining({ kind: "call", code: "newer-format" }));
    expect(() =>
      decodeRedoFile(
        forged(bytes, (head) => head.writeUInt16LE(0, 8)),
        NAME,
      ),
    ).toThrow(damage);
    expect(() =>
      decodeRedoFile(
        forged(bytes, (head) => head.write("X", 0)),
        NAME,
      ),
    ).toThrow(damage);
  });

  test("lengths beyond the limits are refused before anything is allocated", () => {
    const huge = Buffer.from(bytes);
    huge.writeUInt32LE(2 ** 32 - 1, 10);
    expect(() => decodeRedoHeader(huge, NAME)).toThrow(damage);
    expect(() =>
      decodeRedoFile(
        forged(bytes, (head) => head.writeUInt32LE(2 ** 32 - 1, 103)),
        NAME,
      ),
    ).toThrow(damage);
    expect(() =>
      decodeRedoFile(
        forged(bytes, (head) => head.writeUInt32LE(2 ** 32 - 1, 99)),
        NAME,
      ),
    ).toThrow(damage);
    expect(() =>
      decodeRedoFile(
        forged(bytes, (head) => head.writeUInt32LE(2 ** 32 - 1, 30)),
        NAME,
      ),
    ).toThrow(damage);
    expect(() =>
      decodeRedoFile(
        forged(bytes, (head) => head.writeUInt32LE(2 ** 32 - 1, 141)),
        NAME,
      ),
    ).toThrow(damage);
  });

  test("a body that decompresses to more or less than its header says is damage", () => {
    for (const length of [1, 700, 100_000_000]) {
      const bomb = zstdCompressSync(Buffer.alloc(length), { params: { [constants.ZSTD_c_compressionLevel]: 1 } });
      expect(() => decodeRedoFile(withBody(bytes, bomb), NAME)).toThrow(damage);
    }
    expect(() => decodeRedoFile(withBody(bytes, Buffer.from("no frame")), NAME)).toThrow(damage);
  });

  test("whatever stands in a header or body with valid digests, the file is read or refused, never misread", () => {
    const head = decodeRedoHeader(bytes, NAME);
    if (head.kind !== "header") throw new Error("the whole file has its header");
    for (let at = 14; at < head.headerBytes - 32; at += 1) {
      for (const bits of [0x01, 0x80, 0xff]) {
        const changed = forged(bytes, (bytesToForge) => {
          bytesToForge[at] ^= bits;
        });
        try {
          decodeRedoFile(changed, NAME);
        } catch (error) {
          expect(error, `byte ${at} ^ ${bits}`).toEqual(damage);
        }
      }
    }
  });
});

describe("decodeRedoHeader", () => {
  const { bytes, header } = encodeRedoFile(SAMPLE);

  test("asks for more, never throws, until the head is there; then gives it whatever the body is", () => {
    const head = decodeRedoHeader(bytes, NAME);
    if (head.kind !== "header") throw new Error("the whole file has its header");
    expect(head).toEqual({ kind: "header", header, headerBytes: head.headerBytes, fileBytes: bytes.length });
    for (let length = 0; length < head.headerBytes; length += 1) {
      expect(decodeRedoHeader(bytes.subarray(0, length), NAME)).toEqual({ kind: "more", bytesNeeded: length < 14 ? 14 : head.headerBytes });
    }
    for (let length = head.headerBytes; length <= bytes.length; length += 1) expect(decodeRedoHeader(bytes.subarray(0, length), NAME)).toEqual(head);
  });

  test("finds every flipped byte of the head", () => {
    const head = decodeRedoHeader(bytes, NAME);
    for (let at = 0; head.kind === "header" && at < head.headerBytes; at += 1) {
      const flipped = Buffer.from(bytes);
      flipped[at] ^= 0x10;
      const read = () => {
        // A flipped header length asks for more than there is; the caller knows the object's size.
        if (decodeRedoHeader(flipped, NAME).kind === "more") decodeRedoFile(flipped, NAME);
      };
      expect(read, `byte ${at}`).toThrow(damage);
    }
  });

  test("refuses at once what does not start as a redo file", () => {
    expect(() => decodeRedoHeader(Buffer.from("PAR1"), NAME)).toThrow(damage);
  });
});

describe("the encoder refuses what the decoder would refuse", () => {
  const one = [{ mutations: [put("k", "v")], timeMs: 5 }];
  test.each<[string, EncodeRedoRequest]>([
    ["no batch", request([])],
    ["an empty batch", request([{ mutations: [], timeMs: 0 }, ...one])],
    ["times that go back", request([...one, { mutations: [put("k", "v")], timeMs: 4 }])],
    ["a time that is not whole", request([{ mutations: [put("k", "v")], timeMs: 0.5 }])],
    ["a negative time", request([{ mutations: [put("k", "v")], timeMs: -1 }])],
    ["an empty key", request([{ mutations: [put("", "v")], timeMs: 0 }])],
    ["a key that is too long", request([{ mutations: [put("k".repeat(KEY_BYTES_MAX + 1), "v")], timeMs: 0 }])],
    ["a key that is not text", request([{ mutations: [{ kind: "delete", key: Buffer.from([0xff]) }], timeMs: 0 }])],
    [
      "keys that are text only together",
      request([
        {
          mutations: [
            { kind: "delete", key: Buffer.from([0xc3]) },
            { kind: "delete", key: Buffer.from([0xa9]) },
          ],
          timeMs: 0,
        },
      ]),
    ],
    ["a value that is too large", request([{ mutations: [put("k", "v".repeat(VALUE_BYTES_MAX + 1))], timeMs: 0 }])],
    ["the index 0", request(one, { first: toIndex(0) })],
    ["an index beyond the safe integers", request(one, { first: toIndex(Number.MAX_SAFE_INTEGER) })],
    ["a bad table name", request(one, { table: "Players" })],
    ["a bad shard", request(one, { shard: 10_000 })],
    ["a bad incarnation", request(one, { incarnation: "aa" })],
    ["a short digest", request(one, { previousDigest: "aa" })],
    ["a short write id", request(one, { writeId: "aa" })],
    ["a producer without a name", request([{ ...one[0], mark: { producer: "", sequence: 0n, since: toIndex(0) } }])],
    ["a producer that is not text", request([{ ...one[0], mark: { producer: "\ud800", sequence: 0n, since: toIndex(0) } }])],
    ["a sequence that is too large", request([{ ...one[0], mark: { producer: "p", sequence: 2n ** 192n, since: toIndex(0) } }])],
    ["another batch's body", request(one, { body: encodeRedoBody([{ mutations: [put("a", "b"), put("c", "d")] }]) })],
  ])("%s", (_, wrong) => {
    expect(() => encodeRedoFile(wrong)).toThrow(bug);
  });
});

describe("golden bytes", () => {
  test("of version 1 are read as they were meant, and written again", () => {
    const { bytes, header } = encodeRedoFile(SAMPLE);
    const golden = readFileSync(GOLDEN);
    const file = decodeRedoFile(golden, NAME);
    expect(file.header).toEqual(header);
    expect(mutationsOf(file)).toEqual(SAMPLE.batches.map(({ mutations }) => mutations));
    expect(golden.equals(bytes)).toBe(true);
  });

  test("the first file of a shard names no file before it", () => {
    expect(decodeRedoFile(encodeRedoFile({ ...SAMPLE, first: ORIGIN.next, previousDigest: ORIGIN.digest }).bytes, NAME).header.previousDigest).toBe(
      "0".repeat(64),
    );
  });
});

/** The file with another head and a digest that fits it. */
function forged(bytes: Buffer, change: (bytes: Buffer) => void): Buffer {
  const copy = Buffer.from(bytes);
  const headerEnd = 14 + copy.readUInt32LE(10);
  change(copy);
  createHash("sha256").update(copy.subarray(0, headerEnd)).digest().copy(copy, headerEnd);
  return copy;
}

/** The file with another body, and a header and digest that fit it but for the raw length. */
function withBody(bytes: Buffer, body: Buffer): Buffer {
  const headBytes = 46 + bytes.readUInt32LE(10);
  return forged(Buffer.concat([bytes.subarray(0, headBytes), body]), (copy) => {
    copy.writeUInt32LE(body.length, 99);
    createHash("sha256").update(body).digest().copy(copy, 107);
  });
}
