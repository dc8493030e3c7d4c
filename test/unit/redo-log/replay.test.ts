import fc from "fast-check";
import { expect, test } from "vitest";
import { keyedFold } from "../../../lib/machines/keyed/fold.ts";
import { patchedValue } from "../../../lib/machines/keyed/merge.ts";
import type { ProducerMark } from "../../../lib/model/mutation.ts";
import { toIndex } from "../../../lib/model/position.ts";
import type { RedoFile } from "../../../lib/model/redo-file.ts";
import { RECORD_PATCH, RECORD_PUT } from "../../../lib/model/rows.ts";
import { Sessions } from "../../../lib/model/sessions.ts";
import { type Bound, replay } from "../../../lib/redo-log/replay.ts";

interface TestBatch {
  readonly count: number;
  readonly timeMs: number;
  readonly mark?: ProducerMark;
}

function fileOf(first: number, batches: readonly TestBatch[]): RedoFile {
  const empty = new Uint32Array();
  return {
    header: {
      formatVersion: 1,
      table: "players",
      shard: 0,
      incarnation: "0".repeat(16),
      first: toIndex(first),
      count: batches.reduce((sum, { count }) => sum + count, 0),
      batches,
      rawBytes: 1,
      previousDigest: "0".repeat(64),
      writeId: "0".repeat(32),
      digest: "1".repeat(64),
    },
    records: { count: 0, bytes: Buffer.alloc(0), kinds: new Uint8Array(), keyStarts: empty, keyLengths: empty, valueStarts: empty, valueLengths: empty },
  };
}

/** Replays, and tells which records were applied with which first index and time. */
function run(file: RedoFile, bound: Bound = {}, sessions = new Sessions()) {
  const applied: number[][] = [];
  const fold = { apply: (_: unknown, from: number, to: number, firstIndex: number, timeMs: number) => void applied.push([from, to, firstIndex, timeMs]) };
  return { replayed: replay(file, { applies: (mark, _, last) => sessions.apply(mark, last) === "applies", fold }, bound), applied };
}

const file = fileOf(11, [
  { count: 2, timeMs: 100 },
  { count: 3, timeMs: 100 },
  { count: 1, timeMs: 200 },
]);
const lastOf = (batchOffset: number, index: number, timeMs: number) => ({ position: { redoFile: 11, batchOffset }, index, timeMs });

test.each<[string, Bound, object, number]>([
  ["no bound", {}, { last: lastOf(2, 16, 200), whole: true }, 3],
  ["its last index", { index: toIndex(16) }, { last: lastOf(2, 16, 200), whole: true }, 3],
  ["an index inside a batch", { index: toIndex(14) }, { last: lastOf(0, 12, 100), whole: false }, 1],
  ["a batch's last index", { index: toIndex(15) }, { last: lastOf(1, 15, 100), whole: false }, 2],
  ["an index inside the first batch", { index: toIndex(11) }, { whole: false }, 0],
  ["an index before the file", { index: toIndex(3) }, { whole: false }, 0],
  ["the time of several batches", { timeMs: 100 }, { last: lastOf(1, 15, 100), whole: false }, 2],
  ["a time between batches", { timeMs: 199 }, { last: lastOf(1, 15, 100), whole: false }, 2],
  ["a time before the first batch", { timeMs: 99 }, { whole: false }, 0],
  ["a time behind the last batch", { timeMs: 10_000 }, { last: lastOf(2, 16, 200), whole: true }, 3],
  ["both: the nearer counts", { timeMs: 200, index: toIndex(12) }, { last: lastOf(0, 12, 100), whole: false }, 1],
])("replay stops behind the last batch wholly at or before %s", (_, bound, expected, batches) => {
  const { replayed, applied } = run(file, bound);
  expect(replayed).toEqual(expected);
  expect(applied).toEqual(
    [
      [0, 2, 11, 100],
      [2, 5, 13, 100],
      [5, 6, 16, 200],
    ].slice(0, batches),
  );
});

test("a duplicate uses its indexes and has no effect", () => {
  const mark = { producer: "p", sequence: 1n, since: toIndex(1) };
  const { replayed, applied } = run(
    fileOf(1, [
      { count: 2, timeMs: 1, mark },
      { count: 2, timeMs: 1, mark },
      { count: 1, timeMs: 1 },
    ]),
  );
  expect(applied).toEqual([
    [0, 2, 1, 1],
    [4, 5, 5, 1],
  ]);
  expect(replayed).toMatchObject({ last: { index: 5, position: { batchOffset: 2 } }, whole: true });
});

test("replaying to a bound and on from there is replaying at once", () => {
  const batch = fc.record({ count: fc.integer({ min: 1, max: 4 }), producer: fc.constantFrom(undefined, "p", "q"), sequence: fc.nat(4) });
  fc.assert(
    fc.property(fc.array(batch, { minLength: 1, maxLength: 12 }), fc.nat(40), (batches, index) => {
      const marked = batches.map(({ count, producer, sequence }) => ({
        count,
        timeMs: 1,
        ...(producer && { mark: { producer, sequence: BigInt(sequence), since: toIndex(1) } }),
      }));
      const whole = new Sessions();
      run(fileOf(1, marked), {}, whole);
      const halves = new Sessions();
      const { replayed } = run(fileOf(1, marked), { index: toIndex(index) }, halves);
      const taken = replayed.last === undefined ? 0 : replayed.last.position.batchOffset + 1;
      if (taken < marked.length) run(fileOf((replayed.last?.index ?? 0) + 1, marked.slice(taken)), {}, halves);
      expect(halves.list()).toEqual(whole.list());
    }),
  );
});

test.each([
  ["json", '{"a":', "not JSON"],
  ["bytes", '{"a":1}', "bytes has a patch"],
] as const)("a patch that no writer of a table of %s lets pass is damage of its file", (codec, patch, why) => {
  const bytes = Buffer.from(`k${patch}`);
  const one = (value: number) => Uint32Array.of(value);
  const records = {
    count: 1,
    bytes,
    kinds: Uint8Array.of(RECORD_PATCH),
    keyStarts: one(0),
    keyLengths: one(1),
    valueStarts: one(1),
    valueLengths: one(patch.length),
  };
  const put = { ...records, kinds: Uint8Array.of(RECORD_PUT), bytes: Buffer.from("k1"), valueLengths: one(1) };
  const fold = keyedFold({ codec });
  const damaged = { ...fileOf(12, [{ count: 1, timeMs: 2 }]), records };
  replay({ ...fileOf(11, [{ count: 1, timeMs: 1 }]), records: put }, { applies: () => true, fold });
  const replayed = () => replay(damaged, { applies: () => true, fold });
  expect(replayed).toThrow(why);
  expect(replayed).toThrow(expect.objectContaining({ kind: "repair", object: `players/0/${"0".repeat(16)}/redo/0000000000000012.redo` }));
});

test("a patch over a record that only a snapshot holds is damage of that record, where one of them is not JSON", () => {
  const fold = keyedFold({ codec: "json" });
  const bytes = Buffer.from('k{"a":1}');
  const one = (value: number) => Uint32Array.of(value);
  const records = { count: 1, bytes, kinds: Uint8Array.of(RECORD_PATCH), keyStarts: one(0), keyLengths: one(1), valueStarts: one(1), valueLengths: one(7) };
  fold.apply(records, 0, 1, 1, 1);
  expect(patchedValue(fold.sorted(), 0, Buffer.from("2")).toString()).toBe('{"a":1}');
  expect(() => patchedValue(fold.sorted(), 0, Buffer.from("{"))).toThrow('the record of "k" is damaged');
});
