import { hash } from "node:crypto";
import { crc32 } from "node:zlib";
import { expect, test } from "vitest";
import { decodeGroup, decodePage } from "../../../../lib/snapshot/parquet/decode.ts";
import { encodeDelta, type Scale } from "../../../../lib/snapshot/parquet/delta.ts";
import { COLUMNS, FILE_ORDER, type GroupPages, type RowGroup, VALUE } from "../../../../lib/snapshot/parquet/layout.ts";
import { makePage } from "../../../../lib/snapshot/parquet/page.ts";
import { storedPage } from "./pages.ts";
import { toRecords } from "./records.ts";

/** The raw bytes of a page by column: keys, values, indexes and times. */
type Raw = readonly Buffer[];

function numbers(values: readonly number[], scale: Scale): Buffer {
  const out = Buffer.alloc(2_000);
  return out.subarray(0, encodeDelta(Float64Array.from(values), values.length, scale, out, 0));
}

function texts(all: readonly (string | Buffer)[]): Buffer {
  const bytes = all.map((text) => Buffer.from(text));
  return Buffer.concat([
    numbers(
      bytes.map(({ length }) => length),
      1,
    ),
    ...bytes,
  ]);
}

const raw: Raw = [texts(["a", "b", "cc"]), texts(["1", "", "333"]), numbers([1, 5, 3], 1), numbers([10, 20, 30], 1_000)];

interface Stored {
  readonly group: RowGroup;
  readonly pages: GroupPages;
  readonly bytes: Buffer;
}

/** A row group of pages of so many rows, whatever their bytes are; each is told as one from the first of `keys` to the second. */
async function stored(all: readonly Raw[], keys: readonly string[] = ["a", "cc"], rows = 3): Promise<Stored> {
  const made = await Promise.all(all.map((page) => Promise.all(page.map(async (bytes, column) => makePage(COLUMNS[column], rows, bytes)))));
  const chunks = COLUMNS.map((_, column) => Buffer.concat(made.flatMap((page) => [page[column].header, page[column].payload])));
  const bytes = Buffer.concat(FILE_ORDER.map((column) => chunks[column]));
  const offsetOf = (column: number) => FILE_ORDER.slice(0, FILE_ORDER.indexOf(column)).reduce((sum, before) => sum + chunks[before].length, 0);
  const [firstKey, lastKey] = keys.map((key) => Buffer.from(key));
  const group: RowGroup = {
    offset: 4,
    byteLength: bytes.length,
    rows: rows * all.length,
    sha256: hash("sha256", bytes, "hex"),
    crc32: crc32(bytes),
    firstKey,
    lastKey,
    columns: chunks.map(({ length }, column) => ({ offset: offsetOf(column), byteLength: length, rawByteLength: length })),
    carried: 0,
  };
  const pages: GroupPages = {
    rows: all.map(() => rows),
    firstKeys: all.map(() => firstKey),
    lastKeys: all.map(() => lastKey),
    columns: COLUMNS.map((_, column) => ({
      bytes: made.map((page) => page[column].header.length + page[column].payload.length),
      checksums: made.map((page) => page[column].checksum),
    })),
  };
  return { group, pages, bytes };
}

function decoded({ pages, bytes, group }: Stored) {
  const own = COLUMNS.map((_, column) => bytes.subarray(group.columns[column].offset, group.columns[column].offset + pages.columns[column].bytes[0]));
  return decodePage("snapshot", pages, 0, own);
}

async function decodedAsGroup({ group, pages, bytes }: Stored) {
  const all = await Array.fromAsync(decodeGroup("snapshot", group, pages, bytes));
  return all.flatMap(toRecords);
}

const damaged = (why: string) => expect.objectContaining({ kind: "repair", object: "snapshot", message: expect.stringContaining(why) });

test("a page's columns are the records that they were made of, alone or with their row group", async () => {
  const page = await stored([raw]);
  const records = [
    { key: Buffer.from("a"), value: Buffer.from("1"), index: 1, timeMs: 10 },
    { key: Buffer.from("b"), value: Buffer.from(""), index: 5, timeMs: 20 },
    { key: Buffer.from("cc"), value: Buffer.from("333"), index: 3, timeMs: 30 },
  ];
  expect(toRecords(decoded(page))).toEqual(records);
  expect(await decodedAsGroup(page)).toEqual(records);
  const one = await stored([[texts(["k"]), texts(["v"]), numbers([1], 1), numbers([2], 1_000)]], ["k", "k"], 1);
  expect(toRecords(decoded(one))).toEqual([{ key: Buffer.from("k"), value: Buffer.from("v"), index: 1, timeMs: 2 }]);
});

const more = (bytes: Buffer) => Buffer.concat([bytes, Buffer.from([0])]);

test.each<[string, Raw, readonly string[], string]>([
  ["has bytes behind its keys", [more(raw[0]), raw[1], raw[2], raw[3]], ["a", "cc"], "do not add up"],
  ["lacks a byte of its values", [raw[0], raw[1].subarray(0, -1), raw[2], raw[3]], ["a", "cc"], "do not add up"],
  ["has bytes behind its indexes", [raw[0], raw[1], more(raw[2]), raw[3]], ["a", "cc"], "bytes stand behind"],
  ["has bytes behind its times", [raw[0], raw[1], raw[2], more(raw[3])], ["a", "cc"], "bytes stand behind"],
  ["has keys out of order", [texts(["a", "d", "cc"]), raw[1], raw[2], raw[3]], ["a", "cc"], "do not ascend"],
  ["has a key twice", [texts(["a", "cc", "cc"]), raw[1], raw[2], raw[3]], ["a", "cc"], "do not ascend"],
  ["has another first key than is told of it", raw, ["A", "cc"], "other keys"],
  ["has another last key than is told of it", raw, ["a", "cd"], "other keys"],
])("a page that %s is damaged, for who reads it alone and for who reads its row group", async (_, page, keys, why) => {
  const wrong = await stored([page], keys);
  expect(() => decoded(wrong)).toThrow(damaged(why));
  await expect(decodedAsGroup(wrong)).rejects.toEqual(damaged(why));
});

test("a row group is decoded if it is as long as it must be, and has its SHA-256", async () => {
  const { group, pages, bytes } = await stored([raw]);
  await expect(decodedAsGroup({ group: { ...group, sha256: "0".repeat(64) }, pages, bytes })).rejects.toEqual(damaged("fails its SHA-256"));
  await expect(decodedAsGroup({ group, pages, bytes: bytes.subarray(1) })).rejects.toEqual(damaged(`has ${bytes.length - 1} of ${bytes.length} bytes`));
});

/** Values of more than a mebibyte, which are decompressed elsewhere. */
const large: Raw = [raw[0], texts([Buffer.alloc(1_100_000, "x"), "2", "3"]), raw[2], raw[3]];

test("damage of a page that is decompressed elsewhere is told as of any other", async () => {
  const sound = await stored([large]);
  expect((await decodedAsGroup(sound))[0].value.length).toBe(1_100_000);
  await expect(decodedAsGroup(await stored([large], ["a", "d"]))).rejects.toEqual(damaged("other keys"));
  const { group, pages, bytes } = sound;
  const { checksum, stored: page } = storedPage(COLUMNS[VALUE], 3, large[VALUE].length, Buffer.from("no frame"));
  const whole = Buffer.concat([bytes.subarray(0, group.columns[VALUE].offset), page]);
  const wrong = { ...group, byteLength: whole.length, sha256: hash("sha256", whole, "hex") };
  const columns = pages.columns.map((column, i) => (i === VALUE ? { bytes: [page.length], checksums: [checksum] } : column));
  await expect(decodedAsGroup({ group: wrong, pages: { ...pages, columns }, bytes: whole })).rejects.toEqual(damaged("a zstd frame is damaged"));
});

test("a page that is found damaged ahead of a reader who has gone harms nobody", async () => {
  const wrong = await stored([large, [texts(["b", "a", "cc"]), ...large.slice(1)]]);
  const { group, pages, bytes } = wrong;
  for await (const rows of decodeGroup("snapshot", group, pages, bytes)) {
    expect(rows.count).toBe(3);
    break;
  }
  // Its second page is decompressed before this one's.
  await expect(decodedAsGroup(wrong)).rejects.toEqual(damaged("do not ascend"));
});
