import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { rowsCollector } from "../../../../lib/machines/keyed/collect.ts";
import { keyedFold } from "../../../../lib/machines/keyed/fold.ts";
import { lookUp } from "../../../../lib/machines/keyed/look-up.ts";
import { type MergeOptions, mergeRows } from "../../../../lib/machines/keyed/merge.ts";
import { successor } from "../../../../lib/model/bytes.ts";
import type { Rows } from "../../../../lib/model/rows.ts";
import { type Change, logRecords, modelState, rowsOf, type StateRow, stateOf, timeOf } from "./log.ts";

// In UTF-16 the last two stand the other way round; "a\0" is behind "a" and before "aa".
const keys = fc.constantFrom("a", "a\u0000", "aa", "ab", "b", "é", "zzzzzzzzzzzzzzzz", "zzzzzzzzzzzzzzzzy", "\uff5e", "\u{1f600}");
const values = fc.oneof(fc.json({ maxDepth: 2 }), fc.constantFrom('{"a":1,"b":{"c":2}}', '{"n":12345678901234567890}', "[]", "{}"));
const patches = fc.oneof(values, fc.constantFrom('{"a":null}', '{"b":{"c":null,"d":1.10}}', '{"e":[1]}', ' {"f":1}', "null", " 7"));
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ kind: fc.constant("put" as const), key: keys, value: values }),
  fc.record({ kind: fc.constant("delete" as const), key: keys }),
  fc.record({ kind: fc.constant("patch" as const), key: keys, value: patches }),
);
const log = fc.array(change, { maxLength: 40 });

/** The state after `changes`, of which the first `cut` are in the base. */
function foldAndMerge(base: readonly StateRow[], changes: readonly Change[], cut: number, blockRows: number, after?: string): readonly StateRow[] {
  const fold = keyedFold({ codec: "json" });
  const records = logRecords(changes);
  // Batches that share a time, as timeOf has them.
  for (let from = cut, to = cut; from < changes.length; from = to) {
    while (to < changes.length && timeOf(to + 1) === timeOf(from + 1)) to += 1;
    fold.apply(records, from, to, from + 1, timeOf(from + 1));
  }
  const collector = rowsCollector();
  const merge = mergeRows(fold.sorted(), collector, after === undefined ? {} : { from: successor(Buffer.from(after)) });
  for (let row = 0; row < base.length; row += blockRows) drain(merge.block(rowsOf(base.slice(row, row + blockRows))));
  drain(merge.end());
  return stateOf(collector.take());
}

describe("fold and merge", () => {
  test("give the state that the log means, wherever it is cut into base, stretches and blocks", () => {
    fc.assert(
      fc.property(log, fc.array(fc.nat(40), { maxLength: 3 }), fc.integer({ min: 1, max: 5 }), (changes, cuts, blockRows) => {
        let base: readonly StateRow[] = [];
        let done = 0;
        for (const cut of [...cuts.filter((each) => each < changes.length).sort((a, b) => a - b), changes.length]) {
          base = foldAndMerge(base, changes.slice(0, cut), done, blockRows);
          done = cut;
          expect(base).toEqual(modelState(changes.slice(0, cut)));
        }
      }),
      { numRuns: 3_000 },
    );
  });

  test("emit only keys strictly behind `after`", () => {
    fc.assert(
      fc.property(log, fc.nat(40), keys, fc.integer({ min: 1, max: 5 }), (changes, cutAt, after, blockRows) => {
        const cut = Math.min(cutAt, changes.length);
        const behind = modelState(changes).filter(({ key }) => Buffer.compare(Buffer.from(key), Buffer.from(after)) > 0);
        expect(foldAndMerge(modelState(changes.slice(0, cut)), changes, cut, blockRows, after)).toEqual(behind);
      }),
      { numRuns: 1_000 },
    );
  });

  test("give one state for a log of many keys whose values come and go", () => {
    const random = fc.sample(fc.array(fc.tuple(fc.nat(700), fc.nat(9), fc.nat(300)), { minLength: 6_000, maxLength: 6_000 }), { numRuns: 1, seed: 7 })[0];
    const changes = random.map(([key, kind, size]): Change => {
      const name = `${key % 3 === 0 ? "user" : "account/of"}/${key}`;
      if (kind === 0) return { kind: "delete", key: name };
      if (kind < 4) return { kind: "patch", key: name, value: `{"p${kind}":"${"y".repeat(size)}"}` };
      return { kind: "put", key: name, value: `{"v":"${"x".repeat(size * 10)}"}` };
    });
    expect(foldAndMerge(modelState(changes.slice(0, 2_000)), changes, 2_000, 100)).toEqual(modelState(changes));
  });

  test("give for one key what they give for all", async () => {
    await fc.assert(
      fc.asyncProperty(log, fc.nat(40), keys, async (changes, cutAt, key) => {
        const cut = Math.min(cutAt, changes.length);
        const find = (state: readonly StateRow[]) => {
          const row = state.find((each) => each.key === key);
          return row && { value: Buffer.from(row.value), index: row.index, timeMs: row.timeMs };
        };
        const fold = keyedFold({ codec: "json" });
        const records = logRecords(changes);
        for (let place = cut; place < changes.length; place += 1) fold.apply(records, place, place + 1, place + 1, timeOf(place + 1));
        const base = async () => find(modelState(changes.slice(0, cut)));
        expect(await lookUp(fold.sorted(), Buffer.from(key), base)).toEqual(find(modelState(changes)));
      }),
      { numRuns: 500 },
    );
  });

  test("a row no mutation touches reaches the sink in one run with its neighbours", () => {
    const base = Array.from({ length: 1_000 }, (_, row) => ({ key: `k${String(row).padStart(4, "0")}`, value: "1", index: row + 1, timeMs: 5 }));
    const fold = keyedFold({ codec: "bytes" });
    fold.apply(
      logRecords([
        { kind: "put", key: "k0500", value: "2" },
        { kind: "delete", key: "k0502" },
        { kind: "put", key: "k0501x", value: "3" },
      ]),
      0,
      3,
      2_000,
      9,
    );
    const runs: (readonly [number, number] | string)[] = [];
    const merge = mergeRows(fold.sorted(), {
      push: (_: Rows, from, to) => void runs.push([from, to]),
      pushRow: (key, keyStart, keyEnd) => void runs.push(key.toString("utf8", keyStart, keyEnd)),
    });
    drain(merge.block(rowsOf(base)));
    drain(merge.end());
    expect(runs).toEqual([[0, 500], "k0500", [501, 502], "k0501x", [503, 1_000]]);
  });

  test("many changes are handed over with pauses, in which the sink can be emptied", () => {
    const fold = keyedFold({ codec: "bytes" });
    const changes = Array.from({ length: 64 }, (_, row): Change => ({ kind: "put", key: `k${row + 10}`, value: "x".repeat(100_000) }));
    fold.apply(logRecords(changes), 0, 64, 1, 0);
    const collector = rowsCollector();
    let most = 0;
    for (const _ of mergeRows(fold.sorted(), collector).end()) most = Math.max(most, collector.take().count);
    expect(most).toBeLessThanOrEqual(11);
    expect(collector.count).toBe(0);
  });

  const foldOf = (changes: readonly Change[]) => {
    const fold = keyedFold({ codec: "json" });
    fold.apply(logRecords(changes), 0, changes.length, 1, 0);
    return fold.sorted();
  };
  const namesOf = (rows: Rows) => stateOf(rows).map(({ key }) => key);
  const five = ["b", "d", "f", "h", "j"].map((key): Change => ({ kind: "put", key, value: "1" }));

  test("what lies below a key comes first, then the rest; none of it twice", () => {
    const bounds = ["", "a", "b", "b\u0000", "e", "j", "k"];
    for (const lower of bounds) {
      for (const upper of bounds) {
        const collector = rowsCollector();
        const merge = mergeRows(foldOf(five), collector);
        drain(merge.below(Buffer.from(lower)));
        drain(merge.below(Buffer.from(upper)));
        const border = lower > upper ? lower : upper;
        expect(merge.nextKey()?.toString()).toBe(five.find(({ key }) => key >= border)?.key);
        expect(namesOf(collector.take())).toEqual(five.map(({ key }) => key).filter((key) => key < border));
        drain(merge.end());
        expect(namesOf(collector.take())).toEqual(five.map(({ key }) => key).filter((key) => key >= border));
      }
    }
  });

  test("a range is touched where a key of the fold lies in it, its ends included", () => {
    const { touches } = mergeRows(foldOf(five), rowsCollector());
    const ends = ["a", "b", "c", "d", "i", "j", "k", "l"];
    for (const first of ends) {
      for (const last of ends.filter((each) => each >= first)) {
        expect(touches(Buffer.from(first), Buffer.from(last)), `${first} to ${last}`).toBe(five.some(({ key }) => key >= first && key <= last));
      }
    }
  });

  test("base rows below where the fold begins are taken as they are, from the lowest that is wanted on", () => {
    const base = ["a", "b", "d", "e", "h"].map((key) => ({ key, value: "0", index: 9, timeMs: 9 }));
    const merged = (options: MergeOptions) => {
      const collector = rowsCollector();
      const merge = mergeRows(foldOf(five), collector, options);
      drain(merge.block(rowsOf(base)));
      drain(merge.end());
      return stateOf(collector.take())
        .map(({ key, value }) => key + value)
        .join(" ");
    };
    expect(merged({})).toBe("a0 b1 d1 e0 f1 h1 j1");
    expect(merged({ from: Buffer.from("b") })).toBe("b1 d1 e0 f1 h1 j1");
    expect(merged({ foldFrom: Buffer.from("d\u0000") })).toBe("a0 b0 d0 e0 f1 h1 j1");
    expect(merged({ from: Buffer.from("b"), foldFrom: Buffer.from("f") })).toBe("b0 d0 e0 f1 h1 j1");
    expect(merged({ foldFrom: Buffer.from("z") })).toBe("a0 b0 d0 e0 h0");
  });

  test("changes of a block are handed over with pauses as well, wherever its rows lie, and a block of no rows is passed over", () => {
    const base = Array.from({ length: 64 }, (_, row) => ({ key: `k${row + 10}`, value: "1", index: 1, timeMs: 1 }));
    const changes = base.map(({ key }, row): Change => ({ kind: row % 2 ? "patch" : "put", key, value: `{"a":"${"x".repeat(100_000)}"}` }));
    const collector = rowsCollector();
    const merge = mergeRows(foldOf(changes), collector);
    drain(merge.block(rowsOf([])));
    const counts: number[] = [];
    for (const _ of merge.block(rowsOf(base))) counts.push(collector.take().count);
    expect(counts).toEqual([11, 11, 11, 11, 11, 9]);
    expect(merge.nextKey()).toBeUndefined();
  });

  test("a patch that is not JSON is damage of its record, which is named", () => {
    const merge = mergeRows(foldOf([{ kind: "patch", key: "k1", value: '{"a":' }]), rowsCollector());
    expect(() => drain(merge.end())).toThrow(
      expect.objectContaining({ kind: "repair", code: "damaged-record", message: 'the record of "k1" is damaged: a value or a patch is not JSON' }),
    );
  });

  test("blocks out of order are a bug", () => {
    const row = (key: string) => rowsOf([{ key, value: "1", index: 1, timeMs: 0 }]);
    const merge = mergeRows(keyedFold({ codec: "json" }).sorted(), rowsCollector());
    drain(merge.block(rowsOf(["a", "b"].map((key) => ({ key, value: "1", index: 1, timeMs: 0 })))));
    expect(() => drain(merge.block(row("b")))).toThrow(expect.objectContaining({ kind: "bug" }));
  });
});

describe("collected rows", () => {
  const rows = Array.from({ length: 300 }, (_, row) => ({ key: `k${row}`, value: "v".repeat(row % 37), index: row, timeMs: 2 * row }));

  test("get room for twice as many once there is none", () => {
    const roomFor = (count: number, key: string, value: string) => {
      const collector = rowsCollector();
      const one = rowsOf([{ key, value, index: 1, timeMs: 2 }]);
      for (let row = 0; row < count; row += 1) {
        if (row % 2 === 0) collector.push(one, 0, 1);
        else collector.pushRow(one.keys, 0, key.length, one.values, 0, value.length, 1, 2);
      }
      const { keys: keyBytes, keyEnds, values: valueBytes, valueEnds, indexes, times } = collector.take();
      return [keyBytes, keyEnds, valueBytes, valueEnds, indexes, times].map(({ buffer }) => buffer.byteLength);
    };
    const least = [4_096, 256, 4_096, 256, 512, 512];
    expect(roomFor(3, "k", "v")).toEqual(least);
    expect(roomFor(64, "k".repeat(64), "v".repeat(64))).toEqual(least);
    expect(roomFor(65, "k".repeat(64), "v".repeat(64))).toEqual(least.map((bytes) => 2 * bytes));
    expect(roomFor(2, "k".repeat(1_000), "v".repeat(9_000))).toEqual(least.with(2, 18_000));
    expect(roomFor(1, "k".repeat(9_000), "v")).toEqual(least.with(0, 9_000));
  });

  test("keep the room that they took, and no less than the least; what is pushed of many takes no more than its own", () => {
    const collector = rowsCollector();
    for (const count of [100, 1]) {
      collector.push(rowsOf(rows), 0, count);
      collector.take();
    }
    collector.push(rowsOf(rows), 236, 300);
    for (let row = 0; row < 70; row += 1) collector.pushRow(Buffer.alloc(9_000), 8_990, 9_000, Buffer.alloc(9_000), 8_990, 9_000, 1, 1);
    const { keys: keyBytes, values: valueBytes, keyEnds } = collector.take();
    expect([keyBytes.buffer.byteLength, valueBytes.buffer.byteLength, keyEnds.buffer.byteLength]).toEqual([4_096, 4_096, 1_024]);
    const long = rowsOf([{ key: "k".repeat(5_000), value: "v".repeat(6_000), index: 1, timeMs: 1 }]);
    collector.push(long, 0, 1);
    collector.take();
    const kept = collector.take();
    expect([kept.keys.buffer.byteLength, kept.values.buffer.byteLength]).toEqual([5_000, 6_000]);
    collector.push(rowsOf(rows), 0, 300);
    collector.take();
    expect(collector.take().indexes.buffer.byteLength).toBe(2_400);
  });

  test("are those that were pushed, in whatever ranges, and however many they are", () => {
    const collector = rowsCollector();
    const { keys: keyBytes, keyEnds, values: valueBytes, valueEnds, indexes, times } = rowsOf(rows);
    for (const [round, count] of [300, 1, 64, 65, 150].entries()) {
      let row = 0;
      for (let length = 0; row < count; length = (length + round + 1) % 70) {
        const to = Math.min(row + length, count);
        collector.push(rowsOf(rows), row, to);
        if (to < count)
          collector.pushRow(
            keyBytes,
            keyEnds[to] - rows[to].key.length,
            keyEnds[to],
            valueBytes,
            valueEnds[to] - rows[to].value.length,
            valueEnds[to],
            indexes[to],
            times[to],
          );
        row = Math.min(to + 1, count);
      }
      expect([collector.count, collector.bytes]).toEqual([count, keyEnds[count - 1] + valueEnds[count - 1]]);
      const taken = collector.take();
      expect(stateOf(taken)).toEqual(rows.slice(0, count));
      expect([taken.keys.length, taken.values.length, taken.keyEnds.length, taken.valueEnds.length, taken.indexes.length, taken.times.length]).toEqual([
        keyEnds[count - 1],
        valueEnds[count - 1],
        count,
        count,
        count,
        count,
      ]);
      expect([collector.count, collector.bytes]).toEqual([0, 0]);
    }
  });
});

function drain(work: Iterable<void>): void {
  for (const _ of work);
}
