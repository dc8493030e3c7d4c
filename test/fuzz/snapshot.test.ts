// Snapshots, damaged behind right checksums: seal, page index and pages are sealed anew after each edit, so that what is wrong
// reaches Thrift, metadata and the delta decoder.

import { crc32, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { keyOfRow } from "../../lib/model/rows.ts";
import { decodePage } from "../../lib/snapshot/parquet/decode.ts";
import { decodeDelta, encodeDelta } from "../../lib/snapshot/parquet/delta.ts";
import { decodeMetadata, encodeMetadata } from "../../lib/snapshot/parquet/description.ts";
import { COLUMNS, ENCODING_RLE, type GroupPages, KEY, PAGE_BYTES_MAX } from "../../lib/snapshot/parquet/layout.ts";
import { makePage, openPage, type Page } from "../../lib/snapshot/parquet/page.ts";
import { pagesOfIndex } from "../../lib/snapshot/parquet/page-index.ts";
import { readThrift, thriftWriter } from "../../lib/snapshot/parquet/thrift.ts";
import { encodeNote, progressOf } from "../../lib/snapshot/progress.ts";
import { openSnapshot } from "../../lib/snapshot/read.ts";
import { description, encodeRecords, jsonRecords } from "../unit/snapshot/parquet/records.ts";
import { storeOf } from "../unit/snapshot/store-of.ts";
import { edited } from "./edited.ts";
import { edits } from "./edits.ts";
import { atDoor, casesTried, fuzz, FUZZING } from "./runs.ts";
import { FOOT_END_BYTES, FOOT_START_BYTES, sealFoot } from "./seals.ts";

const OBJECT = "players/3/00112233aabbccdd/snapshots/0000000000000057-e3.parquet";
const DOOR = { refuses: ["repair", "call"] as const, names: OBJECT };
const records = jsonRecords(12);
/** Three row groups, of some pages each. */
const whole = await encodeRecords(records, description, { pageRows: 2, groupBytes: 450 });

afterAll(() => console.log(`${casesTried()} snapshots, pages, indexes, footers, numbers and notes`));

/** Everything a reader asks of a snapshot. What comes of its rows must be in order. */
async function readAll(bytes: Buffer): Promise<number> {
  const opened = await openSnapshot({ store: storeOf(new Map([[OBJECT, bytes]])) }, { key: OBJECT });
  if (opened.kind === "absent") throw new Error("the snapshot is there");
  for await (const _ of opened.snapshot.verifyBytes());
  for (const { key } of records) await opened.snapshot.get(key);
  let count = 0;
  let last = Buffer.alloc(0);
  for await (const rows of opened.snapshot.rows()) {
    for (let row = 0; row < rows.count; row++) {
      const key = Buffer.from(keyOfRow(rows, row));
      if (count > 0) expect(Buffer.compare(last, key)).toBe(-1);
      last = key;
      count++;
    }
  }
  return count;
}

test("a snapshot that is edited is refused, or an edit that nothing of it depends on", FUZZING, async () => {
  await fuzz(edits, 500, async (list) => {
    const wrong = edited(whole.bytes, list);
    if (!wrong.equals(whole.bytes)) expect(await atDoor(() => readAll(wrong), DOOR)).toBeUndefined();
  });
});

test("a foot that is edited and sealed anew is refused, or describes rows that are in order", FUZZING, async () => {
  const { bytes, footerBytes } = whole;
  const front = bytes.subarray(0, bytes.length - footerBytes);
  const foot = bytes.subarray(bytes.length - footerBytes);
  let accepted = 0;
  await fuzz(fc.tuple(edits, fc.boolean()), 3_000, async ([list, sameStart]) => {
    const footer = edited(foot.subarray(48, footerBytes - 8), list);
    const start = sameStart ? foot.subarray(0, 48) : edited(Buffer.from(foot.subarray(0, 48)), list).subarray(0, 48);
    const wrong = Buffer.concat([front, start, Buffer.alloc(48 - start.length), footer, Buffer.alloc(8)]);
    if ((await atDoor(() => readAll(sealFoot(wrong, FOOT_START_BYTES + footer.length + FOOT_END_BYTES)), DOOR)) !== undefined) accepted++;
  });
  expect(accepted).toBeGreaterThan(0);
});

test("a page index that is edited is refused, or tiles its row group", FUZZING, async () => {
  const [{ group, index, indexLengths }] = whole.groups;
  await fuzz(
    fc.tuple(edits, fc.boolean(), fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 5, maxLength: 5 })),
    4_000,
    async ([list, sameLengths, lengths]) => {
      const found = await atDoor(() => pagesOfIndex(OBJECT, group, edited(index, list), sameLengths ? indexLengths : lengths), DOOR);
      if (found === undefined) return;
      const { rows, columns } = found.answer;
      expect(rows.reduce((sum, count) => sum + count, 0)).toBe(group.rows);
      for (const [i, column] of columns.entries()) expect(column.bytes.reduce((sum, size) => sum + size, 0)).toBe(group.columns[i].byteLength);
    },
  );
});

const rawPages = await rawColumns();

/** The four columns of a page of all records, before compression. */
async function rawColumns(): Promise<readonly Buffer[]> {
  const one = await encodeRecords(records);
  const [{ group }] = one.groups;
  return COLUMNS.map((column, i) => {
    const { offset, byteLength } = group.columns[i];
    const stored = one.bytes.subarray(group.offset + offset, group.offset + offset + byteLength);
    const { end } = readThrift(stored);
    return openPage(column, records.length, crc32(stored.subarray(end)), stored);
  });
}

function pageOf(column: number, raw: Buffer): Page {
  const page = makePage(COLUMNS[column], records.length, raw);
  if (page instanceof Promise) throw new Error("a small page is made at once");
  return page;
}

function pagesOf(made: readonly Page[], rows = records.length): GroupPages {
  const columns = made.map(({ header, payload, checksum }) => ({ bytes: [header.length + payload.length], checksums: [checksum] }));
  return { rows: [rows], firstKeys: [records[0].key], lastKeys: [records[records.length - 1].key], columns };
}

test("a column that is edited and made a page anew is refused, or has as many rows as it must, in order", FUZZING, async () => {
  let accepted = 0;
  await fuzz(fc.tuple(fc.nat(3), edits), 6_000, async ([column, list]) => {
    const made = rawPages.map((raw, i) => pageOf(i, i === column ? edited(raw, list) : raw));
    const stored = made.map(({ header, payload }) => Buffer.concat([header, payload]));
    const found = await atDoor(() => decodePage(OBJECT, pagesOf(made), 0, stored), DOOR);
    if (found === undefined) return;
    accepted++;
    const rows = found.answer;
    expect([rows.count, rows.keyEnds[rows.count - 1], rows.valueEnds[rows.count - 1]]).toEqual([records.length, rows.keys.length, rows.values.length]);
    for (const numbers of [rows.indexes, rows.times]) for (const number of numbers) expect(Number.isSafeInteger(number) && number >= 0).toBe(true);
    for (let row = 1; row < rows.count; row++) expect(Buffer.compare(keyOfRow(rows, row - 1), keyOfRow(rows, row))).toBe(-1);
    if (column !== KEY) expect(Array.from({ length: rows.count }, (_, row) => String(keyOfRow(rows, row)))).toEqual(records.map(({ key }) => String(key)));
  });
  expect(accepted).toBeGreaterThan(100);
});

test("a page header that is edited is refused, however large a page it promises", FUZZING, async () => {
  await fuzz(fc.tuple(fc.nat(3), edits), 4_000, async ([column, list]) => {
    const { header, payload, checksum } = pageOf(column, rawPages[column]);
    const stored = Buffer.concat([edited(header, list), payload]);
    const door = { throws: [RangeError], bytesMax: 32 * 1024 * 1024 };
    const found = await atDoor(() => openPage(COLUMNS[column], records.length, checksum, stored), door);
    if (found !== undefined) expect(found.answer.equals(rawPages[column])).toBe(true);
  });
});

test("a page header that is whole is refused where it promises more than any page has, before there is room made for it", FUZZING, async () => {
  const lengths = fc.oneof(fc.constantFrom(-1, 0, PAGE_BYTES_MAX, PAGE_BYTES_MAX + 1, 2 ** 31, 2 ** 40, Number.MAX_SAFE_INTEGER), fc.maxSafeNat());
  await fuzz(fc.tuple(fc.nat(3), lengths), 400, async ([column, rawLength]) => {
    const { payload, checksum } = pageOf(column, rawPages[column]);
    const header = thriftWriter();
    for (const [id, value] of [0, rawLength, payload.length, checksum | 0].entries()) header.i32(id + 1, value);
    header.struct(5, () => {
      for (const [id, value] of [records.length, COLUMNS[column].encoding, ENCODING_RLE, ENCODING_RLE].entries()) header.i32(id + 1, value);
    });
    const stored = Buffer.concat([header.end(), payload]);
    const door = { throws: [RangeError], bytesMax: 24 * 1024 * 1024 };
    const found = await atDoor(() => openPage(COLUMNS[column], records.length, checksum, stored), door).catch((error: unknown) => {
      throw new Error(`a page of ${rawLength} bytes`, { cause: error });
    });
    expect(found !== undefined).toBe(rawLength === rawPages[column].length);
  });
});

test("Thrift of any bytes ends with a structure or a RangeError", FUZZING, async () => {
  const { bytes, footerBytes } = whole;
  const footer = bytes.subarray(bytes.length - footerBytes + 48, bytes.length - 8);
  const anyBytes = fc.oneof(
    edits.map((list) => edited(footer, list)),
    fc.uint8Array({ maxLength: 200 }).map((some) => Buffer.from(some)),
  );
  await fuzz(anyBytes, 6_000, async (wrong) => {
    const found = await atDoor(() => readThrift(wrong), { throws: [RangeError] });
    if (found !== undefined) expect(found.answer.end).toBeLessThanOrEqual(wrong.length);
  });
});

test("numbers of any bytes are safe whole numbers, or a RangeError", FUZZING, async () => {
  const numbers = Float64Array.from({ length: 300 }, (_, i) => (i * 48_271 * 2 ** 20) % (2 ** 36 + 1));
  const encoded = Buffer.alloc(4_096);
  const sample = encoded.subarray(0, encodeDelta(numbers, numbers.length, 1, encoded, 0));
  const anyBytes = fc.oneof(
    fc.nat(sample.length).map((length) => sample.subarray(0, length)),

    edits.map((list) => edited(sample, list)),
    fc.uint8Array({ maxLength: 400 }).map((some) => Buffer.concat([sample.subarray(0, 5), some])),
  );
  await fuzz(fc.tuple(anyBytes, fc.constantFrom(1 as const, 1_000 as const), fc.constantFrom(1, 127, 128, 129, 300)), 8_000, async ([wrong, scale, count]) => {
    const values = new Float64Array(300);
    const found = await atDoor(() => decodeDelta(wrong, 0, count, scale, values), { throws: [RangeError] });
    if (found === undefined) return;
    expect(found.answer).toBeLessThanOrEqual(wrong.length);
    for (const value of values.subarray(0, count)) expect(Number.isSafeInteger(value) && value >= 0).toBe(true);
  });
});

test("what a footer says of its snapshot is read as it would be written, or refused", FUZZING, async () => {
  const groups = whole.groups.map(({ group: { sha256, crc32: crc, carried } }) => ({ sha256, indexSha256: sha256, crc32: crc, carried }));
  const metadata = encodeMetadata(description, groups);
  const text = fc.oneof(fc.constantFrom("", "-1", "1e3", "9007199254740992", "{}", "null", "[]", '{"next":1}', "AAAA"), fc.string({ maxLength: 20 }));
  const change = fc.tuple(fc.nat(metadata.length - 1), fc.oneof(text, edits), fc.boolean());
  let accepted = 0;
  await fuzz(fc.array(change, { minLength: 1, maxLength: 2 }), 4_000, async (changes) => {
    const wrong = metadata.map(([key, value], place) => {
      const [, wanted] = changes.find(([at]) => at === place) ?? [];
      if (wanted === undefined) return [key, value] as const;
      return [key, typeof wanted === "string" ? wanted : edited(Buffer.from(value), wanted).toString("latin1")] as const;
    });
    // Within the codec: its caller makes damage of whatever it throws (faults.ts).
    const found = await atDoor(() => decodeMetadata(wrong), { throws: [Error] });
    if (found === undefined) return;
    accepted++;
    const again = encodeMetadata(found.answer.description, found.answer.groups);
    expect(decodeMetadata(again).description).toEqual(found.answer.description);
  });
  expect(accepted).toBeGreaterThan(100);
});

test("a note that is edited and made a frame anew is progress or none, never a fault", FUZZING, async () => {
  const done = whole.groups.map(({ group, index, indexLengths }) => ({ kind: "fresh" as const, placed: { group, index, indexLengths }, open: false }));
  const note = encodeNote(done) ?? "";
  const json = Buffer.from(JSON.stringify(done.map(({ placed }) => placed.indexLengths)));
  await fuzz(fc.tuple(edits, fc.constantFrom("text", "frame")), 3_000, async ([list, how]) => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(json.length);
    const wrong =
      how === "text" ? edited(Buffer.from(note), list).toString("latin1") : zstdCompressSync(edited(Buffer.concat([length, json]), list)).toString("base64");
    const part = { number: 1, etag: "e", offset: 0, length: 1, copied: false, note: wrong };
    await atDoor(() => progressOf(new Map([[1, part]])), {});
  });
});
