// Jobs that gather generations, captures, sweeps and readers of one table, their calls played in any order, some killed between
// two calls or left without an answer. What is needed is told by a way of its own: from the redo files as they were created.

import { seededRandom } from "../../../lib/adapters/memory/random.ts";
import { attach } from "../../../lib/attachments/attach.ts";
import { openShard } from "../../../lib/checkpoint/control.ts";
import { parseControl, parseHistoryRow, parseNoteItem } from "../../../lib/checkpoint/items.ts";
import { sweep } from "../../../lib/cleanup/sweep.ts";
import { snapshotShard } from "../../../lib/jobs/snapshot.ts";
import { createTable } from "../../../lib/jobs/tables.ts";
import { assert } from "../../../lib/model/assert.ts";
import { isTidemarkError } from "../../../lib/model/errors.ts";
import { attachmentReference, incarnationPrefix } from "../../../lib/model/names.ts";
import { RECORD_DELETE } from "../../../lib/model/rows.ts";
import { POLICY_DEFAULTS } from "../../../lib/model/table.ts";
import type { World } from "../../../lib/ports/world.ts";
import { lastSequence } from "../../../lib/recovery/sessions.ts";
import { decodeRedoFile } from "../../../lib/redo-log/codec.ts";
import { readNotes } from "../../../lib/sources/influxdb/gathering.ts";
import { commitGeneration, generationRecord } from "../../../lib/sources/influxdb/generation.ts";
import { openBackup, readNewest } from "../../../lib/sources/influxdb/open-backup.ts";
import { attachmentsOf, type Backup, PRODUCER, type ShardRecord } from "../../../lib/sources/influxdb/records.ts";
import { type Effect, type Process, stage as openStage, type Stage } from "../../simulation/stage.ts";
import { id } from "../jobs/world.ts";
import { aShard, lifeOf, sha } from "../sources/influxdb/samples.ts";

const STEPS = 1_500;
const FILE = "000000001-000000001.tsm";
const SHARDS = [1, 2, 3];

interface Met {
  deleted: number;
  commits: number;
  reads: number;
  kills: number;
  lost: number;
}

/** @throws {Error} where an attachment went that is needed, or stayed that is not */
export async function playSeed(seed: number): Promise<Met> {
  const random = seededRandom(seed);
  const below = (count: number) => Math.floor(random.fraction() * count);
  const met: Met = { deleted: 0, commits: 0, reads: 0, kills: 0, lost: 0 };
  const stage = openStage({ random, onEffect: async (effect) => observe(effect) });
  const log = logOf(stage);
  let failure: Error | undefined;

  function observe({ step: { method, args }, outcome }: Effect): void {
    if (method === "createIfAbsent" && (outcome as { readonly kind: string }).kind === "created") log.created(String(args[0]), args[1] as Buffer);
    if (method !== "deleteMany") return;
    const needed = log.needed();
    for (const key of args[0] as readonly string[]) {
      if (key.includes("/attached/")) met.deleted++;
      assert(!needed.applied.has(key), `${key} was deleted, and is needed`);
    }
  }

  async function gather(world: World, job: string): Promise<void> {
    const prefix = incarnationPrefix(id, (await openShard(world, id, world.clock.now())).incarnation);
    // In this order, as the jobs do.
    const generation = Number((await lastSequence(world, id, PRODUCER, world.clock.now())) ?? 0n) + 1;
    const { backup: head, oldestIndex } = await readNewest(world, id.table);
    const notes = await readNotes(world, id, { generation, job, prefix });
    const shards = new Map<number, ShardRecord>();
    for (const shard of SHARDS) {
      const known = notes.filesOf(shard).at(-1);
      const before = head.shards.get(shard);
      if (before !== undefined && random.fraction() < 0.4) shards.set(shard, before);
      if (shards.has(shard) || random.fraction() < 0.2) continue;
      if (random.fraction() < 0.15) await world.objects.createUpload(`${prefix}${attachmentReference(generation, `${shard}/large`)}`);
      const content = `${job} ${generation} ${shard}`;
      const object = attachmentReference(generation, `${shard}/${FILE}-${random.id(16)}`);
      const file = known ?? { name: FILE, ...(await attach(world, `${prefix}${object}`, [Buffer.from(content)])), modifiedS: 1, object };
      if (known === undefined) await notes.addFile(shard, file);
      shards.set(shard, aShard({ shard, generation, files: [file] }));
    }
    const next: Backup = { ...head, shards };
    const times = { startedAtMs: world.clock.now(), finishedAtMs: world.clock.now() };
    const record = generationRecord(head, next, { generation, isFull: false, job, server: "x", selection: {}, changedShards: 1, failed: [], ...times });
    if (await commitGeneration(world, await lifeOf(world), { head, next, record, oldestIndex })) met.commits++;
  }

  async function read(world: World): Promise<void> {
    const { backup } = await readNewest(world, id.table);
    const kept = [...backup.generations.keys()];
    if (kept.length === 0) return;
    const opened = await openBackup(world, id.table, { generation: kept[below(kept.length)] });
    try {
      for (const { files } of opened.shards.values()) {
        for (const file of files) {
          const pieces: Buffer[] = [];
          for await (const piece of opened.read(file)) pieces.push(Buffer.from(piece));
          assert(sha(Buffer.concat(pieces)) === file.sha256, `${file.object} is what it was`);
          met.reads++;
        }
      }
    } finally {
      await opened.close();
    }
  }

  const policy = { ...POLICY_DEFAULTS, keepSnapshots: 2 };
  const roles: readonly (readonly [string, (world: World) => Promise<unknown>])[] = [
    ["gatherer a", (world) => gather(world, "a")],
    ["gatherer b", (world) => gather(world, "b")],
    ["capture", (world) => snapshotShard(world, { id })],
    ["cleaner a", (world) => sweep(world, { id, policy })],
    ["cleaner b", (world) => sweep(world, { id, policy })],
    ["reader", read],
  ];

  async function play(process: Process, work: (world: World) => Promise<unknown>): Promise<void> {
    for (;;) {
      await stage.turn(process, process.name);
      try {
        await work(process.world);
      } catch (error) {
        // What is refused is tried again; what is damaged or broken is a failure of the promise.
        if (!isTidemarkError(error) || error.kind === "repair" || error.kind === "bug") failure ??= error instanceof Error ? error : new Error(String(error));
      }
    }
  }

  const builder = stage.process("builder");
  await stage.finish(builder, createTable(builder.world, { name: id.table, source: "influxdb", ...policy }));
  stage.kill(builder);
  const company = new Map<Process, (world: World) => Promise<unknown>>();
  const enter = (name: string, work: (world: World) => Promise<unknown>): void => {
    const process = stage.process(name);
    company.set(process, work);
    void play(process, work);
  };
  for (const [name, work] of roles) enter(name, work);
  await stage.settle();
  let last: Process | undefined;
  for (let step = 0; step < STEPS && failure === undefined; step++) {
    stage.nowMs += below(200);
    const waiting = stage.processes.filter(({ pending }) => pending.length > 0);
    // In bursts of one process, so that jobs come to an end, and others fall in between.
    const process = last?.live && last.pending.length > 0 && random.fraction() < 0.9 ? last : waiting[below(waiting.length)];
    last = process;
    const chosen = process.pending[below(process.pending.length)];
    const luck = random.fraction();
    if (luck < 0.005) {
      met.kills++;
      stage.kill(process);
      const work = company.get(process);
      if (work !== undefined) enter(process.name, work);
      await stage.settle();
    } else if (luck < 0.01 && chosen.method !== "turn") {
      met.lost++;
      await stage.play(chosen, random.fraction() < 0.5 ? "lost" : "failed");
    } else {
      await stage.play(chosen);
    }
  }
  if (failure !== undefined) throw failure;
  for (const process of [...stage.processes]) stage.kill(process);
  const rest = stage.process("rest");
  for (let turn = 0; turn < 2; turn++) await stage.finish(rest, sweep(rest.world, { id, policy }));
  log.checkRest();
  return met;
}

interface Applied {
  readonly index: number;
  readonly key: string;
  readonly references: readonly string[];
  /** False where a batch of its sequence had applied before: it changes nothing. */
  readonly isApplied: boolean;
}

/** The log as it was written, and what it says of attachments. */
function logOf(stage: Stage) {
  const records: Applied[] = [];
  let next = 1;
  let sequence = 0;

  function itemsOf(prefix: string) {
    return stage.checkpoints.items.filter(({ key }) => key.partition === `shard#${id.table}/${id.shard}` && key.sort.startsWith(prefix));
  }

  return {
    created(key: string, body: Buffer): void {
      if (!key.includes("/redo/") || Number(/([0-9]{16})\.redo$/.exec(key)?.[1]) !== next) return;
      const { header, records: rows } = decodeRedoFile(Buffer.from(body), key);
      const batches = header.batches.flatMap(({ count, mark }) => {
        const isApplied = mark === undefined || Number(mark.sequence) > sequence;
        if (mark !== undefined && isApplied) sequence = Number(mark.sequence);
        return Array.from({ length: count }, () => isApplied);
      });
      for (let row = 0; row < rows.count; row++) {
        const text = (starts: ArrayLike<number>, lengths: ArrayLike<number>) => rows.bytes.subarray(starts[row], starts[row] + lengths[row]);
        const references = rows.kinds[row] === RECORD_DELETE ? [] : attachmentsOf(text(rows.valueStarts, rows.valueLengths)).map(({ object }) => object);
        records.push({ index: next, key: text(rows.keyStarts, rows.keyLengths).toString(), references, isApplied: batches[row] });
        next++;
      }
    },

    /** Keys of what the states name that can be brought back. */
    needed(): { readonly applied: ReadonlySet<string>; readonly sequence: number } {
      const [item] = itemsOf("control");
      const control = item && parseControl(item);
      const kept = itemsOf("snapshot#")
        .map(parseHistoryRow)
        .filter(({ state, border }) => state === "kept" && border.next >= (control?.lowWater ?? 1));
      const oldest = (control?.lowWater ?? 1) <= 1 ? 0 : Math.min(...kept.map(({ index }) => index));
      const prefix = control === undefined ? "" : incarnationPrefix(id, control.incarnation);
      const state = new Map<string, readonly string[]>();
      for (const { index, key, references, isApplied } of records) if (index <= oldest && isApplied) state.set(key, references);
      const behind = records.filter(({ index }) => index > oldest);
      const keys = (references: readonly (readonly string[])[]) => references.flat().map((reference) => `${prefix}${reference}`);
      const applied = keys([...state.values(), ...behind.filter(({ isApplied }) => isApplied).map(({ references }) => references)]);
      return { applied: new Set(applied), sequence };
    },

    checkRest(): void {
      const needed = this.needed();
      const sequenceOf = (key: string) => Number(/\/attached\/([0-9]{16})\//.exec(key)?.[1]);
      const attached = [...stage.objects.objects.keys()].filter((key) => key.includes("/attached/"));
      for (const key of needed.applied) assert(stage.objects.objects.has(key), `${key} is there`);
      for (const key of attached) assert(needed.applied.has(key) || sequenceOf(key) > needed.sequence, `${key} is named by something, or is still gathered`);
      for (const { key } of stage.objects.uploads.values()) {
        if (key.includes("/attached/")) assert(sequenceOf(key) > needed.sequence, `the upload of ${key} is of a batch that is still gathered`);
      }
      for (const { key } of itemsOf("note#"))
        assert(attached.length === 0 || parseNoteItem(key).sequence > needed.sequence, `${key.sort} is of a batch that is still gathered`);
    },
  };
}
