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
