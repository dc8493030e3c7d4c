// Redo files to bytes and back. docs/format-redo.md has the bytes; this file owns the frame: magic, version, lengths,
// digests.
//
// Guarantees: every byte of a file is covered by its chain digest, so that any flipped, missing, cut or appended byte is
// an error that names the object (I8); the head alone gives a verified belief, without the body; nothing is allocated by
// a length that was not compared with a limit and with what is there (I10); the encoder refuses whatever the decoder
// would refuse; the same request gives the same bytes. That a file is the one its name says, and continues the one
// before, is the caller's to compare (`header.first`, `header.previousDigest`).
// Hot: works on Buffers and typed arrays, allocates nothing per record. bench/redo.ts measures it.

import { hash } from "node:crypto";
import { assert } from "../model/assert.ts";
import { damagedObject, newerFormat } from "../model/errors.ts";
import type { Mutation, ProducerMark } from "../model/mutation.ts";
import type { Index } from "../model/position.ts";
import type { RedoFile, RedoHeader } from "../model/redo-file.ts";
import { decodeBody, encodeBody, type RedoBody } from "./body.ts";
import type { Refuse } from "./byte-fields.ts";
import { type BodyDescription, decodeHeader, encodeHeader } from "./header.ts";
import { DIGEST_BYTES, HEADER_BYTES_MAX, PREAMBLE_BYTES, REDO_FORMAT_VERSION, REDO_MAGIC } from "./layout.ts";

export interface RedoBatch {
  readonly mutations: readonly Mutation[];
  readonly timeMs: number;
  readonly mark?: ProducerMark;
}

export interface EncodeRedoRequest {
  readonly table: string;
  readonly shard: number;
  readonly incarnation: string;
  /** Index of the first mutation. */
  readonly first: Index;
  readonly previousDigest: string;
  readonly writeId: string;
  /** One or more, checked by `checkMutations` and `checkProducer`; times never go back. */
  readonly batches: readonly RedoBatch[];
  /** The same batches' body from `encodeRedoBody`; default: encoded here. */
  readonly body?: RedoBody;
}

export interface EncodedRedoFile {
  readonly bytes: Buffer;
  readonly header: RedoHeader;
}

/** The part of a redo file that neither its place in the log nor its times change: kept by a writer that must encode again. */
export function encodeRedoBody(batches: readonly { readonly mutations: readonly Mutation[] }[]): RedoBody {
  return encodeBody(batches, refuseAsBug);
}

export function encodeRedoFile(request: EncodeRedoRequest): EncodedRedoFile {
  const { table, shard, incarnation, first, previousDigest, writeId } = request;
  const body = request.body ?? encodeRedoBody(request.batches);
  const batches = request.batches.map(({ mutations, timeMs, mark }) => ({ count: mutations.length, timeMs, ...(mark === undefined ? {} : { mark }) }));
  const fields = { table, shard, incarnation, first, count: body.count, batches, previousDigest, writeId };
  const header = encodeHeader({ ...fields, body }, refuseAsBug);
  const headBytes = PREAMBLE_BYTES + header.length + DIGEST_BYTES;
  const bytes = Buffer.allocUnsafe(headBytes + body.bytes.length);
  bytes.set(REDO_MAGIC);
  bytes.writeUInt16LE(REDO_FORMAT_VERSION, 8);
  bytes.writeUInt32LE(header.length, 10);
  bytes.set(header, PREAMBLE_BYTES);
  const digest = hash("sha256", bytes.subarray(0, headBytes - DIGEST_BYTES), "buffer");
  bytes.set(digest, headBytes - DIGEST_BYTES);
  bytes.set(body.bytes, headBytes);
  return { bytes, header: { formatVersion: REDO_FORMAT_VERSION, ...fields, rawBytes: body.rawBytes, digest: digest.toString("hex") } };
}

export type DecodedRedoHeader =
  /** `headerBytes`: where the body starts; `fileBytes`: how long the whole object must be. */
  | { readonly kind: "header"; readonly header: RedoHeader; readonly headerBytes: number; readonly fileBytes: number }
  /** Call again with the object's first `bytesNeeded` bytes; an object that has fewer was cut. */
  | { readonly kind: "more"; readonly bytesNeeded: number };

/** Reads the head of the redo file `name` from its bytes or a leading part of them; verified, whatever the body is. */
export function decodeRedoHeader(bytes: Buffer, name: string): DecodedRedoHeader {
  const head = decodeHead(bytes, name);
  if (head.kind === "more") return head;
  const { header, headerBytes, body } = head;
  return { kind: "header", header, headerBytes, fileBytes: headerBytes + body.compressedBytes };
}

/** Reads the whole redo file `name`. Its records are views into one Buffer. */
export function decodeRedoFile(bytes: Buffer, name: string): RedoFile {
  const refuse = refuseAsDamage(name);
  const head = decodeHead(bytes, name);
  if (head.kind === "more") return refuse(`it has ${bytes.length} bytes, its head alone ${head.bytesNeeded}`);
  const { header, headerBytes, body } = head;
  const fileBytes = headerBytes + body.compressedBytes;
  if (bytes.length !== fileBytes) refuse(`it has ${bytes.length} bytes, its header says ${fileBytes}`);
  const compressed = bytes.subarray(headerBytes);
  if (!hash("sha256", compressed, "buffer").equals(body.sha256)) refuse("its body is not the one its header holds the SHA-256 of");
  return { header, records: decodeBody(compressed, body.rawBytes, header.count, refuse) };
}

type Head =
  | { readonly kind: "head"; readonly header: RedoHeader; readonly headerBytes: number; readonly body: BodyDescription }
  | { readonly kind: "more"; readonly bytesNeeded: number };

function decodeHead(bytes: Buffer, name: string): Head {
  const refuse = refuseAsDamage(name);
  const magicBytes = Math.min(bytes.length, REDO_MAGIC.length);
  if (bytes.compare(REDO_MAGIC, 0, magicBytes, 0, magicBytes) !== 0) refuse("it does not start as a redo file does");
  if (bytes.length < PREAMBLE_BYTES) return { kind: "more", bytesNeeded: PREAMBLE_BYTES };
  const version = bytes.readUInt16LE(8);
  const headerLength = bytes.readUInt32LE(10);
  if (headerLength > HEADER_BYTES_MAX) refuse(`its header counts ${headerLength} bytes, more than a header may have`);
  const headerEnd = PREAMBLE_BYTES + headerLength;
  const headerBytes = headerEnd + DIGEST_BYTES;
  if (bytes.length < headerBytes) return { kind: "more", bytesNeeded: headerBytes };
  const digest = hash("sha256", bytes.subarray(0, headerEnd), "buffer");
  if (!digest.equals(bytes.subarray(headerEnd, headerBytes))) refuse("its header is not the one its digest was made of");
  // Only now: a flipped version is damage, a version whose digest holds is one that somebody wrote.
  if (version > REDO_FORMAT_VERSION) throw newerFormat(name, version, REDO_FORMAT_VERSION);
  if (version !== REDO_FORMAT_VERSION) refuse(`it has format version ${version}`);
  const { body, ...fields } = decodeHeader(bytes.subarray(PREAMBLE_BYTES, headerEnd), refuse);
  return { kind: "head", header: { formatVersion: version, ...fields, rawBytes: body.rawBytes, digest: digest.toString("hex") }, headerBytes, body };
}

function refuseAsDamage(name: string): Refuse {
  return (what) => {
    throw damagedObject(name, what);
  };
}

function refuseAsBug(what: string): never {
  assert(false, `a redo file is encoded as it can be decoded, but ${what}`);
}
