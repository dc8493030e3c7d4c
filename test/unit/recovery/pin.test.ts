import { expect, test } from "vitest";
import { readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { controlItem, historyAttributes, historyItem } from "../../../lib/checkpoint/items.ts";
import type { HistoryRow } from "../../../lib/model/control.ts";
import { pin, unpin } from "../../../lib/recovery/pin.ts";
import type { Life } from "../../../lib/redo-log/read.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { appendEach, id, losingReply, type MemoryWorld, put, START_MS, worldWithTable } from "../jobs/world.ts";

async function worldWithGeneration(): Promise<{ readonly world: MemoryWorld; readonly life: Life; readonly row: HistoryRow }> {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await capture(world, { id, codec: "json" });
  const [row] = await readHistory(world.checkpoints, id);
  return { world, life: { id, incarnation: (await readControl(world.checkpoints, id))?.incarnation ?? "" }, row };
}

const pinsOf = async (world: MemoryWorld) => (await readHistory(world.checkpoints, id))[0].pins;

test("pins of several readers stand side by side, and each drops its own", async () => {
  const { world, life, row } = await worldWithGeneration();
  const before = await readControl(world.checkpoints, id);
  await pin(world, { life, row, pinId: "one" }, START_MS + 5);
  await pin(world, { life, row, pinId: "other" }, START_MS + 9);
  expect(await pinsOf(world)).toEqual({ one: START_MS + 5, other: START_MS + 9 });
  await unpin(world, { life, row, pinId: "one" });
  expect(await pinsOf(world)).toEqual({ other: START_MS + 9 });
  expect((await readControl(world.checkpoints, id))?.stamp).not.toBe(before?.stamp);
});

test("a pin that lapsed goes with the next change of pins", async () => {
  const { world, life, row } = await worldWithGeneration();
  await pin(world, { life, row, pinId: "gone" }, START_MS - 1);
  await pin(world, { life, row, pinId: "just gone" }, START_MS);
  await pin(world, { life, row, pinId: "here" }, START_MS + 9);
  expect(await pinsOf(world)).toEqual({ here: START_MS + 9 });
});

test.each(["done", "not-done"] as const)("a pin whose reply was lost holds (%s)", async (effect) => {
  const { world, life, row } = await worldWithGeneration();
  expect(
    await pin(
      losingReply(world, (changes) => changes.length === 2, effect),
      { life, row, pinId: "one" },
      5,
    ),
  ).toBe(true);
  expect(await pinsOf(world)).toEqual({ one: 5 });
});

test("what cleanup has let go cannot be pinned", async () => {
  const { world, life, row } = await worldWithGeneration();
  const pinned = [await pin(world, { life: { id, incarnation: "f".repeat(16) }, row, pinId: "one" }, 5)];
  await world.checkpoints.write([{ item: controlItem(id), when: [], set: { lowWater: 3 } }]);
  pinned.push(await pin(world, { life, row, pinId: "one" }, 5));
  await world.checkpoints.write([{ item: controlItem(id), when: [], set: { lowWater: 1 } }]);
  await world.checkpoints.write([{ item: historyItem(id, row), when: [], put: historyAttributes({ ...row, state: "deleting" }) }]);
  pinned.push(await pin(world, { life, row, pinId: "one" }, 5));
  await world.checkpoints.write([{ item: historyItem(id, row), when: [], delete: true }]);
  pinned.push(await pin(world, { life, row, pinId: "one" }, 5));
  expect(pinned).toEqual([false, false, false, false]);
});
