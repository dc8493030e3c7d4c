// Fields at the borders of their widths, written and read; what is no field is refused.

import { describe, expect, test } from "vitest";
import { type ByteReader, byteReader, byteWriter } from "../../../lib/redo-log/byte-fields.ts";

function refuse(what: string): never {
  throw new Error(what);
}

const readerOf = (...bytes: readonly number[]): ByteReader => byteReader(Buffer.from(bytes), refuse);

test.each([
  [0, [0]],
  [127, [0x7f]],
  [128, [0x80, 0x01]],
  [16_383, [0xff, 0x7f]],
  [16_384, [0x80, 0x80, 0x01]],
  [2 ** 32 + 1, [0x81, 0x80, 0x80, 0x80, 0x10]],
  [2 ** 49 - 1, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]],
  [2 ** 49, [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]],
  [Number.MAX_SAFE_INTEGER, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]],
])("the varint %d has seven bits a byte, the lowest first, in as few bytes as it needs", (value, bytes) => {
  const writer = byteWriter(16);
  writer.varint(value);
  expect([...writer.take()]).toEqual(bytes);
  const reader = readerOf(...bytes);
  expect(reader.varint()).toBe(value);
  reader.end();
});

test.each([0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER])("the u64 %d has eight bytes, the lowest first", (value) => {
  const writer = byteWriter(8);
  writer.u64(value);
  const bytes = writer.take();
  expect([bytes.length, bytes.readBigUInt64LE()]).toEqual([8, BigInt(value)]);
  expect(byteReader(bytes, refuse).u64()).toBe(value);
});

test("each field goes on where the one before it ends, beyond what the writer began with, and up to its limit", () => {
  const text = "tü".repeat(40);
  const rounds = 30;
  const bytesOfRound = 1 + 2 + 4 + 8 + 2 + (1 + 120) + 3 + 5;
  const writer = byteWriter(rounds * bytesOfRound);
  for (let round = 0; round < rounds; round += 1) {
    writer.u8(round);
    writer.u16(60_000 + round);
    writer.u32(4_000_000_000 + round);
    writer.u64(2 ** 40 + round);
    writer.varint(300 + round);
    writer.text(text);
    writer.hex("00ff10");
    writer.bytes(Buffer.from([9, 8, 7, 6, round]));
  }
  const bytes = writer.take();
  expect(bytes.length).toBe(rounds * bytesOfRound);
  expect(() => writer.u8(0)).toThrow(expect.objectContaining({ kind: "bug" }));
  const reader = byteReader(bytes, refuse);
  for (let round = 0; round < rounds; round += 1) {
    const numbers = [reader.u8(), reader.u16(), reader.u32(), reader.u64(), reader.varint()];
    expect(numbers).toEqual([round, 60_000 + round, 4_000_000_000 + round, 2 ** 40 + round, 300 + round]);
    expect([reader.text(120), reader.hex(3), [...reader.bytes(5)]]).toEqual([text, "00ff10", [9, 8, 7, 6, round]]);
  }
  reader.end();
});

describe("refused is", () => {
  const above = "above 2^53 - 1";
  test.each<[string, ByteReader, (reader: ByteReader) => unknown, string]>([
    ["a u64 above the safe integers", readerOf(0, 0, 0, 0, 0, 0, 0x20, 0), (reader) => reader.u64(), above],
    ["a varint above the safe integers", readerOf(0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10), (reader) => reader.varint(), above],
    ["a varint of nine bytes", readerOf(0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01), (reader) => reader.varint(), above],
    ["a varint in more bytes than it needs", readerOf(0x81, 0x00), (reader) => reader.varint(), "more bytes than it needs"],
    ["a varint that is cut", readerOf(0x80), (reader) => reader.varint(), "ends inside of a field"],
    ["a text that is longer than it may be", readerOf(3, 0x61, 0x62, 0x63), (reader) => reader.text(2), "not 1 to 2 bytes of text"],
    ["a text that is not UTF-8", readerOf(1, 0xff), (reader) => reader.text(2), "not 1 to 2 bytes of text"],
    ["a field that is longer than what is left", readerOf(1, 2, 3), (reader) => [reader.u8(), reader.bytes(3)], "ends inside of a field"],
    ["an end before the end", readerOf(1, 2), (reader) => [reader.u8(), reader.end()], "goes on behind its last batch"],
  ])("%s", (_, reader, field, words) => {
    expect(() => field(reader)).toThrow(words);
  });

  test.each([-1, 0.5, 2 ** 53, Number.NaN])("a number to write that is not whole and safe: %d", (value) => {
    const writer = byteWriter(16);
    for (const write of [writer.u64, writer.varint]) expect(() => write(value)).toThrow(expect.objectContaining({ kind: "bug" }));
    expect(writer.take().length).toBe(0);
  });
});
