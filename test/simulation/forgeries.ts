// Encodings that are edited and whose checksums are made right again (test/fuzz does so to samples, this to what a schedule made).

import { crc32, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { memoryObjectStore } from "../../lib/adapters/memory/object-store.ts";
import { keyOfRow } from "../../lib/model/rows.ts";
import type { Random } from "../../lib/ports/random.ts";
import { verifyShard } from "../../lib/recovery/verify.ts";
import { decodeRedoFile } from "../../lib/redo-log/codec.ts";
import { decodePage, pagePlace } from "../../lib/snapshot/parquet/decode.ts";
import type { StoredGroup } from "../../lib/snapshot/parquet/footer.ts";
import { COLUMNS, type GroupPages } from "../../lib/snapshot/parquet/layout.ts";
import { makePage, openPage } from "../../lib/snapshot/parquet/page.ts";
import { pagesOfIndex } from "../../lib/snapshot/parquet/page-index.ts";
import { openSnapshot } from "../../lib/snapshot/read.ts";
import { type Edit, EDITS, edited, EXTREMES } from "../fuzz/edited.ts";
import { FOOT_END_BYTES, FOOT_START_BYTES, headerFor, redoPieces, sealedRedo, sealFoot } from "../fuzz/seals.ts";
import { type Troupe, whole } from "./actors.ts";
import { type Copy, orRefused, restsOn } from "./copies.ts";
import { oneOf } from "./damage.ts";
import { broken } from "./promises.ts";

const FORGERIES = 120;

/** An object is edited and its checksums are made right: it is refused, or in order, and the chain of digests finds it. */
export async function forges(troupe: Troupe, copy: Copy): Promise<boolean> {
  const { random, id, settings } = troupe;
  const { redo, snapshots } = restsOn(troupe);
  const key = oneOf(random, random.fraction() < 0.5 ? redo : snapshots);
  const sound = key === undefined ? undefined : copy.world.objects.objects.get(key);
  if (key === undefined || sound === undefined) return false;
  const isRedo = redo.includes(key);
  let last = sound;
  for (let each = 0; each < FORGERIES; each++) {
    const wrong: Buffer = isRedo ? forgedRedo(random, sound, key) : forgedSnapshot(random, sound);
    if (wrong.equals(sound)) continue;
    last = wrong;
    if (isRedo) await orRefused(async () => checkForgedRedo(wrong, key, sound));
    else await orRefused(() => checkForgedSnapshot(wrong, key));
  }
  if (!isRedo) await forgesPages(random, sound, key);
  if (last === sound) return false;
  copy.world.objects.damage(key, () => last);
  const report = await orRefused(() => verifyShard(copy.world, { id, codec: settings.codec }));
  if (report?.findings.length === 0) broken("I8", `${key} is another object behind right checksums, and verification finds nothing`);
  return true;
}

function forgedRedo(random: Random, sound: Buffer, key: string): Buffer {
  const { preamble, header, body } = redoPieces(sound);
  if (random.fraction() < 0.6) return sealedRedo(preamble, edited(header, drawEdits(random)), body);
  if (random.fraction() < 0.1) {
    const other = edited(preamble, drawEdits(random)).subarray(0, preamble.length);
    return other.length === preamble.length ? sealedRedo(other, header, body) : sound;
  }
  const { count } = decodeRedoFile(sound, key).header;
  const raw = zstdDecompressSync(body);
  // Kinds, then the lengths of keys and of values: where what is wrong is wrong most subtly.
  const lengths = Math.min(raw.length, count * 3);
  const front = random.fraction() < 0.5 ? edited(raw.subarray(0, lengths), drawEdits(random)) : edited(raw, drawEdits(random));
  const columns = random.fraction() < 0.5 ? Buffer.concat([front, raw.subarray(lengths)]) : Buffer.concat([front, raw]).subarray(0, raw.length);
  const frame = random.fraction() < 0.1 ? edited(body, drawEdits(random)) : zstdCompressSync(columns);
  const claimed = random.fraction() < 0.1 ? { rawBytes: oneOf(random, [0, 1, 2 ** 32 - 1]), count } : { rawBytes: columns.length, count };
  return sealedRedo(preamble, headerFor(header, frame, claimed), frame);
}

/** What is read of it is another file, by its digest. */
function checkForgedRedo(wrong: Buffer, key: string, sound: Buffer): void {
  const file = decodeRedoFile(wrong, key);
  if (file.header.digest === decodeRedoFile(sound, key).header.digest) broken("I8", `${key} was edited, and has the digest that it had`);
  if (file.records.count !== file.header.count) broken("I8", `${key} has ${file.records.count} mutations, and says ${file.header.count}`);
}

function forgedSnapshot(random: Random, sound: Buffer): Buffer {
  const footBytes = sound.readUInt32LE(sound.length - FOOT_END_BYTES) + FOOT_START_BYTES + FOOT_END_BYTES;
  const front = sound.subarray(0, sound.length - footBytes);
  const foot = sound.subarray(sound.length - footBytes);
  const footer = edited(foot.subarray(FOOT_START_BYTES, footBytes - FOOT_END_BYTES), drawEdits(random));
  const start = Buffer.from(foot.subarray(0, FOOT_START_BYTES));
  if (random.fraction() < 0.2) edited(start, drawEdits(random)).copy(start);
  const wrong = sealFoot(Buffer.concat([front, start, footer, Buffer.alloc(FOOT_END_BYTES)]), FOOT_START_BYTES + footer.length + FOOT_END_BYTES);
  if (random.fraction() < 0.1) return edited(wrong.subarray(0, wrong.length - 16), drawEdits(random));
  return wrong;
}

/** What is read of it is in order, and as much as it says. */
async function checkForgedSnapshot(wrong: Buffer, key: string): Promise<void> {
  const store = memoryObjectStore();
  await store.createIfAbsent(key, wrong);
  const opened = await openSnapshot({ store }, { key });
  if (opened.kind === "absent") return broken("I8", `${key} is there, and is said to be absent`);
  let count = 0;
  let last: Buffer | undefined;
  for await (const rows of opened.snapshot.rows()) {
    for (let row = 0; row < rows.count; row++, count++) {
      const next = Buffer.from(keyOfRow(rows, row));
      if (last !== undefined && Buffer.compare(last, next) >= 0) broken("I8", `the keys of ${key} do not ascend`);
      last = next;
    }
  }
  if (count !== opened.snapshot.rowCount) broken("I8", `${key} has ${count} records, and says ${opened.snapshot.rowCount}`);
}

/** Pages and page indexes, edited and made right again: what comes of them is in order, and as much as the row group says. */
async function forgesPages(random: Random, sound: Buffer, key: string): Promise<void> {
  const store = memoryObjectStore();
  await store.createIfAbsent(key, sound);
  const opened = await openSnapshot({ store }, { key });
  if (opened.kind === "absent" || opened.snapshot.groups.length === 0) return;
  const place = whole(random, 0, opened.snapshot.groups.length - 1);
  const group = opened.snapshot.groups[place];
  const [pages] = await opened.snapshot.pagesOf(place, place + 1);
  for (let each = 0; each < FORGERIES; each++)
    await orRefused(async () =>
      random.fraction() < 0.5 ? checkForgedIndex(random, sound, key, group) : checkForgedPage(random, sound, key, { group, pages }),
    );
}

function checkForgedIndex(random: Random, sound: Buffer, key: string, group: StoredGroup): void {
  const { offset, byteLength, lengths } = group.index;
  const isLonger = random.fraction() < 0.3;
  const index = isLonger ? sound.subarray(offset, offset + byteLength) : edited(sound.subarray(offset, offset + byteLength), drawEdits(random));
  const wrong = isLonger ? lengths.map((length) => (random.fraction() < 0.4 ? whole(random, 1, length + 9) : length)) : lengths;
  const { rows, columns } = pagesOfIndex(key, group, index, wrong);
  const sum = (counts: readonly number[]): number => counts.reduce((all, count) => all + count, 0);
  if (sum(rows) !== group.rows || columns.some(({ bytes }, column) => sum(bytes) !== group.columns[column].byteLength))
    broken("I8", `a page index of ${key} that was edited does not tile its row group`);
}

async function checkForgedPage(
  random: Random,
  sound: Buffer,
  key: string,
  { group, pages }: { readonly group: StoredGroup; readonly pages: GroupPages },
): Promise<void> {
  const page = whole(random, 0, pages.rows.length - 1);
  const rows = pages.rows[page];
  const column = whole(random, 0, COLUMNS.length - 1);
  const isBare = random.fraction() < 0.2;
  const made = await Promise.all(
    COLUMNS.map(async (about, place) => {
      const { offset, length } = pagePlace(group, pages, place, page);
      const stored = sound.subarray(offset, offset + length);
      const { checksums } = pages.columns[place];
      if (place !== column) return { stored, checksum: checksums[page] };
      // What is stored is edited itself, or what it holds, of which a page is made anew.
      if (isBare) return { stored: edited(stored, drawEdits(random)), checksum: random.fraction() < 0.5 ? checksums[page] : crc32(stored) };
      const raw = edited(Buffer.from(openPage(about, rows, checksums[page], stored)), drawEdits(random));
      const { header, payload, checksum } = await makePage(about, rows, raw);
      return { stored: Buffer.concat([header, payload]), checksum };
    }),
  );
  const one: GroupPages = {
    rows: [rows],
    firstKeys: [pages.firstKeys[page]],
    lastKeys: [pages.lastKeys[page]],
    columns: made.map(({ stored, checksum }) => ({ bytes: [stored.length], checksums: [checksum] })),
  };
  const found = decodePage(
    key,
    one,
    0,
    made.map(({ stored }) => stored),
  );
  const keys = Array.from({ length: found.count }, (_, row) => Buffer.from(keyOfRow(found, row)));
  const isOrdered = keys.every((each, row) => row === 0 || Buffer.compare(keys[row - 1], each) < 0);
  const isSafe = [found.indexes, found.times].every((numbers) =>
    numbers.subarray(0, found.count).every((number) => Number.isSafeInteger(number) && number >= 0),
  );
  if (found.count !== rows || !isOrdered || !isSafe) broken("I8", `a page of ${key} that was edited is read as ${found.count} rows for ${rows}, out of order`);
}

function drawEdits(random: Random): readonly Edit[] {
  return Array.from({ length: random.fraction() < 0.7 ? 1 : 2 }, (): Edit => {
    const isOne = random.fraction() < 0.6;
    return {
      kind: oneOf(random, EDITS),
      at: random.fraction(),
      length: isOne ? 0 : random.fraction() ** 4,
      to: random.fraction(),
      byte: random.fraction() < 0.5 ? oneOf(random, [0, 1, 0x7f, 0x80, 0xff]) : whole(random, 0, 255),
      number: oneOf(random, EXTREMES),
    };
  });
}
