import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { memoryObjectStore, type MemoryObjectStore } from "../../../lib/adapters/memory/object-store.ts";
import { attach, type AttachDeps, FRAME_BYTES, storedBytes } from "../../../lib/attachments/attach.ts";
import { TidemarkError } from "../../../lib/model/errors.ts";
import { S3_PART_BYTES_MIN } from "../../../lib/model/limits.ts";
import { noAnswer } from "../jobs/world.ts";
import { reusedChunks } from "../sources/influxdb/archives.ts";
import { KEY, noiseOf, whole } from "./contents.ts";

/** As much noise as fills so many bytes of an object: zstd makes it no smaller, and adds some 13 bytes a frame. */
const LARGE = S3_PART_BYTES_MIN + FRAME_BYTES + 5;

describe("what is attached", () => {
  test.each([0, 1, 1_000, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 2 * FRAME_BYTES, 3 * FRAME_BYTES + 7])(
    "is one object of its frames: %d bytes",
    async (length) => {
      const objects = memoryObjectStore();
      const bytes = noiseOf(length);
      const content = await attach({ objects }, KEY, reusedChunks(bytes, [65_536, 100_000]));
      expect([content.bytes, content.sha256, content.frames.length]).toEqual([
        length,
        createHash("sha256").update(bytes).digest("hex"),
        Math.ceil(length / FRAME_BYTES),
      ]);
      expect([objects.objects.get(KEY)?.length, objects.uploads.size]).toEqual([storedBytes(content), 0]);
      expect((await whole(objects, content)).equals(bytes)).toBe(true);
    },
  );

  test.each([-1, 0, 1])("is whole at the border of a part, %d frames of a byte from it", async (more) => {
    const objects = memoryObjectStore();
    const probe = await attach({ objects }, "probe", [noiseOf(S3_PART_BYTES_MIN - FRAME_BYTES)]);
    // So many bytes that the object has about a part's; noise is stored as it is.
    const rest = S3_PART_BYTES_MIN - storedBytes(probe) - 13 + more;
    const bytes = noiseOf(S3_PART_BYTES_MIN - FRAME_BYTES + Math.min(rest, FRAME_BYTES));
    const content = await attach({ objects }, KEY, reusedChunks(bytes, [99_999]));
    expect(Math.abs(storedBytes(content) - S3_PART_BYTES_MIN)).toBeLessThan(64);
    expect([(await whole(objects, content)).equals(bytes), objects.uploads.size]).toEqual([true, 0]);
  });

  test("is sent in parts of the least size, all but the last, when it is large", async () => {
    const objects = memoryObjectStore();
    const parts: number[] = [];
    const bytes = noiseOf(2 * S3_PART_BYTES_MIN + 5);
    const watched = {
      ...objects,
      async uploadPart(part: Parameters<MemoryObjectStore["uploadPart"]>[0]) {
        parts.push(part.body.length);
        return objects.uploadPart(part);
      },
    };
    const content = await attach({ objects: watched }, KEY, reusedChunks(bytes, [256 * 1024]));
    expect(parts.slice(0, -1)).toEqual([S3_PART_BYTES_MIN, S3_PART_BYTES_MIN]);
    expect(parts.reduce((sum, part) => sum + part, 0)).toBe(storedBytes(content));
    expect([(await whole(objects, content)).equals(bytes), objects.uploads.size]).toEqual([true, 0]);
  });

  test("is small where its content repeats itself", async () => {
    const objects = memoryObjectStore();
    const content = await attach({ objects }, KEY, [Buffer.alloc(20 * FRAME_BYTES)]);
    expect(storedBytes(content)).toBeLessThan(20_000);
    expect((await whole(objects, content)).equals(Buffer.alloc(20 * FRAME_BYTES))).toBe(true);
  });

  test("is the same however its chunks are cut", async () => {
    const bytes = noiseOf(FRAME_BYTES + 77);
    const expected = await attach({ objects: memoryObjectStore() }, KEY, [bytes]);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: FRAME_BYTES + 100 }), { minLength: 1, maxLength: 5 }), async (lengths) => {
        if (Math.max(...lengths) < 1_000) return;
        const objects = memoryObjectStore();
        expect(await attach({ objects }, KEY, reusedChunks(bytes, lengths))).toEqual(expected);
        expect((await whole(objects, expected)).equals(bytes)).toBe(true);
      }),
      { numRuns: 8 },
    );
  });
});

type Call = keyof AttachDeps["objects"];

/** The store with one call of a kind that gets no answer, whether or not it took effect. */
function failing(
  objects: MemoryObjectStore,
  call: Call,
  at: number,
  effect: "done" | "not-done",
): { readonly objects: AttachDeps["objects"]; readonly isHit: () => boolean } {
  let seen = 0;
  return {
    isHit: () => seen > at,
    objects: {
      ...objects,
      [call]: async (...words: never[]) => {
        const work = objects[call] as (...all: never[]) => Promise<unknown>;
        if (seen++ !== at) return work(...words);
        if (effect === "done") await work(...words);
        throw noAnswer();
      },
    },
  };
}

describe("a store that fails", () => {
  const small = noiseOf(1_000);
  const large = noiseOf(LARGE);
  const calls: readonly (readonly [Call, number, Buffer])[] = [
    ["createIfAbsent", 0, small],
    ["head", 0, small],
    ["createUpload", 0, large],
    ["uploadPart", 0, large],
    ["uploadPart", 1, large],
    ["completeUpload", 0, large],
    ["head", 0, large],
  ];

  test.each(calls.flatMap((call) => (["done", "not-done"] as const).map((effect) => [...call, effect] as const)))(
    "at %s (call %d) ends in an error, and what has the key then, if anything, is right",
    async (call, at, bytes, effect) => {
      const objects = memoryObjectStore();
      const faulty = failing(objects, call, at, effect);
      await expect(attach(faulty, KEY, reusedChunks(bytes, [300_000]))).rejects.toMatchObject({ kind: "retry", code: "no-answer" });
      expect(faulty.isHit()).toBe(true);
      // Another try has another key.
      const content = await attach({ objects }, "again", [bytes]);
      for (const key of objects.objects.keys()) expect((await whole(objects, content, key)).equals(bytes)).toBe(true);
    },
  );

  test("by losing the object, or by another's under the key, is found out", async () => {
    const objects = memoryObjectStore();
    const losing = { ...objects, createIfAbsent: async () => ({ kind: "created" }) as const };
    await expect(attach({ objects: losing }, KEY, [small])).rejects.toMatchObject({ kind: "retry", code: "ended-upload" });
    await objects.createIfAbsent(KEY, Buffer.from("another's"));
    await expect(attach({ objects }, KEY, [small])).rejects.toMatchObject({ kind: "retry", code: "bad-attachment" });
  });

  test("by having kept a small object whose reply was lost, takes its repetition", async () => {
    const objects = memoryObjectStore();
    // As an adapter repeats a call by itself.
    const repeating = {
      ...objects,
      async createIfAbsent(key: string, body: Uint8Array) {
        await objects.createIfAbsent(key, body);
        return objects.createIfAbsent(key, body);
      },
    };
    const content = await attach({ objects: repeating }, KEY, [small]);
    expect((await whole(objects, content)).equals(small)).toBe(true);
  });

  test("by answering a repeated completion as it likes, takes it where the object is whole", async () => {
    for (const kind of ["exists", "noSuchUpload", "completed"] as const) {
      const objects = memoryObjectStore();
      const repeating: AttachDeps["objects"] = {
        ...objects,
        async completeUpload(request) {
          await objects.completeUpload(request);
          return { kind };
        },
      };
      const content = await attach({ objects: repeating }, KEY, [large]);
      expect((await whole(objects, content)).equals(large)).toBe(true);
    }
  });

  test.each(["uploadPart", "completeUpload"] as const)(
    "by an upload that cleanup ended before %s is a fault that can be tried again, and leaves no object",
    async (call) => {
      const objects = memoryObjectStore();
      const ended: AttachDeps["objects"] = {
        ...objects,
        [call]: async (request: never) => {
          for (const [uploadId, { key }] of objects.uploads) await objects.abortUpload({ key, uploadId });
          return (objects[call] as (request: never) => Promise<unknown>)(request);
        },
      };
      await expect(attach({ objects: ended }, KEY, [large])).rejects.toMatchObject({ kind: "retry", code: "ended-upload" });
      expect([...objects.objects.keys()]).toEqual([]);
    },
  );

  test("by another part than was sent is found out", async () => {
    const objects = memoryObjectStore();
    const other: AttachDeps["objects"] = { ...objects, uploadPart: async (part) => ({ ...(await objects.uploadPart(part)), kind: "stored", etag: "another" }) };
    await expect(attach({ objects: other }, KEY, [large])).rejects.toMatchObject({ kind: "retry", code: "ended-upload" });
  });
});

test("what the chunks throw is thrown, no object has the key, and no part is under way any more", async () => {
  for (const length of [10, FRAME_BYTES + 10, LARGE]) {
    const objects = memoryObjectStore();
    let underWay = 0;
    const watched: AttachDeps["objects"] = {
      ...objects,
      async uploadPart(part) {
        underWay++;
        await new Promise((done) => setTimeout(done, 5));
        underWay--;
        return objects.uploadPart(part);
      },
    };
    async function* chunks(): AsyncGenerator<Buffer> {
      yield* reusedChunks(noiseOf(length), [300_000]);
      throw new TidemarkError("retry", "cut-archive", "cut");
    }
    await expect(attach({ objects: watched }, KEY, chunks())).rejects.toMatchObject({ code: "cut-archive" });
    expect([objects.objects.size, underWay]).toEqual([0, 0]);
  }
});
