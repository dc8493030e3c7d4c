// Reading the log file by file: what a step sees, and what that means to who came there (I8).

import { createHash } from "node:crypto";
import { beforeEach, describe, expect, test } from "vitest";
import { controlItem, tailItem } from "../../../lib/checkpoint/items.ts";
import { PRODUCER_BYTES_MAX } from "../../../lib/model/limits.ts";
import { type Border, ORIGIN, toIndex } from "../../../lib/model/position.ts";
import { encodeRedoFile, type EncodeRedoRequest, type RedoBatch } from "../../../lib/redo-log/codec.ts";
import { borderBehind, covers, filesFrom, type Life, readFile, readHead, settle } from "../../../lib/redo-log/read.ts";
import { findTail } from "../../../lib/redo-log/tail.ts";
import { appendEach, id, type MemoryWorld, noAnswer, put, START_MS, withObjects, worldWithTable } from "../jobs/world.ts";

let world: MemoryWorld;
let life: Life;
/** Behind each of the three files of one mutation, and before the first. */
let borders: readonly Border[];

beforeEach(async () => {
  world = await worldWithTable();
  await appendEach(world, [[put("a", 1)], [put("b", 2)], [put("c", 3)]]);
  life = { id, incarnation: (await findTail(world, id, START_MS)).incarnation };
  const seen: Border[] = [ORIGIN];
  for await (const step of filesFrom(world, life, ORIGIN)) if (step.kind === "found") seen.push(step.border);
  borders = seen;
});

const keyAt = (first: number) => `players/0/${life.incarnation}/redo/${String(first).padStart(16, "0")}.redo`;

/** The second file in another form, with digests that hold. */
function replaceSecond(change: Partial<EncodeRedoRequest>, batch: Partial<RedoBatch> = {}): void {
  const fields = { table: id.table, shard: id.shard, incarnation: life.incarnation, first: toIndex(2), previousDigest: borders[1].digest };
  const batches = [{ mutations: [put("b", 2)], timeMs: START_MS, ...batch }];
  const { bytes } = encodeRedoFile({ ...fields, writeId: "cd".repeat(16), batches, ...change });
  world.objects.damage(keyAt(2), () => bytes);
}

async function stepsFrom(from: Border, until?: number): Promise<readonly string[]> {
  const steps: string[] = [];
  for await (const step of filesFrom(world, life, from, until)) steps.push(step.kind === "found" ? `found ${step.file.header.first}` : step.kind);
  return steps;
}

describe("a file counts if it is the one its name says and continues the one before it", () => {
  const broken = (words: string) => {
    const fault = expect.objectContaining({ kind: "repair", code: "damaged-object", object: keyAt(2), message: expect.stringContaining(words) });
    return { kind: "broken", fault };
  };

  test("then it is found with the border behind it and its size, whole or by its head", async () => {
    replaceSecond({}, { timeMs: START_MS + 5 });
    const bytes = world.objects.objects.get(keyAt(2))?.length;
    const [whole, head] = [await readFile(world, life, borders[1]), await readHead(world, life, borders[1])];
    if (whole.kind !== "found" || head.kind !== "found") throw new Error("both are found");
    const { digest } = whole.file.header;
    expect([whole.border, whole.bytes]).toEqual([{ next: 3, digest, timeMs: START_MS + 5 }, bytes]);
    expect(borderBehind(whole.file.header)).toEqual(whole.border);
    expect(head).toEqual({ kind: "found", file: whole.file.header, border: whole.border, bytes });
  });

  test.each<[string, string, Partial<EncodeRedoRequest>, Partial<RedoBatch>]>([
    ["of another table", "belongs to shard others/0", { table: "others" }, {}],
    ["of another shard", "belongs to shard players/1", { shard: 1 }, {}],
    ["of another life", "belongs to incarnation", { incarnation: "f".repeat(16) }, {}],
    ["that begins elsewhere", "begins at index 3", { first: toIndex(3) }, {}],
    ["that continues another file", "does not continue", { previousDigest: "ab".repeat(32) }, {}],
    ["that is older than the one before it", "time lies before", {}, { timeMs: START_MS - 1 }],
  ])("one %s is broken, whole and by its head", async (_, words, change, batch) => {
    replaceSecond(change, batch);
    expect(await readFile(world, life, borders[1])).toEqual(broken(words));
    expect(await readHead(world, life, borders[1])).toEqual(broken(words));
    expect(await stepsFrom(ORIGIN)).toEqual(["found 1", "broken"]);
  });

  test("one that is cut is broken, wherever it was cut", async () => {
    const bytes = world.objects.objects.get(keyAt(2)) ?? Buffer.alloc(0);
    for (const length of [0, 13, 60]) {
      world.objects.damage(keyAt(2), () => bytes.subarray(0, length));
      expect(await readHead(world, life, borders[1])).toEqual(broken("cut off in its header"));
      expect(await readFile(world, life, borders[1])).toEqual(broken("its head alone"));
      expect(await stepsFrom(ORIGIN)).toEqual(["found 1", "broken"]);
    }
    world.objects.damage(keyAt(2), () => bytes.subarray(0, -1));
    expect(await readFile(world, life, borders[1])).toEqual(broken("its header says"));
    expect(await stepsFrom(ORIGIN)).toEqual(["found 1", "broken"]);
  });

  test("one with a flipped bit is broken", async () => {
    world.objects.damage(keyAt(2), (body) => body.fill(body[40] ^ 1, 40, 41));
    expect([await readHead(world, life, borders[1]), await readFile(world, life, borders[1])]).toEqual([broken("digest"), broken("digest")]);
  });

  test("one of a newer format is no damage: who reads it is told to upgrade", async () => {
    const newer = encodeNewer(world.objects.objects.get(keyAt(2)) ?? Buffer.alloc(0));
    world.objects.damage(keyAt(2), () => newer);
    for (const read of [readHead(world, life, borders[1]), readFile(world, life, borders[1]), stepsFrom(ORIGIN)])
      await expect(read).rejects.toMatchObject({ kind: "call", code: "newer-format" });
  });

  test("and where there is none it is absent", async () => {
    expect([await readHead(world, life, borders[3]), await readFile(world, life, borders[3])]).toEqual([{ kind: "absent" }, { kind: "absent" }]);
  });
});

describe("a head that is longer than most", () => {
  const producer = "p".repeat(PRODUCER_BYTES_MAX);
  const many = Array.from({ length: 200 }, (_, i) => ({
    mutations: [put("b", i)],
    timeMs: START_MS,
    mark: { producer, sequence: BigInt(i), since: toIndex(1) },
  }));
  const ranges: { readonly offset: number; readonly length: number }[] = [];
  const watched = (answer: (nth: number) => "as it is" | "absent" | "cut") =>
    withObjects(world, (objects) => ({
      async getRange(key, range) {
        const got = await objects.getRange(key, range);
        const how = answer(ranges.push(range));
        if (got.kind === "absent" || how === "absent") return { kind: "absent" };
        return how === "cut" ? { ...got, body: got.body.subarray(0, 20_000) } : got;
      },
    }));

  beforeEach(() => {
    ranges.length = 0;
    replaceSecond({ batches: many });
  });

  test("is read with a second request, of exactly its length", async () => {
    const whole = await readFile(world, life, borders[1]);
    const head = await readHead(
      watched(() => "as it is"),
      life,
      borders[1],
    );
    if (whole.kind !== "found" || head.kind !== "found") throw new Error("both are found");
    expect([head.file, head.border, head.bytes]).toEqual([whole.file.header, whole.border, whole.bytes]);
    const headBytes = 46 + (world.objects.objects.get(keyAt(2))?.readUInt32LE(10) ?? 0);
    expect(ranges).toEqual([
      { offset: 0, length: 16 * 1024 },
      { offset: 0, length: headBytes },
    ]);
  });

  test("is absent if the file goes between the two, and broken if the second brings no more", async () => {
    const second = (what: "absent" | "cut") =>
      readHead(
        watched((nth) => (nth === 1 ? "as it is" : what)),
        life,
        borders[1],
      );
    expect(await second("absent")).toEqual({ kind: "absent" });
    ranges.length = 0;
    expect(await second("cut")).toMatchObject({ kind: "broken", fault: { code: "damaged-object", object: keyAt(2) } });
  });
});

describe("files one after the other", () => {
  test("are read to the end of the log, or up to the file that begins at the bound", async () => {
    expect(await stepsFrom(ORIGIN)).toEqual(["found 1", "found 2", "found 3", "absent"]);
    expect(await stepsFrom(borders[1])).toEqual(["found 2", "found 3", "absent"]);
    expect(await stepsFrom(ORIGIN, 2)).toEqual(["found 1", "found 2"]);
    expect(await stepsFrom(borders[2], 2)).toEqual([]);
  });

  test("are fetched while the one before is worked on, each once, and none behind the bound", async () => {
    const fetched: string[] = [];
    const watched = withObjects(world, (objects) => ({
      get(key) {
        fetched.push(key);
        return objects.get(key);
      },
    }));
    const seen: (readonly string[])[] = [];
    for await (const _ of filesFrom(watched, life, ORIGIN, 2)) seen.push([...fetched]);
    const [one, two] = [keyAt(1), keyAt(2)];
    expect([seen, fetched]).toEqual([
      [
        [one, two],
        [one, two],
      ],
      [one, two],
    ]);
  });

  test("a fetch that fails is nobody's fault until its file is asked for", async () => {
    const failing = withObjects(world, (objects) => ({ get: async (key) => (key === keyAt(2) ? Promise.reject(noAnswer()) : objects.get(key)) }));
    const files = filesFrom(failing, life, ORIGIN);
    expect((await files.next()).value).toMatchObject({ kind: "found" });
    await new Promise((resolve) => setImmediate(resolve));
    await expect(files.next()).rejects.toMatchObject({ kind: "retry" });
  });
});

describe("what was read is covered", () => {
  test("while the control item shows the same life, and a mark at or below where the reading began", async () => {
    await world.checkpoints.write([{ item: controlItem(id), when: [], set: { lowWater: 2 } }]);
    expect([await covers(world, life, toIndex(1)), await covers(world, life, toIndex(2)), await covers(world, life, toIndex(3))]).toEqual([false, true, true]);
    expect(await covers(world, { id, incarnation: "f".repeat(16) }, toIndex(3))).toBe(false);
  });

  test("not where the control item is gone", async () => {
    await world.checkpoints.write([{ item: controlItem(id), when: [], delete: true }]);
    expect(await covers(world, life, toIndex(3))).toBe(false);
  });
});

describe("what a step means", () => {
  const passed = () => world.checkpoints.write([{ item: controlItem(id), when: [], set: { lowWater: 4 } }]);
  const from = toIndex(1);

  test("a broken file is damage where it is covered, and stale where cleanup has passed", async () => {
    replaceSecond({ previousDigest: "ab".repeat(32) });
    const step = await readHead(world, life, borders[1]);
    if (step.kind !== "broken") throw new Error("it is broken");
    await expect(settle(world, life, { step, from, border: borders[1] })).rejects.toBe(step.fault);
    await passed();
    expect(await settle(world, life, { step, from, border: borders[1] })).toBe("stale");
  });

  test("an absent file is the tail, if nothing shows that the log goes on, and the log that was read still is covered", async () => {
    const seen = { step: { kind: "absent" }, from, border: borders[3] } as const;
    expect(await settle(world, life, seen)).toBe("tail");
    await world.checkpoints.write([{ item: tailItem(id), when: [], delete: true }]);
    expect(await settle(world, life, seen)).toBe("tail");
    await passed();
    expect(await settle(world, life, seen)).toBe("stale");
  });

  test("an absent file that is there at a second look, of one byte, was appended meanwhile", async () => {
    const ranges: unknown[] = [];
    const watched = withObjects(world, (objects) => ({
      async getRange(key, range) {
        ranges.push(range);
        return objects.getRange(key, range);
      },
    }));
    expect(await settle(watched, life, { step: { kind: "absent" }, from, border: borders[1] })).toBe("moved");
    expect(ranges).toEqual([{ offset: 0, length: 1 }]);
  });

  test.each([2, 3])("file %d that is absent while the log goes on is missing, unless cleanup has passed", async (first) => {
    await world.objects.deleteMany([keyAt(first)]);
    const seen = { step: { kind: "absent" }, from, border: borders[first - 1] } as const;
    await expect(settle(world, life, seen)).rejects.toMatchObject({ kind: "repair", code: "damaged-object", object: keyAt(first) });
    await passed();
    expect(await settle(world, life, seen)).toBe("stale");
  });

  test("a published tail of another life says nothing of this one, if the control item is of another life too, or gone", async () => {
    const seen = { step: { kind: "absent" }, from, border: borders[3] } as const;
    const incarnation = "f".repeat(16);
    await world.checkpoints.write([{ item: tailItem(id), when: [], set: { incarnation, next: 99 } }]);
    await expect(settle(world, life, seen)).rejects.toMatchObject({ kind: "repair", code: "damaged-item", message: expect.stringContaining(incarnation) });
    await world.checkpoints.write([{ item: controlItem(id), when: [], set: { incarnation } }]);
    const looked: string[] = [];
    const watched = withObjects(world, (objects) => ({
      async getRange(key, range) {
        looked.push(key);
        return objects.getRange(key, range);
      },
    }));
    expect(await settle(watched, life, seen)).toBe("stale");
    await world.checkpoints.write([{ item: controlItem(id), when: [], delete: true }]);
    expect(await settle(watched, life, seen)).toBe("stale");
    expect(looked).toEqual([]);
  });
});

/** The file as of a format that is not known yet. */
function encodeNewer(bytes: Buffer): Buffer {
  const newer = Buffer.from(bytes);
  newer.writeUInt16LE(2, 8);
  const headerEnd = 14 + newer.readUInt32LE(10);
  createHash("sha256").update(newer.subarray(0, headerEnd)).digest().copy(newer, headerEnd);
  return newer;
}
