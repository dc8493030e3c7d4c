// Reads redo files by docs/format-redo.md alone, so that the log is told by another program than the one under test.

import { createHash } from "node:crypto";
import { zstdDecompressSync } from "node:zlib";
import type { ModelBatch, ModelMutation } from "./keyed-model.ts";

export interface ReadRedoFile {
  readonly first: number;
  /** First index of the file that continues this one. */
  readonly next: number;
  readonly previousDigest: string;
  readonly digest: string;
  readonly batches: readonly ModelBatch[];
}

const KINDS: readonly (ModelMutation["kind"] | undefined)[] = [undefined, "put", "delete", "patch"];

/** Throws where a byte is not what the document says. */
export function readRedoFile(bytes: Buffer): ReadRedoFile {
  const headerEnd = 14 + bytes.readUInt32LE(10);
  const digest = bytes.toString("hex", headerEnd, headerEnd + 32);
  const body = bytes.subarray(headerEnd + 32);
  same(bytes.toString("latin1", 0, 8), "TIDEREDO");
  same(bytes.readUInt16LE(8), 1);
  same(sha256(bytes.subarray(0, headerEnd)), digest);
  same(bytes.readUInt32LE(99), body.length);
  same(sha256(body), bytes.toString("hex", 107, 139));
  const first = Number(bytes.readBigUInt64LE(22));
  const count = bytes.readUInt32LE(30);
  const raw = zstdDecompressSync(body);
  same(raw.length, bytes.readUInt32LE(103));
  const batches = readBatches(bytes.subarray(0, headerEnd), first, readMutations(raw, count));
  return { first, next: first + count, previousDigest: bytes.toString("hex", 50, 82), digest, batches };
}

function readBatches(head: Buffer, first: number, mutations: readonly ModelMutation[]): readonly ModelBatch[] {
  const read = reader(head, 146 + head[145]);
  const batches: ModelBatch[] = [];
  let timeMs = Number(head.readBigUInt64LE(34));
  let done = 0;
  for (let left = head.readUInt32LE(141); left > 0; left--) {
    const count = read.varint();
    timeMs += read.varint();
    const batch = { first: first + done, timeMs, mutations: mutations.slice(done, done + count) };
    if (read.bytes(1)[0] === 1) {
      const producer = read.bytes(read.bytes(1)[0]).toString();
      const sequence = BigInt(`0x${read.bytes(24).toString("hex")}`);
      read.varint();
      batches.push({ ...batch, mark: { producer, sequence } });
    } else batches.push(batch);
    done += count;
  }
  same(done, mutations.length);
  same(read.at, head.length);
  return batches;
}

function readMutations(raw: Buffer, count: number): readonly ModelMutation[] {
  const read = reader(raw, 0);
  const kinds = [...read.bytes(count)];
  const keyLengths = kinds.map(() => read.varint());
  const valueLengths = kinds.map(() => read.varint());
  const keys = keyLengths.map((length) => read.bytes(length).toString());
  const values = valueLengths.map((length) => read.bytes(length).toString());
  same(read.at, raw.length);
  return kinds.map((kind, place) => {
    const name = KINDS[kind];
    if (name === undefined) throw new Error(`a mutation has kind ${kind}`);
    return { kind: name, key: keys[place], value: values[place] };
  });
}

function reader(source: Buffer, start: number) {
  return {
    at: start,
    bytes(length: number): Buffer {
      this.at += length;
      return source.subarray(this.at - length, this.at);
    },
    varint(): number {
      let value = 0;
      for (let scale = 1; ; scale *= 128) {
        const byte = source[this.at++];
        value += (byte & 127) * scale;
        if (byte < 128) return value;
      }
    },
  };
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function same(found: string | number, expected: string | number): void {
  if (found !== expected) throw new Error(`the document says ${expected}, the file has ${found}`);
}
