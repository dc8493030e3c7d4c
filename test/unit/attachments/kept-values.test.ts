import fc from "fast-check";
import { expect, test } from "vitest";
import { eachKeptValue } from "../../../lib/attachments/kept-values.ts";
import { readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { sweep } from "../../../lib/cleanup/sweep.ts";
import { openWriter } from "../../../lib/jobs/append.ts";
import { assert } from "../../../lib/model/assert.ts";
import type { Mutation } from "../../../lib/model/mutation.ts";
import { POLICY_DEFAULTS } from "../../../lib/model/table.ts";
import type { World } from "../../../lib/ports/world.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { id, mark, patch, put, remove, withObjects, worldWithTable } from "../jobs/world.ts";

async function subjectOf(world: World) {
  const control = await readControl(world.checkpoints, id);
  assert(control !== undefined, "the shard is open");
  return { id, control, rows: await readHistory(world.checkpoints, id) };
}

async function valuesOf(world: World, subject?: Awaited<ReturnType<typeof subjectOf>>) {
  const values = new Set<string>();
  const outcome = await eachKeptValue(world, subject ?? (await subjectOf(world)), (value) => void values.add(value.toString()));
  return { values: [...values].sort(), outcome };
}

async function append(world: World, batches: readonly { readonly mutations: readonly Mutation[]; readonly sequence?: number; readonly producer?: string }[]) {
  const writer = openWriter(world, { id, codec: "json" });
  for (const { mutations, sequence, producer = "source" } of batches)
    await writer.append({ mutations, ...(sequence !== undefined && { mark: mark(producer, sequence) }) });
  await writer.close();
}

test("all of the log is shown while all of it is kept: values that were written over, and what patches bring", async () => {
  const world = await worldWithTable();
  await append(world, [
    { mutations: [put("a", "1"), put("b", "2")], sequence: 3 },
    { mutations: [put("a", "3"), remove("b"), patch("c", { x: 4 })], sequence: 7 },
  ]);
  expect(await valuesOf(world)).toEqual({ values: ['"1"', '"2"', '"3"', '{"x":4}'], outcome: { kind: "read", sequence: 7 } });
});

test("of a log that cleanup has cut, the state of the oldest kept generation is shown, and what is behind it", async () => {
  const world = await worldWithTable();
  for (let turn = 1; turn <= 4; turn++) {
    await append(world, [{ mutations: [put("a", `a${turn}`), put(`b${turn}`, `b${turn}`)], sequence: turn }]);
    await capture(world, { id, codec: "json" });
  }
  await sweep(world, { id, policy: POLICY_DEFAULTS });
  await append(world, [{ mutations: [put("a", "a5")], sequence: 5 }]);
  const { values, outcome } = await valuesOf(world);
  expect([values, outcome]).toEqual([['"a3"', '"a4"', '"a5"', '"b1"', '"b2"', '"b3"', '"b4"'], { kind: "read", sequence: 5 }]);
});

/** Four generations, of which cleanup has kept the newest two. */
async function sweptWorld() {
  const world = await worldWithTable();
  for (let turn = 1; turn <= 4; turn++) {
    await append(world, [{ mutations: [put("a", `a${turn}`)], sequence: turn }]);
    await capture(world, { id, codec: "json" });
  }
  const before = await subjectOf(world);
  await sweep(world, { id, policy: POLICY_DEFAULTS });
  return { world, before, subject: await subjectOf(world) };
}

test("the oldest generation is that of the lowest index which is kept and whose log is, in whatever order and beside whatever rows", async () => {
  const { world, before, subject } = await sweptWorld();
  const expected = await valuesOf(world, subject);
  expect(expected).toEqual({ values: ['"a3"', '"a4"'], outcome: { kind: "read", sequence: 4 } });
  const [gone] = before.rows;
  for (const rows of [subject.rows.toReversed(), [{ ...gone, state: "deleting" as const }, ...subject.rows], [gone, ...subject.rows]])
    expect(await valuesOf(world, { ...subject, rows })).toEqual(expected);
});

test("where every generation that was kept has gone since, the items are stale", async () => {
  const { world, subject } = await sweptWorld();
  for (let turn = 5; turn <= 7; turn++) {
    await append(world, [{ mutations: [put("a", `a${turn}`)], sequence: turn }]);
    await capture(world, { id, codec: "json" });
  }
  await sweep(world, { id, policy: POLICY_DEFAULTS });
  expect((await valuesOf(world, subject)).outcome).toEqual({ kind: "stale" });
});

test("what is appended while the end of the log is looked at is shown", async () => {
  const world = await worldWithTable();
  await append(world, [{ mutations: [put("a", "before")], sequence: 1 }]);
  let isAppended = false;
  const racing = withObjects(world, (objects) => ({
    async list(request) {
      if (!isAppended) {
        isAppended = true;
        await append(world, [{ mutations: [put("b", "meanwhile")], sequence: 2 }]);
        await append(world, [{ mutations: [put("c", "behind it")], sequence: 3 }]);
      }
      return objects.list(request);
    },
  }));
  expect(await valuesOf(racing)).toEqual({ values: ['"before"', '"behind it"', '"meanwhile"'], outcome: { kind: "read", sequence: 3 } });
});

test("of several batches in one file each is shown that applies, and none that is a repetition", async () => {
  const world = await worldWithTable();
  const writer = openWriter(world, { id, codec: "json" });
  const batches = [
    { mutations: [put("a", "one"), put("b", "two")], mark: mark("source", 1) },
    { mutations: [put("c", "repeated")], mark: mark("source", 1) },
    { mutations: [put("d", "three")], mark: mark("source", 2) },
  ];
  await Promise.all(batches.map((batch) => writer.append(batch)));
  await writer.close();
  expect(await valuesOf(world)).toEqual({ values: ['"one"', '"three"', '"two"'], outcome: { kind: "read", sequence: 2 } });
});

test("the sequence is the highest of all producers' batches that applied, captured or not", async () => {
  const world = await worldWithTable();
  await append(world, [
    { mutations: [put("a", 1)], sequence: 9 },
    { mutations: [put("a", 2)], sequence: 4, producer: "other" },
  ]);
  await capture(world, { id, codec: "json" });
  await append(world, [{ mutations: [put("a", 3)], sequence: 5, producer: "other" }, { mutations: [put("a", 4)] }]);
  expect((await valuesOf(world)).outcome).toEqual({ kind: "read", sequence: 9 });
});

test("a shard of no batch has no value, and a sequence of 0", async () => {
  const world = await worldWithTable();
  await append(world, [{ mutations: [put("a", 1)] }]);
  expect((await valuesOf(world)).outcome).toEqual({ kind: "read", sequence: 0 });
});

test("what cleanup cut away after the items were read makes them stale, whenever it comes", async () => {
  const staleness: string[] = [];
  for (let at = 0; at < 8; at++) {
    const world = await worldWithTable();
    await append(world, [{ mutations: [put("a", "old")], sequence: 1 }]);
    await append(world, [{ mutations: [put("b", "old")], sequence: 2 }]);
    const subject = await subjectOf(world);
    let reads = 0;
    const racing = withObjects(world, (objects) => ({
      async get(key) {
        if (reads++ === at) {
          for (let turn = 3; turn <= 5; turn++) {
            await append(world, [{ mutations: [put("a", `a${turn}`)], sequence: turn }]);
            await capture(world, { id, codec: "json" });
          }
          await sweep(world, { id, policy: POLICY_DEFAULTS });
        }
        return objects.get(key);
      },
    }));
    const { values, outcome } = await valuesOf(racing, subject);
    staleness.push(outcome.kind);
    if (outcome.kind === "read") expect(values).toEqual(expect.arrayContaining(['"old"']));
  }
  expect(staleness).toContain("stale");
  expect(staleness).toContain("read");
});

test("whatever was written, captured and swept, every value of a state that can be brought back is shown", async () => {
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.record({ kind: fc.constant("append" as const), key: fc.constantFrom("a", "b", "c"), isDelete: fc.boolean() }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("capture" as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("sweep" as const) }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
      const world = await worldWithTable();
      const log: Mutation[] = [put("z", "first")];
      await append(world, [{ mutations: log.slice(), sequence: 1 }]);
      for (const [place, one] of steps.entries()) {
        if (one.kind === "capture") await capture(world, { id, codec: "json" });
        if (one.kind === "sweep") await sweep(world, { id, policy: POLICY_DEFAULTS });
        if (one.kind !== "append") continue;
        log.push(one.isDelete ? remove(one.key) : put(one.key, `value ${place}`));
        await append(world, [{ mutations: log.slice(-1), sequence: log.length }]);
      }
      const subject = await subjectOf(world);
      const isWhole = subject.control.lowWater <= 1;
      const oldest = isWhole ? 0 : Math.min(...subject.rows.filter(({ state }) => state === "kept").map(({ index }) => index));
      const state = new Map<string, string>();
      const needed = new Set<string>();
      log.forEach((mutation, place) => {
        const key = Buffer.from(mutation.key).toString();
        const value = mutation.kind === "delete" ? undefined : Buffer.from(mutation.value).toString();
        if (place >= oldest && value !== undefined) needed.add(value);
        if (place >= oldest) return;
        if (value === undefined) state.delete(key);
        else state.set(key, value);
      });
      const expected = [...new Set([...state.values(), ...needed])].sort();
      expect(await valuesOf(world)).toEqual({ values: expected, outcome: { kind: "read", sequence: log.length } });
    }),
    { numRuns: 40 },
  );
});
