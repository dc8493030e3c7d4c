// The size of the log as the tail item tells it: what is there, whoever appended it, and by whatever way a writer got there.

import { expect, test } from "vitest";
import { tailItem } from "../../../lib/checkpoint/items.ts";
import { cleanupShard } from "../../../lib/jobs/cleanup.ts";
import { openWriter } from "../../../lib/jobs/append.ts";
import { getTable } from "../../../lib/jobs/tables.ts";
import type { LogSize } from "../../../lib/model/log-size.ts";
import { measured, type Rates } from "../../../lib/model/rates.ts";
import { decodeRedoFile } from "../../../lib/redo-log/codec.ts";
import { publishCaptured, readTail } from "../../../lib/redo-log/tail.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { borderAt } from "../checkpoint/samples.ts";
import { appendEach, appendTogether, id, type MemoryWorld, noAnswer, put, START_MS, withCheckpoints, worldWithTable } from "../jobs/world.ts";

/** The redo files that are stored. */
function storedLog({ objects }: MemoryWorld): LogSize {
  const files = [...objects.objects.entries()].filter(([key]) => key.endsWith(".redo"));
  const bytes = files.reduce((sum, [, body]) => sum + body.length, 0);
  const rawBytes = files.reduce((sum, [key, body]) => sum + decodeRedoFile(Buffer.from(body), key).header.rawBytes, 0);
  return { files: files.length, bytes, rawBytes };
}

const batches = (...values: readonly number[]) => values.map((value) => [put(`k${value}`, value), put(`l${value}`, "x".repeat(value))]);
const open = (world: MemoryWorld) => openWriter(world, { id, codec: "json" });

test("the log's size is that of its redo files, alone and in company", async () => {
  const world = await worldWithTable();
  await appendEach(world, batches(1, 20, 300));
  await appendTogether(world, batches(4, 50, 600));
  expect((await readTail(world.checkpoints, id))?.log).toEqual(storedLog(world));
  expect(storedLog(world)).toMatchObject({ files: 4 });
});

test("a writer that is behind others, once or for long, counts their files too", async () => {
  const world = await worldWithTable();
  const [one, other] = [open(world), open(world)];
  await one.append({ mutations: batches(1)[0] });
  await other.append({ mutations: batches(20)[0] });
  await one.append({ mutations: batches(300)[0] });
  for (const value of [5, 6, 7]) await other.append({ mutations: batches(value)[0] });
  await one.append({ mutations: batches(8)[0] });
  expect((await readTail(world.checkpoints, id))?.log).toEqual(storedLog(world));
});

test("what a killed writer never published is counted by who comes next, or by the cleanup that finds it", async () => {
  for (const next of ["writer", "cleanup"] as const) {
    const world = await worldWithTable();
    await appendEach(world, batches(1));
    const silent = withCheckpoints(world, (checkpoints) => ({
      async write(changes) {
        if (changes.length === 1 && changes[0].item.sort === "tail") throw noAnswer();
        return checkpoints.write(changes);
      },
    }));
    await appendEach(silent, batches(20, 300));
    if (next === "writer") await appendEach(world, batches(4));
    else await cleanupShard(world, { id, policy: await getTable(world, "players") });
    expect((await readTail(world.checkpoints, id))?.log).toEqual(storedLog(world));
  }
});

test("behind a capture of everything nothing of the log waits, and what comes then does", async () => {
  const world = await worldWithTable();
  const writer = open(world);
  for (const mutations of batches(1, 20, 300)) await writer.append({ mutations });
  const before = storedLog(world);
  const outcome = await capture(world, { id, codec: "json" });
  for (const mutations of batches(4)) await writer.append({ mutations });
  const hint = await readTail(world.checkpoints, id);
  expect(hint).toMatchObject({ log: storedLog(world), capturedLog: { files: before.files, bytes: before.bytes } });
  expect(outcome).toMatchObject({ kind: "completed", bytes: hint?.snapshotBytes, bytesSent: hint?.sentBytes });
});

test("what captures send adds up", async () => {
  const world = await worldWithTable();
  let sent = 0;
  for (const value of [1, 20, 300]) {
    await appendEach(world, batches(value));
    const outcome = await capture(world, { id, codec: "json" });
    sent += outcome.kind === "completed" ? outcome.bytesSent : 0;
  }
  expect(sent).toBeGreaterThan(0);
  expect((await readTail(world.checkpoints, id))?.sentBytes).toBe(sent);
});

test("of a log that went on during a capture, the captured part is reckoned by its mutations", async () => {
  const world = await worldWithTable();
  await appendEach(world, batches(1, 20, 300, 4));
  const { incarnation = "", log } = (await readTail(world.checkpoints, id)) ?? {};
  await publishCaptured(world.checkpoints, id, { incarnation, border: borderAt(3), atMs: 5, snapshotBytes: 900 });
  expect((await readTail(world.checkpoints, id))?.capturedLog).toEqual({ files: 1, bytes: Math.round((log?.bytes ?? 0) / 4) });
  await publishCaptured(world.checkpoints, id, { incarnation, border: borderAt(7), atMs: 6, snapshotBytes: 900 });
  expect((await readTail(world.checkpoints, id))?.capturedLog).toEqual({ files: 3, bytes: Math.round(((log?.bytes ?? 0) * 3) / 4) });
});

test("a capture that came further than the published tail has captured all of the log, no more", async () => {
  const world = await worldWithTable();
  await appendEach(world, batches(1, 20, 300));
  const { incarnation = "", log } = (await readTail(world.checkpoints, id)) ?? {};
  await publishCaptured(world.checkpoints, id, { incarnation, border: borderAt(19), atMs: 5, snapshotBytes: 900 });
  expect((await readTail(world.checkpoints, id))?.capturedLog).toEqual({ files: 3, bytes: log?.bytes });
});

test("a capture's replay is laid to as many files as its mutations had behind the last capture, and to one at least", async () => {
  const world = await worldWithTable();
  // Each file has two mutations.
  await appendEach(world, batches(1, 20, 300, 4));
  const made = { mutations: 8, replayMs: 8_000, bytes: 0, readMs: 0, sentBytes: 100 };
  let expected: Rates = {};
  const steps = [
    { appended: [], mutations: 8, files: 4 },
    { appended: [5, 6, 7], mutations: 6, files: 3 },
    // All is captured: nothing tells how many files there were.
    { appended: [], mutations: 6, files: 1 },
    { appended: [8], mutations: 0, files: 1 },
  ];
  for (const { appended, mutations, files } of steps) {
    await appendEach(world, batches(...appended));
    const { incarnation = "", border = borderAt(1), sentBytes = 0 } = (await readTail(world.checkpoints, id)) ?? {};
    await publishCaptured(world.checkpoints, id, { incarnation, border, atMs: 5, snapshotBytes: 900, made: { ...made, mutations } });
    expected = measured(expected, { ...made, mutations, files });
    expect(await readTail(world.checkpoints, id)).toMatchObject({ rates: expected, sentBytes: sentBytes + made.sentBytes });
  }
  expect(expected.fileMicros).toBeGreaterThan(1_000_000);
});

test("a capture measures its replay and its reading", async () => {
  const world = await worldWithTable();
  await appendEach(world, batches(1, 20));
  const slow = {
    ...world,
    objects: {
      ...world.objects,
      async get(key: string) {
        world.clock.advance(2_000);
        return world.objects.get(key);
      },
      async getRange(key: string, range: { readonly offset: number; readonly length: number }) {
        if (key.endsWith(".parquet")) world.clock.advance(4_000);
        return world.objects.getRange(key, range);
      },
    },
  };
  await capture(slow, { id, codec: "json" });
  const rates = (await readTail(world.checkpoints, id))?.rates;
  // Two redo files; a third round trip finds that there is no more.
  expect(rates).toMatchObject({ fileMicros: expect.any(Number), readPerSecond: expect.any(Number) });
  expect(rates?.fileMicros).toBeGreaterThanOrEqual(2_000_000);
  expect(rates?.readPerSecond).toBeLessThan(1_000);
});

test("a shard that an older version wrote counts from its upgrade on, and never below nothing", async () => {
  const world = await worldWithTable();
  await appendEach(world, batches(1, 20, 300));
  const figures = ["logFiles", "logBytes", "logRawBytes", "capturedLogFiles", "capturedLogBytes", "sentBytes"];
  await world.checkpoints.write([{ item: tailItem(id), when: [], set: {}, remove: figures }]);
  await appendEach(world, batches(4));
  expect(await readTail(world.checkpoints, id)).toMatchObject({ log: { files: 1 }, capturedLog: { files: 0, bytes: 0 } });
  await capture(world, { id, codec: "json" });
  const hint = await readTail(world.checkpoints, id);
  expect([hint?.capturedLog, hint?.capturedAtMs]).toEqual([{ files: hint?.log.files, bytes: hint?.log.bytes }, START_MS]);
});
