// What a verification reads and counts, where it begins, and what it makes of a cleanup that passes meanwhile.

import { beforeEach, expect, test } from "vitest";
import { readHistory } from "../../../lib/checkpoint/control.ts";
import { checkpointAttributes, controlItem, historyItem, tailItem } from "../../../lib/checkpoint/items.ts";
import type { HistoryRow } from "../../../lib/model/control.ts";
import { RECOVER_ATTEMPTS_MAX } from "../../../lib/model/limits.ts";
import type { Attributes } from "../../../lib/ports/checkpoint-store.ts";
import { verifyShard, type VerifyReport } from "../../../lib/recovery/verify.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { appendEach, id, keysOf, type MemoryWorld, noAnswer, put, withCheckpoints, withObjects, worldWithTable } from "../jobs/world.ts";

let world: MemoryWorld;
let older: HistoryRow;
let newer: HistoryRow;
let redo: readonly string[];

/** Files of one mutation each, 1 to 6, captured behind 2 and behind 4; all of the log is kept. */
beforeEach(async () => {
  world = await worldWithFiles("v");
  [older, newer] = await readHistory(world.checkpoints, id);
  redo = keysOf(world).filter((key) => key.endsWith(".redo"));
});

async function worldWithFiles(second: string): Promise<MemoryWorld> {
  const made = await worldWithTable();
  for (const index of [1, 2, 3, 4, 5, 6]) {
    await appendEach(made, [[put(`k${index}`, index === 2 ? second : "v")]]);
    if (index === 2 || index === 4) await capture(made, { id, codec: "json" });
  }
  return made;
}

const verify = (on: MemoryWorld = world): Promise<VerifyReport> => verifyShard(on, { id, codec: "json" });
const bytesOf = (keys: readonly string[]) => keys.reduce((sum, key) => sum + (world.objects.objects.get(key)?.length ?? 0), 0);
const setMark = (lowWater: number) => world.checkpoints.write([{ item: controlItem(id), when: [], set: { lowWater } }]);
const figures = ({ objects, redoFiles, generations, replayed, findings }: VerifyReport) => ({ objects, redoFiles, generations, replayed, findings });

test("all of a sound shard is read and counted, and the log is replayed from nothing to the first generation, and on to the next", async () => {
  const bytes = bytesOf([...redo, older.key, newer.key]);
  expect(await verify()).toEqual({ shard: 0, objects: 8, bytes, redoFiles: 6, generations: 2, replayed: 4, findings: [] });
});

test("behind the mark the log is read from there, and replayed from generations whose log is kept", async () => {
  await setMark(older.border.next);
  const bytes = bytesOf([...redo.slice(2), older.key, newer.key]);
  expect(await verify()).toEqual({ shard: 0, objects: 6, bytes, redoFiles: 4, generations: 2, replayed: 2, findings: [] });
  await setMark(newer.border.next);
  expect(figures(await verify())).toEqual({ objects: 4, redoFiles: 2, generations: 2, replayed: 0, findings: [] });
});

test("a mark inside of the log, at a border that no item tells, is known by the file that begins there", async () => {
  await setMark(4);
  expect(figures(await verify())).toEqual({ objects: 5, redoFiles: 3, generations: 2, replayed: 0, findings: [] });
  world.objects.damage(redo[3], (body) => body.subarray(0, 60));
  const found = (what: string) => ({ objects: 4, redoFiles: 2, generations: 2, replayed: 0, findings: [{ object: redo[3], what }] });
  expect(figures(await verify())).toEqual(found("it is cut off in its header"));
  await world.objects.deleteMany([redo[3]]);
  expect(figures(await verify())).toEqual(found("it is missing"));
});

test("a shard without captures has its log alone, and one that was never written has nothing", async () => {
  const plain = await worldWithTable();
  const nothing = { shard: 0, objects: 0, bytes: 0, redoFiles: 0, generations: 0, replayed: 0, findings: [] };
  expect(await verify(plain)).toEqual(nothing);
  await appendEach(plain, [[put("a", 1)]]);
  expect(figures(await verify(plain))).toEqual({ objects: 1, redoFiles: 1, generations: 0, replayed: 0, findings: [] });
});

test("a break behind the last generation ends the reading, and nothing is read twice", async () => {
  await world.objects.deleteMany([redo[4]]);
  const findings = [{ object: redo[4], what: "it is missing, and the log goes on behind it" }];
  expect(figures(await verify())).toEqual({ objects: 6, redoFiles: 4, generations: 2, replayed: 4, findings });
});

test("a file that appears between two looks is read", async () => {
  let hidden = true;
  const late = withObjects(world, (objects) => ({
    async get(key) {
      if (!hidden || key !== redo[5]) return objects.get(key);
      hidden = false;
      return { kind: "absent" };
    },
  }));
  expect(figures(await verify(late))).toEqual({ objects: 8, redoFiles: 6, generations: 2, replayed: 4, findings: [] });
});

test("a log that is sound and makes other records than its generations hold is found, from the first on", async () => {
  const other = await worldWithFiles("w");
  const body = other.objects.objects.get(redo[1]) ?? Buffer.alloc(0);
  world.objects.damage(redo[1], () => body);
  const { findings } = await verify();
  expect(findings).toEqual([
    { object: redo[2], what: "the log before it is not that of its generation" },
    { object: older.key, what: 'it is not what the log behind the generation before makes: the value of key "k2" differs' },
  ]);
});

test("a generation that holds other records than the log behind the one before makes is found", async () => {
  // Both logs are the same up to the older generation.
  const other = await worldWithTable();
  for (const index of [1, 2, 3, 4]) {
    await appendEach(other, [[put(index === 4 ? "other" : `k${index}`, "v")]]);
    if (index % 2 === 0) await capture(other, { id, codec: "json" });
  }
  const body = other.objects.objects.get(redo[3]) ?? Buffer.alloc(0);
  world.objects.damage(redo[3], () => body);
  expect((await verify()).findings).toEqual([
    { object: redo[4], what: "the log before it is not that of its generation" },
    { object: newer.key, what: 'it is not what the log behind the generation before makes: the key of key "other" differs' },
  ]);
});

test("items that contradict each other are found, each by its name", async () => {
  const named = async () => (await verify()).findings.map(({ object, what }) => [object, what]);
  const control = "shard#players/0 control";
  await setMark(0);
  expect((await named())[0]).toEqual([control, "its low-water mark is 0, beyond what any capture holds"]);
  await setMark(newer.border.next + 1);
  expect((await named())[0]).toEqual([control, `its low-water mark is ${newer.border.next + 1}, beyond what any capture holds`]);
  await setMark(1);
  await world.checkpoints.write([{ item: tailItem(id), when: [], set: { incarnation: "f".repeat(16) } }]);
  expect((await named())[0]).toEqual(["shard#players/0 tail", "it is missing, or of another incarnation than the control item"]);
  await world.checkpoints.write([{ item: tailItem(id), when: [], delete: true }]);
  expect((await named())[0]).toEqual(["shard#players/0 tail", "it is missing, or of another incarnation than the control item"]);
  await world.checkpoints.write([{ item: historyItem(id, newer), when: [], delete: true }]);
  expect((await named())[0]).toEqual([control, `the history row of its checkpoint, ${newer.key}, is missing`]);
});

test("a published tail is a border of the log, at which writers can begin", async () => {
  const tail = (attributes: Attributes) => world.checkpoints.write([{ item: tailItem(id), when: [], set: attributes }]);
  const findings = async () => (await verify()).findings;
  const found = (next: number) => [{ object: "shard#players/0 tail", what: `the log is another at ${next}` }];
  await tail({ digest: "0".repeat(64) });
  expect(await findings()).toEqual(found(7));
  // One that lags is as good.
  await tail({ next: 5, digest: newer.border.digest });
  expect(await findings()).toEqual([]);
  await tail({ next: 5, digest: older.border.digest });
  expect(await findings()).toEqual(found(5));
  await tail({ next: 2, digest: "0".repeat(64) });
  await setMark(older.border.next);
  expect(await findings()).toEqual([]);
  // Beyond the end a redo file is missing, and that is told alone.
  await tail({ next: 8 });
  expect((await findings()).map(({ object }) => object)).toEqual([redo[5].replace("6.redo", "7.redo")]);
});

/** The world, in which something happens before the first look at the history. */
function before(happens: () => Promise<unknown>): MemoryWorld {
  let happened = false;
  return withCheckpoints(world, (checkpoints) => ({
    async query(request) {
      if (!happened) {
        happened = true;
        await happens();
      }
      return checkpoints.query(request);
    },
  }));
}

test("a checkpoint whose row goes as another passes it is no damage, nor is a shard that is deleted meanwhile", async () => {
  const passed = before(async () => {
    await world.checkpoints.write([{ item: historyItem(id, newer), when: [], delete: true }]);
    await world.checkpoints.write([{ item: controlItem(id), when: [], set: { checkpoint: checkpointAttributes(older) } }]);
  });
  expect((await verify(passed)).findings).toEqual([]);
  const deleted = before(() => world.checkpoints.write([{ item: controlItem(id), when: [], delete: true }]));
  expect(figures(await verify(deleted))).toEqual({ objects: 0, redoFiles: 0, generations: 0, replayed: 0, findings: [] });
});

test("what cleanup deletes while it is read is no damage: the verification begins anew behind the mark", async () => {
  let passed = false;
  const cleaned = withObjects(world, (objects) => ({
    async get(key) {
      if (!passed && key === redo[1]) {
        passed = true;
        await setMark(newer.border.next);
        await world.checkpoints.write([{ item: historyItem(id, older), when: [], delete: true }]);
        await world.objects.deleteMany([...redo.slice(0, 4), older.key]);
      }
      return objects.get(key);
    },
  }));
  expect(figures(await verify(cleaned))).toEqual({ objects: 3, redoFiles: 2, generations: 1, replayed: 0, findings: [] });
});

test("a generation that is let go while another one is found damaged is not told with that", async () => {
  await world.objects.deleteMany([newer.key]);
  let isLetGo = false;
  const cleaned = withObjects(world, (objects) => ({
    async getRange(key, range) {
      if (!isLetGo && key === older.key) {
        isLetGo = true;
        await world.checkpoints.write([{ item: historyItem(id, older), when: [], set: { state: "deleting" } }]);
        await world.objects.deleteMany([older.key]);
      }
      return objects.getRange(key, range);
    },
  }));
  expect((await verify(cleaned)).findings).toEqual([{ object: newer.key, what: "it is missing" }]);
});

test("a verification that cleanup passes every time gives up, and asks to try again", async () => {
  const plain = await worldWithTable();
  await appendEach(plain, [[put("a", 1)]]);
  let looks = 0;
  const raced = withCheckpoints(plain, (checkpoints) => ({
    // Where there is no generation, the third look of each attempt tells whether all is still covered.
    get: async (key) => (key.sort === "control" && ++looks % 3 === 0 ? undefined : checkpoints.get(key)),
  }));
  await expect(verify(raced)).rejects.toMatchObject({ kind: "retry", code: "contended", message: expect.stringContaining("players/0") });
  expect(looks).toBe(3 * RECOVER_ATTEMPTS_MAX);
});

test.each([
  ["of the store", noAnswer()],
  ["of the program", new TypeError("a mistake")],
])("a fault %s is no damage, and ends the verification", async (_, fault) => {
  const failing = withObjects(world, () => ({ getRange: async () => Promise.reject(fault) }));
  await expect(verify(failing)).rejects.toBe(fault);
});
