// Redo files, damaged behind right checksums: every digest and length is made right again, so that what is wrong reaches the
// header and the columns. What is accepted encodes to the same bytes: nothing is read that would not be written.

import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import type { Mutation } from "../../lib/model/mutation.ts";
import { toIndex } from "../../lib/model/position.ts";
import { type LogRecords, RECORD_DELETE, RECORD_PUT } from "../../lib/model/rows.ts";
import { decodeRedoFile, decodeRedoHeader, encodeRedoFile, encodeRedoBody } from "../../lib/redo-log/codec.ts";
import { decodeHeader, encodeHeader } from "../../lib/redo-log/header.ts";
import { RAW_BODY_BYTES_MAX } from "../../lib/redo-log/layout.ts";
import { edited } from "./edited.ts";
import { edits } from "./edits.ts";
import { atDoor, casesTried, fuzz, FUZZING } from "./runs.ts";
import { headerFor, redoPieces, sealedRedo } from "./seals.ts";

const NAME = "players/3/00000000000000aa/redo/0000000000000042.redo";
const DOOR = { refuses: ["repair", "call"] as const, names: NAME };

afterAll(() => console.log(`${casesTried()} redo files`));

const mutations: readonly Mutation[] = [
  { kind: "put", key: Buffer.from("user/1"), value: Buffer.from('{"name":"Ada"}') },
  { kind: "delete", key: Buffer.from("user/2") },
  { kind: "patch", key: Buffer.from("é\u{1f600}"), value: Buffer.from('{"level":2}') },
  { kind: "put", key: Buffer.alloc(200, "k"), value: Buffer.alloc(300, "v") },
];
const file = encodeRedoFile({
  ...{ table: "players", shard: 3, incarnation: "00000000000000aa", first: toIndex(42), previousDigest: "ab".repeat(32), writeId: "cd".repeat(16) },
  batches: [
    { mutations: mutations.slice(0, 3), timeMs: 1_700_000_000_000 },
    { mutations: mutations.slice(3), timeMs: 1_700_000_000_200, mark: { producer: "game-7", sequence: 2n ** 191n, since: toIndex(40) } },
  ],
}).bytes;
const { preamble, header, body } = redoPieces(file);
const raw = zstdDecompressSync(body);

const sealed = (newHeader: Buffer, newBody: Buffer): Buffer => sealedRedo(preamble, newHeader, newBody);
const headerOf = (newBody: Buffer, rawBytes: number, count: number): Buffer => headerFor(header, newBody, { rawBytes, count });

function mutationsOf({ count, bytes, kinds, keyStarts, keyLengths, valueStarts, valueLengths }: LogRecords): readonly Mutation[] {
  return Array.from({ length: count }, (_, i): Mutation => {
    const key = bytes.subarray(keyStarts[i], keyStarts[i] + keyLengths[i]);
    const value = bytes.subarray(valueStarts[i], valueStarts[i] + valueLengths[i]);
    if (kinds[i] === RECORD_DELETE) return { kind: "delete", key };
    return { kind: kinds[i] === RECORD_PUT ? "put" : "patch", key, value };
  });
}

test("the sample is sealed as the encoder does", () => {
  expect(sealed(headerOf(body, raw.length, mutations.length), body).equals(file)).toBe(true);
});

test("a file that is edited is refused, whatever is done to it", FUZZING, async () => {
  await fuzz(edits, 4_000, async (list) => {
    const wrong = edited(file, list);
    if (wrong.equals(file)) return;
    expect(await atDoor(() => decodeRedoFile(wrong, NAME), DOOR)).toBeUndefined();
    await atDoor(() => decodeRedoHeader(wrong, NAME), DOOR);
  });
});

test("a header that is edited and sealed anew is refused, or one that encodes to itself", FUZZING, async () => {
  await fuzz(edits, 6_000, async (list) => {
    const wrong = edited(header, list);
    const head = await atDoor(() => decodeRedoHeader(sealed(wrong, body), NAME), DOOR);
    await atDoor(() => decodeRedoFile(sealed(wrong, body), NAME), DOOR);
    if (head === undefined) return;
    const refuse = (what: string): never => {
      throw new Error(what);
    };
    expect(head.answer.kind).toBe("header");
    expect(encodeHeader(decodeHeader(wrong, refuse), refuse).equals(wrong)).toBe(true);
  });
});

/** Kinds, then the lengths of keys and of values: where what is wrong is wrong most subtly. */
const LENGTHS_END = 4 + 4 + 1 + 4 + 1;

test("columns that are edited and sealed anew are refused, or are mutations that encode to themselves", FUZZING, async () => {
  let accepted = 0;
  await fuzz(fc.tuple(edits, fc.boolean(), fc.boolean()), 8_000, async ([list, sameLength, onlyLengths]) => {
    const columns = onlyLengths ? Buffer.concat([edited(raw.subarray(0, LENGTHS_END), list.slice(0, 1)), raw.subarray(LENGTHS_END)]) : edited(raw, list);
    const wrong = sameLength ? Buffer.concat([columns, raw]).subarray(0, raw.length) : columns;
    const compressed = zstdCompressSync(wrong);
    const found = await atDoor(() => decodeRedoFile(sealed(headerOf(compressed, wrong.length, mutations.length), compressed), NAME), DOOR);
    if (found === undefined) return;
    accepted++;
    const again = encodeRedoBody([{ mutations: mutationsOf(found.answer.records) }]);
    expect(zstdDecompressSync(again.bytes).equals(wrong)).toBe(true);
  });
  expect(accepted).toBeGreaterThan(100);
});

test("a frame that is edited behind a right digest is refused, or gives what it held", FUZZING, async () => {
  await fuzz(edits, 3_000, async (list) => {
    const frame = edited(body, list);
    const found = await atDoor(() => decodeRedoFile(sealed(headerOf(frame, raw.length, mutations.length), frame), NAME), DOOR);
    if (found !== undefined) expect(found.answer.records.bytes.length).toBe(raw.length);
  });
});

test("lengths and counts that promise more than there is take no more memory than two of the largest files, and soon end", FUZZING, async () => {
  const most = fc.constantFrom(0, 1, raw.length, 2 ** 20, RAW_BODY_BYTES_MAX, RAW_BODY_BYTES_MAX + 1, 2 ** 31, 2 ** 32 - 1);
  await fuzz(fc.tuple(most, most, fc.constantFrom(1, 4, 100_000, 1_000_000, 2 ** 32 - 1), fc.boolean()), 300, async ([rawBytes, zeros, count, isBomb]) => {
    const frame = isBomb ? zstdCompressSync(Buffer.alloc(Math.min(zeros, RAW_BODY_BYTES_MAX + 1))) : body;
    const head = headerOf(frame, rawBytes, count);
    await atDoor(() => decodeRedoFile(sealed(head, frame), NAME), { ...DOOR, bytesMax: 2 * RAW_BODY_BYTES_MAX + 20 * 1024 * 1024 });
  });
});
