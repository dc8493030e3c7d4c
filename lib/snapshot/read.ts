// A stored snapshot, read back. Guarantees: rows come only out of verified bytes (I8); memory holds the foot, the page
// indexes of some row groups, the row group that is decoded and those fetched ahead of it, however large the shard is (I10);
// an object that disappears while it is read is an error the caller can start over from (recover), never a shorter snapshot.

import { assert } from "../model/assert.ts";
import { successor } from "../model/bytes.ts";
import { damagedObject, TidemarkError } from "../model/errors.ts";
import { release } from "../model/memory.ts";
import { keyOfRow, rowAtOrBehind, type Rows, sliceRows } from "../model/rows.ts";
import { firstAt } from "../model/search.ts";
import type { ObjectStore } from "../ports/object-store.ts";
import { decodeGroup, decodePage, pagePlace, verifyGroup } from "./parquet/decode.ts";
import { decodeFoot, type SnapshotFooter, type StoredGroup } from "./parquet/footer.ts";
import { COLUMNS, type GroupPages, MAGIC } from "./parquet/layout.ts";
import { decodePageIndex, verifyPageIndex } from "./parquet/page-index.ts";

/** So much of the object's end is fetched at once where nothing tells how much it takes: the foot of a snapshot of about 150 MB. */
const FOOT_GUESS_BYTES = 48 * 1024;
/** Ranges with no more than this between them are fetched as one: what a request costs is more than reading so much. */
const RANGE_GAP_BYTES = 16 * 1024;
/** A record's pages are read by so many ranges at most: beside the foot and the page index, four for a record. */
const RECORD_RANGES_MAX = 2;
/** A foot is found in at most so many steps: its guess, its seal, its start. */
const FOOT_STEPS_MAX = 3;
/** Row groups that are fetched ahead, and whose page indexes are fetched together. */
const GROUPS_AHEAD = 1;
const INDEXES_TOGETHER = 64;

export interface ReadSnapshotDeps {
  readonly store: Pick<ObjectStore, "getRange" | "head">;
}

export interface ReadSnapshotRequest {
  readonly key: string;
  /** As the checkpoint records them. Without them the object's own seal must do. */
  readonly size?: number;
  readonly footerSha256?: string;
  readonly footerBytes?: number;
}

export type OpenSnapshotOutcome = { readonly kind: "opened"; readonly snapshot: Snapshot } | { readonly kind: "absent" };

/** Every method throws `damagedObject` where stored bytes are not what they must be, and "expired-snapshot" (retry) where the object is gone. */
export interface Snapshot extends Omit<SnapshotFooter, "rows"> {
  readonly rowCount: number;
  readonly key: string;
  readonly size: number;
  /** Rows in key order, a page at a time: all, or those behind `after`. */
  rows(after?: Buffer): AsyncGenerator<Rows>;
  /** Rows of the row groups `from` (included) to `to` (excluded) at or above `lowest`, a page at a time. */
  rowsOfGroups(from: number, to: number, lowest?: Buffer): AsyncGenerator<Rows>;
  /** The record of `key`, from the pages that hold it alone. */
  get(key: Buffer): Promise<SnapshotRecord | undefined>;
  /** The pages of the row groups `from` (included) to `to` (excluded). */
  pagesOf(from: number, to: number): Promise<readonly GroupPages[]>;
  /** The bytes of the row groups `from` (included) to `to` (excluded), each verified. */
  bytesOfGroups(from: number, to: number): AsyncGenerator<Buffer>;
  /** Reads the row groups at these places (default: all) and all page indexes, checks them against their hashes, without decoding records; yields between them how many row groups were found sound. */
  verifyBytes(places?: readonly number[]): AsyncGenerator<number>;
}

export interface SnapshotRecord {
  readonly value: Buffer;
  readonly index: number;
  readonly timeMs: number;
}

/** Opens the snapshot and verifies its foot. Throws `damagedObject`, or "newer-format" for one of a later format version. */
export async function openSnapshot({ store }: ReadSnapshotDeps, request: ReadSnapshotRequest): Promise<OpenSnapshotOutcome> {
  const { key, footerSha256 } = request;
  const size = request.size ?? (await sizeOf(store, key));
  if (size === undefined) return { kind: "absent" };
  let lastBytes = Math.min(size, request.footerBytes ?? FOOT_GUESS_BYTES);
  for (let step = 0; step < FOOT_STEPS_MAX; step++) {
    const outcome = await store.getRange(key, { offset: size - lastBytes, length: lastBytes });
    if (outcome.kind === "absent") return outcome;
    const last = exactly(key, size, size - lastBytes, lastBytes, outcome);
    const finding = decodeFoot({ object: key, size, last, ...(footerSha256 === undefined ? {} : { footerSha256 }) });
    if (finding.kind === "foot") return { kind: "opened", snapshot: await snapshot(key, size, finding.footer, rangeReader(store, key, size)) };
    lastBytes = finding.lastBytes;
  }
  throw damagedObject(key, "its footer has no start");
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
  async function fetchGroup(group: StoredGroup): Promise<Buffer> {
    if (group.offset !== MAGIC.length) return range(group.offset, group.byteLength);
    const bytes = await range(0, MAGIC.length + group.byteLength);
    checkHead(key, bytes.subarray(0, MAGIC.length));
    return bytes.subarray(MAGIC.length);
  }

  /** Page indexes lie one behind the other, so that those of neighbours are one range. */
  async function pagesOf(from: number, to: number): Promise<readonly GroupPages[]> {
    const bytes = await indexBytes(from, to);
    return groups.slice(from, to).map((group, i) => decodePageIndex(key, group, group.index, bytes[i]));
  }

  async function indexBytes(from: number, to: number): Promise<readonly Buffer[]> {
    if (from === to) return [];
    const start = groups[from].index.offset;
    const last = groups[to - 1].index;
    const bytes = await range(start, last.offset + last.byteLength - start);
    return groups.slice(from, to).map(({ index }) => bytes.subarray(index.offset - start, index.offset - start + index.byteLength));
  }

  async function* rowsOfGroups(from: number, to: number, lowest?: Buffer): AsyncGenerator<Rows> {
    let pages: readonly GroupPages[] = [];
    let pagesFrom = from;
    let place = from - 1;
    for await (const bytes of fetchedAhead(placesBetween(from, to))) {
      place++;
      if (place >= pagesFrom + pages.length) {
        pagesFrom = place;
        pages = await pagesOf(place, Math.min(to, place + INDEXES_TOGETHER));
      }
      const own = pages[place - pagesFrom];
      const fromPage = lowest === undefined ? 0 : own.lastKeys.findIndex((last) => Buffer.compare(last, lowest) >= 0);
      for await (const page of fromPage < 0 ? [] : decodeGroup(key, groups[place], own, bytes, fromPage)) {
        const rows = lowest === undefined ? page : sliceRows(page, rowAtOrBehind(page, lowest), page.count);
        if (rows.count > 0) yield rows;
      }
      release(bytes);
    }
  }

  /** The row groups' bytes in the order of `places`, each asked for while those before it are worked on. */
  async function* fetchedAhead(places: readonly number[]): AsyncGenerator<Buffer> {
    const ahead: Promise<Buffer>[] = [];
    for (let asked = 0, given = 0; given < places.length; given++) {
      for (; asked < places.length && asked <= given + GROUPS_AHEAD; asked++) {
        const bytes = fetchGroup(groups[places[asked]]);
        // A failure waits for who awaits it, who may have gone.
        bytes.catch(() => undefined);
        ahead.push(bytes);
      }
      const next = ahead.shift();
      assert(next !== undefined, "a row group that is wanted was asked for");
      yield await next;
    }
  }

  async function* rows(after?: Buffer): AsyncGenerator<Rows> {
    const lowest = after && successor(after);
    yield* rowsOfGroups(lowest === undefined ? 0 : placeOf(lowest), groups.length, lowest);
  }

  /** Of the first row group that holds, or ends behind, the key. */
  function placeOf(wanted: Buffer): number {
    return firstAt(groups.length, (i) => Buffer.compare(groups[i].lastKey, wanted) >= 0);
  }

  async function get(wanted: Buffer): Promise<SnapshotRecord | undefined> {
    const place = placeOf(wanted);
    const group = groups[place];
    if (group === undefined || Buffer.compare(group.firstKey, wanted) > 0) return undefined;
    const [pages] = await pagesOf(place, place + 1);
    const page = firstAt(pages.lastKeys.length, (i) => Buffer.compare(pages.lastKeys[i], wanted) >= 0);
    if (Buffer.compare(pages.firstKeys[page], wanted) > 0) return undefined;
    const stored = await readPlaces(
      COLUMNS.map((_, column) => pagePlace(group, pages, column, page)),
      range,
    );
    return record(decodePage(key, pages, page, stored), wanted);
  }

  async function* bytesOfGroups(from: number, to: number): AsyncGenerator<Buffer> {
    let place = from;
    for await (const bytes of fetchedAhead(placesBetween(from, to))) {
      verifyGroup(key, groups[place++], bytes);
      yield bytes;
    }
  }

  async function* verifyBytes(places: readonly number[] = [...groups.keys()]): AsyncGenerator<number> {
    const read = new Set(places);
    for (let from = 0; from < groups.length; from += INDEXES_TOGETHER) {
      await verifyIndexes(from, Math.min(groups.length, from + INDEXES_TOGETHER), read);
      yield 0;
    }
    let verified = 0;
    for await (const bytes of fetchedAhead(places)) {
      verifyGroup(key, groups[places[verified]], bytes);
      release(bytes);
      verified++;
      yield verified;
    }
  }

  async function verifyIndexes(from: number, to: number, read: ReadonlySet<number>): Promise<void> {
    const bytes = await indexBytes(from, to);
    for (const [i, group] of groups.slice(from, to).entries()) {
      if (read.has(from + i)) decodePageIndex(key, group, group.index, bytes[i]);
      else verifyPageIndex(key, group, group.index, bytes[i]);
    }
  }

  return { ...footer, rowCount: footer.rows, key, size, rows, rowsOfGroups, get, pagesOf, bytesOfGroups, verifyBytes };
}

function placesBetween(from: number, to: number): readonly number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}

function checkHead(key: string, head: Buffer): void {
  if (!head.equals(MAGIC)) throw damagedObject(key, "it does not start with PAR1");
}

/** The value is a copy, so that it does not keep its page in memory. */
function record(rows: Rows, wanted: Buffer): SnapshotRecord | undefined {
  const row = rowAtOrBehind(rows, wanted);
  if (row === rows.count || !keyOfRow(rows, row).equals(wanted)) return undefined;
  const value = Buffer.from(rows.values.subarray(row === 0 ? 0 : rows.valueEnds[row - 1], rows.valueEnds[row]));
  return { value, index: rows.indexes[row], timeMs: rows.times[row] };
}

interface Place {
  readonly offset: number;
  readonly length: number;
}

/** The bytes at each of the places, by RECORD_RANGES_MAX ranges at most: those with the smallest gaps between them are fetched as one. */
async function readPlaces(places: readonly Place[], range: RangeReader): Promise<readonly Buffer[]> {
  const spans = places.toSorted((a, b) => a.offset - b.offset);
  for (let at = closest(spans); at > 0 && (spans.length > RECORD_RANGES_MAX || gapBefore(spans, at) <= RANGE_GAP_BYTES); at = closest(spans)) {
    const [before, after] = spans.slice(at - 1, at + 1);
    spans.splice(at - 1, 2, { offset: before.offset, length: after.offset + after.length - before.offset });
  }
  const read = await Promise.all(spans.map(({ offset, length }) => range(offset, length)));
  return places.map(({ offset, length }) => {
    const span = spans.findIndex((one) => offset >= one.offset && offset + length <= one.offset + one.length);
    return read[span].subarray(offset - spans[span].offset, offset - spans[span].offset + length);
  });
}

/** Which span has the smallest gap before it; 0 where there is but one. */
function closest(spans: readonly Place[]): number {
  return spans.reduce((best, _, at) => (at > 0 && (best === 0 || gapBefore(spans, at) < gapBefore(spans, best)) ? at : best), 0);
}

function gapBefore(spans: readonly Place[], at: number): number {
  return spans[at].offset - (spans[at - 1].offset + spans[at - 1].length);
}
