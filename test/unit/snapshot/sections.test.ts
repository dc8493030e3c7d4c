import fc from "fast-check";
import { expect, test } from "vitest";
import { readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { controlItem, partItem } from "../../../lib/checkpoint/items.ts";
import { LEASE_TTL_MS, S3_PARTS_MAX, SECTION_BYTES, SECTIONS_MAX } from "../../../lib/model/limits.ts";
import { toEpoch } from "../../../lib/model/position.ts";
import type { Attributes } from "../../../lib/ports/checkpoint-store.ts";
import { verifyShard } from "../../../lib/recovery/verify.ts";
import { capture, spreadCapture } from "../../../lib/snapshot/capture.ts";
import { captureSection } from "../../../lib/snapshot/capture-section.ts";
import type { Spread } from "../../../lib/snapshot/outcome.ts";
import { encodeNote } from "../../../lib/snapshot/progress.ts";
import { partsStart, sectionOf, sectionsFor, sectionStarts } from "../../../lib/snapshot/sections.ts";
import { appendEach, current, id, type MemoryWorld, noAnswer, noise, put, remove, withObjects } from "../jobs/world.ts";
import { withoutChecksums, worldWithLog } from "./captures.ts";
import { isRight, scattered, spread, TAIL, wide, worldWithChanges } from "./spreads.ts";

test.each([[[0, 1, 2]], [[2, 0, 1]], [[1, 1, 2, 0]]])("sections made in the order %j are one snapshot, the same as one made in one", async (order) => {
  const world = await worldWithChanges(scattered);
  const expected = await current(world);
  const { epoch, sections } = await spread(world);
  expect(sections).toEqual([0, 1, 2]);
  const kinds: string[] = [];
  for (const section of order) kinds.push((await captureSection(world, { ...wide, epoch, section })).kind);
  expect(kinds).toEqual([...order.slice(1).map(() => "sectionDone"), "completed"]);
  expect(await captureSection(world, { ...wide, epoch, section: 0 })).toEqual({ kind: "outOfDate" });
  await isRight(world, expected);
});

test("sections that are left are made by whoever captures next, and what was done of them is not done again", async () => {
  const world = await worldWithChanges(scattered);
  const expected = await current(world);
  const { epoch } = await spread(world);
  await captureSection(world, { ...wide, epoch, section: 1 });
  world.clock.advance(LEASE_TTL_MS);
  const numbers: number[] = [];
  const counted = withObjects(world, (objects) => ({
    async uploadPart(part) {
      numbers.push(part.number);
      return objects.uploadPart(part);
    },
  }));
  expect(await capture(counted, wide)).toMatchObject({ kind: "completed" });
  expect(numbers.filter((number) => number > 3_333 && number < 6_666)).toEqual([]);
  expect(await captureSection(world, { ...wide, epoch, section: 2 })).toEqual({ kind: "outOfDate" });
  await isRight(world, expected);
});

test("whoever makes a section comes to the base that the capture came to, past one whose rows are damaged", async () => {
  const keys = Array.from({ length: 120 }, (_, i) => `key-${i % 3}-${i % 40}`);
  const world = await worldWithChanges(keys.slice(1).map(remove));
  expect(await capture(world, { ...wide, sections: 1 })).toMatchObject({ kind: "completed" });
  await appendEach(world, [keys.map((key, i) => put(key, noise(i, 300)))]);
  const expected = await current(world);
  const [, newest] = await readHistory(world.checkpoints, id);
  world.objects.damage(newest.key, (body) => body.fill(0x5a, 4, 40));
  const { epoch, sections } = await spread(world);
  const kinds: string[] = [];
  for (const section of sections) kinds.push((await captureSection(world, { ...wide, epoch, section })).kind);
  expect(kinds).toEqual(["sectionDone", "sectionDone", "completed"]);
  expect(await current(world)).toEqual(expected);
});

test("a section is not made by a program that cuts snapshots otherwise", async () => {
  const world = await worldWithChanges(scattered);
  const { epoch } = await spread(world);
  expect(await captureSection(world, { ...wide, sizes: { ...wide.sizes, groupBytes: 900 }, epoch, section: 0 })).toEqual({ kind: "outOfDate" });
  expect(await captureSection(world, { ...wide, epoch, section: 0 })).toEqual({ kind: "sectionDone" });
});

test("a section whose records are gone ends the attempt, and the next capture makes the snapshot in one", async () => {
  const all = Array.from({ length: 40 }, (_, i) => remove(`key-0-${i}`));
  const world = await worldWithChanges([...all, put("key-2-1", 7)]);
  const expected = await current(world);
  const { epoch } = await spread(world);
  expect(await captureSection(world, { ...wide, epoch, section: 0 })).toMatchObject({ kind: "aborted", reason: expect.stringContaining("in one") });
  expect((await readControl(world.checkpoints, id))?.capture?.sections).toBeUndefined();
  expect(await captureSection(world, { ...wide, epoch, section: 1 })).toEqual({ kind: "outOfDate" });
  expect(await capture(world, wide)).toMatchObject({ kind: "completed" });
  await isRight(world, expected);
});

test.each([
  ["first", "a"],
  ["last", "z"],
])("where the %s section takes more parts than it has numbers, the next capture makes the snapshot in one", async (_, prefix) => {
  const tiny = { ...wide, sizes: { ...wide.sizes, groupBytes: 500, partBytes: 300, partBytesMin: 100 }, sections: 50 };
  const world = await worldWithLog();
  expect(await capture(world, tiny)).toMatchObject({ kind: "completed" });
  await appendEach(world, [Array.from({ length: 400 }, (_, i) => put(`${prefix}${i}`, noise(i, 300)))]);
  const expected = await current(world);
  expect(await capture(world, tiny)).toMatchObject({ kind: "aborted", reason: expect.stringMatching("more parts than it has numbers; .* in one") });
  expect(await capture(world, tiny)).toMatchObject({ kind: "completed" });
  await isRight(world, expected);
});

async function lastSectionOf(world: MemoryWorld): Promise<{ readonly epoch: Spread["epoch"]; readonly section: number }> {
  const { epoch } = await spread(world);
  for (const section of [0, 1]) expect(await captureSection(world, { ...wide, epoch, section })).toEqual({ kind: "sectionDone" });
  return { epoch, section: 2 };
}

test.each([0, 1, 2])("what section %i sent is read back before the snapshot counts", async (damaged) => {
  const world = await worldWithChanges(scattered);
  let flipped = false;
  const rotten = withObjects(world, (objects) => ({
    async uploadPart(part) {
      const body = Buffer.from(part.body);
      const isOfSection = part.number > partsStart(damaged, 3) && part.number <= partsStart(damaged + 1, 3);
      if (isOfSection && !flipped) {
        flipped = true;
        body[body.length >> 1] ^= 1;
      }
      return objects.uploadPart({ ...part, body });
    },
  }));
  const outcome = await captureSection(rotten, { ...wide, ...(await lastSectionOf(rotten)) });
  expect([flipped, outcome]).toEqual([true, { kind: "aborted", reason: expect.stringContaining("starts afresh") }]);
  expect((await readControl(world.checkpoints, id))?.checkpoint?.index).toBe(120);
  expect(await capture(world, wide)).toMatchObject({ kind: "completed" });
});

test("who puts the sections together under a lease that was taken meanwhile is out of date, and ends no upload", async () => {
  const world = await worldWithChanges(scattered);
  const last = await lastSectionOf(world);
  let completed = 0;
  const fenced = withObjects(world, (objects) => ({
    async uploadPart(part) {
      if (part.number === TAIL) await world.checkpoints.write([{ item: controlItem(id), when: [], set: { epoch: 9, stamp: "e".repeat(32) } }]);
      return objects.uploadPart(part);
    },
    completeUpload(upload) {
      completed += 1;
      return objects.completeUpload(upload);
    },
  }));
  expect(await captureSection(fenced, { ...wide, ...last })).toEqual({ kind: "outOfDate" });
  expect(completed).toBe(0);
});

test("a section that is stored under a lease that was taken meanwhile does not count as done", async () => {
  const world = await worldWithChanges(scattered);
  const { epoch } = await spread(world);
  const fenced = withObjects(world, (objects) => ({
    async uploadPart(part) {
      await world.checkpoints.write([{ item: controlItem(id), when: [], set: { epoch: 9, stamp: "e".repeat(32) } }]);
      return objects.uploadPart(part);
    },
  }));
  expect(await captureSection(fenced, { ...wide, epoch, section: 1 })).toEqual({ kind: "outOfDate" });
  expect(world.checkpoints.items.some(({ attributes }) => attributes.done === true)).toBe(false);
});

test("two workers who find the last section done make one snapshot, and both say so", async () => {
  const world = await worldWithChanges(scattered);
  const expected = await current(world);
  const last = await lastSectionOf(world);
  let other: Promise<unknown> | undefined;
  const overtaken = withObjects(world, (objects) => ({
    async uploadPart(part) {
      if (part.number === TAIL) other ??= captureSection(world, { ...wide, ...last });
      await other;
      return objects.uploadPart(part);
    },
  }));
  const outcome = await captureSection(overtaken, { ...wide, ...last });
  expect([outcome, await other]).toMatchObject([
    { kind: "completed", index: 126, bytesSent: 0 },
    { kind: "completed", index: 126 },
  ]);
  await isRight(world, expected);
});

test("an upload that is ended before its sections are together begins afresh", async () => {
  const world = await worldWithChanges(scattered);
  const last = await lastSectionOf(world);
  const ended = withObjects(world, (objects) => ({
    async uploadPart(part) {
      if (part.number === TAIL) await objects.abortUpload(part);
      return objects.uploadPart(part);
    },
  }));
  expect(await captureSection(ended, { ...wide, ...last })).toMatchObject({ kind: "aborted", reason: expect.stringContaining("the upload of") });
  expect((await readControl(world.checkpoints, id))?.capture).toBeUndefined();
});

test.each<[string, (part: Attributes) => Attributes]>([
  ["has no note", ({ note: _, ...rest }) => rest],
  ["is of another length", (part) => ({ ...part, length: 1 })],
])("where a part of a section that is done %s, the attempt ends, and a later capture makes the snapshot", async (_, change) => {
  const world = await worldWithChanges(scattered);
  const last = await lastSectionOf(world);
  const uploadId = (await readControl(world.checkpoints, id))?.capture?.uploadId;
  const [first] = world.checkpoints.items.filter(({ attributes }) => attributes.uploadId === uploadId && attributes.note !== undefined);
  await world.checkpoints.write([{ item: first.key, when: [], put: change(first.attributes) }]);
  expect(await captureSection(world, { ...wide, ...last })).toMatchObject({ kind: "aborted", reason: expect.stringContaining("in one") });
  const expected = await current(world);
  expect(await capture(world, wide)).toMatchObject({ kind: "completed" });
  await isRight(world, expected);
});

test("a section under way whose parts do not hold what their notes say ends the attempt, and a later capture makes the snapshot", async () => {
  const world = await worldWithChanges(scattered);
  const expected = await current(world);
  const full = { ...wide, full: true };
  const spreadOut = await spreadCapture(world, full);
  const epoch = spreadOut.kind === "spread" ? spreadOut.epoch : toEpoch(0);
  let sent = 0;
  const killed = withObjects(world, (objects) => ({
    async uploadPart(part) {
      if (sent++ === 2) throw noAnswer();
      return objects.uploadPart(part);
    },
  }));
  await expect(captureSection(killed, { ...full, epoch, section: 1 })).rejects.toMatchObject({ kind: "retry" });
  const first = partItem(id, epoch, partsStart(1, 3) + 1);
  await world.checkpoints.write([{ item: first, when: [{ kind: "present" }], set: { length: 1 } }]);
  expect(await captureSection(world, { ...full, epoch, section: 1 })).toEqual({
    kind: "aborted",
    reason: "its parts do not hold what their notes say; the next capture starts afresh",
  });
  expect(await capture(world, wide)).toMatchObject({ kind: "completed" });
  await isRight(world, expected);
});

test("what another upload of the same epoch left counts for nothing", async () => {
  const world = await worldWithChanges(scattered);
  const expected = await current(world);
  const { epoch } = await spread(world);
  const other = { uploadId: "another" };
  for (const section of [0, 1]) {
    const begin = partsStart(section, 3);
    const part = { ...other, etag: "e", offset: 0, length: 9, copied: false, note: encodeNote([]) ?? "" };
    await world.checkpoints.write([
      { item: partItem(id, epoch, begin), when: [], put: { ...other, done: true, parts: 1 } },
      { item: partItem(id, epoch, begin + 1), when: [], put: part },
    ]);
  }
  const outcomes: unknown[] = [];
  for (const section of [2, 1, 0]) outcomes.push((await captureSection(world, { ...wide, epoch, section })).kind);
  expect(outcomes).toEqual(["sectionDone", "sectionDone", "completed"]);
  await isRight(world, expected);
});

test("what is found damaged of all that sections hold is the base's where it was carried over, and no fault of it where it was sent", async () => {
  const verdictWhere = async (prepare: (world: MemoryWorld) => Promise<MemoryWorld>) => {
    const world = await prepare(await worldWithChanges([put("key-2-39", noise(3, 310))]));
    const outcome = await captureSection(world, { ...wide, ...(await lastSectionOf(world)) });
    const rows = await readHistory(world.checkpoints, id);
    return [outcome.kind, rows.map(({ index, verified }) => [index, verified])];
  };
  const rottenBase = async (world: MemoryWorld) => {
    const [{ key }] = await readHistory(world.checkpoints, id);
    world.objects.damage(key, (body) => body.fill(0x55, 4, 40));
    return withoutChecksums(world);
  };
  const rottenPart = async (world: MemoryWorld) =>
    withObjects(world, (objects) => ({
      uploadPart: (part) => objects.uploadPart(part.number > partsStart(2, 3) && part.number < TAIL ? { ...part, body: flipped(part.body) } : part),
    }));
  expect(await verdictWhere(rottenBase)).toEqual(["aborted", [[120, false]]]);
  expect(await verdictWhere(rottenPart)).toEqual(["aborted", [[120, true]]]);
});

function flipped(bytes: Uint8Array): Buffer {
  const body = Buffer.from(bytes);
  body[body.length >> 1] ^= 1;
  return body;
}

test("damage that a section carries over is found before the snapshot counts, though the store tells no CRC-32 of what it copies into it", async () => {
  const world = await worldWithChanges([put("zz", 1)]);
  expect(await capture(world, wide)).toMatchObject({ kind: "completed" });
  const damaged = (await readControl(world.checkpoints, id))?.checkpoint?.key ?? "";
  world.objects.damage(damaged, (body) => body.fill(0x5a, 9_000, 9_001));
  await appendEach(world, [[put("zzz", 2)]]);
  expect(await capture(world, wide)).toMatchObject({ kind: "aborted", reason: expect.stringContaining("carried over") });
  expect(await capture(world, wide)).toMatchObject({ kind: "completed", index: 122 });
  expect((await readHistory(world.checkpoints, id)).map(({ verified }) => verified)).toEqual([true, false, true]);
  expect((await verifyShard(world, { id, codec: "json" })).findings.map(({ object }) => object)).toEqual([damaged]);
});

test("sections tile the row groups, and their keys all keys", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(10_000), { minLength: 1, maxLength: 60 }), fc.integer({ min: 1, max: 16 }), (sizes, count) => {
      const groups = sizes.map((byteLength, i) => ({ byteLength, firstKey: Buffer.from(String(i).padStart(4, "0")) }));
      const starts = sectionStarts(groups, count);
      expect(starts.length).toBeLessThanOrEqual(count);
      const sections = starts.map((_, number) => sectionOf(starts, groups, number));
      expect(sections[0]).toMatchObject({ from: 0 });
      expect(sections[0].fromKey).toBeUndefined();
      expect(sections.at(-1)?.aboveKey).toBeUndefined();
      expect(sections.at(-1)?.to).toBe(groups.length);
      for (const [i, section] of sections.entries()) {
        expect(section.to).toBeGreaterThan(section.from);
        if (i > 0) expect([section.from, section.fromKey]).toEqual([sections[i - 1].to, sections[i - 1].aboveKey]);
      }
    }),
  );
});

test("a base is worth a section for so many bytes, at least one and at most so many", () => {
  const bytes = [0, SECTION_BYTES - 1, SECTION_BYTES, 2 * SECTION_BYTES - 1, 2 * SECTION_BYTES, SECTIONS_MAX * SECTION_BYTES, 99 * SECTION_BYTES];
  expect(bytes.map(sectionsFor)).toEqual([1, 1, 1, 1, 2, SECTIONS_MAX, SECTIONS_MAX]);
});

test("sections have about the same bytes", () => {
  const starts = (sizes: readonly number[], count: number) =>
    sectionStarts(
      sizes.map((byteLength) => ({ byteLength })),
      count,
    );
  expect(starts([1, 1, 1, 1, 1, 1], 3)).toEqual([0, 2, 4]);
  expect(starts([4, 1, 1, 1, 1], 2)).toEqual([0, 1]);
  expect(starts([1, 1, 1, 1, 4], 2)).toEqual([0, 4]);
  expect(starts([9, 1, 1], 3)).toEqual([0, 1, 2]);
  expect(starts([1, 1], 5)).toEqual([0, 1]);
  expect(starts([5], 4)).toEqual([0]);
  expect(starts([2, 2, 2], 1)).toEqual([0]);
});

test("sections have as many part numbers each, and one is left for the tail behind the last", () => {
  expect([0, 1, 2, 3].map((number) => partsStart(number, 3))).toEqual([0, 3_333, 6_666, 9_999]);
  for (let sections = 1; sections <= SECTIONS_MAX; sections++) expect(partsStart(sections, sections) + 1).toBeLessThanOrEqual(S3_PARTS_MAX);
});
