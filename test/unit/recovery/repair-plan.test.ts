import { expect, test } from "vitest";
import type { HistoryRow } from "../../../lib/model/control.ts";
import { redoKey } from "../../../lib/model/names.ts";
import { toIndex } from "../../../lib/model/position.ts";
import { isRecoverable, planRepair, type RepairPlan } from "../../../lib/recovery/repair-plan.ts";
import { controlWith, prefix, rowAt, shard } from "../checkpoint/samples.ts";

const rows: readonly HistoryRow[] = [rowAt(10), rowAt(20), rowAt(30)];
const redo = (first: number): string => redoKey(prefix, toIndex(first));

/** What is left of the states 10 to 40, of generations at 10, 20 and 30. */
function plan(damaged: readonly string[], { lowWater = 11, kept = rows, tail = 40 } = {}): RepairPlan {
  const findings = damaged.map((object) => ({ object, what: "it is damaged" }));
  return planRepair({ id: shard, control: controlWith({ lowWater: toIndex(lowWater) }), rows: kept, findings, tail: toIndex(tail) });
}

function told({ recoverable, lost, head }: RepairPlan): unknown {
  const pairs = (list: RepairPlan["lost"]) => list.map(({ from, to }) => [from, to]);
  return { recoverable: pairs(recoverable), lost: pairs(lost), head };
}

const [oldest, middle, newest] = rows.map(({ key }) => key);

test.each<[string, readonly string[], readonly number[][], readonly number[][], boolean]>([
  ["nothing is lost where nothing is damaged", [], [[10, 40]], [], true],
  ["a damaged generation costs nothing where the one before and the log are sound", [newest], [[10, 40]], [], true],
  ["so do all but the oldest", [newest, middle], [[10, 40]], [], true],
  ["without the oldest, the states before the next are lost", [oldest], [[20, 40]], [[10, 19]], true],
  [
    "a break in the log costs the states from it to the next generation",
    [redo(15)],
    [
      [10, 14],
      [20, 40],
    ],
    [[15, 19]],
    true,
  ],
  [
    "and more where that one is damaged",
    [redo(15), middle],
    [
      [10, 14],
      [30, 40],
    ],
    [[15, 29]],
    true,
  ],
  ["a break behind all generations costs the newest states", [redo(35)], [[10, 34]], [[35, 40]], false],
  ["at a generation's border it costs none of its own state", [redo(31)], [[10, 30]], [[31, 40]], false],
  [
    "two breaks",
    [redo(12), redo(22)],
    [
      [10, 11],
      [20, 21],
      [30, 40],
    ],
    [
      [12, 19],
      [22, 29],
    ],
    true,
  ],
  ["without any generation nothing is left", [oldest, middle, newest], [], [[10, 40]], false],
])("%s", (_, damaged, recoverable, lost, head) => {
  expect(told(plan(damaged))).toEqual({ recoverable, lost, head });
});

test("while all of the log is kept, the empty state is a generation that cannot be damaged", () => {
  expect(told(plan([oldest, middle, newest], { lowWater: 1 }))).toEqual({ recoverable: [[0, 40]], lost: [], head: true });
  expect(told(plan([redo(1)], { lowWater: 1 }))).toEqual({
    recoverable: [
      [0, 0],
      [10, 40],
    ],
    lost: [[1, 9]],
    head: true,
  });
});

test("a generation below the mark has its own state and no other", () => {
  expect(told(plan([], { lowWater: 21 }))).toEqual({
    recoverable: [
      [10, 10],
      [20, 40],
    ],
    lost: [],
    head: true,
  });
  expect(told(plan([oldest], { lowWater: 21 }))).toEqual({ recoverable: [[20, 40]], lost: [[10, 10]], head: true });
});

test("generations that are being deleted are no one's loss, and what is of other lives is none of this one's", () => {
  const kept = [rowAt(10, { state: "deleting" }), ...rows.slice(1)];
  expect(told(plan([oldest], { kept }))).toEqual({ recoverable: [[20, 40]], lost: [], head: true });
  const other = newest.replace("00112233aabbccdd", "ffeeddccbbaa9988");
  expect(plan([other, "shard#players/0 tail"])).toMatchObject({ damaged: [], objects: [], lost: [] });
});

test("the generations that are damaged are told, missing redo files among the objects", () => {
  const { damaged, objects } = plan([middle, redo(15)]);
  expect([damaged, objects]).toEqual([[rows[1]], [middle, redo(15)]]);
});

test("a break in the very file that a generation ends with costs nothing, as the states before and behind it touch", () => {
  const byOrder = [rows, rows.toReversed()];
  for (const kept of byOrder) expect(told(plan([redo(20)], { kept }))).toEqual({ recoverable: [[10, 40]], lost: [], head: true });
  for (const kept of byOrder)
    expect(told(plan([redo(21)], { kept }))).toEqual({
      recoverable: [
        [10, 20],
        [30, 40],
      ],
      lost: [[21, 29]],
      head: true,
    });
});

test("a state can be brought back from the first to the last of each range", () => {
  const broken = plan([redo(15), redo(35)]);
  expect([9, 10, 14, 15, 19, 20, 34, 35].filter((index) => isRecoverable(broken, toIndex(index)))).toEqual([10, 14, 20, 34]);
});
