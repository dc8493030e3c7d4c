// A stored snapshot, read back. Guarantees: rows come only out of verified bytes (I8); memory holds the tail, the row
// group that is decoded and the one fetched ahead of it, however large the shard is (I10); an object that disappears while it is
// read is an error the caller can start over from (recover), never a shorter snapshot.

import { assert } from "../model/assert.ts";
import { damagedObject, TidemarkError } from "../model/errors.ts";
import type { Rows } from "../model/rows.ts";
import type { ObjectStore } from "../ports/object-store.ts";
import { decodeGroup, decodePage, pagePlace, verifyGroup } from "./parquet/decode.ts";
import { decodeTail, type SnapshotFooter } from "./parquet/footer.ts";
import { COLUMNS, firstKey, lastKey, MAGIC, type RowGroup } from "./parquet/layout.ts";

/** So much of the object's end is fetched at once: the whole tail of a snapshot of about 100 MB. */
const TAIL_GUESS_BYTES = 256 * 1024;
/** Ranges with no more than this between them are fetched as one. */
const RANGE_GAP_BYTES = 128 * 1024;
/** A tail is found in at most so many steps: its guess, its seal, its start. */
const TAIL_STEPS_MAX = 3;

export interface ReadSnapshotDeps {
  readonly store: Pick<ObjectStore, "getRange" | "head">;
}

export interface ReadSnapshotRequest {
  readonly key: string;
  /** As the checkpoint records them. Without them the object's own seal must do. */
  readonly size?: number;
  readonly footerSha256?: string;
}

export type OpenSnapshotOutcome = { readonly kind: "opened"; readonly snapshot: Snapshot } | { readonly kind: "absent" };

/** Every method throws `damagedObject` where stored bytes are not what they must be, and "expired-snapshot" (retry) where the object is gone. */
export interface Snapshot extends Omit<SnapshotFooter, "rows"> {
  readonly rowCount: number;
  readonly key: string;
  readonly size: number;
  /** Rows in key order, a page at a time: those behind `after`, those whose key starts with `prefix`. */
  rows(options?: RowRange): AsyncGenerator<Rows>;
  /** The record of `key`, from the pages that hold it alone. */
  get(key: Buffer): Promise<SnapshotRecord | undefined>;
  /** Reads every byte in front of the tail once and checks it against its hash, without decoding it; yields between row groups. */
  verifyBytes(): AsyncGenerator<void>;
}

export interface RowRange {
  readonly after?: Buffer;
  readonly prefix?: Buffer;
}

export interface SnapshotRecord {
  readonly value: Buffer;
  readonly index: number;
  readonly timeMs: number;
}

/** Opens the snapshot and verifies its tail. Throws `damagedObject`, or "newer-format" for one of a later format version. */
export async function openSnapshot({ store }: ReadSnapshotDeps, request: ReadSnapshotRequest): Promise<OpenSnapshotOutcome> {
  const { key, footerSha256 } = request;
  const size = request.size ?? (await sizeOf(store, key));
  if (size === undefined) return { kind: "absent" };
  let lastBytes = Math.min(size, TAIL_GUESS_BYTES);
  for (let step = 0; step < TAIL_STEPS_MAX; step++) {
    const outcome = await store.getRange(key, { offset: size - lastBytes, length: lastBytes });
    if (outcome.kind === "absent") return outcome;
    const last = exactly(key, size, size - lastBytes, lastBytes, outcome);
    const finding = decodeTail({ object: key, size, last, ...(footerSha256 === undefined ? {} : { footerSha256 }) });
    if (finding.kind === "tail") return { kind: "opened", snapshot: await snapshot(key, size, finding.footer, rangeReader(store, key, size)) };
    lastBytes = finding.lastBytes;
  }
  throw damagedObject(key, "its tail has no start");
}

async function sizeOf(store: Pick<ObjectStore, "head">, key: string): Promise<number | undefined> {
  const head = await store.head(key);
  return head.kind === "found" ? head.size : undefined;
}

type RangeReader = (offset: number, length: number) => Promise<Buffer>;

function rangeReader(store: Pick<ObjectStore, "getRange">, key: string, size: number): RangeReader {
  return async (offset, length) => {
    const outcome = await store.getRange(key, { offset, length });
    if (outcome.kind === "absent") throw new TidemarkError("retry", "expired-snapshot", `${key} expired while it was read: read the newest snapshot`);
    return exactly(key, size, offset, length, outcome);
  };
}

/** The bytes that came back, if they are all that were asked for, of an object of the size that it must have. */
function exactly(key: string, size: number, offset: number, length: number, found: { readonly body: Buffer; readonly size: number }): Buffer {
  if (found.size !== size) throw damagedObject(key, `it has ${found.size} bytes where it must have ${size}`);
  if (found.body.length !== length) throw damagedObject(key, `${found.body.length} of ${length} bytes from ${offset} came back`);
  return found.body;
}

async function snapshot(key: string, size: number, footer: SnapshotFooter, range: RangeReader): Promise<Snapshot> {
  const { groups } = footer;
  // The head has no row group to travel with.
  if (groups.length === 0) checkHead(key, await range(0, MAGIC.length));

  /** The first group is fetched with the head in front of it. */
  async function groupBytes(group: RowGroup): Promise<Buffer> {
    if (group.offset !== MAGIC.length) return range(group.offset, group.byteLength);
    const bytes = await range(0, MAGIC.length + group.byteLength);
    checkHead(key, bytes.subarray(0, MAGIC.length));
    return bytes.subarray(MAGIC.length);
  }

  async function* rows({ after, prefix }: RowRange = {}): AsyncGenerator<Rows> {
    const wanted = groups.filter((group) => mayHold(firstKey(group), lastKey(group), after, prefix));
    let ahead = fetchAhead(wanted, 0, groupBytes);
    for (const [i, group] of wanted.entries()) {
      const bytes = await ahead;
      assert(bytes !== undefined, "a row group that is wanted was fetched");
      ahead = fetchAhead(wanted, i + 1, groupBytes);
      const fromPage = group.lastKeys.findIndex((last, page) => mayHold(group.firstKeys[page], last, after, prefix));
      if (fromPage < 0) continue;
      for (const page of decodeGroup(key, group, bytes, fromPage)) {
        const part = within(page, after, prefix);
        if (part.count > 0) yield part;
        else if (prefix !== undefined) break;
      }
    }
  }

  async function get(wanted: Buffer): Promise<SnapshotRecord | undefined> {
    const group = groups[firstAt(groups.length, (i) => Buffer.compare(lastKey(groups[i]), wanted) >= 0)];
    if (group === undefined) return undefined;
    const page = firstAt(group.lastKeys.length, (i) => Buffer.compare(group.lastKeys[i], wanted) >= 0);
    if (Buffer.compare(group.firstKeys[page], wanted) > 0) return undefined;
    const places = COLUMNS.map((_, column) => pagePlace(group, column, page));
    const stored = await readPlaces(places, range);
    return record(decodePage(key, group, page, stored), wanted);
  }

  async function* verifyBytes(): AsyncGenerator<void> {
    for (const group of groups) {
      verifyGroup(key, group, await groupBytes(group));
      yield;
    }
  }

  return { ...footer, rowCount: footer.rows, key, size, rows, get, verifyBytes };
}

function checkHead(key: string, head: Buffer): void {
  if (!head.equals(MAGIC)) throw damagedObject(key, "it does not start with PAR1");
}

/** The bytes of `groups[i]`, asked for now. A failure waits for who awaits it, who may have gone. */
function fetchAhead(groups: readonly RowGroup[], i: number, read: (group: RowGroup) => Promise<Buffer>): Promise<Buffer | undefined> {
  const reading = i < groups.length ? read(groups[i]) : Promise.resolve(undefined);
  reading.catch(() => {});
  return reading;
}

/** Whether keys from `first` to `last` can lie behind `after` and start with `prefix`. */
function mayHold(first: Buffer, last: Buffer, after: Buffer | undefined, prefix: Buffer | undefined): boolean {
  if (after !== undefined && Buffer.compare(last, after) <= 0) return false;
  if (prefix === undefined) return true;
  return Buffer.compare(last, prefix) >= 0 && (Buffer.compare(first, prefix) <= 0 || startsWith(first, prefix));
}

function startsWith(key: Buffer, prefix: Buffer): boolean {
  return key.length >= prefix.length && key.compare(prefix, 0, prefix.length, 0, prefix.length) === 0;
}

/** The rows of the page that are wanted: one run, as keys ascend. The page itself where that is all of them. */
function within(rows: Rows, after: Buffer | undefined, prefix: Buffer | undefined): Rows {
  let from = 0;
  let to = rows.count;
  if (after !== undefined) from = firstAt(rows.count, (i) => Buffer.compare(rowKey(rows, i), after) > 0);
  if (prefix !== undefined) {
    from = Math.max(
      from,
      firstAt(rows.count, (i) => Buffer.compare(rowKey(rows, i), prefix) >= 0),
    );
    to = Math.max(
      from,
      firstAt(rows.count, (i) => Buffer.compare(rowKey(rows, i), prefix) > 0 && !startsWith(rowKey(rows, i), prefix)),
    );
  }
  return from === 0 && to === rows.count ? rows : sliceRows(rows, from, to);
}

function sliceRows({ keys, keyEnds, values, valueEnds, indexes, times }: Rows, from: number, to: number): Rows {
  const keyStart = from === 0 ? 0 : keyEnds[from - 1];
  const valueStart = from === 0 ? 0 : valueEnds[from - 1];
  return {
    count: to - from,
    keys: keys.subarray(keyStart, to === 0 ? 0 : keyEnds[to - 1]),
    keyEnds: keyEnds.slice(from, to).map((end) => end - keyStart),
    values: values.subarray(valueStart, to === 0 ? 0 : valueEnds[to - 1]),
    valueEnds: valueEnds.slice(from, to).map((end) => end - valueStart),
    indexes: indexes.subarray(from, to),
    times: times.subarray(from, to),
  };
}

function rowKey({ keys, keyEnds }: Rows, row: number): Buffer {
  return keys.subarray(row === 0 ? 0 : keyEnds[row - 1], keyEnds[row]);
}

/** The value is a copy, so that it does not keep its page in memory. */
function record(rows: Rows, wanted: Buffer): SnapshotRecord | undefined {
  const row = firstAt(rows.count, (i) => Buffer.compare(rowKey(rows, i), wanted) >= 0);
  if (row === rows.count || !rowKey(rows, row).equals(wanted)) return undefined;
  const value = Buffer.from(rows.values.subarray(row === 0 ? 0 : rows.valueEnds[row - 1], rows.valueEnds[row]));
  return { value, index: rows.indexes[row], timeMs: rows.times[row] };
}

/** The first of `count` places where `holds`, which holds from there on; `count` if nowhere. */
function firstAt(count: number, holds: (i: number) => boolean): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

interface Place {
  readonly offset: number;
  readonly length: number;
}

/** The bytes at each of the places, which ascend, by as few ranges as the gaps between them allow. */
async function readPlaces(places: readonly Place[], range: RangeReader): Promise<readonly Buffer[]> {
  const spans: Place[] = [];
  const spanOf = places.map((place) => {
    const before = spans[spans.length - 1];
    if (before !== undefined && place.offset - (before.offset + before.length) <= RANGE_GAP_BYTES) {
      spans[spans.length - 1] = { offset: before.offset, length: place.offset + place.length - before.offset };
    } else spans.push(place);
    return spans.length - 1;
  });
  const read = await Promise.all(spans.map(({ offset, length }) => range(offset, length)));
  return places.map(({ offset, length }, i) => read[spanOf[i]].subarray(offset - spans[spanOf[i]].offset, offset - spans[spanOf[i]].offset + length));
}
