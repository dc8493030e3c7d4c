import { expect, test } from "vitest";
import { readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { controlItem } from "../../../lib/checkpoint/items.ts";
import { verifyShard } from "../../../lib/recovery/verify.ts";
import { readTail } from "../../../lib/redo-log/tail.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { openSnapshot } from "../../../lib/snapshot/read.ts";
import { appendEach, id, type MemoryWorld, noise, put, START_MS, withObjects, worldWithTable } from "../jobs/world.ts";
import { checkpointIndex, request, withoutChecksums, worldWithLog } from "./captures.ts";

/** Row groups and parts of a few records. */
const cuts = { ...request, sizes: { pageRows: 2, groupBytes: 1_000, partBytes: 3_000, partBytesMin: 1_500, copyBytes: 3_000 } };

/** A generation whose first row group is damaged, with changes behind it of the last one alone. */
async function worldWithRottenBase(): Promise<{ readonly world: MemoryWorld; readonly key: string }> {
  const world = await worldWithTable();
  await appendEach(world, [Array.from({ length: 40 }, (_, i) => put(`key-${10 + i}`, noise(i, 300)))]);
  const first = await capture(world, cuts);
  const key = first.kind === "completed" ? first.key : "";
  await appendEach(world, [[put("key-49", 1)]]);
  world.objects.damage(key, (body) => body.fill(0x55, 4, 40));
  return { world: withoutChecksums(world), key };
}

const verdicts = async (world: MemoryWorld) => (await readHistory(world.checkpoints, id)).map(({ index, verified }) => [index, verified]);

test("a base whose damage is found once it was carried over counts no more, and the next capture passes it over", async () => {
  const { world, key } = await worldWithRottenBase();
  expect(await capture(world, cuts)).toEqual({ kind: "aborted", reason: expect.stringContaining("the next capture starts afresh") });
  expect(await verdicts(world)).toEqual([[40, false]]);
  expect(await capture(world, cuts)).toMatchObject({ kind: "completed", index: 41, rows: 40, bytesCopied: 0 });
  expect(await verdicts(world)).toEqual([
    [40, false],
    [41, true],
  ]);
  expect((await verifyShard(world, { id, codec: "json" })).findings.map(({ object }) => object)).toEqual([key]);
});

test.each([1, 3])("where no other base is left than one whose damage was found by %i sections, a capture fails by its name", async (sections) => {
  const { world, key } = await worldWithRottenBase();
  await world.checkpoints.write([{ item: controlItem(id), when: [], set: { lowWater: 41 } }]);
  expect(await capture(world, { ...cuts, sections })).toMatchObject({ kind: "aborted" });
  await expect(capture(world, { ...cuts, sections })).rejects.toMatchObject({ kind: "repair", object: key });
  expect(await checkpointIndex(world)).toBe(40);
});

test("a capture that would start afresh under a lease that was taken meanwhile is out of date, and clears no record", async () => {
  const world = await worldWithLog();
  const fenced = withObjects(world, () => ({
    async completeUpload() {
      await world.checkpoints.write([{ item: controlItem(id), when: [], set: { epoch: 9, stamp: "e".repeat(32) } }]);
      return { kind: "invalidPart" };
    },
  }));
  expect(await capture(fenced, request)).toEqual({ kind: "outOfDate" });
  expect((await readControl(world.checkpoints, id))?.capture).toBeDefined();
});

test("what a capture read and sent, and the time that it took, is published for the planner", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)], [put("b", 2), put("c", 3)]]);
  const slow = withObjects(world, (objects) => ({
    async get(key) {
      world.clock.advance(1_000);
      return objects.get(key);
    },
    async completeUpload(upload) {
      world.clock.advance(4_000);
      return objects.completeUpload(upload);
    },
  }));
  const outcome = await capture(slow, { ...request, leaseTtlMs: 60_000 });
  const [{ key, border, size }] = await readHistory(world.checkpoints, id);
  expect(outcome).toMatchObject({ kind: "completed", bytes: size, bytesSent: size });
  const opened = await openSnapshot({ store: world.objects }, { key });
  const bytesRead = opened.kind === "absent" ? 0 : opened.snapshot.groups[0].byteLength;
  const tail = await readTail(world.checkpoints, id);
  expect(tail).toEqual({
    incarnation: (await readControl(world.checkpoints, id))?.incarnation,
    border,
    capturedNext: 4,
    capturedAtMs: START_MS + 7_000,
    snapshotBytes: size,
    log: { files: 2, bytes: tail?.log.bytes, rawBytes: 15 },
    capturedLog: { files: 2, bytes: tail?.log.bytes },
    sentBytes: size,
    // Two redo files and a look for a third took 3 s, three mutations of them 15 µs by what is assumed; the one row group's bytes 4 s.
    rates: { fileMicros: 1_499_992, readPerSecond: Math.floor(bytesRead / 4) },
  });
});

test("the planner's figures of a shard grow by each capture's", async () => {
  const world = await worldWithTable();
  let sent = 0;
  for (let round = 0; round < 2; round++) {
    await appendEach(world, [[put(`key-${round}`, round)]]);
    const outcome = await capture(world, request);
    if (outcome.kind === "completed") sent += outcome.bytesSent;
    expect(await readTail(world.checkpoints, id)).toMatchObject({ sentBytes: sent, capturedLog: { files: round + 1 }, rates: {} });
  }
});
