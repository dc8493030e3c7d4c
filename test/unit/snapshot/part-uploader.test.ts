import { crc32 } from "node:zlib";
import { expect, test } from "vitest";
import { readControl } from "../../../lib/checkpoint/control.ts";
import { controlItem, partItem } from "../../../lib/checkpoint/items.ts";
import type { CaptureRecord } from "../../../lib/model/control.ts";
import { PARTS_TOGETHER, S3_PART_BYTES_MAX } from "../../../lib/model/limits.ts";
import { ORIGIN, toEpoch } from "../../../lib/model/position.ts";
import type { Attributes } from "../../../lib/ports/checkpoint-store.ts";
import type { StoredPart } from "../../../lib/snapshot/progress.ts";
import { type PartUploader, partUploader, storedParts, type UploadRequest } from "../../../lib/snapshot/upload.ts";
import { appendEach, id, type MemoryWorld, noAnswer, put, withObjects, worldWithTable } from "../jobs/world.ts";

const KEY = "players/0/00112233aabbccdd/snapshots/0000000000000057-e3.parquet";
const BASE = "players/0/00112233aabbccdd/snapshots/0000000000000040-e2.parquet";
const record: CaptureRecord = {
  key: KEY,
  uploadId: "upload-00000001",
  born: toEpoch(3),
  target: ORIGIN,
  full: false,
  encoderVersion: "1",
  sizes: "1",
  startedAtMs: 0,
  bytesExpected: 99,
};
/** What a worker before has stored. */
const first: StoredPart = { number: 1, etag: "e", offset: 0, length: 10, copied: false, note: "noted" };

/** A world with an upload under way, and a base that is the alphabet. */
async function worldWithUpload(): Promise<MemoryWorld> {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await world.objects.createUpload(KEY);
  await world.objects.createIfAbsent(BASE, Buffer.from("ABCDEFGHIJKLMNOPQRSTUVWXYZ"));
  return world;
}

/** Parts of ten bytes, none shorter than four. */
async function uploaderIn(world: MemoryWorld, request: Partial<UploadRequest> = {}): Promise<PartUploader> {
  const control = await readControl(world.checkpoints, id);
  if (control === undefined) throw new Error("the shard was written");
  const sizes = { partBytes: 10, partBytesMin: 4, copyBytes: 100 };
  const noteUpTo = (offset: number) => `up to ${offset}`;
  return partUploader(world, { id, holder: control, record, sizes, stored: new Map(), done: [], skip: 0, noteUpTo, ...request });
}

function sourceIn(world: MemoryWorld): NonNullable<UploadRequest["source"]> {
  return {
    key: BASE,
    async etag() {
      const head = await world.objects.head(BASE);
      return head.kind === "found" ? head.etag : "";
    },
  };
}

/** Numbers and bytes of what was sent, in the order of their arrival. */
function watching(world: MemoryWorld, delay: (number: number) => Promise<void> = async () => undefined) {
  const sent: string[] = [];
  const watched = withObjects(world, (objects) => ({
    async uploadPart(part) {
      await delay(part.number);
      sent.push(`${part.number} ${Buffer.from(part.body)}`);
      return objects.uploadPart(part);
    },
  }));
  return { sent, watched };
}

function made(uploader: PartUploader, ...chunks: readonly string[]) {
  return uploader.made(chunks.map((chunk) => Buffer.from(chunk)));
}

function uploadsTold({ events }: MemoryWorld) {
  return events.flatMap((event) => (event.kind === "capture-uploaded" ? [[event.part, event.bytes, event.copied, event.bytesDone]] : []));
}

test("parts that arrive in another order are listed by their numbers, each stored with its place and its note", async () => {
  const world = await worldWithUpload();
  const second = Promise.withResolvers<void>();
  const { sent, watched } = watching(world, async (number) => (number === 1 ? second.promise : second.resolve()));
  const uploader = await uploaderIn(watched);
  await made(uploader, "abcdefg", "hijklmnopqrstuvw");
  const outcome = await uploader.finish();
  expect(sent).toEqual(["2 klmnopqrst", "1 abcdefghij", "3 uvw"]);
  if (outcome.kind !== "uploaded") throw new Error(`the upload is ${outcome.kind}`);
  const places = outcome.parts.map(({ number, offset, length, copied, note }) => [number, offset, length, copied, note]);
  expect(places).toEqual([
    [1, 0, 10, false, "up to 10"],
    [2, 10, 10, false, "up to 20"],
    [3, 20, 3, false, "up to 23"],
  ]);
  expect([outcome.bytesSent, outcome.bytesCopied]).toEqual([23, 0]);
  expect([...(await storedParts(world.checkpoints, id, record)).values()]).toEqual(outcome.parts);
  expect(uploadsTold(world)).toEqual([
    [2, 10, false, 10],
    [1, 10, false, 20],
    [3, 3, false, 23],
  ]);
});

test("no more parts are under way at a time than may be", async () => {
  const world = await worldWithUpload();
  let underWay = 0;
  let most = 0;
  const { watched } = watching(world, async () => {
    most = Math.max(most, ++underWay);
    await new Promise((resolve) => setImmediate(resolve));
    underWay--;
  });
  const uploader = await uploaderIn(watched);
  await made(uploader, "x".repeat(100));
  await uploader.finish();
  expect(most).toBe(PARTS_TOGETHER);
});

test("behind a part whose reply was lost none is sent, and the fault is told", async () => {
  const { sent, watched } = watching(await worldWithUpload(), async () => {
    throw noAnswer();
  });
  const uploader = await uploaderIn(watched);
  await expect(made(uploader, "x".repeat(100))).rejects.toMatchObject({ code: "no-answer" });
  await expect(made(uploader, "x".repeat(10))).rejects.toMatchObject({ code: "no-answer" });
  await expect(uploader.finish()).rejects.toMatchObject({ code: "no-answer" });
  expect(sent).toEqual([]);
});

test("behind a part that finds the upload ended, or the lease taken, none is sent", async () => {
  const ended = async (world: MemoryWorld) => world.objects.abortUpload(record);
  const taken = async ({ checkpoints }: MemoryWorld) => void (await checkpoints.write([{ item: controlItem(id), when: [], set: { epoch: 9 } }]));
  for (const [harm, kind] of [
    [ended, "noSuchUpload"],
    [taken, "superseded"],
  ] as const) {
    const world = await worldWithUpload();
    const { sent, watched } = watching(world);
    const uploader = await uploaderIn(watched);
    await harm(world);
    expect(await made(uploader, "x".repeat(100))).toEqual({ kind });
    expect(await made(uploader, "x".repeat(10))).toEqual({ kind });
    expect(await uploader.finish()).toEqual({ kind });
    expect(sent.length).toBe(PARTS_TOGETHER);
    expect(await storedParts(world.checkpoints, id, record)).toEqual(new Map());
    expect(uploadsTold(world)).toEqual([]);
  }
});

test("a part that is stored already is not sent again, if it lies where it did and is as long", async () => {
  for (const [earlier, numbers] of [
    [first, ["2"]],
    [{ ...first, offset: 1 }, ["1", "2"]],
    [{ ...first, length: 9 }, ["1", "2"]],
  ] as const) {
    const world = await worldWithUpload();
    const { sent, watched } = watching(world);
    const uploader = await uploaderIn(watched, { stored: new Map([[1, earlier]]) });
    await made(uploader, "abcdefghijklmn");
    const outcome = await uploader.finish();
    expect(sent.map((part) => part[0])).toEqual(numbers);
    expect(outcome).toMatchObject({ kind: "uploaded", parts: [{ number: 1, length: 10 }, { number: 2 }], bytesSent: numbers.length === 1 ? 4 : 14 });
    expect(uploadsTold(world).at(-1)).toEqual([2, 4, false, 14]);
  }
});

test("what goes on behind parts that are done begins with the bytes that they do not hold", async () => {
  for (const chunks of [["ghijklmnopqrstuv"], ["gh", "ij", "klmnopqrstuv"], ["ghi", "jklmno", "pqrstuv"]]) {
    const world = await worldWithUpload();
    const { sent, watched } = watching(world);
    const uploader = await uploaderIn(watched, { done: [first], skip: 4 });
    await made(uploader, ...chunks);
    const outcome = await uploader.finish();
    expect(sent).toEqual(["2 klmnopqrst", "3 uv"]);
    expect(outcome).toMatchObject({ parts: [first, { number: 2, offset: 10 }, { number: 3, offset: 20 }], bytesSent: 12 });
    expect(uploadsTold(world).map(([, , , bytesDone]) => bytesDone)).toEqual([20, 22]);
  }
});

test("and so does what is carried over: of the base no byte is copied that they hold", async () => {
  const world = await worldWithUpload();
  const copied: unknown[] = [];
  const watched = withObjects(world, (objects) => ({
    copyPart(part) {
      copied.push([part.number, part.source.offset, part.source.length]);
      return objects.copyPart(part);
    },
  }));
  const uploader = await uploaderIn(watched, { done: [first], skip: 7, source: sourceIn(world) });
  await uploader.carried(0, 5);
  await uploader.carried(5, 12);
  await uploader.carried(20, 6);
  const outcome = await uploader.finish();
  expect(copied).toEqual([
    [2, 7, 10],
    [3, 20, 6],
  ]);
  expect(outcome).toMatchObject({ kind: "uploaded", bytesSent: 0, bytesCopied: 16 });
  expect(uploadsTold(world)).toEqual([
    [2, 10, true, 20],
    [3, 6, true, 26],
  ]);
});

test("parts beside those that the store copies have their CRC-32, and are filled up with bytes of the base; others have none", async () => {
  const world = await worldWithUpload();
  const { sent, watched } = watching(world);
  const uploader = await uploaderIn(watched, { source: sourceIn(world) });
  await made(uploader, "ab");
  await uploader.carried(3, 3);
  await made(uploader, "c");
  await uploader.carried(6, 12);
  const outcome = await uploader.finish();
  expect(sent).toEqual(["1 abDEFc"]);
  const crcs = ["abDEFc", "GHIJKLMNOPQR"].map((text) => ({ crc32: crc32(Buffer.from(text)) }));
  expect(outcome).toMatchObject({ kind: "uploaded", parts: crcs, bytesSent: 6, bytesCopied: 12 });
  expect([...(await storedParts(world.checkpoints, id, record)).values()]).toMatchObject([{ copied: false }, { copied: true }]);

  const alone = await uploaderIn(await worldWithUpload());
  await made(alone, "abcdefghij");
  expect(await alone.finish()).toMatchObject({ parts: [expect.not.objectContaining({ crc32: expect.anything() })] });
});

test("a base that is gone, cut, or not what it was, while row groups of it are carried over, is named", async () => {
  const gone = (world: MemoryWorld) => withObjects(world, () => ({ getRange: async () => ({ kind: "absent" }) }));
  const cut = (world: MemoryWorld) =>
    withObjects(world, (objects) => ({ getRange: (key, { offset, length }) => objects.getRange(key, { offset, length: length - 1 }) }));
  const changed = (world: MemoryWorld) => withObjects(world, () => ({ copyPart: async () => ({ kind: "sourceChanged" }) }));
  for (const [harm, length] of [
    [gone, 3],
    [cut, 3],
    [changed, 12],
  ] as const) {
    const world = await worldWithUpload();
    const uploader = await uploaderIn(harm(world), { source: sourceIn(world) });
    await uploader.carried(0, length);
    await expect(uploader.finish()).rejects.toMatchObject({ kind: "repair", object: BASE });
  }
});

async function storedAs(attributes: Attributes): Promise<readonly StoredPart[]> {
  const { checkpoints } = await worldWithTable();
  await checkpoints.write([{ item: partItem(id, record.born, 7), when: [], put: attributes }]);
  return [...(await storedParts(checkpoints, id, record)).values()];
}

const stored = { uploadId: record.uploadId, etag: "e", offset: 0, length: 5, copied: false };

test("a part's item is read as it was written", async () => {
  const { uploadId: _, ...part } = stored;
  const all = { crc32: 0xffff_ffff, note: "noted", copied: true, offset: Number.MAX_SAFE_INTEGER, length: S3_PART_BYTES_MAX };
  expect(await storedAs(stored)).toEqual([{ ...part, number: 7 }]);
  expect(await storedAs({ ...stored, ...all })).toEqual([{ ...part, ...all, number: 7 }]);
  expect(await storedAs({ ...stored, copied: "yes", note: 7 })).toStrictEqual([{ ...part, number: 7 }]);
});

test.each<readonly [string, Attributes]>([
  ["of another upload", { uploadId: "another" }],
  ["that says that a section is done", { done: true }],
  ["without an ETag", { etag: 7 }],
  ["that begins nowhere", { offset: "0" }],
  ["that begins before the object", { offset: -1 }],
  ["that begins within a byte", { offset: 0.5 }],
  ["without bytes", { length: 0 }],
  ["of fewer bytes than none", { length: -1 }],
  ["of more bytes than any part", { length: S3_PART_BYTES_MAX + 1 }],
  ["whose CRC-32 is negative", { crc32: -1 }],
  ["whose CRC-32 has more than 32 bits", { crc32: 2 ** 32 }],
  ["whose CRC-32 is no number", { crc32: "7" }],
])("an item %s is no part", async (_, wrong) => {
  expect(await storedAs({ ...stored, ...wrong })).toEqual([]);
});
