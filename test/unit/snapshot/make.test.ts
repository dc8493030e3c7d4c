import { expect, test } from "vitest";
import { readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { partItem } from "../../../lib/checkpoint/items.ts";
import { LEASE_TTL_MS, SPLICES_MAX } from "../../../lib/model/limits.ts";
import { toEpoch } from "../../../lib/model/position.ts";
import type { SnapshotDescription } from "../../../lib/model/snapshot.ts";
import { verifyShard } from "../../../lib/recovery/verify.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { completeAndVerify, type ReadingBack, type Sent, sent } from "../../../lib/snapshot/make.ts";
import { openSnapshot, type Snapshot } from "../../../lib/snapshot/read.ts";
import { appendEach, id, type MemoryWorld, memoryWorld, noAnswer, noise, put, remove, withObjects, worldWithTable } from "../jobs/world.ts";
import { counting, current, killedAfter, request, small, worldWithLog } from "./captures.ts";
import { description, encodeRecords, jsonRecords } from "./parquet/records.ts";
import { load } from "./states.ts";

async function newestSnapshot(world: MemoryWorld): Promise<Snapshot> {
  const rows = await readHistory(world.checkpoints, id);
  const opened = await openSnapshot({ store: world.objects }, rows[rows.length - 1]);
  if (opened.kind === "absent") throw new Error("the newest snapshot is there");
  return opened.snapshot;
}

/** The parts that a capture has the store copy, as `number: offset`, the offset being that of the base. */
function copies(world: MemoryWorld): { readonly world: MemoryWorld; readonly copied: string[] } {
  const copied: string[] = [];
  const watched = withObjects(world, (objects) => ({
    copyPart(part) {
      copied.push(`${part.number}: ${part.source.offset}`);
      return objects.copyPart(part);
    },
  }));
  return { world: watched, copied };
}

test("where the base's first row group stays, its head is copied with it", async () => {
  const world = await worldWithLog();
  await capture(world, small);
  await appendEach(world, [[put("key-2-9", 1)]]);
  const { world: watched, copied } = copies(world);
  expect(await capture(watched, small)).toMatchObject({ kind: "completed" });
  expect(copied[0]).toBe("1: 0");
});

test("where the base's first row groups are gone, what is left of it is copied behind a head of its own", async () => {
  const world = await worldWithLog();
  await capture(world, small);
  const { groups } = await newestSnapshot(world);
  const before = await current(world);
  const gone = before.slice(0, groups[0].rows).map((row) => row.slice(0, row.indexOf("=")));
  await appendEach(world, [gone.map(remove)]);
  const { world: watched, copied } = copies(world);
  const outcome = await capture(watched, small);
  expect(outcome).toMatchObject({ kind: "completed", rows: 120 - gone.length });
  expect(outcome.kind === "completed" && outcome.bytesCopied).toBeGreaterThan(0);
  expect(copied.length).toBeGreaterThan(0);
  expect((await readHistory(world.checkpoints, id)).map(({ verified }) => verified)).toEqual([true, true]);
  expect(await current(world)).toEqual(before.slice(gone.length));
  expect((await verifyShard(world, { id, codec: "json" })).findings).toEqual([]);
});

test("a snapshot tells its base, what producers it remembers, and through how many snapshots row groups were carried", async () => {
  const world = await worldWithLog();
  const descriptions: SnapshotDescription[] = [];
  for (const full of [false, false, true, false]) {
    await capture(world, { ...small, full });
    descriptions.push((await newestSnapshot(world)).description);
    await appendEach(world, [[put("z", descriptions.length)]]);
  }
  const keys = (await readHistory(world.checkpoints, id)).map(({ key }) => key);
  expect(descriptions.map(({ base, splices }) => [base, splices])).toEqual([
    [undefined, 0],
    [keys[0], 1],
    [keys[1], 0],
    [keys[2], 1],
  ]);
  const { sessions } = await load(world);
  expect(descriptions[3]).toMatchObject({ table: "players", shard: 0, codec: "json", index: 123, forgottenThrough: sessions.forgottenThrough });
});

test("after so many snapshots that carry row groups over, one is made whole", async () => {
  const world = await worldWithTable();
  const splices: number[] = [];
  for (let round = 0; round <= SPLICES_MAX + 1; round++) {
    await appendEach(world, [[put(`key-${round}`, round)]]);
    await capture(world, request);
    splices.push((await newestSnapshot(world)).description.splices);
  }
  expect(splices.slice(-3)).toEqual([SPLICES_MAX - 1, SPLICES_MAX, 0]);
});

test("a capture that begins tells of none that it goes on with", async () => {
  const world = await worldWithLog();
  await capture(world, small);
  expect(world.events.filter(({ kind }) => kind === "capture-resumed")).toEqual([]);
});

test("a capture that is told to stop between two pieces sends no more of them", async () => {
  const world = await worldWithLog();
  await capture(world, small);
  await appendEach(world, [[put("key-0-0", 1), put("key-2-39", 1)]]);
  const stop = new AbortController();
  const { world: counted, numbers } = counting(world);
  const stopping = withObjects(counted, (objects) => ({
    async createUpload(key, numbers) {
      stop.abort();
      return objects.createUpload(key, numbers);
    },
    completeUpload: () => Promise.reject(noAnswer()),
  }));
  expect(await capture(stopping, { ...small, signal: stop.signal })).toEqual({ kind: "aborted", reason: expect.stringContaining("told to stop") });
  expect(numbers.length).toBeLessThan(2);
});

test("a capture whose parts do not hold what their notes say ends the attempt, and the next one makes the snapshot", async () => {
  const world = await worldWithLog();
  await killedAfter(world, 2, small);
  const first = partItem(id, toEpoch(1), 1);
  await world.checkpoints.write([{ item: first, when: [{ kind: "present" }], set: { length: 1 } }]);
  expect(await capture(world, small)).toEqual({ kind: "aborted", reason: "its parts do not hold what their notes say; the next capture starts afresh" });
  expect(await capture(world, small)).toMatchObject({ kind: "completed", index: 120 });
});

test("a capture under way whose base is found damaged begins anew from what is left", async () => {
  const world = await worldWithLog();
  await capture(world, small);
  await appendEach(world, [Array.from({ length: 40 }, (_, i) => put(`key-1-${i}`, noise(i, 310)))]);
  await killedAfter(world, 3, small);
  const [{ key, size }] = await readHistory(world.checkpoints, id);
  world.objects.damage(key, (body) => body.fill(0x55, size - 100, size - 90));
  world.clock.advance(LEASE_TTL_MS);
  expect(await capture(world, small)).toMatchObject({ kind: "completed", index: 160, rows: 120, bytesCopied: 0 });
  expect((await readControl(world.checkpoints, id))?.checkpoint?.index).toBe(160);
  expect((await verifyShard(world, { id, codec: "json" })).findings.map(({ object }) => object)).toEqual([key]);
});

/** Row groups of two pages. */
const encoded = await encodeRecords(jsonRecords(40), description, { pageRows: 2, groupBytes: 300 });
const bytesOf = (place: number): number => encoded.groups[place].group.byteLength;
const READ = [1, 3, 5, 7, 9];

/** Reads back what was sent of a snapshot whose upload another has completed; `notes` are what it noted meanwhile. */
async function readingBack(about: Partial<ReadingBack> & { readonly bytes?: Buffer; readonly readBack?: number } = {}) {
  const { bytes = encoded.bytes, readBack, ...asked } = about;
  const world = memoryWorld();
  await world.objects.createIfAbsent("snapshot", bytes);
  const notes: number[] = [];
  const note = async (found: number) => notes.push(found) > 0;
  const made: Sent = { uploaded: { parts: [], bytesSent: 0, bytesCopied: 0, isGone: true }, encoded, read: READ, carried: new Set([5]) };
  const record = { ...RECORD, ...(readBack !== undefined && { readBack }) };
  const outcome = await completeAndVerify(world, record, made, { goOn: async () => true, noteBytes: Infinity, note, ...asked });
  return { outcome, notes };
}

const RECORD = {
  key: "snapshot",
  uploadId: "upload",
  born: toEpoch(1),
  target: description.border,
  full: false,
  encoderVersion: "1",
  sizes: "1",
  startedAtMs: 0,
  bytesExpected: 0,
};

function damagedAt(place: number): Buffer {
  const bytes = Buffer.from(encoded.bytes);
  bytes[encoded.groups[place].group.offset] ^= 1;
  return bytes;
}

test("what is read back is noted each time that so many bytes were found sound", async () => {
  const noteBytes = bytesOf(1) + bytesOf(3);
  expect(await readingBack({ noteBytes })).toEqual({ outcome: { kind: "verified" }, notes: [2, 4] });
  expect((await readingBack({ noteBytes: noteBytes + 1 })).notes[0]).toBe(3);
  expect((await readingBack({ noteBytes: bytesOf(7), readBack: 3 })).notes[0]).toBe(4);
});

test("who is told to stop while it reads back notes what was found sound since, if anything was", async () => {
  const stoppingAfter = (asks: number) => {
    let asked = 0;
    return { goOn: async () => ++asked < asks };
  };
  expect(await readingBack(stoppingAfter(1))).toEqual({ outcome: { kind: "stopped" }, notes: [] });
  expect(await readingBack(stoppingAfter(4))).toEqual({ outcome: { kind: "stopped" }, notes: [3] });
});

test("who cannot note how far it came stops, as another has the lease", async () => {
  expect(await readingBack({ noteBytes: 1, note: async () => false })).toEqual({ outcome: { kind: "stopped" }, notes: [] });
});

test("damage is the base's where the row group was carried over, and the sender's elsewhere, wherever the reading began", async () => {
  const kindAt = async (place: number, readBack?: number) =>
    (await readingBack({ bytes: damagedAt(place), ...(readBack !== undefined && { readBack }) })).outcome.kind;
  expect([await kindAt(3), await kindAt(5), await kindAt(7)]).toEqual(["failed", "carriedDamage", "failed"]);
  expect([await kindAt(3, 1), await kindAt(5, 1), await kindAt(5, 2), await kindAt(7, 2)]).toEqual(["failed", "carriedDamage", "carriedDamage", "failed"]);
  expect([await kindAt(3, 2), await kindAt(0)]).toEqual(["verified", "verified"]);
});

test("row groups are read back in their order: those that were sent, and those whose turn it is", async () => {
  const state = await load(await worldWithLog());
  const groups = encoded.groups.map(({ group }) => group);
  const part = (number: number, from: number, copied: boolean) => ({ number, etag: "e", offset: groups[from].offset, length: groups[from].byteLength, copied });
  const uploaded = { parts: [part(1, 1, true), part(2, 4, false), part(3, 6, false)], bytesSent: 0, bytesCopied: 0 };
  expect(sent(state, { uploaded, encoded, carried: new Set([1]), inTurn: [0, 6, 5] }).read).toEqual([0, 4, 5, 6]);
});
