// What may come of a damaged shard: the right state, by the model, or an error that names a damaged object (I8).

import { expect } from "vitest";
import { openWriter } from "../../lib/jobs/append.ts";
import { snapshotShard } from "../../lib/jobs/snapshot.ts";
import { isTidemarkError } from "../../lib/model/errors.ts";
import { toIndex } from "../../lib/model/position.ts";
import { recover, type ShardView } from "../../lib/recovery/recover.ts";
import { verifyShard } from "../../lib/recovery/verify.ts";
import type { Bound } from "../../lib/redo-log/replay.ts";
import { borderAt, lastOf, type ModelBatch, modelRecords, modelState, recoveredState } from "../processes/keyed-model.ts";
import { asBytes, copyOf, type MemoryWorld, mutationsOf, type SmallShard } from "./shard.ts";

/** `right`, with the view that was compared; `named`: refused, with the key of the object that the error names. */
export type Verdict = { readonly kind: "right"; readonly view: ShardView } | { readonly kind: "named"; readonly object: string };

export interface Subject {
  readonly shard: SmallShard;
  readonly world: MemoryWorld;
  /** Keys of the objects that are not what they were. */
  readonly damaged: readonly string[];
}

/** The state at the bound equals the model's, or the error names a damaged object; anything else fails the test. */
export function recovered(subject: Subject, at: Bound = {}, log = subject.shard.log): Promise<Verdict> {
  return orNamed(subject, async (): Promise<Verdict> => {
    const view = await recover(subject.world, { id: subject.shard.id, codec: "json", at });
    const state = await recoveredState(view);
    expect(view.index).toBe(wanted(log, at));
    expect(state).toBe(modelAt(log, view.index));
    return { kind: "right", view };
  });
}

/** The same of single records. */
export async function looksUp(subject: Subject): Promise<Verdict[]> {
  const { log, tail, id } = subject.shard;
  const records = modelRecords(log, tail);
  return Promise.all(
    [...records.keys(), "nobody"].map((key) =>
      orNamed(subject, async (): Promise<Verdict> => {
        const view = await recover(subject.world, { id, codec: "json" });
        const entry = await view.get(Buffer.from(key));
        const found = entry && { value: entry.value.toString(), index: entry.index, timeMs: entry.timeMs };
        expect(found).toEqual(records.get(key));
        return { kind: "right", view };
      }),
    ),
  );
}

/** Verification names damaged objects, at least one, and no other. */
export async function isFound({ shard, world, damaged }: Subject): Promise<readonly string[]> {
  const { findings } = await verifyShard(world, { id: shard.id, codec: "json" });
  const objects = findings.map(({ object }) => object);
  expect(objects.length).toBeGreaterThan(0);
  for (const object of objects) expect(damaged).toContain(object);
  return objects;
}

/** A new writer's batch is acknowledged and then part of every right state, or refused by name. */
export async function appends(subject: Subject): Promise<Verdict["kind"]> {
  const world = await copyOf(subject.world);
  const { id, log, tail } = subject.shard;
  const mutations = mutationsOf(1_000);
  const appended = await orNamed({ ...subject, world }, async () => {
    const outcome = await openWriter(world, { id, codec: "json" }).append({ mutations: mutations.map(asBytes) });
    if (outcome.kind !== "appended") throw new Error(`a batch was ${outcome.kind}`);
    const after: readonly ModelBatch[] = [...log, { first: outcome.first, timeMs: outcome.timeMs, mutations }];
    expect(outcome.first).toBe(tail + 1);
    await recovered({ ...subject, world }, {}, after);
    return { kind: "right" as const };
  });
  return appended.kind;
}

/** A snapshot job makes a generation that is right and from then on serves the newest state, or fails by name. */
export async function captures(subject: Subject): Promise<{ readonly kind: "named" } | { readonly kind: "right"; readonly world: MemoryWorld }> {
  const world = await copyOf(subject.world);
  const { id, log, tail } = subject.shard;
  return orNamed({ ...subject, world }, async () => {
    const { outcome } = await snapshotShard(world, { id });
    expect(outcome).toMatchObject({ kind: "completed", index: tail });
    const view = await recover(world, { id, codec: "json" });
    expect(await recoveredState(view)).toBe(modelState(log, tail));
    expect([view.from, view.replayed, view.passedOver]).toEqual([tail, 0, []]);
    const { findings } = await verifyShard(world, { id, codec: "json" });
    for (const { object } of findings) expect(subject.damaged).toContain(object);
    return { kind: "right" as const, world };
  });
}

/** Everything that can be asked of the shard; how many answers were right and how many refused. */
export async function examine(subject: Subject): Promise<{ readonly right: number; readonly named: number }> {
  const { shard } = subject;
  const kept = shard.log.filter((batch) => lastOf(batch) >= shard.older.index);
  const kinds: Verdict["kind"][] = [];
  kinds.push((await recovered(subject)).kind);
  for (let index = shard.older.index; index <= shard.tail; index++) kinds.push((await recovered(subject, { index: toIndex(index) })).kind);
  for (const { timeMs } of kept) kinds.push((await recovered(subject, { timeMs })).kind);
  for (const verdict of await looksUp(subject)) kinds.push(verdict.kind);
  kinds.push(await appends(subject), (await captures(subject)).kind);
  await isFound(subject);
  const right = kinds.filter((kind) => kind === "right").length;
  return { right, named: kinds.length - right };
}

async function orNamed<Right>({ damaged }: Subject, work: () => Promise<Right>): Promise<Right | { readonly kind: "named"; readonly object: string }> {
  try {
    return await work();
  } catch (error) {
    if (!isTidemarkError(error) || error.kind !== "repair") throw error;
    const { object = "" } = error;
    expect(damaged).toContain(object);
    expect(error.message).toContain(object);
    return { kind: "named", object };
  }
}

const models = new WeakMap<readonly ModelBatch[], Map<number, string>>();

/** The model's state, worked out once for each log and index. */
function modelAt(log: readonly ModelBatch[], index: number): string {
  const states = models.get(log) ?? new Map<number, string>();
  models.set(log, states);
  const state = states.get(index) ?? modelState(log, index);
  states.set(index, state);
  return state;
}

function wanted(log: readonly ModelBatch[], { index, timeMs = Number.POSITIVE_INFINITY }: Bound): number {
  if (index !== undefined) return borderAt(log, index);
  return log.reduce((border, batch) => (batch.timeMs <= timeMs ? lastOf(batch) : border), 0);
}
