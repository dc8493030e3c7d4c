// Checks what the processes left behind against what they wrote in their ledgers and what the log means by the model.

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { readControl, readHistory } from "../../lib/checkpoint/control.ts";
import { recover } from "../../lib/recovery/recover.ts";
import { verifyShard } from "../../lib/recovery/verify.ts";
import { incarnationPrefix } from "../../lib/model/names.ts";
import { toIndex } from "../../lib/model/position.ts";
import type { World } from "../../lib/ports/world.ts";
import { mutationsOf, producerOf, WRITERS } from "./batches.ts";
import { applying, borderAt, lastOf, type ModelBatch, modelState, recoveredState } from "./keyed-model.ts";
import { readLedger, type SentBatch, sentBatches } from "./ledger.ts";
import { type ReadRedoFile, readRedoFile } from "./redo-reader.ts";
import { freedOf, ledgerOf, SHARD, storeOf } from "./world.ts";

const INDEXES_RECOVERED = 25;

export interface Log {
  readonly files: readonly ReadRedoFile[];
  readonly batches: readonly ModelBatch[];
  readonly tail: number;
}

/** What a reader saw while the others were at work, and from when to when (ns of the machine's monotonic clock). */
export interface Reading {
  readonly index: number;
  readonly state: string;
  readonly askedAt: bigint;
  readonly answeredAt: bigint;
}

export async function readNow(world: World): Promise<Reading> {
  const askedAt = process.hrtime.bigint();
  const view = await recover(world, { id: SHARD, codec: "json" });
  const answeredAt = process.hrtime.bigint();
  return { index: view.index, state: await recoveredState(view), askedAt, answeredAt };
}

/** The whole log, freed files and kept ones: one chain without a gap. */
export async function readLog(root: string, world: World): Promise<Log> {
  const freed = (await readdir(freedOf(root))).filter((name) => name.endsWith(".redo"));
  const contents = new Map<string, Buffer>();
  for (const name of freed) contents.set(name, await readFile(join(freedOf(root), name)));
  for (const key of await redoKeys(world)) {
    const got = await world.objects.get(key);
    if (got.kind === "found") contents.set(key.slice(key.lastIndexOf("/") + 1), got.body);
  }
  const files = [...contents].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, bytes]) => readRedoFile(bytes));
  for (const [place, file] of files.entries()) {
    const before = files[place - 1];
    expect([file.first, file.previousDigest]).toEqual(before === undefined ? [1, "0".repeat(64)] : [before.next, before.digest]);
  }
  const batches = files.flatMap((file) => file.batches);
  return { files, batches, tail: (files.at(-1)?.next ?? 1) - 1 };
}

/**
 * What the processes were told is linearizable: there is one order, that of the log, in which all that was sent and read takes
 * effect at once, each between its beginning and its answer. Every acknowledged batch is in the log where its writer was told,
 * applies exactly once, and lies behind all that was acknowledged before it was sent (I1, I2, I3); every reading holds all that
 * was acknowledged before it was asked for, nothing that was sent after it was answered, and no less than a reading before it.
 */
export function checkHistory(root: string, log: Log, readings: readonly Reading[]): { readonly acknowledged: number; readonly repeated: number } {
  const { batches } = log;
  const byFirst = new Map(batches.map((batch) => [batch.first, batch]));
  const acknowledged: Acknowledged[] = [];
  const sentAt = new Map<string, bigint>();
  const sent = new Map<string, number>();
  for (const writer of WRITERS) {
    for (const batch of sentBatches(readLedger(ledgerOf(root, writer)))) {
      const mutations = mutationsOf(writer, batch.sequence);
      sentAt.set(JSON.stringify(mutations), batch.sentAt);
      sent.set(JSON.stringify(mutations), batch.acknowledged === undefined ? 0 : 1);
      if (batch.acknowledged === undefined) continue;
      acknowledged.push({ ...batch, acknowledged: batch.acknowledged });
      const inLog = byFirst.get(batch.acknowledged.first);
      expect(inLog?.mutations, `batch ${batch.sequence} of ${writer}`).toEqual(mutations);
      expect(inLog?.mark?.producer).toBe(producerOf(writer));
      expect(batch.acknowledged.last).toBe(batch.acknowledged.first + mutations.length - 1);
    }
  }
  expectOnce(batches, sent);
  expectOrdered(acknowledged);
  const sendings = batches.map(({ first, mutations }) => ({ first, sentAt: sentAt.get(JSON.stringify(mutations)) ?? 0n }));
  expectReadInOrder(readings, acknowledged, sendings);
  return { acknowledged: acknowledged.length, repeated: batches.length - new Set(batches.map(({ mutations }) => JSON.stringify(mutations))).size };
}

/** `sent`: each batch that was sent, by its content, and how often it must be there at least. */
function expectOnce(log: readonly ModelBatch[], sent: ReadonlyMap<string, number>): void {
  const applied = new Map<string, number>();
  for (const { mark, mutations } of applying(log)) {
    const content = JSON.stringify(mutations);
    expect(sent.has(content), "the log holds only what was sent").toBe(true);
    applied.set(content, (applied.get(content) ?? 0) + 1);
    if (mark !== undefined) expect(applied.get(content), `batch ${mark.sequence} of ${mark.producer}`).toBe(1);
  }
  for (const [content, atLeast] of sent) expect(applied.get(content) ?? 0).toBeGreaterThanOrEqual(atLeast);
}

type Acknowledged = SentBatch & { readonly acknowledged: NonNullable<SentBatch["acknowledged"]> };

function expectReadInOrder(
  readings: readonly Reading[],
  acknowledged: readonly Acknowledged[],
  sendings: readonly { readonly first: number; readonly sentAt: bigint }[],
): void {
  for (const { index, askedAt, answeredAt } of readings) {
    const must = Math.max(0, ...acknowledged.flatMap(({ acknowledged: { last, at } }) => (at < askedAt ? [last] : [])));
    expect(index, "a reading holds what was acknowledged before it").toBeGreaterThanOrEqual(must);
    const early = sendings.filter(({ first, sentAt }) => first <= index && sentAt > answeredAt);
    expect(early, "a reading holds nothing that was sent behind it").toEqual([]);
    const before = readings.filter((other) => other.answeredAt < askedAt);
    expect(index, "readings go forward").toBeGreaterThanOrEqual(Math.max(0, ...before.map((other) => other.index)));
  }
}

/** Indexes are given once; what was acknowledged before another batch was sent lies before it. */
function expectOrdered(batches: readonly Acknowledged[]): void {
  const byIndex = batches.map(({ acknowledged }) => acknowledged).sort((a, b) => a.first - b.first);
  for (const [place, { first }] of byIndex.entries()) expect(first).toBeGreaterThan(byIndex[place - 1]?.last ?? 0);
  const answers = batches.map(({ acknowledged }) => acknowledged).sort((a, b) => Number(a.at - b.at));
  let reached = 0;
  let answer = 0;
  for (const { sentAt, acknowledged } of [...batches].sort((a, b) => Number(a.sentAt - b.sentAt))) {
    for (; answer < answers.length && answers[answer].at < sentAt; answer++) reached = Math.max(reached, answers[answer].last);
    expect(acknowledged.first).toBeGreaterThan(reached);
  }
}

/** Whatever index is asked for of those that are kept, and whatever was read meanwhile, is what the model makes of the log (I5). */
export async function checkStates(world: World, { batches, tail }: Log, readings: readonly Reading[]): Promise<void> {
  for (const { index, state } of readings) expect(state, `read meanwhile at ${index}`).toBe(modelState(batches, index));
  const newest = await readNow(world);
  expect(newest.index).toBe(tail);
  expect(newest.state).toBe(modelState(batches, tail));
  const oldest = (await readHistory(world.checkpoints, SHARD))[0]?.index ?? 1;
  for (let step = 0; step <= INDEXES_RECOVERED; step++) {
    const asked = oldest + Math.floor(((tail - oldest) * step) / INDEXES_RECOVERED);
    const view = await recover(world, { id: SHARD, codec: "json", at: { index: toIndex(asked) } });
    expect(view.index, `asked for ${asked}`).toBe(borderAt(batches, asked));
    expect(await recoveredState(view), `asked for ${asked}`).toBe(modelState(batches, asked));
  }
  const middle = batches.findLast((batch) => lastOf(batch) <= (oldest + tail) / 2 && lastOf(batch) >= oldest);
  if (middle !== undefined) await checkTime(world, batches, middle.timeMs);
}

async function checkTime(world: World, batches: readonly ModelBatch[], timeMs: number): Promise<void> {
  const view = await recover(world, { id: SHARD, codec: "json", at: { timeMs } });
  const last = batches.findLast((batch) => batch.timeMs <= timeMs);
  expect(view.index).toBe(last && lastOf(last));
  expect(await recoveredState(view)).toBe(modelState(batches, view.index));
}

export async function checkVerified(world: World): Promise<void> {
  const { findings } = await verifyShard(world, { id: SHARD, codec: "json" });
  expect(findings).toEqual([]);
}

/** At rest there is what control item, rows and mark justify, and nothing besides (I7). */
export async function checkAtRest(root: string, world: World, log: Log): Promise<void> {
  const justified = (await justifiedAtRest(world, log)).map((key) => `objects/${key}`);
  const held = (await readdir(storeOf(root), { recursive: true, withFileTypes: true })).filter((entry) => !entry.isDirectory());
  const names = held.map(({ parentPath, name }) => join(parentPath, name).slice(storeOf(root).length + 1));
  expect(names.filter((name) => !/^(tidemark-store\.json|checkpoints\.sqlite(-wal|-shm)?|objects\/_store\.json)$/.test(name)).sort()).toEqual(justified.sort());
  for (const part of ["uploads", "tmp"]) expect(await readdir(join(storeOf(root), part)), part).toEqual([]);
}

/** Checks the items of a shard at rest, and gives the keys of the objects that they justify. */
export async function justifiedAtRest(world: World, { files, tail }: Log): Promise<readonly string[]> {
  const control = await readControl(world.checkpoints, SHARD);
  const rows = await readHistory(world.checkpoints, SHARD);
  expect(control?.capture).toBeUndefined();
  expect(control?.lease).toBeUndefined();
  expect(control?.checkpoint?.index).toBe(tail);
  expect(rows.map(({ state, verified, pins }) => ({ state, verified, pins }))).toEqual(Array(2).fill({ state: "kept", verified: true, pins: {} }));
  expect(control?.lowWater).toBe(rows[0].border.next);
  expect(control?.checkpoint?.key).toBe(rows[1].key);

  const { items } = await world.checkpoints.query({ partition: `shard#${SHARD.table}/${SHARD.shard}` });
  const generations = rows.map(({ index, epoch }) => `snapshot#${String(index).padStart(16, "0")}-e${epoch}`);
  expect(items.map(({ key }) => key.sort)).toEqual(["control", "job#snapshot", ...generations, "tail"]);
  expect(items.at(-1)?.attributes).toMatchObject({ next: tail + 1, capturedNext: tail + 1 });
  expect(items.at(-1)?.attributes.dirty).toBeUndefined();

  const prefix = incarnationPrefix(SHARD, control?.incarnation ?? "");
  const redo = files.filter(({ first }) => first >= rows[0].border.next).map(({ first }) => `${prefix}redo/${String(first).padStart(16, "0")}.redo`);
  return [...redo, ...rows.map(({ key }) => key)];
}

async function redoKeys(world: World): Promise<readonly string[]> {
  const keys: string[] = [];
  let after: string | undefined;
  do {
    const page = await world.objects.list({ prefix: `${SHARD.table}/${SHARD.shard}/`, ...(after !== undefined && { after }) });
    keys.push(...page.objects.map(({ key }) => key).filter((key) => key.endsWith(".redo")));
    after = page.next;
  } while (after !== undefined);
  return keys;
}
