// The redo codec: 100,000 puts of about 230 bytes in one redo file of 1,000 batches, and files of one put each.
// In the same run zstd level 1 alone over the same raw body, as the bound that no codec of this format passes.
// Not measured: S3, group commit, files of patches, values that are not JSON. MB are 10^6 bytes of keys and values.
//   node bench/redo.ts

import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { decodeRedoFile, decodeRedoHeader, encodeRedoFile, type RedoBatch } from "../lib/redo-log/codec.ts";
import { ORIGIN } from "../lib/model/position.ts";
import { benchPut, benchRows, rowsBytes } from "./records.ts";

const RECORDS = 100_000;
const BATCHES = 1_000;
const ROUNDS = 15;
const SMALL_ROUNDS = 5_000;
const FIELDS = { table: "players", shard: 0, incarnation: "00000000000000aa", first: ORIGIN.next, previousDigest: ORIGIN.digest, writeId: "0".repeat(32) };

const rows = benchRows(RECORDS);
const puts = Array.from({ length: RECORDS }, (_, row) => benchPut(rows, row));
const batches: RedoBatch[] = Array.from({ length: BATCHES }, (_, batch) => ({
  mutations: puts.slice((batch * RECORDS) / BATCHES, ((batch + 1) * RECORDS) / BATCHES),
  timeMs: batch,
}));
const megabytes = rowsBytes(rows) / 1e6;

const encoded = encodeRedoFile({ ...FIELDS, batches }).bytes;
const { records } = decodeRedoFile(encoded, "bench");
const zstdOptions = { params: { [constants.ZSTD_c_compressionLevel]: 1 }, chunkSize: records.bytes.length, pledgedSrcSize: records.bytes.length };
const compressed = zstdCompressSync(records.bytes, zstdOptions);

console.log(
  `${RECORDS} puts, ${megabytes.toFixed(1)} MB, encoded to ${(encoded.length / 1e6).toFixed(2)} MB (ratio ${((megabytes * 1e6) / encoded.length).toFixed(2)}); median of ${ROUNDS} rounds`,
);
report(
  "zstd-1 compress alone",
  median(ROUNDS, () => zstdCompressSync(records.bytes, zstdOptions)),
);
report(
  "encodeRedoFile",
  median(ROUNDS, () => encodeRedoFile({ ...FIELDS, batches })),
);
report(
  "zstd decompress alone",
  median(ROUNDS, () => zstdDecompressSync(compressed, { chunkSize: records.bytes.length })),
);
report(
  "decodeRedoFile",
  median(ROUNDS, () => decodeRedoFile(encoded, "bench")),
);
report(
  "decodeRedoHeader",
  median(ROUNDS, () => decodeRedoHeader(encoded, "bench")),
);

const one = [{ mutations: puts.slice(0, 1), timeMs: 0, mark: { producer: "game-7", sequence: 12345n, since: ORIGIN.next } }];
const small = encodeRedoFile({ ...FIELDS, batches: one }).bytes;
console.log(`one put of ${puts[0].key.length + puts[0].value.length} bytes, encoded to ${small.length}; mean of ${SMALL_ROUNDS}`);
console.log(`  encodeRedoFile   ${mean(() => encodeRedoFile({ ...FIELDS, batches: one })).toFixed(1)} us`);
console.log(`  decodeRedoFile   ${mean(() => decodeRedoFile(small, "bench")).toFixed(1)} us`);
console.log(`  decodeRedoHeader ${mean(() => decodeRedoHeader(small, "bench")).toFixed(1)} us`);

function report(what: string, ms: number): void {
  console.log(`  ${what.padEnd(22)} ${ms.toFixed(2).padStart(8)} ms ${(megabytes / (ms / 1e3)).toFixed(0).padStart(7)} MB/s`);
}

function median(rounds: number, work: () => unknown): number {
  const times: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const start = performance.now();
    work();
    times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[rounds >> 1];
}

/** Microseconds a call. */
function mean(work: () => unknown): number {
  for (let round = 0; round < SMALL_ROUNDS / 5; round += 1) work();
  const start = performance.now();
  for (let round = 0; round < SMALL_ROUNDS; round += 1) work();
  return ((performance.now() - start) * 1e3) / SMALL_ROUNDS;
}
