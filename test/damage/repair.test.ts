// What repair says can be brought back, recovery brings back, and what it says is lost, recovery refuses: for every choice of
// objects of a shard that are lost, and for every choice that are damaged.

import { expect, test } from "vitest";
import { repairShard } from "../../lib/jobs/repair.ts";
import { getTable } from "../../lib/jobs/tables.ts";
import { toIndex } from "../../lib/model/position.ts";
import { lastOf } from "../processes/keyed-model.ts";
import { recovered, type Subject } from "./oracle.ts";
import { copyOf, smallShard } from "./shard.ts";

const shard = await smallShard();
/** The end of each batch that is kept, and what lies before it. */
const indexes = shard.log.flatMap((batch) => [lastOf(batch) - 1, lastOf(batch)]).filter((index) => index >= shard.older.index);
const keys = [shard.older.key, shard.newer.key, ...shard.between, ...shard.behind];

test.each(["lost", "damaged"])("whichever objects are %s, repair tells the truth, and makes nothing worse", { timeout: 120_000 }, async (how) => {
  let cases = 0;
  const kinds = new Set<string>();
  for (let choice = 1; choice < 2 ** keys.length; choice++) {
    const damaged = keys.filter((_, place) => (choice >> place) & 1);
    const world = await copyOf(shard.world);
    if (how === "lost") await world.objects.deleteMany(damaged);
    else for (const key of damaged) world.objects.damage(key, (body) => body.subarray(0, body.length - 1));
    const subject: Subject = { shard, world, damaged };
    const table = await getTable(world, shard.id.table);
    const { kind, recoverable, lost } = await repairShard(world, { table, shard: 0, dryRun: true });
    const isIn = (ranges: typeof lost, index: number): boolean => ranges.some(({ from, to }) => from <= index && index <= to);
    for (const index of indexes) {
      const verdict = await recovered(subject, { index: toIndex(index) });
      expect([isIn(recoverable, index), isIn(lost, index)], `${damaged.join()} at ${index}`).toEqual([verdict.kind === "right", verdict.kind === "named"]);
    }
    // Once it was repaired, whatever could be brought back still can be, up to what retention lets go.
    await repairShard(world, { table, shard: 0 });
    const newest = recoverable.at(-1)?.to;
    if (newest !== undefined && newest > 0) expect((await recovered({ ...subject, damaged: [] }, { index: newest })).kind).toBe("right");
    kinds.add(kind);
    cases++;
  }
  expect([...kinds].sort()).toEqual(["broken", "planned"]);
  console.log(`${cases} choices of ${how} objects, each state of each asked for`);
});
