import { expect, test } from "vitest";
import { tailAttributes, tailItem } from "../../../lib/checkpoint/items.ts";
import { askForCaptures } from "../../../lib/jobs/ask.ts";
import { explainPlan } from "../../../lib/jobs/explain.ts";
import { createTable } from "../../../lib/jobs/tables.ts";
import { hintWith } from "../checkpoint/samples.ts";
import { itemsOf, memoryWorld, START_MS } from "./world.ts";

async function world() {
  const made = memoryWorld();
  await createTable(made, { name: "capped", shards: 4, captureAfterMutations: 10, capturesTogetherMax: 2 });
  await createTable(made, { name: "other", captureAfterMutations: 10 });
  for (const [table, shard, next] of [
    ["capped", 0, 11],
    ["capped", 1, 11],
    ["capped", 2, 11],
    ["capped", 3, 2],
    ["other", 0, 11],
  ] as const) {
    const hint = hintWith({ next, capturedAtMs: START_MS });
    await made.checkpoints.write([{ item: tailItem({ table, shard }), when: [], put: { ...tailAttributes(hint), dirty: "dirty" } }]);
  }
  return made;
}

const decisions = (shards: Awaited<ReturnType<typeof explainPlan>>) => shards.map(({ id, decision }) => `${id.table}/${id.shard} ${decision}`);

test("the plan is told as the planner would carry it out, and nothing is written", async () => {
  const made = await world();
  const before = itemsOf(made);
  expect(decisions(await explainPlan(made, {}))).toEqual(["capped/0 goes", "capped/1 goes", "capped/2 held", "capped/3 waits", "other/0 goes"]);
  expect(itemsOf(made)).toEqual(before);
  const asked: string[] = [];
  await askForCaptures(made, async (shards) => {
    asked.push(...shards.map(({ table, shard }) => `${table}/${shard}`));
    return shards;
  });
  expect(asked.sort()).toEqual(["capped/0", "capped/1", "other/0"]);
  expect(decisions(await explainPlan(made, {}))).toEqual(["capped/0 asked", "capped/1 asked", "capped/2 held", "capped/3 waits", "other/0 asked"]);
});

test("of one table only that table's shards are read", async () => {
  const made = await world();
  const read: string[] = [];
  const watched = {
    ...made,
    checkpoints: {
      ...made.checkpoints,
      get(key: { readonly partition: string; readonly sort: string }) {
        read.push(key.partition);
        return made.checkpoints.get(key);
      },
    },
  };
  expect(decisions(await explainPlan(watched, { table: "other" }))).toEqual(["other/0 goes"]);
  expect(read).toEqual(["shard#other/0"]);
});

test("of each shard it is told how large it is, when it was captured and asked for, and what was measured of it", async () => {
  const made = memoryWorld();
  await createTable(made, { name: "a", shards: 4, captureAfterMutations: 10 });
  const hints = [
    { next: 11, capturedAtMs: 7, snapshotBytes: 0, askedAtMs: START_MS, rates: { readPerSecond: 5 } },
    { next: 11, capturedAtMs: 8, rates: { replayPerSecond: 5 } },
    { next: 11, capturedAtMs: START_MS, rates: { fileMicros: 5 } },
    { next: 2, capturedAtMs: START_MS, askedAtMs: START_MS },
  ];
  for (const [shard, hint] of hints.entries()) {
    await made.checkpoints.write([
      {
        item: tailItem({ table: "a", shard }),
        when: [],
        put: { ...tailAttributes(hintWith(hint)), ...(hint.askedAtMs && { askedAtMs: hint.askedAtMs }), dirty: "dirty" },
      },
    ]);
  }
  const told = await explainPlan(made, {});
  expect(told.map(({ table, qualification: _, outlook: __, ...rest }) => ({ ...rest, table: table.name }))).toEqual([
    {
      id: { table: "a", shard: 0 },
      table: "a",
      decision: "asked",
      snapshotBytes: 0,
      capturedAtMs: 7,
      askedAtMs: START_MS,
      measured: { read: true, replay: false },
    },
    { id: { table: "a", shard: 1 }, table: "a", decision: "goes", capturedAtMs: 8, measured: { read: false, replay: true } },
    { id: { table: "a", shard: 2 }, table: "a", decision: "goes", capturedAtMs: START_MS, measured: { read: false, replay: true } },
    { id: { table: "a", shard: 3 }, table: "a", decision: "waits", capturedAtMs: START_MS, askedAtMs: START_MS, measured: { read: false, replay: false } },
  ]);
  expect(told.map(({ outlook }) => outlook.mutations)).toEqual([10, 10, 10, 1]);
  expect(told.map((shard) => Object.keys(shard).length)).toEqual([9, 7, 7, 8]);
});

test("a capped table's places are taken by captures under way that are still due alone", async () => {
  const made = memoryWorld();
  await createTable(made, { name: "capped", shards: 3, captureAfterMutations: 10, capturesTogetherMax: 1 });
  for (const [shard, next] of [2, 11, 11].entries()) {
    const hint = hintWith({ next, capturedAtMs: START_MS });
    const asked = shard === 0 ? { askedAtMs: START_MS } : {};
    await made.checkpoints.write([{ item: tailItem({ table: "capped", shard }), when: [], put: { ...tailAttributes(hint), ...asked, dirty: "dirty" } }]);
  }
  expect(decisions(await explainPlan(made, {}))).toEqual(["capped/0 waits", "capped/1 goes", "capped/2 held"]);
});
