// What a capture has done, noted with each part that is stored: the row groups that end in it. So who goes on with a capture,
// after its worker was stopped or killed, encodes again at most what its last part left open (rules 14 and 15).

import { PART_NOTE_BYTES_MAX } from "../model/limits.ts";
import { COLUMNS, FILE_ORDER } from "./parquet/layout.ts";
import { compressChecked, decompressUpTo } from "./parquet/page.ts";
import type { PlacedGroup } from "./parquet/page-index.ts";
import type { SpliceStart } from "./splice.ts";

/** Row groups that are finished: those of the base from `from` to `to`, or one that was encoded. */
export type DoneGroups =
  | { readonly kind: "carried"; readonly from: number; readonly to: number; readonly lastKey: Buffer }
  | { readonly kind: "fresh"; readonly placed: PlacedGroup; readonly open: boolean };

/** A part that is stored. */
export interface StoredPart {
  readonly number: number;
  readonly etag: string;
  readonly offset: number;
  readonly length: number;
  /** By the store itself, of the base's bytes. */
  readonly copied: boolean;
  /** Of its bytes; absent where the store tells none of what it copied, or nothing is copied at all. */
  readonly crc32?: number;
  /** The row groups that end in it, in order; absent where they did not fit the item. */
  readonly note?: string;
}

/** Where to go on: behind the parts that are stored without a gap. */
export interface Progress {
  readonly parts: readonly StoredPart[];
  readonly done: readonly DoneGroups[];
}

/** The parts from `first` on that lie one behind the other and have notes that can be read: what lies behind is done again. */
export function progressOf(stored: ReadonlyMap<number, StoredPart>, first = 1): Progress {
  const parts: StoredPart[] = [];
  const done: DoneGroups[] = [];
  let end = 0;
  for (let part = stored.get(first); part?.note !== undefined && part.offset === end; part = stored.get(part.number + 1)) {
    const noted = readNote(part.note);
    if (noted === undefined) break;
    parts.push(part);
    done.push(...noted);
    end += part.length;
  }
  return { parts, done };
}

/** Where the splice goes on; absent where no row group is finished. */
export function startBehind({ done }: Progress): SpliceStart | undefined {
  const last = done.at(-1);
  if (last === undefined) return undefined;
  return last.kind === "carried" ? { after: last.lastKey, open: false } : { after: last.placed.group.lastKey, open: last.open };
}

interface FreshEntry {
  readonly offset: number;
  readonly rows: number;
  readonly sha256: string;
  readonly crc32: number;
  readonly firstKey: string;
  readonly lastKey: string;
  /** Stored and raw bytes, by column. */
  readonly columns: readonly (readonly [number, number])[];
  readonly indexLengths: readonly number[];
  readonly indexBytes: number;
  readonly open: boolean;
}

type Entry = readonly [from: number, to: number, lastKey: string] | FreshEntry;

const ENTRIES_LENGTH_BYTES = 4;
const NOTE_RAW_BYTES_MAX = 64 * PART_NOTE_BYTES_MAX;

/** Entries as JSON, the page indexes behind them, compressed; undefined where that is too much for an item. */
export function encodeNote(done: readonly DoneGroups[]): string | undefined {
  const entries = Buffer.from(JSON.stringify(done.map(entryOf)));
  const length = Buffer.alloc(ENTRIES_LENGTH_BYTES);
  length.writeUInt32LE(entries.length);
  const indexes = done.flatMap((one) => (one.kind === "fresh" ? [one.placed.index] : []));
  const raw = Buffer.concat([length, entries, ...indexes]);
  const note = raw.length > NOTE_RAW_BYTES_MAX ? "" : compressChecked(raw).toString("base64");
  return note === "" || note.length > PART_NOTE_BYTES_MAX ? undefined : note;
}

function entryOf(done: DoneGroups): Entry {
  if (done.kind === "carried") return [done.from, done.to, done.lastKey.toString("base64")];
  const { group, index, indexLengths } = done.placed;
  const { offset, rows, sha256, crc32, firstKey, lastKey, columns } = group;
  const keys = { firstKey: firstKey.toString("base64"), lastKey: lastKey.toString("base64") };
  const sizes = columns.map(({ byteLength, rawByteLength }) => [byteLength, rawByteLength] as const);
  return { offset, rows, sha256, crc32, ...keys, columns: sizes, indexLengths, indexBytes: index.length, open: done.open };
}

/** Nothing where an item is damaged: its frame has a checksum, and a note is worth no more than the work that it saves. */
function readNote(note: string): readonly DoneGroups[] | undefined {
  try {
    return decodeNote(note);
  } catch {
    return undefined;
  }
}

function decodeNote(note: string): readonly DoneGroups[] {
  const raw = decompressUpTo(Buffer.from(note, "base64"), NOTE_RAW_BYTES_MAX);
  const entriesEnd = ENTRIES_LENGTH_BYTES + raw.readUInt32LE();
  const entries: readonly Entry[] = JSON.parse(raw.toString("utf8", ENTRIES_LENGTH_BYTES, entriesEnd));
  let at = entriesEnd;
  return entries.map((entry): DoneGroups => {
    if (!("rows" in entry)) return { kind: "carried", from: entry[0], to: entry[1], lastKey: Buffer.from(entry[2], "base64") };
    at += entry.indexBytes;
    return { kind: "fresh", placed: placedOf(entry, raw.subarray(at - entry.indexBytes, at)), open: entry.open };
  });
}

function placedOf(entry: FreshEntry, index: Buffer): PlacedGroup {
  const { offset, rows, sha256, crc32, firstKey, lastKey, indexLengths } = entry;
  const starts: number[] = [];
  let byteLength = 0;
  for (const column of FILE_ORDER) {
    starts[column] = byteLength;
    byteLength += entry.columns[column][0];
  }
  const columns = COLUMNS.map((_, column) => ({ offset: starts[column], byteLength: entry.columns[column][0], rawByteLength: entry.columns[column][1] }));
  const keys = { firstKey: Buffer.from(firstKey, "base64"), lastKey: Buffer.from(lastKey, "base64") };
  return { group: { offset, byteLength, rows, sha256, crc32, ...keys, columns, carried: 0 }, index, indexLengths };
}
