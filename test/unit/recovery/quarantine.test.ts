import { expect, test } from "vitest";
import { COPY_PART_BYTES } from "../../../lib/model/limits.ts";
import { quarantine } from "../../../lib/recovery/quarantine.ts";
import { memoryWorld, type MemoryWorld, withObjects } from "../jobs/world.ts";

const KEY = "players/0/00112233aabbccdd/redo/0000000000000001.redo";
const COPY = `_quarantine/${KEY}`;

async function worldWithObject(body: Buffer): Promise<MemoryWorld> {
  const world = memoryWorld();
  await world.objects.createIfAbsent(KEY, body);
  return world;
}

const bodyOf = ({ objects }: MemoryWorld, key: string) => objects.objects.get(key)?.toString();

test("an object is copied, stays where it is, and its copy is told", async () => {
  const world = await worldWithObject(Buffer.from("damaged"));
  expect(await quarantine(world, KEY)).toBe(COPY);
  expect([bodyOf(world, KEY), bodyOf(world, COPY)]).toEqual(["damaged", "damaged"]);
});

test("the first copy stays as it is", async () => {
  const world = await worldWithObject(Buffer.from("damaged"));
  await quarantine(world, KEY);
  world.objects.damage(KEY, () => Buffer.from("worse"));
  for (const byHandMax of [100, 0]) expect(await quarantine(world, KEY, byHandMax)).toBe(COPY);
  expect([bodyOf(world, COPY), world.objects.uploads.size]).toEqual(["damaged", 0]);
});

test("of an object that is not there, or goes meanwhile, there is no copy", async () => {
  expect(await quarantine(memoryWorld(), KEY)).toBeUndefined();
  const world = await worldWithObject(Buffer.from("x"));
  const going = withObjects(world, () => ({ get: async () => ({ kind: "absent" }) }));
  expect([await quarantine(going, KEY), bodyOf(world, COPY)]).toEqual([undefined, undefined]);
  await quarantine(world, KEY);
  await world.objects.deleteMany([KEY]);
  expect([await quarantine(world, KEY), bodyOf(world, COPY)]).toEqual([undefined, "x"]);
});

test.each([1, COPY_PART_BYTES])(
  "an object that is too large to pass through is copied by the store, in parts that tile it, the last of %d bytes",
  async (last) => {
    const size = 2 * COPY_PART_BYTES + last;
    const world = memoryWorld();
    const copied: unknown[] = [];
    const large = withObjects(world, () => ({
      head: async (key) => (key === KEY ? { kind: "found", size, etag: "e" } : { kind: "absent" }),
      get: async () => Promise.reject(new Error("it is not read")),
      async copyPart({ number, source }) {
        copied.push([number, source]);
        return { kind: "stored", etag: `part ${number}` };
      },
      async completeUpload({ parts }) {
        copied.push(parts);
        return { kind: "completed" };
      },
    }));
    expect(await quarantine(large, KEY, size - 1)).toBe(COPY);
    const source = { key: KEY, etag: "e" };
    expect(copied).toEqual([
      [1, { ...source, offset: 0, length: COPY_PART_BYTES }],
      [2, { ...source, offset: COPY_PART_BYTES, length: COPY_PART_BYTES }],
      [3, { ...source, offset: 2 * COPY_PART_BYTES, length: last }],
      [1, 2, 3].map((number) => ({ number, etag: `part ${number}` })),
    ]);
  },
);

test("an object of just the size that may pass through is copied by hand", async () => {
  const world = await worldWithObject(Buffer.from("four"));
  const byHand = withObjects(world, () => ({ createUpload: async () => Promise.reject(new Error("no upload is needed")) }));
  expect([await quarantine(byHand, KEY, 4), bodyOf(world, COPY)]).toEqual([COPY, "four"]);
});

test.each([
  ["that changed while it was copied", { copyPart: async () => ({ kind: "sourceChanged" as const }) }],
  ["whose upload was ended", { completeUpload: async () => ({ kind: "noSuchUpload" as const }) }],
])("an object %s is to be copied again, and nothing is left of the attempt", async (_, change) => {
  const world = await worldWithObject(Buffer.from("large"));
  await expect(
    quarantine(
      withObjects(world, () => change as never),
      KEY,
      1,
    ),
  ).rejects.toMatchObject({ kind: "retry", code: "changed-object" });
  expect([world.objects.uploads.size, bodyOf(world, COPY)]).toEqual([0, undefined]);
});

test("where another copied it meanwhile its copy counts, and the upload is ended", async () => {
  const world = await worldWithObject(Buffer.from("large"));
  const raced = withObjects(world, (objects) => ({
    async completeUpload(request) {
      await objects.createIfAbsent(COPY, Buffer.from("first"));
      return objects.completeUpload(request);
    },
  }));
  expect([await quarantine(raced, KEY, 1), bodyOf(world, COPY), world.objects.uploads.size]).toEqual([COPY, "first", 0]);
});
