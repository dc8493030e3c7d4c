// Whole tables on copies of the stores: one that is deleted by several hands, of which nothing is left, and one of many shards,
// of which the planner asks for no more than go together.

import { shardPartition } from "../../lib/checkpoint/items.ts";
import { lastIndexes, tableWriter } from "../../lib/jobs/append.ts";
import { askForCaptures } from "../../lib/jobs/ask.ts";
import { type CleanupTask, planPass, runCleanupTask } from "../../lib/jobs/cleanup-pass.ts";
import { explainPlan } from "../../lib/jobs/explain.ts";
import { ingest } from "../../lib/jobs/ingest.ts";
import { repairShard } from "../../lib/jobs/repair.ts";
import { runRound } from "../../lib/jobs/run.ts";
import { createTable, deleteTable, findTable, getTable, shardsOf } from "../../lib/jobs/tables.ts";
import { isTidemarkError } from "../../lib/model/errors.ts";
import { quarantineKey, type ShardId, shardName } from "../../lib/model/names.ts";
import type { ObjectStore } from "../../lib/ports/object-store.ts";
import type { World } from "../../lib/ports/world.ts";
import { type Troupe, whole } from "./actors.ts";
import { type CopiedWorld, type Copy, restsOn } from "./copies.ts";
import { oneOf, rot } from "./damage.ts";
import { broken } from "./promises.ts";
import { A_PUT } from "./values.ts";

/** Of a table that is deleted nothing is left, whoever finishes it, and a writer that was opened before acknowledges nothing more. */
export async function deletesTable(troupe: Troupe, { unwatched: world }: Copy): Promise<boolean> {
  const { id, random } = troupe;
  const table = await getTable(world, id.table);
  const opened = table.source === undefined ? await ingest(world).open(id.table) : undefined;
  await opened?.append([{ mutations: [A_PUT] }]);
  const { snapshots } = restsOn(troupe);
  if (snapshots.length > 1 && random.fraction() < 0.5) {
    rot(world.objects, random, oneOf(random, snapshots));
    await repairShard(world, { table, shard: id.shard });
  }
  const failing = failingOnce(world);
  const told = await deleteTable(failing, id.table).then(
    () => "done",
    (error: unknown) =>
      isTidemarkError(error) && error.kind === "retry" ? error.code : broken("I7", `a deletion that an object is kept from: ${String(error)}`),
  );
  if (told !== "undeleted-objects" && told !== "done") broken("I7", `a deletion that an object is kept from was answered ${told}`);
  if (told !== "done" && (await findTable(world, id.table))?.state !== "deleting") broken("I7", "a table of which something is left is gone");
  for (const task of await planPass(world)) await carriedOut(world, task);
  if ((await findTable(world, id.table)) !== undefined) broken("I7", "a table that was deleted is there still");
  for (const shard of shardsOf(table)) await isGone(world, shard);
  const answer = await opened
    ?.append([{ mutations: [A_PUT] }])
    .catch((error: unknown) => (isTidemarkError(error) && error.code === "sealed" ? undefined : error));
  if (answer !== undefined) broken("I1", `a batch for a table that is gone was answered ${String(answer)}`);
  return true;
}

/** A store that keeps the first object that it is to delete. */
function failingOnce(world: CopiedWorld): World {
  let isFirst = true;
  const deleteMany: ObjectStore["deleteMany"] = async (keys) => {
    const [first, ...others] = keys;
    if (!isFirst || first === undefined) return world.objects.deleteMany(keys);
    isFirst = false;
    if (others.length > 0) await world.objects.deleteMany(others);
    return { failed: [{ key: first, reason: "it is kept" }] };
  };
  return { ...world, objects: { ...world.objects, deleteMany } };
}

/** Each invocation has no time but for a first shard. */
async function carriedOut(world: World, task: CleanupTask): Promise<void> {
  for (let next: CleanupTask | undefined = task; next !== undefined; ) next = (await runCleanupTask(world, next, AbortSignal.abort())).rest;
}

async function isGone({ objects, checkpoints }: CopiedWorld, id: ShardId): Promise<void> {
  const prefixes = [`${shardName(id)}/`, quarantineKey(`${shardName(id)}/`)];
  const left = [...objects.objects.keys()].filter((key) => prefixes.some((prefix) => key.startsWith(prefix)));
  const items = (await checkpoints.query({ partition: shardPartition(id) })).items.map(({ key }) => key.sort);
  if (left.length + items.length > 0) broken("I7", `of a table that was deleted ${[...left, ...items]} are left`);
}

/** A table of many shards, all dirty: no more captures are asked for than go together, each shard comes once, and then all are at rest. */
export async function manyShards({ random }: Troupe, { unwatched: world }: Copy): Promise<boolean> {
  const shards = whole(random, 2, 40);
  const together = random.fraction() < 0.5 ? 10_000 : whole(random, 1, shards);
  const table = await createTable(world, { name: "many", shards, captureAfterMutations: 1, capturesTogetherMax: together });
  const writer = tableWriter(world, table);
  const mutations = Array.from({ length: shards * 4 }, (_, place) => ({ ...A_PUT, key: Buffer.from(`k${place}`) }));
  const indexes = lastIndexes(await writer.append({ mutations }));
  await writer.close();
  if ([...indexes.values()].reduce((sum, last) => sum + last, 0) !== mutations.length) broken("I1", "the shares of a batch do not add up");
  const asked = new Set<string>();
  const { dirty, held } = await askForCaptures(world, async (some) => {
    for (const each of some) asked.add(shardName(each));
    return some;
  });
  const going = [...asked].filter((name) => name.startsWith("many/")).length;
  if (going !== Math.min(together, indexes.size) || dirty < indexes.size || held < indexes.size - going)
    broken("I10", `of ${indexes.size} dirty shards ${going} are asked for and ${held} held, of ${dirty} in all; ${together} go together`);
  const told = new Map((await explainPlan(world, { table: "many" })).map(({ id, decision }) => [shardName(id), decision]));
  for (const [name, decision] of told) if ((decision === "asked") !== asked.has(name)) broken("I10", `the plan says of ${name} that it is ${decision}`);
  const { captured, failures } = await runRound(world, { cleanAll: true });
  if (captured.filter(({ id }) => id.table === "many").length !== indexes.size || failures.length > 0)
    broken("I9", "not every shard that was due was captured");
  if ((await explainPlan(world, { table: "many" })).length > 0) broken("I9", "a shard that was captured is dirty still");
  return true;
}
