// Damage is found, never served (I8): every byte flipped, every length cut, files swapped, lost and mistaken for others.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { STORE_KEY } from "../../lib/model/names.ts";
import { toIndex } from "../../lib/model/position.ts";
import { lastOf } from "../processes/keyed-model.ts";
import { appends, captures, examine, isFound, looksUp, recovered, type Subject } from "./oracle.ts";
import { copyOf, type MemoryWorld, smallShard, type SmallShard } from "./shard.ts";

const PATTERNS = [0x01, 0x80, 0xff];
const ONE_IN_TURN = 1;
/** Of the flips and cuts, so many are examined from all sides; the others by recovery and verification. */
const EXAMINE_EVERY = 101;
const LONG = { timeout: 600_000 };

let shard: SmallShard;
let world: MemoryWorld;
const counts = { cases: 0, examined: 0, right: 0, named: 0 };

beforeAll(async () => {
  shard = await smallShard();
});
beforeEach(async () => {
  world = await copyOf(shard.world);
});
afterAll(() => {
  const { cases, examined, right, named } = counts;
  console.log(`${cases} cases of damage; ${examined} examined from all sides: ${right} answers right, ${named} refused with the object's name`);
});

test("the shard has two generations, with a log between and behind, and all of it is sound", async () => {
  expect([shard.between.length, shard.behind.length]).toEqual([3, 3]);
  const subject: Subject = { shard, world, damaged: [] };
  expect(await recovered(subject)).toMatchObject({ kind: "right", view: { from: shard.newer.index, passedOver: [] } });
  for (let index = shard.older.index; index <= shard.tail; index++) expect((await recovered(subject, { index: toIndex(index) })).kind).toBe("right");
  expect((await looksUp(subject)).every(({ kind }) => kind === "right")).toBe(true);
  expect(await appends(subject)).toBe("right");
  expect((await captures(subject)).kind).toBe("right");
  await expect(isFound(subject)).rejects.toThrow();
});

// The bytes of the older objects are read by the same code, so each is flipped by one of the patterns, in turn.
describe.each<[string, () => string, (key: string) => Promise<void>, number]>([
  ["a redo file behind the newest generation", () => shard.behind[1], refusedBehind, PATTERNS.length],
  ["a redo file between the generations", () => shard.between[1], refusedBetween, ONE_IN_TURN],
  ["the newest snapshot", () => shard.newer.key, passedOver, PATTERNS.length],
  ["the snapshot before it", () => shard.older.key, refusedOlder, ONE_IN_TURN],
])("%s", (_, keyOf, isKept, patterns) => {
  test("each byte flipped is found", LONG, async () => {
    const sound = bytesOf(keyOf());
    for (let at = 0; at < sound.length; at++) {
      for (const pattern of PATTERNS.slice(at % (PATTERNS.length - patterns + 1)).slice(0, patterns))
        await holds(keyOf(), flipped(sound, at, pattern), isKept, `byte ${at} by ${pattern}`);
    }
  });

  test("cut at each length, or with bytes behind it, it is found", LONG, async () => {
    const sound = bytesOf(keyOf());
    for (let length = 0; length < sound.length; length++) await holds(keyOf(), sound.subarray(0, length), isKept, `cut at ${length}`);
    for (const more of [Buffer.alloc(1), Buffer.alloc(40, 0xff), Buffer.from("PAR1"), sound]) {
      await holds(keyOf(), Buffer.concat([sound, more]), isKept, `with ${more.length} bytes behind it`);
    }
  });

  test("lost, it is found", LONG, async () => {
    await world.objects.deleteMany([keyOf()]);
    await isKept(keyOf());
    await examined([keyOf()]);
  });
});

test("any redo file lost is found, and so are two", LONG, async () => {
  const keys = [...shard.between, ...shard.behind];
  for (const one of keys) {
    for (const other of keys) {
      world = await copyOf(shard.world);
      await world.objects.deleteMany([one, other]);
      await examined([one, other]);
    }
  }
});

test("each pair of the store's objects swapped is found", LONG, async () => {
  for (const [one, other] of pairs([shard.older.key, shard.newer.key, ...shard.between, ...shard.behind, STORE_KEY])) {
    await swap(one, other);
    await examined([one, other]);
    await swap(one, other);
  }
});

test("both snapshots damaged, or the newest and the log behind the other, leave an error that names one of them", LONG, async () => {
  for (const keys of [[shard.older.key, shard.newer.key], ...shard.between.map((key) => [key, shard.newer.key])]) {
    world = await copyOf(shard.world);
    for (const key of keys) world.objects.damage(key, (body) => flipped(body, body.length >> 1, 0x10));
    expect((await recovered({ shard, world, damaged: keys })).kind).toBe("named");
    await examined(keys);
  }
});

test("objects of another shard, another table and another life in place of their own are found", LONG, async () => {
  const strangers = [await smallShard({ shard: 1 }), await smallShard({ table: "other" }), await smallShard({ seed: 2 })];
  for (const stranger of strangers) {
    const own = [...shard.between, ...shard.behind, shard.older.key, shard.newer.key];
    const theirs = [...stranger.between, ...stranger.behind, stranger.older.key, stranger.newer.key];
    for (const [place, key] of own.entries()) {
      const sound = bytesOf(key);
      world.objects.damage(key, () => stranger.world.objects.objects.get(theirs[place]) ?? Buffer.alloc(0));
      expect(bytesOf(key).equals(sound)).toBe(false);
      await examined([key]);
      world.objects.damage(key, () => sound);
    }
  }
});

test("a capture over a damaged newest generation falls back, says so, and the next generation is right", LONG, async () => {
  for (const at of [10, bytesOf(shard.newer.key).length - 100]) {
    world = await copyOf(shard.world);
    world.objects.damage(shard.newer.key, (body) => flipped(body, at, 0x04));
    const captured = await captures({ shard, world, damaged: [shard.newer.key] });
    if (captured.kind !== "right") throw new Error("the generation before serves");
    expect(captured.world.events).toContainEqual(expect.objectContaining({ kind: "fell-back", damaged: shard.newer.key, to: shard.older.index }));
  }
});

/** Damages the object, checks what must come of it, and makes it sound again. */
async function holds(key: string, wrong: Uint8Array, isKept: (key: string) => Promise<void>, what: string): Promise<void> {
  const sound = bytesOf(key);
  world.objects.damage(key, () => wrong);
  counts.cases++;
  try {
    await isKept(key);
    if (counts.cases % EXAMINE_EVERY === 0) await examined([key]);
  } catch (error) {
    throw new Error(`${key}, ${what}`, { cause: error });
  }
  world.objects.damage(key, () => sound);
}

async function examined(damaged: readonly string[]): Promise<void> {
  const { right, named } = await examine({ shard, world, damaged });
  counts.cases++;
  counts.examined++;
  counts.right += right;
  counts.named += named;
}

/** The newest state needs the file; the states before it do not. */
async function refusedBehind(key: string): Promise<void> {
  const subject = { shard, world, damaged: [key] };
  expect(await recovered(subject)).toEqual({ kind: "named", object: key });
  expect((await recovered(subject, { index: toIndex(firstOf(key) - 1) })).kind).toBe("right");
  expect(await isFound(subject)).toEqual([key]);
}

/** Only states between the file and the newer generation need it. */
async function refusedBetween(key: string): Promise<void> {
  const subject = { shard, world, damaged: [key] };
  expect(await recovered(subject)).toMatchObject({ kind: "right", view: { passedOver: [] } });
  expect(await recovered(subject, { index: toIndex(shard.newer.index - 1) })).toEqual({ kind: "named", object: key });
  expect(await isFound(subject)).toEqual([key]);
}

/** Every state is still there by the generation before; whoever needed the damaged one is told. */
async function passedOver(key: string): Promise<void> {
  const subject = { shard, world, damaged: [key] };
  world.events.length = 0;
  expect(await recovered(subject)).toMatchObject({ kind: "right", view: { passedOver: [{ key }] } });
  expect(world.events).toContainEqual(expect.objectContaining({ kind: "fell-back", damaged: key, to: shard.older.index }));
  expect(await isFound(subject)).toEqual([key]);
}

/** States from the newer generation on do not need it; for those before there is nothing older. */
async function refusedOlder(key: string): Promise<void> {
  const subject = { shard, world, damaged: [key] };
  expect(await recovered(subject)).toMatchObject({ kind: "right", view: { passedOver: [] } });
  expect(await recovered(subject, { index: toIndex(shard.newer.index - 1) })).toEqual({ kind: "named", object: key });
  expect(await isFound(subject)).toEqual([key]);
}

function firstOf(redoFile: string): number {
  const first = Number(/([0-9]{16})\.redo$/.exec(redoFile)?.[1]);
  expect(shard.log.some((batch) => batch.first === first && lastOf(batch) >= first)).toBe(true);
  return first;
}

async function swap(one: string, other: string): Promise<void> {
  const [first, second] = [bytesOf(one), bytesOf(other)];
  world.objects.damage(one, () => second);
  world.objects.damage(other, () => first);
}

function pairs(keys: readonly string[]): readonly (readonly [string, string])[] {
  return keys.flatMap((one, place) => keys.slice(place + 1).map((other) => [one, other] as const));
}

function bytesOf(key: string): Buffer {
  return world.objects.objects.get(key) ?? Buffer.alloc(0);
}

function flipped(bytes: Buffer, at: number, pattern: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] ^= pattern;
  return copy;
}
