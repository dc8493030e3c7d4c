import fc from "fast-check";
import { expect, test } from "vitest";
import { ASSUMED_RATES, measured, type Rates, recoveryOf } from "../../../lib/model/rates.ts";

const NOTHING = { mutations: 0, files: 0, replayMs: 0, bytes: 0, readMs: 0 };

test("what is expected is the snapshot's bytes by the rate of reading, and round trips and mutations by theirs", () => {
  const rates = { readPerSecond: 1_000, fileMicros: 2_000, replayPerSecond: 100 };
  expect(recoveryOf(rates, { snapshotBytes: 5_000, files: 3, mutations: 250 })).toEqual({ snapshotMs: 5_000, replayMs: 2_506 });
  expect(recoveryOf({}, { snapshotBytes: ASSUMED_RATES.readPerSecond, files: 50, mutations: 200_000 })).toEqual({ snapshotMs: 1_000, replayMs: 2_000 });
});

test("the first measurement stands alone, the next have a quarter of the weight, by the time that one takes", () => {
  const first = measured({}, { ...NOTHING, bytes: 60_000_000, readMs: 2_000, mutations: 900_000, files: 10, replayMs: 3_200 });
  expect(first).toEqual({ readPerSecond: 30_000_000, replayPerSecond: 300_000 });
  const next = measured(first, { ...NOTHING, bytes: 60_000_000, readMs: 6_000, mutations: 900_000, files: 10, replayMs: 9_200 });
  expect(next).toEqual({ readPerSecond: 20_000_000, replayPerSecond: 199_999 });
  expect(measured({ fileMicros: 4_000 }, { ...NOTHING, files: 1_000, replayMs: 8_000 })).toEqual({ fileMicros: 5_000 });
});

test("many small redo files measure their round trips, few large ones their mutations", () => {
  expect(measured({}, { ...NOTHING, mutations: 2_000, files: 1_000, replayMs: 5_010 })).toEqual({ fileMicros: 5_000 });
  expect(measured({}, { ...NOTHING, mutations: 1_000_000, files: 10, replayMs: 2_200 })).toEqual({ replayPerSecond: 500_000 });
});

test.each([
  ["what took less than a second and was expected to", { bytes: 1_000, readMs: 999, mutations: 10, files: 1, replayMs: 999 }],
  ["a clock that stands still", { bytes: 10 ** 12, readMs: 0, mutations: 10 ** 9, files: 10 ** 6, replayMs: 0 }],
])("nothing is measured by %s", (_, measurement) => {
  expect(measured({ fileMicros: 2 }, measurement)).toEqual({ fileMicros: 2 });
});

test("what takes a second, or is expected to, is measured; round trips are, where they are expected to take as long as mutations", () => {
  expect(measured({}, { ...NOTHING, bytes: 1_000_000, readMs: 1_000 })).toEqual({ readPerSecond: 1_000_000 });
  expect(measured({}, { ...NOTHING, files: 25, mutations: 100_000, replayMs: 10 })).toEqual({ fileMicros: 200 });
  expect(measured({}, { ...NOTHING, files: 24, mutations: 100_000, replayMs: 10 })).toEqual({});
});

test("what was expected to take long and did not is measured, however short it was", () => {
  expect(measured({}, { ...NOTHING, files: 3_000, mutations: 3_000, replayMs: 30 })).toEqual({ fileMicros: 5 });
});

const rates: fc.Arbitrary<Rates> = fc.record(
  { replayPerSecond: fc.integer({ min: 1, max: 1e8 }), fileMicros: fc.integer({ min: 1, max: 1e7 }), readPerSecond: fc.integer({ min: 1, max: 1e10 }) },
  { requiredKeys: [] },
);
const measurement = fc.record({
  mutations: fc.integer({ min: 1, max: 1e8 }),
  files: fc.integer({ min: 1, max: 1e5 }),
  replayMs: fc.nat(1e7),
  bytes: fc.integer({ min: 1, max: 1e12 }),
  readMs: fc.nat(1e7),
});

test("rates stay whole numbers from 1, which an item can hold, whatever is measured", () => {
  fc.assert(
    fc.property(rates, fc.array(measurement, { maxLength: 20 }), (before, measurements) => {
      for (const rate of Object.values(measurements.reduce(measured, before))) expect(Number.isSafeInteger(rate) && rate >= 1, String(rate)).toBe(true);
    }),
  );
});

test("the same measured again and again comes to be what is expected", () => {
  const realistic = fc.record({
    mutations: fc.integer({ min: 1e5, max: 1e8 }),
    files: fc.integer({ min: 1, max: 1e4 }),
    replayMs: fc.integer({ min: 2_000, max: 1e6 }),
  });
  fc.assert(
    fc.property(rates, realistic, fc.integer({ min: 2_000, max: 1e6 }), (before, { mutations, files, replayMs }, readMs) => {
      let after = before;
      for (let time = 0; time < 300; time++) after = measured(after, { mutations, files, replayMs, bytes: 1e9, readMs });
      const expected = recoveryOf(after, { snapshotBytes: 1e9, files, mutations });
      expect(Math.abs(expected.replayMs - replayMs) / replayMs).toBeLessThan(0.05);
      expect(Math.abs(expected.snapshotMs - readMs) / readMs).toBeLessThan(0.05);
    }),
  );
});
