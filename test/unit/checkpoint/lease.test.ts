// Who holds the lease, and until when: the clock is moved by hand.

import { expect, test } from "vitest";
import { openShard, readControl } from "../../../lib/checkpoint/control.ts";
import { acquireLease, joinLease, type Lease } from "../../../lib/checkpoint/lease.ts";
import { id, memoryWorld, type MemoryWorld, START_MS, worldWithTable } from "../jobs/world.ts";

const TTL_MS = 60_000;

async function worldWithLease(): Promise<{ readonly world: MemoryWorld; readonly lease: Lease }> {
  const world = await worldWithTable();
  await openShard(world, id, START_MS);
  const outcome = await acquireLease(world, id, TTL_MS);
  if (outcome.kind !== "held") throw new Error("a fresh shard's lease is free");
  return { world, lease: outcome.lease };
}

const leaseIn = async (world: MemoryWorld) => (await readControl(world.checkpoints, id))?.lease;

test("a lease is of the control item as its own write left it, and lasts its time", async () => {
  const { world, lease } = await worldWithLease();
  expect(lease.control).toEqual(await readControl(world.checkpoints, id));
  expect(lease).toMatchObject({ id, holder: { incarnation: lease.control.incarnation, epoch: 1 } });
  expect((await leaseIn(world))?.untilMs).toBe(START_MS + TTL_MS);
});

test("another's lease that still runs is told with its owner and its end, and a shard that is not there as gone", async () => {
  const { world } = await worldWithLease();
  expect(await acquireLease(world, id, TTL_MS)).toEqual({ kind: "rejected", ...(await leaseIn(world)) });
  expect(await acquireLease(memoryWorld(), id, TTL_MS)).toEqual({ kind: "gone" });
});

test("a lease that is kept is written again only when a third of its time has passed, and then lasts a whole one", async () => {
  const { world, lease } = await worldWithLease();
  world.clock.advance(TTL_MS / 3 - 1);
  expect([await lease.keep(), (await leaseIn(world))?.untilMs]).toEqual([true, START_MS + TTL_MS]);
  world.clock.advance(1);
  expect([await lease.keep(), (await leaseIn(world))?.untilMs]).toEqual([true, START_MS + TTL_MS / 3 + TTL_MS]);
  world.clock.advance(TTL_MS / 3 - 1);
  expect([await lease.keep(), (await leaseIn(world))?.untilMs]).toEqual([true, START_MS + TTL_MS / 3 + TTL_MS]);
});

test("who is asked to keep a lease that passed to another is told that it is lost, and the other keeps it", async () => {
  const { world, lease } = await worldWithLease();
  world.clock.advance(TTL_MS);
  await acquireLease(world, id, TTL_MS);
  const others = await leaseIn(world);
  expect([await lease.keep(), await leaseIn(world)]).toEqual([false, others]);
});

test("a lease that is released is free at once, and ends now", async () => {
  const { world, lease } = await worldWithLease();
  world.clock.advance(5);
  await lease.release();
  expect((await leaseIn(world))?.untilMs).toBe(START_MS + 5);
  expect((await acquireLease(world, id, TTL_MS)).kind).toBe("held");
});

test("who works beside the holder keeps the lease, and does not release it", async () => {
  const { world, lease } = await worldWithLease();
  const joined = joinLease(world, id, lease.control, TTL_MS);
  expect([joined.id, joined.holder, joined.control]).toEqual([id, lease.holder, lease.control]);
  await joined.release();
  expect((await leaseIn(world))?.untilMs).toBe(START_MS + TTL_MS);
  world.clock.advance(TTL_MS / 3);
  expect([await joined.keep(), (await leaseIn(world))?.untilMs]).toEqual([true, START_MS + TTL_MS / 3 + TTL_MS]);
});
