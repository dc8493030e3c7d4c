// Fields one behind the other in bounded bytes: what docs/format-redo.md calls u8, u16, u32, u64, varint and text.
// The reader never reads past its end and never allocates by a length it has not compared with what is there (I8, I10).

import { isUtf8 } from "node:buffer";
import { assert } from "../model/assert.ts";

/** Says what is wrong, as the fault that fits: a bug when encoding, damage when decoding. */
export type Refuse = (what: string) => never;

const WORD = 2 ** 32;
const INITIAL_BYTES = 1024;

export interface ByteWriter {
  u8(value: number): void;
  u16(value: number): void;
  u32(value: number): void;
  /** A whole number from 0 to 2^53 - 1. */
  u64(value: number): void;
  varint(value: number): void;
  /** One byte of length, then the text in UTF-8. */
  text(text: string): void;
  hex(digits: string): void;
  bytes(bytes: Uint8Array): void;
  /** Everything written, as a view. */
  take(): Buffer;
}

/** Grows up to `bytesMax`. */
export function byteWriter(bytesMax: number): ByteWriter {
  let buffer = Buffer.allocUnsafe(Math.min(INITIAL_BYTES, bytesMax));
  let end = 0;

  function claim(bytes: number): number {
    const start = end;
    end += bytes;
    assert(end <= bytesMax, `at most ${bytesMax} bytes are written`);
    if (end > buffer.length) {
      const grown = Buffer.allocUnsafe(Math.min(bytesMax, Math.max(end, buffer.length * 2)));
      buffer.copy(grown, 0, 0, start);
      buffer = grown;
    }
    return start;
  }

  const writer: ByteWriter = {
    // The place is claimed first: claiming may put a larger buffer in the old one's stead.
    u8(value) {
      const start = claim(1);
      buffer.writeUInt8(value, start);
    },
    u16(value) {
      const start = claim(2);
      buffer.writeUInt16LE(value, start);
    },
    u32(value) {
      const start = claim(4);
      buffer.writeUInt32LE(value, start);
    },
    u64(value) {
      assert(isWhole(value), `${value} is a whole number from 0 to 2^53 - 1`);
      writer.u32(value % WORD);
      writer.u32(Math.floor(value / WORD));
    },
    varint(value) {
      assert(isWhole(value), `${value} is a whole number from 0 to 2^53 - 1`);
      let rest = value;
      for (; rest >= 128; rest = Math.floor(rest / 128)) writer.u8((rest % 128) + 128);
      writer.u8(rest);
    },
    text(text) {
      const bytes = Buffer.from(text, "utf8");
      writer.u8(bytes.length);
      writer.bytes(bytes);
    },
    hex: (digits) => writer.bytes(Buffer.from(digits, "hex")),
    bytes(bytes) {
      const start = claim(bytes.length);
      buffer.set(bytes, start);
    },
    take: () => buffer.subarray(0, end),
  };
  return writer;
}

export interface ByteReader {
  readonly refuse: Refuse;
  u8(): number;
  u16(): number;
  u32(): number;
  u64(): number;
  varint(): number;
  text(bytesMax: number): string;
  hex(bytes: number): string;
  /** A view. */
  bytes(bytes: number): Buffer;
  /** Refuses bytes that were not read. */
  end(): void;
}

export function byteReader(buffer: Buffer, refuse: Refuse): ByteReader {
  let next = 0;

  function claim(bytes: number): number {
    if (bytes > buffer.length - next) refuse("its header ends inside of a field");
    next += bytes;
    return next - bytes;
  }

  const reader: ByteReader = {
    refuse,
    u8: () => buffer[claim(1)],
    u16: () => buffer.readUInt16LE(claim(2)),
    u32: () => buffer.readUInt32LE(claim(4)),
    u64() {
      const value = reader.u32() + reader.u32() * WORD;
      return isWhole(value) ? value : refuse("its header holds a number above 2^53 - 1");
    },
    varint() {
      let value = 0;
      for (let scale = 1; scale <= 2 ** 49; scale *= 128) {
        const byte = reader.u8();
        value += (byte & 127) * scale;
        if (byte >= 128) continue;
        if (byte === 0 && scale > 1) refuse("its header holds a number in more bytes than it needs");
        return isWhole(value) ? value : refuse("its header holds a number above 2^53 - 1");
      }
      return refuse("its header holds a number above 2^53 - 1");
    },
    text(bytesMax) {
      const bytes = reader.bytes(reader.u8());
      if (bytes.length > bytesMax || !isUtf8(bytes)) refuse(`its header holds a name that is not 1 to ${bytesMax} bytes of text`);
      return bytes.toString("utf8");
    },
    hex: (bytes) => reader.bytes(bytes).toString("hex"),
    bytes(bytes) {
      const start = claim(bytes);
      return buffer.subarray(start, start + bytes);
    },
    end() {
      if (next !== buffer.length) refuse("its header goes on behind its last batch");
    },
  };
  return reader;
}

function isWhole(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}
