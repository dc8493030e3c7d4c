import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ENTRY_WORDS, KEY_LENGTH, KEY_START, type SortedFold } from "../../../../lib/machines/keyed/entries.ts";
import { keyedFold } from "../../../../lib/machines/keyed/fold.ts";
import { type Change, logRecords } from "./log.ts";

const keysOf = ({ order, words, bytes }: SortedFold) =>
  Array.from(order, (entry) => {
    const start = words[entry * ENTRY_WORDS + KEY_START];
    return bytes.toString("utf8", start, start + words[entry * ENTRY_WORDS + KEY_LENGTH]);
  });

function sortedKeys(keys: readonly string[]): readonly string[] {
  const fold = keyedFold({ codec: "bytes" });
  fold.apply(logRecords(keys.map((key): Change => ({ kind: "put", key, value: "" }))), 0, keys.length, 1, 0);
  return keysOf(fold.sorted());
}

const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b));

describe("the order of a fold", () => {
  const key = fc.oneof(
    fc.string({ minLength: 1, maxLength: 12, unit: "binary" }),
    fc.string({ minLength: 1, maxLength: 40, unit: fc.constantFrom("\u0000", "a", "b") }),
    fc.nat(100_000).map((number) => `user/of/some/long/common/prefix/${number}`),
    fc.nat(300).map((length) => "\u0000".repeat(length + 1)),
  );

  test("is memcmp's, whatever the keys are", () => {
    fc.assert(
      fc.property(fc.uniqueArray(key, { minLength: 1, maxLength: 400, size: "max" }), (keys) => {
        expect(sortedKeys(keys)).toEqual([...keys].sort(byBytes));
      }),
      { numRuns: 200 },
    );
  });

  test("is memcmp's for so many keys that digits are wide, and for keys that differ late", () => {
    const many = Array.from({ length: 50_000 }, (_, place) => `p/${(place * 7_919) % 50_021}`);
    const late = Array.from({ length: 2_000 }, (_, place) => `${"x".repeat(1_000)}${String((place * 7_919) % 5_003).padStart(9, place % 2 === 0 ? "0" : "1")}`);
    const keys = [...new Set([...many, ...late])];
    expect(sortedKeys(keys)).toEqual([...keys].sort(byBytes));
  });

  test("is kept for keys that come in order", () => {
    const keys = Array.from({ length: 1_000 }, (_, place) => `k${String(place).padStart(6, "0")}`);
    expect(sortedKeys(keys)).toEqual(keys);
  });

  test("of an empty fold is empty", () => {
    expect(keyedFold({ codec: "json" }).sorted().order.length).toBe(0);
  });
});

describe("the memory of a fold", () => {
  test("is that of the live keys and values, however often they change", () => {
    const fold = keyedFold({ codec: "json" });
    const keys = Array.from({ length: 100 }, (_, place) => `k${place}`);
    for (let round = 0; round < 300; round += 1) {
      const value = JSON.stringify("x".repeat((round * 37) % 2_000));
      const changes = keys.flatMap((key): readonly Change[] => [
        { kind: "delete", key },
        { kind: "patch", key, value: '{"a":1}' },
        { kind: "put", key, value },
        { kind: "patch", key, value: `{"b":${value}}` },
      ]);
      fold.apply(logRecords(changes), 0, changes.length, round * changes.length + 1, 0);
    }
    expect(fold.count).toBe(100);
    expect(fold.bytes).toBeLessThan(2_000_000);
  });

  test("takes back the patches of an unknown base once a put stands for them", () => {
    const fold = keyedFold({ codec: "json" });
    const patch: Change = { kind: "patch", key: "k", value: `{"a":"${"x".repeat(1_000)}"}` };
    const changes = [...Array.from({ length: 100 }, () => patch), { kind: "put" as const, key: "k", value: "1" }];
    const records = logRecords(changes);
    for (let round = 0; round < 100; round += 1) fold.apply(records, 0, changes.length, 1, 0);
    expect(fold.bytes).toBeLessThan(1_000_000);
  });
});

test("a patch in a table of bytes is a bug", () => {
  const fold = keyedFold({ codec: "bytes" });
  expect(() => fold.apply(logRecords([{ kind: "patch", key: "k", value: "{}" }]), 0, 1, 1, 0)).toThrow(expect.objectContaining({ kind: "bug" }));
});
