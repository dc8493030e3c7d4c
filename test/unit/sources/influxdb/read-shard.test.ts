import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readAttachment } from "../../../../lib/attachments/read.ts";
import { TidemarkError } from "../../../../lib/model/errors.ts";
import { readShard, type ReadShardRequest } from "../../../../lib/sources/influxdb/read-shard.ts";
import type { FileRecord } from "../../../../lib/sources/influxdb/records.ts";
import type { Dialect } from "../../../../lib/sources/influxdb/wire.ts";
import { memoryWorld } from "../../jobs/world.ts";
import { archiveOf, outcomeOf, reusedChunks } from "./archives.ts";
import { sha } from "./samples.ts";

const place = { database: "metrics", policy: "autogen", shard: 7 };
const PREFIX = "influx/0/00000000000000aa/";

interface Served {
  readonly name: string;
  readonly content: string;
  readonly modifiedS?: number;
}

/** What the server answers one request with: files, raw bytes, or a fault behind some. */
type Answer = readonly Served[] | Buffer | Error;

interface Script {
  /** One after the other; the last again and again. */
  readonly readings: readonly Answer[];
  /** Of what is asked since a time. */
  readonly probe?: Answer;
  readonly dialect?: Dialect;
}

const A = { name: "000000001-000000001.tsm", content: "a" };
const B = { name: "000000002-000000001.tsm", content: "b" };
const AB = { name: "000000002-000000002.tsm", content: "a and b" };

function bytesOf(answer: Answer): Buffer {
  if (answer instanceof Error) return Buffer.alloc(0);
  if (Buffer.isBuffer(answer)) return answer;
  return archiveOf(
    answer.map(({ name, content, modifiedS = 1_700_000_000 }) => ({ name: `metrics/autogen/7/${name}`, modifiedS, body: Buffer.from(content) })),
  );
}

function scene({ readings, probe = [], dialect = "1.5" }: Script) {
  const world = memoryWorld();
  const asked: object[] = [];
  const noted: FileRecord[] = [];
  let read = 0;
  let bytes = 0;
  const deps = {
    objects: world.objects,
    random: world.random,
    client: {
      dialect: async () => dialect,
      async *shard(where: object, which: object = {}) {
        expect(where).toEqual(place);
        asked.push(which);
        const isProbe = "since" in which;
        const answer = isProbe ? probe : readings[Math.min(read++, readings.length - 1)];
        yield* reusedChunks(bytesOf(answer), [100, 700]);
        if (answer instanceof Error) throw answer;
      },
    },
    stored: async (file: FileRecord) => void noted.push(file),
    read: async (some: number) => {
      bytes += some;
    },
  };
  return {
    world,
    asked,
    noted,
    bytesRead: () => bytes,
    run: (request: Partial<ReadShardRequest> = {}) => readShard(deps, { place, prefix: PREFIX, generation: 2, known: [], ...request }),
    async contentOf(file: FileRecord): Promise<string> {
      const pieces: Buffer[] = [];
      for await (const piece of readAttachment(world, `${PREFIX}${file.object}`, file)) pieces.push(Buffer.from(piece));
      return Buffer.concat(pieces).toString();
    },
  };
}

/** The records of files that were stored by an earlier generation of the same store. */
async function storedBefore(target: ReturnType<typeof scene>, files: readonly Served[]): Promise<readonly FileRecord[]> {
  const earlier = scene({ readings: [files] });
  const { files: records } = await earlier.run({ generation: 1 });
  for (const [key, body] of earlier.world.objects.objects) await target.world.objects.createIfAbsent(key, body);
  return records;
}

const names = (files: readonly FileRecord[]) => files.map(({ name }) => name);

describe("a shard that is new", () => {
  test("counts as read once two readings agree, its files stored once, by name, under the generation", async () => {
    const server = scene({ readings: [[B, A]] });
    const reading = await server.run();
    expect(reading).toMatchObject({ readings: 2, storedFiles: 2, vanished: [] });
    expect(names(reading.files)).toEqual([A.name, B.name]);
    expect(await Promise.all(reading.files.map(server.contentOf))).toEqual(["a", "b"]);
    for (const { name, object, sha256, bytes, modifiedS } of reading.files) {
      expect(object).toMatch(new RegExp(`^attached/0000000000000002/7/${name.replace(".", "\\.")}-[0-9a-f]{16}$`));
      expect([sha256, bytes, modifiedS]).toEqual([sha(name === A.name ? "a" : "b"), 1, 1_700_000_000]);
    }
    expect(server.world.objects.objects.size).toBe(2);
    expect(server.noted.map(({ name }) => name)).toEqual([B.name, A.name]);
    expect(reading.storedBytes).toBe([...server.world.objects.objects.values()].reduce((sum, { length }) => sum + length, 0));
    expect(server.asked).toEqual([{}, {}]);
    expect(server.bytesRead()).toBe(2 * bytesOf([B, A]).length);
  });

  test("is read with its range, where there is one", async () => {
    const range = { start: "2026-01-01T00:00:00Z", end: "2026-01-02T00:00:00Z" };
    const server = scene({ readings: [[A]] });
    await server.run({ range });
    expect(server.asked).toEqual([range, range]);
  });

  test("may have no files", async () => {
    expect(await scene({ readings: [[]] }).run()).toMatchObject({ files: [], readings: 2, storedFiles: 0, storedBytes: 0 });
  });

  test("may come with its index, as of a server of 1.3 or 1.4, which is no part of it", async () => {
    const index = ["index/L0-00000001.tsl", "index/L1-00000002.tsi", "index/MANIFEST"].map((name) => ({ name, content: "x".repeat(700) }));
    const server = scene({
      readings: [
        [...index, A],
        [A, ...index],
      ],
      dialect: "1.0",
    });
    expect(names((await server.run()).files)).toEqual([A.name]);
    expect(server.world.objects.objects.size).toBe(1);
  });

  test("of which an earlier attempt has stored files refers to those", async () => {
    const server = scene({ readings: [[A, B]] });
    const known = await storedBefore(server, [A]);
    const reading = await server.run({ known });
    expect([reading.files[0], reading.storedFiles, server.noted.map(({ name }) => name)]).toEqual([known[0], 1, [B.name]]);
  });
});

describe("two readings that differ", () => {
  test.each<[string, readonly Answer[], readonly string[], number]>([
    ["by a file that the first lacked count by the second", [[A], [A, B]], [A.name, B.name], 2],
    ["by a file that the second lacks take a third", [[A, B], [A], [A, B]], [A.name, B.name], 3],
    ["by a compaction take a third, as it may hide a loss", [[A, B], [AB]], [AB.name], 3],
    ["by a compaction within, and a file lost before it, take a fourth", [[A, B], [B], [AB]], [AB.name], 4],
    ["by losses again and again count once two agree", [[A, B], [A], [B], [A, B]], [A.name, B.name], 4],
  ])("%s", async (_, readings, expected, count) => {
    const reading = await scene({ readings }).run();
    expect([names(reading.files), reading.readings]).toEqual([expected, count]);
  });

  test("five times in a row are a fault, and no sixth is made", async () => {
    const server = scene({ readings: [[A, B], [A], [B], [A], [B], [A]] });
    await expect(server.run()).rejects.toMatchObject({ kind: "retry", code: "unsteady-shard" });
    expect(server.asked.length).toBe(5);
  });

  test("by the bytes of a file alone count by the second, which is stored beside the first", async () => {
    const server = scene({ readings: [[A], [{ ...A, content: "z" }]] });
    const reading = await server.run();
    expect([await server.contentOf(reading.files[0]), reading.storedFiles, server.world.objects.objects.size]).toEqual(["z", 1, 2]);
  });
});

describe("a shard of the generation before", () => {
  test("that is the same, with nothing newer on the server, is read once, and nothing is stored", async () => {
    const server = scene({ readings: [[A, B]], probe: [] });
    const files = await storedBefore(server, [A, B]);
    const objects = server.world.objects.objects.size;
    const reading = await server.run({ before: files });
    expect(reading).toEqual({ files, readings: 1, storedFiles: 0, storedBytes: 0, vanished: [] });
    expect([server.asked.length, server.world.objects.objects.size]).toEqual([2, objects]);
  });

  test("that is the same, while the server has something newer, is read again", async () => {
    const server = scene({ readings: [[A], [A, B]], probe: [{ ...B, modifiedS: 1_800_000_000 }] });
    const reading = await server.run({ before: await storedBefore(server, [A]) });
    expect([names(reading.files), reading.readings, reading.storedFiles]).toEqual([[A.name, B.name], 2, 1]);
  });

  test("that is the same, while the server shows a known file with other bytes, is read again", async () => {
    const server = scene({ readings: [[A], [{ ...A, content: "z" }]], probe: [{ ...A, content: "z" }] });
    const reading = await server.run({ before: await storedBefore(server, [A]) });
    expect(await server.contentOf(reading.files[0])).toBe("z");
  });

  test("that is the same, and shows known files as newer, is not read again", async () => {
    const server = scene({ readings: [[A, B]], probe: [B] });
    expect(await server.run({ before: await storedBefore(server, [A, B]) })).toMatchObject({ readings: 1 });
  });

  test.each<[string, Partial<Script>, Partial<ReadShardRequest>]>([
    ["of a server before 1.5, which answers nothing in both cases", { dialect: "1.0" }, {}],
    ["of a range, which cannot be asked for since a time", {}, { range: { start: "2026-01-01T00:00:00Z", end: "2026-01-02T00:00:00Z" } }],
  ])("that is the same is read twice where no probe can tell: %s", async (_, script, request) => {
    const server = scene({ readings: [[A]], probe: new Error("not to be asked"), ...script });
    expect(await server.run({ before: await storedBefore(server, [A]), ...request })).toMatchObject({ readings: 2, storedFiles: 0 });
  });

  test("that had no files and has none is read twice", async () => {
    expect(await scene({ readings: [[]], probe: new Error("not to be asked") }).run({ before: [] })).toMatchObject({ readings: 2 });
  });

  test("that lacks a file in two readings tells which vanished, if no compaction accounts for it", async () => {
    const server = scene({ readings: [[B]] });
    expect(await server.run({ before: await storedBefore(server, [A, B]) })).toMatchObject({ vanished: [A.name], readings: 2 });
    const compacted = scene({ readings: [[AB]] });
    expect(await compacted.run({ before: await storedBefore(compacted, [A, B]) })).toMatchObject({ vanished: [], readings: 2 });
  });

  test("in which a file has the same name and size, but other bytes, has it stored anew, and only it", async () => {
    const server = scene({ readings: [[{ ...A, content: "z" }, B]] });
    const files = await storedBefore(server, [A, B]);
    const reading = await server.run({ before: files });
    expect([await server.contentOf(reading.files[0]), reading.files[1], reading.storedFiles]).toEqual(["z", files[1], 1]);
    expect(server.world.objects.objects.size).toBe(3);
  });

  test("in which a file has other bytes beside one that is new has each stored once", async () => {
    const server = scene({ readings: [[{ ...A, content: "z" }, B]] });
    const reading = await server.run({ before: await storedBefore(server, [A]) });
    expect([names(reading.files), reading.storedFiles, server.noted.length]).toEqual([[A.name, B.name], 2, 2]);
  });
});

describe("what the server does wrong", () => {
  const whole = bytesOf([A, B]);
  test.each<[string, Answer, string]>([
    ["no bytes", Buffer.alloc(0), "empty-reply"],
    ["an archive without its end", whole.subarray(0, -1), "cut-archive"],
    ["an archive cut within a file", whole.subarray(0, 513), "cut-archive"],
    ["something behind the end", Buffer.concat([whole, Buffer.of(0)]), "bad-archive"],
    ["a file twice", [A, A], "bad-entry"],
    ["what is no file of a shard", [{ ...A, name: "fields.idx" }], "bad-entry"],
    ["a broken connection", new TidemarkError("retry", "broken-connection", "broke"), "broken-connection"],
  ])("%s is a fault that names the shard, and can be tried again", async (_, answer, code) => {
    const server = scene({ readings: [answer] });
    await expect(server.run()).rejects.toMatchObject({ kind: "retry", code });
    if (code !== "bad-entry") await expect(server.run()).rejects.toThrow("shard 7 of metrics/autogen");
  });

  test("a file twice, of which the first was known with other bytes, is a fault too", async () => {
    const server = scene({ readings: [[{ ...A, content: "z" }, A]] });
    expect(await outcomeOf(server.run({ before: await storedBefore(server, [A]) }))).toBe("bad-entry");
  });

  test("a fault in the second reading, or in the probe, is one of the whole", async () => {
    const server = scene({ readings: [[A], Buffer.alloc(0)] });
    expect(await outcomeOf(server.run())).toBe("empty-reply");
    const probed = scene({ readings: [[A]], probe: Buffer.alloc(0) });
    expect(await outcomeOf(probed.run({ before: await storedBefore(probed, [A]) }))).toBe("empty-reply");
  });
});

test("whatever a server that loses files now and then shows, what is taken is one reading, and accounts for the one before it", async () => {
  const pool = [A, B, { name: "000000003-000000001.tsm", content: "c" }, { name: "000000003-000000001.tombstone", content: "t" }];
  const shown = fc.array(fc.subarray(pool), { minLength: 5, maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(shown, fc.subarray(pool), async (readings, earlier) => {
      const server = scene({ readings, probe: readings[1] });
      const outcome = await server.run({ before: await storedBefore(server, earlier) }).catch((error: TidemarkError) => error.code);
      if (typeof outcome === "string") {
        expect(outcome).toBe("unsteady-shard");
        return;
      }
      const taken = readings[outcome.readings - 1];
      expect(names(outcome.files)).toEqual(taken.map(({ name }) => name).sort());
      for (const file of outcome.files) expect(await server.contentOf(file)).toBe(pool.find(({ name }) => name === file.name)?.content);
      const lost = (readings[outcome.readings - 2] ?? []).filter((file) => !taken.includes(file));
      const isNew = (file: Served) => !readings.slice(0, outcome.readings - 1).some((reading) => reading.includes(file));
      for (const { name } of lost) expect(taken.some((file) => isNew(file) && file.name.endsWith(".tsm") && file.name > name)).toBe(true);
    }),
    { numRuns: 100 },
  );
});
