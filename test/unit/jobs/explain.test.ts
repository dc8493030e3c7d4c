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
