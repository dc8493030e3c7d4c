// The tombstone file beside a TSM file: which points of it were deleted. InfluxDB has written four versions:
//
//   1  (to 0.12)     lines of text, each a key that is gone as a whole; no header
//   2  (0.13 to 1.3) 00 00 15 02, then records: length of the key (4), key, first and last time that are gone (8 each)
//   3  (1.4)         00 00 15 03, then the records packed by gzip
//   4  (from 1.5)    00 00 15 04, then a gzip member with records for each DELETE
//
// From 1.4 on, InfluxDB misreads version 2: it overwrites a key before it looks for it, so that it deletes nothing. Such a server
// shows points again that one before 1.4 had deleted. Here version 2 deletes what it says.
//
// Guarantees: every record that a sum covers is read or an error; memory is bounded by what the caller allows unpacked. InfluxDB
// itself takes a cut file as one that ends there, which would bring deleted points back: here it is damaged. A file of no bytes
// deletes nothing, as InfluxDB has it: an old fault wrote such.

import { damagedObject, newerFormat } from "../../../model/errors.ts";
import { orDamaged, tooLarge } from "./faults.ts";
import { unpackMember } from "./gzip.ts";
import { TIME_MAX, TIME_MIN } from "./layout.ts";
import { TOMBSTONE_BYTES_MAX, TOMBSTONE_MEMBERS_MAX, TOMBSTONE_UNPACKED_BYTES_MAX } from "./limits.ts";
import type { TimeRange } from "./ranges.ts";

const VERSION_BYTES = 4;
const VERSION_BASE = 0x1500;
const VERSION_MAX = 4;
/** Between series and field of every key. A text without it is none of version 1. */
const KEY_SEPARATOR = "#!~#";
const LINE_END = 0x0a;
const RETURN = 0x0d;

const LENGTH_BYTES = 4;
const TIME_BYTES = 8;
const TIMES_BYTES = 2 * TIME_BYTES;
/** The index of a TSM file has no longer ones. */
const KEY_BYTES_MAX = 0xffff;

type TombstoneVersion = 1 | 2 | 3 | 4;

/** Deletions as records in the form of version 2, ordered by key. */
export interface Tombstones {
  readonly records: Buffer;
  /** Where each record begins. */
  readonly starts: Uint32Array;
}

/** Parses a tombstone file; `name` names it in errors. */
export function parseTombstones(name: string, bytes: Buffer, unpackedMax: number = TOMBSTONE_UNPACKED_BYTES_MAX): Tombstones {
  checkTombstoneSize(name, bytes.length);
  const records = recordsOf(name, bytes, unpackedMax);
  const starts = orDamaged(
    name,
    () => "its records",
    () => startsOf(records),
  );
  return { records, starts: ordered(records, starts) };
}

/** @throws {TidemarkError} `call` "too-large" */
export function checkTombstoneSize(name: string, bytes: number): void {
  if (bytes > TOMBSTONE_BYTES_MAX) throw tooLarge(name, `it has ${bytes} bytes, above ${TOMBSTONE_BYTES_MAX}`);
}

/** What is deleted of a key; to be asked for ascending keys, so that one pass over the deletions answers all. */
export function deletedByKey({ records, starts }: Tombstones): (key: Buffer) => readonly TimeRange[] {
  let at = 0;
  return (key) => {
    while (at < starts.length && compareKey(records, starts[at], key) < 0) at++;
    const times: TimeRange[] = [];
    for (; at < starts.length && compareKey(records, starts[at], key) === 0; at++) times.push(timesAt(records, starts[at]));
    return times;
  };
}

function recordsOf(name: string, bytes: Buffer, unpackedMax: number): Buffer {
  const version = versionOf(name, bytes);
  switch (version) {
    case 1:
      return recordsOfLines(name, bytes, unpackedMax);
    case 2:
      return bytes.subarray(VERSION_BYTES);
    case 3:
    case 4:
      return unpackMembers(name, bytes, version, unpackedMax);
  }
}

function versionOf(name: string, bytes: Buffer): TombstoneVersion {
  // A key in text never begins with a zero byte.
  if (bytes.length < VERSION_BYTES || bytes[0] !== 0) return 1;
  const version = bytes.readUInt32BE() - VERSION_BASE;
  if (version > VERSION_MAX && version <= 0xff) throw newerFormat(name, version, VERSION_MAX);
  if (version !== 2 && version !== 3 && version !== 4) throw damagedObject(name, "it begins as no tombstone file");
  return version;
}

function recordsOfLines(name: string, bytes: Buffer, unpackedMax: number): Buffer {
  const records: Buffer[] = [];
  let length = 0;
  for (let at = 0; at < bytes.length; ) {
    const found = bytes.indexOf(LINE_END, at);
    const next = found < 0 ? bytes.length : found + 1;
    let end = found < 0 ? bytes.length : found;
    if (end > at && bytes[end - 1] === RETURN) end--;
    const key = bytes.subarray(at, end);
    if (key.length > 0 && !key.includes(KEY_SEPARATOR)) throw damagedObject(name, `the line at ${at} is no key`);
    if (key.length > 0) records.push(record(key, TIME_MIN, TIME_MAX));
    length += key.length === 0 ? 0 : LENGTH_BYTES + key.length + TIMES_BYTES;
    if (length > unpackedMax) throw tooManyBytes(name, unpackedMax);
    at = next;
  }
  return Buffer.concat(records);
}

function record(key: Buffer, min: bigint, max: bigint): Buffer {
  const bytes = Buffer.alloc(LENGTH_BYTES + key.length + TIMES_BYTES);
  bytes.writeUInt32BE(key.length);
  key.copy(bytes, LENGTH_BYTES);
  bytes.writeBigInt64BE(min, LENGTH_BYTES + key.length);
  bytes.writeBigInt64BE(max, LENGTH_BYTES + key.length + TIME_BYTES);
  return bytes;
}

function unpackMembers(name: string, bytes: Buffer, version: 3 | 4, unpackedMax: number): Buffer {
  const members: Buffer[] = [];
  let left = unpackedMax;
  for (let at = VERSION_BYTES; at < bytes.length; ) {
    if (members.length === TOMBSTONE_MEMBERS_MAX) throw tooLarge(name, `it has more than ${TOMBSTONE_MEMBERS_MAX} parts`);
    const member = orDamaged(
      name,
      () => `the part at ${at}`,
      () => {
        const found = unpackMember(bytes, at, left);
        // Each DELETE is a member of its own, whose records end with it.
        if (version === 4 && found.kind === "member") startsOf(found.unpacked);
        return found;
      },
    );
    if (member.kind === "too-large") throw tooManyBytes(name, unpackedMax);
    members.push(member.unpacked);
    left -= member.unpacked.length;
    at = member.end;
  }
  if (version === 3 && members.length === 0) throw damagedObject(name, "it is cut behind its header");
  return members.length === 1 ? members[0] : Buffer.concat(members);
}

function tooManyBytes(name: string, unpackedMax: number): Error {
  return tooLarge(name, `it has more than ${unpackedMax} bytes unpacked`);
}

/** Where the records begin; throws RangeError where they are not whole. */
function startsOf(records: Buffer): readonly number[] {
  const starts: number[] = [];
  for (let at = 0; at < records.length; ) {
    starts.push(at);
    if (at + LENGTH_BYTES > records.length) throw new RangeError("a record is cut");
    const length = records.readUInt32BE(at);
    if (length === 0 || length > KEY_BYTES_MAX) throw new RangeError(`the record at ${at} has a key of ${length} bytes`);
    at += LENGTH_BYTES + length + TIMES_BYTES;
    if (at > records.length) throw new RangeError("a record is cut");
  }
  return starts;
}

function ordered(records: Buffer, starts: readonly number[]): Uint32Array {
  const byKey = Uint32Array.from(starts);
  const compare = (one: number, other: number) => compareKey(records, one, keyAt(records, other));
  // One DELETE writes its keys in order: then there is nothing to sort.
  for (let i = 1; i < byKey.length; i++) if (compare(byKey[i - 1], byKey[i]) > 0) return byKey.sort(compare);
  return byKey;
}

function keyAt(records: Buffer, start: number): Buffer {
  return records.subarray(start + LENGTH_BYTES, keyEnd(records, start));
}

function keyEnd(records: Buffer, start: number): number {
  return start + LENGTH_BYTES + records.readUInt32BE(start);
}

function compareKey(records: Buffer, start: number, key: Buffer): number {
  return records.compare(key, 0, key.length, start + LENGTH_BYTES, keyEnd(records, start));
}

function timesAt(records: Buffer, start: number): TimeRange {
  const at = keyEnd(records, start);
  return { min: records.readBigInt64BE(at), max: records.readBigInt64BE(at + TIME_BYTES) };
}
