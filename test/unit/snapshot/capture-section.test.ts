import { expect, test } from "vitest";
import { readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { controlItem, historyItem } from "../../../lib/checkpoint/items.ts";
import { LEASE_TTL_MS } from "../../../lib/model/limits.ts";
import { toEpoch } from "../../../lib/model/position.ts";
import type { Attributes } from "../../../lib/ports/checkpoint-store.ts";
import { recover } from "../../../lib/recovery/recover.ts";
import { capture, spreadCapture } from "../../../lib/snapshot/capture.ts";
import { captureSection } from "../../../lib/snapshot/capture-section.ts";
import { appendEach, contentOf, id, type MemoryWorld, noAnswer, put, remove, START_MS, withObjects } from "../jobs/world.ts";
import { isRight, scattered, spread, TAIL, wide, worldWithChanges } from "./spreads.ts";

test("while others make its sections, a capture keeps its lease", async () => {
  const world = await worldWithChanges(scattered);
  const { epoch } = await spread(world);
  expect(await readControl(world.checkpoints, id)).toMatchObject({ epoch, lease: { untilMs: START_MS + LEASE_TTL_MS } });
  expect(await capture(world, wide)).toMatchObject({ kind: "rejected" });
});

test("a section of no shard, of no capture, of another epoch or beyond the last is out of date", async () => {
  const world = await worldWithChanges(scattered);
  const outcomeOf = (asked: object) => captureSection(world, { ...wide, epoch: toEpoch(2), section: 0, ...asked });
  expect(await outcomeOf({})).toEqual({ kind: "outOfDate" });
  const { epoch } = await spread(world);
  for (const asked of [{ section: 3 }, { epoch: toEpoch(epoch - 1) }, { epoch: toEpoch(epoch + 1) }, { id: { ...id, shard: 1 } }]) {
    expect(await outcomeOf({ epoch, ...asked })).toEqual({ kind: "outOfDate" });
  }
  expect(await outcomeOf({ epoch, section: 2 })).toEqual({ kind: "sectionDone" });
});

test("who captures next is told the sections that are left, and makes the snapshot itself where none is", async () => {
  const world = await worldWithChanges(scattered);
  const expected = await contentOf(await recover(world, { id, codec: "json" }));
  const first = await spread(world);
  await captureSection(world, { ...wide, epoch: first.epoch, section: 1 });
  world.clock.advance(LEASE_TTL_MS);
  const second = await spread(world);
  expect(second.sections).toEqual([0, 2]);
  await captureSection(world, { ...wide, epoch: second.epoch, section: 0 });
  const killed = withObjects(world, (objects) => ({
    uploadPart: (part) => (part.number === TAIL ? Promise.reject(noAnswer()) : objects.uploadPart(part)),
  }));
  await expect(captureSection(killed, { ...wide, epoch: second.epoch, section: 2 })).rejects.toMatchObject({ kind: "retry" });
  world.clock.advance(LEASE_TTL_MS);
  expect(await spreadCapture(world, { ...wide, signal: AbortSignal.abort() })).toMatchObject({
    kind: "aborted",
    reason: expect.stringContaining("told to stop"),
  });
  expect(await spreadCapture(world, wide)).toMatchObject({ kind: "completed", index: 126 });
  await isRight(world, expected);
});

test("who is told to stop before it makes a section leaves it to others", async () => {
  const world = await worldWithChanges(scattered);
  const { epoch } = await spread(world);
  const stopped = { ...wide, epoch, section: 0, signal: AbortSignal.abort() };
  expect(await captureSection(world, stopped)).toEqual({ kind: "aborted", reason: expect.stringContaining("told to stop") });
  expect(await captureSection(world, { ...wide, epoch, section: 0 })).toEqual({ kind: "sectionDone" });
});

/** Two generations, of which the newer one is the base of a capture whose sections are being made. */
async function worldWithOlderGeneration() {
  const world = await worldWithChanges(scattered);
  expect(await capture(world, wide)).toMatchObject({ kind: "completed" });
  await appendEach(world, [[put("key-1-1", 1)]]);
  const { epoch } = await spread(world);
  const [, base] = await readHistory(world.checkpoints, id);
  const changeBase = (set: Attributes) => world.checkpoints.write([{ item: historyItem(id, base), when: [{ kind: "present" }], set }]);
  return { world, base, changeBase, made: (by = world) => captureSection(by, { ...wide, epoch, section: 0 }) };
}

async function verdicts(world: MemoryWorld) {
  return (await readHistory(world.checkpoints, id)).map(({ verified }) => verified);
}

test.each(["gone", "damaged"])("a base that is found %s by who makes a section counts no more, and the one before serves", async (how) => {
  const { world, base, made } = await worldWithOlderGeneration();
  if (how === "gone") await world.objects.deleteMany([base.key]);
  else world.objects.damage(base.key, (body) => body.fill(0x55, base.size - 100, base.size - 90));
  expect(await made()).toEqual({ kind: "aborted", reason: expect.stringMatching(`^${base.key} is damaged: .*; the next capture starts afresh$`) });
  expect(await verdicts(world)).toEqual([true, false]);
  expect(await capture(world, wide)).toMatchObject({ kind: "completed", index: 127 });
});

test("a base that is being deleted ends the making of sections, and is no damage", async () => {
  const { world, changeBase, made } = await worldWithOlderGeneration();
  await changeBase({ state: "deleting" });
  expect(await made()).toEqual({ kind: "aborted", reason: "its base is gone; the next capture starts afresh" });
  expect(await verdicts(world)).toEqual([true, true]);
});

test("sections are not made of another base than that of the capture", async () => {
  const { changeBase, made } = await worldWithOlderGeneration();
  await changeBase({ verified: false });
  expect(await made()).toEqual({ kind: "aborted", reason: "another base serves now; the next capture starts afresh" });
});

test("a fault that is no damage of the base is told to who makes a section", async () => {
  const { world, base, made } = await worldWithOlderGeneration();
  const silent = withObjects(world, (objects) => ({
    getRange: (key, range) => (key === base.key ? Promise.reject(noAnswer()) : objects.getRange(key, range)),
  }));
  await expect(made(silent)).rejects.toMatchObject({ kind: "retry", code: "no-answer" });
  expect(await verdicts(world)).toEqual([true, true]);
});

test("who would make a snapshot in one under a lease that was taken meanwhile is out of date", async () => {
  const world = await worldWithChanges(Array.from({ length: 40 }, (_, i) => remove(`key-0-${i}`)));
  const { epoch } = await spread(world);
  const fenced = withObjects(world, (objects) => ({
    async createUpload(key, numbers) {
      await world.checkpoints.write([{ item: controlItem(id), when: [], set: { epoch: 9, stamp: "e".repeat(32) } }]);
      return objects.createUpload(key, numbers);
    },
  }));
  expect(await captureSection(fenced, { ...wide, epoch, section: 0 })).toEqual({ kind: "outOfDate" });
});
