import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { rowsCollector } from "../../../../lib/machines/keyed/collect.ts";
import { ENTRY_WORDS, KEY_LENGTH, KEY_START, type SortedFold } from "../../../../lib/machines/keyed/entries.ts";
import { keyedFold } from "../../../../lib/machines/keyed/fold.ts";
import { hashOf } from "../../../../lib/machines/keyed/hash.ts";
import { mergeRows } from "../../../../lib/machines/keyed/merge.ts";
import { type Change, logRecords, rowsOf, type StateRow, stateOf, timeOf } from "./log.ts";

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

/** What `of` makes of 0…count, in an order that is none. */
function shuffled(count: number, of: (place: number) => string): readonly string[] {
  return Array.from({ length: count }, (_, place) => of((place * 7_919) % count));
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

  const zeros = (length: number) => "\u0000".repeat(length);
  test.each([
    ["of any bytes", shuffled(90, (place) => ["\u0001", "a", "\u007f", "\u0080", "é", "\uff5e", "\u{1f600}"][place % 7] + place)],
    ["of which each begins with the one before", shuffled(60, (place) => zeros(place + 1))],
    ["of which each begins with the one before, behind bytes in common", shuffled(60, (place) => `user/${zeros(place)}`)],
    [
      "that end in the eight bytes in which the others agree",
      shuffled(64, (place) => (place < 10 ? `x${zeros(place)}` : `x${zeros(9)}${place % 13}/${place}`)),
    ],
    [
      "that differ in some of the eight bytes, each",
      shuffled(64, (place) => `p${[0, 1, 2, 3, 4, 5].map((bit) => ((place >> bit) & 1 ? "\u007f" : "b")).join("z")}`),
    ],
    ["that agree in eight bytes by groups", shuffled(150, (place) => `p/${"abcd"[place % 4].repeat(8)}/${(place * 37) % 151}`)],
    ["that agree in the last four of the eight bytes alone", shuffled(60, (place) => `p/${"abcdefgh"[place % 8]}${100 + place}same${99 - place}`)],
    ["that agree in the first four of the eight bytes alone", shuffled(60, (place) => `p/${"ab"[place % 2]}xyz${1_000 + place}${99 - place}`)],
    ["that agree in more than they are told to, by groups", shuffled(120, (place) => `${place < 60 ? "a" : "bbb"}${"c".repeat(20)}${(place * 7) % 120}`)],
    ["few, which agree but for their last bytes", shuffled(20, (place) => `${"long".repeat(9)}${place}`)],
  ])("is memcmp's for keys %s", (_, keys) => {
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
  /** A table of 512 slots, and no patch. */
  const EMPTY_BYTES = 4_108;
  const ENTRY_BYTES = 48;
  const PATCH_BYTES = 12;
  /** A fold of the changes, each applied by itself: what it takes after each. */
  const bytesAfter = (codec: "json" | "bytes", changes: readonly Change[]) => {
    const fold = keyedFold({ codec });
    const records = logRecords(changes);
    return changes.map((_, place) => {
      fold.apply(records, place, place + 1, place + 1, 0);
      return fold.bytes - EMPTY_BYTES;
    });
  };
  const put = (key: string, length: number): Change => ({ kind: "put", key, value: "x".repeat(length) });

  test("does not grow before it is full", () => {
    const fold = keyedFold({ codec: "json" });
    const patch: Change = { kind: "patch", key: "k", value: "{}" };
    fold.apply(logRecords([patch, patch, patch, patch, put("l", 1), put("m", 2)]), 0, 6, 1, 0);
    const { bytes, words, stamps, patches } = fold.sorted();
    expect([bytes.length, words.length, stamps.length, patches.length]).toEqual([65_536, 2_048, 512, 48]);
    expect(fold.bytes).toBe(EMPTY_BYTES + 3 * ENTRY_BYTES + 3 + 3 + 4 * (PATCH_BYTES + 2));
  });

  test("grows to twice what it was once it is full", () => {
    const keys = (count: number) => Array.from({ length: count }, (_, place) => put(`k${place + 100}`, 0));
    const patch: Change = { kind: "patch", key: "k", value: "{}" };
    const lengthsOf = (codec: "json" | "bytes", changes: readonly Change[]) => {
      const fold = keyedFold({ codec });
      fold.apply(logRecords(changes), 0, changes.length, 1, 0);
      const { bytes, words, stamps, patches } = fold.sorted();
      return [bytes.length, words.length, stamps.length, patches.length];
    };
    expect(lengthsOf("bytes", keys(256))).toEqual([65_536, 2_048, 512, 48]);
    expect(lengthsOf("bytes", keys(257))).toEqual([65_536, 4_096, 1_024, 48]);
    expect(
      lengthsOf(
        "json",
        Array.from({ length: 15 }, () => patch),
      ),
    ).toEqual([65_536, 2_048, 512, 48]);
    expect(
      lengthsOf(
        "json",
        Array.from({ length: 16 }, () => patch),
      ),
    ).toEqual([65_536, 2_048, 512, 96]);
    expect(lengthsOf("bytes", [put("k", 65_535)])).toEqual([65_536, 2_048, 512, 48]);
    expect(lengthsOf("bytes", [put("k", 65_536)])).toEqual([131_072, 2_048, 512, 48]);
    expect(lengthsOf("bytes", [put("k", 1), put("l", 200_000)])).toEqual([200_003, 2_048, 512, 48]);
  });

  test("grows beyond 4 MiB at once to what the fold may take, where that is known and more than twice what it has", () => {
    const MIB = 1024 * 1024;
    const roomOf = (first: number, bytesMax: number) => {
      const fold = keyedFold({ codec: "bytes", bytesMax });
      fold.apply(logRecords([put("k", first), put("l", 10)]), 0, 2, 1, 0);
      return fold.sorted().bytes.length;
    };
    const bytes = 2 * MIB + 1;
    expect(roomOf(2 * MIB - 1, 20 * MIB)).toBe(4 * MIB);
    expect([20 * MIB, 2 * bytes + 1, 2 * bytes, 3 * MIB].map((bytesMax) => roomOf(2 * MIB, bytesMax))).toEqual([20 * MIB, 2 * bytes + 1, 2 * bytes, 2 * bytes]);
    expect(roomOf(2 * MIB, 2 ** 32)).toBe(2 * bytes);
  });

  test("counts entry, key, value and kept patches to the byte, and a place that is free again is taken again", () => {
    expect(keyedFold({ codec: "json" }).bytes).toBe(EMPTY_BYTES);
    const one = ENTRY_BYTES + 3;
    expect(
      bytesAfter("bytes", [put("key", 10), put("key", 10), put("key", 7), put("key", 10), put("key", 11), { kind: "delete", key: "key" }, put("key", 1)]),
    ).toEqual([one + 10, one + 10, one + 10, one + 20, one + 31, one + 31, one + 32]);
    const patch: Change = { kind: "patch", key: "key", value: '{"a":1}' };
    const kept = PATCH_BYTES + 7;
    expect(
      bytesAfter("json", [patch, patch, put("key", 0), put("key", 0), { ...patch, key: "yek" }, { ...patch, key: "yek" }, { ...patch, key: "yek" }]),
    ).toEqual([one + kept, one + 2 * kept, one + 2 * kept, one + 2 * kept, 2 * one + 2 * kept + 7, 2 * one + 2 * kept + 14, 2 * one + 3 * kept + 14]);
  });

  test("has a table of twice the slots once half of them are taken", () => {
    const fold = keyedFold({ codec: "bytes" });
    const changes = Array.from({ length: 512 }, (_, place) => put(`k${place + 100}`, 0));
    fold.apply(logRecords(changes), 0, 255, 1, 0);
    expect(fold.bytes).toBe(EMPTY_BYTES + 255 * (ENTRY_BYTES + 4));
    fold.apply(logRecords(changes), 255, 256, 256, 0);
    expect(fold.bytes).toBe(EMPTY_BYTES + 4_096 + 256 * (ENTRY_BYTES + 4));
    fold.apply(logRecords(changes), 256, 512, 257, 0);
    expect(fold.bytes).toBe(EMPTY_BYTES + 3 * 4_096 + 512 * (ENTRY_BYTES + 4));
  });

  test("is packed once more than 64 KiB, and more than half of what was written, is superseded", () => {
    const kib = (count: number) => count * 1_024;
    const one = ENTRY_BYTES + 1;
    // Superseded: 0, 20, 50, then 90 of 140 and so packed; 50 KiB live.
    expect(bytesAfter("bytes", [put("k", kib(20)), put("k", kib(30)), put("k", kib(40)), put("k", kib(50)), put("k", kib(60))])).toEqual([
      one + kib(20),
      one + kib(50),
      one + kib(50) + kib(40),
      one + kib(50),
      one + kib(110),
    ]);
    // What a shorter value, a tombstone or a dropped patch leaves counts as well, and not more than 64 KiB of it are packed.
    expect(bytesAfter("bytes", [put("k", kib(64) + 1), put("k", 1)])).toEqual([one + kib(64) + 1, one + kib(64) + 1]);
    expect(bytesAfter("bytes", [put("k", kib(64) + 2), put("k", 0), put("k", 1)])).toEqual([one + kib(64) + 2, one, one + 1]);
    expect(bytesAfter("bytes", [put("k", kib(70)), { kind: "delete", key: "k" }, put("k", 1)])).toEqual([one + kib(70), one, one + 1]);
    expect(bytesAfter("bytes", [put("k", kib(70)), put("l", kib(71)), { kind: "delete", key: "k" }]).at(-1)).toBe(2 * one + kib(141));
    const patch: Change = { kind: "patch", key: "k", value: `{"a":"${"x".repeat(kib(40))}"}` };
    const patchBytes = kib(40) + 8;
    expect(bytesAfter("json", [patch, patch, { kind: "delete", key: "k" }])).toEqual([
      one + PATCH_BYTES + patchBytes,
      one + 2 * (PATCH_BYTES + patchBytes),
      one + 2 * PATCH_BYTES,
    ]);
  });

  test("holds all as it was, wherever it is packed: keys, values, patches in their order, and empty ones", () => {
    const rest = Array.from({ length: 40 }, (_, place): readonly Change[] => [
      { kind: "put", key: `p${place}`, value: place % 3 === 0 ? "" : `{"a":${place}}` },
      { kind: "patch", key: `q${place}`, value: `{"b":${place}}` },
      { kind: "patch", key: `q${place % 7}`, value: `{"c":${place},"b":null}` },
      { kind: "delete", key: `r${place}` },
    ]).flat();
    // Values that lie behind those of later keys, and what is written over where all lay before.
    const longer = Array.from(
      { length: 40 },
      (_, place): Change => ({ kind: "put", key: `p${39 - place}`, value: `{"a":${place},"b":"${"-".repeat(place * 9)}"}` }),
    );
    const changes = [put("big", 90_000), ...rest, ...longer, put("big", 1), put("over", 95_000)];
    const fold = keyedFold({ codec: "json" });
    const records = logRecords(changes);
    fold.apply(records, 0, changes.length - 2, 1, 0);
    expect(fold.bytes).toBeGreaterThan(90_000);
    fold.apply(records, changes.length - 2, changes.length - 1, changes.length - 1, 0);
    expect(fold.bytes).toBeLessThan(40_000);
    fold.apply(records, changes.length - 1, changes.length, changes.length, 0);
    // The same without what is packed.
    const small = keyedFold({ codec: "json" });
    small.apply(logRecords(changes.with(0, put("big", 1))), 0, changes.length, 1, 0);
    expect(entriesOf(fold.sorted())).toEqual(entriesOf(small.sorted()));
  });

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

test("keys of one hash are told apart, of one length or not", () => {
  const keys = ["k25ef", "k320d", "kyas", "k2d1z"];
  const [one, same, other, longer] = keys.map((key) => hashOf(Buffer.from(key), 0, key.length));
  expect([one === same, other === longer]).toEqual([true, true]);
  const changes = [...keys, ...keys].map((key, place): Change => ({ kind: "put", key, value: `${place}` }));
  const fold = keyedFold({ codec: "bytes" });
  fold.apply(logRecords(changes), 0, changes.length, 1, 0);
  expect(entriesOf(fold.sorted()).map(({ key, value }) => [key, value])).toEqual([
    ["k25ef", "4"],
    ["k2d1z", "7"],
    ["k320d", "5"],
    ["kyas", "6"],
  ]);
});

test("keys are found by MurmurHash3", () => {
  const hash = (text: string) => hashOf(Buffer.from(`>${text}<`), 1, Buffer.byteLength(text));
  // Of 0 to 3 bytes behind whole blocks, with the highest bit and without.
  expect(["", "test", "Hello, world!", "aa", "abc", "The quick brown fox jumps over the lazy dog", "ππππππππ"].map(hash)).toEqual([
    0, 0xba6bd213, 0xc0363e43, 0x371091a9, 0xb3dd93fa, 0x2e4ff723, 0xec72b6e8,
  ]);
});

describe("a fold of a range of keys", () => {
  const keys = fc.constantFrom("a", "a\u0000", "aa", "ab", "b", "bb", "é", "zz", "\uff5e", "\u{1f600}");
  const change: fc.Arbitrary<Change> = fc.oneof(
    fc.record({ kind: fc.constant("put" as const), key: keys, value: fc.json({ maxDepth: 1 }) }),
    fc.record({ kind: fc.constant("delete" as const), key: keys }),
    fc.record({ kind: fc.constant("patch" as const), key: keys, value: fc.constantFrom('{"a":1}', '{"a":null,"b":2}', "7") }),
  );
  const bound = fc.option(keys.map(Buffer.from), { nil: undefined });

  // An empty fold takes about 4.4 KB, and each key here some 60 bytes.
  const bytesMax = fc.constantFrom(0, 4_500, 4_600, 4_700, 4_800, 5_000, undefined);

  test("holds what a fold of all keys holds of it, whatever its limit; and again when it starts over where it ended", () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), bound, bound, bytesMax, (changes, from, end, most) => {
        const fold = keyedFold({ codec: "json", ...(from && { from }), ...(end && { end }), ...(most !== undefined && { bytesMax: most }) });
        const all = keyedFold({ codec: "json" });
        const records = logRecords(changes);
        const fill = (each: typeof fold) => {
          for (let place = 0; place < changes.length; place += 1) each.apply(records, place, place + 1, place + 1, timeOf(place + 1));
        };
        fill(all);
        let lowest: Buffer | undefined = from;
        for (let part = 0; part <= changes.length; part++) {
          fill(fold);
          const above = fold.end;
          const held = (key: string) =>
            (lowest === undefined || Buffer.compare(Buffer.from(key), lowest) >= 0) && (above === undefined || Buffer.compare(Buffer.from(key), above) < 0);
          expect(entriesOf(fold.sorted())).toEqual(entriesOf(all.sorted()).filter(({ key }) => held(key)));
          expect(keysOf(fold.sorted())).toEqual(keysOf(all.sorted()).filter(held));
          expect(fold.sorted().end).toEqual(above);
          if (above === undefined || above === end) return;
          lowest = above;
          fold.startOver(lowest);
          expect([fold.count, fold.end]).toEqual([0, end]);
        }
        expect.unreachable("each part holds one key at least");
      }),
      { numRuns: 2_000 },
    );
  });

  test("keeps its limit, and lets go of the upper half of its keys each time that it must", () => {
    const changes = Array.from(
      { length: 1_000 },
      (_, place): Change => ({ kind: "put", key: `k${10_000 + ((place * 7_919) % 1_000)}`, value: "x".repeat(1_000) }),
    );
    const held = (bytesMax: number) => {
      const fold = keyedFold({ codec: "bytes", bytesMax });
      fold.apply(logRecords(changes), 0, 1_000, 1, 0);
      expect(fold.count === 1 || fold.bytes <= bytesMax).toBe(true);
      return [fold.count, fold.end?.toString()];
    };
    const [count, end] = held(600_000);
    expect(count).toBeGreaterThan(250);
    expect(end).toBe(`k${10_000 + Number(count)}`);
    expect(held(10_000_000)).toEqual([1_000, undefined]);
    expect(held(0)).toEqual([1, "k10000\u0000"]);
  });

  test("takes no other key beside one that fills its limit alone: each that came would have all of it packed again", () => {
    const fold = keyedFold({ codec: "json", bytesMax: 8_000 });
    const patches = Array.from({ length: 100 }, (_, place): Change => ({ kind: "patch", key: "k", value: `{"a":${place},"b":"${"x".repeat(40)}"}` }));
    const changes = [...patches, ...["m", "l", "k1", "k0"].map((key): Change => ({ kind: "put", key, value: "1" }))];
    fold.apply(logRecords(changes), 0, changes.length, 1, 0);
    expect([fold.count, fold.end?.toString()]).toEqual([1, "k\u0000"]);
  });

  test("keeps the patches of the keys that it keeps, in their order, and the memory of no others", () => {
    const patches = Array.from({ length: 60 }, (_, place): Change => ({ kind: "patch", key: `k${10 + (place % 20)}`, value: `{"a":${100 + place}}` }));
    const records = logRecords(patches);
    const all = keyedFold({ codec: "json" });
    all.apply(records, 0, 60, 1, 0);
    expect(all.bytes).toBe(4_108 + 20 * (48 + 3) + 60 * (12 + 9));
    const fold = keyedFold({ codec: "json", bytesMax: all.bytes - 1 });
    fold.apply(records, 0, 60, 1, 0);
    expect([fold.count, fold.end?.toString(), fold.bytes]).toEqual([10, "k20", 4_108 + 10 * (48 + 3) + 30 * (12 + 9)]);
    expect(entriesOf(fold.sorted())).toEqual(entriesOf(all.sorted()).slice(0, 10));
    const exact = keyedFold({ codec: "json", bytesMax: all.bytes });
    exact.apply(records, 0, 60, 1, 0);
    expect([exact.count, exact.end]).toEqual([20, undefined]);
  });

  test("may start over as often as it likes", () => {
    const fold = keyedFold({ codec: "bytes" });
    for (let round = 0; round < 4; round += 1) {
      const changes = Array.from({ length: 220 }, (_, place): Change => ({ kind: "put", key: `${round}${100 + place}`, value: "" }));
      fold.apply(logRecords(changes), 0, 220, 1, 0);
      expect(keysOf(fold.sorted())).toEqual(changes.map(({ key }) => key));
      fold.startOver(Buffer.from(`${round + 1}`));
      expect(fold.bytes).toBe(4_108);
    }
  });

  test("holds long values, superseded often, within its limit", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(60), fc.nat(9_000)), { minLength: 200, maxLength: 300 }), (puts) => {
        const changes = puts.map(([key, length]): Change => ({ kind: "put", key: `k${100 + key}`, value: `${key}`.padEnd(length, ".") }));
        const fold = keyedFold({ codec: "bytes", bytesMax: 150_000 });
        fold.apply(logRecords(changes), 0, changes.length, 1, 0);
        expect(fold.bytes).toBeLessThanOrEqual(150_000);
        const end = fold.end?.toString() ?? "l";
        const newest = new Map(changes.flatMap((each) => (each.kind === "put" && each.key < end ? [[each.key, each.value]] : [])));
        expect(entriesOf(fold.sorted()).map(({ key, value }) => [key, value])).toEqual([...newest].sort(([a], [b]) => byBytes(a, b)));
      }),
      { numRuns: 50 },
    );
  });
});

/** The fold's entries over a base that has a row for each key: what a reader sees of them. */
function entriesOf(fold: SortedFold): readonly StateRow[] {
  const base = keysOf(fold).map((key): StateRow => ({ key, value: '{"a":0}', index: 0, timeMs: 0 }));
  const collector = rowsCollector();
  const merge = mergeRows(fold, collector);
  for (const _ of merge.block(rowsOf(base)));
  for (const _ of merge.end());
  return stateOf(collector.take());
}

test("a patch in a table of bytes is refused", () => {
  const fold = keyedFold({ codec: "bytes" });
  expect(() => fold.apply(logRecords([{ kind: "patch", key: "k", value: "{}" }]), 0, 1, 1, 0)).toThrow(RangeError);
});
