// What is tried on a copy of the stores in the middle of a schedule, each with a judgement of its own: objects are lost,
// damaged or swapped, and repaired; an item is altered to something else; an encoding is edited behind right checksums; more
// producers write than a shard remembers; values are large, and of every shape; what is asked in vain, and states that are held.

import { zstdCompressSync } from "node:zlib";
import { memoryCheckpointStore } from "../../lib/adapters/memory/checkpoint-store.ts";
import { memoryObjectStore } from "../../lib/adapters/memory/object-store.ts";
import type { Content } from "../../lib/attachments/attach.ts";
import { readAttachment } from "../../lib/attachments/read.ts";
import { askForCaptures } from "../../lib/jobs/ask.ts";
import { cleanupShard } from "../../lib/jobs/cleanup.ts";
import { runCleanupTask } from "../../lib/jobs/cleanup-pass.ts";
import { ensureTables } from "../../lib/jobs/ensure-tables.ts";
import { explainPlan } from "../../lib/jobs/explain.ts";
import { repairShard } from "../../lib/jobs/repair.ts";
import { snapshotShard } from "../../lib/jobs/snapshot.ts";
import { shardStatus } from "../../lib/jobs/status.ts";
import { createTable, getTable } from "../../lib/jobs/tables.ts";
import { isTidemarkError, messageOf } from "../../lib/model/errors.ts";
import { shardPartition, storeItem, tableItem } from "../../lib/checkpoint/items.ts";
import { incarnationPrefix, shardName, STORE_KEY } from "../../lib/model/names.ts";
import type { Random } from "../../lib/ports/random.ts";
import { verifyShard } from "../../lib/recovery/verify.ts";
import { damagedItems } from "../damage/item-cases.ts";
import { type Troupe, whole } from "./actors.ts";
import { asksInVain, loops, views } from "./asking.ts";
import { type Copy, copyOf, judge, NOTHING_DAMAGED, orRefused, restsOn } from "./copies.ts";
import { oneOf, rot } from "./damage.ts";
import { forges } from "./forgeries.ts";
import { readNamed } from "./gatherers.ts";
import { crowds, grows } from "./growth.ts";
import { broken } from "./promises.ts";
import { deletesTable, manyShards } from "./tables.ts";

/** Says what was tried; nothing where the shard suffers already, or has nothing yet. */
export async function operate(troupe: Troupe): Promise<string | undefined> {
  const { promises, random, count, stage, id } = troupe;
  const { damage } = promises;
  if (promises.control === undefined || damage.inLog || damage.snapshot !== undefined || damage.mayBeCarried) return undefined;
  // A table that is being deleted, or is gone, has nothing to lose.
  if (stage.checkpoints.items.every(({ key, attributes }) => key.sort !== id.table || attributes.state === "deleting")) return undefined;
  const chance = random.fraction();
  const operations: readonly Operation[] = [
    { below: troupe.settings.gatherers > 0 ? 0.3 : 0, what: "attachments damaged", tries: 3, run: losesAttachment },
    { below: 0.25, what: "repairs", tries: 2, run: loses },
    { below: 0.47, what: "alterations", tries: 4, run: alters },
    { below: 0.65, what: "forgeries", tries: 2, run: forges },
    { below: 0.73, what: "strangers", tries: 1, run: meetsStrangers },
    { below: 0.83, what: "large values", tries: 1, run: grows },
    { below: 0.87, what: "vain calls", tries: 1, run: asksInVain },
    { below: 0.92, what: "views", tries: 2, run: views },
    { below: 0.95, what: "loops", tries: 1, run: loops },
    { below: 0.98, what: "deletions of tables", tries: 1, run: deletesTable },
    { below: 0.998, what: "many shards", tries: 1, run: manyShards },
    { below: 1, what: "crowds", tries: 1, run: crowds },
  ];
  const { what, tries, run } = operations.find(({ below }) => chance < below) ?? operations[0];
  for (let each = 0; each < tries; each++) if (await run(troupe, await copyOf(troupe))) count(what);
  return `on copies: ${what}`;
}

interface Operation {
  /** Those before it and it are drawn so often. */
  readonly below: number;
  readonly what: string;
  /** Each on a copy of its own. */
  readonly tries: number;
  /** False where there is nothing yet that it could be tried on. */
  readonly run: (troupe: Troupe, copy: Copy) => Promise<boolean>;
}

/** What repair says can be brought back, recovery brings back, and what it says is lost, recovery refuses; then it mends. */
async function loses(troupe: Troupe, copy: Copy): Promise<boolean> {
  const { random, id } = troupe;
  const { redo, snapshots } = restsOn(troupe);
  const there = [...redo, ...snapshots].filter((key) => copy.world.objects.objects.has(key));
  if (there.length === 0) return false;
  // Mostly one, and often a snapshot, without which the log is there still: there is something to mend then.
  const choices = random.fraction() < 0.5 && snapshots.length > 1 ? snapshots.filter((key) => there.includes(key)) : there;
  const damaged = new Set(Array.from({ length: random.fraction() < 0.6 ? 1 : whole(random, 2, 3) }, () => oneOf(random, choices)));
  for (const key of damaged) {
    if (random.fraction() < 0.4) await copy.world.objects.deleteMany([key]);
    else rot(copy.world.objects, random, key);
  }
  const table = await getTable(copy.world, id.table);
  const { kind, recoverable, lost, findings } = await repairShard(copy.world, { table, shard: id.shard, dryRun: true });
  for (const { object, what } of findings) if (!damaged.has(object)) broken("I8", `repair says of ${object}: ${what}, and it is sound`);
  const isIn = (ranges: typeof lost, index: number): boolean => ranges.some(({ from, to }) => from <= index && index <= to);
  for (const index of borders(troupe, copy)) {
    const verdict = await judge(copy, troupe, damaged, index);
    if (kind === "sound" || kind === "repaired") {
      if (verdict === "named") broken("I8", `repair finds nothing, and the state at ${index} is refused`);
    } else if (verdict === "right" && isIn(lost, index) && hasNoSoundSnapshot(troupe, damaged, index)) {
      troupe.count("states read beside damage");
    } else if (isIn(recoverable, index) !== (verdict === "right") || isIn(lost, index) !== (verdict === "named"))
      broken("I8", `repair says ${JSON.stringify({ recoverable, lost })}, and the state at ${index} is ${verdict}`);
  }
  const before = await judge(copy, troupe, damaged);
  const repaired = await repairShard(copy.world, { table, shard: id.shard });
  const after = await judge(copy, troupe, damaged);
  if (before === "right" && after !== "right") broken("I8", "repair made the newest state worse");
  const again = await repairShard(copy.world, { table, shard: id.shard });
  for (const { object, what } of again.findings) if (!damaged.has(object)) broken("I8", `a second repair says of ${object}: ${what}, and it is sound`);
  if (kind === "planned" && (repaired.kind !== "repaired" || after !== "right")) broken("I8", `a repair that was planned came out ${repaired.kind}`);
  troupe.count(`repairs ${repaired.kind}`);
  return true;
}

/** Repair promises nothing of such a state; where changes since have taken the place of all that is damaged, it comes back all the same. */
function hasNoSoundSnapshot({ promises }: Troupe, damaged: ReadonlySet<string>, index: number): boolean {
  const before = [...promises.rows.values()].filter((row) => row.state === "kept" && row.index <= index);
  return before.length > 0 && before.every(({ key }) => damaged.has(key));
}

/** Some ends of batches that can have been kept. */
function borders({ promises, random }: Troupe, { log }: Copy): readonly number[] {
  const from = promises.control?.lowWater === 1 ? 0 : Math.min(...[...promises.rows.values()].map(({ index }) => index));
  const ends = log.states.map(({ index }) => index).filter((index) => index >= from);
  return Array.from({ length: Math.min(ends.length, BORDERS_MAX) }, () => oneOf(random, ends));
}

const BORDERS_MAX = 4;

/** An attachment that is damaged is refused by its name, or is not what is read. */
async function losesAttachment({ random, promises, id }: Troupe, { world, log }: Copy): Promise<boolean> {
  const named = [...log.stateAt({}).rows.values()].map(({ value }) => value);
  if (named.length === 0) return false;
  const value = oneOf(random, named);
  const key = `${incarnationPrefix(id, promises.control?.incarnation ?? "")}${(JSON.parse(value) as { object: string }).object}`;
  const sound = Buffer.from(world.objects.objects.get(key) ?? Buffer.alloc(0));
  await refersWrongly(world, random, key, (JSON.parse(value) as { content: Content }).content);
  const chance = random.fraction();
  if (chance < 0.2) await world.objects.deleteMany([key]);
  else if (chance < 0.4) world.objects.damage(key, () => zstdCompressSync(Buffer.alloc(sound.length)));
  else if (chance < 0.5) world.objects.damage(key, () => Buffer.concat([sound, sound]));
  else if (sound.length > 0) rot(world.objects, random, key);
  const error = await readNamed(world, random, { key, value }).then(
    () => undefined,
    (fault: unknown) => fault,
  );
  const now = world.objects.objects.get(key);
  if (error === undefined) {
    // Some bits of a frame's header mean nothing, and stretches may lie beside the damage: what was read is right.
    if (now?.length !== sound.length) broken("I8", `${key} is ${now === undefined ? "gone" : "of another length"}, and was read`);
  } else if (now?.equals(sound) === true || !isTidemarkError(error) || error.kind !== "repair" || error.object !== key)
    broken("I8", `the reading of ${key} came out ${messageOf(error)}`);
  return true;
}

/** What refers to an attachment says otherwise than the object: that is refused by its name. */
async function refersWrongly(world: Copy["world"], random: Random, key: string, content: Content): Promise<void> {
  const { bytes, frames } = content;
  const others = [{ frames: [...frames, 9] }, { bytes: bytes + 1 }, { sha256: "0".repeat(64) }, ...(frames.length > 0 ? [{ frames: frames.slice(1) }] : [])];
  const other = { ...content, ...oneOf<Partial<Content>>(random, others) };
  try {
    for await (const _ of readAttachment(world, key, other));
  } catch (error) {
    if (isTidemarkError(error) && error.kind === "repair" && error.object === key) return;
    throw error;
  }
  broken("I8", `${key} was read as something else`);
}

/** One item of the shard or its table's, altered in one way, swapped or lost: no wrong state is served, neither as it is nor behind any job. */
async function alters(troupe: Troupe, copy: Copy): Promise<boolean> {
  const { random, id } = troupe;
  const { world } = copy;
  const partitions = random.fraction() < 0.1 ? [tableItem(id.table).partition] : [shardPartition(id)];
  const items = world.checkpoints.items.filter(({ key }) => partitions.includes(key.partition) && !key.sort.startsWith("note#"));
  const item = oneOf(random, items);
  if (item === undefined) return false;
  const swapped = { what: "is another item's", attributes: oneOf(random, items).attributes };
  const { attributes, what } = random.fraction() < 0.1 ? swapped : oneOf(random, damagedItems(item.attributes));
  // No store takes an index key without a text.
  if ("dirty" in attributes && (typeof attributes.dirty !== "string" || attributes.dirty === "")) return false;
  const table = await getTable(world, id.table);
  const isLost = item.key.sort !== "control" && item.key.sort !== id.table && random.fraction() < 0.15;
  await world.checkpoints.write([isLost ? { item: item.key, when: [], delete: true } : { item: item.key, when: [], put: attributes }]);
  const altered = `${item.key.sort} ${isLost ? "is lost" : what}`;
  const isNeverWrong = (behind: string): Promise<unknown> =>
    judge(copy, troupe, undefined).catch((error: unknown) => broken("I8", `${altered}${behind}: ${messageOf(error)}`));
  await isNeverWrong("");
  const { codec } = troupe.settings;
  const jobs: readonly (readonly [string, () => Promise<unknown>])[] = [
    ["verification", () => verifyShard(world, { id, codec })],
    ["status", () => shardStatus(world, table, id.shard)],
    ["the planner", () => askForCaptures(world, async (shards) => shards)],
    ["its explanation", () => explainPlan(world, {})],
    ["a capture", () => snapshotShard(world, { id, sizes: troupe.settings.sizes[0] })],
    ["cleanup", () => cleanupShard(world, { id, policy: table })],
    ["repair", () => repairShard(world, { table, shard: id.shard })],
  ];
  const [name, job] = random.fraction() < 0.4 ? jobs[jobs.length - 1] : oneOf(random, jobs);
  await orRefused(job).catch((error: unknown) => broken("I8", `${altered}, ${name}: ${messageOf(error)}`));
  await isNeverWrong(`, behind ${name}`);
  return true;
}

/** What is not this table's, nor of this program's making, stays or goes as it should; beside the items of another store nothing goes. */
async function meetsStrangers(troupe: Troupe, { world, ...copy }: Copy): Promise<boolean> {
  const { id, random, promises } = troupe;
  const table = await getTable(world, id.table);
  const prefix = incarnationPrefix(id, promises.control?.incarnation ?? "");
  const gone = `gone/0/${"0".repeat(16)}/redo/${"1".padStart(16, "0")}.redo`;
  const past = `${shardName(id)}/${"0".repeat(16)}/redo/${"1".padStart(16, "0")}.redo`;
  const others = [`${prefix}notes.txt`, `${shardName(id)}/notes.txt`, `${prefix}redo/1.redo`, "README", `${id.table}/x/y`, "gone/x"];
  for (const key of [gone, past, ...others]) await world.objects.createIfAbsent(key, Buffer.from("x"));
  await world.objects.createUpload(gone);
  const isForeign = random.fraction() < 0.4;
  const how = random.fraction();
  if (isForeign && how < 0.5) rot(world.objects, random, STORE_KEY);
  else if (isForeign && how < 0.75) await world.objects.deleteMany([STORE_KEY]);
  else if (isForeign) await world.checkpoints.write([{ item: storeItem(), when: [], set: { id: "0".repeat(32) } }]);
  const planned = await cleanupShard(world, { id, policy: table, dryRun: true });
  const stays = world.objects.objects.has(past);
  const told = await orRefused(() => cleanupShard(world, { id, policy: table }));
  const strays = await orRefused(() => runCleanupTask(world, { kind: "strays" }, new AbortController().signal));
  const made = await orRefused(() => createTable(world, { name: "another" }));
  const left = (key: string): boolean => world.objects.objects.has(key);
  for (const key of others) if (!left(key)) broken("I6", `${key} is not of this program's making, and was deleted`);
  if (isForeign) {
    if (told !== undefined || strays !== undefined || !left(past) || !left(gone)) broken("I6", "objects were deleted beside the items of another store");
  } else {
    if (!stays || told === undefined || told.unparseable.length !== planned.unparseable.length || told.unparseable.length === 0)
      broken("I7", `cleanup tells of ${told?.unparseable} that it does not understand, and planned ${planned.unparseable}`);
    const keys = (objects: typeof planned.redoFiles): string => objects.map(({ key }) => key).join();
    if (told.kind === "cleaned" && keys(told.redoFiles) !== keys(planned.redoFiles)) broken("I7", "a cleanup lets go of other redo files than it planned");
    if (left(past) || left(gone) || world.objects.uploads.values().some(({ key }) => key === gone)) broken("I7", "what a past life left is not cleaned");
    if (made === undefined) broken("I7", "no other table can be made");
  }
  if ((await judge({ world, ...copy }, troupe, NOTHING_DAMAGED)) !== "right") broken("I6", "the newest state is kept no longer");
  await opensTwice(troupe, world);
  return true;
}

/** Two tables that are the first of a store, made at once, share it; and one name is given once. */
async function opensTwice({ random }: Troupe, { clock, telemetry }: Copy["world"]): Promise<void> {
  const world = { objects: memoryObjectStore(), checkpoints: memoryCheckpointStore(), clock, random, telemetry };
  const tables = await Promise.all(["one", "two"].map((name) => createTable(world, { name })));
  const again = await orRefused(() => createTable(world, { name: "one" }));
  if (tables.length !== 2 || again !== undefined) broken("I4", "a table was made twice");
  const wanted = [{ name: "one", keepSnapshots: 3 }, { name: "two" }, { name: "three", codec: "bytes" as const }];
  const ensured = await Promise.all([ensureTables(world, wanted), ensureTables(world, wanted)]);
  const kinds = ensured.flat().map(({ table, kind }) => `${table} ${kind}`);
  if (kinds.filter((kind) => kind === "three created").length !== 1) broken("I4", `tables that were wanted twice at once came out as ${kinds}`);
  if ((await orRefused(() => ensureTables(world, [{ name: "three", codec: "json" }]))) !== undefined) broken("I4", "the codec of a table was changed");
}
