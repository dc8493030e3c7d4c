// Records for the benches: made from a seed, so that every run and every bench measures the same bytes.
// One is about 235 bytes: the key "user/0000000001" and a JSON document with a token of 64 random characters, which no
// compressor can shrink below 48 bytes.

import type { Mutation } from "../lib/model/mutation.ts";
import type { Rows } from "../lib/model/rows.ts";

const TOKEN_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const FIRST_NAMES = ["Ada", "Barbara", "Edsger", "Frances", "Grace", "Jim", "Leslie", "Niklaus", "Pat", "Radia", "Tony", "Michael"];
const CITIES = ["Berlin", "Bogota", "Cairo", "Dublin", "Kyoto", "Lagos", "Lima", "Oslo", "Paris", "Perth", "Quito", "Seoul"];
const RECORD_BYTES_MAX = 320;
const START_MS = Date.UTC(2026, 0, 1);

/** Numbers from 0 (included) to 1 (excluded), the same for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `count` records in key order, numbered from 0; indexes 1…count, times one millisecond apart. */
export function benchRows(count: number, seed = 1): Rows {
  const random = seededRandom(seed);
  const keys = Buffer.allocUnsafeSlow(count * 15);
  const values = Buffer.allocUnsafeSlow(count * RECORD_BYTES_MAX);
  const keyEnds = new Uint32Array(count);
  const valueEnds = new Uint32Array(count);
  const indexes = new Float64Array(count);
  const times = new Float64Array(count);
  let keyEnd = 0;
  let valueEnd = 0;
  for (let row = 0; row < count; row += 1) {
    keyEnd += keys.write(benchKey(row), keyEnd, "latin1");
    valueEnd += values.write(benchValue(row, random), valueEnd, "latin1");
    keyEnds[row] = keyEnd;
    valueEnds[row] = valueEnd;
    indexes[row] = row + 1;
    times[row] = START_MS + row;
  }
  return { count, keys, keyEnds, values: values.subarray(0, valueEnd), valueEnds, indexes, times };
}

/** A row as a put; its bytes are views into the rows. */
export function benchPut({ keys, keyEnds, values, valueEnds }: Rows, row: number): Mutation & { readonly kind: "put" } {
  const key = keys.subarray(row === 0 ? 0 : keyEnds[row - 1], keyEnds[row]);
  return { kind: "put", key, value: values.subarray(row === 0 ? 0 : valueEnds[row - 1], valueEnds[row]) };
}

/** Key and value bytes of the rows. */
export function rowsBytes(rows: Rows): number {
  return rows.count === 0 ? 0 : rows.keyEnds[rows.count - 1] + rows.valueEnds[rows.count - 1];
}

function benchKey(row: number): string {
  return `user/${String(row).padStart(10, "0")}`;
}

function benchValue(row: number, random: () => number): string {
  const below = (limit: number) => Math.floor(random() * limit);
  const name = `${FIRST_NAMES[below(FIRST_NAMES.length)]} ${below(10_000)}`;
  const at = new Date(START_MS + below(86_400_000 * 300)).toISOString();
  return `{"id":${row},"name":"${name}","city":"${CITIES[below(CITIES.length)]}","level":${below(100)},"coins":${below(1_000_000)},"premium":${below(10) === 0},"seenAt":"${at}","token":"${token(random)}"}`;
}

function token(random: () => number): string {
  let text = "";
  for (let letters = 0; letters < 64; letters += 4) {
    const bits = Math.floor(random() * 2 ** 24);
    text += TOKEN_LETTERS[bits & 63] + TOKEN_LETTERS[(bits >>> 6) & 63] + TOKEN_LETTERS[(bits >>> 12) & 63] + TOKEN_LETTERS[bits >>> 18];
  }
  return text;
}
