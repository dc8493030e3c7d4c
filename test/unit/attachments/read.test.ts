import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { memoryObjectStore } from "../../../lib/adapters/memory/object-store.ts";
import { attach, type Content, FRAME_BYTES } from "../../../lib/attachments/attach.ts";
import { attachmentReader, readAttachment } from "../../../lib/attachments/read.ts";
import { PART_BYTES } from "../../../lib/model/limits.ts";
import { noAnswer } from "../jobs/world.ts";
import { KEY, noiseOf, whole } from "./contents.ts";

async function attached(bytes: Buffer): Promise<{ readonly objects: ReturnType<typeof memoryObjectStore>; readonly content: Content }> {
  const objects = memoryObjectStore();
  return { objects, content: await attach({ objects }, KEY, [bytes]) };
}

const damaged = { kind: "repair", object: KEY, message: expect.stringContaining(KEY) };

describe("an attachment of some frames", () => {
  const bytes = noiseOf(PART_BYTES + 3 * FRAME_BYTES + 12_345);
  let stored: Awaited<ReturnType<typeof attached>>;
  beforeAll(async () => {
    stored = await attached(bytes);
  });

  test("is read whole by few requests, each of no more than a part", async () => {
    const ranges: number[] = [];
    const objects: Parameters<typeof readAttachment>[0]["objects"] = {
      getRange: (key, range) => {
        ranges.push(range.length);
        return stored.objects.getRange(key, range);
      },
    };
    expect((await whole(objects, stored.content)).equals(bytes)).toBe(true);
    expect(ranges.length).toBe(2);
    for (const length of ranges) expect(length).toBeLessThanOrEqual(PART_BYTES);
  });

  test("is read at any place as it is there, with no more frames than have the bytes, and the last one kept", async () => {
    let requests = 0;
    const objects: Parameters<typeof readAttachment>[0]["objects"] = {
      getRange: (key, range) => {
        requests++;
        return stored.objects.getRange(key, range);
      },
    };
    const read = attachmentReader({ objects }, KEY, stored.content);
    const nearBorder = fc
      .tuple(fc.integer({ min: 0, max: 11 }), fc.integer({ min: -3, max: 3 }))
      .map(([frame, more]) => Math.max(0, frame * FRAME_BYTES + more));
    const offset = fc.oneof(fc.nat({ max: bytes.length + 10 }), nearBorder);
    const length = fc.oneof(fc.constantFrom(0, 1, 5, FRAME_BYTES, FRAME_BYTES + 1), fc.nat({ max: 3 * FRAME_BYTES }));
    await fc.assert(
      fc.asyncProperty(offset, length, async (from, count) => {
        const before = requests;
        const some = await read(from, count);
        expect(some.equals(bytes.subarray(from, from + count))).toBe(true);
        expect(requests - before).toBeLessThanOrEqual(Math.ceil(count / FRAME_BYTES) + 1);
        const again = requests;
        await read(Math.max(0, Math.min(from + count, bytes.length) - 1), 1);
        if (some.length > 0) expect(requests).toBe(again);
      }),
      { numRuns: 60 },
    );
  });

  test("that was cut, replaced or is gone is damaged, whole or at a place", async () => {
    const { objects, content } = await attached(bytes);
    for (const change of [(body: Buffer) => body.subarray(0, -1), (body: Buffer) => Buffer.concat([body, Buffer.of(0)]), () => Buffer.alloc(0)]) {
      const other = memoryObjectStore();
      await other.createIfAbsent(KEY, change(((await objects.get(KEY)) as { readonly body: Buffer }).body));
      await expect(whole(other, content)).rejects.toMatchObject(damaged);
      await expect(attachmentReader({ objects: other }, KEY, content)(5, 5)).rejects.toMatchObject(damaged);
    }
    await expect(whole(memoryObjectStore(), content)).rejects.toMatchObject({ ...damaged, code: "missing-object" });
  });

  test("whose frames were exchanged is damaged, and its last piece never comes", async () => {
    const [first, second] = [noiseOf(FRAME_BYTES, 2), noiseOf(FRAME_BYTES, 3)];
    const { objects, content } = await attached(Buffer.concat([first, second]));
    expect(content.frames[0]).toBe(content.frames[1]);
    objects.damage(KEY, (body) => Buffer.concat([body.subarray(content.frames[0]), body.subarray(0, content.frames[0])]));
    let pieces = 0;
    const read = async () => {
      for await (const _ of readAttachment({ objects }, KEY, content)) pieces++;
    };
    await expect(read()).rejects.toMatchObject(damaged);
    expect(pieces).toBe(1);
  });
});

describe.each([0, 1, 150])("a small attachment of %d bytes", (length) => {
  const bytes = Buffer.from(noiseOf(length));

  test("with any bit flipped is damaged, and never other bytes", async () => {
    const { objects, content } = await attached(bytes);
    const sound = Buffer.from(objects.objects.get(KEY) ?? []);
    for (let at = 0; at < sound.length; at++) {
      for (const bit of length < 10 ? [0, 1, 2, 3, 4, 5, 6, 7] : [at % 8]) {
        objects.damage(KEY, (body) => {
          sound.copy(body);
          body[at] ^= 1 << bit;
          return body;
        });
        for (const read of [() => whole(objects, content), () => attachmentReader({ objects }, KEY, content)(0, length)]) {
          const outcome = await read().catch((error: unknown) => error);
          // A flipped bit that zstd does not look at changes nothing.
          if (Buffer.isBuffer(outcome)) expect([at, bit, outcome.equals(bytes)]).toEqual([at, bit, true]);
          else expect(outcome).toMatchObject(damaged);
        }
      }
    }
  });

  test("cut at any length, longer, or missing is damaged", async () => {
    const { objects, content } = await attached(bytes);
    const sound = Buffer.from(objects.objects.get(KEY) ?? []);
    for (let cut = 0; cut < sound.length; cut++) {
      objects.damage(KEY, () => sound.subarray(0, cut));
      await expect(whole(objects, content)).rejects.toMatchObject(damaged);
      await expect(attachmentReader({ objects }, KEY, content)(0, length)).rejects.toMatchObject(damaged);
    }
    objects.damage(KEY, () => Buffer.concat([sound, Buffer.of(1)]));
    await expect(whole(objects, content)).rejects.toMatchObject(damaged);
    await expect(whole(memoryObjectStore(), content)).rejects.toMatchObject({ ...damaged, code: "missing-object" });
  });

  test("whose record tells another SHA-256, size or frames is damaged", async () => {
    const { objects, content } = await attached(bytes);
    const others: readonly Partial<Content>[] = [
      { sha256: "0".repeat(64) },
      { bytes: length + 1 },
      { bytes: length + FRAME_BYTES },
      { frames: [...content.frames, 5] },
      ...(length > 0 ? [{ frames: [] }, { bytes: length - 1 }, { frames: content.frames.map((frame) => frame + 1) }] : []),
    ];
    for (const other of others) await expect(whole(objects, { ...content, ...other }), JSON.stringify(other)).rejects.toMatchObject(damaged);
  });
});

test("an answer that does not come is a fault that can be tried again, and the next one is right", async () => {
  const bytes = noiseOf(2 * FRAME_BYTES);
  const { objects, content } = await attached(bytes);
  let failures = 1;
  const faulty: Parameters<typeof readAttachment>[0]["objects"] = {
    async getRange(key, range) {
      if (failures-- > 0) throw noAnswer();
      return objects.getRange(key, range);
    },
  };
  await expect(whole(faulty, content)).rejects.toMatchObject({ kind: "retry" });
  expect((await whole(faulty, content)).equals(bytes)).toBe(true);
  failures = 1;
  const read = attachmentReader({ objects: faulty }, KEY, content);
  await expect(read(5, 5)).rejects.toMatchObject({ kind: "retry" });
  expect((await read(5, 5)).equals(bytes.subarray(5, 10))).toBe(true);
});

test("what refers to an attachment with more or fewer frames than its bytes take is damage, whole or at a place", async () => {
  const { objects, content } = await attached(noiseOf(FRAME_BYTES + 1));
  for (const frames of [content.frames.slice(1), [...content.frames, 1]]) {
    await expect(whole(objects, { ...content, frames })).rejects.toMatchObject(damaged);
    expect(() => attachmentReader({ objects }, KEY, { ...content, frames })).toThrow(expect.objectContaining(damaged));
  }
});

test("a frame longer than a part is read at once and refused, and there is no reading without end", async () => {
  const objects = memoryObjectStore();
  await objects.createIfAbsent(KEY, Buffer.alloc(PART_BYTES + 1));
  await expect(whole(objects, { bytes: 10, sha256: "0".repeat(64), frames: [PART_BYTES + 1] })).rejects.toMatchObject(damaged);
});
