// Items have no checksum: the checkpoint store is to give them back as they were written. Still, whatever is done to one of them,
// no wrong state is ever served: an answer is right, or a refusal that says what is wrong, from recovery, verification,
// capture, cleanup and repair (I8).

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cleanupShard } from "../../lib/jobs/cleanup.ts";
import { askForCaptures } from "../../lib/jobs/ask.ts";
import { repairShard } from "../../lib/jobs/repair.ts";
import { snapshotShard } from "../../lib/jobs/snapshot.ts";
import { shardStatus } from "../../lib/jobs/status.ts";
import { createTable, getTable } from "../../lib/jobs/tables.ts";
import { isTidemarkError } from "../../lib/model/errors.ts";
import { POLICY_DEFAULTS, type Table } from "../../lib/model/table.ts";
import type { Item } from "../../lib/ports/checkpoint-store.ts";
import { recover } from "../../lib/recovery/recover.ts";
import { verifyShard } from "../../lib/recovery/verify.ts";
import { capture } from "../../lib/snapshot/capture.ts";
import type { CaptureRequest } from "../../lib/snapshot/outcome.ts";
import { lastOf, modelState, recoveredState } from "../processes/keyed-model.ts";
import { damagedItems } from "./item-cases.ts";
import { copyOf, type MemoryWorld, smallShard, type SmallShard } from "./shard.ts";

const LONG = { timeout: 240_000 };
const DAY_MS = 24 * 3_600_000;
/** Of the cases, so many are captured, cleaned and repaired as well; all are recovered and verified. */
const WORK_EVERY = 5;
const TABLE: Table = { ...POLICY_DEFAULTS, name: "trees", shards: 1, codec: "json", createdAtMs: 0, state: "live" };

const counts = { cases: 0, right: 0, refused: 0, found: 0 };
afterAll(() => {
  console.log(`${counts.cases} altered items: ${counts.right} answers right, ${counts.refused} refused; verification found ${counts.found}`);
});

let shard: SmallShard;
beforeAll(async () => {
  shard = await smallShard();
});

function item({ checkpoints }: MemoryWorld, isWanted: (sort: string) => boolean, partition = "shard#trees/0"): Item {
  const found = checkpoints.items.findLast(({ key }) => key.partition === partition && isWanted(key.sort));
  if (found === undefined) throw new Error("there is such an item");
  return found;
}

/** The answer; nothing where it was refused as damage, or as what is no longer kept or held. */
async function orRefused<Answer>(work: () => Promise<Answer>): Promise<Answer | undefined> {
  try {
    const answer = await work();
    counts.right++;
    return answer;
  } catch (error) {
    if (!isTidemarkError(error) || error.kind === "bug") throw error;
    expect(error.message.length).toBeGreaterThan(20);
    counts.refused++;
    return undefined;
  }
}

async function isRight(world: MemoryWorld): Promise<void> {
  const view = await orRefused(() => recover(world, { id: shard.id, codec: "json" }));
  if (view !== undefined) expect([view.index, await recoveredState(view)]).toEqual([shard.tail, modelState(shard.log, shard.tail)]);
}

async function examine(world: MemoryWorld, place: number): Promise<void> {
  counts.cases++;
  await isRight(world);
  const report = await orRefused(() => verifyShard(world, { id: shard.id, codec: "json" }));
  if (report !== undefined && report.findings.length > 0) counts.found++;
  if (place % WORK_EVERY !== 0) return;
  await orRefused(() => shardStatus(world, TABLE, 0));
  await orRefused(() => askForCaptures(world, async (shards) => shards));
  for (const work of [snapshotShard, cleanupShard] as const) {
    const worked = await copyOf(world);
    await orRefused<unknown>(() => work(worked, { id: shard.id, policy: TABLE }));
    await isRight(worked);
  }
  const repaired = await copyOf(world);
  const told = await orRefused(() => repairShard(repaired, { table: TABLE, shard: 0 }));
  await isRight(repaired);
  if (told?.kind !== "repaired") return;
  // What is left is what it told: a mark that lies too low is nobody's loss, and nothing mends it but the next cleanup.
  for (const { object } of (await verifyShard(repaired, { id: shard.id, codec: "json" })).findings)
    expect(told.findings.map((one) => one.object)).toContain(object);
}

describe.each<[string, (sort: string) => boolean]>([
  ["the control item", (sort) => sort === "control"],
  ["the tail", (sort) => sort === "tail"],
  ["the newest history row", (sort) => sort.startsWith("snapshot#")],
  ["the job's item", (sort) => sort === "job#snapshot"],
])("%s", (_, isWanted) => {
  test("altered in each way, no wrong state is served", LONG, async () => {
    const whole = item(shard.world, isWanted);
    for (const [place, { what, attributes }] of damagedItems(whole.attributes).entries()) {
      // No store takes an index key without a text.
      if ("dirty" in attributes && (typeof attributes.dirty !== "string" || attributes.dirty === "")) continue;
      const world = await copyOf(shard.world);
      await world.checkpoints.write([{ item: whole.key, when: [], put: attributes }]);
      await examine(world, place).catch((error: unknown) => {
        throw new Error(`${whole.key.sort} ${what}`, { cause: error });
      });
    }
  });

  test("lost, no wrong state is served", async () => {
    const world = await copyOf(shard.world);
    await world.checkpoints.write([{ item: item(shard.world, isWanted).key, when: [], delete: true }]);
    if (isWanted("control")) expect((await recover(world, { id: shard.id, codec: "json" })).index).toBe(0);
    else await examine(world, 0);
  });
});

test("each pair of a shard's items swapped, and with those of another shard, no wrong state is served", LONG, async () => {
  const other = await smallShard({ table: "others" });
  const own = shard.world.checkpoints.items.filter(({ key }) => key.partition === "shard#trees/0");
  const strangers = other.world.checkpoints.items.filter(({ key }) => key.partition === "shard#others/0");
  for (const one of own) {
    for (const two of [...own, ...strangers]) {
      if (one === two) continue;
      const world = await copyOf(shard.world);
      await world.checkpoints.write([{ item: one.key, when: [], put: two.attributes }]);
      if (own.includes(two)) await world.checkpoints.write([{ item: two.key, when: [], put: one.attributes }]);
      await examine(world, 0).catch((error: unknown) => {
        throw new Error(`${one.key.sort} and ${two.key.partition} ${two.key.sort}`, { cause: error });
      });
    }
  }
});

test("a table's item altered in each way is refused by name, or is a table", async () => {
  const whole = item(shard.world, (sort) => sort === "trees", "tables");
  for (const { what, attributes } of damagedItems(whole.attributes)) {
    const world = await copyOf(shard.world);
    await world.checkpoints.write([{ item: whole.key, when: [], put: attributes }]);
    counts.cases++;
    const table = await orRefused(() => getTable(world, "trees"));
    if (table === undefined || table.codec === "json") continue;
    const refused = recover(world, { id: shard.id, codec: table.codec });
    await expect(refused, what).rejects.toMatchObject({ kind: "repair", message: expect.stringContaining("its values are json, those of its table bytes") });
  }
});

test("the store's id altered in each way, in either place, lets nothing be made or deleted that is not its own", LONG, async () => {
  const whole = item(shard.world, () => true, "store");
  const marker = shard.world.objects.objects.get("_store.json") ?? Buffer.alloc(0);
  const alterations: ((world: MemoryWorld) => Promise<unknown>)[] = damagedItems(whole.attributes)
    .filter(({ what }) => !what.includes("formatVersion"))
    .map(
      ({ attributes }) =>
        (world) =>
          world.checkpoints.write([{ item: whole.key, when: [], put: attributes }]),
    );
  for (let at = 0; at < marker.length; at++) {
    for (const pattern of [0x01, 0x20, 0x80]) {
      alterations.push(async (world) =>
        world.objects.damage("_store.json", (body) => {
          body[at] ^= pattern;
          return body;
        }),
      );
    }
    alterations.push(async (world) => world.objects.damage("_store.json", (body) => body.subarray(0, at)));
  }
  alterations.push(async (world) => world.objects.damage("_store.json", (body) => Buffer.concat([body, body])));
  for (const [place, alter] of alterations.entries()) {
    const world = await copyOf(shard.world);
    await alter(world);
    counts.cases++;
    const stray = `gone/0/${"0".repeat(16)}/redo/0000000000000001.redo`;
    await world.objects.createIfAbsent(stray, Buffer.from("x"));
    const named = { message: expect.stringContaining("_store.json") };
    await expect(cleanupShard(world, { id: { table: "gone", shard: 0 }, policy: POLICY_DEFAULTS }), `alteration ${place}`).rejects.toMatchObject(named);
    await expect(createTable(world, { name: "new" }), `alteration ${place}`).rejects.toMatchObject(named);
    expect(world.objects.objects.has(stray)).toBe(true);
    await isRight(world);
  }
});

describe("a capture under way", () => {
  const request = (): CaptureRequest => ({
    id: shard.id,
    codec: "json",
    sizes: { pageRows: 2, groupBytes: 100, partBytes: 512, partBytesMin: 256, copyBytes: 4_096 },
  });

  /** Stopped once it has stored some parts. */
  async function underWay(): Promise<MemoryWorld> {
    const world = await copyOf(shard.world);
    let parts = 0;
    const controller = new AbortController();
    const counted: MemoryWorld = {
      ...world,
      objects: {
        ...world.objects,
        async uploadPart(part) {
          if (++parts === 2) controller.abort();
          return world.objects.uploadPart(part);
        },
      },
    };
    expect(await capture(counted, { ...request(), signal: controller.signal })).toMatchObject({ kind: "aborted" });
    return world;
  }

  /** Goes on with it, and where that is refused gives it up by and by, as cleanup does. */
  async function endsWell(world: MemoryWorld): Promise<void> {
    counts.cases++;
    let kind: string | undefined;
    for (let attempt = 0; attempt < 5 && kind !== "completed"; attempt++) {
      kind = (await orRefused(() => capture(world, request())))?.kind;
      await isRight(world);
      if (kind === "completed") break;
      world.clock.advance(2 * DAY_MS);
      await orRefused(() => cleanupShard(world, { id: shard.id, policy: TABLE }));
    }
    if (kind === "completed") expect((await verifyShard(world, { id: shard.id, codec: "json" })).findings).toEqual([]);
    else await expect(capture(world, request())).rejects.toMatchObject({ kind: "repair" });
  }

  test("whatever is done to its parts and notes, it ends in a right snapshot, or is refused by name", LONG, async () => {
    const whole = await underWay();
    const parts = whole.checkpoints.items.filter(({ key }) => key.sort.startsWith("part#"));
    expect(parts.filter(({ attributes }) => attributes.note !== undefined).length).toBeGreaterThan(1);
    // Those behind them have notes of nothing.
    for (const { key, attributes: sound } of parts.slice(0, 3)) {
      for (const { what, attributes } of damagedItems(sound)) {
        const world = await copyUploads(whole);
        await world.checkpoints.write([{ item: key, when: [], put: attributes }]);
        await endsWell(world).catch((error: unknown) => {
          throw new Error(`${key.sort} ${what}`, { cause: error });
        });
      }
    }
  });

  test("whatever is done to its record, it ends in a right snapshot, or is refused by name", LONG, async () => {
    const whole = await underWay();
    const { key, attributes: sound } = item(whole, (sort) => sort === "control");
    for (const { what, attributes } of damagedItems({ capture: sound.capture })) {
      const world = await copyUploads(whole);
      await world.checkpoints.write([{ item: key, when: [], put: { ...sound, ...attributes } }]);
      await endsWell(world).catch((error: unknown) => {
        throw new Error(`capture ${what}`, { cause: error });
      });
    }
  });

  /** A copy with the open upload, under the id that it has. */
  async function copyUploads(whole: MemoryWorld): Promise<MemoryWorld> {
    const world = await copyOf(whole);
    for (const [uploadId, { key, parts }] of whole.objects.uploads) {
      const made = await world.objects.createUpload(key);
      expect(made.uploadId).toBe(uploadId);
      for (const [number, { body }] of parts) await world.objects.uploadPart({ key, uploadId, number, body });
    }
    return world;
  }
});

test("the shard is as its tests suppose", () => {
  expect(shard.tail).toBe(Math.max(...shard.log.map(lastOf)));
});
