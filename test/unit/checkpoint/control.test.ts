import { describe, expect, test } from "vitest";
import { changeControl, openShard, openShardOf, queryAll, readControl, readHistory, writeControl } from "../../../lib/checkpoint/control.ts";
import { historyAttributes, historyItem, partItem, tableItem, tailItem } from "../../../lib/checkpoint/items.ts";
import { cleaned, takeLease } from "../../../lib/checkpoint/transitions.ts";
import { createTable, deleteTable } from "../../../lib/jobs/tables.ts";
import type { Control } from "../../../lib/model/control.ts";
import { TidemarkError } from "../../../lib/model/errors.ts";
import { CONTROL_ATTEMPTS_MAX } from "../../../lib/model/limits.ts";
import { toEpoch, toIndex } from "../../../lib/model/position.ts";
import type { World } from "../../../lib/ports/world.ts";
import { id, losingReply, type MemoryWorld, memoryWorld, noAnswer, START_MS, stored, withCheckpoints, worldWithTable } from "../jobs/world.ts";
import { rowAt } from "./samples.ts";

const raised = (by: number) => (control: Control) => ({
  kind: "to" as const,
  control: cleaned(control, { lowWater: toIndex(control.lowWater + by), fence: false }),
});
const touchesControl = (changes: readonly { readonly item: { readonly sort: string } }[]) => changes.some(({ item }) => item.sort === "control");

/** Before each of the first `times` writes another writer changes the control item. */
function withRival<W extends World>(world: W, times: number): W {
  let left = times;
  return withCheckpoints(world, (checkpoints) => ({
    async write(changes) {
      if (left > 0 && touchesControl(changes)) {
        left--;
        await changeControl(world, { id, decide: raised(100) });
      }
      return checkpoints.write(changes);
    },
  }));
}

test("a shard opens once: of two that race both get the same life", async () => {
  const world = await worldWithTable();
  const [one, other] = await Promise.all([openShard(world, id, START_MS), openShard(world, id, START_MS)]);
  expect(one).toEqual(other);
  expect(await readControl(world.checkpoints, id)).toEqual(one);
});

test.each(["done", "not-done"] as const)("a shard opens although the reply is lost (%s)", async (effect) => {
  const world = await worldWithTable();
  const control = await openShard(losingReply(world, touchesControl, effect), id, START_MS);
  expect(await readControl(world.checkpoints, id)).toEqual(control);
  expect((await world.checkpoints.get(tailItem(id)))?.attributes.incarnation).toBe(control.incarnation);
});

test("no shard opens in a table that is not there, and nothing is left of the attempt", async () => {
  const world = memoryWorld();
  await expect(openShard(world, id, START_MS)).rejects.toMatchObject({ kind: "call", code: "unknown-table" });
  expect(world.checkpoints.items).toEqual([]);
});

describe("a shard of a table that somebody holds", () => {
  async function madeAnew(world: MemoryWorld): Promise<void> {
    await deleteTable(world, id.table);
    world.clock.advance(1);
    await createTable(world, { name: id.table });
  }

  test("opens while it is that table", async () => {
    const world = await worldWithTable();
    const control = await openShardOf(world, id, START_MS, START_MS);
    expect(await openShardOf(world, id, START_MS, START_MS)).toEqual(control);
    expect(await readControl(world.checkpoints, id)).toEqual(control);
  });

  test("does not open of another one under its name, and nothing is left of the attempt", async () => {
    const world = await worldWithTable();
    await madeAnew(world);
    const before = stored(world);
    expect(await openShardOf(world, id, START_MS, START_MS)).toBeUndefined();
    expect(stored(world)).toEqual(before);
  });

  test("is none of its where another one has opened it, however late that comes", async () => {
    const world = await worldWithTable();
    let looks = 0;
    const raced = withCheckpoints(world, (checkpoints) => ({
      async get(key) {
        looks += 1;
        if (looks === 1) {
          await madeAnew(world);
          await openShard(world, id, START_MS);
        }
        return checkpoints.get(key);
      },
    }));
    expect(await openShardOf(raced, id, START_MS, START_MS)).toBeUndefined();
  });

  test("is unknown where the table is gone, or is being deleted", async () => {
    const gone = { kind: "call", code: "unknown-table" };
    const world = await worldWithTable();
    await world.checkpoints.write([{ item: tableItem(id.table), when: [], set: { state: "deleting" } }]);
    await expect(openShardOf(world, id, START_MS, START_MS)).rejects.toMatchObject(gone);
    await deleteTable(world, id.table);
    await expect(openShardOf(world, id, START_MS, START_MS)).rejects.toMatchObject(gone);
  });
});

test("opening leaves the table's item as it is", async () => {
  const world = await worldWithTable();
  const before = await world.checkpoints.get(tableItem(id.table));
  await openShard(world, id, START_MS);
  expect(await world.checkpoints.get(tableItem(id.table))).toEqual(before);
});

test("opening gives up after so many attempts that all were refused, and can be tried again", async () => {
  const world = await worldWithTable();
  const unseen = withCheckpoints(world, () => ({ get: async () => undefined }));
  await openShard(world, id, START_MS);
  let writes = 0;
  const counting = withCheckpoints(unseen, (checkpoints) => ({
    write(changes) {
      writes++;
      return checkpoints.write(changes);
    },
  }));
  await expect(openShard(counting, id, START_MS)).rejects.toMatchObject({ kind: "retry", code: "contended" });
  expect(writes).toBe(CONTROL_ATTEMPTS_MAX);
});

test("opening reads no more once its write was answered", async () => {
  const world = await worldWithTable();
  let reads = 0;
  const counting = withCheckpoints(world, (checkpoints) => ({
    get(key) {
      reads++;
      return checkpoints.get(key);
    },
  }));
  await openShard(counting, id, START_MS);
  expect(reads).toBe(1);
});

test("a change of a shard that is gone says so", async () => {
  expect(await changeControl(memoryWorld(), { id, decide: raised(1) })).toEqual({ kind: "gone" });
});

test("the loser decides again on what beat it", async () => {
  const world = await worldWithTable();
  await openShard(world, id, START_MS);
  const written = await changeControl(withRival(world, 3), { id, decide: raised(1) });
  expect(written).toMatchObject({ kind: "written", control: { lowWater: 302 } });
  expect(await readControl(world.checkpoints, id)).toMatchObject({ lowWater: 302 });
});

test("a refusal of the decision is handed on, and nothing is written", async () => {
  const world = await worldWithTable();
  const opened = await openShard(world, id, START_MS);
  const refused = await changeControl(world, { id, decide: () => ({ kind: "lost" as const }) });
  expect([refused, await readControl(world.checkpoints, id)]).toEqual([{ kind: "lost" }, opened]);
});

test("a change gives up after so many rivals, and can be tried again", async () => {
  const world = await worldWithTable();
  await openShard(world, id, START_MS);
  await expect(changeControl(withRival(world, CONTROL_ATTEMPTS_MAX), { id, decide: raised(1) })).rejects.toMatchObject({ kind: "retry", code: "contended" });
});

test.each(["done", "not-done"] as const)("a change whose reply was lost is made once (%s)", async (effect) => {
  const world = await worldWithTable();
  await openShard(world, id, START_MS);
  const written = await changeControl(losingReply(world, touchesControl, effect), { id, decide: raised(1) });
  expect(written).toMatchObject({ kind: "written", control: { lowWater: 2 } });
});

test("a write that an adapter sent twice knows itself by its stamp", async () => {
  const world = await worldWithTable();
  const from = await openShard(world, id, START_MS);
  const twice = withCheckpoints(world, (checkpoints) => ({
    async write(changes) {
      await checkpoints.write(changes);
      return checkpoints.write(changes);
    },
  }));
  const written = await writeControl(twice, { id, from, to: cleaned(from, { lowWater: toIndex(5), fence: false }), also: [] });
  expect(written).toMatchObject({ kind: "written", control: { lowWater: 5 } });
});

test("every write leaves a fresh stamp, and one that rests on an older stamp is refused", async () => {
  const world = await worldWithTable();
  const from = await openShard(world, id, START_MS);
  const first = await writeControl(world, { id, from, to: from, also: [] });
  const second = await writeControl(world, { id, from, to: from, also: [] });
  expect([first.kind, second.kind]).toEqual(["written", "refused"]);
  expect((await readControl(world.checkpoints, id))?.stamp).not.toBe(from.stamp);
});

test("what is written along is written with it or not at all, and who refused is told", async () => {
  const world = await worldWithTable();
  const from = await openShard(world, id, START_MS);
  const also = [{ item: partItem(id, toEpoch(1), 1), when: [{ kind: "present" } as const], put: { etag: "x" } }];
  const refused = await writeControl(world, { id, from, to: cleaned(from, { lowWater: toIndex(5), fence: false }), also });
  expect([refused, await readControl(world.checkpoints, id)]).toEqual([{ kind: "refused", beside: partItem(id, toEpoch(1), 1) }, from]);
});

test("a write where the control item is gone is refused, and so is one beside an item that stands in another's way", async () => {
  const world = await worldWithTable();
  const from = await openShard(world, id, START_MS);
  const part = partItem(id, toEpoch(1), 1);
  await world.checkpoints.write([{ item: part, when: [], put: { etag: "x" } }]);
  const also = [{ item: part, when: [{ kind: "absent" } as const], put: { etag: "y" } }];
  expect(await writeControl(world, { id, from, to: from, also })).toEqual({ kind: "refused", beside: part });
  expect(await writeControl(memoryWorld(), { id, from, to: from, also: [] })).toEqual({ kind: "refused" });
});

test("a fault that is no lost reply is not settled but told, whatever its kind", async () => {
  const world = await worldWithTable();
  const from = await openShard(world, id, START_MS);
  const denied = withCheckpoints(world, () => ({ write: async () => Promise.reject(new TidemarkError("wait", "throttled", "later")) }));
  await expect(writeControl(denied, { id, from, to: from, also: [] })).rejects.toMatchObject({ kind: "wait", code: "throttled" });
});

test("a fault of the program is not settled but told", async () => {
  const world = await worldWithTable();
  const from = await openShard(world, id, START_MS);
  const failing = withCheckpoints(world, () => ({ write: async () => Promise.reject(new TypeError("a bug")) }));
  await expect(writeControl(failing, { id, from, to: from, also: [] })).rejects.toThrow(TypeError);
});

test("a lost reply that cannot be settled by reading stays a fault to retry", async () => {
  const world = await worldWithTable();
  await openShard(world, id, START_MS);
  const silent = withCheckpoints(world, (checkpoints) => {
    let lost = false;
    return {
      async write() {
        lost = true;
        throw noAnswer();
      },
      async get(key) {
        if (lost) throw noAnswer();
        return checkpoints.get(key);
      },
    };
  });
  await expect(changeControl(silent, { id, decide: (control) => takeLease(control, { owner: "me", nowMs: 0, ttlMs: 1 }) })).rejects.toMatchObject({
    kind: "retry",
  });
});

test("the history is read page by page, oldest first", async () => {
  const world = await worldWithTable();
  for (const index of [30, 10, 20]) await world.checkpoints.write([{ item: historyItem(id, rowAt(index)), when: [], put: historyAttributes(rowAt(index)) }]);
  const paged = withCheckpoints(world, (checkpoints) => ({ query: (request) => checkpoints.query({ ...request, limit: 1 }) }));
  expect(await readHistory(paged.checkpoints, id)).toEqual([rowAt(10), rowAt(20), rowAt(30)]);
  expect((await queryAll(paged.checkpoints, id, "")).length).toBe(3);
});
