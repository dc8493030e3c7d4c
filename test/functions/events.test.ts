// Events for each commit: what the control table's stream shows of a shard's life is told, at least once, and no record
// holds up those behind it.

import { describe, expect, test } from "vitest";
import { eventsHandler } from "../../functions/handlers/events.ts";
import type { EventBus, SentEvent } from "../../functions/runtime/event-bus.ts";
import { marshalItem } from "../../lib/adapters/aws/expressions.ts";
import { shardOfItem } from "../../lib/checkpoint/items.ts";
import { snapshotShard } from "../../lib/jobs/snapshot.ts";
import { deleteTable } from "../../lib/jobs/tables.ts";
import type { Item } from "../../lib/ports/checkpoint-store.ts";
import { appendEach, id, type MemoryWorld, noAnswer, put, withObjects, worldWithTable } from "../unit/jobs/world.ts";
import { context, instruments, keptOutput, PIPELINE } from "./harness.ts";

const output = keptOutput();
const AT_S = 1_700_000_123;

interface KeptBus extends EventBus {
  readonly sent: SentEvent[];
}

/** Takes those that `takes` says, of each call in its order. */
function keptBus(takes: (event: SentEvent, call: number) => boolean = () => true): KeptBus {
  const sent: SentEvent[] = [];
  let calls = 0;
  return {
    sent,
    async put(events) {
      const call = calls++;
      const taken = events.flatMap((event, place) => (takes(event, call) ? [place] : []));
      sent.push(...taken.map((place) => events[place]));
      return new Set(taken);
    },
  };
}

function teller(bus: EventBus) {
  const clock = { sleep: async () => undefined };
  const handler = eventsHandler({ ...instruments(), bus, clock, pipeline: PIPELINE });
  return (...records: readonly object[]) => handler({ Records: records }, context());
}

/** Runs the work, and gives what the stream would show of it. */
async function streamOf(world: MemoryWorld, work: () => Promise<unknown>): Promise<readonly object[]> {
  const records: object[] = [];
  const before = new Map<string, Item>(itemsOf(world));
  await work();
  const after = new Map<string, Item>(itemsOf(world));
  for (const name of new Set([...before.keys(), ...after.keys()])) {
    const [old, now] = [before.get(name), after.get(name)];
    if (JSON.stringify(old) === JSON.stringify(now)) continue;
    records.push(record(`${records.length + 1}`, { ...(old && { OldImage: imageOf(old) }), ...(now && { NewImage: imageOf(now) }) }));
  }
  return records;
}

function itemsOf({ checkpoints }: MemoryWorld): readonly (readonly [string, Item])[] {
  return checkpoints.items.map((item) => [`${item.key.partition} ${item.key.sort}`, structuredClone(item)]);
}

function imageOf({ key, attributes }: Item): object {
  return marshalItem(key, attributes);
}

function record(SequenceNumber: string, images: object): object {
  return { eventID: SequenceNumber, eventSource: "aws:dynamodb", dynamodb: { SequenceNumber, ApproximateCreationDateTime: AT_S, ...images } };
}

/** What `lifeOf` is told as, in alphabetical order. */
const TOLD = ["RedoLogExpired", "RedoLogExpired", "SnapshotCompleted", "SnapshotCompleted", "SnapshotCompleted", "SnapshotExpired"];

/** A shard with three captures, each cleaned up behind, of which the first was let go. */
async function lifeOf(world: MemoryWorld): Promise<readonly object[]> {
  const records: object[] = [];
  for (let round = 1; round <= 3; round++) {
    await appendEach(world, [[put("a", round)]]);
    records.push(...(await streamOf(world, () => snapshotShard(world, { id }))));
  }
  return records;
}

test("every commit of a shard's life is told, and nothing else", async () => {
  const world = await worldWithTable();
  const bus = keptBus();
  const tell = teller(bus);
  expect(await tell(...(await lifeOf(world)))).toEqual({ batchItemFailures: [] });
  const told = bus.sent.map(({ type, detail }) => ({ type, ...detail }));
  expect(told.map((event) => event.type).sort()).toEqual(TOLD);
  const [row] = world.checkpoints.items.filter(({ key }) => key.sort.startsWith("snapshot#"));
  expect(shardOfItem(row.key)).toEqual(id);
  expect(told).toContainEqual({
    type: "SnapshotCompleted",
    id: `completed:${row.attributes.key}`,
    pipeline: PIPELINE,
    table: "players",
    shard: 0,
    index: 2,
    epoch: row.attributes.epoch,
    redoFile: 2,
    batchOffset: 0,
    key: row.attributes.key,
    bytes: row.attributes.size,
    rows: 1,
    mutations: 1,
    capturedAt: "2023-11-14T22:13:20.000Z",
  });
  expect(told).toContainEqual(expect.objectContaining({ type: "RedoLogExpired", from: 1, to: expect.any(Number) }));
  expect(bus.sent[0].atMs).toBe(AT_S * 1_000);
});

test("a commit that is read twice has the same id, and two commits never", async () => {
  const records = await lifeOf(await worldWithTable());
  const bus = keptBus();
  const tell = teller(bus);
  await tell(...records);
  const once = bus.sent.map(({ detail }) => Reflect.get(detail, "id"));
  await tell(...records);
  expect(bus.sent.slice(once.length).map(({ detail }) => Reflect.get(detail, "id"))).toEqual(once);
  expect(new Set(once).size).toBe(once.length);
});

test("a job that failed is told once, with its error", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  const failing = withObjects(world, () => ({ createUpload: () => Promise.reject(noAnswer()) }));
  const bus = keptBus();
  await teller(bus)(...(await streamOf(world, () => snapshotShard(failing, { id }).catch(() => undefined))));
  expect(bus.sent).toMatchObject([
    { type: "SnapshotFailed", detail: { stage: "snapshot", error: "the reply was lost", startedAt: "2023-11-14T22:13:20.000Z" } },
  ]);
});

test("a table that is deleted tells of its generations", async () => {
  const world = await worldWithTable();
  await lifeOf(world);
  const bus = keptBus();
  await teller(bus)(...(await streamOf(world, () => deleteTable(world, "players"))));
  expect(bus.sent.map(({ type }) => type)).toEqual(["SnapshotExpired", "SnapshotExpired"]);
});

describe("a bus that does not take an event", () => {
  test("is sent it again, and it alone", async () => {
    const bus = keptBus((event, call) => call > 0 || event.type !== "SnapshotExpired");
    expect(await teller(bus)(...(await lifeOf(await worldWithTable())))).toEqual({ batchItemFailures: [] });
    expect(bus.sent.map(({ type }) => type).sort()).toEqual(TOLD);
  });

  test("nor in the end, lets the stream be read again from there", async () => {
    const records = await lifeOf(await worldWithTable());
    const bus = keptBus((event) => event.type !== "RedoLogExpired");
    const { batchItemFailures } = await teller(bus)(...records);
    expect(batchItemFailures.length).toBe(1);
    const place = records.findIndex((one) => JSON.stringify(one).includes(`"SequenceNumber":"${batchItemFailures[0].itemIdentifier}"`));
    const again = keptBus();
    await teller(again)(...records.slice(place));
    expect(again.sent.map(({ type }) => type)).toContain("RedoLogExpired");
  });

  test("at all, lets the stream be read again from the first event", async () => {
    const records = await lifeOf(await worldWithTable());
    const { batchItemFailures } = await teller({ put: () => Promise.reject(noAnswer()) })(...records);
    expect(batchItemFailures.length).toBe(1);
  });
});

test("a record that nobody can read is logged and passed over, and the next is told", async () => {
  const world = await worldWithTable();
  const records = await lifeOf(world);
  const partition = { S: "shard#players/0" };
  const damaged = [
    record("901", { NewImage: { partition, sort: { S: "snapshot#x" }, formatVersion: { N: "1" }, index: { S: "secret-word" } } }),
    record("902", { NewImage: { partition, sort: { S: "snapshot#y" }, formatVersion: { N: "99" } } }),
    record("903", { NewImage: { partition, sort: { S: "snapshot#z" }, blob: { B: "c2VjcmV0LXdvcmQ=" } } }),
    record("904", {}),
    record("905", { NewImage: { partition: { S: "tables" }, sort: { S: "control" } } }),
  ];
  const bus = keptBus();
  expect(await teller(bus)(...damaged, ...records)).toEqual({ batchItemFailures: [] });
  expect(bus.sent.length).toBe(TOLD.length);
  expect(output.logs().map(({ message, sequenceNumber }) => `${message} ${sequenceNumber}`)).toEqual(
    ["901", "902", "903"].map((number) => `a change of an item was passed over ${number}`),
  );
});
