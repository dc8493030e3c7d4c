// Collects records into Rows, for those who read a merge instead of encoding it.
//
// Hot: appends to buffers that grow by doubling, allocates nothing per row. bench/fold.ts measures it.

import { assert } from "../../model/assert.ts";
import { release } from "../../model/memory.ts";
import type { Rows, RowSink } from "../../model/rows.ts";

export interface RowsCollector extends RowSink {
  readonly count: number;
  /** Key and value bytes collected. */
  readonly bytes: number;
  /** What was collected since the last call. The rows' memory is theirs; the collector starts anew. */
  take(): Rows;
}

const ROWS_MIN = 64;
const BYTES_MIN = 4096;
/** Ends are 32-bit words. */
const COLUMN_BYTES_MAX = 2 ** 32 - 1;

export function rowsCollector(): RowsCollector {
  let columns = emptyColumns(ROWS_MIN, BYTES_MIN, BYTES_MIN);
  let count = 0;
  let keyEnd = 0;
  let valueEnd = 0;

  function reserve(rows: number, keyBytes: number, valueBytes: number): void {
    if (count + rows > columns.keyEnds.length) columns = { ...columns, ...grownNumbers(columns, count + rows) };
    if (keyEnd + keyBytes > columns.keys.length) columns.keys = grownBytes(columns.keys, keyEnd, keyEnd + keyBytes);
    if (valueEnd + valueBytes > columns.values.length) columns.values = grownBytes(columns.values, valueEnd, valueEnd + valueBytes);
  }

  return {
    get count() {
      return count;
    },
    get bytes() {
      return keyEnd + valueEnd;
    },
    push(rows, from, to) {
      const keyFrom = from === 0 ? 0 : rows.keyEnds[from - 1];
      const valueFrom = from === 0 ? 0 : rows.valueEnds[from - 1];
      const keyBytes = (to === 0 ? 0 : rows.keyEnds[to - 1]) - keyFrom;
      const valueBytes = (to === 0 ? 0 : rows.valueEnds[to - 1]) - valueFrom;
      reserve(to - from, keyBytes, valueBytes);
      rows.keys.copy(columns.keys, keyEnd, keyFrom, keyFrom + keyBytes);
      rows.values.copy(columns.values, valueEnd, valueFrom, valueFrom + valueBytes);
      for (let row = from; row < to; row += 1) {
        columns.keyEnds[count + row - from] = keyEnd + rows.keyEnds[row] - keyFrom;
        columns.valueEnds[count + row - from] = valueEnd + rows.valueEnds[row] - valueFrom;
      }
      columns.indexes.set(rows.indexes.subarray(from, to), count);
      columns.times.set(rows.times.subarray(from, to), count);
      count += to - from;
      keyEnd += keyBytes;
      valueEnd += valueBytes;
    },
    pushRow(key, keyFrom, keyTo, value, valueFrom, valueTo, index, timeMs) {
      reserve(1, keyTo - keyFrom, valueTo - valueFrom);
      key.copy(columns.keys, keyEnd, keyFrom, keyTo);
      value.copy(columns.values, valueEnd, valueFrom, valueTo);
      keyEnd += keyTo - keyFrom;
      valueEnd += valueTo - valueFrom;
      columns.keyEnds[count] = keyEnd;
      columns.valueEnds[count] = valueEnd;
      columns.indexes[count] = index;
      columns.times[count] = timeMs;
      count += 1;
    },
    take() {
      const rows: Rows = {
        count,
        keys: columns.keys.subarray(0, keyEnd),
        keyEnds: columns.keyEnds.subarray(0, count),
        values: columns.values.subarray(0, valueEnd),
        valueEnds: columns.valueEnds.subarray(0, count),
        indexes: columns.indexes.subarray(0, count),
        times: columns.times.subarray(0, count),
      };
      // As much room as this time: those who take block by block grow it once.
      columns = emptyColumns(Math.max(ROWS_MIN, count), Math.max(BYTES_MIN, keyEnd), Math.max(BYTES_MIN, valueEnd));
      count = 0;
      keyEnd = 0;
      valueEnd = 0;
      return rows;
    },
  };
}

interface Columns {
  keys: Buffer;
  values: Buffer;
  readonly keyEnds: Uint32Array;
  readonly valueEnds: Uint32Array;
  readonly indexes: Float64Array;
  readonly times: Float64Array;
}

function emptyColumns(rows: number, keyBytes: number, valueBytes: number): Columns {
  return {
    keys: Buffer.allocUnsafeSlow(keyBytes),
    values: Buffer.allocUnsafeSlow(valueBytes),
    keyEnds: new Uint32Array(rows),
    valueEnds: new Uint32Array(rows),
    indexes: new Float64Array(rows),
    times: new Float64Array(rows),
  };
}

function grownNumbers({ keyEnds, valueEnds, indexes, times }: Columns, rowsNeeded: number): Omit<Columns, "keys" | "values"> {
  const length = Math.max(rowsNeeded, keyEnds.length * 2);
  const grown = { keyEnds: new Uint32Array(length), valueEnds: new Uint32Array(length), indexes: new Float64Array(length), times: new Float64Array(length) };
  grown.keyEnds.set(keyEnds);
  grown.valueEnds.set(valueEnds);
  grown.indexes.set(indexes);
  grown.times.set(times);
  for (const view of [keyEnds, valueEnds, indexes, times]) release(view);
  return grown;
}

function grownBytes(bytes: Buffer, used: number, bytesNeeded: number): Buffer {
  assert(bytesNeeded <= COLUMN_BYTES_MAX, "collected keys and collected values stay below 4 GiB each");
  const grown = Buffer.allocUnsafeSlow(Math.min(COLUMN_BYTES_MAX, Math.max(bytesNeeded, bytes.length * 2)));
  bytes.copy(grown, 0, 0, used);
  release(bytes);
  return grown;
}
