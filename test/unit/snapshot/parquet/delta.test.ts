import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeDelta, deltaBytesMax, encodeDelta } from "../../../../lib/snapshot/parquet/delta.ts";

const numbers = fc
  .record({ base: fc.maxSafeNat(), spread: fc.integer({ min: 0, max: 53 }), parts: fc.array(fc.maxSafeNat(), { minLength: 1, maxLength: 300 }) })
  .map(({ base, spread, parts }) => Float64Array.from(parts, (part) => Math.min(Number.MAX_SAFE_INTEGER, base + Math.floor(part / 2 ** (53 - spread)))));
const scales = fc.constantFrom(1 as const, 1_000 as const);

function encoded(values: Float64Array, scale: 1 | 1_000): Buffer {
  const out = Buffer.alloc(deltaBytesMax(values.length));
  return out.subarray(0, encodeDelta(values, values.length, scale, out, 0));
}

test("numbers come back as they were, over the whole range of safe integers", () => {
  fc.assert(
    fc.property(numbers, scales, (values, scale) => {
      const bytes = encoded(values, scale);
      const back = new Float64Array(values.length);
      expect(decodeDelta(bytes, 0, values.length, scale, back)).toBe(bytes.length);
      expect(back).toEqual(values);
    }),
  );
});

test("numbers that were cut, or any bytes in their place, give numbers or a RangeError", () => {
  fc.assert(
    fc.property(numbers, scales, fc.uint8Array({ maxLength: 60 }), fc.nat(), (values, scale, noise, cut) => {
      const whole = encoded(values, scale);
      for (const bytes of [Buffer.from(noise), whole.subarray(0, cut % whole.length)]) {
        try {
          decodeDelta(bytes, 0, values.length, scale, new Float64Array(values.length));
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }
    }),
  );
});
