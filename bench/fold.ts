// The keyed machine: 1,000,000 records of about 230 bytes in redo files of 100,000, decoded before the clock runs;
// applied in batches of 100, in key order and in random order; sorted; merged with a base of 1,000,000 rows in blocks of
// 8,192, into a sink that copies as an encoder's would. Then patches and JSON checks alone.
// Not measured: reading, decoding and encoding (bench/redo.ts, bench/parquet.ts), S3, skewed keys, values of other sizes.
// MB are 10^6 bytes of keys and values. Memory that is touched for the first time is part of `apply`.
//   node bench/fold.ts

import { rowsCollector } from "../lib/machines/keyed/collect.ts";
import { type KeyedFold, keyedFold } from "../lib/machines/keyed/fold.ts";
import { checkJson } from "../lib/model/json.ts";
import { mergeRows } from "../lib/machines/keyed/merge.ts";
import { mergePatch } from "../lib/machines/keyed/patch.ts";
import { ORIGIN } from "../lib/model/position.ts";
import type { LogRecords, Rows, RowSink } from "../lib/model/rows.ts";
import { decodeRedoFile, encodeRedoFile } from "../lib/redo-log/codec.ts";
import { benchPut, benchRows, rowsBytes, seededRandom } from "./records.ts";

const RECORDS = 1_000_000;
const FILE_RECORDS = 100_000;
const BATCH_RECORDS = 100;
const BLOCK_ROWS = 8_192;
const ROUNDS = 5;
const FIELDS = { table: "players", shard: 0, incarnation: "00000000000000aa", first: ORIGIN.next, previousDigest: ORIGIN.digest, writeId: "0".repeat(32) };

const rows = benchRows(RECORDS);
const megabytes = rowsBytes(rows) / 1e6;
const inOrder = Uint32Array.from({ length: RECORDS }, (_, row) => row);
const shuffled = shuffle(inOrder, seededRandom(2));
const blocks = Array.from({ length: Math.ceil(RECORDS / BLOCK_ROWS) }, (_, block) =>
  slice(rows, block * BLOCK_ROWS, Math.min(RECORDS, (block + 1) * BLOCK_ROWS)),
);

console.log(`${RECORDS} records, ${megabytes.toFixed(0)} MB; median of ${ROUNDS} rounds`);
measureFold("in key order", logOf(inOrder));
const random = logOf(shuffled);
measureFold("in random order", random);
const full = applyAll(random);
report("apply again, random (in place)", RECORDS, () => applyAll(random, full));
measureMerge("merge, no change", keyedFold({ codec: "json" }));
measureMerge("merge, 1 % changed", applyAll(logOf(shuffled.subarray(0, RECORDS / 100))));
measureMerge("merge, 100 % changed", full);

const patch = Buffer.from('{"level":7,"premium":null,"guild":{"name":"Tide"}}');
const values = Array.from({ length: FILE_RECORDS }, (_, row) => Buffer.from(benchPut(rows, row).value));
report("mergePatch, three members", values.length, () => {
  for (const value of values) mergePatch(value, patch);
});
report("checkJson", values.length, () => {
  for (const value of values) checkJson(value, "the value");
});
report("JSON.parse of the same text", values.length, () => {
  for (const value of values) JSON.parse(value.toString());
});

function measureFold(order: string, log: readonly LogRecords[]): void {
  report(`apply, ${order}`, RECORDS, () => applyAll(log));
  const fold = applyAll(log);
  report(`sorted, ${order}`, RECORDS, () => fold.sorted());
  console.log(`    ${(fold.bytes / 1e6).toFixed(0)} MB held for ${fold.count} keys`);
}

function measureMerge(what: string, fold: KeyedFold): void {
  const sorted = fold.sorted();
  report(what, RECORDS, () => {
    const merge = mergeRows(sorted, copyingSink());
    for (const block of blocks) {
      for (const _ of merge.block(block));
    }
    for (const _ of merge.end());
  });
}

function applyAll(log: readonly LogRecords[], fold = keyedFold({ codec: "json" })): KeyedFold {
  let index = 1;
  for (const records of log) {
    for (let from = 0; from < records.count; from += BATCH_RECORDS) {
      const to = Math.min(records.count, from + BATCH_RECORDS);
      fold.apply(records, from, to, index, index);
      index += to - from;
    }
  }
  return fold;
}

/** Puts of the numbered rows, as redo files hold them. */
function logOf(order: Uint32Array): readonly LogRecords[] {
  return Array.from({ length: Math.ceil(order.length / FILE_RECORDS) }, (_, file) => {
    const mutations = Array.from(order.subarray(file * FILE_RECORDS, (file + 1) * FILE_RECORDS), (row) => benchPut(rows, row));
    const batches = [{ mutations, timeMs: 0 }];
    return decodeRedoFile(encodeRedoFile({ ...FIELDS, batches }).bytes, "bench").records;
  });
}

/** Rows `from` to `to` as a block of their own. */
function slice(all: Rows, from: number, to: number): Rows {
  const collector = rowsCollector();
  collector.push(all, from, to);
  return collector.take();
}

/** Copies what it gets over what it got before, four mebibytes back. */
function copyingSink(): RowSink {
  const room = 4 * 1024 * 1024;
  const bytes = Buffer.alloc(2 * room);
  let end = 0;
  const copy = (source: Buffer, from: number, to: number) => {
    if (end > room) end = 0;
    end += source.copy(bytes, end, from, to);
  };
  return {
    push({ keys, keyEnds, values, valueEnds }, from, to) {
      copy(keys, from === 0 ? 0 : keyEnds[from - 1], keyEnds[to - 1]);
      copy(values, from === 0 ? 0 : valueEnds[from - 1], valueEnds[to - 1]);
    },
    pushRow(key, keyStart, keyEnd, value, valueStart, valueEnd) {
      copy(key, keyStart, keyEnd);
      copy(value, valueStart, valueEnd);
    },
  };
}

function shuffle(rowNumbers: Uint32Array, next: () => number): Uint32Array {
  const list = Uint32Array.from(rowNumbers);
  for (let place = list.length - 1; place > 0; place -= 1) {
    const other = Math.floor(next() * (place + 1));
    [list[place], list[other]] = [list[other], list[place]];
  }
  return list;
}

function report(what: string, records: number, work: () => unknown): void {
  const times = Array.from({ length: ROUNDS }, () => {
    const start = performance.now();
    work();
    return performance.now() - start;
  });
  const ms = times.sort((a, b) => a - b)[ROUNDS >> 1];
  const rate = (megabytes * records) / RECORDS / (ms / 1e3);
  console.log(
    `  ${what.padEnd(32)} ${ms.toFixed(1).padStart(8)} ms ${((ms * 1e6) / records).toFixed(0).padStart(6)} ns a record ${rate.toFixed(0).padStart(6)} MB/s`,
  );
}
