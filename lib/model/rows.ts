// Records by columns: what decoder, fold, merge and encoder hand each other. No object per record.

import { release } from "./memory.ts";
import { firstAt } from "./search.ts";

/**
 * Records of a snapshot in key order. Key i is `keys[keyEnds[i - 1] … keyEnds[i])`, from 0 for the first;
 * values likewise. `indexes` and `times` are those of the mutation that last changed the record (ms since 1970).
 */
export interface Rows {
  readonly count: number;
  readonly keys: Buffer;
  readonly keyEnds: Uint32Array;
  readonly values: Buffer;
  readonly valueEnds: Uint32Array;
  readonly indexes: Float64Array;
  readonly times: Float64Array;
}

/** The key of a row: a view. */
export function keyOfRow({ keys, keyEnds }: Rows, row: number): Buffer {
  return keys.subarray(row === 0 ? 0 : keyEnds[row - 1], keyEnds[row]);
}

/** The first row whose key is not below `key`; `rows.count` if there is none. */
export function rowAtOrBehind(rows: Rows, key: Buffer): number {
  return firstAt(rows.count, (row) => Buffer.compare(keyOfRow(rows, row), key) >= 0);
}

/** Rows `from` (included) to `to` (excluded); the bytes are views. */
export function sliceRows(rows: Rows, from: number, to: number): Rows {
  if (from === 0 && to === rows.count) return rows;
  const { keys, keyEnds, values, valueEnds, indexes, times } = rows;
  const keyStart = from === 0 ? 0 : keyEnds[from - 1];
  const valueStart = from === 0 ? 0 : valueEnds[from - 1];
  return {
    count: to - from,
    keys: keys.subarray(keyStart, to === 0 ? 0 : keyEnds[to - 1]),
    keyEnds: keyEnds.slice(from, to).map((end) => end - keyStart),
    values: values.subarray(valueStart, to === 0 ? 0 : valueEnds[to - 1]),
    valueEnds: valueEnds.slice(from, to).map((end) => end - valueStart),
    indexes: indexes.subarray(from, to),
    times: times.subarray(from, to),
  };
}

/** Frees rows that nobody looks at any more; for who owns them, and all rows that lie in the same memory. */
export function releaseRows({ keys, keyEnds, values, valueEnds, indexes, times }: Rows): void {
  for (const view of [keys, keyEnds, values, valueEnds, indexes, times]) release(view);
}

/** Takes records in key order. The bytes handed in are copied before the call returns. */
export interface RowSink {
  /** Rows `from` (included) to `to` (excluded). */
  push(rows: Rows, from: number, to: number): void;
  pushRow(key: Buffer, keyStart: number, keyEnd: number, value: Buffer, valueStart: number, valueEnd: number, index: number, timeMs: number): void;
}

/** What a record of a redo file does. The numbers are the format's. */
export const RECORD_PUT = 1;
export const RECORD_DELETE = 2;
export const RECORD_PATCH = 3;

/** Records of a redo file in log order: key i is `bytes[keyStarts[i] … + keyLengths[i])`, its value likewise (length 0 for a delete). */
export interface LogRecords {
  readonly count: number;
  readonly bytes: Buffer;
  readonly kinds: Uint8Array;
  readonly keyStarts: Uint32Array;
  readonly keyLengths: Uint32Array;
  readonly valueStarts: Uint32Array;
  readonly valueLengths: Uint32Array;
}
