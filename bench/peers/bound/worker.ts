// zstd level 1 over the records of a file, on one core: `worker.ts FILE`. What a full rewrite cannot go without: to decompress
// the old state and to compress the new one. Keys and values apart, as a snapshot has them, in pieces of a mebibyte; without
// the 16 bytes a row of index and time, which a snapshot holds too.

import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { release } from "../../../lib/model/memory.ts";
import { recordsOf } from "../data.ts";
import { reportWork } from "../work.ts";

const PIECE_BYTES = 1024 * 1024;
/** Room for a frame of a piece that does not shrink, so that one call of zstd fills one buffer. */
const FRAME_BYTES_MAX = PIECE_BYTES + (PIECE_BYTES >>> 8) + 128;
const LEVEL_1 = { [constants.ZSTD_c_compressionLevel]: 1 };

const [file = ""] = process.argv.slice(2);
const pieces = await piecesOfFile();
await reportWork(async () => {
  let rawBytes = 0;
  let snapshotBytes = 0;
  for (const piece of pieces) {
    const compressed = zstdCompressSync(piece, { params: LEVEL_1, chunkSize: FRAME_BYTES_MAX });
    const raw = zstdDecompressSync(compressed, { chunkSize: PIECE_BYTES + 64 });
    rawBytes += raw.length;
    snapshotBytes += compressed.length;
    release(compressed);
    release(raw);
  }
  return { snapshotBytes, note: `of ${(rawBytes / 1e6).toFixed(1)} MB` };
});

/** Nothing but the pieces stays in memory, so that the garbage collector has little to do while the bound is measured. */
async function piecesOfFile(): Promise<readonly Buffer[]> {
  const keys: string[] = [];
  const values: string[] = [];
  for await (const { key, value } of recordsOf(file)) {
    keys.push(key);
    values.push(value);
  }
  return [...piecesOf(keys), ...piecesOf(values)];
}

function piecesOf(texts: readonly string[]): readonly Buffer[] {
  const bytes = Buffer.concat(texts.map((text) => Buffer.from(text, "latin1")));
  return Array.from({ length: Math.ceil(bytes.length / PIECE_BYTES) }, (_, piece) => bytes.subarray(piece * PIECE_BYTES, (piece + 1) * PIECE_BYTES));
}
