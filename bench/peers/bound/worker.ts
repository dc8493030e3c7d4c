// zstd level 1 over the records of a file, on one core: `worker.ts FILE`. What a full rewrite cannot go without: to decompress
// the old state and to compress the new one. Keys and values apart, as a snapshot has them, in pieces of a mebibyte; without
// the 16 bytes a row of index and time, which a snapshot holds too.

import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { recordsOf } from "../data.ts";
import { reportWork } from "../work.ts";

const PIECE_BYTES = 1024 * 1024;
const LEVEL_1 = { [constants.ZSTD_c_compressionLevel]: 1 };

const [file = ""] = process.argv.slice(2);
const keys: string[] = [];
const values: string[] = [];
for await (const { key, value } of recordsOf(file)) {
  keys.push(key);
  values.push(value);
}
const pieces = [...piecesOf(keys), ...piecesOf(values)];
await reportWork(async () => {
  const compressed = pieces.map((piece) => zstdCompressSync(piece, { params: LEVEL_1 }));
  for (const piece of compressed) zstdDecompressSync(piece, { chunkSize: PIECE_BYTES });
  const rawBytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
  return { snapshotBytes: compressed.reduce((sum, piece) => sum + piece.length, 0), note: `of ${(rawBytes / 1e6).toFixed(1)} MB` };
});

function piecesOf(texts: readonly string[]): readonly Buffer[] {
  const bytes = Buffer.concat(texts.map((text) => Buffer.from(text, "latin1")));
  return Array.from({ length: Math.ceil(bytes.length / PIECE_BYTES) }, (_, piece) => bytes.subarray(piece * PIECE_BYTES, (piece + 1) * PIECE_BYTES));
}
