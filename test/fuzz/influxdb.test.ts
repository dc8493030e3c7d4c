// What an InfluxDB sends, and what is kept of it: archives, metastores and other replies, records, attachments. The judges are a
// reader of archives that has the whole at once, the encoders, JSON.parse, and the content itself.

import { createHash } from "node:crypto";
import { zstdCompressSync } from "node:zlib";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { memoryObjectStore } from "../../lib/adapters/memory/object-store.ts";
import { attach, type Content, FRAME_BYTES } from "../../lib/attachments/attach.ts";
import { attachmentReader, readAttachment } from "../../lib/attachments/read.ts";
import { parseObjectName, referencesIn } from "../../lib/model/names.ts";
import { toIndex } from "../../lib/model/position.ts";
import { fileOfEntry, parseFileName } from "../../lib/sources/influxdb/file-names.ts";
import { onlyDatabases, onlyPolicies, parseMeta, renumbered, shardsOf, withDatabases, withoutUsers } from "../../lib/sources/influxdb/meta.ts";
import { attachmentsOf, backupReader, digestOf, EMPTY_BACKUP, generationKey, mutationsBetween, shardKey } from "../../lib/sources/influxdb/records.ts";
import { idMapReply, metastoreReply, parseIdMap, parseMetastore, parsePaths, pathsReply } from "../../lib/sources/influxdb/wire.ts";
import { noiseOf } from "../unit/attachments/contents.ts";
import { type ArchivedFile, archiveOf, filesIn, reusedChunks } from "../unit/sources/influxdb/archives.ts";
import { aFile, aGeneration, aShard, sha } from "../unit/sources/influxdb/samples.ts";
import { edited } from "./edited.ts";
import { editedJson, edits } from "./edits.ts";
import { atDoor, casesTried, fuzz, FUZZING } from "./runs.ts";

afterAll(() => console.log(`${casesTried()} archives, replies, records and attachments`));

const SERVER = { refuses: ["retry"] as const };
const STORED = { refuses: ["repair"] as const };

const archive = archiveOf([
  { name: "db/rp/1/000000001-000000001.tombstone", modifiedS: 1_700_000_000, body: Buffer.from("some rows") },
  { name: `${"folder/".repeat(30)}é${"x".repeat(101)}`, modifiedS: 9, body: Buffer.alloc(513, 5) },
  { name: "db/rp/1/000000002-000000001.tsm", modifiedS: 1, body: Buffer.alloc(0) },
]);

/** Makes the checksums of what look like headers right again, so that the edit reaches the fields behind. */
function rightSums(bytes: Buffer): Buffer {
  for (let at = 0; at + 512 <= bytes.length; at += 512) {
    if (bytes.toString("latin1", at + 257, at + 262) !== "ustar") continue;
    bytes.fill(" ", at + 148, at + 156);
    const sum = bytes.subarray(at, at + 512).reduce((total, byte) => total + byte, 0);
    bytes.write(`${sum.toString(8).padStart(6, "0")}\0 `, at + 148);
  }
  return bytes;
}

/** Reads an archive that is all there, by another way than the stream does. */
function unpacked(bytes: Buffer): readonly ArchivedFile[] {
  const files: ArchivedFile[] = [];
  const text = (from: number, length: number) => bytes.toString("utf8", from, from + length).split("\0")[0];
  const number = (from: number) =>
    bytes[from] < 0x80
      ? Number.parseInt(
          bytes
            .toString("latin1", from, from + 12)
            .replace(/[\0 ]+$/, "")
            .trimStart() || "0",
          8,
        )
      : Number(bytes.readBigUInt64BE(from + 4) + (BigInt(bytes.readUInt32BE(from) & 0x7fffffff) << 64n));
  let path: string | undefined;
  let length: number | undefined;
  for (let at = 0; bytes.subarray(at, at + 512).some((byte) => byte !== 0); ) {
    const size = length ?? number(at + 124);
    const body = bytes.subarray(at + 512, at + 512 + size);
    const type = String.fromCharCode(bytes[at + 156] || 0x30);
    if (type === "x") {
      for (let from = 0; from < body.length; ) {
        const end = from + Number.parseInt(body.toString("latin1", from, from + 8), 10);
        const [, name, value] = /^[0-9]+ ([^=]*)=?(.*)\n$/s.exec(body.toString("utf8", from, end)) ?? [];
        if (name === "path") path = value;
        if (name === "size") length = Number(value);
        from = end;
      }
    } else if (type === "L") path = body.toString("utf8").replace(/\0+$/, "");
    else {
      const prefix = bytes.toString("latin1", at + 257, at + 262) === "ustar" ? text(at + 345, 155) : "";
      files.push({ name: path ?? (prefix === "" ? text(at, 100) : `${prefix}/${text(at, 100)}`), modifiedS: number(at + 136), body: Buffer.from(body) });
      [path, length] = [undefined, undefined];
    }
    at += 512 + 512 * Math.ceil(size / 512);
  }
  return files;
}

test("an archive that is edited is refused, or is read as one that has it whole reads it", FUZZING, async () => {
  expect(unpacked(archive)).toEqual(await filesIn(reusedChunks(archive)));
  let accepted = 0;
  const lengths = fc.array(fc.integer({ min: 1, max: 1_500 }), { minLength: 1, maxLength: 4 });
  await fuzz(fc.tuple(edits, fc.boolean(), lengths), 2_500, async ([list, isSealed, cuts]) => {
    const wrong = isSealed ? rightSums(edited(archive, list)) : edited(archive, list);
    const found = await atDoor(() => filesIn(reusedChunks(wrong, cuts)), SERVER);
    if (found === undefined) return;
    accepted++;
    expect(found.answer).toEqual(unpacked(wrong));
    for (const { name } of found.answer) await atDoor(() => fileOfEntry(name, { database: "db", policy: "rp", shard: 1 }), SERVER);
  });
  expect(accepted).toBeGreaterThan(100);
});

test("a size of any number takes no memory before its bytes have come", FUZZING, async () => {
  const size = fc.constantFrom(1n, 513n, 2n ** 31n, 2n ** 33n, 2n ** 40n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 88n - 1n);
  await fuzz(fc.tuple(size, fc.constantFrom("0", "x", "L")), 200, async ([bytes, type]) => {
    const header = Buffer.from(archiveOf([{ name: "f", modifiedS: 0, body: Buffer.alloc(0) }]).subarray(0, 512));
    header.write(type, 156);
    header[124] = 0x80;
    Buffer.from(bytes.toString(16).padStart(22, "0"), "hex").copy(header, 125);
    const wrong = rightSums(Buffer.concat([header, Buffer.alloc(4_096, 7)]));
    expect(await atDoor(() => filesIn(reusedChunks(wrong, [512])), { ...SERVER, bytesMax: 1024 * 1024 })).toBeUndefined();
  });
});

const field = (number: number, content: Uint8Array) => new BinaryWriter().tag(number, WireType.LengthDelimited).bytes(content).finish();
const whole = (number: number, value: number) => new BinaryWriter().tag(number, WireType.Varint).int64(String(value)).finish();
const group = Buffer.concat([whole(1, 1), whole(2, -5), whole(3, 100), field(5, whole(1, 7)), field(5, whole(1, 8)), whole(9, 300)]);
const policy = Buffer.concat([field(1, Buffer.from("rp")), whole(2, 0), field(5, group)]);
const database = Buffer.concat([field(1, Buffer.from("db")), field(2, Buffer.from("rp")), field(3, policy)]);
const meta = Buffer.concat([whole(1, 1), whole(2, 2), whole(3, 3), field(5, database), field(6, Buffer.from("user")), whole(7, 1), whole(8, 1), whole(9, 8)]);

test("a reply to a metastore request that is edited is refused, or is one that encodes to itself", FUZZING, async () => {
  const reply = metastoreReply({ meta, node: Buffer.from("null\n") });
  await fuzz(edits, 3_000, async (list) => {
    const wrong = edited(reply, list);
    const found = await atDoor(() => parseMetastore(wrong), SERVER);
    if (found !== undefined) expect(metastoreReply(found.answer).equals(wrong)).toBe(true);
  });
});

test("a metastore that is edited is refused, or each transformation of it changes what it is to change, and nothing else", FUZZING, async () => {
  let accepted = 0;
  await fuzz(edits, 3_000, async (list) => {
    const wrong = edited(meta, list);
    const found = await atDoor(() => parseMeta(wrong), SERVER);
    if (found === undefined) return;
    accepted++;
    const { answer } = found;
    expect(parseMeta(withoutUsers(wrong))).toEqual({ ...answer, users: 0 });
    expect(parseMeta(onlyDatabases(wrong, () => false))).toEqual({ ...answer, databases: [] });
    expect(onlyDatabases(wrong, () => true).equals(wrong)).toBe(true);
    expect(parseMeta(onlyPolicies(wrong, () => true))).toEqual(answer);
    expect(parseMeta(renumbered(wrong, { ids: new Map(), groupIds: new Map() }))).toEqual(answer);
    const ids = new Map(shardsOf(answer).map(({ shard }) => [shard, shard < 2 ** 50 ? shard + 1_000 : shard]));
    const moved = shardsOf(parseMeta(renumbered(wrong, { ids, groupIds: new Map() })));
    expect(moved.map(({ shard }) => shard)).toEqual(shardsOf(answer).map(({ shard }) => ids.get(shard)));
    const more = parseMeta(withDatabases(wrong, [database], { maxShardGroupId: 50, maxShardId: 60 }));
    expect(more).toEqual({ ...answer, databases: [...answer.databases, ...parseMeta(field(5, database)).databases], maxShardGroupId: 50, maxShardId: 60 });
  });
  expect(accepted).toBeGreaterThan(500);
});

test("a map of ids and a list of shards that are edited are refused, or are what they encode to", FUZZING, async () => {
  const ids = idMapReply(
    new Map([
      [1, 19],
      [2, 20],
    ]),
  );
  const paths = pathsReply([
    { database: "db", policy: "rp", shard: 13 },
    { database: "db", policy: "rp", shard: 14 },
  ]);
  await fuzz(fc.tuple(edits, fc.boolean()), 3_000, async ([list, isMap]) => {
    if (isMap) {
      const wrong = edited(ids, list);
      const found = await atDoor(() => parseIdMap(wrong), SERVER);
      if (found !== undefined) expect(idMapReply(found.answer).equals(wrong)).toBe(true);
      return;
    }
    const wrong = edited(paths, list);
    const found = await atDoor(() => parsePaths(wrong), SERVER);
    if (found === undefined) return;
    const { Paths } = JSON.parse(wrong.toString("utf8")) as { readonly Paths: readonly string[] | null };
    expect(found.answer).toEqual((Paths ?? []).map((path) => Number(path.slice(path.lastIndexOf("/") + 1))));
  });
});

test("a file's name that is understood is one that a server makes", FUZZING, async () => {
  const near = fc.stringMatching(/^[0-9]{8,17}-[0-9]{8,17}\.(tsm|tombstone|tmp)$/);
  await fuzz(fc.oneof(near, fc.string({ unit: "binary", maxLength: 40 })), 800, async (name) => {
    const found = await atDoor(() => parseFileName(name), SERVER);
    if (found === undefined) return;
    const { generation, sequence, kind } = found.answer;
    expect(name).toMatch(new RegExp(`^0*${generation}-0*${sequence}\\.${kind}$`));
  });
});

const records = [
  ["metastore", { bytes: 5, sha256: sha(1), object: "attached/0000000000000001/metastore-1", frames: [5], users: "kept" }],
  [shardKey(7), aShard({ shard: 7, range: { start: "x", end: "y" }, files: [aFile(), aFile({ name: "000000002-000000001.tombstone", content: 3 })] })],
  [generationKey(3), aGeneration({ generation: 3, parent: { generation: 2, digest: sha(2) }, failed: [{ shard: 1, database: "d", policy: "p", error: "e" }] })],
] as const;

test.each(records)("a record of any shape is refused by name, or is put as it was read, and cleanup sees what it names: %s", FUZZING, async (key, sound) => {
  let accepted = 0;
  await fuzz(editedJson(sound), 1_500, async (wrong) => {
    const value = Buffer.from(JSON.stringify(wrong) ?? "");
    const reader = backupReader("influx");
    const found = await atDoor(() => reader.add(Buffer.from(key), value, toIndex(9)), { ...STORED, names: `influx ${key}` });
    if (found === undefined) return;
    accepted++;
    const backup = reader.backup();
    digestOf(backup);
    const puts = mutationsBetween(EMPTY_BACKUP, backup, { generation: aGeneration({ generation: 99 }), oldestIndex: toIndex(0) });
    const again = backupReader("influx");
    for (const mutation of puts.slice(0, -1)) if (mutation.kind === "put") again.add(Buffer.from(mutation.key), Buffer.from(mutation.value), toIndex(9));
    if (!key.startsWith("generation")) expect(again.backup()).toEqual(backup);
    const named = attachmentsOf(value).map(({ object }) => object);
    const seen = referencesIn(value);
    for (const object of named) if (parseObjectName(object).kind === "attached") expect(seen).toContain(object);
  });
  expect(accepted).toBeGreaterThan(20);
});

const KEY = "influx/0/00000000000000aa/attached/0000000000000001/7/a";
const content = Buffer.concat([noiseOf(FRAME_BYTES), Buffer.from("the rest")]);
let stored: Buffer;
let told: Content;
beforeAll(async () => {
  const objects = memoryObjectStore();
  told = await attach({ objects }, KEY, [content]);
  stored = Buffer.from(objects.objects.get(KEY) ?? []);
});

function storeOf(body: Buffer): Pick<ReturnType<typeof memoryObjectStore>, "getRange"> {
  return { getRange: async (_, { offset, length }) => ({ kind: "found", body: Buffer.from(body.subarray(offset, offset + length)), size: body.length }) };
}

async function read(body: Buffer, about: Content): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of readAttachment({ objects: storeOf(body) }, KEY, about)) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

const DAMAGED = { ...STORED, names: KEY, bytesMax: 32 * 1024 * 1024 };

test("an attachment that is edited is refused by name, or is what it was", FUZZING, async () => {
  await fuzz(fc.tuple(edits, fc.boolean(), fc.nat({ max: content.length }), fc.nat({ max: 1_000 })), 150, async ([list, isTail, offset, length]) => {
    // The second frame is small, and edited more often than its share.
    const wrong = isTail ? Buffer.concat([stored.subarray(0, told.frames[0]), edited(stored.subarray(told.frames[0]), list)]) : edited(stored, list);
    const found = await atDoor(() => read(wrong, told), DAMAGED);
    if (found !== undefined) expect(found.answer.equals(content)).toBe(true);
    const some = await atDoor(() => attachmentReader({ objects: storeOf(wrong) }, KEY, told)(offset, length), DAMAGED);
    if (some !== undefined) expect(some.answer.equals(content.subarray(offset, offset + length))).toBe(true);
  });
});

test("an attachment whose record tells other bytes, frames or digests is refused, or is what it was", FUZZING, async () => {
  const count = fc.constantFrom(0, 1, 8, FRAME_BYTES, FRAME_BYTES + 8, 2 * FRAME_BYTES, 2 ** 40, Number.MAX_SAFE_INTEGER);
  const about = fc.record({
    bytes: fc.oneof(fc.constant(-1), count),
    sha256: fc.constantFrom("", sha(1)),
    frames: fc.oneof(fc.constant([]), fc.array(fc.oneof(fc.constant(17), count), { maxLength: 4 })),
    isSame: fc.constantFrom("bytes", "frames", "neither"),
  });
  await fuzz(about, 400, async ({ bytes, sha256, frames, isSame }) => {
    const lie: Content = {
      bytes: isSame === "bytes" || bytes < 0 ? told.bytes : bytes,
      sha256: sha256 || told.sha256,
      frames: isSame === "frames" ? told.frames : frames,
    };
    const found = await atDoor(() => read(stored, lie), DAMAGED);
    if (found !== undefined) expect([found.answer.length, createHash("sha256").update(found.answer).digest("hex")]).toEqual([lie.bytes, lie.sha256]);
    await atDoor(async () => attachmentReader({ objects: storeOf(stored) }, KEY, lie)(0, 10), DAMAGED);
  });
});

test("a frame that unpacks to more than a frame holds is refused, and takes no more memory than some frames", FUZZING, async () => {
  const frame = zstdCompressSync(Buffer.alloc(FRAME_BYTES));
  const bombs = [FRAME_BYTES + 1, 2 * FRAME_BYTES, 128 * FRAME_BYTES].map((bytes) => zstdCompressSync(Buffer.alloc(bytes)));
  await fuzz(fc.constantFrom(...bombs, Buffer.concat([frame, frame, frame])), 12, async (bomb) => {
    expect(await atDoor(() => read(bomb, { bytes: FRAME_BYTES, sha256: sha(1), frames: [bomb.length] }), DAMAGED)).toBeUndefined();
  });
});
