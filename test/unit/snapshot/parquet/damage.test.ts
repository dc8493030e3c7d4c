import { hash } from "node:crypto";
import { expect, test } from "vitest";
import { openSnapshot } from "../../../../lib/snapshot/read.ts";
import { storeOf } from "../store-of.ts";
import { description, encodeRecords, jsonRecords } from "./records.ts";

const KEY = "players/3/00112233aabbccdd/snapshots/0000000000000057-e3.parquet";
const records = jsonRecords(20);
const small = await encodeRecords(records);
/** Two row groups of two pages. */
const several = await encodeRecords(records.slice(0, 8), description, { pageRows: 2, groupBytes: 450 });
const empty = await encodeRecords([]);
const damaged = expect.objectContaining({ kind: "repair", code: "damaged-object", message: expect.stringContaining(KEY) });
const PATTERNS = [0x01, 0x80, 0x20, 0xff];

async function readAll(bytes: Buffer, expected: { size?: number; footerSha256?: string } = {}): Promise<void> {
  const opened = await openSnapshot({ store: storeOf(new Map([[KEY, bytes]])) }, { key: KEY, ...expected });
  if (opened.kind === "absent") throw new Error("the snapshot is there");
  for await (const _ of opened.snapshot.rows());
}

async function verify(bytes: Buffer): Promise<void> {
  const opened = await openSnapshot({ store: storeOf(new Map([[KEY, bytes]])) }, { key: KEY });
  if (opened.kind === "absent") throw new Error("the snapshot is there");
  await Array.fromAsync(opened.snapshot.verifyBytes());
}

function flipped(bytes: Buffer, at: number, pattern: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] ^= pattern;
  return copy;
}

test.each([
  ["with several row groups", several, [0x20]],
  ["with rows", small, PATTERNS],
  ["without rows", empty, PATTERNS],
])(
  "every flipped byte of a snapshot %s is found, with nothing known of it",
  async (_, { bytes }, patterns) => {
    await readAll(bytes);
    await verify(bytes);
    for (let at = 0; at < bytes.length; at++) {
      for (const pattern of patterns) {
        const wrong = flipped(bytes, at, pattern);
        await expect(readAll(wrong), `byte ${at} by ${pattern}`).rejects.toEqual(damaged);
        await expect(verify(wrong), `byte ${at} by ${pattern}`).rejects.toEqual(damaged);
      }
    }
  },
  300_000,
);

test("flipped bytes here and there are found, with nothing known of the snapshot, or by who reads one record", async () => {
  const { bytes, footerBytes } = several;
  const { key, value, index, timeMs } = records[7];
  const get = async (wrong: Buffer) => {
    const opened = await openSnapshot({ store: storeOf(new Map([[KEY, wrong]])) }, { key: KEY });
    return opened.kind === "opened" ? opened.snapshot.get(key) : undefined;
  };
  for (let at = 0; at < bytes.length; at += 29) {
    const wrong = flipped(bytes, at, 0x20);
    await expect(readAll(wrong), `byte ${at}`).rejects.toEqual(damaged);
    await expect(verify(wrong), `byte ${at}`).rejects.toEqual(damaged);
    if (at >= bytes.length - footerBytes) await expect(get(wrong), `byte ${at}`).rejects.toEqual(damaged);
    const found = await get(wrong).catch((error: unknown) => error);
    expect(found).toEqual(found instanceof Error ? damaged : { value, index, timeMs });
  }
  for (const length of [0, 1, 7, 8, 9, 12, bytes.length - footerBytes, bytes.length - 8, bytes.length - 1]) {
    await expect(readAll(bytes.subarray(0, length)), `${length} bytes`).rejects.toEqual(damaged);
    await expect(readAll(bytes.subarray(bytes.length - length)), `the last ${length} bytes`).rejects.toEqual(damaged);
  }
});

test("every flipped byte is found where the checkpoint's record is known", async () => {
  const { bytes, size, footerSha256 } = small;
  await readAll(bytes, { size, footerSha256 });
  for (let at = 0; at < bytes.length; at++) {
    await expect(readAll(flipped(bytes, at, 0x10), { size, footerSha256 }), `byte ${at}`).rejects.toEqual(damaged);
  }
}, 120_000);

test("no flipped byte changes what a point read gives, or makes it miss a record", async () => {
  const { key, value, index, timeMs } = records[7];
  for (const { bytes, groups } of [small, several]) {
    const read = groups.find(({ group }) => Buffer.compare(group.lastKey, key) >= 0);
    for (let at = 0; at < bytes.length; at++) {
      const store = storeOf(new Map([[KEY, flipped(bytes, at, 0x04)]]));
      const outcome = await openSnapshot({ store }, { key: KEY })
        .then((opened) => (opened.kind === "opened" ? opened.snapshot.get(key) : undefined))
        .catch((error: unknown) => error);
      if (outcome instanceof Error) expect(outcome).toEqual(damaged);
      else {
        expect(outcome, `byte ${at}`).toEqual({ value, index, timeMs });
        expect(mayEscape(at), `byte ${at}: only what a point read does not use may be damaged unseen`).toBe(true);
      }
    }

    /** The head, other row groups and their page indexes, and the other pages of the record's own. */
    function mayEscape(at: number): boolean {
      if (read === undefined) return false;
      const { offset, byteLength } = read.group;
      const isInGroup = at >= offset && at < offset + byteLength;
      const indexAt = bytes.indexOf(read.index);
      const isInIndex = at >= indexAt && at < indexAt + read.index.length;
      const groupsEnd = groups.reduce((end, { group }) => end + group.byteLength, 4);
      const footAt = groups.reduce((end, { index: each }) => end + each.length, groupsEnd);
      return at < footAt && !isInIndex && !(isInGroup && groups.length === 1);
    }
  }
}, 120_000);

test("a page index in another's place is damaged, for who reads one record as well", async () => {
  const { bytes, groups } = several;
  const [first, second] = groups.map(({ index }) => index);
  const wrong = Buffer.from(bytes);
  second.copy(wrong, bytes.indexOf(first));
  await expect(readAll(wrong)).rejects.toEqual(damaged);
  await expect(verify(wrong)).rejects.toEqual(damaged);
  const opened = await openSnapshot({ store: storeOf(new Map([[KEY, wrong]])) }, { key: KEY });
  if (opened.kind === "absent") throw new Error("the snapshot is there");
  await expect(opened.snapshot.get(records[0].key)).rejects.toEqual(damaged);
});

test("a snapshot that was cut, or that something was appended to, is damaged", async () => {
  for (const { bytes, size, footerSha256 } of [small, several, empty]) {
    for (let length = 0; length < bytes.length; length++) {
      await expect(readAll(bytes.subarray(0, length)), `${length} bytes`).rejects.toEqual(damaged);
      await expect(readAll(bytes.subarray(length + 1)), `without the first ${length + 1} bytes`).rejects.toEqual(damaged);
    }
    for (const more of [Buffer.from([0]), Buffer.alloc(100), bytes]) {
      const longer = Buffer.concat([bytes, more]);
      if (!more.equals(bytes)) await expect(readAll(longer)).rejects.toEqual(damaged);
      await expect(readAll(longer, { size, footerSha256 })).rejects.toEqual(damaged);
    }
  }
}, 120_000);

test("one snapshot behind another is damaged", async () => {
  await expect(readAll(Buffer.concat([small.bytes, small.bytes]))).rejects.toEqual(damaged);
});

test("another valid snapshot in its place is refused by what the checkpoint records", async () => {
  const other = await encodeRecords(records.map((record) => ({ ...record, index: record.index + 1 })));
  await readAll(other.bytes);
  await expect(readAll(other.bytes, { footerSha256: small.footerSha256 })).rejects.toEqual(damaged);
  await expect(readAll(other.bytes, { size: other.size + 1 })).rejects.toEqual(damaged);
});

test("row groups that changed places are damaged", async () => {
  const noise = Array.from({ length: 6_000 }, (_, i) => ({
    key: Buffer.from(String(i).padStart(6, "0")),
    value: Buffer.from(Array.from({ length: 12 }, (_part, part) => hash("sha512", `${i}/${part}`, "hex")).join(""), "hex"),
    index: i,
    timeMs: i,
  }));
  const { bytes, groups } = await encodeRecords(noise);
  const [first, second] = groups.map(({ group }) => group);
  const swapped = Buffer.concat([
    bytes.subarray(0, 4),
    bytes.subarray(second.offset, second.offset + second.byteLength),
    bytes.subarray(first.offset, first.offset + first.byteLength),
    bytes.subarray(second.offset + second.byteLength),
  ]);
  await expect(readAll(swapped)).rejects.toEqual(damaged);
  await expect(verify(swapped)).rejects.toEqual(damaged);
});

test("a snapshot of a newer format version is told apart from a damaged one", async () => {
  const bytes = Buffer.from(small.bytes);
  const foot = bytes.subarray(bytes.length - small.footerBytes);
  foot.writeUInt32LE(2, 4);
  foot.fill(0, 16, 48);
  foot.write(hash("sha256", foot, "hex"), 16, "hex");
  await expect(readAll(bytes)).rejects.toEqual(expect.objectContaining({ kind: "call", code: "newer-format", message: expect.stringContaining(KEY) }));
});
