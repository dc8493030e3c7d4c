// What is tried on a copy of the stores in the middle of a schedule, each with a judgement of its own: objects are lost,
// damaged or swapped, and repaired; an item is altered to something else; an encoding is edited behind right checksums; more
// producers write than a shard remembers; values are large, and of every shape.

import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { memoryCheckpointStore } from "../../lib/adapters/memory/checkpoint-store.ts";
import { memoryObjectStore } from "../../lib/adapters/memory/object-store.ts";
import { openWriter } from "../../lib/jobs/append.ts";
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
import { SESSIONS_MAX } from "../../lib/model/limits.ts";
import type { Batch } from "../../lib/model/mutation.ts";
import { shardPartition, storeItem } from "../../lib/checkpoint/items.ts";
import { incarnationPrefix, shardName, STORE_KEY } from "../../lib/model/names.ts";
import { keyOfRow } from "../../lib/model/rows.ts";
import { toIndex } from "../../lib/model/position.ts";
import type { Random } from "../../lib/ports/random.ts";
import { verifyShard } from "../../lib/recovery/verify.ts";
import { decodeRedoFile } from "../../lib/redo-log/codec.ts";
import { openSnapshot } from "../../lib/snapshot/read.ts";
import { damagedItems } from "../damage/item-cases.ts";
import { edited, type Edit, EDITS, EXTREMES } from "../fuzz/edited.ts";
import { FOOT_END_BYTES, FOOT_START_BYTES, headerFor, redoPieces, sealedRedo, sealFoot } from "../fuzz/seals.ts";
import { type Troupe, whole } from "./actors.ts";
import { type Copy, copyOf, judge } from "./copies.ts";
import { rot } from "./damage.ts";
import { readNamed } from "./gatherers.ts";
import { broken } from "./promises.ts";
import { drawValue } from "./values.ts";

/** Says what was tried; nothing where the shard suffers already, or has nothing yet. */
export async function operate(troupe: Troupe): Promise<string | undefined> {
  const { promises, random, count } = troupe;
  const { damage } = promises;
  if (promises.control === undefined || damage.inLog || damage.snapshot !== undefined || damage.mayBeCarried) return undefined;
  const chance = random.fraction();
  const [what, operation] = (
    [
      [troupe.settings.gatherers > 0 ? 0.3 : 0, "attachments damaged", losesAttachment],
      [0.3, "repairs", loses],
      [0.55, "alterations", alters],
      [0.75, "forgeries", forges],
      [0.85, "strangers", meetsStrangers],
      [0.994, "large values", grows],
      [1, "crowds", crowds],
    ] as const
  )
    .find(([below]) => chance < below)!
    .slice(1) as [string, (troupe: Troupe, copy: Copy) => Promise<boolean>];
  const tries = what === "crowds" ? 1 : TRIES;
  for (let each = 0; each < tries; each++) if (await operation(troupe, await copyOf(troupe))) count(what);
  return `on copies: ${what}`;
}

/** Of one operation, each on a copy of its own: the copies are cheap beside the schedule that led there. */
const TRIES = 3;

/** The objects that kept states rest on: generations, and the log from the mark on. */
function restsOn({ promises }: Troupe): { readonly redo: readonly string[]; readonly snapshots: readonly string[] } {
  const kept = [...promises.rows.values()].filter(({ state }) => state === "kept").sort((a, b) => a.index - b.index);
  return { redo: promises.redoKeys(), snapshots: kept.map(({ key }) => key) };
}

/** What repair says can be brought back, recovery brings back, and what it says is lost, recovery refuses; then it mends. */
async function loses(troupe: Troupe, copy: Copy): Promise<boolean> {
  const { random, id } = troupe;
  const { redo, snapshots } = restsOn(troupe);
  const there = [...redo, ...snapshots].filter((key) => copy.world.objects.objects.has(key));
  if (there.length === 0) return false;
  const damaged = new Set(Array.from({ length: whole(random, 1, 3) }, () => oneOf(random, random.fraction() < 0.4 ? there.slice(-2) : there)));
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
    } else if (isIn(recoverable, index) !== (verdict === "right") || isIn(lost, index) !== (verdict === "named"))
      broken("I8", `repair says ${JSON.stringify({ recoverable, lost })}, and the state at ${index} is ${verdict}`);
  }
  const before = await judge(copy, troupe, damaged);
  const repaired = await repairShard(copy.world, { table, shard: id.shard });
  const after = await judge(copy, troupe, damaged);
  if (before === "right" && after !== "right") broken("I8", "repair made the newest state worse");
  if (kind === "planned" && (repaired.kind !== "repaired" || after !== "right")) broken("I8", `a repair that was planned came out ${repaired.kind}`);
  troupe.count(`repairs ${repaired.kind}`);
  return true;
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
  const chance = random.fraction();
  if (chance < 0.2) await world.objects.deleteMany([key]);
  else if (chance < 0.4) world.objects.damage(key, () => zstdCompressSync(Buffer.alloc(sound.length)));
  else if (chance < 0.5) world.objects.damage(key, () => Buffer.concat([sound, sound]));
  else if (sound.length > 0) rot(world.objects, random, key);
  const error = await readNamed(world, random, { key, value }).then(
    () => undefined,
    (fault: unknown) => fault,
  );
  const isSame = world.objects.objects.get(key)?.equals(sound) === true;
  if (isSame ? error !== undefined : !isTidemarkError(error) || error.kind !== "repair" || error.object !== key)
    broken("I8", `${key} is ${isSame ? "sound" : "damaged"}, and its reading came out ${error === undefined ? "right" : messageOf(error)}`);
  return true;
}

/** One item of the shard, altered in one way or lost: no wrong state is served, neither as it is nor behind any job. */
async function alters(troupe: Troupe, copy: Copy): Promise<boolean> {
  const { random, id } = troupe;
  const { world } = copy;
  const item = oneOf(
    random,
    world.checkpoints.items.filter(({ key }) => key.partition === shardPartition(id) && !key.sort.startsWith("note#")),
  );
  if (item === undefined) return false;
  const { attributes, what } = oneOf(random, damagedItems(item.attributes));
  // No store takes an index key without a text.
  if ("dirty" in attributes && (typeof attributes.dirty !== "string" || attributes.dirty === "")) return false;
  const table = await getTable(world, id.table);
  const isLost = item.key.sort !== "control" && random.fraction() < 0.1;
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
  const [name, job] = oneOf(random, jobs);
  await orRefused(job).catch((error: unknown) => broken("I8", `${altered}, ${name}: ${messageOf(error)}`));
  await isNeverWrong(`, behind ${name}`);
  return true;
}

/** Nothing where it was refused for a reason that a caller can do something about. */
async function orRefused<Answer>(work: () => Promise<Answer>): Promise<Answer | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!isTidemarkError(error) || error.kind === "bug") throw error;
    return undefined;
  }
}

const FORGERIES = 100;

/** An object is edited and its checksums are made right: it is refused, or in order, and the chain of digests finds it. */
async function forges(troupe: Troupe, copy: Copy): Promise<boolean> {
  const { random, id, settings } = troupe;
  const { redo, snapshots } = restsOn(troupe);
  // Of the last redo file nothing tells the digest but a hint.
  const key = oneOf(random, random.fraction() < 0.5 ? redo.slice(0, -1) : snapshots);
  const sound = key === undefined ? undefined : copy.world.objects.objects.get(key);
  if (key === undefined || sound === undefined) return false;
  const isRedo = redo.includes(key);
  let last = sound;
  for (let each = 0; each < FORGERIES; each++) {
    const wrong: Buffer = isRedo ? forgedRedo(random, sound, key) : forgedSnapshot(random, sound);
    if (wrong.equals(sound)) continue;
    last = wrong;
    if (isRedo) await orRefused(async () => checkForgedRedo(wrong, key, sound));
    else await orRefused(() => checkForgedSnapshot(wrong, key));
  }
  if (last === sound) return false;
  copy.world.objects.damage(key, () => last);
  const report = await orRefused(() => verifyShard(copy.world, { id, codec: settings.codec }));
  if (report?.findings.length === 0) broken("I8", `${key} is another object behind right checksums, and verification finds nothing`);
  return true;
}

function forgedRedo(random: Random, sound: Buffer, key: string): Buffer {
  const { preamble, header, body } = redoPieces(sound);
  if (random.fraction() < 0.6) return sealedRedo(preamble, edited(header, drawEdits(random)), body);
  if (random.fraction() < 0.1) {
    const other = edited(preamble, drawEdits(random)).subarray(0, preamble.length);
    return other.length === preamble.length ? sealedRedo(other, header, body) : sound;
  }
  const { count } = decodeRedoFile(sound, key).header;
  const raw = zstdDecompressSync(body);
  // Kinds, then the lengths of keys and of values: where what is wrong is wrong most subtly.
  const lengths = Math.min(raw.length, count * 3);
  const front = random.fraction() < 0.5 ? edited(raw.subarray(0, lengths), drawEdits(random)) : edited(raw, drawEdits(random));
  const columns = random.fraction() < 0.5 ? Buffer.concat([front, raw.subarray(lengths)]) : Buffer.concat([front, raw]).subarray(0, raw.length);
  const frame = random.fraction() < 0.1 ? edited(body, drawEdits(random)) : zstdCompressSync(columns);
  const claimed = random.fraction() < 0.1 ? { rawBytes: oneOf(random, [0, 1, 2 ** 32 - 1]), count } : { rawBytes: columns.length, count };
  return sealedRedo(preamble, headerFor(header, frame, claimed), frame);
}

/** What is read of it is another file, by its digest. */
function checkForgedRedo(wrong: Buffer, key: string, sound: Buffer): void {
  const file = decodeRedoFile(wrong, key);
  if (file.header.digest === decodeRedoFile(sound, key).header.digest) broken("I8", `${key} was edited, and has the digest that it had`);
  if (file.records.count !== file.header.count) broken("I8", `${key} has ${file.records.count} mutations, and says ${file.header.count}`);
}

function forgedSnapshot(random: Random, sound: Buffer): Buffer {
  const footBytes = sound.readUInt32LE(sound.length - FOOT_END_BYTES) + FOOT_START_BYTES + FOOT_END_BYTES;
  const front = sound.subarray(0, sound.length - footBytes);
  const foot = sound.subarray(sound.length - footBytes);
  const footer = edited(foot.subarray(FOOT_START_BYTES, footBytes - FOOT_END_BYTES), drawEdits(random));
  const start = Buffer.from(foot.subarray(0, FOOT_START_BYTES));
  if (random.fraction() < 0.2) edited(start, drawEdits(random)).copy(start);
  const wrong = sealFoot(Buffer.concat([front, start, footer, Buffer.alloc(FOOT_END_BYTES)]), FOOT_START_BYTES + footer.length + FOOT_END_BYTES);
  if (random.fraction() < 0.1) return edited(wrong.subarray(0, wrong.length - 16), drawEdits(random));
  return wrong;
}

/** What is read of it is in order, and as much as it says. */
async function checkForgedSnapshot(wrong: Buffer, key: string): Promise<void> {
  const store = memoryObjectStore();
  await store.createIfAbsent(key, wrong);
  const opened = await openSnapshot({ store }, { key });
  if (opened.kind === "absent") return broken("I8", `${key} is there, and is said to be absent`);
  let count = 0;
  let last: Buffer | undefined;
  for await (const rows of opened.snapshot.rows()) {
    for (let row = 0; row < rows.count; row++, count++) {
      const next = Buffer.from(keyOfRow(rows, row));
      if (last !== undefined && Buffer.compare(last, next) >= 0) broken("I8", `the keys of ${key} do not ascend`);
      last = next;
    }
  }
  if (count !== opened.snapshot.rowCount) broken("I8", `${key} has ${count} records, and says ${opened.snapshot.rowCount}`);
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
  if (isForeign && random.fraction() < 0.5) rot(world.objects, random, STORE_KEY);
  else if (isForeign && random.fraction() < 0.5) await world.objects.deleteMany([STORE_KEY]);
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
  if ((await judge({ world, ...copy }, troupe, NOTHING)) !== "right") broken("I6", "the newest state is kept no longer");
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

/** Large and many-shaped values, appended and captured on the copy by other sizes: each state is what the log says. */
async function grows(troupe: Troupe, copy: Copy): Promise<boolean> {
  const { id, settings, random } = troupe;
  const { world } = copy;
  const table = await getTable(world, id.table);
  const writer = openWriter(world, { id, codec: settings.codec });
  const keys = whole(random, 1, 300);
  const [isHuge, isMany] = [random.fraction() < 0.06, random.fraction() < 0.06];
  for (let round = whole(random, 1, 3); round > 0; round--) {
    const batches = Array.from(
      { length: whole(random, 1, 4) },
      (): Pick<Batch, "mutations"> => ({
        mutations: Array.from({ length: isMany ? 1_500 : whole(random, 1, 120) }, (_, place) => {
          const key = Buffer.from(`large/${"k".repeat(whole(random, 0, 1) * whole(random, 0, 60))}${whole(random, 0, isMany ? 10_000 : keys)}`);
          const chance = random.fraction();
          if (chance < 0.1) return { kind: "delete", key };
          if (isHuge && place < 2) return { kind: "put", key, value: Buffer.alloc(whole(random, 400_000, 1_500_000), "1") };
          const value = drawValue(random, settings.codec, round);
          return { kind: chance < 0.3 && settings.codec === "json" ? "patch" : "put", key, value };
        }),
      }),
    );
    const outcomes = await Promise.all(batches.map((batch) => writer.append(batch)));
    for (const { kind } of outcomes) if (kind !== "appended") broken("I1", `a batch was answered ${kind}, though the shard lives on`);
    const sizes = random.fraction() < 0.5 ? undefined : oneOf(random, settings.sizes);
    const { foldBytesMax, logBytesMax, sections } = settings;
    const { outcome } = await snapshotShard(world, { id, foldBytesMax, logBytesMax, sections, ...(sizes && { sizes }) });
    if (outcome.kind !== "completed" && outcome.kind !== "ignored" && outcome.kind !== "aborted") broken("I9", `a capture on a copy came out ${outcome.kind}`);
    if (random.fraction() < 0.5) await cleanupShard(world, { id, policy: table });
    if ((await judge(copy, troupe, NOTHING)) !== "right") broken("I1", "the newest state is kept no longer");
  }
  await writer.close();
  const { findings } = await verifyShard(world, { id, codec: settings.codec });
  if (findings.length > 0) broken("I8", `verification finds ${findings[0].object} damaged: ${findings[0].what}`);
  return true;
}

const NOTHING: ReadonlySet<string> = new Set();

/** More producers than a shard remembers: the one that was forgotten is told so, whoever asks, and nothing of it applies again. */
async function crowds({ id, settings }: Troupe, { unwatched: world }: Copy): Promise<boolean> {
  const writer = openWriter(world, { id, codec: settings.codec });
  const batchOf = (producer: string, sequence: bigint, since?: number): Parameters<typeof writer.append>[0] => ({
    mutations: [{ kind: "put", key: Buffer.from(`crowd/${producer.slice(0, 2)}`), value: Buffer.from(`"${producer}"`) }],
    mark: { producer, sequence, ...(since !== undefined && { since: toIndex(since) }) },
  });
  const first = await writer.append(batchOf("early", 1n));
  if (first.kind !== "appended") broken("I1", `a batch was answered ${first.kind}, though the shard lives on`);
  await Promise.all(Array.from({ length: SESSIONS_MAX }, (_, place) => writer.append(batchOf(`${place}`, 1n))));
  await snapshotShard(world, { id });
  // From before its forgetting, through one that was there and one that was not.
  for (const through of [writer, openWriter(world, { id, codec: settings.codec })]) {
    const again = await through.append(batchOf("early", 1n, first.first));
    if (again.kind !== "forgotten") broken("I3", `a batch of a forgotten producer was answered ${again.kind}`);
  }
  const later = await writer.append(batchOf("early", 2n));
  if (later.kind !== "appended") broken("I3", `a new batch of a forgotten producer was answered ${later.kind}`);
  const { findings } = await verifyShard(world, { id, codec: settings.codec });
  if (findings.length > 0) broken("I8", `verification finds ${findings[0].object} damaged: ${findings[0].what}`);
  return true;
}

function drawEdits(random: Random): readonly Edit[] {
  return Array.from({ length: random.fraction() < 0.7 ? 1 : 2 }, (): Edit => {
    const isOne = random.fraction() < 0.6;
    return {
      kind: oneOf(random, EDITS),
      at: random.fraction(),
      length: isOne ? 0 : random.fraction() ** 4,
      to: random.fraction(),
      byte: random.fraction() < 0.5 ? oneOf(random, [0, 1, 0x7f, 0x80, 0xff]) : whole(random, 0, 255),
      number: oneOf(random, EXTREMES),
    };
  });
}

function oneOf<T>(random: Random, choices: readonly T[]): T {
  return choices[Math.floor(random.fraction() * choices.length)];
}
