// The body of a redo file: the mutations of all batches by columns, compressed. docs/format-redo.md has the bytes.
//
// Guarantees: encoding is a function of the mutations alone, so a file that must be written again behind another one
// keeps its body; decoding checks every length against the raw body's size before it allocates, gives zstd no more room
// than the header allows (a bomb ends there), and hands out views into the one raw Buffer.
// Hot: nothing is allocated per record. bench/redo.ts measures it.

import { isUtf8 } from "node:buffer";
import { hash } from "node:crypto";
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { KEY_BYTES_MAX, REDO_FILE_BYTES_MAX, REDO_FILE_MUTATIONS_MAX, VALUE_BYTES_MAX } from "../model/limits.ts";
import type { Mutation } from "../model/mutation.ts";
import { type LogRecords, RECORD_DELETE, RECORD_PATCH, RECORD_PUT } from "../model/rows.ts";
import type { Refuse } from "./byte-fields.ts";
import type { BodyDescription } from "./header.ts";
import { compressBound, ENCODING_ZSTD } from "./layout.ts";

/** A body and what a header says of it. */
export interface RedoBody extends BodyDescription {
  readonly bytes: Buffer;
  readonly count: number;
}

const ZSTD_LEVEL = 1;
const NO_VALUE = new Uint8Array(0);

export function encodeBody(batches: readonly { readonly mutations: readonly Mutation[] }[], refuse: Refuse): RedoBody {
  const raw = encodeColumns(batches, measure(batches, refuse), refuse);
  const bytes = zstdCompressSync(raw.bytes, {
    chunkSize: Math.max(64, compressBound(raw.bytes.length)),
    pledgedSrcSize: raw.bytes.length,
    params: { [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL },
  });
  return {
    bytes,
    count: raw.count,
    encoding: ENCODING_ZSTD,
    compressedBytes: bytes.length,
    rawBytes: raw.bytes.length,
    sha256: hash("sha256", bytes, "buffer"),
  };
}

/** `bytes` is the compressed body; its length and SHA-256 were compared with the header's. */
export function decodeBody(bytes: Buffer, rawBytes: number, count: number, refuse: Refuse): LogRecords {
  let raw: Buffer;
  try {
    raw = zstdDecompressSync(bytes, { maxOutputLength: rawBytes, chunkSize: Math.max(64, rawBytes) });
  } catch {
    return refuse("its body does not decompress to the length its header says");
  }
  if (raw.length !== rawBytes) refuse(`its body has ${raw.length} raw bytes, its header says ${rawBytes}`);
  return decodeColumns(raw, count, refuse);
}

interface Measure {
  readonly count: number;
  readonly keyLengthBytes: number;
  readonly valueLengthBytes: number;
  readonly keyBytes: number;
  readonly valueBytes: number;
}

function measure(batches: readonly { readonly mutations: readonly Mutation[] }[], refuse: Refuse): Measure {
  let count = 0;
  let keyLengthBytes = 0;
  let valueLengthBytes = 0;
  let keyBytes = 0;
  let valueBytes = 0;
  for (const { mutations } of batches) {
    count += mutations.length;
    for (const mutation of mutations) {
      const keyLength = mutation.key.length;
      const valueLength = valueBytesOf(mutation).length;
      if (keyLength < 1 || keyLength > KEY_BYTES_MAX) refuse(`a key has ${keyLength} bytes`);
      if (valueLength > VALUE_BYTES_MAX) refuse(`a value has ${valueLength} bytes`);
      keyLengthBytes += varintBytes(keyLength);
      valueLengthBytes += varintBytes(valueLength);
      keyBytes += keyLength;
      valueBytes += valueLength;
    }
  }
  if (count < 1 || count > REDO_FILE_MUTATIONS_MAX) refuse(`it holds ${count} mutations`);
  if (keyBytes + valueBytes > REDO_FILE_BYTES_MAX) refuse(`its keys and values have ${keyBytes + valueBytes} bytes`);
  return { count, keyLengthBytes, valueLengthBytes, keyBytes, valueBytes };
}

function encodeColumns(batches: readonly { readonly mutations: readonly Mutation[] }[], size: Measure, refuse: Refuse) {
  let kindAt = 0;
  let keyLengthAt = size.count;
  let valueLengthAt = keyLengthAt + size.keyLengthBytes;
  const keysAt = valueLengthAt + size.valueLengthBytes;
  let keyAt = keysAt;
  let valueAt = keysAt + size.keyBytes;
  const bytes = Buffer.allocUnsafe(valueAt + size.valueBytes);
  for (const { mutations } of batches) {
    for (const mutation of mutations) {
      const { key } = mutation;
      const value = valueBytesOf(mutation);
      if (isContinuation(key[0])) refuse("a key is not well-formed UTF-8");
      bytes[kindAt++] = kindOf(mutation);
      keyLengthAt = writeVarint(bytes, keyLengthAt, key.length);
      valueLengthAt = writeVarint(bytes, valueLengthAt, value.length);
      bytes.set(key, keyAt);
      keyAt += key.length;
      bytes.set(value, valueAt);
      valueAt += value.length;
    }
  }
  if (!isUtf8(bytes.subarray(keysAt, keyAt))) refuse("a key is not well-formed UTF-8");
  return { bytes, count: size.count };
}

function decodeColumns(raw: Buffer, count: number, refuse: Refuse): LogRecords {
  // The least a mutation takes: kind, two lengths and one byte of key.
  if (count * 4 > raw.length) refuse(`its body of ${raw.length} raw bytes cannot hold ${count} mutations`);
  const kinds = raw.subarray(0, count);
  const keyLengths = new Uint32Array(count);
  const valueLengths = new Uint32Array(count);
  const valueLengthsAt = readLengths(raw, count, keyLengths, refuse);
  const keysAt = readLengths(raw, valueLengthsAt, valueLengths, refuse);
  const keyStarts = new Uint32Array(count);
  const valuesAt = startsOf(keyLengths, keysAt, keyStarts);
  const valueStarts = new Uint32Array(count);
  const end = startsOf(valueLengths, valuesAt, valueStarts);
  if (end !== raw.length) refuse(`its keys and values end at raw byte ${end} of ${raw.length}`);
  checkRecords(raw, kinds, keyStarts, keyLengths, valueLengths, refuse);
  if (!isUtf8(raw.subarray(keysAt, valuesAt))) refuse("a key is not well-formed UTF-8");
  return { count, bytes: raw, kinds, keyStarts, keyLengths, valueStarts, valueLengths };
}

function checkRecords(raw: Buffer, kinds: Uint8Array, keyStarts: Uint32Array, keyLengths: Uint32Array, valueLengths: Uint32Array, refuse: Refuse): void {
  for (let record = 0; record < kinds.length; record += 1) {
    const kind = kinds[record];
    if (kind < RECORD_PUT || kind > RECORD_PATCH) refuse(`a mutation has kind ${kind}`);
    if (kind === RECORD_DELETE && valueLengths[record] !== 0) refuse("a delete has a value");
    if (keyLengths[record] < 1 || keyLengths[record] > KEY_BYTES_MAX) refuse(`a key has ${keyLengths[record]} bytes`);
    if (valueLengths[record] > VALUE_BYTES_MAX) refuse(`a value has ${valueLengths[record]} bytes`);
    // With it, well-formed keys one behind the other are well-formed each.
    if (isContinuation(raw[keyStarts[record]])) refuse("a key is not well-formed UTF-8");
  }
}

/** Fills `lengths` with varints from `at` on; returns where they end. A length has at most 4 bytes. */
function readLengths(raw: Buffer, at: number, lengths: Uint32Array, refuse: Refuse): number {
  let next = at;
  for (let record = 0; record < lengths.length; record += 1) {
    if (next >= raw.length) refuse("its raw body ends inside of the lengths");
    let byte = raw[next++];
    let length = byte & 127;
    for (let shift = 7; byte >= 128; shift += 7) {
      if (shift > 21 || next >= raw.length) refuse("its raw body holds a length that never ends");
      byte = raw[next++];
      if (byte === 0) refuse("its raw body holds a length in more bytes than it needs");
      length |= (byte & 127) << shift;
    }
    lengths[record] = length;
  }
  return next;
}

/** Where each of `lengths` starts when the first starts at `at`; returns where the last ends. */
function startsOf(lengths: Uint32Array, at: number, starts: Uint32Array): number {
  let next = at;
  for (let record = 0; record < lengths.length; record += 1) {
    starts[record] = next;
    next += lengths[record];
  }
  return next;
}

function writeVarint(bytes: Buffer, at: number, value: number): number {
  let next = at;
  let rest = value;
  for (; rest >= 128; rest >>>= 7) bytes[next++] = (rest & 127) | 128;
  bytes[next++] = rest;
  return next;
}

function varintBytes(value: number): number {
  return value < 1 << 7 ? 1 : value < 1 << 14 ? 2 : value < 1 << 21 ? 3 : 4;
}

function valueBytesOf(mutation: Mutation): Uint8Array {
  return mutation.kind === "delete" ? NO_VALUE : mutation.value;
}

function kindOf(mutation: Mutation): number {
  switch (mutation.kind) {
    case "put":
      return RECORD_PUT;
    case "delete":
      return RECORD_DELETE;
    case "patch":
      return RECORD_PATCH;
  }
}

/** A byte that no UTF-8 text starts with, as it goes on with a character. */
function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80;
}
