// Checks what is left of a shard, in whatever world, against what those who worked on it were told and what the log means
// by the model.

import { setTimeout as pause } from "node:timers/promises";
import { expect } from "vitest";
import { readControl, readHistory } from "../../lib/checkpoint/control.ts";
import { listObjects, listUploads } from "../../lib/cleanup/sweep.ts";
import { incarnationPrefix, type ShardId } from "../../lib/model/names.ts";
import { toIndex } from "../../lib/model/position.ts";
import type { World } from "../../lib/ports/world.ts";
import { recover } from "../../lib/recovery/recover.ts";
import { verifyShard } from "../../lib/recovery/verify.ts";
import { applying, borderAt, lastOf, type ModelBatch, type ModelMutation, modelState, modelStates, recoveredState } from "./keyed-model.ts";
import { type ReadRedoFile, readRedoFile } from "./redo-reader.ts";

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

/** A batch as its writer knows it. Times are ns of the machine's monotonic clock. */
export interface Sent {
  /** Of the writer and the batch, for people. */
  readonly name: string;
  readonly producer: string | undefined;
  readonly mutations: readonly ModelMutation[];
  /** When it was first sent. */
  readonly sentAt: bigint;
  readonly acknowledged?: { readonly first: number; readonly last: number; readonly at: bigint };
}

export async function readNow(world: World, id: ShardId): Promise<Reading> {
  const askedAt = process.hrtime.bigint();
  const view = await recover(world, { id, codec: "json" });
  const answeredAt = process.hrtime.bigint();
  return { index: view.index, state: await recoveredState(view), askedAt, answeredAt };
}

/** The whole log, by the bytes of its redo files in their order: one chain without a gap. */
export function logOf(redoFiles: readonly Buffer[]): Log {
  const files = redoFiles.map(readRedoFile);
  for (const [place, file] of files.entries()) {
    const before = files[place - 1];
    expect([file.first, file.previousDigest]).toEqual(before === undefined ? [1, "0".repeat(64)] : [before.next, before.digest]);
  }
  const batches = files.flatMap((file) => file.batches);
  return { files, batches, tail: (files.at(-1)?.next ?? 1) - 1 };
}

/** Checkpoint, epoch and mark only grow (I4). Gives the keys of the snapshots that it saw become the checkpoint's. */
export async function watchGrowth(
  world: World,
  id: ShardId,
  { everyMs, isOver }: { readonly everyMs: number; readonly isOver: () => boolean },
): Promise<ReadonlySet<string>> {
  const keys = new Set<string>();
  let before: readonly number[] = [0, 0, 0];
  while (!isOver()) {
    const control = await readControl(world.checkpoints, id);
    const now = [control?.checkpoint?.index ?? 0, control?.epoch ?? 0, control?.lowWater ?? 0];
    for (const [place, value] of now.entries()) expect(value).toBeGreaterThanOrEqual(before[place]);
    if (control?.checkpoint !== undefined) keys.add(control.checkpoint.key);
    before = now;
    await pause(everyMs);
  }
  return keys;
}

/**
 * What all were told is linearizable: there is one order, that of the log, in which all that was sent and read takes effect at
 * once, each between its beginning and its answer. Every acknowledged batch is in the log where its writer was told, applies
 * exactly once, and lies behind all that was acknowledged before it was sent (I1, I2, I3); every reading holds all that was
 * acknowledged before it was asked for, nothing that was sent after it was answered, and no less than a reading before it.
 */
export function checkHistory(
  { batches }: Log,
  sent: readonly Sent[],
  readings: readonly Reading[],
): { readonly acknowledged: number; readonly repeated: number } {
  const byFirst = new Map(batches.map((batch) => [batch.first, batch]));
  const acknowledged = sent.flatMap(({ acknowledged: answer, ...batch }) => (answer === undefined ? [] : [{ ...batch, acknowledged: answer }]));
  for (const { name, producer, mutations, acknowledged: answer } of acknowledged) {
    const inLog = byFirst.get(answer.first);
    expect(inLog?.mutations, name).toEqual(mutations);
    expect(inLog?.mark?.producer, name).toBe(producer);
    expect(answer.last, name).toBe(answer.first + mutations.length - 1);
  }
  expectOnce(batches, sent);
  const sentAt = new Map(sent.map((batch) => [JSON.stringify(batch.mutations), batch.sentAt]));
  const sendings = batches.map(({ first, mutations }) => ({ first, sentAt: sentAt.get(JSON.stringify(mutations)) ?? 0n }));
  expectOrdered(acknowledged, sendings);
  expectReadInOrder(readings, acknowledged, sendings);
  return { acknowledged: acknowledged.length, repeated: batches.length - new Set(batches.map(({ mutations }) => JSON.stringify(mutations))).size };
}

/** A batch is told by its content. */
function expectOnce(log: readonly ModelBatch[], sent: readonly Sent[]): void {
  const contents = new Set(sent.map(({ mutations }) => JSON.stringify(mutations)));
  const applied = new Map<string, number>();
  for (const { mark, mutations } of applying(log)) {
    const content = JSON.stringify(mutations);
    expect(contents.has(content), "the log holds only what was sent").toBe(true);
    applied.set(content, (applied.get(content) ?? 0) + 1);
    if (mark !== undefined) expect(applied.get(content), `batch ${mark.sequence} of ${mark.producer}`).toBe(1);
  }
  for (const { name, mutations, acknowledged } of sent) {
    if (acknowledged !== undefined) expect(applied.get(JSON.stringify(mutations)) ?? 0, name).toBeGreaterThanOrEqual(1);
  }
}

type Acknowledged = Sent & { readonly acknowledged: NonNullable<Sent["acknowledged"]> };

interface Sending {
  readonly first: number;
  readonly sentAt: bigint;
}

function expectReadInOrder(readings: readonly Reading[], acknowledged: readonly Acknowledged[], sendings: readonly Sending[]): void {
  for (const { index, askedAt, answeredAt } of readings) {
    // Not by spreading: there may be more of them than a call takes arguments.
    const must = acknowledged.reduce((most, { acknowledged: { last, at } }) => (at < askedAt ? Math.max(most, last) : most), 0);
    expect(index, "a reading holds what was acknowledged before it").toBeGreaterThanOrEqual(must);
    const early = sendings.filter(({ first, sentAt }) => first <= index && sentAt > answeredAt);
    expect(early, "a reading holds nothing that was sent behind it").toEqual([]);
    const before = readings.filter((other) => other.answeredAt < askedAt);
    expect(index, "readings go forward").toBeGreaterThanOrEqual(Math.max(0, ...before.map((other) => other.index)));
  }
}

/** Indexes are given once; whatever is in the log lies behind all that was acknowledged before it was sent. */
function expectOrdered(acknowledged: readonly Acknowledged[], sendings: readonly Sending[]): void {
  const answers = acknowledged.map((batch) => batch.acknowledged);
  const byIndex = [...answers].sort((a, b) => a.first - b.first);
  for (const [place, { first }] of byIndex.entries()) expect(first).toBeGreaterThan(byIndex[place - 1]?.last ?? 0);
  const byTime = [...answers].sort((a, b) => Number(a.at - b.at));
  let reached = 0;
  let answer = 0;
  for (const { sentAt, first } of [...sendings].sort((a, b) => Number(a.sentAt - b.sentAt))) {
    for (; answer < byTime.length && byTime[answer].at < sentAt; answer++) reached = Math.max(reached, byTime[answer].last);
    expect(first).toBeGreaterThan(reached);
  }
}

/** Whatever index is asked for of those that are kept, and whatever was read meanwhile, is what the model makes of the log (I5). */
export async function checkStates(world: World, id: ShardId, { batches, tail }: Log, readings: readonly Reading[]): Promise<void> {
  const states = modelStates(
    batches,
    readings.map(({ index }) => index),
  );
  for (const { index, state } of readings) expect(state, `read meanwhile at ${index}`).toBe(states.get(index));
  const newest = await readNow(world, id);
  expect(newest.index).toBe(tail);
  expect(newest.state).toBe(modelState(batches, tail));
  const oldest = (await readHistory(world.checkpoints, id))[0]?.index ?? 1;
  for (let step = 0; step <= INDEXES_RECOVERED; step++) {
    const asked = oldest + Math.floor(((tail - oldest) * step) / INDEXES_RECOVERED);
    const view = await recover(world, { id, codec: "json", at: { index: toIndex(asked) } });
    expect(view.index, `asked for ${asked}`).toBe(borderAt(batches, asked));
    expect(await recoveredState(view), `asked for ${asked}`).toBe(modelState(batches, asked));
  }
  const middle = batches.findLast((batch) => lastOf(batch) <= (oldest + tail) / 2 && lastOf(batch) >= oldest);
  if (middle !== undefined) await checkTime(world, id, batches, middle.timeMs);
}

async function checkTime(world: World, id: ShardId, batches: readonly ModelBatch[], timeMs: number): Promise<void> {
  const view = await recover(world, { id, codec: "json", at: { timeMs } });
  const last = batches.findLast((batch) => batch.timeMs <= timeMs);
  expect(view.index).toBe(last && lastOf(last));
  expect(await recoveredState(view)).toBe(modelState(batches, view.index));
}

export async function checkVerified(world: World, id: ShardId): Promise<void> {
  const { findings } = await verifyShard(world, { id, codec: "json" });
  expect(findings).toEqual([]);
}

/** At rest there is what control item, rows and mark justify, and nothing besides (I7). Gives the keys of the objects. */
export async function checkAtRest(world: World, id: ShardId, log: Log): Promise<readonly string[]> {
  const justified = await justifiedAtRest(world, id, log);
  const below = `${id.table}/${id.shard}/`;
  expect((await listObjects(world.objects, below)).map(({ key }) => key)).toEqual([...justified].sort());
  expect(await listUploads(world.objects, below)).toEqual([]);
  return justified;
}

/** Checks the items of a shard at rest, and gives the keys of the objects that they justify. */
async function justifiedAtRest(world: World, id: ShardId, { files, tail }: Log): Promise<readonly string[]> {
  const control = await readControl(world.checkpoints, id);
  const rows = await readHistory(world.checkpoints, id);
  expect(control?.capture).toBeUndefined();
  expect(control?.lease).toBeUndefined();
  expect(control?.checkpoint?.index).toBe(tail);
  expect(rows.map(({ state, verified, pins }) => ({ state, verified, pins }))).toEqual(Array(2).fill({ state: "kept", verified: true, pins: {} }));
  expect(control?.lowWater).toBe(rows[0].border.next);
  expect(control?.checkpoint?.key).toBe(rows[1].key);

  const { items } = await world.checkpoints.query({ partition: `shard#${id.table}/${id.shard}` });
  // Requests lapse by themselves.
  const left = items.filter(({ key, attributes }) => !(key.sort.startsWith("request#") && Number(attributes.expiresAt) > 0));
  const generations = rows.map(({ index, epoch }) => `snapshot#${String(index).padStart(16, "0")}-e${epoch}`);
  expect(left.map(({ key }) => key.sort)).toEqual(["control", "job#snapshot", ...generations, "tail"]);
  expect(left.at(-1)?.attributes).toMatchObject({ next: tail + 1, capturedNext: tail + 1 });
  expect(left.at(-1)?.attributes.dirty).toBeUndefined();

  const prefix = incarnationPrefix(id, control?.incarnation ?? "");
  const redo = files.filter(({ first }) => first >= rows[0].border.next).map(({ first }) => `${prefix}redo/${String(first).padStart(16, "0")}.redo`);
  return [...redo, ...rows.map(({ key }) => key)];
}
