import fc from "fast-check";
import { expect, test } from "vitest";
import { readThrift, thriftWriter } from "../../../../lib/snapshot/parquet/thrift.ts";

test("fields come back as they were written", () => {
  fc.assert(
    fc.property(fc.maxSafeInteger(), fc.array(fc.maxSafeNat(), { maxLength: 40 }), fc.array(fc.string({ unit: "binary" })), (number, numbers, texts) => {
      const writer = thriftWriter(1);
      writer.boolean(1, true);
      writer.i64(3, Math.trunc(number / 2));
      writer.i64s(5, numbers);
      writer.binaries(6, texts);
      writer.structs(7, texts, (text) => writer.binary(5, text));
      writer.struct(15, () => writer.i32(1, -1));
      const bytes = writer.end();
      const { struct, end } = readThrift(bytes);
      expect(end).toBe(bytes.length);
      expect(struct.integer(3)).toBe(Math.trunc(number / 2) + 0);
      expect(struct.integers(5)).toEqual(numbers);
      expect(struct.binaries(6).map(String)).toEqual(texts);
      expect(struct.structs(7).map((item) => item.text(5))).toEqual(texts);
      expect(struct.struct(15).integer(1)).toBe(-1);
      expect(() => struct.integer(1)).toThrow(RangeError);
    }),
  );
});

const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex");

test("a struct is written as Thrift's compact protocol has it, and the next one by the same writer begins anew", () => {
  const writer = thriftWriter(1);
  writer.boolean(1, true);
  writer.boolean(2, false);
  writer.i32(3, -1);
  writer.i64(5, 300);
  writer.binary(6, "é");
  writer.binary(7, Uint8Array.of(0, 255));
  writer.struct(8, () => writer.i32(1, 64));
  writer.i32s(9, [0, -64]);
  writer.i64s(
    10,
    Array.from({ length: 15 }, () => 1),
  );
  writer.booleans(11, [true, false]);
  writer.binaries(12, ["a", Uint8Array.of(7)]);
  writer.i64s(
    13,
    Array.from({ length: 14 }, () => 2),
  );
  writer.structs(28, [1, 2], (item) => writer.i32(1, item));
  writer.i64(29, Number.MAX_SAFE_INTEGER);
  const fields = [
    "11 12 1501 26d804 1802c3a9 180200ff 1c15800100",
    `1925007f 19f60f${"02".repeat(15)} 19210102 192801610107 19e6${"04".repeat(14)} f92c150200150400 16feffffffffffff1f 00`,
  ].join("");
  expect(writer.end().toString("hex")).toBe(fields.replaceAll(" ", ""));
  writer.i32(1, 0);
  expect(writer.end()).toEqual(hex("150000"));
});

test("a struct of other writers is read: ids in full, sets, lists of booleans, bytes, short integers and doubles", () => {
  const { struct, end } = readThrift(hex("ff 0528 02 1307 1403 17000000000000f83f 1a1502 19210102 19220201 1503 00 ff"), 1);
  expect([20, 21, 22, 23].map((id) => struct.integer(id))).toEqual([1, 7, -2, 1.5]);
  expect(struct.integers(24)).toEqual([1]);
  expect([struct.has(25), struct.has(26), struct.has(27), struct.has(28)]).toEqual([true, true, true, false]);
  expect([struct.integer(27), end]).toEqual([-2, 31]);
});

test("a field that is missing, or of another type, is a RangeError", () => {
  const { struct } = readThrift(hex("11 1502 180161 1c00 192502 02 00"));
  const getters = [
    (id: number) => struct.integer(id),
    (id: number) => struct.bytes(id),
    (id: number) => struct.text(id),
    (id: number) => struct.struct(id),
    (id: number) => struct.structs(id),
    (id: number) => struct.integers(id),
    (id: number) => struct.binaries(id),
  ];
  const works = (read: () => unknown) => {
    try {
      return [read()].length === 1;
    } catch (error) {
      expect(error).toBeInstanceOf(RangeError);
      return false;
    }
  };
  expect(getters.map((get) => [1, 2, 3, 4, 5, 6].filter((id) => works(() => get(id))))).toEqual([[2], [3], [3], [4], [], [5], []]);
});

test.each([
  ["nothing", ""],
  ["a field without its value", "15"],
  ["an integer that is cut", "1580"],
  ["a text that is cut", "18026100"],
  ["a list longer than its bytes", "1955020200"],
  ["a list longer than any bytes", "19f5ffffffff0f00"],
  ["a struct without its end", "1502"],
  ["an unknown type", "1d00"],
  ["a field of no type", "1000"],
  ["an integer of more than 64 bits", "15ffffffffffffffffff0100"],
  ["an integer that is not safe", "16808080808080802000"],
  ["a negative integer that is not safe", "16818080808080802000"],
  ["a negative integer whose double is not exact", "16fdffffffffffff1f00"],
  ["a double that is cut", "17000000"],
  ["structs within structs beyond the limit", `${"1c".repeat(17)}${"00".repeat(18)}`],
])("%s is a RangeError", (_, bytes) => {
  expect(() => readThrift(hex(bytes))).toThrow(RangeError);
});

test("the largest integers and the deepest structs are read", () => {
  expect(readThrift(hex("16feffffffffffff1f 00")).struct.integer(1)).toBe(Number.MAX_SAFE_INTEGER);
  expect(readThrift(hex("16ffffffffffffff0f 00")).struct.integer(1)).toBe(-(2 ** 52));
  const deep = hex(`${"1c".repeat(16)}${"00".repeat(17)}`);
  expect(readThrift(deep).end).toBe(deep.length);
});

test("structs of a list are read as their turn comes, and anew each time, so that nothing holds all of them", () => {
  const { struct } = readThrift(hex("193c 1502001504001506 00 00"));
  const structs = struct.eachStruct(1);
  expect([structs.count, [...structs].map((one) => one.integer(1))]).toEqual([3, [1, 2, 3]]);
  const [first] = structs;
  const [again] = structs;
  expect(first).not.toBe(again);
});

test("any bytes give a struct or a RangeError, without hanging", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
      try {
        readThrift(Buffer.from(noise));
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
      }
    }),
    { numRuns: 2_000 },
  );
});
