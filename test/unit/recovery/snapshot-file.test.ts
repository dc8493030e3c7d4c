// A recovered state as one file: it says what the state is, and holds its records, whichever way it was recovered.

import { expect, test } from "vitest";
import { memoryObjectStore } from "../../../lib/adapters/memory/object-store.ts";
import { readHistory } from "../../../lib/checkpoint/control.ts";
import { openWriter } from "../../../lib/jobs/append.ts";
import { TidemarkError } from "../../../lib/model/errors.ts";
import { ORIGIN, toIndex } from "../../../lib/model/position.ts";
import { Sessions } from "../../../lib/model/sessions.ts";
import type { SnapshotDescription } from "../../../lib/model/snapshot.ts";
import { recover, type RecoverRequest, type ShardView } from "../../../lib/recovery/recover.ts";
import { snapshotFile } from "../../../lib/recovery/snapshot-file.ts";
import { findTail } from "../../../lib/redo-log/tail.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { openSnapshot, type Snapshot } from "../../../lib/snapshot/read.ts";
import {
  appendEach,
  contentOf,
  id,
  listed,
  mark,
  type MemoryWorld,
  memoryWorld,
  noAnswer,
  noise,
  put,
  START_MS,
  withObjects,
  worldWithTable,
} from "../jobs/world.ts";
import { description, encodeRecords, jsonRecords } from "../snapshot/parquet/records.ts";
import { changesOf, opened } from "../snapshot/splices.ts";

const request: RecoverRequest = { id, codec: "json" };
const at = (index: number): RecoverRequest => ({ ...request, at: { index: toIndex(index) } });

/** Indexes 1, 2 of producers, captured; 3 and 4 in one file behind. */
async function worldWithHistory(): Promise<MemoryWorld> {
  const world = await worldWithTable();
  const writer = openWriter(world, { id, codec: "json" });
  await writer.append({ mutations: [put("a", 1)], mark: mark("p", 5) });
  await writer.append({ mutations: [put("b", 2)] });
  await capture(world, { id, codec: "json" });
  world.clock.advance(1_000);
  await Promise.all([writer.append({ mutations: [put("a", 3)], mark: mark("p", 6) }), writer.append({ mutations: [put("c", 4)] })]);
  return world;
}

interface Read {
  readonly description: SnapshotDescription;
  readonly content: readonly string[];
  readonly groups: Snapshot["groups"];
}

/** What the file of a view says and holds, of what came behind the last "restart". */
async function fileOf(view: ShardView): Promise<Read & { readonly restarts: number }> {
  let pieces: Buffer[] = [];
  let restarts = 0;
  for await (const piece of view.snapshotFile()) {
    if (piece === "restart") {
      pieces = [];
      restarts += 1;
    } else pieces.push(Buffer.from(piece));
  }
  const store = memoryObjectStore();
  await store.createIfAbsent("file", Buffer.concat(pieces));
  const opened = await openSnapshot({ store }, { key: "file" });
  if (opened.kind === "absent") throw new Error("it was just stored");
  const content: string[] = [];
  for await (const rows of opened.snapshot.rows()) content.push(...listed(rows));
  return { description: opened.snapshot.description, content, restarts, groups: opened.snapshot.groups };
}

test("the file of a state behind a generation names that one, and goes on where the log does", async () => {
  const world = await worldWithHistory();
  const { incarnation, border } = await findTail(world, id, START_MS);
  const [row] = await readHistory(world.checkpoints, id);
  const { description, content, restarts } = await fileOf(await recover(world, request));
  expect(description).toEqual({
    ...{ table: "players", shard: 0, incarnation, codec: "json", index: 4 },
    ...{ position: { redoFile: 3, batchOffset: 1 }, border, base: row.key, forgottenThrough: 0, splices: 1 },
    sessions: [{ producer: "p", sequence: 6n, lastIndex: 3 }],
  });
  expect([content, restarts]).toEqual([["a=3@3", "b=2@2", "c=4@4"], 0]);
});

test("the file of a state inside of a redo file has no border: no log goes on behind it", async () => {
  const { description, content } = await fileOf(await recover(await worldWithHistory(), at(3)));
  expect(description).toMatchObject({ index: 3, position: { redoFile: 3, batchOffset: 0 } });
  expect(description.border).toEqual({ next: 4, digest: ORIGIN.digest, timeMs: START_MS + 1_000 });
  expect(content).toEqual(["a=3@3", "b=2@2"]);
});

test("the file of a generation's own state has its position, border, sessions and records", async () => {
  const world = await worldWithHistory();
  const [row] = await readHistory(world.checkpoints, id);
  const { description, content } = await fileOf(await recover(world, at(2)));
  expect(description).toMatchObject({ index: 2, position: row.position, border: row.border, base: row.key, splices: 1 });
  expect([description.sessions, content]).toEqual([[{ producer: "p", sequence: 5n, lastIndex: 1 }], ["a=1@1", "b=2@2"]]);
});

test("the file of the log alone has no base, and that of a shard that was never opened has nothing", async () => {
  const { description, content } = await fileOf(await recover(await worldWithHistory(), at(1)));
  expect([description.base, description.splices, description.position, content]).toEqual([undefined, 0, { redoFile: 1, batchOffset: 0 }, ["a=1@1"]]);
  const empty = await fileOf(await recover(memoryWorld(), request));
  expect(empty.description).toEqual({
    ...{ table: "players", shard: 0, incarnation: "0".repeat(16), codec: "json", index: 0, position: { redoFile: 1, batchOffset: 0 } },
    ...{ border: ORIGIN, sessions: [], forgottenThrough: 0, splices: 0 },
  });
  expect(empty.content).toEqual([]);
});

/** Records of several row groups, captured, and a change of the first of them. */
async function worldWithGroups(): Promise<MemoryWorld> {
  const world = await worldWithTable();
  const many = Array.from({ length: 8_000 }, (_, i) => put(`key-${String(i).padStart(5, "0")}`, noise(i, 700)));
  await appendEach(world, [many]);
  await capture(world, { id, codec: "json" });
  await appendEach(world, [[put("key-00000", "changed")]]);
  return world;
}

test("what no change touches is taken over as it is, and the file begins anew where that is found damaged", async () => {
  const world = await worldWithGroups();
  const [row] = await readHistory(world.checkpoints, id);
  const view = await recover(world, request);
  const expected = await contentOf(view);
  const whole = await fileOf(view);
  expect([whole.content, whole.restarts, whole.description.base]).toEqual([expected, 0, row.key]);
  // All of it was read just now: none of the row groups counts as carried over unread.
  expect([whole.groups.length > 1, whole.groups.filter(({ carried }) => carried > 0)]).toEqual([true, []]);
  world.objects.damage(row.key, (body) => body.fill(0x5a, Math.floor(0.5 * body.length), Math.floor(0.55 * body.length)));
  const { description, content, restarts } = await fileOf(view);
  expect([content, restarts, description.base]).toEqual([expected, 1, undefined]);
  expect(view.passedOver.map(({ key }) => key)).toEqual([row.key]);
});

test.each([
  ["of the network", new Error("no network")],
  ["of the store", noAnswer()],
])("a fault %s is no damage of the generation, and handed on as it is", async (_, fault) => {
  const world = await worldWithHistory();
  const [row] = await readHistory(world.checkpoints, id);
  let failing = false;
  const flaky = withObjects(world, (objects) => ({
    async getRange(key, range) {
      if (!failing) return objects.getRange(key, range);
      failing = false;
      throw fault;
    },
  }));
  const view = await recover(flaky, request);
  for (const read of [() => contentOf(view), () => view.get(Buffer.from("b")), () => fileOf(view)]) {
    failing = true;
    await expect(read()).rejects.toBe(fault);
  }
  expect([view.passedOver, view.from, row.index]).toEqual([[], 2, 2]);
});

test("where the log was cleaned under a reading the same state is read again, whatever was appended meanwhile", async () => {
  const world = await worldWithHistory();
  const fault = new TidemarkError("retry", "cleaned-log", "cleanup passed");
  let failing = false;
  const cleaned = withObjects(world, (objects) => ({
    async getRange(key, range) {
      if (!failing) return objects.getRange(key, range);
      failing = false;
      throw fault;
    },
  }));
  const view = await recover(cleaned, request);
  await appendEach(world, [[put("d", 5)]]);
  const content = ["a=3@3", "b=2@2", "c=4@4"];
  failing = true;
  expect(await contentOf(view)).toEqual(content);
  failing = true;
  expect((await view.get(Buffer.from("b")))?.index).toBe(2);
  failing = true;
  expect(await fileOf(view)).toMatchObject({ content, restarts: 1, description: { index: 4 } });
  expect(view.passedOver).toEqual([]);
});

test("the page indexes of what is carried over are read some at a time, however many there are", async () => {
  const { bytes, groups } = await encodeRecords(jsonRecords(400), description, { pageRows: 2, groupBytes: 100 });
  expect(groups.length).toBeGreaterThan(128);
  const base = await opened(bytes);
  const asked: number[] = [];
  const snapshot: Snapshot = {
    ...base,
    pagesOf(from, to) {
      asked.push(to - from);
      return base.pagesOf(from, to);
    },
  };
  const about = { index: toIndex(400), timeMs: START_MS, mutations: 0, atTail: true, passedOver: [], log: { files: 0, bytes: 0, rawBytes: 0 } };
  const state = { ...about, base: { kind: "empty" } as const, snapshot, sessions: new Sessions(), changes: changesOf([], 0) };
  const pieces: Buffer[] = [];
  for await (const piece of snapshotFile(state, { id, incarnation: "0".repeat(16), codec: "json" })) pieces.push(Buffer.from(piece));
  expect((await opened(Buffer.concat(pieces))).rowCount).toBe(400);
  expect(asked.reduce((sum, count) => sum + count, 0)).toBe(groups.length);
  expect(Math.max(...asked)).toBeLessThanOrEqual(64);
});
