// The header of a redo file: fields to bytes and back. docs/format-redo.md has the bytes.
//
// Both ways go through `checkFields`, so that nothing is written that would not be read (I8): the encoder finds a broken
// rule as a bug, the decoder as damage. Not hot: one header a file.

import {
  BATCH_MUTATIONS_MAX,
  PRODUCER_BYTES_MAX,
  REDO_FILE_BATCHES_MAX,
  REDO_FILE_MUTATIONS_MAX,
  SEQUENCE_BITS,
  SHARDS_MAX,
  TABLE_NAME_LENGTH_MAX,
} from "../model/limits.ts";
import { checkTableName, isIncarnation } from "../model/names.ts";
import { toIndex } from "../model/position.ts";
import type { BatchHeader, RedoHeader } from "../model/redo-file.ts";
import { type ByteReader, byteReader, type ByteWriter, byteWriter, type Refuse } from "./byte-fields.ts";
import {
  COMPRESSED_BODY_BYTES_MAX,
  DIGEST_BYTES,
  ENCODING_ZSTD,
  FLAG_PRODUCER,
  HEADER_BYTES_MAX,
  INCARNATION_BYTES,
  RAW_BODY_BYTES_MAX,
  SEQUENCE_BYTES,
  WRITE_ID_BYTES,
} from "./layout.ts";

/** What the header says of the body. */
export interface BodyDescription {
  readonly encoding: number;
  readonly compressedBytes: number;
  readonly rawBytes: number;
  readonly sha256: Buffer;
}

/** A header without what the frame around it says: version and digest. */
export interface HeaderFields extends Omit<RedoHeader, "formatVersion" | "digest" | "rawBytes"> {
  readonly body: BodyDescription;
}

export function encodeHeader(fields: HeaderFields, refuse: Refuse): Buffer {
  checkFields(fields, refuse);
  const writer = byteWriter(HEADER_BYTES_MAX);
  writer.hex(fields.incarnation);
  writer.u64(fields.first);
  writer.u32(fields.count);
  writer.u64(fields.batches[0].timeMs);
  writer.u64(fields.batches[fields.batches.length - 1].timeMs);
  writer.hex(fields.previousDigest);
  writer.hex(fields.writeId);
  writer.u8(fields.body.encoding);
  writer.u32(fields.body.compressedBytes);
  writer.u32(fields.body.rawBytes);
  writer.bytes(fields.body.sha256);
  writer.u16(fields.shard);
  writer.u32(fields.batches.length);
  writer.text(fields.table);
  let timeMs = fields.batches[0].timeMs;
  for (const batch of fields.batches) {
    writeBatch(writer, batch, timeMs);
    timeMs = batch.timeMs;
  }
  return writer.take();
}

/** `bytes` is the header alone, and its digest was verified. */
export function decodeHeader(bytes: Buffer, refuse: Refuse): HeaderFields {
  const reader = byteReader(bytes, refuse);
  const incarnation = reader.hex(INCARNATION_BYTES);
  const first = toIndex(reader.u64());
  const count = reader.u32();
  const firstTimeMs = reader.u64();
  const lastTimeMs = reader.u64();
  const previousDigest = reader.hex(DIGEST_BYTES);
  const writeId = reader.hex(WRITE_ID_BYTES);
  const body = { encoding: reader.u8(), compressedBytes: reader.u32(), rawBytes: reader.u32(), sha256: reader.bytes(DIGEST_BYTES) };
  const shard = reader.u16();
  const batchCount = reader.u32();
  if (batchCount > REDO_FILE_BATCHES_MAX) refuse(`its header lists ${batchCount} batches`);
  const table = reader.text(TABLE_NAME_LENGTH_MAX);
  const batches: BatchHeader[] = [];
  let timeMs = firstTimeMs;
  for (let batch = 0; batch < batchCount; batch += 1) {
    batches.push(readBatch(reader, timeMs));
    timeMs = batches[batch].timeMs;
  }
  reader.end();
  const fields: HeaderFields = { table, shard, incarnation, first, count, batches, previousDigest, writeId, body };
  checkFields(fields, refuse);
  if (batches[0].timeMs !== firstTimeMs || timeMs !== lastTimeMs) refuse("its header's times are not those of its batches");
  return fields;
}

function writeBatch(writer: ByteWriter, { count, timeMs, mark }: BatchHeader, previousTimeMs: number): void {
  writer.varint(count);
  writer.varint(timeMs - previousTimeMs);
  writer.u8(mark === undefined ? 0 : FLAG_PRODUCER);
  if (mark === undefined) return;
  writer.text(mark.producer);
  writer.hex(mark.sequence.toString(16).padStart(SEQUENCE_BYTES * 2, "0"));
  writer.varint(mark.since);
}

function readBatch(reader: ByteReader, previousTimeMs: number): BatchHeader {
  const count = reader.varint();
  const timeMs = previousTimeMs + reader.varint();
  const flags = reader.u8();
  if (flags === 0) return { count, timeMs };
  if (flags !== FLAG_PRODUCER) reader.refuse(`its header has a batch with flags ${flags}`);
  const producer = reader.text(PRODUCER_BYTES_MAX);
  const sequence = BigInt(`0x${reader.hex(SEQUENCE_BYTES)}`);
  return { count, timeMs, mark: { producer, sequence, since: toIndex(reader.varint()) } };
}

function checkFields(fields: HeaderFields, refuse: Refuse): void {
  checkNames(fields, refuse);
  if (!Number.isSafeInteger(fields.first) || fields.first < 1) refuse(`its first index is ${fields.first}`);
  if (fields.count > REDO_FILE_MUTATIONS_MAX) refuse(`it counts ${fields.count} mutations`);
  if (!Number.isSafeInteger(fields.first + fields.count)) refuse("its last index is not a safe integer");
  const { encoding, compressedBytes, rawBytes } = fields.body;
  if (encoding !== ENCODING_ZSTD) refuse(`its body has encoding ${encoding}`);
  if (compressedBytes < 1 || compressedBytes > COMPRESSED_BODY_BYTES_MAX) refuse(`its body counts ${compressedBytes} bytes`);
  if (rawBytes < 1 || rawBytes > RAW_BODY_BYTES_MAX) refuse(`its raw body counts ${rawBytes} bytes`);
  checkBatches(fields, refuse);
}

function checkNames({ table, shard, incarnation, previousDigest, writeId }: HeaderFields, refuse: Refuse): void {
  try {
    checkTableName(table);
  } catch {
    refuse(`its table is named ${JSON.stringify(table)}`);
  }
  if (!Number.isSafeInteger(shard) || shard < 0 || shard >= SHARDS_MAX) refuse(`its shard is ${shard}`);
  if (!isIncarnation(incarnation)) refuse(`its incarnation is ${JSON.stringify(incarnation)}`);
  if (!isHex(previousDigest, DIGEST_BYTES)) refuse(`its previous digest is ${JSON.stringify(previousDigest)}`);
  if (!isHex(writeId, WRITE_ID_BYTES)) refuse(`its write id is ${JSON.stringify(writeId)}`);
}

function checkBatches({ batches, count }: HeaderFields, refuse: Refuse): void {
  if (batches.length < 1 || batches.length > REDO_FILE_BATCHES_MAX) refuse(`it lists ${batches.length} batches`);
  let sum = 0;
  let timeMs = 0;
  for (const batch of batches) {
    if (!Number.isSafeInteger(batch.count) || batch.count < 1 || batch.count > BATCH_MUTATIONS_MAX) refuse(`a batch counts ${batch.count} mutations`);
    if (!Number.isSafeInteger(batch.timeMs)) refuse(`a batch has the time ${batch.timeMs}`);
    if (batch.timeMs < timeMs) refuse("the times of its batches go back");
    if (batch.mark !== undefined) checkMark(batch.mark, refuse);
    sum += batch.count;
    timeMs = batch.timeMs;
  }
  if (sum !== count) refuse(`its batches count ${sum} mutations, its header ${count}`);
}

function checkMark({ producer, sequence, since }: NonNullable<BatchHeader["mark"]>, refuse: Refuse): void {
  const bytes = Buffer.byteLength(producer);
  if (!producer.isWellFormed() || bytes < 1 || bytes > PRODUCER_BYTES_MAX) refuse("the name of a producer is not 1 to 128 bytes of text");
  if (sequence < 0n || sequence >= 1n << BigInt(SEQUENCE_BITS)) refuse(`a producer's sequence is ${sequence}`);
  if (!Number.isSafeInteger(since) || since < 0) refuse(`a batch was sent since ${since}`);
}

function isHex(text: string, bytes: number): boolean {
  return text.length === bytes * 2 && /^[0-9a-f]*$/.test(text);
}
