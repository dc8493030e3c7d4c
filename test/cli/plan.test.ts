// `tidemark plan`: what goes, what waits, and why.

import { afterAll, beforeAll, expect, test } from "vitest";
import { makePlace, type Place, puts } from "./tidemark.ts";

let place: Place;
beforeAll(async () => {
  place = await makePlace();
  await place.run(["init"]);
  await place.run(["table", "create", "eager", "--capture-after-mutations", "2"]);
  await place.run(["table", "create", "calm", "--capture-log-share", "0.25", "--recover-within", "30s", "--captures-together", "1"]);
});
afterAll(() => place.remove());

test("the plan tells what goes and what waits, and why; nothing is done", { timeout: 120_000 }, async () => {
  expect(await place.run(["plan"])).toEqual({ code: 0, stdout: "no shard has mutations that no snapshot holds\n", stderr: "" });
  await place.run(["append", "eager"], puts({ a: 1, b: 2 }));
  await place.run(["append", "calm"], puts({ a: 1 }));
  const text = await place.run(["plan"]);
  expect(text.stdout).toMatch(
    /^shard {4}decision {2}why\ncalm\/0 {3}waits {5}until 20\S+Z at the latest\neager\/0 {2}goes {6}2 mutations, of 2 at most\n1 goes, 0 asked, 0 held, 1 waits\n$/,
  );
  const { document } = await place.json(["plan"]);
  expect(document).toMatchObject({
    goes: 1,
    waits: 1,
    shards: [
      {
        ...{ table: "calm", shard: 0, decision: "waits", mutations: 1, log: { files: 1 }, logDueBytes: 8_388_608, measured: { read: false, replay: false } },
        recovery: { expectedMs: 20, snapshotMs: 0, replayMs: 20, dueMs: 30_000, outgrown: false },
        capture: { savesMs: 20, dollars: expect.any(Number) },
      },
      { table: "eager", shard: 0, decision: "goes", by: "mutations" },
    ],
  });
  expect(JSON.stringify(document)).not.toContain("capturedAt");
  expect(await place.json(["plan"])).toMatchObject({ document: JSON.parse(JSON.stringify(document)) });
});

test("--explain tells the log, the recovery, the limits, and what a capture would cost and save", { timeout: 120_000 }, async () => {
  const { stdout } = await place.run(["plan", "calm", "--explain"]);
  expect(stdout).toMatch(/^calm\/0 waits: until 20\S+Z at the latest\n/);
  expect(stdout).toMatch(/\n {2}log: \d+ bytes in 1 redo file, 1 mutation; due at 8\.4 MB, as there is no snapshot\n/);
  expect(stdout).toMatch(/\n {2}recovery: 0\.02 s expected, 0\.00 s for the snapshot and 0\.02 s for the log, by assumed rates; due above 30 s\n/);
  expect(stdout).toMatch(/\n {2}limits: 1 of 10,000,000 mutations; never captured, written since 20\S+Z, due 20\S+Z\n/);
  expect(stdout).toMatch(/\n {2}a capture: writes about \d+ bytes, on AWS for about 0\.000\d+ dollars; each recovery is then 0\.02 s shorter\n/);
  expect(stdout).toMatch(/\n {2}write amplification: \d+\.\d\d bytes stored for each byte appended\n/);
  await place.run(["snapshot", "calm"]);
  await place.run(["append", "calm"], puts({ b: 2 }));
  const captured = (await place.run(["plan", "calm", "--explain"])).stdout;
  expect(captured).toMatch(/; due at 8\.4 MB, the least\n/);
  expect(captured).toMatch(/\n {2}limits: 1 of 10,000,000 mutations; last captured 20\S+Z, due 20\S+Z\n/);
});

test("status tells the expected recovery and the write amplification", { timeout: 120_000 }, async () => {
  expect((await place.run(["status", "calm"])).stdout).toMatch(
    /^shard .* recovery {2}amplification {2}next capture\ncalm\/0 .* 0\.02 s {4}\d+\.\d\d .* by 20\S+Z: 1 mutations wait\n$/,
  );
  expect((await place.json(["status", "calm"])).document).toMatchObject({
    tables: [{ shards: [{ outlook: { mutations: 1, recovery: { outgrown: false }, writeAmplification: expect.any(Number) } }] }],
  });
});

test("a table shows when it is captured", { timeout: 120_000 }, async () => {
  const { stdout } = await place.run(["table", "update", "calm", "--capture-after", "3600"]);
  expect(stdout).toMatch(
    /\ncapture +once the log is 25 % of the snapshot, or a recovery takes 30 s\nat the latest +after 10,000,000 mutations, or 3,600 s\ntogether +all shards\n/,
  );
  expect(await place.json(["table", "show", "calm"])).toMatchObject({ document: { captureLogPercent: 25, recoverWithinMs: 30_000, capturesTogetherMax: 1 } });
});

test.each([
  [["plan", "nope"], "there is no table nope"],
  [["plan", "--explian"], "unknown option"],
  [["table", "create", "x", "--capture-log-share", "0"], "--capture-log-share: write a share from 0.01 to 100, as 0.5"],
  [["table", "create", "x", "--recover-within", "0"], "--recover-within: write at least 1s"],
  [["table", "create", "x", "--captures-together", "0"], "--captures-together: write a whole number from 1 to 10000"],
])("tidemark %s is refused with what to write", async (words, why) => {
  const { code, stderr } = await place.run(words);
  expect([code, stderr]).toEqual([2, expect.stringContaining(why)]);
});
