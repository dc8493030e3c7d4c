// What people and programs write: JSON, NDJSON, bodies of batches, flags. JSON.parse is the judge: what a door takes is what
// that reads, and what that refuses no door takes.

import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { parseAt } from "../../cli/flags.ts";
import { parseStoreUrl } from "../../cli/store.ts";
import { mergePatch } from "../../lib/machines/keyed/patch.ts";
import { checkJson, JSON_DEPTH_MAX } from "../../lib/model/json.ts";
import { KEY_BYTES_MAX } from "../../lib/model/limits.ts";
import type { Mutation } from "../../lib/model/mutation.ts";
import { parseBatchBody } from "../../lib/ndjson/batch-body.ts";
import { readBatches } from "../../lib/ndjson/batches.ts";
import { edited } from "./edited.ts";
import { edits } from "./edits.ts";
import { atDoor, casesTried, fuzz, FUZZING } from "./runs.ts";

afterAll(() => console.log(`${casesTried()} texts`));

const CALL = { refuses: ["call"] as const };
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** What JSON.parse makes of the bytes; nothing where it refuses them. */
function judged(bytes: Uint8Array): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(strict.decode(bytes)) };
  } catch {
    return undefined;
  }
}

const json = fc.json({ maxDepth: 4 }).map((text) => Buffer.from(text));
/** What JSON is written in, put together by chance. */
const letters = fc.string({ unit: fc.constantFrom(...'{}[]",:0123456789eE+-.\\/u \tnrlsaf\u0001é'), maxLength: 12 }).map((text) => Buffer.from(text));
const numbers = fc.string({ unit: fc.constantFrom(..."0123456789eE+-."), maxLength: 6 }).map((text) => Buffer.from(text));
const nearJson = fc.oneof(
  letters,
  numbers,

  fc.tuple(json, edits).map(([text, list]) => edited(text, list)),
  fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
);

test("what is JSON here is JSON there, and the other way round", FUZZING, async () => {
  let accepted = 0;
  await fuzz(fc.oneof(json, nearJson), 12_000, async (bytes) => {
    const taken = await atDoor(() => checkJson(bytes, "it"), CALL);
    if (taken !== undefined) accepted++;
    expect(taken !== undefined, bytes.toString("latin1")).toBe(judged(bytes) !== undefined);
  });
  expect(accepted).toBeGreaterThan(1_000);
  for (const depth of [JSON_DEPTH_MAX, JSON_DEPTH_MAX + 1, 1_000_000])
    expect((await atDoor(() => checkJson(Buffer.from("[".repeat(depth) + "]".repeat(depth)), "it"), CALL)) !== undefined).toBe(depth <= JSON_DEPTH_MAX);
});

const line = fc
  .record(
    { op: fc.constantFrom("put", "delete", "patch", "PUT"), key: fc.string({ unit: "binary", maxLength: 12 }), value: fc.jsonValue({ maxDepth: 3 }) },
    { requiredKeys: ["key"] },
  )
  .map((mutation) => JSON.stringify(mutation));
const lines = fc.array(line, { minLength: 1, maxLength: 5 }).map((list) => Buffer.from(list.join("\n")));
const nearLines = fc.oneof(
  lines,
  fc.tuple(lines, edits).map(([text, list]) => edited(text, list)),
);

function holds(mutation: Mutation, told: unknown): void {
  const { op, k, v, key = k, value = v } = told as Record<string, unknown>;
  expect(mutation.kind).toBe(op ?? "put");
  expect(mutation.key.length).toBeGreaterThan(0);
  expect(mutation.key.length).toBeLessThanOrEqual(KEY_BYTES_MAX);
  expect(Buffer.from(mutation.key).toString()).toBe(key);
  if (mutation.kind !== "delete") expect(judged(mutation.value)).toEqual({ value });
}

async function read(chunks: readonly Buffer[]): Promise<readonly Mutation[]> {
  async function* stream(): AsyncGenerator<Buffer> {
    yield* chunks.map((chunk) => Buffer.from(chunk));
  }
  const mutations: Mutation[] = [];
  for await (const batch of readBatches(stream(), { codec: "json", linesMax: 3 })) mutations.push(...batch.mutations);
  return mutations.map((mutation) => structuredClone(mutation));
}

test("lines that are taken say what JSON.parse reads in them, however the stream is cut", FUZZING, async () => {
  let accepted = 0;
  await fuzz(fc.tuple(nearLines, fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 4 })), 6_000, async ([bytes, cuts]) => {
    const taken = await atDoor(() => read([bytes]), CALL);
    const places = [0, ...cuts.map((cut) => Math.floor(cut * bytes.length)).sort((a, b) => a - b), bytes.length];
    const pieces = places.slice(1).map((end, i) => bytes.subarray(places[i], end));
    expect(await atDoor(() => read(pieces), CALL)).toEqual(taken);
    if (taken === undefined) return;
    accepted++;
    const told = bytes
      .toString()
      .split("\n")
      .filter((text) => text.trim() !== "");
    expect(taken.answer.length).toBe(told.length);
    for (const [place, mutation] of taken.answer.entries()) holds(mutation, JSON.parse(told[place]));
  });
  expect(accepted).toBeGreaterThan(500);
});

const key = fc.string({ minLength: 1, maxLength: 6 });
const mutation = fc.oneof(fc.record({ op: fc.constant("delete"), key }), fc.record({ key, value: fc.jsonValue({ maxDepth: 2 }) }));
const unmarked = fc.record({ mutations: fc.array(mutation, { minLength: 1, maxLength: 3 }) });
const sequence = fc.oneof(fc.nat(), fc.bigInt({ min: 0n, max: 2n ** 192n }).map(String));
const marked = fc.tuple(unmarked, sequence).map(([one, number]) => ({ ...one, sequence: number }));
const producer = fc.string({ minLength: 1, maxLength: 6 });
const body = fc
  .oneof(
    unmarked,
    fc.tuple(marked, producer).map(([one, name]) => ({ ...one, producer: name })),
    fc.record({ batches: fc.array(unmarked, { minLength: 1, maxLength: 3 }) }),
    fc.record({ producer, batches: fc.array(marked, { minLength: 1, maxLength: 2 }) }),
  )
  .map((value) => Buffer.from(JSON.stringify(value)));
const nearBody = fc.oneof(
  body,
  fc.tuple(body, edits).map(([text, list]) => edited(text, list)),
);

test("a body that is taken says what JSON.parse reads in it", FUZZING, async () => {
  let accepted = 0;
  await fuzz(fc.tuple(nearBody, fc.boolean(), fc.constantFrom("json" as const, "bytes" as const)), 8_000, async ([bytes, many, codec]) => {
    const taken = await atDoor(() => parseBatchBody(bytes, { codec, many }), CALL);
    if (taken === undefined || codec === "bytes") return;
    accepted++;
    const told = judged(bytes)?.value as { batches?: readonly Record<string, unknown>[]; producer?: string } & Record<string, unknown>;
    const batches = told.batches ?? [told];
    expect(taken.answer.map(({ mark }) => mark && [mark.producer, mark.sequence])).toEqual(
      batches.map(({ sequence }) => (sequence === undefined ? undefined : [told.producer, BigInt(sequence as string | number)])),
    );
    for (const [place, { mutations }] of taken.answer.entries())
      for (const [at, one] of mutations.entries()) holds(one, (batches[place].mutations as readonly unknown[])[at]);
  });
  expect(accepted).toBeGreaterThan(200);
});

/** RFC 7396, on what JSON.parse reads. */
function merged(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const members = new Map(isObject(target) ? Object.entries(target) : []);
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) members.delete(name);
    else members.set(name, merged(members.get(name), value));
  }
  return Object.fromEntries(members);
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

test("a patch of any JSON text by any other is what the RFC says", FUZZING, async () => {
  await fuzz(fc.tuple(fc.option(json, { nil: undefined }), json), 4_000, async ([base, patch]) => {
    const found = await atDoor(() => mergePatch(base, patch), {});
    expect(judged(found?.answer ?? Buffer.alloc(0))).toEqual({ value: merged(base && judged(base)?.value, judged(patch)?.value) });
  });
});

test("flags of any text are refused, or mean something", FUZZING, async () => {
  const near = fc.oneof(
    fc.string({ unit: "binary", maxLength: 40 }),
    fc
      .constantFrom("s3://states/p?table=t&region=r", "file:///a%20b", "2026-11-01T12:00:00.5+01:00", "1500")
      .chain((text) => edits.map((list) => edited(Buffer.from(text), list).toString())),
  );
  await fuzz(near, 8_000, async (text) => {
    const at = await atDoor(() => parseAt(text), CALL);
    if (at !== undefined) expect(Number.isSafeInteger("index" in at.answer ? at.answer.index : at.answer.timeMs)).toBe(true);
    await atDoor(() => parseStoreUrl(text), CALL);
  });
});
