import { expect, test } from "vitest";
import { ORIGIN, toIndex } from "../../../lib/model/position.ts";
import type { HistoryRow } from "../../../lib/model/control.ts";
import type { Bound } from "../../../lib/redo-log/replay.ts";
import { baseBorder, basesFor } from "../../../lib/snapshot/choose.ts";
import { borderAt, controlWith, rowAt } from "../checkpoint/samples.ts";

/** The bases by their indexes; 0 is the empty one. */
function chosen(rows: readonly HistoryRow[], lowWater: number, bound: Bound = {}): readonly number[] {
  return basesFor(controlWith({ lowWater: toIndex(lowWater) }), rows, bound).map((base) => (base.kind === "empty" ? 0 : base.row.index));
}

test("the newest base comes first, those that were found damaged last, and none that is being deleted", () => {
  const rows = [rowAt(10), rowAt(20, { verified: false }), rowAt(30), rowAt(40, { state: "deleting" }), rowAt(25, { verified: false })];
  expect(chosen(rows, 1)).toEqual([30, 10, 25, 20, 0]);
  expect(chosen(rows.toReversed(), 1)).toEqual([30, 10, 25, 20, 0]);
  expect(chosen(rows, 2)).toEqual([30, 10, 25, 20]);
});

test("a base lies at or before the bound, by its index and by its time", () => {
  const rows = [rowAt(10), rowAt(30)];
  expect([29, 30, 9].map((index) => chosen(rows, 1, { index: toIndex(index) }))).toEqual([[10, 0], [30, 10, 0], [0]]);
  expect([309, 310, 109].map((timeMs) => chosen(rows, 1, { timeMs }))).toEqual([[10, 0], [30, 10, 0], [0]]);
});

test("a generation below the mark serves its own index alone", () => {
  const rows = [rowAt(10), rowAt(20), rowAt(21), rowAt(30)];
  expect(chosen(rows, 22)).toEqual([30, 21]);
  expect([10, 20, 21, 25].map((index) => chosen(rows, 22, { index: toIndex(index) }))).toEqual([[10], [20], [21], [21]]);
});

test("the log goes on at the generation's border, and from its origin where there is none", () => {
  expect(baseBorder({ kind: "generation", row: rowAt(7) })).toEqual(borderAt(8));
  expect(baseBorder({ kind: "empty" })).toEqual(ORIGIN);
});
