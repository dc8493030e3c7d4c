// The archives that InfluxDB sends and takes: tar, as a stream. A server that fails in the middle just ends it, and one cut
// off between two files looks like a shorter one: so an archive counts only with its end, two zero blocks and nothing
// behind. The packages for tar take an end without them, which is why this is our own.

import { TidemarkError } from "../../model/errors.ts";

const BLOCK = 512;
const NAME_BYTES = 100;
const PREFIX_BYTES = 155;
/** A name, or the records of an extended header. */
const EXTENSION_BYTES_MAX = 64 * 1024;
/** The largest size that eleven octal digits tell. */
const OCTAL_SIZE_MAX = 8 ** 11 - 1;

export interface TarEntry {
  readonly name: string;
  readonly size: number;
  /** Seconds since 1970. */
  readonly modifiedS: number;
  /** To be read to its end before the next entry is asked for. */
  readonly body: AsyncIterable<Buffer>;
}

export interface TarOptions {
  /** Whether the chunks may go on behind the archive's end, and are not waited for: a client may keep its side of a connection open. */
  readonly goesOn?: boolean;
}

/**
 * The regular files of an archive, in its order. Chunks are done with when the next is asked for, and so are those of bodies. Who
 * stops early, or is refused, ends the chunks too: a connection behind them does not stay open.
 * @throws {TidemarkError} `retry` "cut-archive", "bad-archive"
 */
export async function* tarEntries(chunks: AsyncIterable<Buffer>, { goesOn = false }: TarOptions = {}): AsyncGenerator<TarEntry> {
  const source = byteSource(chunks);
  try {
    yield* entriesIn(source);
    if (!goesOn && (await source.piece(1)) !== undefined) throw badArchive("something follows its end");
  } finally {
    await source.end();
  }
}

async function* entriesIn(source: ByteSource): AsyncGenerator<TarEntry> {
  let extension: Extension = {};
  for (;;) {
    const block = await source.take(BLOCK, "a header");
    if (isZero(block)) {
      if (!isZero(await source.take(BLOCK, "its end"))) throw badArchive("a lone zero block stands in it");
      return;
    }
    const header = parseHeader(block);
    const size = extension.size ?? header.size;
    if (header.type === "x" || header.type === "L") {
      if (size > EXTENSION_BYTES_MAX) throw badArchive(`an extended header has ${size} bytes`);
      const text = await source.take(size, "an extended header");
      await source.take(paddingOf(size), "an extended header");
      extension = header.type === "L" ? { ...extension, name: text.toString("utf8").replace(/\0+$/, "") } : { ...extension, ...parseRecords(text) };
      continue;
    }
    const name = extension.name ?? header.name;
    extension = {};
    if (header.type !== "0") throw badArchive(`${JSON.stringify(name)} is no regular file`);
    const body = bodyOf(source, name, size);
    yield { name, size, modifiedS: header.modifiedS, body: body.chunks };
    if (body.left() > 0) throw new TidemarkError("bug", "unread-entry", `${body.left()} bytes of ${name} were not read`);
    await source.take(paddingOf(size), "padding");
  }
}

/** What goes before a file of this size in an archive; its bytes follow, and `tarPadding`. */
export function tarHeader({ name, size, modifiedS }: Pick<TarEntry, "name" | "size" | "modifiedS">): Buffer {
  const records: string[] = [];
  const split = splitName(name);
  if (split === undefined) records.push(record("path", name));
  if (size > OCTAL_SIZE_MAX) records.push(record("size", String(size)));
  // For who knows no extended headers; in ASCII, so that it takes as many bytes as it has letters.
  const short = split ?? {
    prefix: "",
    name: name
      .replace(/^.*\//s, "")
      .replace(/[^ -~]/g, "_")
      .slice(0, NAME_BYTES),
  };
  const own = headerBlock({ ...short, size: Math.min(size, OCTAL_SIZE_MAX), modifiedS, type: "0" });
  if (records.length === 0) return own;
  const text = Buffer.from(records.join(""));
  return Buffer.concat([headerBlock({ prefix: "", name: "extended", size: text.length, modifiedS, type: "x" }), text, tarPadding(text.length), own]);
}

export function tarPadding(size: number): Buffer {
  return Buffer.alloc(paddingOf(size));
}

export function tarEnd(): Buffer {
  return Buffer.alloc(2 * BLOCK);
}

/** Bytes that a file takes in an archive, with all that belongs to it. */
export function tarBytes(entry: Pick<TarEntry, "name" | "size" | "modifiedS">): number {
  return tarHeader(entry).length + entry.size + paddingOf(entry.size);
}

function paddingOf(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

function isZero(block: Buffer): boolean {
  return block.every((byte) => byte === 0);
}

interface Header {
  readonly name: string;
  readonly size: number;
  readonly modifiedS: number;
  readonly type: string;
}

interface Extension {
  readonly name?: string;
  readonly size?: number;
}

const CHECKSUM_AT = 148;
const CHECKSUM_BYTES = 8;

function parseHeader(block: Buffer): Header {
  const checksum = octalAt(block, CHECKSUM_AT, CHECKSUM_BYTES, "a checksum");
  if (checksum !== checksumOf(block)) throw badArchive("a header has another checksum than its bytes");
  const prefix = textAt(block, 345, PREFIX_BYTES);
  const name = textAt(block, 0, NAME_BYTES);
  const isUstar = block.toString("latin1", 257, 262) === "ustar";
  return {
    name: isUstar && prefix !== "" ? `${prefix}/${name}` : name,
    size: numberAt(block, 124, 12, "a size"),
    modifiedS: numberAt(block, 136, 12, "a time"),
    type: String.fromCharCode(block[156] === 0 ? 0x30 : block[156]),
  };
}

function checksumOf(block: Buffer): number {
  let sum = CHECKSUM_BYTES * 0x20;
  for (let at = 0; at < BLOCK; at++) if (at < CHECKSUM_AT || at >= CHECKSUM_AT + CHECKSUM_BYTES) sum += block[at];
  return sum;
}

function textAt(block: Buffer, offset: number, length: number): string {
  const bytes = block.subarray(offset, offset + length);
  const end = bytes.indexOf(0);
  return bytes.subarray(0, end < 0 ? length : end).toString("utf8");
}

function octalAt(block: Buffer, offset: number, length: number, what: string): number {
  const text = block
    .toString("latin1", offset, offset + length)
    .replace(/[\0 ]+$/, "")
    .trimStart();
  if (!/^[0-7]*$/.test(text)) throw badArchive(`${what} in a header is ${JSON.stringify(text)}`);
  return text === "" ? 0 : Number.parseInt(text, 8);
}

/** Octal digits, or, with the first bit set, a number to the base 256. */
function numberAt(block: Buffer, offset: number, length: number, what: string): number {
  if (block[offset] < 0x80) return octalAt(block, offset, length, what);
  let value = BigInt(block[offset] & 0x7f);
  for (let at = 1; at < length; at++) value = value * 256n + BigInt(block[offset + at]);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw badArchive(`${what} in a header is ${value}`);
  return Number(value);
}

/** The records of an extended header that matter: `LENGTH NAME=VALUE` and a line feed each. */
function parseRecords(text: Buffer): Extension {
  let found: Extension = {};
  for (let at = 0; at < text.length; ) {
    const digits = /^([0-9]{1,6}) /.exec(text.toString("latin1", at, at + 7))?.[1];
    const length = Number(digits ?? 0);
    if (digits === undefined || length <= digits.length + 2 || at + length > text.length || text[at + length - 1] !== 0x0a) {
      throw badArchive("the records of an extended header cannot be read");
    }
    const [name, ...value] = text.toString("utf8", at + digits.length + 1, at + length - 1).split("=");
    if (name === "path") found = { ...found, name: value.join("=") };
    if (name === "size") found = { ...found, size: wholeSize(value.join("=")) };
    at += length;
  }
  return found;
}

function wholeSize(text: string): number {
  const size = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(size)) throw badArchive(`the size in an extended header is ${JSON.stringify(text)}`);
  return size;
}

function record(name: string, value: string): string {
  const rest = Buffer.byteLength(` ${name}=${value}\n`);
  let length = rest;
  while (String(length).length + rest !== length) length = String(length).length + rest;
  return `${length} ${name}=${value}\n`;
}

/** A long name is split at a slash; one that cannot be goes into an extended header. */
function splitName(name: string): { readonly prefix: string; readonly name: string } | undefined {
  if (Buffer.byteLength(name) <= NAME_BYTES) return { prefix: "", name };
  for (let slash = name.indexOf("/"); slash > 0; slash = name.indexOf("/", slash + 1)) {
    const [prefix, rest] = [name.slice(0, slash), name.slice(slash + 1)];
    if (Buffer.byteLength(prefix) <= PREFIX_BYTES && Buffer.byteLength(rest) <= NAME_BYTES && rest !== "") return { prefix, name: rest };
  }
  return undefined;
}

function headerBlock({ prefix, name, size, modifiedS, type }: Header & { readonly prefix: string }): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, offset: number, length: number) => block.write(value.toString(8).padStart(length - 1, "0"), offset, "latin1");
  block.write(name, 0, "utf8");
  octal(0o644, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(Math.max(0, Math.floor(modifiedS)), 136, 12);
  block.write(type, 156, "latin1");
  block.write("ustar\x0000", 257, "latin1");
  block.write(prefix, 345, "utf8");
  block.write(`${checksumOf(block).toString(8).padStart(6, "0")}\0 `, CHECKSUM_AT, "latin1");
  return block;
}

interface ByteSource {
  /** Exactly so many bytes. */
  take(length: number, what: string): Promise<Buffer>;
  /** Between one byte and so many; nothing at the end. */
  piece(most: number): Promise<Buffer | undefined>;
  /** Ends the chunks, wherever they are. */
  end(): Promise<void>;
}

function byteSource(chunks: AsyncIterable<Buffer>): ByteSource {
  const iterator = chunks[Symbol.asyncIterator]();
  let held: Buffer = Buffer.alloc(0);
  let read = 0;
  async function piece(most: number): Promise<Buffer | undefined> {
    while (held.length === 0) {
      const next = await iterator.next();
      if (next.done === true) return undefined;
      held = next.value;
    }
    const some = held.subarray(0, most);
    held = held.subarray(some.length);
    read += some.length;
    return some;
  }
  return {
    piece,
    async take(length, what) {
      const taken = Buffer.allocUnsafe(length);
      for (let at = 0; at < length; ) {
        const some = await piece(length - at);
        if (some === undefined) throw cutArchive(read, what);
        at += some.copy(taken, at);
      }
      return taken;
    },
    async end() {
      await iterator.return?.();
    },
  };
}

function bodyOf(source: ByteSource, name: string, size: number): { readonly chunks: AsyncIterable<Buffer>; readonly left: () => number } {
  let left = size;
  async function* chunks(): AsyncGenerator<Buffer> {
    let read = 0;
    while (left > 0) {
      const some = await source.piece(left);
      if (some === undefined) throw cutArchive(read, `${name}, of ${size} bytes`);
      read += some.length;
      left -= some.length;
      yield some;
    }
  }
  return { chunks: chunks(), left: () => left };
}

function cutArchive(read: number, what: string): TidemarkError {
  return new TidemarkError("retry", "cut-archive", `the archive was cut off behind ${read} bytes, in ${what}: the server's log tells why`);
}

function badArchive(finding: string): TidemarkError {
  return new TidemarkError("retry", "bad-archive", `the archive is not as it must be: ${finding}`);
}
