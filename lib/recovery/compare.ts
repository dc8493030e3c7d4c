// Whether two streams of rows in key order hold the same records, byte for byte.

import type { Rows } from "../model/rows.ts";

/** The first difference in words; absent where the streams are equal. */
export async function firstDifference(one: AsyncIterable<Rows>, other: AsyncIterable<Rows>): Promise<string | undefined> {
  const left = cursor(one);
  const right = cursor(other);
  for (;;) {
    const a = await left.next();
    const b = await right.next();
    if (a === undefined || b === undefined) return a === b ? undefined : `key ${nameOf(a ?? b)} is in one of them only`;
    const wrong = differingField(a, b);
    if (wrong !== undefined) return `${wrong} of key ${nameOf(a)} differs`;
  }
}

interface Place {
  readonly rows: Rows;
  readonly row: number;
}

function cursor(stream: AsyncIterable<Rows>): { next(): Promise<Place | undefined> } {
  const pages = stream[Symbol.asyncIterator]();
  let rows: Rows | undefined;
  let row = 0;
  return {
    async next() {
      while (rows === undefined || row === rows.count) {
        const page = await pages.next();
        if (page.done) return undefined;
        rows = page.value;
        row = 0;
      }
      return { rows, row: row++ };
    },
  };
}

function differingField(a: Place, b: Place): string | undefined {
  if (!keyOf(a).equals(keyOf(b))) return "the key";
  if (!valueOf(a).equals(valueOf(b))) return "the value";
  if (a.rows.indexes[a.row] !== b.rows.indexes[b.row]) return "the index";
  return a.rows.times[a.row] === b.rows.times[b.row] ? undefined : "the time";
}

function keyOf({ rows, row }: Place): Buffer {
  return rows.keys.subarray(row === 0 ? 0 : rows.keyEnds[row - 1], rows.keyEnds[row]);
}

function valueOf({ rows, row }: Place): Buffer {
  return rows.values.subarray(row === 0 ? 0 : rows.valueEnds[row - 1], rows.valueEnds[row]);
}

function nameOf(place: Place | undefined): string {
  return place === undefined ? "" : JSON.stringify(keyOf(place).toString());
}
