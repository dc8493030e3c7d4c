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

test.each([
  ["one number", 1, [5], "8001 04 01 0a"],
  ["a difference for all", 1, [1, 2, 3], "8001 04 03 02 02 00000000"],
  ["differences less the smallest", 1, [0, 3, 1], `8001 04 03 00 03 03000000 05${"00".repeat(11)}`],
  ["times in microseconds", 1_000, [1, 3], "8001 04 02 d00f a01f 00000000"],
  ["more than 32 bits", 1, [0, 2 ** 32, 2 ** 32], `8001 04 03 00 00 21000000 0000000001${"00".repeat(127)}`],
] as const)("%s: as Parquet has it", (_, scale, values, bytes) => {
  expect(encoded(Float64Array.from(values), scale).toString("hex")).toBe(bytes.replaceAll(" ", ""));
});

const MAX = Number.MAX_SAFE_INTEGER;
const patterns: readonly (readonly [what: string, (place: number) => number])[] = [
  ["equal ones", () => 7],
  ["ascending ones", (place) => 1_000 + 3 * place],
  ["small differences", (place) => 50 + ((place * 7) % 5)],
  ["differences of up to 31, 32 and 33 bits", (place) => [0, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 33 + 1][(place * 3) % 5]],
  ["the least and the largest by turns", (place) => (place % 2 ? MAX : 0)],
  ["large ones", (place) => MAX - ((place * 48_271) % 70_001)],
  ["large ones, whose differences come in no order", (place) => MAX - ((place * place * 7_919) % 100_003)],
  ["about the largest that is exact twice", (place) => 2 ** 52 - 2 + (place % 5)],
  ["about the largest that is exact twice, in microseconds", (place) => Math.floor(2 ** 52 / 1_000) - 2 + (place % 5)],
  ["one that is far away in each miniblock", (place) => (place % 32 === 31 ? 2 ** (place % 53) : place)],
  ["halves that borrow", (place) => 2 ** 40 * (place % 3) + ((place * 2_654_435_761) % 2 ** 32)],
];

test.each(patterns)("of any count come back as they were, and no cut of them does: %s", (_, pattern) => {
  for (const count of [1, 2, 3, 32, 33, 34, 65, 128, 129, 130, 258]) {
    const values = Float64Array.from({ length: count }, (__, place) => pattern(place));
    for (const scale of [1, 1_000] as const) {
      const bytes = encoded(values, scale);
      const behind = Buffer.concat([Buffer.of(0xff), bytes, Buffer.of(0xff)]);
      const back = new Float64Array(count);
      expect([decodeDelta(behind, 1, count, scale, back), back]).toEqual([bytes.length + 1, values]);
      for (const cut of [0, 1, 2, 3, 4, bytes.length - 1]) expect(() => decodeDelta(bytes.subarray(0, cut), 0, count, scale, back)).toThrow(RangeError);
    }
  }
});

/** The same by bigints, as plain as can be. */
function plainlyEncoded(values: Float64Array, scale: 1 | 1_000): string {
  const out: number[] = [];
  const varint = (value: bigint) => {
    for (let rest = value; ; rest >>= 7n) {
      out.push(Number(rest & 0x7fn) | (rest > 0x7fn ? 0x80 : 0));
      if (rest <= 0x7fn) return;
    }
  };
  const zigzag = (value: bigint) => varint(BigInt.asUintN(64, (value << 1n) ^ (value >> 63n)));
  const stored = Array.from(values, (value) => BigInt.asIntN(64, BigInt(value) * BigInt(scale)));
  for (const number of [128, 4, stored.length]) varint(BigInt(number));
  zigzag(stored[0]);
  for (let from = 1; from < stored.length; from += 128) {
    const deltas = stored.slice(from, from + 128).map((value, i) => BigInt.asIntN(64, value - stored[from + i - 1]));
    const least = deltas.reduce((one, other) => (other < one ? other : one));
    zigzag(least);
    const miniblocks = [0, 32, 64, 96].map((at) => deltas.slice(at, at + 32).map((delta) => BigInt.asUintN(64, delta - least)));
    const widths = miniblocks.map((miniblock) => Math.max(0, ...miniblock.map((each) => (each === 0n ? 0 : each.toString(2).length))));
    out.push(...widths);
    for (const [i, miniblock] of miniblocks.entries()) {
      const bits = miniblock.reduce((sum, each, place) => sum | (each << BigInt(place * widths[i])), 0n);
      for (let byte = 0; byte < 4 * widths[i]; byte++) out.push(Number((bits >> BigInt(8 * byte)) & 0xffn));
    }
  }
  return Buffer.from(out).toString("hex");
}

test.each(patterns)("the bytes are those of the plainest encoder: %s", (_, pattern) => {
  for (const count of [1, 2, 33, 127, 129, 258]) {
    const values = Float64Array.from({ length: count }, (__, place) => pattern(place));
    for (const scale of [1, 1_000] as const) expect(encoded(values, scale).toString("hex")).toBe(plainlyEncoded(values, scale));
  }
});

test.each([
  ["another block", 2, "80 02 04 02 0a 00 00000000"],
  ["other miniblocks", 2, "8001 08 02 0a 00 00000000"],
  ["another count", 2, "8001 04 03 0a 00 00000000"],
  ["a count of 64 bits", 2, "8001 04 8280808010 0a 00 00000000"],
  ["a width of more than 64 bits", 2, `8001 04 02 0a 00 41000000${"00".repeat(260)}`],
  ["a width where no values are", 2, `8001 04 02 0a 00 00010000${"00".repeat(4)}`],
  ["a width right behind the last value", 33, `8001 04 21 0a 00 00010000${"00".repeat(4)}`],
  ["no widths", 2, "8001 04 02 0a 00 000000"],
  ["a miniblock that is cut", 2, "8001 04 02 0a 00 01000000 000000"],
  ["a number of more than 64 bits", 2, `8001 04 02 ${"80".repeat(10)}01 00 00000000`],
  ["a negative number", 1, "8001 04 01 01"],
  ["a number that is not safe", 1, "8001 04 01 8080808080808020"],
])("refused: %s", (_, count, bytes) => {
  expect(() => decodeDelta(Buffer.from(bytes.replaceAll(" ", ""), "hex"), 0, count, 1, new Float64Array(count))).toThrow(RangeError);
});

test("a time of less than a millisecond is refused, as it cannot have been written", () => {
  const bytes = Buffer.from("800104 01 d20f".replaceAll(" ", ""), "hex");
  expect(() => decodeDelta(bytes, 0, 1, 1_000, new Float64Array(1))).toThrow(RangeError);
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
