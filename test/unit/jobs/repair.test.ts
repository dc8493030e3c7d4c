import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { readControl, readHistory } from "../../../lib/checkpoint/control.ts";
import { controlItem, historyItem, tailItem } from "../../../lib/checkpoint/items.ts";
import { openWriter } from "../../../lib/jobs/append.ts";
import { repairShard, type RepairReport } from "../../../lib/jobs/repair.ts";
import { snapshotShard } from "../../../lib/jobs/snapshot.ts";
import { deleteTable, getTable } from "../../../lib/jobs/tables.ts";
import { isTidemarkError } from "../../../lib/model/errors.ts";
import { quarantineKey } from "../../../lib/model/names.ts";
import { toIndex } from "../../../lib/model/position.ts";
import { pin } from "../../../lib/recovery/pin.ts";
import { quarantine } from "../../../lib/recovery/quarantine.ts";
import { recover } from "../../../lib/recovery/recover.ts";
import { verifyShard } from "../../../lib/recovery/verify.ts";
import { readTail } from "../../../lib/redo-log/tail.ts";
import { asBytes, copyOf, type MemoryWorld, mutationsOf, smallShard, type SmallShard } from "../../damage/shard.ts";
import { modelState, recoveredState } from "../../processes/keyed-model.ts";
import { noAnswer, stored, withCheckpoints, withObjects } from "./world.ts";

let shard: SmallShard;
let world: MemoryWorld;
beforeAll(async () => {
  shard = await smallShard();
});
beforeEach(async () => {
  world = await copyOf(shard.world);
});

async function repair(request: { readonly dryRun?: boolean; readonly signal?: AbortSignal } = {}, on: MemoryWorld = world): Promise<RepairReport> {
  return repairShard(on, { table: await getTable(on, "trees"), shard: 0, ...request });
}

function flip(key: string): Buffer {
  world.objects.damage(key, (body) => {
    body[body.length >> 1] ^= 0x10;
    return body;
  });
  return world.objects.objects.get(key) ?? Buffer.alloc(0);
}

/** Every state that the report says can be brought back, against the model; what it says is lost is refused. */
async function holdsTrue({ recoverable, lost }: RepairReport): Promise<void> {
  for (const { from, to } of recoverable) {
    for (let index = from as number; index <= to; index++) {
      const view = await recover(world, { id: shard.id, codec: "json", at: { index: toIndex(index) } });
      expect(await recoveredState(view)).toBe(modelState(shard.log, view.index));
    }
  }
  for (const { from, to } of lost) {
    for (let index = from as number; index <= to; index++) {
      await expect(recover(world, { id: shard.id, codec: "json", at: { index: toIndex(index) } })).rejects.toMatchObject({ kind: "repair" });
    }
  }
}

const findings = async () => (await verifyShard(world, { id: shard.id, codec: "json" })).findings;
const pathOf = ({ key }: { readonly key: string }) => key;

test("what is sound is left as it is", async () => {
  const before = stored(world);
  expect(await repair()).toMatchObject({ kind: "sound", findings: [], lost: [] });
  expect(stored(world)).toEqual(before);
});

test("a shard that was never written has nothing to repair", async () => {
  await deleteTable(world, "trees");
  const other = await smallShard({ table: "other" });
  const table = { ...(await getTable(other.world, "other")), shards: 2 };
  expect(await repairShard(other.world, { table, shard: 1 })).toMatchObject({ kind: "sound" });
});

describe("a damaged newest snapshot", () => {
  test("is copied into quarantine, replaced by a capture and let go: nothing is lost, and all that is kept is sound", async () => {
    const bytes = flip(shard.newer.key);
    const report = await repair();
    expect(report).toMatchObject({
      kind: "repaired",
      findings: [{ object: shard.newer.key }],
      doubted: [shard.newer.key],
      quarantined: [{ key: shard.newer.key, copy: quarantineKey(shard.newer.key) }],
      letGo: [shard.newer.key],
      capture: { kind: "completed", index: shard.tail },
      lost: [],
    });
    expect(world.objects.objects.get(quarantineKey(shard.newer.key))?.equals(bytes)).toBe(true);
    expect([...world.objects.objects.keys()]).not.toContain(shard.newer.key);
    expect((await readHistory(world.checkpoints, shard.id)).map(({ index, verified }) => [index, verified])).toEqual([
      [shard.older.index, true],
      [shard.tail, true],
    ]);
    expect(await findings()).toEqual([]);
    await holdsTrue(report);
    expect(await repair()).toMatchObject({ kind: "sound" });
  });

  test("counts no more while nothing waits to be captured, and is replaced once something does", async () => {
    await snapshotShard(world, { id: shard.id });
    const [, newest] = await readHistory(world.checkpoints, shard.id);
    flip(newest.key);
    expect(await repair()).toMatchObject({ kind: "repaired", letGo: [], capture: { kind: "ignored", reason: "nothing-new" }, lost: [] });
    const view = await recover(world, { id: shard.id, codec: "json" });
    expect([view.from, view.passedOver, await recoveredState(view)]).toEqual([shard.newer.index, [], modelState(shard.log, shard.tail)]);
    await openWriter(world, { id: shard.id, codec: "json" }).append({ mutations: mutationsOf(1_000).map(asBytes) });
    expect(await repair()).toMatchObject({ kind: "repaired", letGo: [newest.key], capture: { kind: "completed" } });
    expect(await findings()).toEqual([]);
  });

  test("stays while its capture is told to stop, and is replaced by the next run", async () => {
    flip(shard.newer.key);
    expect(await repair({ signal: AbortSignal.abort() })).toMatchObject({ kind: "repaired", letGo: [], capture: { kind: "aborted" }, lost: [] });
    expect((await readControl(world.checkpoints, shard.id))?.checkpoint?.key).toBe(shard.newer.key);
    expect(await repair()).toMatchObject({ kind: "repaired", letGo: [shard.newer.key], capture: { kind: "completed" } });
  });

  test("stays while somebody holds it", async () => {
    const life = { id: shard.id, incarnation: shard.newer.key.split("/")[2] };
    await pin(world, { life, row: shard.newer, pinId: "reader" }, world.clock.now() + 1_000);
    flip(shard.newer.key);
    expect(await repair()).toMatchObject({ kind: "repaired", letGo: [], lost: [] });
    expect([...world.objects.objects.keys()]).toContain(shard.newer.key);
  });

  test("that is missing is replaced as well, and there is nothing to copy", async () => {
    await world.objects.deleteMany([shard.newer.key]);
    expect(await repair()).toMatchObject({ kind: "repaired", quarantined: [], letGo: [shard.newer.key], lost: [] });
    expect(await findings()).toEqual([]);
  });
});

test("with the oldest snapshot the states before the next are lost, and named; a copy stays for who can use it", async () => {
  const bytes = flip(shard.older.key);
  const planned = await repair({ dryRun: true });
  await holdsTrue(planned);
  const report = await repair();
  expect(report).toMatchObject({ kind: "repaired", doubted: [shard.older.key], letGo: [], lost: [{ from: shard.older.index, to: shard.newer.index - 1 }] });
  expect(report.lost).toEqual(planned.lost);
  expect(world.objects.objects.get(quarantineKey(shard.older.key))?.equals(bytes)).toBe(true);
  expect(await findings()).toEqual([]);
  await holdsTrue({ ...report, lost: [] });
});

test("with a redo file that a snapshot covers the states up to that are lost, and named", async () => {
  const bytes = flip(shard.between[1]);
  const report = await repair();
  const from = Number(/([0-9]{16})\.redo/.exec(shard.between[1])?.[1]);
  expect(report).toMatchObject({ kind: "repaired", doubted: [], letGo: [], lost: [{ from, to: shard.newer.index - 1 }] });
  expect(world.objects.objects.get(quarantineKey(shard.between[1]))?.equals(bytes)).toBe(true);
  await holdsTrue(report);
});

test("a redo file behind every snapshot has no other copy: the range is named, and nothing is changed", async () => {
  flip(shard.behind[1]);
  const before = stored(world);
  const report = await repair();
  const from = Number(/([0-9]{16})\.redo/.exec(shard.behind[1])?.[1]);
  expect(report).toMatchObject({ kind: "broken", doubted: [], quarantined: [], lost: [{ from, to: shard.tail }] });
  expect(stored(world)).toEqual(before);
  await holdsTrue(report);
});

test("a lost last redo file is told by the published tail, one that cannot be read by its name", async () => {
  await world.objects.deleteMany([shard.behind[2]]);
  expect((await repair()).lost.at(-1)?.to).toBe(shard.tail);
  await world.checkpoints.write([{ item: tailItem(shard.id), when: [], set: { next: shard.newer.border.next, digest: shard.newer.border.digest } }]);
  await world.objects.createIfAbsent(shard.behind[2], Buffer.from("TIDEREDO?"));
  const from = Number(/([0-9]{16})\.redo/.exec(shard.behind[2])?.[1]);
  expect((await repair()).lost).toEqual([{ from, to: from }]);
});

describe("where no tail behind the snapshots was published, the last redo file tells how far the log went", () => {
  beforeEach(async () => {
    const { next, digest } = shard.newer.border;
    await world.checkpoints.write([{ item: tailItem(shard.id), when: [], set: { next, digest } }]);
    await world.objects.createIfAbsent(`${shard.behind[2]}.copy`, Buffer.from("of somebody else"));
  });
  const firstOf = (key: string) => Number(/([0-9]{16})\.redo/.exec(key)?.[1]);
  const damageLast = (change: (body: Buffer) => Buffer) => world.objects.damage(shard.behind[2], change);

  test("if another is damaged", async () => {
    flip(shard.behind[1]);
    const report = await repair();
    expect([report.kind, report.lost]).toEqual(["broken", [{ from: firstOf(shard.behind[1]), to: shard.tail }]]);
    await holdsTrue(report);
  });

  test("if it is damaged behind its header", async () => {
    damageLast((body) => body.subarray(0, -1));
    expect((await repair()).lost).toEqual([{ from: firstOf(shard.behind[2]), to: shard.tail }]);
  });

  test.each<[string, (body: Buffer) => Buffer]>([
    ["is damaged in its header", (body) => body.fill(0x55, 16, 24)],
    ["is cut off in its header", (body) => body.subarray(0, 20)],
    ["holds another file", () => world.objects.objects.get(shard.behind[1]) ?? Buffer.alloc(0)],
  ])("but for its name alone if it %s", async (_, change) => {
    damageLast(change);
    const from = firstOf(shard.behind[2]);
    expect((await repair()).lost).toEqual([{ from, to: from }]);
  });
});

describe("of the items", () => {
  const put = async (sort: string, change: object): Promise<void> => {
    const item = world.checkpoints.items.find(({ key }) => key.partition === "shard#trees/0" && key.sort === sort);
    const attributes = Object.fromEntries(Object.entries({ ...item?.attributes, ...change }).filter(([, value]) => value !== undefined));
    await world.checkpoints.write([{ item: { partition: "shard#trees/0", sort }, when: [], put: attributes }]);
  };
  const rowSort = () => historyItem(shard.id, shard.newer).sort;
  const name = (sort: string) => `shard#trees/0 ${sort}`;

  test.each<[string, object]>([
    ["lost an attribute", { size: undefined }],
    ["has an attribute of another kind", { verified: "yes" }],
    ["has a wrong index", { index: 1 }],
    ["has a wrong border", { next: 5 }],
    ["has a wrong digest", { digest: "0".repeat(64) }],
    ["has a wrong hash of its footer", { footerSha256: "0".repeat(64) }],
    ["has another snapshot's key", { key: "trees/0/0011223344556677/snapshots/0000000000000001-e1.parquet" }],
  ])("a history row that %s is made anew of its snapshot's footer", async (_, change) => {
    await put(rowSort(), change);
    const report = await repair();
    expect(report).toMatchObject({ kind: "repaired", rebuilt: [name(rowSort())], unreadable: [] });
    const [, row] = await readHistory(world.checkpoints, shard.id);
    const { verified: _verified, capturedAtMs: _capturedAtMs, ...same } = shard.newer;
    expect(row).toMatchObject({ ...same, verified: false });
    expect(await findings()).toEqual([]);
  });

  test("a history row that is gone is made anew while the checkpoint names its snapshot, which cleanup leaves alone", async () => {
    await world.checkpoints.write([{ item: historyItem(shard.id, shard.newer), when: [], delete: true }]);
    expect((await findings())[0].what).toContain("is missing");
    world.clock.advance(3_600_000);
    await snapshotShard(await copyOf(world), { id: shard.id });
    expect(await repair()).toMatchObject({ kind: "repaired", rebuilt: [name(rowSort())] });
    expect((await readHistory(world.checkpoints, shard.id)).map(({ key }) => key)).toEqual([shard.older, shard.newer].map(pathOf));
  });

  test("a row whose snapshot is damaged behind a sound foot is made anew, and then let go with it", async () => {
    await put(rowSort(), { size: undefined });
    world.objects.damage(shard.newer.key, (body) => Buffer.concat([body.subarray(0, 10), Buffer.from([body[10] ^ 1]), body.subarray(11)]));
    expect(await repair()).toMatchObject({ kind: "repaired", rebuilt: [name(rowSort())], letGo: [shard.newer.key], lost: [], capture: { kind: "completed" } });
    expect(await findings()).toEqual([]);
  });

  test("a row whose snapshot cannot be read either is told, and left", async () => {
    await put(rowSort(), { size: undefined });
    await world.objects.deleteMany([shard.newer.key]);
    expect(await repair()).toMatchObject({
      kind: "broken",
      rebuilt: [],
      unreadable: [{ object: name(rowSort()), what: expect.stringContaining("is missing") }],
    });
  });

  test("a checkpoint that contradicts its row is set right by the footer of the snapshot", async () => {
    const before = await readControl(world.checkpoints, shard.id);
    await put("control", {
      checkpoint: { ...(world.checkpoints.items.find(({ key }) => key.sort === "control")?.attributes.checkpoint as object), next: 9_999 },
    });
    expect((await findings()).map(({ object }) => object)).toEqual([name("control")]);
    expect(await repair()).toMatchObject({ kind: "repaired", rebuilt: [name("control")] });
    expect((await readControl(world.checkpoints, shard.id))?.checkpoint).toEqual(before?.checkpoint);
  });

  test.each<[string, object | undefined]>([
    ["that lost an attribute", { digest: undefined }],
    ["of another life", { incarnation: "0011223344556677" }],
    ["that is gone", undefined],
  ])("a tail %s is made anew of the log, and appends go on behind it", async (_, change) => {
    if (change === undefined) await world.checkpoints.write([{ item: tailItem(shard.id), when: [], delete: true }]);
    else await put("tail", change);
    expect(await repair()).toMatchObject({ kind: "repaired", rebuilt: [name("tail")] });
    expect((await readTail(world.checkpoints, shard.id))?.border.next).toBe(shard.tail + 1);
    const outcome = await openWriter(world, { id: shard.id, codec: "json" }).append({ mutations: mutationsOf(1_000).map(asBytes) });
    expect(outcome).toMatchObject({ kind: "appended", first: shard.tail + 1 });
    expect(world.checkpoints.items.find(({ key }) => key.sort === "tail")?.attributes.dirty).toBe("dirty");
  });

  test("a control item that cannot be read is told with the remedy, and nothing is changed", async () => {
    await put("control", { epoch: undefined });
    const before = stored(world);
    expect(await repair()).toMatchObject({ kind: "broken", rebuilt: [], unreadable: [{ object: name("control"), what: expect.stringContaining("restore") }] });
    expect(stored(world)).toEqual(before);
  });

  test("one that a newer program wrote is nothing to repair", async () => {
    await put("control", { formatVersion: 2 });
    await expect(repair()).rejects.toMatchObject({ kind: "call", code: "newer-format" });
  });
});

test("a dry run says what a run would do, and changes nothing", async () => {
  for (const key of [shard.newer.key, shard.older.key, shard.between[0]]) {
    world = await copyOf(shard.world);
    flip(key);
    const before = stored(world);
    const planned = await repair({ dryRun: true });
    expect(stored(world)).toEqual(before);
    const { kind, findings: found, doubted, lost, recoverable } = await repair();
    expect(planned).toMatchObject({ kind: "planned", findings: found, doubted, lost, recoverable });
    expect(kind).toBe("repaired");
  }
  world = await copyOf(shard.world);
  await world.checkpoints.write([{ item: tailItem(shard.id), when: [], delete: true }]);
  const before = stored(world);
  expect(await repair({ dryRun: true })).toMatchObject({ kind: "planned", rebuilt: ["shard#trees/0 tail"] });
  expect(stored(world)).toEqual(before);
});

test("killed at any of its writes, it is gone on with by the next run", async () => {
  for (let kill = 0; ; kill++) {
    world = await copyOf(shard.world);
    flip(shard.newer.key);
    let writes = 0;
    const dying = () => {
      if (writes++ >= kill) throw noAnswer();
    };
    const killed = withObjects(
      withCheckpoints(world, (checkpoints) => ({
        write: async (changes) => {
          dying();
          return checkpoints.write(changes);
        },
      })),
      (objects) => ({
        createIfAbsent: async (key, body) => {
          dying();
          return objects.createIfAbsent(key, body);
        },
        deleteMany: async (keys) => {
          dying();
          return objects.deleteMany(keys);
        },
      }),
    );
    const ended = await repair({}, killed).then(
      () => "whole",
      (error: unknown) => (isTidemarkError(error) ? error.kind : "unexpected"),
    );
    expect(["whole", "retry"]).toContain(ended);
    // A lease that nobody released lapses.
    world.clock.advance(3_600_000);
    const report = await repair();
    expect(report.lost).toEqual([]);
    expect(await findings(), `killed at write ${kill}`).toEqual([]);
    expect(world.objects.objects.has(quarantineKey(shard.newer.key))).toBe(true);
    if (ended === "whole" && writes <= kill) break;
  }
});

test("a large object is copied by the store itself, and one that changes meanwhile is not", async () => {
  const key = shard.newer.key;
  expect(await quarantine(world, key, 100)).toBe(quarantineKey(key));
  expect(world.objects.objects.get(quarantineKey(key))?.equals(world.objects.objects.get(key) ?? Buffer.alloc(0))).toBe(true);
  const other = shard.older.key;
  const changing = withObjects(world, (objects) => ({
    copyPart: async (request) => {
      await objects.deleteMany([other]);
      return objects.copyPart(request);
    },
  }));
  await expect(quarantine(changing, other, 100)).rejects.toMatchObject({ kind: "retry", code: "changed-object" });
  expect([...world.objects.uploads]).toEqual([]);
});

test("what is in quarantine goes with its table", async () => {
  flip(shard.newer.key);
  await repair();
  await deleteTable(world, "trees");
  expect([...world.objects.objects.keys()]).toEqual(["_store.json"]);
  expect(world.checkpoints.items.filter(({ key }) => key.partition !== "store")).toEqual([]);
});

test("a copy that a killed repair had begun is ended by the next, or goes with its table", async () => {
  await world.objects.createUpload(quarantineKey(shard.newer.key));
  expect((await repair()).kind).toBe("sound");
  expect([...world.objects.uploads]).toEqual([]);
  await world.objects.createUpload(quarantineKey(shard.newer.key));
  await deleteTable(world, "trees");
  expect([...world.objects.uploads]).toEqual([]);
});

test("the control item is written by stamp alone", async () => {
  flip(shard.newer.key);
  const unconditional: string[] = [];
  const watched = withCheckpoints(world, (checkpoints) => ({
    async write(changes) {
      for (const { item, when } of changes) if (item.sort === controlItem(shard.id).sort && when.length === 0) unconditional.push(item.sort);
      return checkpoints.write(changes);
    },
  }));
  await repair({}, watched);
  expect(unconditional).toEqual([]);
});
