import { expect, test } from "vitest";
import { COLUMNS, PAGE_BYTES_MAX, VALUE } from "../../../../lib/snapshot/parquet/layout.ts";
import { compress, compressChecked, decompressUpTo, makePage, openPage, openPageElsewhere, type Page } from "../../../../lib/snapshot/parquet/page.ts";
import { storedPage } from "./pages.ts";

const COLUMN = COLUMNS[VALUE];
const ROWS = 7;
const MIB = 1024 * 1024;
const raw = Buffer.from("the raw bytes of a page");

function storedOf({ header, payload }: Page): Buffer {
  return Buffer.concat([header, payload]);
}

test("a page is stored as its header says, and reads back as it was", async () => {
  const page = await makePage(COLUMN, ROWS, raw);
  const { checksum, stored } = storedPage(COLUMN, ROWS, raw.length, compress(raw));
  expect([storedOf(page), page.checksum, page.rawByteLength]).toEqual([stored, checksum, page.header.length + raw.length]);
  expect(openPage(COLUMN, ROWS, checksum, stored)).toEqual(raw);
});

test("a page of a mebibyte leaves the main thread on both ways, and a smaller one on none", async () => {
  for (const [length, isElsewhere] of [
    [0, false],
    [MIB - 1, false],
    [MIB, true],
  ] as const) {
    const bytes = Buffer.alloc(length, "page");
    const making = makePage(COLUMN, ROWS, bytes);
    const page = await making;
    const opening = openPageElsewhere(COLUMN, ROWS, page.checksum, storedOf(page));
    expect([making instanceof Promise, opening instanceof Promise]).toEqual([isElsewhere, isElsewhere]);
    expect((await opening).equals(bytes)).toBe(true);
    expect(openPage(COLUMN, ROWS, page.checksum, storedOf(page)).equals(bytes)).toBe(true);
  }
});

test("a page as large as a reader takes is read, and a larger one is refused", () => {
  const open = (rawLength: number) => {
    const { checksum, stored } = storedPage(COLUMN, ROWS, rawLength, compress(Buffer.alloc(rawLength)));
    return openPage(COLUMN, ROWS, checksum, stored).length;
  };
  expect(open(PAGE_BYTES_MAX)).toBe(PAGE_BYTES_MAX);
  expect(() => open(PAGE_BYTES_MAX + 1)).toThrow("larger than any page");
});

test("a header of which any byte is another is refused, and so is one of another page", async () => {
  const page = await makePage(COLUMN, ROWS, raw);
  for (let at = 0; at < page.header.length; at++) {
    const wrong = storedOf(page);
    wrong[at] ^= 1;
    expect(() => openPage(COLUMN, ROWS, page.checksum, wrong), `byte ${at}`).toThrow(RangeError);
  }
  expect(() => openPage(COLUMN, ROWS + 1, page.checksum, storedOf(page))).toThrow("differs from what the footer says");
  expect(() => openPage(COLUMN, ROWS, page.checksum + 1, storedOf(page))).toThrow("differs from what the footer says");
  const otherPayload = storedOf(page);
  otherPayload[otherPayload.length - 1] ^= 1;
  expect(() => openPage(COLUMN, ROWS, page.checksum, otherPayload)).toThrow("fails its CRC-32");
});

test.each([
  ["has fewer bytes than its header says", raw.length + 1, compress(raw)],
  ["has more bytes than its header says", raw.length - 1, compress(raw)],
  ["is no frame of zstd", raw.length, raw],
  ["has a large frame that is none", MIB, raw],
  ["has a large frame of fewer bytes", MIB + 1, compress(Buffer.alloc(MIB))],
])("a page that %s is refused, here and elsewhere", async (_, rawLength, payload) => {
  const { checksum, stored } = storedPage(COLUMN, ROWS, rawLength, payload);
  expect(() => openPage(COLUMN, ROWS, checksum, stored)).toThrow(RangeError);
  await expect(async () => openPageElsewhere(COLUMN, ROWS, checksum, stored)).rejects.toThrow(RangeError);
});

test("a frame that is none tells what zstd said of it", () => {
  expect(() => decompressUpTo(raw, 100)).toThrow(expect.objectContaining({ message: "a zstd frame is damaged", cause: expect.any(Error) }));
});

test("a frame of unknown length is read up to so many bytes, and no further", () => {
  for (const length of [0, 1, 100, 100_000]) {
    const bytes = Buffer.alloc(length, "frame");
    for (const max of [length, length + 1, 10 * length].filter((each) => each > 0)) expect(decompressUpTo(compress(bytes), max).equals(bytes)).toBe(true);
    if (length > 1) expect(() => decompressUpTo(compress(bytes), length - 1)).toThrow(RangeError);
  }
});

test("a checked frame is longer by its checksum, without which it is refused", () => {
  const checked = compressChecked(raw);
  expect(decompressUpTo(checked, 100)).toEqual(raw);
  expect(checked.length).toBe(compress(raw).length + 4);
  checked[checked.length - 1] ^= 1;
  expect(() => decompressUpTo(checked, 100)).toThrow(RangeError);
});
