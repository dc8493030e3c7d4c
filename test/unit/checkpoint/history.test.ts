// One generation's row is changed together with the control item, and only while it is kept.

import { expect, test } from "vitest";
import { changeControl, openShard, readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { changeHistoryRow, type RowChange } from "../../../lib/checkpoint/history.ts";
import { historyAttributes, historyItem } from "../../../lib/checkpoint/items.ts";
import { cleaned } from "../../../lib/checkpoint/transitions.ts";
import type { HistoryRow } from "../../../lib/model/control.ts";
import { CONTROL_ATTEMPTS_MAX } from "../../../lib/model/limits.ts";
import { id, memoryWorld, type MemoryWorld, START_MS, withCheckpoints, worldWithTable } from "../jobs/world.ts";
import { rowAt } from "./samples.ts";

const pinned = (row: HistoryRow): HistoryRow => ({ ...row, pins: { ...row.pins, reader: 5 } });

async function worldWithRow(row: HistoryRow): Promise<{ readonly world: MemoryWorld; readonly change: RowChange }> {
  const world = await worldWithTable();
  const { incarnation } = await openShard(world, id, START_MS);
  await world.checkpoints.write([{ item: historyItem(id, row), when: [], put: historyAttributes(row) }]);
  return { world, change: { id, incarnation, row, change: pinned } };
}

/** Before each of the first `times` writes the control item is changed by another writer. */
function withRival(world: MemoryWorld, times: number, rival: () => Promise<unknown>): MemoryWorld {
  let left = times;
  return withCheckpoints(world, (checkpoints) => ({
    async write(changes) {
      if (left-- > 0) await rival();
      return checkpoints.write(changes);
    },
  }));
}

test("a row is changed, and the control item's stamp with it, but nothing else of that", async () => {
  const { world, change } = await worldWithRow(rowAt(8));
  const before = await readControl(world.checkpoints, id);
  expect(await changeHistoryRow(world, change)).toBe(true);
  const after = await readControl(world.checkpoints, id);
  expect([await readHistory(world.checkpoints, id), after]).toEqual([[pinned(rowAt(8))], { ...before, stamp: after?.stamp }]);
  expect(after?.stamp).not.toBe(before?.stamp);
});

test("what decides sees row and control item, and may leave both as they are", async () => {
  const { world, change } = await worldWithRow(rowAt(8));
  const control = await readControl(world.checkpoints, id);
  const seen: unknown[] = [];
  expect(await changeHistoryRow(world, { ...change, change: (...both) => void seen.push(...both) })).toBe(false);
  expect([seen, await readControl(world.checkpoints, id)]).toEqual([[rowAt(8), control], control]);
});

test("a row that is being deleted is changed no more, and nobody is asked", async () => {
  const { world, change } = await worldWithRow(rowAt(8, { state: "deleting" }));
  const asked: HistoryRow[] = [];
  const ask = (row: HistoryRow) => {
    asked.push(row);
    return pinned(row);
  };
  expect(await changeHistoryRow(world, { ...change, change: ask })).toBe(false);
  expect([asked, await readHistory(world.checkpoints, id)]).toEqual([[], [rowAt(8, { state: "deleting" })]]);
});

test("the row of another life, that of another generation and that of a shard that is gone are not there to be changed", async () => {
  const { world, change } = await worldWithRow(rowAt(8));
  expect([
    await changeHistoryRow(world, { ...change, incarnation: "ffffffffffffffff" }),
    await changeHistoryRow(world, { ...change, row: rowAt(9) }),
    await changeHistoryRow(memoryWorld(), change),
  ]).toEqual([false, false, false]);
  expect(await readHistory(world.checkpoints, id)).toEqual([rowAt(8)]);
});

test("a row that begins to be deleted under the change is left to go", async () => {
  const { world, change } = await worldWithRow(rowAt(8));
  const going = rowAt(8, { state: "deleting" });
  const deleting = () => world.checkpoints.write([{ item: historyItem(id, going), when: [], put: historyAttributes(going) }]);
  expect(await changeHistoryRow(withRival(world, 1, deleting), change)).toBe(false);
  expect(await readHistory(world.checkpoints, id)).toEqual([going]);
});

test("after a rival's change of the control item the row is looked at again, up to so many times, and who gives up says so", async () => {
  const { world, change } = await worldWithRow(rowAt(8));
  const rival = () =>
    changeControl(world, { id, decide: (control) => ({ kind: "to", control: cleaned(control, { lowWater: control.lowWater, fence: false }) }) });
  await expect(changeHistoryRow(withRival(world, CONTROL_ATTEMPTS_MAX, rival), change)).rejects.toMatchObject({ kind: "retry", code: "contended" });
  expect(await readHistory(world.checkpoints, id)).toEqual([rowAt(8)]);
  expect(await changeHistoryRow(withRival(world, CONTROL_ATTEMPTS_MAX - 1, rival), change)).toBe(true);
  expect(await readHistory(world.checkpoints, id)).toEqual([pinned(rowAt(8))]);
});
