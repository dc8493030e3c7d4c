// What a log means, by the plainest model: a Map, JSON.parse and RFC 7396 as its text has it. Nothing of lib/ decides
// here. Values and patches are written as JSON.stringify writes them, so that equal states are equal bytes.

import type { ShardView } from "../../lib/recovery/recover.ts";

export interface ModelMutation {
  readonly kind: "put" | "delete" | "patch";
  readonly key: string;
  /** Empty for a delete. */
  readonly value: string;
}

export interface ModelBatch {
  readonly first: number;
  readonly timeMs: number;
  readonly mark?: { readonly producer: string; readonly sequence: bigint };
  readonly mutations: readonly ModelMutation[];
}

interface ModelRecord {
  readonly value: string;
  readonly index: number;
  readonly timeMs: number;
}

type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };

export function lastOf(batch: ModelBatch): number {
  return batch.first + batch.mutations.length - 1;
}

/** Which batches change the state: of those with the same producer, only one whose sequence is above all before it (I3). */
export function applying(log: readonly ModelBatch[]): readonly ModelBatch[] {
  const sequences = new Map<string, bigint>();
  return log.filter(({ mark }) => {
    if (mark === undefined) return true;
    const applies = mark.sequence > (sequences.get(mark.producer) ?? -1n);
    if (applies) sequences.set(mark.producer, mark.sequence);
    return applies;
  });
}

/** The last batch border at or below an index; 0 where none is. */
export function borderAt(log: readonly ModelBatch[], index: number): number {
  return log.reduce((border, batch) => (lastOf(batch) <= index ? lastOf(batch) : border), 0);
}

/** The state after the batches that lie wholly at or below the index, as text: a line a record, in byte order of keys. */
export function modelState(log: readonly ModelBatch[], index: number): string {
  return stateText(modelRecords(log, index));
}

/** The same at each of these indexes, by one way through the log. */
export function modelStates(log: readonly ModelBatch[], indexes: readonly number[]): ReadonlyMap<number, string> {
  const batches = applying(log);
  const state = new Map<string, ModelRecord>();
  const states = new Map<number, string>();
  let at = 0;
  for (const index of [...new Set(indexes)].sort((a, b) => a - b)) {
    for (; at < batches.length && lastOf(batches[at]) <= index; at++) apply(state, batches[at]);
    states.set(index, stateText(state));
  }
  return states;
}

export function modelRecords(log: readonly ModelBatch[], index: number): ReadonlyMap<string, ModelRecord> {
  const state = new Map<string, ModelRecord>();
  for (const batch of applying(log.filter((each) => lastOf(each) <= index))) apply(state, batch);
  return state;
}

function apply(state: Map<string, ModelRecord>, { mutations, first, timeMs }: ModelBatch): void {
  for (const [place, mutation] of mutations.entries()) {
    if (mutation.kind === "delete") {
      state.delete(mutation.key);
      continue;
    }
    const value = mutation.kind === "put" ? mutation.value : patched(state.get(mutation.key)?.value, mutation.value);
    state.set(mutation.key, { value, index: first + place, timeMs });
  }
}

/** The same text of a recovered state. */
export async function recoveredState(view: ShardView): Promise<string> {
  const lines: string[] = [];
  for await (const { count, keys, keyEnds, values, valueEnds, indexes, times } of view.rows()) {
    for (let row = 0; row < count; row++) {
      const key = keys.toString("utf8", row === 0 ? 0 : keyEnds[row - 1], keyEnds[row]);
      const value = values.toString("utf8", row === 0 ? 0 : valueEnds[row - 1], valueEnds[row]);
      lines.push(line(key, { value, index: indexes[row], timeMs: times[row] }));
    }
  }
  return lines.join("\n");
}

function stateText(state: ReadonlyMap<string, ModelRecord>): string {
  const inOrder = [...state].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return inOrder.map(([key, record]) => line(key, record)).join("\n");
}

function line(key: string, { value, index, timeMs }: ModelRecord): string {
  return `${key} ${index} ${timeMs} ${value}`;
}

function patched(target: string | undefined, patch: string): string {
  return JSON.stringify(mergePatch(target === undefined ? undefined : JSON.parse(target), JSON.parse(patch)));
}

/** RFC 7396, section 2. */
function mergePatch(target: Json | undefined, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const result: Record<string, Json> = isObject(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else result[name] = mergePatch(result[name], value);
  }
  return result;
}

function isObject(value: Json | undefined): value is { readonly [name: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
