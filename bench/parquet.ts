// The snapshot codec against plain zstd level 1 on the same raw bytes, in the same run. zstd alone takes one core; the codec
// has large pages compressed and decompressed in the thread pool, so that a second core, where there is one, shows.
//   node bench/parquet.ts [FILE.ndjson] [--rows=N]
// FILE has lines {"k":"…","v":{…}} in key order; without it, records are made from a seed (bench/records.ts).
//
// Raw bytes are keys, values and 16 for each row (index and time). zstd gets them column by column, in pieces of a mebibyte;
// the encoder also hashes, checks and cuts into pages.
// Not measured: the network, the object store, the merge, memory, a cold start, other shapes of records than the one at hand.

import { readFileSync } from "node:fs";
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import type { Rows } from "../lib/model/rows.ts";
import { toIndex } from "../lib/model/position.ts";
import type { SnapshotDescription } from "../lib/model/snapshot.ts";
import { decodeGroup } from "../lib/snapshot/parquet/decode.ts";
import { type EncodedSnapshot, snapshotAssembly } from "../lib/snapshot/parquet/encode.ts";
import { decodeFoot, type StoredGroup } from "../lib/snapshot/parquet/footer.ts";
import { type FinishedGroup, type RowGroupEncoder, rowGroupEncoder } from "../lib/snapshot/parquet/groups.ts";
import { MAGIC } from "../lib/snapshot/parquet/layout.ts";
import { decodePageIndex } from "../lib/snapshot/parquet/page-index.ts";
import { benchRows, rowsBytes, seededRandom } from "./records.ts";

const ROUNDS = 5;
const PIECE_BYTES = 1024 * 1024;
/** As rows come from the fold and the merge: in runs. */
const RUN_ROWS = 700;
const LEVEL_1 = { [constants.ZSTD_c_compressionLevel]: 1 };

const description: SnapshotDescription = {
  table: "bench",
  shard: 0,
  incarnation: "0".repeat(16),
  codec: "json",
  index: toIndex(1),
  position: { redoFile: toIndex(1), batchOffset: 0 },
  border: { next: toIndex(2), digest: "0".repeat(64), timeMs: 0 },
  sessions: [],
  forgottenThrough: toIndex(0),
  splices: 0,
};

const file = process.argv.slice(2).find((argument) => !argument.startsWith("--"));
const rowCount = Number(process.argv.find((argument) => argument.startsWith("--rows="))?.slice("--rows=".length) ?? 1_000_000);
const rows = lived(file === undefined ? benchRows(rowCount) : rowsOfFile(file));
const rawBytes = rowsBytes(rows) + 16 * rows.count;
const pieces = piecesOf(rows);

console.log(`${rows.count} rows, ${megabytes(rawBytes)} MB raw, ${(rawBytes / rows.count).toFixed(1)} B a row; best of ${ROUNDS} rounds`);
const times = { compress: Infinity, decompress: Infinity, push: Infinity, pushRow: Infinity, decode: Infinity };
const compressed = pieces.map(compressPiece);
const groups = await groupsOf(pushRuns);
const encoded = assembled(groups);
const storedBytes = Buffer.concat([MAGIC, ...groups.map(({ bytes }) => bytes), ...encoded.tail]);
const storedGroups = groupsOfFoot(encoded, storedBytes);
for (let round = 0; round < ROUNDS; round++) {
  times.compress = Math.min(times.compress, await seconds(() => pieces.forEach(compressPiece)));
  times.push = Math.min(times.push, await seconds(async () => assembled(await groupsOf(pushRuns))));
  times.pushRow = Math.min(times.pushRow, await seconds(async () => assembled(await groupsOf(pushRows))));
  times.decompress = Math.min(times.decompress, await seconds(() => compressed.forEach(decompressPiece)));
  times.decode = Math.min(times.decode, await seconds(decodeAll));
}
const zstdBytes = compressed.reduce((sum, piece) => sum + piece.length, 0);
report("zstd -1 compress", rawBytes, times.compress, `${megabytes(zstdBytes)} MB, ratio ${(rawBytes / zstdBytes).toFixed(2)}`);
report("encode (push)", rawBytes, times.push, `${(rawBytes / times.push / (rawBytes / times.compress)).toFixed(2)} of zstd`);
report("encode (pushRow)", rawBytes, times.pushRow, `${(rawBytes / times.pushRow / (rawBytes / times.compress)).toFixed(2)} of zstd`);
report("zstd -1 decompress", rawBytes, times.decompress, "");
report("decode", rawBytes, times.decode, `${(rawBytes / times.decode / (rawBytes / times.decompress)).toFixed(2)} of zstd`);
console.log(
  `file ${megabytes(encoded.size)} MB, ratio ${(rawBytes / encoded.size).toFixed(2)}, ${encoded.groups.length} row groups, page indexes ${indexBytes(encoded)} B, foot ${encoded.footerBytes} B`,
);
for (const [column, name] of ["key", "value", "index", "time"].entries()) {
  const bytes = encoded.groups.reduce((sum, { group }) => sum + group.columns[column].byteLength, 0);
  console.log(`  ${name.padEnd(6)}${(bytes / rows.count).toFixed(2)} B a row`);
}

/** Takes the groups as they are finished, as a capture does. */
async function groupsOf(pushed: (encoder: RowGroupEncoder) => Iterable<void>): Promise<readonly FinishedGroup[]> {
  const encoder = rowGroupEncoder();
  const finished: FinishedGroup[] = [];
  for (const _ of pushed(encoder)) finished.push(...(await encoder.take()));
  encoder.cut();
  finished.push(...(await encoder.drain()));
  return finished;
}

function* pushRuns(encoder: RowGroupEncoder): Generator<void> {
  for (let from = 0; from < rows.count; from += RUN_ROWS) {
    encoder.push(rows, from, Math.min(from + RUN_ROWS, rows.count));
    yield;
  }
}

function* pushRows(encoder: RowGroupEncoder): Generator<void> {
  const { keys, keyEnds, values, valueEnds, indexes, times: timesMs } = rows;
  let key = 0;
  let value = 0;
  for (let row = 0; row < rows.count; row++) {
    encoder.pushRow(keys, key, keyEnds[row], values, value, valueEnds[row], indexes[row], timesMs[row]);
    key = keyEnds[row];
    value = valueEnds[row];
    if (row % RUN_ROWS === 0) yield;
  }
}

function assembled(finished: readonly FinishedGroup[]): EncodedSnapshot {
  const assembly = snapshotAssembly();
  for (const { group, pages } of finished) assembly.add(group, pages);
  return assembly.finish(description);
}

async function decodeAll(): Promise<number> {
  let count = 0;
  for (const group of storedGroups) {
    const { offset, byteLength } = group.index;
    const pages = decodePageIndex("bench", group, group.index, storedBytes.subarray(offset, offset + byteLength));
    const bytes = storedBytes.subarray(group.offset, group.offset + group.byteLength);
    for await (const page of decodeGroup("bench", group, pages, bytes)) count += page.count;
  }
  return count;
}

function groupsOfFoot({ size, footerSha256 }: EncodedSnapshot, bytes: Buffer): readonly StoredGroup[] {
  const finding = decodeFoot({ object: "bench", size, last: bytes, footerSha256 });
  if (finding.kind !== "foot") throw new Error("the foot was not found in the whole snapshot");
  return finding.footer.groups;
}

/** The rows as a table that has lived: each was last changed by one mutation or another of the shard's first 2n, a millisecond apart. */
function lived(loaded: Rows): Rows {
  const random = seededRandom(7);
  const indexes = loaded.indexes.map(() => 1 + Math.floor(random() * 2 * loaded.count));
  return { ...loaded, indexes, times: indexes.map((index) => Date.UTC(2026, 0, 1) + index) };
}

function rowsOfFile(path: string): Rows {
  const bytes = readFileSync(path);
  const lines = bytes.toString("latin1").trimEnd().split("\n");
  const keys = Buffer.allocUnsafeSlow(bytes.length);
  const values = Buffer.allocUnsafeSlow(bytes.length);
  const keyEnds = new Uint32Array(lines.length);
  const valueEnds = new Uint32Array(lines.length);
  let keyEnd = 0;
  let valueEnd = 0;
  for (const [row, line] of lines.entries()) {
    const middle = line.indexOf('","v":');
    keyEnds[row] = keyEnd += keys.write(line.slice('{"k":"'.length, middle), keyEnd, "latin1");
    valueEnds[row] = valueEnd += values.write(line.slice(middle + '","v":'.length, -1), valueEnd, "latin1");
  }
  const none = new Float64Array(lines.length);
  return { count: lines.length, keys, keyEnds, values, valueEnds, indexes: none, times: none };
}

function piecesOf({ count, keys, keyEnds, values, valueEnds, indexes, times: timesMs }: Rows): readonly Buffer[] {
  const numbers = [indexes, timesMs.map((timeMs) => timeMs * 1_000)].map((column) => Buffer.from(BigInt64Array.from(column, BigInt).buffer));
  const bytes = Buffer.concat([keys.subarray(0, keyEnds[count - 1]), values.subarray(0, valueEnds[count - 1]), ...numbers]);
  return Array.from({ length: Math.ceil(bytes.length / PIECE_BYTES) }, (_, i) => bytes.subarray(i * PIECE_BYTES, (i + 1) * PIECE_BYTES));
}

function compressPiece(piece: Buffer): Buffer {
  return zstdCompressSync(piece, { params: LEVEL_1, chunkSize: PIECE_BYTES + PIECE_BYTES / 128 });
}

function decompressPiece(piece: Buffer): void {
  zstdDecompressSync(piece, { chunkSize: PIECE_BYTES + 64 });
}

async function seconds(work: () => unknown): Promise<number> {
  const start = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - start) / 1e9;
}

function report(what: string, bytes: number, time: number, note: string): void {
  console.log(`${what.padEnd(20)}${(bytes / time / 1e6).toFixed(0).padStart(6)} MB/s  ${note}`);
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}

function indexBytes(of: EncodedSnapshot): number {
  return of.groups.reduce((sum, { index }) => sum + index.length, 0);
}
