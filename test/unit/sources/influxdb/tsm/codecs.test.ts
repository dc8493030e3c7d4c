// Each codec alone and a block as a whole: what goes in comes out, and other bytes are a RangeError.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeBlock, encodeBlock, type Points } from "../../../../../lib/sources/influxdb/tsm/block.ts";
import { decodeFloats, encodeFloats, floatsBytesMax } from "../../../../../lib/sources/influxdb/tsm/floats.ts";
import { decodeIntegers, encodeIntegers, integersBytesMax } from "../../../../../lib/sources/influxdb/tsm/integers.ts";
import { BOOLEAN, FLOAT, INTEGER, STRING, TIME_MAX, TIME_MIN, UNSIGNED } from "../../../../../lib/sources/influxdb/tsm/layout.ts";
import { BLOCK_POINTS_MAX } from "../../../../../lib/sources/influxdb/tsm/limits.ts";
import { packSnappy, snappyBytesMax, unpackSnappy } from "../../../../../lib/sources/influxdb/tsm/snappy.ts";
import { decodeTimes, encodeTimes, timesBytesMax } from "../../../../../lib/sources/influxdb/tsm/times.ts";
import { linesOf, stringsOf } from "./files.ts";

const [RAW, PACKED, RUN] = [0, 1, 2];

/** Lists of 64-bit numbers of every width, with runs of equal steps in them. */
const steps = fc.array(
  fc.tuple(
    fc.oneof(
      fc.constantFrom(0n, 1n, 2n ** 60n - 1n, 2n ** 60n, 10n ** 9n, 2n ** 53n * 1000n),
      fc.integer({ min: 0, max: 62 }).chain((bits) => fc.bigInt(0n, 2n ** BigInt(bits))),
    ),
    fc.oneof({ weight: 5, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.integer({ min: 1, max: 300 }) }),
  ),
  { minLength: 1, maxLength: 40 },
);
const scales = fc.constantFrom(1n, 10n, 1_000n, 10n ** 6n, 10n ** 9n, 10n ** 12n);
const starts = fc.oneof(fc.bigInt(TIME_MIN, TIME_MAX), fc.constantFrom(0n, TIME_MIN, TIME_MAX));
const manySteps = fc.tuple(starts, steps, scales).map(([start, list, scale]) => [start, ...list.flatMap(([step, times]) => Array(times).fill(step * scale))]);
/** Sums wrap, so these are not in order: the codecs do not ask for that. */
const times = manySteps.map(([start, ...list]) => {
  const found = new BigInt64Array(list.length + 1);
  found[0] = start;
  for (const [i, step] of list.entries()) found[i + 1] = found[i] + step;
  return found;
});
const integers = fc.oneof(
  times,
  fc.array(fc.bigInt(TIME_MIN, TIME_MAX), { minLength: 1, maxLength: 50 }).map((list) => BigInt64Array.from(list)),
);

const END = 0x7ff8_0000_0000_0001n;
const floatBits = fc.oneof(
  fc.bigInt(0n, 2n ** 64n - 1n),
  fc.double({ noNaN: true }).map(bitsOf),
  fc.constantFrom(0, -0, 1, Infinity, -Infinity, 5e-324, Number.MAX_VALUE).map(bitsOf),
);
const floats = fc
  .array(fc.tuple(floatBits, fc.integer({ min: 1, max: 3 })), { minLength: 1, maxLength: 60 })
  .map((list) => list.flatMap(([bits, count]) => Array<bigint>(count).fill(bits === END ? 0n : bits)))
  .map((list) => new Float64Array(BigUint64Array.from(list).buffer));

function bitsOf(number: number): bigint {
  return new BigUint64Array(Float64Array.of(number).buffer)[0];
}

function encodedTimes(values: BigInt64Array): Buffer {
  const out = Buffer.alloc(timesBytesMax(values.length));
  return out.subarray(0, encodeTimes(values, out, 0));
}

function encodedIntegers(values: BigInt64Array | BigUint64Array): Buffer {
  const out = Buffer.alloc(integersBytesMax(values.length));
  return out.subarray(0, encodeIntegers(values, out, 0));
}

function encodedFloats(values: Float64Array): Buffer {
  const out = Buffer.alloc(floatsBytesMax(values.length));
  return out.subarray(0, encodeFloats(values, out, 0));
}

describe("times", () => {
  test("come back as they were, over all 64 bits", () => {
    fc.assert(
      fc.property(times, (values) => {
        expect(decodeTimes(encodedTimes(values))).toEqual(values);
      }),
    );
  });

  test("of equal steps are a run, of small steps are packed by their power of ten, of steps above 60 bits are raw", () => {
    const second = 10n ** 9n;
    expect(encodedTimes(BigInt64Array.of(5n * second, 15n * second, 25n * second)).toString("hex")).toBe("2a000000012a05f2000103");
    const uneven = encodedTimes(BigInt64Array.of(0n, second, 3n * second));
    expect([uneven[0] >>> 4, uneven[0] & 15, uneven.length]).toEqual([PACKED, 9, 9 + 8]);
    expect(encodedTimes(BigInt64Array.of(0n, 2n ** 60n, 2n ** 60n + 1n))[0] >>> 4).toBe(RAW);
    expect(encodedTimes(BigInt64Array.of(7n))[0] >>> 4).toBe(PACKED);
  });

  test("240 and 120 steps of one unit take a word", () => {
    const ones = (count: number) => BigInt64Array.from([...Array.from({ length: count + 1 }, (_, i) => BigInt(i)), BigInt(count) + 5n]);
    expect(encodedTimes(ones(240)).length).toBe(9 + 8 * 2);
    expect(encodedTimes(ones(120)).length).toBe(9 + 8 * 2);
    expect(decodeTimes(encodedTimes(ones(365)))).toEqual(ones(365));
  });

  test("more of them than a block may have are refused before there is memory for them", () => {
    const run = Buffer.from("20000000000000000001ffffffff07", "hex");
    expect(() => decodeTimes(run)).toThrow(`above ${BLOCK_POINTS_MAX}`);
    const packed = Buffer.alloc(9 + 8 * 5_000, 0).fill(0x10, 0, 1);
    expect(() => decodeTimes(packed)).toThrow(RangeError);
  });

  test("that are cut, or have bytes behind them, are refused", () => {
    const run = encodedTimes(BigInt64Array.of(1n, 2n, 3n));
    for (let end = 0; end < run.length; end++) expect(() => decodeTimes(run.subarray(0, end))).toThrow(RangeError);
    expect(() => decodeTimes(Buffer.concat([run, Buffer.of(0)]))).toThrow("behind");
    expect(() => decodeTimes(Buffer.of(0x30))).toThrow("unknown encoding 3");
  });
});

describe("integers", () => {
  test("come back as they were, over all 64 bits", () => {
    fc.assert(
      fc.property(integers, (values) => {
        const back = new BigInt64Array(values.length);
        decodeIntegers(encodedIntegers(values), back);
        expect(back).toEqual(values);
      }),
    );
  });

  test("without a sign do too", () => {
    fc.assert(
      fc.property(integers, (signed) => {
        const values = new BigUint64Array(signed.buffer);
        const back = new BigUint64Array(values.length);
        decodeIntegers(encodedIntegers(values), back);
        expect(back).toEqual(values);
      }),
    );
  });

  test("of equal steps are a run, of small ones packed, of wide ones raw", () => {
    expect(encodedIntegers(BigInt64Array.of(-1n, 3n, 7n, 11n)).toString("hex")).toBe("2000000000000000010803");
    expect(encodedIntegers(BigInt64Array.of(1n, 2n))[0] >>> 4).toBe(PACKED);
    expect(encodedIntegers(BigInt64Array.of(0n, 2n ** 62n, -(2n ** 62n)))[0] >>> 4).toBe(RAW);
    expect(encodedIntegers(BigInt64Array.of(TIME_MAX, TIME_MIN, TIME_MAX + 2n))[0] >>> 4).toBe(RUN);
  });

  test("of another count than asked for are refused", () => {
    for (const values of [
      [1n, 2n, 4n],
      [1n, 2n, 3n],
      [0n, TIME_MAX, 0n],
    ]) {
      for (const count of [0, 1, 2, 4, 1000]) {
        expect(() => decodeIntegers(encodedIntegers(BigInt64Array.from(values)), new BigInt64Array(count))).toThrow(RangeError);
      }
    }
  });
});

describe("floats", () => {
  test("come back to the bit", () => {
    fc.assert(
      fc.property(floats, (values) => {
        const back = new Float64Array(values.length);
        decodeFloats(encodedFloats(values), back);
        expect(new BigUint64Array(back.buffer)).toEqual(new BigUint64Array(values.buffer));
      }),
    );
  });

  test("of a walk take fewer bytes than they have", () => {
    const walk = Float64Array.from({ length: 1000 }, (_, i) => 20 + (i % 7) / 4);
    expect(encodedFloats(walk).length).toBeLessThan(2_500);
    expect(encodedFloats(new Float64Array(1000)).length).toBeLessThan(150);
  });

  test("of another count than asked for are refused, and the NaN that ends them is no value", () => {
    const bytes = encodedFloats(Float64Array.of(1, 2, 2, 3));
    for (const count of [0, 1, 3, 5, 1000]) expect(() => decodeFloats(bytes, new Float64Array(count))).toThrow(RangeError);
    expect(() => encodedFloats(new Float64Array(BigUint64Array.of(1n, END).buffer))).toThrow("no such NaN");
  });
});

describe("snappy", () => {
  const text = fc
    .array(fc.constantFrom("a", "bc", "long and long again", "ü", "0123456789".repeat(20)), { maxLength: 400 })
    .map((parts) => Buffer.from(parts.join("")));
  const noise = fc.uint8Array({ maxLength: 2_000 }).map((bytes) => Buffer.from(bytes));

  test("bytes come back as they were", () => {
    fc.assert(
      fc.property(fc.oneof(text, noise), fc.integer({ min: 1, max: 40 }), (part, times) => {
        const bytes = Buffer.concat(Array(times).fill(part));
        const out = Buffer.alloc(snappyBytesMax(bytes.length));
        const packed = out.subarray(0, packSnappy(bytes, out, 0));
        expect(unpackSnappy(packed, 0, bytes.length).equals(bytes)).toBe(true);
      }),
    );
  });

  test("text that repeats becomes small", () => {
    const bytes = Buffer.from("the same words again, ".repeat(5_000));
    const out = Buffer.alloc(snappyBytesMax(bytes.length));
    expect(packSnappy(bytes, out, 0)).toBeLessThan(bytes.length / 15);
  });

  test("all forms of literals and copies are read", () => {
    const long = Buffer.alloc(300, "x");
    const forms = [
      Buffer.from([8, (4 - 1) << 2, 97, 98, 99, 100, 1, 4]), // a copy with an offset of 11 bits
      Buffer.from([8, (4 - 1) << 2, 97, 98, 99, 100, (3 << 2) | 3, 4, 0, 0, 0]), // and of 32
      Buffer.from([10, 0, 97, ((9 - 1) << 2) | 2, 1, 0]), // one that overlaps itself
    ];
    expect(forms.map((bytes) => unpackSnappy(bytes, 0, 100).toString())).toEqual(["abcdabcd", "abcdabcd", "aaaaaaaaaa"]);
    for (const length of [2, 3, 4]) {
      const head = Buffer.from([0xac, 0x02, (59 + length) << 2, 0, 0, 0, 0]);
      head.writeUIntLE(299, 3, length);
      expect(unpackSnappy(Buffer.concat([head.subarray(0, 3 + length), long]), 0, 300).equals(long)).toBe(true);
    }
  });

  test("any other bytes are a RangeError, and nothing is read from before the beginning", () => {
    const refused = (bytes: readonly number[]) => expect(() => unpackSnappy(Buffer.from(bytes), 0, 1_000_000)).toThrow(RangeError);
    refused([]);
    refused([4, 1, 1]);
    refused([4, 0, 97, 1, 0]);
    refused([4, 0, 97, 1, 9]);
    refused([2, 0, 97]);
    refused([0xff, 0xff, 0x3f, 0, 97]);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        expect(orRangeError(() => unpackSnappy(Buffer.from(bytes), 0, 1_000_000))).toBe(true);
      }),
    );
  });
});

const points: fc.Arbitrary<Points> = times.chain((list): fc.Arbitrary<Points> => {
  const count = list.length;
  const some = <T>(value: fc.Arbitrary<T>) => fc.array(value, { minLength: count, maxLength: count });
  return fc.oneof(
    some(fc.double({ noNaN: true })).map((values) => ({ type: FLOAT, times: list, values: Float64Array.from(values) }) as const),
    some(fc.bigInt(TIME_MIN, TIME_MAX)).map((values) => ({ type: INTEGER, times: list, values: BigInt64Array.from(values) }) as const),
    some(fc.bigInt(0n, 2n ** 64n - 1n)).map((values) => ({ type: UNSIGNED, times: list, values: BigUint64Array.from(values) }) as const),
    some(fc.boolean()).map((values) => ({ type: BOOLEAN, times: list, values: Uint8Array.from(values, Number) }) as const),
    some(fc.string({ unit: "grapheme", maxLength: 20 })).map(
      (values) => ({ type: STRING, times: list, values: stringsOf(values.map((text) => Buffer.from(text))) }) as const,
    ),
  );
});

describe("a block", () => {
  test("of any type comes back as it was", () => {
    fc.assert(
      fc.property(points, (block) => {
        const back = decodeBlock(encodeBlock(block));
        expect(back.type).toBe(block.type);
        expect(linesOf(back)).toEqual(linesOf(block));
      }),
      { numRuns: 60 },
    );
  });

  test("that is cut, changed or any bytes is a block or a RangeError", () => {
    fc.assert(
      fc.property(points, fc.nat(), fc.integer({ min: 1, max: 255 }), fc.uint8Array({ maxLength: 60 }), (block, at, flip, noise) => {
        const bytes = encodeBlock(block);
        const changed = Buffer.from(bytes);
        changed[at % bytes.length] ^= flip;
        for (const other of [changed, bytes.subarray(0, at % bytes.length), Buffer.from(noise)]) {
          expect(orRangeError(() => decodeBlock(other))).toBe(true);
        }
      }),
      { numRuns: 200 },
    );
  });
});

function orRangeError(decode: () => unknown): boolean {
  try {
    decode();
    return true;
  } catch (error) {
    return error instanceof RangeError;
  }
}
