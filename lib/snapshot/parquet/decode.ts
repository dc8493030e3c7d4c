// Row groups and pages to rows. Guarantees: rows come out only of bytes that passed the group's SHA-256 (or, for a single
// page, the CRC-32 that the verified page index records of it), whose keys ascend strictly from the page's first to its
// last key. Anything else is an error that names the object (I8).
//
// Hot: keys and values are views of the decompressed pages, not copies; nothing is allocated per record. Pages are
// decompressed a few ahead, large ones off the main thread. Measured by bench/parquet.ts.

import { hash } from "node:crypto";
import { damagedObject } from "../../model/errors.ts";
import { release } from "../../model/memory.ts";
import type { Rows } from "../../model/rows.ts";
import { decodeDelta } from "./delta.ts";
import { asDamage, orDamaged } from "./faults.ts";
import { ascends } from "./groups.ts";
import { COLUMNS, type GroupPages, INDEX, KEY, PAGE_ROWS_MAX, type RowGroup, TIME, VALUE } from "./layout.ts";
import { openPage, openPageElsewhere } from "./page.ts";

/** Pages that are decompressed ahead of the one that is read. */
const PAGES_AHEAD = 4;

/** Bytes of a stored page by column, header and payload. */
export type StoredPages = readonly Buffer[];

/** Where page `page` of a column lies in the object. */
export function pagePlace(group: RowGroup, pages: GroupPages, column: number, page: number): { readonly offset: number; readonly length: number } {
  const { bytes } = pages.columns[column];
  let from = group.offset + group.columns[column].offset;
  for (let i = 0; i < page; i++) from += bytes[i];
  return { offset: from, length: bytes[page] };
}

/** Throws unless `bytes` are the row group's. `object` is the key of the object that holds it. */
export function verifyGroup(object: string, group: RowGroup, bytes: Buffer): void {
  if (bytes.length !== group.byteLength) throw damagedObject(object, `the row group at ${group.offset} has ${bytes.length} of ${group.byteLength} bytes`);
  if (hash("sha256", bytes, "hex") !== group.sha256) throw damagedObject(object, `the row group at ${group.offset} fails its SHA-256`);
}

/** The rows of a row group's pages from `fromPage` on, one `Rows` a page. `bytes` are the whole group's, and are verified first. */
export async function* decodeGroup(object: string, group: RowGroup, pages: GroupPages, bytes: Buffer, fromPage = 0): AsyncGenerator<Rows> {
  verifyGroup(object, group, bytes);
  const starts = COLUMNS.map((_, column) => pagePlace(group, pages, column, fromPage).offset - group.offset);
  const ahead: (Rows | Promise<Rows>)[] = [];
  for (let page = fromPage; page < pages.rows.length || ahead.length > 0; page++) {
    if (page < pages.rows.length) ahead.push(openAhead(page));
    if (page >= pages.rows.length || ahead.length > PAGES_AHEAD) yield await (ahead.shift() as Rows | Promise<Rows>);
  }

  function openAhead(page: number): Rows | Promise<Rows> {
    const stored = COLUMNS.map((_, column) => {
      const start = starts[column];
      starts[column] += pages.columns[column].bytes[page];
      return bytes.subarray(start, starts[column]);
    });
    const rows = rowsElsewhere(object, pages, page, stored);
    // It may fail while another page is awaited, or when nobody reads on.
    if (rows instanceof Promise) rows.catch(() => undefined);
    return rows;
  }
}

/** The rows of one page. `stored` are its bytes by KEY, VALUE, INDEX, TIME. */
export function decodePage(object: string, pages: GroupPages, page: number, stored: StoredPages): Rows {
  return orDamaged(object, () => {
    const raw = COLUMNS.map((column, i) => openPage(column, pages.rows[page], pages.columns[i].checksums[page], stored[i]));
    return rowsOf(pages, page, raw);
  });
}

function rowsElsewhere(object: string, pages: GroupPages, page: number, stored: StoredPages): Rows | Promise<Rows> {
  return orDamaged(object, () => {
    const raw = COLUMNS.map((column, i) => openPageElsewhere(column, pages.rows[page], pages.columns[i].checksums[page], stored[i]));
    if (raw.every((each) => !(each instanceof Promise))) return rowsOf(pages, page, raw as readonly Buffer[]);
    return Promise.all(raw.map(async (each) => each)).then(
      (opened) => orDamaged(object, () => rowsOf(pages, page, opened)),
      (error: unknown) => {
        throw asDamage(object, error);
      },
    );
  });
}

function rowsOf(pages: GroupPages, page: number, raw: readonly Buffer[]): Rows {
  const count = pages.rows[page];
  const keys = splitTexts(raw[KEY], count);
  const values = splitTexts(raw[VALUE], count);
  const rows = {
    count,
    keys: keys.bytes,
    keyEnds: keys.ends,
    values: values.bytes,
    valueEnds: values.ends,
    indexes: new Float64Array(count),
    times: new Float64Array(count),
  };
  expectEnd(raw[INDEX], decodeDelta(raw[INDEX], 0, count, 1, rows.indexes));
  expectEnd(raw[TIME], decodeDelta(raw[TIME], 0, count, 1_000, rows.times));
  release(raw[INDEX]);
  release(raw[TIME]);
  checkOrder(rows, pages.firstKeys[page], pages.lastKeys[page]);
  return rows;
}

// Scratch of one call; taking a page apart is synchronous.
const lengths = new Float64Array(PAGE_ROWS_MAX);

/** DELTA_LENGTH_BYTE_ARRAY: the lengths, then the bytes, which are handed out as a view. */
function splitTexts(raw: Buffer, count: number): { readonly bytes: Buffer; readonly ends: Uint32Array } {
  const start = decodeDelta(raw, 0, count, 1, lengths);
  const ends = new Uint32Array(count);
  let end = 0;
  for (let row = 0; row < count; row++) {
    end += lengths[row];
    ends[row] = end;
  }
  if (start + end !== raw.length) throw new RangeError("a page's lengths do not add up to its bytes");
  return { bytes: raw.subarray(start), ends };
}

function expectEnd(raw: Buffer, end: number): void {
  if (end !== raw.length) throw new RangeError("bytes stand behind a page's numbers");
}

function checkOrder({ keys, keyEnds, count }: Rows, first: Buffer, last: Buffer): void {
  if (!ascends(keys, 0, keyEnds, count)) throw new RangeError("the keys of a page do not ascend");
  const lastStart = count === 1 ? 0 : keyEnds[count - 2];
  if (!keys.subarray(0, keyEnds[0]).equals(first) || !keys.subarray(lastStart).equals(last))
    throw new RangeError("a page holds other keys than its page index says");
}
