// The columns of a body: lengths at the borders of their bytes, and what is refused though it decompresses.

import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { BATCH_MUTATIONS_MAX, KEY_BYTES_MAX, REDO_FILE_BYTES_MAX, REDO_FILE_MUTATIONS_MAX, VALUE_BYTES_MAX } from "../../../lib/model/limits.ts";
import type { Mutation } from "../../../lib/model/mutation.ts";
import { RECORD_DELETE, RECORD_PATCH, RECORD_PUT } from "../../../lib/model/rows.ts";
import { decodeBody, encodeBody } from "../../../lib/redo-log/body.ts";
import { compressBound } from "../../../lib/redo-log/layout.ts";

function refuse(what: string): never {
  throw new Error(what);
}

const put = (keyBytes: number, valueBytes: number): Mutation => ({ kind: "put", key: Buffer.alloc(keyBytes, "k"), value: Buffer.alloc(valueBytes, "v") });

/** LEB128 as docs/format-redo.md has it. */
const varint = (value: number): readonly number[] => (value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))]);

test.each([
  [1, 0],
  [127, 127],
  [128, 128],
  [KEY_BYTES_MAX, 16_383],
  [1, 16_384],
  [1, 2 ** 21 - 1],
  [1, 2 ** 21],
  [1, VALUE_BYTES_MAX],
])("a key of %d bytes and a value of %d stand with lengths of as few bytes as they need, and are read again", (keyBytes, valueBytes) => {
  const patch: Mutation = { kind: "patch", key: Buffer.from("k"), value: Buffer.from("v") };
  const mutations: readonly Mutation[] = [put(keyBytes, valueBytes), { kind: "delete", key: Buffer.from("é") }, patch];
  const { bytes, count, rawBytes } = encodeBody([{ mutations: mutations.slice(0, 1) }, { mutations: mutations.slice(1) }], refuse);
  const raw = zstdDecompressSync(bytes);
  const lengths = [...varint(keyBytes), 2, 1, ...varint(valueBytes), 0, 1];
  expect([count, rawBytes]).toEqual([3, raw.length]);
  expect([...raw.subarray(0, 3 + lengths.length)]).toEqual([RECORD_PUT, RECORD_DELETE, RECORD_PATCH, ...lengths]);
  const records = decodeBody(bytes, rawBytes, count, refuse);
  const keysAt = 3 + lengths.length;
  const valuesAt = keysAt + keyBytes + 3;
  expect([[...records.keyStarts], [...records.keyLengths]]).toEqual([
    [keysAt, keysAt + keyBytes, keysAt + keyBytes + 2],
    [keyBytes, 2, 1],
  ]);
  expect([[...records.valueStarts], [...records.valueLengths]]).toEqual([
    [valuesAt, valuesAt + valueBytes, valuesAt + valueBytes],
    [valueBytes, 0, 1],
  ]);
  expect(raw.toString("utf8", keysAt, valuesAt)).toBe(`${"k".repeat(keyBytes)}ék`);
  expect([raw.length, raw.at(-1)]).toEqual([valuesAt + valueBytes + 1, "v".charCodeAt(0)]);
});

test("a frame is no longer than its raw bytes, one more for every 256 of them that begin, and 1,024", () => {
  expect([0, 1, 256, 257, 100_000].map(compressBound)).toEqual([1_024, 1_026, 1_281, 1_283, 101_415]);
});

describe("the encoder refuses", () => {
  const all = (mutations: readonly Mutation[], times = 1) => Array.from({ length: times }, () => ({ mutations }));
  const most = Array.from({ length: BATCH_MUTATIONS_MAX }, () => put(1, 0));
  test.each<[string, readonly { readonly mutations: readonly Mutation[] }[], string]>([
    ["no mutations", all([]), "it holds 0 mutations"],
    ["more mutations than a file may have", [...all(most, REDO_FILE_MUTATIONS_MAX / BATCH_MUTATIONS_MAX), ...all([put(1, 0)])], "it holds 1000001 mutations"],
    [
      "more bytes of keys and values than a file may have",
      all([put(1, REDO_FILE_BYTES_MAX / 4)], 4),
      `its keys and values have ${REDO_FILE_BYTES_MAX + 4} bytes`,
    ],
    ["a key without bytes", all([put(0, 1)]), "a key has 0 bytes"],
    ["a key of too many bytes", all([put(KEY_BYTES_MAX + 1, 1)]), "a key has 1025 bytes"],
    ["a value of too many bytes", all([put(1, VALUE_BYTES_MAX + 1)]), "a value has"],
    ["a key that begins within a character", all([{ kind: "delete", key: Buffer.from([0xa9]) }]), "a key is not well-formed UTF-8"],
    ["a key that ends within a character", all([{ kind: "delete", key: Buffer.from([0xc3]) }]), "a key is not well-formed UTF-8"],
  ])("%s", (_, batches, words) => {
    expect(() => encodeBody(batches, refuse)).toThrow(words);
  });
});

describe("a body is refused that holds", () => {
  const read = (raw: readonly number[] | Buffer, count: number, rawBytes = raw.length) =>
    decodeBody(zstdCompressSync(Buffer.from(raw)), rawBytes, count, refuse);
  const [k, v] = [0x6b, 0x76];

  test("what is well-formed is not", () => {
    expect(read([RECORD_PUT, RECORD_PATCH, 1, 1, 0, 1, k, k, v], 2)).toMatchObject({ count: 2 });
  });

  test.each<[string, readonly number[], number, string]>([
    ["kind 0", [0, 1, 0, k], 1, "a mutation has kind 0"],
    ["a kind that there is not yet", [RECORD_PATCH + 1, 1, 0, k], 1, `a mutation has kind ${RECORD_PATCH + 1}`],
    ["a delete with a value", [RECORD_DELETE, 1, 1, k, v], 1, "a delete has a value"],
    ["a key without bytes", [RECORD_PUT, 0, 1, v], 1, "a key has 0 bytes"],
    ["a key of too many bytes", [RECORD_PUT, ...varint(1_025), 0, ...Array<number>(1_025).fill(k)], 1, "a key has 1025 bytes"],
    ["a key that is not text", [RECORD_PUT, 1, 0, 0xff], 1, "a key is not well-formed UTF-8"],
    ["keys that are text only together", [RECORD_PUT, RECORD_PUT, 1, 1, 0, 0, 0xc3, 0xa9], 2, "a key is not well-formed UTF-8"],
    ["fewer bytes than its mutations take at least", [RECORD_PUT, RECORD_PUT, 1, 1, 0, 0, k], 2, "cannot hold 2 mutations"],
    ["lengths that end early", [RECORD_PUT, RECORD_PUT, 0x80, 0x80, 0x01, 0x80, 0x80, 0x01], 2, "ends inside of the lengths"],
    ["a length that is cut", [RECORD_PUT, 1, 0x80, 0x80], 1, "a length that never ends"],
    ["a length of five bytes", [RECORD_PUT, 0x81, 0x80, 0x80, 0x80, 0x01, 0, k], 1, "a length that never ends"],
    ["a length in more bytes than it needs", [RECORD_PUT, 0x81, 0x00, 0, k], 1, "a length in more bytes than it needs"],
    ["keys and values that end early", [RECORD_PUT, 1, 0, k, k], 1, "its keys and values end at raw byte 4 of 5"],
    ["keys and values that end too late", [RECORD_PUT, 1, 2, k, v], 1, "its keys and values end at raw byte 6 of 5"],
  ])("%s", (_, raw, count, words) => {
    expect(() => read(raw, count)).toThrow(words);
  });

  test("a value of too many bytes", () => {
    const lengths = Buffer.from([RECORD_PUT, 1, ...varint(VALUE_BYTES_MAX + 1), k]);
    expect(() => read(Buffer.concat([lengths, Buffer.alloc(VALUE_BYTES_MAX + 1)]), 1)).toThrow(`a value has ${VALUE_BYTES_MAX + 1} bytes`);
  });

  test("fewer or more raw bytes than its header says", () => {
    expect(() => read([RECORD_PUT, 1, 0, k], 1, 5)).toThrow("its body has 4 raw bytes, its header says 5");
    expect(() => read([RECORD_PUT, 1, 1, k, v], 1, 4)).toThrow("its body does not decompress to the length its header says");
  });
});
