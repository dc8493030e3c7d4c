import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type CleanupFacts, isIdle, planCleanup } from "../../../lib/cleanup/plan.ts";
import { toEpoch, toIndex } from "../../../lib/model/position.ts";
import { checkpointAt, controlWith, recordAt, rowAt } from "../checkpoint/samples.ts";
import { factsOf, kept, log, nothing, NOW, planOf, redo, type Scene, snapshot } from "./plans.ts";

describe("what is kept", () => {
  test.each<[string, Scene, object]>([
    ["a new shard keeps all", { keys: log }, {}],
    ["one generation keeps all", { control: { checkpoint: checkpointAt(10) }, rows: kept([10]), keys: log }, {}],
    [
      "two generations keep the log behind the older",
      { control: { checkpoint: checkpointAt(20) }, rows: kept([10, 20]), keys: log },
      { lowWater: 11, redoFiles: log.slice(0, 1) },
    ],
    [
      "a third lets the first go",
      { control: { checkpoint: checkpointAt(30) }, rows: kept([10, 20, 30]), keys: log },
      { lowWater: 21, redoFiles: log.slice(0, 2), generations: [10] },
    ],
    [
      "as many as are asked for",
      { control: { checkpoint: checkpointAt(30) }, rows: kept([10, 20, 30]), keys: log, policy: { keepSnapshots: 3 } },
      { lowWater: 11, redoFiles: log.slice(0, 1) },
    ],
    ["fewer than are asked for keep all", { control: { checkpoint: checkpointAt(30) }, rows: kept([10, 20, 30]), keys: log, policy: { keepSnapshots: 4 } }, {}],
    [
      "one that is not verified does not count",
      { control: { checkpoint: checkpointAt(30) }, rows: [rowAt(10), rowAt(20, { verified: false }), rowAt(30)], keys: log },
      { lowWater: 11, redoFiles: log.slice(0, 1) },
    ],
    [
      "a pinned one is kept with its log",
      { control: { checkpoint: checkpointAt(30) }, rows: [rowAt(10, { pins: { reader: NOW + 1 } }), rowAt(20), rowAt(30)], keys: log },
      { lowWater: 11, redoFiles: log.slice(0, 1) },
    ],
    [
      "a pin that lapsed holds nothing",
      { control: { checkpoint: checkpointAt(30) }, rows: [rowAt(10, { pins: { reader: NOW } }), rowAt(20), rowAt(30)], keys: log },
      { lowWater: 21, redoFiles: log.slice(0, 2), generations: [10] },
    ],
    [
      "the checkpoint's own is never let go",
      { control: { checkpoint: checkpointAt(10) }, rows: kept([10, 20, 30]), keys: log },
      { lowWater: 11, redoFiles: log.slice(0, 1) },
    ],
    [
      "one being deleted is finished, and does not count",
      { control: { checkpoint: checkpointAt(30), lowWater: toIndex(11) }, rows: [rowAt(10, { state: "deleting" }), rowAt(20), rowAt(30)], keys: log },
      { lowWater: 21, redoFiles: log.slice(0, 2), generations: [10] },
    ],
    [
      "the overhead keeps so many mutations behind the checkpoint, rounded to a redo file",
      { control: { checkpoint: checkpointAt(30) }, rows: kept([20, 30]), keys: log, policy: { compactionOverhead: 15 } },
      { lowWater: 11, redoFiles: log.slice(0, 1) },
    ],
    [
      "an overhead longer than the log keeps all of it",
      { control: { checkpoint: checkpointAt(30) }, rows: kept([20, 30]), keys: log, policy: { compactionOverhead: 1_000 } },
      {},
    ],
    [
      "an overhead that was raised does not take the mark back",
      { control: { checkpoint: checkpointAt(30), lowWater: toIndex(21) }, rows: kept([20, 30]), keys: log.slice(2), policy: { compactionOverhead: 1_000 } },
      { lowWater: 21 },
    ],
    [
      "a ghost below the mark goes, though the mark stays",
      { control: { checkpoint: checkpointAt(30), lowWater: toIndex(21) }, rows: kept([20, 30]), keys: [redo(1), ...log.slice(2)] },
      { lowWater: 21, redoFiles: [redo(1)] },
    ],
  ])("%s", (_, scene, expected) => {
    expect(planOf(scene)).toEqual({ ...nothing, ...expected });
  });

  // Times are ten times the next index: 110, 210, 310.
  test.each<[string, number, number, object]>([
    ["begins at the newest generation that lies before it", 50, 310, { lowWater: 21, redoFiles: log.slice(0, 2), generations: [10] }],
    ["begins at a generation that lies exactly at its edge", 100, 310, { lowWater: 21, redoFiles: log.slice(0, 2), generations: [10] }],
    ["needs an older one a moment further back", 101, 310, { lowWater: 11, redoFiles: log.slice(0, 1) }],
    ["that no generation lies before keeps all", 201, 310, {}],
    ["of nothing still keeps as many generations as are asked for", 0, 10 ** 9, { lowWater: 21, redoFiles: log.slice(0, 2), generations: [10] }],
    ["that all of them lie before still keeps as many as are asked for", 1, 10 ** 9, { lowWater: 21, redoFiles: log.slice(0, 2), generations: [10] }],
  ])("a window of time %s", (_, keepForMs, nowMs, expected) => {
    const scene = { control: { checkpoint: checkpointAt(30) }, rows: kept([10, 20, 30]), keys: log, policy: { keepForMs }, nowMs };
    expect(planOf(scene)).toEqual({ ...nothing, ...expected });
  });
});

test("a plan that changes nothing is idle, any other is not", () => {
  const control = controlWith({ lowWater: toIndex(11) });
  const idle = planCleanup(factsOf({ control }));
  const some = [
    { ...idle, lowWater: toIndex(12) },
    { ...idle, fence: true },
    { ...idle, redoFiles: [{ key: "x", size: 1 }] },
    { ...idle, generations: [rowAt(1)] },
  ];
  expect([isIdle(idle, control), isIdle(planCleanup(factsOf({ control: "absent" })), undefined), ...some.map((plan) => isIdle(plan, control))]).toEqual([
    true,
    true,
    false,
    false,
    false,
    false,
  ]);
});

describe("whatever the shard looks like", () => {
  /** A shard as it can be: redo files at borders from the mark on and ghosts below it, generations at borders, a checkpoint among them. */
  const anyFacts = fc
    .record({
      counts: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 25 }),
      captured: fc.array(
        fc.record({ at: fc.nat(24), verified: fc.boolean(), deleting: fc.boolean(), pinnedForMs: fc.integer({ min: -50, max: 50 }), pinned: fc.boolean() }),
        { maxLength: 8 },
      ),
      lowWaterAt: fc.nat(24),
      ghosts: fc.array(fc.nat(24), { maxLength: 3 }),
      epoch: fc.integer({ min: 1, max: 4 }),
      strays: fc.array(fc.record({ index: fc.nat(99), epoch: fc.integer({ min: 1, max: 6 }) }), { maxLength: 4 }),
      record: fc.option(fc.record({ index: fc.nat(150), born: fc.integer({ min: 1, max: 4 }) }), { nil: undefined }),
      leaseMs: fc.option(fc.integer({ min: -100, max: 100 }), { nil: undefined }),
      policy: fc.record({
        keepSnapshots: fc.integer({ min: 2, max: 4 }),
        keepForMs: fc.constantFrom(0, 0, 100, 500),
        compactionOverhead: fc.constantFrom(0, 0, 5, 40),
      }),
    })
    .map((made) => {
      let next = 1;
      const borders = made.counts.map((count) => {
        const first = next;
        next += count;
        return first;
      });
      const tail = next;
      const nexts = [...borders.slice(1), tail];
      const generations = [...new Map(made.captured.map((capture) => [nexts[capture.at % nexts.length], capture])).entries()].sort(([a], [b]) => a - b);
      const rows = generations.map(([at, { verified, deleting, pinned, pinnedForMs }], place) =>
        rowAt(at - 1, {
          epoch: toEpoch(1),
          verified,
          state: deleting && place < generations.length - 1 ? "deleting" : "kept",
          pins: pinned ? { reader: NOW + pinnedForMs } : {},
        }),
      );
      const newest = rows.at(-1);
      // The mark never lies above what two verified generations and the pins need.
      const verified = rows.filter((row) => row.state === "kept" && row.verified).map(({ border }) => border.next);
      const pinned = rows.filter((row) => Object.values(row.pins).some((untilMs) => untilMs > NOW)).map(({ border }) => border.next);
      const limit = verified.length < 2 ? 1 : Math.min(verified[verified.length - 2], ...pinned);
      const lowWater = Math.max(1, ...borders.filter((border) => border <= limit && border <= borders[made.lowWaterAt % borders.length]));
      const record = made.record && made.record.born <= made.epoch ? recordAt(made.record.index, made.record.born) : undefined;
      const control = controlWith({
        epoch: toEpoch(made.epoch),
        lowWater: toIndex(lowWater),
        ...(newest && { checkpoint: checkpointAt(newest.index) }),
        ...(record && { capture: record }),
        ...(made.leaseMs !== undefined && { lease: { owner: "x", untilMs: NOW + made.leaseMs } }),
      });
      const keys = [
        ...borders.filter((border) => border >= lowWater),
        ...made.ghosts.map((at) => borders[at % borders.length]).filter((border) => border < lowWater),
      ].map(redo);
      const snapshots = [...rows.map(({ key }) => key), ...made.strays.map(({ index, epoch }) => snapshot(index, epoch)), ...(record ? [record.key] : [])];
      const facts = factsOf({ control, rows, keys: [...new Set([...keys, ...snapshots])], policy: made.policy });
      return { facts, control, rows, borders, tail };
    });

  test("the mark never goes back, and no redo file at or above it is deleted", () => {
    fc.assert(
      fc.property(anyFacts, ({ facts, control }) => {
        const plan = planCleanup(facts);
        expect(plan.lowWater).toBeGreaterThanOrEqual(control.lowWater);
        for (const { key } of plan.redoFiles) expect(key < redo(plan.lowWater)).toBe(true);
        for (const { key } of [...plan.orphans, ...plan.generations]) expect(key).toMatch(/snapshots/);
      }),
      { numRuns: 500 },
    );
  });

  test("the mark is a border of the log, never above what a kept generation or the overhead needs", () => {
    fc.assert(
      fc.property(anyFacts, ({ facts, control, rows, borders, tail }) => {
        const plan = planCleanup(facts);
        if (plan.lowWater === control.lowWater) return;
        const stays = rows.filter((row) => !plan.generations.includes(row));
        const verified = stays.filter((row) => row.verified).map(({ border }) => border.next);
        expect([...borders, tail]).toContain(plan.lowWater);
        // The checkpoint's own row may stay for its name alone; it is the newest here.
        for (const { border } of stays) expect(plan.lowWater).toBeLessThanOrEqual(border.next);
        expect(verified.length).toBeGreaterThanOrEqual(2);
        expect(plan.lowWater).toBeLessThanOrEqual((control.checkpoint?.border.next ?? 1) - facts.policy.compactionOverhead);
      }),
      { numRuns: 500 },
    );
  });

  test("the checkpoint's generation, the newest verified ones and the pinned ones stay", () => {
    fc.assert(
      fc.property(anyFacts, ({ facts, control, rows }) => {
        const gone = new Set(planCleanup(facts).generations.map(({ key }) => key));
        const live = rows.filter(({ state }) => state === "kept");
        const must = [
          ...live.filter(({ key }) => key === control.checkpoint?.key),
          ...live.filter(({ verified }) => verified).slice(-facts.policy.keepSnapshots),
          ...live.filter(({ pins }) => Object.values(pins).some((untilMs) => untilMs > NOW)),
        ];
        expect(must.filter(({ key }) => gone.has(key))).toEqual([]);
        for (const row of rows) if (row.state === "deleting") expect(gone).toContain(row.key);
      }),
      { numRuns: 500 },
    );
  });

  test("every moment of the window stays recoverable", () => {
    fc.assert(
      fc.property(anyFacts, ({ facts, control, rows }) => {
        const { keepForMs } = facts.policy;
        const plan = planCleanup(facts);
        if (keepForMs === 0 || (plan.lowWater === control.lowWater && plan.generations.every(({ state }) => state === "deleting"))) return;
        const stays = rows.filter((row) => !plan.generations.includes(row) && row.verified);
        expect(stays.some(({ border }) => border.timeMs <= NOW - keepForMs && border.next >= plan.lowWater)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  test("an orphan is named by nothing, and its epoch is past or fenced", () => {
    fc.assert(
      fc.property(anyFacts, ({ facts, control, rows }) => {
        const plan = planCleanup(facts);
        const named = new Set([...rows.map(({ key }) => key), control.capture?.key]);
        for (const { key } of plan.orphans) {
          expect(named.has(key)).toBe(false);
          const epoch = Number(/-e([0-9]+)\.parquet$/.exec(key)?.[1]);
          expect(plan.fence || epoch < control.epoch).toBe(true);
        }
        if (plan.fence) expect(control.lease === undefined || control.lease.untilMs <= NOW).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  test("a plan that was carried out leaves nothing to do but what the fence freed", () => {
    fc.assert(
      fc.property(anyFacts, ({ facts, control, rows }) => {
        const plan = planCleanup(facts);
        const gone = new Set([...plan.redoFiles, ...plan.orphans, ...plan.generations].map(({ key }) => key));
        const { capture: _, lease: __, ...bare } = control;
        const after: CleanupFacts = {
          ...facts,
          listing: { objects: facts.listing.objects.filter(({ key }) => !gone.has(key)), uploads: [], parts: [], notes: [] },
          rows: rows.filter(({ key }) => !gone.has(key)),
          control: { ...(plan.fence ? { ...bare, epoch: toEpoch(control.epoch + 1) } : control), lowWater: plan.lowWater },
        };
        const again = planCleanup(after);
        expect({ ...again, orphans: [] }).toEqual({
          ...again,
          lowWater: plan.lowWater,
          fence: false,
          redoFiles: [],
          generations: [],
          orphans: [],
          uploads: [],
          parts: [],
        });
        // The object of a record that was given up is an orphan from now on.
        expect(again.orphans.filter(({ key }) => key !== control.capture?.key)).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });
});

test("nothing goes that only a damaged item lets go: what no capture holds, and the snapshot that the checkpoint names", () => {
  const beyond: Scene = { control: { checkpoint: checkpointAt(20), lowWater: toIndex(99_999) }, rows: kept([10, 20]), keys: log };
  expect(planOf(beyond).redoFiles).toEqual([redo(1), redo(11)]);
  const withoutRow: Scene = { control: { checkpoint: checkpointAt(20, 2) }, rows: kept([10]), keys: [snapshot(10, 1), snapshot(20, 2), snapshot(15, 2)] };
  expect(planOf(withoutRow).orphans).toEqual([snapshot(15, 2)]);
});
