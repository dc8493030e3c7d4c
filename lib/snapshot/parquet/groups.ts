// Rows to row groups. Guarantees: the bytes are a function of the rows since the last cut and of ENCODER_VERSION, not of
// how the rows were handed over; rows ascend strictly by key, else it throws. A finished group is described apart
// from its bytes, so that it can be placed, or carried over, anywhere (splice).
//
// Hot: a run of rows is copied by one copy for its keys and one for its values into arenas that live as long as the
// encoder; nothing is allocated per record. Measured by bench/parquet.ts.

import { hash } from "node:crypto";
import { assert } from "../../model/assert.ts";
import { KEY_BYTES_MAX } from "../../model/limits.ts";
import type { Rows, RowSink } from "../../model/rows.ts";
import { deltaBytesMax, encodeDelta } from "./delta.ts";
import {
  COLUMNS,
  type ColumnChunk,
  GROUP_RAW_BYTES,
  GROUP_STORED_BYTES,
  INDEX,
  KEY,
  LENGTHS_BYTES_MAX,
  PAGE_ROWS_MAX,
  PAGE_VALUE_BYTES,
  ROW_NUMBER_BYTES,
  type RowGroup,
  TIME,
  VALUE,
} from "./layout.ts";
import { makePage, type Page } from "./page.ts";

/** Below so many bytes a loop is quicker than a call of copy. */
const LOOP_BYTES_MAX = 32;

export interface FinishedGroup {
  /** Its offset is 0: who places the bytes sets it. */
  readonly group: RowGroup;
  readonly bytes: Buffer;
}

export interface RowGroupEncoder extends RowSink {
  /** Ends the group that is open, if it holds a row. The next row starts a new one. */
  cut(): void;
  /** The groups finished since the last call, in order. */
  take(): readonly FinishedGroup[];
}

/** The bytes or texts of one page: room for their lengths, then the bytes themselves, so that both are compressed as one range. */
interface Arena {
  bytes: Buffer;
  /** Bytes used, without the room in front. */
  used: number;
  readonly ends: Uint32Array;
}

export function rowGroupEncoder(): RowGroupEncoder {
  const keys = arena(PAGE_ROWS_MAX * KEY_BYTES_MAX);
  const values = arena(PAGE_VALUE_BYTES);
  const indexes = new Float64Array(PAGE_ROWS_MAX);
  const times = new Float64Array(PAGE_ROWS_MAX);
  const scratch = Buffer.allocUnsafeSlow(Math.max(LENGTHS_BYTES_MAX, deltaBytesMax(PAGE_ROWS_MAX)));
  let rowsInPage = 0;
  let open = openGroup();
  let last: Buffer | undefined;
  let finished: FinishedGroup[] = [];

  function push(rows: Rows, from: number, to: number): void {
    assert(from >= 0 && from <= to && to <= rows.count, "a push names rows that there are");
    for (let at = from; at < to; ) at = pushRun(rows, at, to);
  }

  /** Copies as many rows from `from` on as the page takes; returns the first row that it did not. */
  function pushRun(rows: Rows, from: number, to: number): number {
    const keyStart = from === 0 ? 0 : rows.keyEnds[from - 1];
    const valueStart = from === 0 ? 0 : rows.valueEnds[from - 1];
    let until = Math.min(to, from + PAGE_ROWS_MAX - rowsInPage);
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
    if (rowsInPage === PAGE_ROWS_MAX) endPage();
    return until;
  }

  function pushRow(key: Buffer, keyStart: number, keyEnd: number, value: Buffer, valueStart: number, valueEnd: number, index: number, timeMs: number): void {
    if (rowsInPage > 0 && values.used + valueEnd - valueStart > PAGE_VALUE_BYTES) endPage();
    append(keys, rowsInPage, key, keyStart, keyEnd);
    append(values, rowsInPage, value, valueStart, valueEnd);
    indexes[rowsInPage] = index;
    times[rowsInPage] = timeMs;
    rowsInPage++;
    if (rowsInPage === PAGE_ROWS_MAX) endPage();
  }

  function endPage(): void {
    checkNumbers(indexes, rowsInPage);
    checkNumbers(times, rowsInPage);
    checkKeys(keys, rowsInPage, last);
    const first = Buffer.from(arenaKey(keys, 0));
    last = Buffer.from(arenaKey(keys, rowsInPage - 1));
    open.firstKeys.push(first);
    open.lastKeys.push(last);
    open.pageRows.push(rowsInPage);
    open.rawBytes += keys.used + values.used + ROW_NUMBER_BYTES * rowsInPage;
    addPage(KEY, lengthsAndBytes(keys));
    addPage(VALUE, lengthsAndBytes(values));
    addPage(INDEX, scratch.subarray(0, encodeDelta(indexes, rowsInPage, 1, scratch, 0)));
    addPage(TIME, scratch.subarray(0, encodeDelta(times, rowsInPage, 1_000, scratch, 0)));
    keys.used = 0;
    values.used = 0;
    rowsInPage = 0;
    if (open.storedBytes >= GROUP_STORED_BYTES || open.rawBytes >= GROUP_RAW_BYTES) endGroup();
  }

  function addPage(column: number, raw: Buffer): void {
    const page = makePage(COLUMNS[column], rowsInPage, raw);
    open.pages[column].push(page);
    open.storedBytes += page.header.length + page.payload.length;
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
  const lengths = new Float64Array(PAGE_ROWS_MAX);

  function endGroup(): void {
    finished.push(closeGroup(open));
    open = openGroup();
  }

  return {
    push,
    pushRow,
    cut() {
      if (rowsInPage > 0) endPage();
      if (open.pageRows.length > 0) endGroup();
    },
    take() {
      const taken = finished;
      finished = [];
      return taken;
    },
  };
}

interface OpenGroup {
  readonly pageRows: number[];
  readonly firstKeys: Buffer[];
  readonly lastKeys: Buffer[];
  /** By column. */
  readonly pages: readonly Page[][];
  storedBytes: number;
  rawBytes: number;
}

function openGroup(): OpenGroup {
  return { pageRows: [], firstKeys: [], lastKeys: [], pages: COLUMNS.map(() => []), storedBytes: 0, rawBytes: 0 };
}

function closeGroup(open: OpenGroup): FinishedGroup {
  const bytes = Buffer.allocUnsafeSlow(open.storedBytes);
  let at = 0;
  const columns = open.pages.map((pages): ColumnChunk => {
    const offset = at;
    for (const { header, payload } of pages) {
      at += header.copy(bytes, at);
      at += payload.copy(bytes, at);
    }
    return {
      offset,
      byteLength: at - offset,
      rawByteLength: pages.reduce((sum, page) => sum + page.rawByteLength, 0),
      pageBytes: pages.map(({ header, payload }) => header.length + payload.length),
      pageChecksums: pages.map((page) => page.checksum),
    };
  });
  const { pageRows, firstKeys, lastKeys } = open;
  const rows = pageRows.reduce((sum, count) => sum + count, 0);
  const group = { offset: 0, byteLength: bytes.length, rows, sha256: hash("sha256", bytes, "hex"), pageRows, firstKeys, lastKeys, columns };
  return { group, bytes };
}

function arena(byteLength: number): Arena {
  return { bytes: Buffer.allocUnsafeSlow(LENGTHS_BYTES_MAX + byteLength), used: 0, ends: new Uint32Array(PAGE_ROWS_MAX) };
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

/** Only a value larger than a page, which has its page to itself, makes an arena grow. */
function reserve(arena: Arena, byteLength: number): void {
  const needed = LENGTHS_BYTES_MAX + arena.used + byteLength;
  if (needed <= arena.bytes.length) return;
  const grown = Buffer.allocUnsafeSlow(needed);
  arena.bytes.copy(grown, LENGTHS_BYTES_MAX, LENGTHS_BYTES_MAX, LENGTHS_BYTES_MAX + arena.used);
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
