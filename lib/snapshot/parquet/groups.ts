// Rows to row groups. Guarantees: the bytes are a function of the rows since the last cut and of ENCODER_VERSION, not of
// how the rows were handed over, nor of when a page's compression ends; rows ascend strictly by key, else it throws. A
// finished group is described apart from its bytes, so that it can be placed, or carried over, anywhere (splice).
//
// Hot: a run of rows is copied by one copy for its keys and one for its values into arenas that are used again; nothing is
// allocated per record. Large pages are compressed off the main thread, a few at a time. Measured by bench/parquet.ts.

import { hash } from "node:crypto";
import { crc32 } from "node:zlib";
import { assert } from "../../model/assert.ts";
import { KEY_BYTES_MAX } from "../../model/limits.ts";
import { release } from "../../model/memory.ts";
import type { Rows, RowSink } from "../../model/rows.ts";
import { deltaBytesMax, encodeDelta } from "./delta.ts";
import {
  COLUMNS,
  type ColumnChunk,
  FILE_ORDER,
  GROUP_RAW_BYTES,
  GROUP_STORED_BYTES,
  type GroupPages,
  type GroupSizes,
  INDEX,
  KEY,
  LENGTHS_BYTES_MAX,
  PAGE_ROWS_MAX,
  PAGE_VALUE_BYTES,
  ROW_NUMBER_BYTES,
  type RowGroup,
  splitBytes,
  TIME,
  VALUE,
} from "./layout.ts";
import { makePage, type Page } from "./page.ts";

/** Below so many bytes a loop is quicker than a call of copy. */
const LOOP_BYTES_MAX = 32;
/** An arena's bytes at first: a small shard needs no more. */
const ARENA_BYTES_FIRST = 8 * 1024;
/** Pages that may be under way when `take` answers. */
const PAGES_UNDER_WAY = 6;

export interface FinishedGroup {
  /** Its offset is 0: who places the bytes sets it. */
  readonly group: RowGroup;
  readonly pages: GroupPages;
  readonly bytes: Buffer;
  /** Whether the run may go on behind it: it was ended for its size, not by `cut`. */
  readonly open: boolean;
}

export interface RowGroupEncoder extends RowSink {
  /** Ends the run. The next row starts a new group. */
  cut(): void;
  /** The groups finished since the last call, in order. Waits while many pages are under way. */
  take(): Promise<readonly FinishedGroup[]>;
  /** The same, and waits for all that were cut. */
  drain(): Promise<readonly FinishedGroup[]>;
}

/** The bytes or texts of one page: room for their lengths, then the bytes themselves, so that both are compressed as one range. */
interface Arena {
  bytes: Buffer;
  /** Bytes used, without the room in front. */
  used: number;
  /** Bytes that a page usually has at most, without that room. */
  readonly pageBytes: number;
  readonly ends: Uint32Array;
}

/** A page of each column, some of them still under way. */
interface PageRow {
  readonly rows: number;
  readonly firstKey: Buffer;
  readonly lastKey: Buffer;
  readonly rawBytes: number;
  /** By column. */
  readonly pages: readonly (Page | Promise<Page>)[];
}

export function rowGroupEncoder(sizes: GroupSizes = { pageRows: PAGE_ROWS_MAX, groupBytes: GROUP_STORED_BYTES }): RowGroupEncoder {
  const { pageRows, groupBytes } = sizes;
  const keyArenas = arenaPool(pageRows * KEY_BYTES_MAX);
  const valueArenas = arenaPool(PAGE_VALUE_BYTES);
  let keys = keyArenas.take();
  let values = valueArenas.take();
  const indexes = new Float64Array(PAGE_ROWS_MAX);
  const times = new Float64Array(PAGE_ROWS_MAX);
  const lengths = new Float64Array(PAGE_ROWS_MAX);
  const scratch = Buffer.allocUnsafeSlow(Math.max(LENGTHS_BYTES_MAX, deltaBytesMax(PAGE_ROWS_MAX)));
  let rowsInPage = 0;
  let last: Buffer | undefined;
  /** Pages that no group has yet, in order, and where a run ends. */
  const waiting: (PageRow | "cut")[] = [];
  let open = openGroup();
  let finished: FinishedGroup[] = [];

  function push(rows: Rows, from: number, to: number): void {
    assert(from >= 0 && from <= to && to <= rows.count, "a push names rows that there are");
    for (let at = from; at < to; ) at = pushRun(rows, at, to);
  }

  /** Copies as many rows from `from` on as the page takes; returns the first row that it did not. */
  function pushRun(rows: Rows, from: number, to: number): number {
    const keyStart = from === 0 ? 0 : rows.keyEnds[from - 1];
    const valueStart = from === 0 ? 0 : rows.valueEnds[from - 1];
    let until = Math.min(to, from + pageRows - rowsInPage);
    const room = PAGE_VALUE_BYTES - values.used;
    while (until > from && rows.valueEnds[until - 1] - valueStart > room) until--;
    if (until === from) {
      if (rowsInPage > 0) {
        endPage();
        return from;
      }
      until = from + 1;
    }
    appendRun(keys, rowsInPage, rows.keys, rows.keyEnds, keyStart, from, until);
    appendRun(values, rowsInPage, rows.values, rows.valueEnds, valueStart, from, until);
    for (let row = from; row < until; row++) {
      indexes[rowsInPage] = rows.indexes[row];
      times[rowsInPage] = rows.times[row];
      rowsInPage++;
    }
    if (rowsInPage === pageRows) endPage();
    return until;
  }

  function pushRow(key: Buffer, keyStart: number, keyEnd: number, value: Buffer, valueStart: number, valueEnd: number, index: number, timeMs: number): void {
    if (rowsInPage > 0 && values.used + valueEnd - valueStart > PAGE_VALUE_BYTES) endPage();
    append(keys, rowsInPage, key, keyStart, keyEnd);
    append(values, rowsInPage, value, valueStart, valueEnd);
    indexes[rowsInPage] = index;
    times[rowsInPage] = timeMs;
    rowsInPage++;
    if (rowsInPage === pageRows) endPage();
  }

  function endPage(): void {
    checkNumbers(indexes, rowsInPage);
    checkNumbers(times, rowsInPage);
    checkKeys(keys, rowsInPage, last);
    const firstKey = Buffer.from(arenaKey(keys, 0));
    last = Buffer.from(arenaKey(keys, rowsInPage - 1));
    const rawBytes = keys.used + values.used + ROW_NUMBER_BYTES * rowsInPage;
    const pages = [
      pageOfArena(KEY, keys, keyArenas),
      pageOfArena(VALUE, values, valueArenas),
      makePage(COLUMNS[INDEX], rowsInPage, scratch.subarray(0, encodeDelta(indexes, rowsInPage, 1, scratch, 0))),
      makePage(COLUMNS[TIME], rowsInPage, scratch.subarray(0, encodeDelta(times, rowsInPage, 1_000, scratch, 0))),
    ];
    waiting.push({ rows: rowsInPage, firstKey, lastKey: last, rawBytes, pages });
    keys = keyArenas.take();
    values = valueArenas.take();
    rowsInPage = 0;
  }

  /** The arena serves again once its page is made. */
  function pageOfArena(column: number, arena: Arena, pool: ArenaPool): Page | Promise<Page> {
    const page = makePage(COLUMNS[column], rowsInPage, lengthsAndBytes(arena));
    if (page instanceof Promise) {
      const made = page.finally(() => pool.giveBack(arena));
      // Who awaits the pages in their order may be gone before this one fails.
      made.catch(() => undefined);
      return made;
    }
    pool.giveBack(arena);
    return page;
  }

  /** The page's raw bytes, as a view of the arena: the lengths are set right in front of the bytes. */
  function lengthsAndBytes(arena: Arena): Buffer {
    for (let row = 0, start = 0; row < rowsInPage; row++) {
      lengths[row] = arena.ends[row] - start;
      start = arena.ends[row];
    }
    const lengthBytes = encodeDelta(lengths, rowsInPage, 1, scratch, 0);
    assert(lengthBytes <= LENGTHS_BYTES_MAX, "the lengths of a page fit the room in front of its bytes");
    const start = LENGTHS_BYTES_MAX - lengthBytes;
    scratch.copy(arena.bytes, start, 0, lengthBytes);
    return arena.bytes.subarray(start, LENGTHS_BYTES_MAX + arena.used);
  }

  /** Gives pages to groups, in order, until at most `most` are under way. */
  async function settle(most: number): Promise<void> {
    while (waiting.length > most || isReady(waiting[0])) {
      const next = waiting[0];
      if (next === "cut") closeAll(false);
      else await addToGroup(next);
      waiting.shift();
    }
  }

  async function addToGroup({ pages, ...about }: PageRow): Promise<void> {
    const made = isReady({ pages, ...about }) ? (pages as readonly Page[]) : await Promise.all(pages.map(async (page) => page));
    open.push({ ...about, pages: made, storedBytes: made.reduce((sum, page) => sum + page.header.length + page.payload.length, 0) });
    if (sumOf(open, ({ rawBytes }) => rawBytes) >= GROUP_RAW_BYTES) closeAll(true);
    else if (sumOf(open, ({ storedBytes }) => storedBytes) >= splitBytes(sizes)) splitOff();
  }

  function closeAll(isOpen: boolean): void {
    if (open.length > 0) finished.push(closeGroup(open, isOpen));
    open = openGroup();
  }

  function splitOff(): void {
    let end = 0;
    for (let storedBytes = 0; storedBytes < groupBytes; end++) storedBytes += open[end].storedBytes;
    finished.push(closeGroup(open.slice(0, end), true));
    open = open.slice(end);
  }

  function handOver(): readonly FinishedGroup[] {
    const taken = finished;
    finished = [];
    return taken;
  }

  return {
    push,
    pushRow,
    cut() {
      if (rowsInPage > 0) endPage();
      waiting.push("cut");
    },
    async take() {
      await settle(PAGES_UNDER_WAY);
      return handOver();
    },
    async drain() {
      await settle(0);
      return handOver();
    },
  };
}

interface GroupRow extends Omit<PageRow, "pages"> {
  readonly pages: readonly Page[];
  readonly storedBytes: number;
}

function openGroup(): GroupRow[] {
  return [];
}

function isReady(next: PageRow | "cut" | undefined): boolean {
  if (next === undefined) return false;
  return next === "cut" || next.pages.every((page) => !(page instanceof Promise));
}

function sumOf(rows: readonly GroupRow[], bytesOf: (row: GroupRow) => number): number {
  return rows.reduce((sum, row) => sum + bytesOf(row), 0);
}

function closeGroup(rows: readonly GroupRow[], open: boolean): FinishedGroup {
  const bytes = Buffer.allocUnsafeSlow(sumOf(rows, ({ storedBytes }) => storedBytes));
  const columns: ColumnChunk[] = [];
  let at = 0;
  for (const column of FILE_ORDER) {
    const offset = at;
    let rawByteLength = 0;
    for (const { pages } of rows) {
      const { header, payload } = pages[column];
      at += header.copy(bytes, at);
      at += payload.copy(bytes, at);
      rawByteLength += pages[column].rawByteLength;
    }
    columns[column] = { offset, byteLength: at - offset, rawByteLength };
  }
  const group: RowGroup = {
    offset: 0,
    byteLength: bytes.length,
    rows: rows.reduce((sum, row) => sum + row.rows, 0),
    sha256: hash("sha256", bytes, "hex"),
    crc32: crc32(bytes),
    firstKey: rows[0].firstKey,
    lastKey: rows[rows.length - 1].lastKey,
    columns,
    carried: 0,
  };
  const pages: GroupPages = {
    rows: rows.map((row) => row.rows),
    firstKeys: rows.map(({ firstKey }) => firstKey),
    lastKeys: rows.map(({ lastKey }) => lastKey),
    columns: COLUMNS.map((_, column) => ({
      bytes: rows.map((row) => row.pages[column].header.length + row.pages[column].payload.length),
      checksums: rows.map((row) => row.pages[column].checksum),
    })),
  };
  for (const row of rows) for (const { payload } of row.pages) release(payload);
  return { group, pages, bytes, open };
}

/** Arenas that are free, to be used again. */
interface ArenaPool {
  take(): Arena;
  giveBack(arena: Arena): void;
}

function arenaPool(pageBytes: number): ArenaPool {
  const free: Arena[] = [];
  return {
    take: () => free.pop() ?? arena(pageBytes),
    giveBack(used) {
      used.used = 0;
      // One that a large value has made grow is not kept.
      if (used.bytes.length <= LENGTHS_BYTES_MAX + pageBytes) free.push(used);
    },
  };
}

function arena(pageBytes: number): Arena {
  const bytes = Buffer.allocUnsafeSlow(LENGTHS_BYTES_MAX + Math.min(pageBytes, ARENA_BYTES_FIRST));
  return { bytes, used: 0, pageBytes, ends: new Uint32Array(PAGE_ROWS_MAX) };
}

/** Rows `from` to `until` of a column of `Rows`, behind the `row` rows that the arena holds. */
function appendRun(arena: Arena, row: number, bytes: Buffer, ends: Uint32Array, start: number, from: number, until: number): void {
  const end = ends[until - 1];
  reserve(arena, end - start);
  bytes.copy(arena.bytes, LENGTHS_BYTES_MAX + arena.used, start, end);
  const shift = arena.used - start;
  for (let i = from; i < until; i++) arena.ends[row++] = ends[i] + shift;
  arena.used += end - start;
}

function append(arena: Arena, row: number, bytes: Buffer, start: number, end: number): void {
  reserve(arena, end - start);
  const to = arena.bytes;
  let at = LENGTHS_BYTES_MAX + arena.used;
  if (end - start > LOOP_BYTES_MAX) bytes.copy(to, at, start, end);
  else for (let i = start; i < end; i++) to[at++] = bytes[i];
  arena.used += end - start;
  arena.ends[row] = arena.used;
}

/** An arena grows to the bytes of a page, and beyond them only for a larger value, which has its page to itself. */
function reserve(arena: Arena, byteLength: number): void {
  const needed = LENGTHS_BYTES_MAX + arena.used + byteLength;
  if (needed <= arena.bytes.length) return;
  const grown = Buffer.allocUnsafeSlow(Math.max(needed, Math.min(LENGTHS_BYTES_MAX + arena.pageBytes, 2 * arena.bytes.length)));
  arena.bytes.copy(grown, LENGTHS_BYTES_MAX, LENGTHS_BYTES_MAX, LENGTHS_BYTES_MAX + arena.used);
  release(arena.bytes);
  arena.bytes = grown;
}

function arenaKey(keys: Arena, row: number): Buffer {
  return keys.bytes.subarray(LENGTHS_BYTES_MAX + (row === 0 ? 0 : keys.ends[row - 1]), LENGTHS_BYTES_MAX + keys.ends[row]);
}

function checkKeys(keys: Arena, rows: number, before: Buffer | undefined): void {
  assert(before === undefined || Buffer.compare(before, arenaKey(keys, 0)) < 0, "keys ascend strictly");
  assert(ascends(keys.bytes, LENGTHS_BYTES_MAX, keys.ends, rows), "keys ascend strictly");
}

/** Whether `count` keys, one behind the other from `base` on, ascend strictly in memcmp order. `ends` count from `base`. */
export function ascends(bytes: Buffer, base: number, ends: Uint32Array, count: number): boolean {
  let start = base;
  let end = base + ends[0];
  for (let row = 1; row < count; row++) {
    const nextEnd = base + ends[row];
    let left = start;
    let right = end;
    while (left < end && right < nextEnd && bytes[left] === bytes[right]) {
      left++;
      right++;
    }
    if (right === nextEnd || (left < end && bytes[left] > bytes[right])) return false;
    start = end;
    end = nextEnd;
  }
  return true;
}

function checkNumbers(numbers: Float64Array, count: number): void {
  for (let row = 0; row < count; row++) assert(Number.isSafeInteger(numbers[row]) && numbers[row] >= 0, "indexes and times are safe integers, not negative");
}
