import fc from "fast-check";
import { expect, test } from "vitest";
import { S3_PART_BYTES_MAX } from "../../../lib/model/limits.ts";
import { heldBack, type PartPlanner, type PartSizes, partPlanner, type PlannedPart } from "../../../lib/snapshot/parts.ts";
import { SNAPSHOT_SIZES } from "../../../lib/snapshot/sizes.ts";

const sizes: PartSizes = { partBytes: 16, partBytesMin: 10, copyBytes: 50 };

/** The object's next bytes: so many that are made, or so many of the base's, from where they lie there. */
type Stretch = { readonly kind: "made"; readonly length: number } | { readonly kind: "carried"; readonly sourceOffset: number; readonly length: number };

const stretch: fc.Arbitrary<Stretch> = fc.oneof(
  fc.record({ kind: fc.constant("made" as const), length: fc.integer({ min: 1, max: 45 }) }),
  fc.record({
    kind: fc.constant("carried" as const),
    sourceOffset: fc.nat(1_000),
    length: fc.oneof(fc.integer({ min: 1, max: 25 }), fc.integer({ min: 1, max: 250 })),
  }),
);
const stretches = fc.array(stretch, { minLength: 1, maxLength: 20 });
const anySizes = fc
  .record({ min: fc.integer({ min: 1, max: 12 }), more: fc.nat(10), copy: fc.nat(70) })
  .map(({ min, more, copy }): PartSizes => ({ partBytes: min + more, partBytesMin: min, copyBytes: min + copy }));

function plan(planner: PartPlanner, object: readonly Stretch[]): readonly PlannedPart[] {
  const parts = object.flatMap((one) => (one.kind === "made" ? planner.made(one.length) : planner.carried(one.sourceOffset, one.length)));
  return [...parts, ...planner.end()];
}

/** A name for each byte: where it is made, counting from the first that is, or where it lies in the base. */
function bytesOf(object: readonly Stretch[]): readonly string[] {
  let made = 0;
  return object.flatMap((one) => Array.from({ length: one.length }, (_, i) => (one.kind === "made" ? `made ${made++}` : `base ${one.sourceOffset + i}`)));
}

function bytesOfParts(parts: readonly PlannedPart[]): readonly string[] {
  return bytesOf(
    parts.flatMap((part): readonly Stretch[] =>
      part.kind === "copy" ? [{ ...part, kind: "carried" }] : part.ingredients.map((one) => (one.kind === "made" ? one : { ...one, kind: "carried" })),
    ),
  );
}

/** What is left of the object behind its first bytes. */
function behind(object: readonly Stretch[], offset: number): readonly Stretch[] {
  let skip = offset;
  return object.flatMap((one): readonly Stretch[] => {
    const skipped = Math.min(skip, one.length);
    skip -= skipped;
    if (skipped === one.length) return [];
    return [
      one.kind === "made" ? { ...one, length: one.length - skipped } : { ...one, sourceOffset: one.sourceOffset + skipped, length: one.length - skipped },
    ];
  });
}

test("parts are numbered from 1 and tile the object, and what they are made of is exactly its bytes", () => {
  fc.assert(
    fc.property(stretches, anySizes, (object, some) => {
      const parts = plan(partPlanner(some), object);
      let end = 0;
      for (const [i, { number, offset, length }] of parts.entries()) {
        expect([number, offset]).toEqual([i + 1, end]);
        end += length;
      }
      expect(bytesOfParts(parts)).toEqual(bytesOf(object));
      for (const part of parts) {
        if (part.kind === "upload") expect(part.ingredients.reduce((sum, { length }) => sum + length, 0)).toBe(part.length);
      }
    }),
    { numRuns: 500 },
  );
});

test("S3 takes each part: none but the last is shorter than the least, and none longer than a copy and the least", () => {
  fc.assert(
    fc.property(stretches, anySizes, (object, some) => {
      const parts = plan(partPlanner(some), object);
      for (const { kind, length } of parts.slice(0, -1)) expect([kind, length >= some.partBytesMin]).toEqual([kind, true]);
      for (const { kind, length } of parts) {
        expect(length).toBeGreaterThan(0);
        expect(length).toBeLessThan(kind === "copy" ? some.copyBytes + some.partBytesMin : Math.max(some.partBytes, some.partBytesMin) + 1);
      }
    }),
    { numRuns: 500 },
  );
});

test("with the sizes of a capture no part is longer than S3 takes, however long the stretches are", () => {
  const GIB = 2 ** 30;
  const { made, carried, end } = partPlanner(SNAPSHOT_SIZES);
  const parts = [...carried(4, 5 * 2 ** 40), ...made(3 * GIB), ...carried(2 ** 41, 11 * GIB + 1), ...made(1), ...end()];
  expect(parts.every(({ length }, i) => length <= S3_PART_BYTES_MAX && (i === parts.length - 1 || length >= SNAPSHOT_SIZES.partBytesMin))).toBe(true);
  expect(parts.reduce((sum, { length }) => sum + length, 0)).toBe(5 * 2 ** 40 + 3 * GIB + 11 * GIB + 2);
});

test("a stretch of the base that S3 can copy is copied, but for what fills up the part before it", () => {
  const fetched = (parts: readonly PlannedPart[]) =>
    parts.flatMap((part) => (part.kind === "upload" ? part.ingredients.flatMap((one) => (one.kind === "fetched" ? [one.length] : [])) : []));
  expect(fetched(plan(partPlanner(sizes), [{ kind: "carried", sourceOffset: 4, length: 10 }]))).toEqual([]);
  expect(fetched(plan(partPlanner(sizes), [{ kind: "carried", sourceOffset: 4, length: 9 }]))).toEqual([9]);
  expect(
    plan(partPlanner(sizes), [
      { kind: "made", length: 3 },
      { kind: "carried", sourceOffset: 40, length: 120 },
      { kind: "made", length: 1 },
    ]),
  ).toEqual([
    {
      number: 1,
      offset: 0,
      length: 10,
      kind: "upload",
      ingredients: [
        { kind: "made", length: 3 },
        { kind: "fetched", sourceOffset: 40, length: 7 },
      ],
    },
    { number: 2, offset: 10, length: 50, kind: "copy", sourceOffset: 47 },
    { number: 3, offset: 60, length: 50, kind: "copy", sourceOffset: 97 },
    { number: 4, offset: 110, length: 13, kind: "copy", sourceOffset: 147 },
    { number: 5, offset: 123, length: 1, kind: "upload", ingredients: [{ kind: "made", length: 1 }] },
  ]);
  fc.assert(
    fc.property(stretches, anySizes, (object, some) => {
      const short = fetched(plan(partPlanner(some), object)).reduce((sum, length) => sum + length, 0);
      const long = object.filter(({ kind, length }) => kind === "carried" && length >= 2 * some.partBytesMin).length;
      const others = object.reduce((sum, { kind, length }) => sum + (kind === "carried" && length < 2 * some.partBytesMin ? length : 0), 0);
      expect(short).toBeLessThanOrEqual(others + long * (some.partBytesMin - 1));
    }),
  );
});

test("a part is sent once it is full, and what is fetched for it beyond that goes on in the next", () => {
  const planner = partPlanner(sizes);
  expect(planner.made(9)).toEqual([]);
  const ingredients = [
    { kind: "made", length: 9 },
    { kind: "fetched", sourceOffset: 100, length: 7 },
  ];
  expect(planner.carried(100, 9)).toEqual([{ number: 1, offset: 0, length: 16, kind: "upload", ingredients }]);
  expect(planner.end()).toEqual([{ number: 2, offset: 16, length: 2, kind: "upload", ingredients: [{ kind: "fetched", sourceOffset: 107, length: 2 }] }]);
  expect(partPlanner(sizes).made(16)).toHaveLength(1);
});

test("a long stretch is copied by several parts where what is left for the last is a part's least", () => {
  const lengths = (length: number) =>
    partPlanner(sizes)
      .carried(0, length)
      .map((part) => part.length);
  expect([lengths(50), lengths(59), lengths(60), lengths(110)]).toEqual([[50], [59], [50, 10], [50, 50, 10]]);
});

test("started behind any part, the planner plans the same parts for the bytes that are left", () => {
  fc.assert(
    fc.property(stretches, anySizes, (object, some) => {
      const parts = plan(partPlanner(some), object);
      for (const [i, { offset, length, number }] of parts.entries()) {
        const rest = plan(partPlanner(some, { number: number + 1, offset: offset + length }), behind(object, offset + length));
        expect(rest).toEqual(parts.slice(i + 1));
      }
    }),
    { numRuns: 500 },
  );
});

test("where other parts follow, none is shorter than the least, the last not either, unless all bytes together are too few", () => {
  fc.assert(
    fc.property(stretches, anySizes, (object, some) => {
      const parts = plan(heldBack(partPlanner(some), some), object);
      let end = 0;
      for (const [i, { number, offset, length }] of parts.entries()) {
        expect([number, offset]).toEqual([i + 1, end]);
        end += length;
      }
      expect(bytesOfParts(parts)).toEqual(bytesOf(object));
      if (parts.length > 1) for (const { length } of parts) expect(length).toBeGreaterThanOrEqual(some.partBytesMin);
      // But for the end it is as it would be.
      expect(parts.slice(0, -2)).toEqual(plan(partPlanner(some), object).slice(0, Math.max(0, parts.length - 2)));
    }),
    { numRuns: 500 },
  );
});

test("a short end is sent together with the part before it, of which as much as may be is copied all the same", () => {
  const held = (copied: number, made: number) => plan(heldBack(partPlanner(sizes), sizes), [carriedBy(copied), { kind: "made", length: made }]);
  const carriedBy = (length: number): Stretch => ({ kind: "carried", sourceOffset: 100, length });
  const fetchedAndMade = (sourceOffset: number, length: number, made: number) => [
    { kind: "fetched", sourceOffset, length },
    { kind: "made", length: made },
  ];
  expect(held(30, 3)).toEqual([
    { number: 1, offset: 0, length: 23, kind: "copy", sourceOffset: 100 },
    { number: 2, offset: 23, length: 10, kind: "upload", ingredients: fetchedAndMade(123, 7, 3) },
  ]);
  expect(held(17, 3)).toEqual([
    { number: 1, offset: 0, length: 10, kind: "copy", sourceOffset: 100 },
    { number: 2, offset: 10, length: 10, kind: "upload", ingredients: fetchedAndMade(110, 7, 3) },
  ]);
  expect(held(16, 3)).toEqual([{ number: 1, offset: 0, length: 19, kind: "upload", ingredients: fetchedAndMade(100, 16, 3) }]);
  expect(held(30, 10)).toEqual([
    { number: 1, offset: 0, length: 30, kind: "copy", sourceOffset: 100 },
    { number: 2, offset: 30, length: 10, kind: "upload", ingredients: [{ kind: "made", length: 10 }] },
  ]);
  const made = (length: number) => plan(heldBack(partPlanner(sizes), sizes), length === 0 ? [] : [{ kind: "made", length }]);
  const upload = (number: number, offset: number, ...lengths: readonly number[]) => ({
    number,
    offset,
    length: lengths.reduce((sum, length) => sum + length, 0),
    kind: "upload",
    ingredients: lengths.map((length) => ({ kind: "made", length })),
  });
  expect([made(0), made(3), made(16), made(19), made(26)]).toEqual([
    [],
    [upload(1, 0, 3)],
    [upload(1, 0, 16)],
    [upload(1, 0, 16, 3)],
    [upload(1, 0, 16), upload(2, 16, 10)],
  ]);
});
