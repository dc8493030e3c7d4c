import fc from "fast-check";
import { expect, test } from "vitest";
import { controlItem } from "../../../lib/checkpoint/items.ts";
import { openWriter } from "../../../lib/jobs/append.ts";
import { rowsCollector } from "../../../lib/machines/keyed/collect.ts";
import type { SortedFold } from "../../../lib/machines/keyed/fold.ts";
import { mergeRows } from "../../../lib/machines/keyed/merge.ts";
import { mergePatch } from "../../../lib/machines/keyed/patch.ts";
import type { Mutation } from "../../../lib/model/mutation.ts";
import { type Index, toIndex } from "../../../lib/model/position.ts";
import type { Bound } from "../../../lib/redo-log/replay.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { STRETCH_RAW_BYTES, widened } from "../../../lib/snapshot/changes.ts";
import { appendEach, id, listed, mark, type MemoryWorld, patch, put, remove, withObjects, worldWithTable } from "../jobs/world.ts";
import { logRecords } from "../machines/keyed/log.ts";
import { load, ONE_KEY, rowsOf } from "./states.ts";

/** What a fold holds without a key; and so much that it has some. */
const FOLD_BYTES_EMPTY = 4_108;
const SOME_KEYS = FOLD_BYTES_EMPTY + 500;

interface TestBatch {
  readonly mutations: readonly Mutation[];
  readonly producer: string | undefined;
  readonly sequence: number;
}

interface LoggedBatch extends TestBatch {
  readonly first: Index;
  readonly last: Index;
  readonly timeMs: number;
}

/** Appends files of batches, a second apart. A sequence that is not above its producer's is a repetition. */
async function append(world: MemoryWorld, files: readonly (readonly TestBatch[])[]): Promise<readonly LoggedBatch[]> {
  const logged: LoggedBatch[] = [];
  const writer = openWriter(world, { id, codec: "json" });
  for (const file of files) {
    const requests = file.map(({ mutations, producer, sequence }) => ({ mutations, ...(producer && { mark: mark(producer, sequence) }) }));
    const outcomes = await Promise.all(requests.map((request) => writer.append(request)));
    for (const [i, outcome] of outcomes.entries()) {
      if (outcome.kind !== "appended") throw new Error(`a batch is ${outcome.kind}`);
      logged.push({ ...file[i], first: outcome.first, last: outcome.last, timeMs: outcome.timeMs });
    }
    world.clock.advance(1_000);
  }
  await writer.close();
  return logged;
}

/** The state by a Map, behind the last batch wholly at or before the bound. */
function modelOf(log: readonly LoggedBatch[], bound: Bound = {}): readonly string[] {
  const state = new Map<string, { readonly value: Buffer; readonly index: number }>();
  const sequences = new Map<string, number>();
  for (const { mutations, producer, sequence, first, last, timeMs } of log) {
    if ((bound.index !== undefined && last > bound.index) || (bound.timeMs !== undefined && timeMs > bound.timeMs)) break;
    if (producer !== undefined && sequence <= (sequences.get(producer) ?? -1)) continue;
    if (producer !== undefined) sequences.set(producer, sequence);
    for (const [i, mutation] of mutations.entries()) {
      const key = Buffer.from(mutation.key).toString();
      if (mutation.kind === "delete") state.delete(key);
      else {
        const value = mutation.kind === "put" ? Buffer.from(mutation.value) : mergePatch(state.get(key)?.value, Buffer.from(mutation.value));
        state.set(key, { value: Buffer.from(value), index: first + i });
      }
    }
  }
  return [...state].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b))).map(([key, { value, index: at }]) => `${key}=${value}@${at}`);
}

const key = fc.oneof(
  fc.nat(40).map((number) => `k${String(number).padStart(3, "0")}`),
  fc.constantFrom("a", "a\u0000", "\uff5e", "\u{1f600}"),
);
const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  { weight: 3, arbitrary: fc.tuple(key, fc.nat(60)).map(([name, length]) => put(name, "v".repeat(length))) },
  { weight: 1, arbitrary: key.map(remove) },
  { weight: 1, arbitrary: fc.tuple(key, fc.constantFrom<unknown>({ a: 1 }, { a: null, b: { c: 2 } }, 7)).map(([name, value]) => patch(name, value)) },
);
const batch = fc.record({
  mutations: fc.array(mutation, { minLength: 1, maxLength: 6 }),
  producer: fc.constantFrom(undefined, "p", "q"),
  sequence: fc.nat(6),
});
const files = fc.array(fc.array(batch, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 8 });

test("a log larger than the memory for it gives the state that it means, over a base or none, to any bound, from any key on", async () => {
  await fc.assert(
    fc.asyncProperty(files, fc.nat(8), fc.nat(60), key, async (all, capturedAfter, boundAt, after) => {
      const world = await worldWithTable();
      const before = await append(world, all.slice(0, capturedAfter));
      if (before.length > 0) expect(await capture(world, { id, codec: "json" })).toMatchObject({ kind: "completed" });
      const log = [...before, ...(await append(world, all.slice(capturedAfter)))];
      const index = toIndex(Math.min(boundAt, log[log.length - 1].last));
      const { timeMs } = log[boundAt % log.length];
      for (const bound of [{}, { index }, { timeMs }]) {
        const model = modelOf(log, bound);
        const asOne = await load(world, { bound });
        for (const foldBytesMax of [ONE_KEY, SOME_KEYS]) {
          const state = await load(world, { bound, foldBytesMax });
          expect(await rowsOf(state)).toEqual(model);
          expect([state.index, state.sessions.list()]).toEqual([asOne.index, asOne.sessions.list()]);
          const behind = model.filter((row) => Buffer.compare(Buffer.from(row.slice(0, row.indexOf("="))), Buffer.from(after)) > 0);
          expect(await rowsOf(state, after)).toEqual(behind);
          expect(await rowsOf(state)).toEqual(model);
        }
      }
    }),
    { numRuns: 40 },
  );
}, 180_000);

test("a part holds keys that fit the memory, and where it ends is where the next begins", async () => {
  const world = await worldWithTable();
  await appendEach(world, [Array.from({ length: 30 }, (_, i) => put(`k${10 + ((i * 7) % 30)}`, "x".repeat(50)))]);
  const { changes } = await load(world, { foldBytesMax: SOME_KEYS });
  const counts: number[] = [];
  for (let part = await changes.part(); ; part = await changes.part(part.end)) {
    counts.push(part.count);
    if (part.end === undefined) break;
  }
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(30);
  expect(Math.max(...counts)).toBeLessThan(6);
  expect(Math.min(...counts.slice(0, -1))).toBeGreaterThan(1);
});

/** One file a letter, each a stretch of its own, with keys that begin with it. */
async function worldOfStretches(letters: string): Promise<MemoryWorld> {
  const world = await worldWithTable();
  const value = "x".repeat(STRETCH_RAW_BYTES / 8);
  await appendEach(
    world,
    [...letters].map((letter) => Array.from({ length: 9 }, (_, i) => put(`${letter}${i}`, value))),
  );
  return world;
}

test("a stretch of the log without keys of a range is not read again, and none is read twice for one range", async () => {
  const world = await worldOfStretches("abcdef");
  const gets: string[] = [];
  const counted = withObjects(world, (objects) => ({
    async get(name) {
      gets.push(name);
      return objects.get(name);
    },
  }));
  const { changes, log } = await load(counted, { foldBytesMax: 2.2 * STRETCH_RAW_BYTES });
  expect(log.files).toBe(6);
  const reads: number[] = [];
  let { end } = await changes.part();
  while (end !== undefined) {
    gets.length = 0;
    end = (await changes.part(end)).end;
    expect(new Set(gets).size).toBe(gets.length);
    reads.push(gets.length);
  }
  // Where keys lie is noted once they do not fit, and of the stretches before that by the first reading for a further range.
  const [first, ...others] = reads;
  expect(first).toBe(3);
  expect(others.length).toBeGreaterThan(2);
  for (const count of others) expect(count).toBeLessThanOrEqual(3);
});

test("where cleanup passes between two parts, the reading is an error to start over from", async () => {
  for (const isFreed of [true, false]) {
    const world = await worldOfStretches("abcdef");
    const { changes } = await load(world, { foldBytesMax: 2.2 * STRETCH_RAW_BYTES });
    const first = await changes.part();
    await world.checkpoints.write([{ item: controlItem(id), when: [], set: { lowWater: 28, stamp: "f".repeat(32) } }]);
    // A freed name may be taken again by a writer that stalled: that the files are there proves nothing.
    if (isFreed) await world.objects.deleteMany([...world.objects.objects.keys()].filter((name) => name.includes("/redo/")).slice(0, 3));
    await expect(changes.part(first.end)).rejects.toMatchObject({ kind: "retry", code: "cleaned-log" });
  }
});

test("a redo file that is lost or damaged between two parts is told by its name", async () => {
  for (const harm of ["lost", "damaged"]) {
    const world = await worldWithTable();
    await appendEach(
      world,
      Array.from({ length: 5 }, (_, i) => [put(`k${i}`, i)]),
    );
    const { changes } = await load(world, { foldBytesMax: ONE_KEY });
    const first = await changes.part();
    const name = [...world.objects.objects.keys()].filter((each) => each.includes("/redo/")).sort()[2];
    if (harm === "lost") await world.objects.deleteMany([name]);
    else world.objects.damage(name, (body) => body.subarray(0, body.length - 1));
    await expect(changes.part(first.end), harm).rejects.toMatchObject({ kind: "repair", object: name });
  }
});

/** Five records in one file, which a fold of one key has one by one. */
async function worldOfFive(): Promise<MemoryWorld> {
  const world = await worldWithTable();
  await appendEach(world, [["d", "b", "a", "e", "c"].map((name) => put(name, 1))]);
  return world;
}

function namesOf(part: SortedFold): readonly string[] {
  const collector = rowsCollector();
  for (const _ of mergeRows(part, collector).end());
  return listed(collector.take()).map((row) => row.slice(0, 1));
}

test("a part stays as it is while further ones are read, for readers of whom none is the only one", async () => {
  const { changes } = await load(await worldOfFive(), { foldBytesMax: ONE_KEY });
  const first = await changes.part();
  const second = await changes.part(first.end);
  expect([namesOf(first), namesOf(second)]).toEqual([["a"], ["b"]]);
});

test("one reader gets all keys, part by part in the same memory, from any key on and up to any", async () => {
  const world = await worldOfFive();
  const [from, above] = [Buffer.from("b"), Buffer.from("d")];
  const namesBetween = async (range: { firstFrom?: Buffer; above?: Buffer }) => {
    const { changes } = await load(world, { foldBytesMax: ONE_KEY, oneReader: true, ...range });
    const names: string[] = [];
    for (let part = await changes.part(range.firstFrom); ; part = await changes.part(part.end)) {
      names.push(...namesOf(part));
      if (part.end === undefined) return names.join("");
    }
  };
  expect(await namesBetween({})).toBe("abcde");
  expect(await namesBetween({ firstFrom: from })).toBe("bcde");
  expect(await namesBetween({ above })).toBe("abc");
  expect(await namesBetween({ firstFrom: from, above })).toBe("bc");
});

test("a range that is read again ends where the wanted keys do, and no part follows it", async () => {
  const { changes } = await load(await worldOfFive(), { above: Buffer.from("c") });
  const behind = await changes.part(Buffer.from("b"));
  const all = await changes.part();
  expect([namesOf(behind), behind.end, namesOf(all), all.end]).toEqual([["a", "b"], undefined, ["a", "b"], undefined]);
  const { changes: upper } = await load(await worldOfFive(), { firstFrom: Buffer.from("b"), above: Buffer.from("c") });
  const again = await upper.part(Buffer.from("a"));
  expect([namesOf(again), again.end]).toEqual([["a", "b"], undefined]);
});

test("keys below those that were folded first are read when they are asked for", async () => {
  const { changes } = await load(await worldOfFive(), { firstFrom: Buffer.from("c") });
  expect([namesOf(await changes.part(Buffer.from("c"))), namesOf(await changes.part())]).toEqual([
    ["c", "d", "e"],
    ["a", "b", "c", "d", "e"],
  ]);
});

test("a part that holds the keys asked for is not read again, and who reads the log again asks whether to go on", async () => {
  const world = await worldOfFive();
  let asked = 0;
  const goOn = async () => ++asked > 0;
  let gets = 0;
  const counted = withObjects(world, (objects) => ({
    get(name) {
      gets++;
      return objects.get(name);
    },
  }));
  const { changes } = await load(counted, { foldBytesMax: ONE_KEY, goOn });
  const first = await changes.part();
  [asked, gets] = [0, 0];
  expect(await changes.part(Buffer.from("A"))).toBe(first);
  expect([asked, gets]).toEqual([0, 0]);
  const second = await changes.part(first.end);
  expect([asked, gets, namesOf(second)]).toEqual([1, 1, ["b"]]);
});

test("files that share a stretch, in any order of their keys, are read for each range that one of them has keys of", async () => {
  const world = await worldOfStretches("fg");
  await appendEach(world, [[put("b", 1)], [put("z", 1), put("p", 1)], [put("m", 1)], [put("c", 1), put("a", 1)]]);
  const state = await load(world, { foldBytesMax: 1.2 * STRETCH_RAW_BYTES });
  const rows = (await rowsOf(state)).map((row) => row.slice(0, row.indexOf("=")));
  const large = ["f", "g"].flatMap((letter) => Array.from({ length: 9 }, (_, i) => `${letter}${i}`));
  expect(rows).toEqual(["a", "b", "c", ...large, "m", "p", "z"]);
});

test("the range of keys is that of the least and the greatest of all records, whatever their order", () => {
  fc.assert(
    fc.property(fc.array(fc.array(key, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 4 }), (all) => {
      const records = all.map((keys) => logRecords(keys.map((name) => ({ kind: "delete", key: name }))));
      const sorted = all
        .flat()
        .map((name) => Buffer.from(name))
        .sort(Buffer.compare);
      const range = records.slice(1).reduce((before, more) => widened(before, more), widened(undefined, records[0]));
      expect(range).toEqual({ first: sorted[0], last: sorted[sorted.length - 1] });
    }),
  );
});
