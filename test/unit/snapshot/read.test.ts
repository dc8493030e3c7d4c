import fc from "fast-check";
import { expect, test } from "vitest";
import { pagePlace } from "../../../lib/snapshot/parquet/decode.ts";
import { COLUMNS } from "../../../lib/snapshot/parquet/layout.ts";
import { openSnapshot, type Snapshot } from "../../../lib/snapshot/read.ts";
import { anyKey, anyRecords, description, encodeRecords, jsonRecords, type TestRecord, toRecords } from "./parquet/records.ts";
import { type StoreOfObjects, storeOf } from "./store-of.ts";

const KEY = "players/3/00112233aabbccdd/snapshots/0000000000000057-e3.parquet";

async function open(bytes: Buffer): Promise<{ readonly snapshot: Snapshot; readonly objects: Map<string, Buffer>; readonly store: StoreOfObjects }> {
  const objects = new Map([[KEY, bytes]]);
  const store = storeOf(objects);
  const opened = await openSnapshot({ store }, { key: KEY });
  if (opened.kind === "absent") throw new Error("the snapshot is there");
  return { snapshot: opened.snapshot, objects, store };
}

async function readRecords(snapshot: Snapshot, after?: Buffer): Promise<readonly TestRecord[]> {
  const records: TestRecord[] = [];
  for await (const rows of snapshot.rows(after)) {
    expect(rows.count).toBeGreaterThan(0);
    records.push(...toRecords(rows));
  }
  return records;
}

/** Ranges that are asked for at the same time, as they lie in the object. */
function inOrder(ranges: StoreOfObjects["ranges"]): StoreOfObjects["ranges"] {
  return ranges.toSorted((a, b) => a.offset - b.offset);
}

/** Enough for several row groups of several pages: noise does not shrink. */
function manyRecords(count: number): readonly TestRecord[] {
  return jsonRecords(count).map((record) => ({ ...record, value: Buffer.concat([record.value, Buffer.from(noise(record.index, 120))]) }));
}

function noise(seed: number, length: number): Uint8Array {
  let state = seed * 2_654_435_761;
  return Uint8Array.from({ length }, () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32;
    return state >>> 24;
  });
}

const many = manyRecords(40_000);
const encoded = await encodeRecords(many);

test("an absent object is an outcome, whether its size is known or not", async () => {
  const store = storeOf(new Map());
  expect(await openSnapshot({ store }, { key: KEY })).toEqual({ kind: "absent" });
  expect(await openSnapshot({ store }, { key: KEY, size: 100, footerSha256: "0".repeat(64) })).toEqual({ kind: "absent" });
});

test("what is read is what was written, and every range of it", async () => {
  await fc.assert(
    fc.asyncProperty(anyRecords(40), fc.option(anyKey, { nil: undefined }), async (records, after) => {
      const { snapshot } = await open((await encodeRecords(records)).bytes);
      expect(await readRecords(snapshot, after)).toEqual(records.filter(({ key }) => after === undefined || Buffer.compare(key, after) > 0));
    }),
  );
});

test("ranges that cross pages and row groups hold exactly their records", async () => {
  const { snapshot } = await open(encoded.bytes);
  expect(snapshot.groups.length).toBeGreaterThan(1);
  expect(snapshot.description).toEqual(description);
  expect(snapshot.rowCount).toBe(many.length);
  for (const after of [undefined, "user/00001023", "user/00001024", "user/00039998", "user/00039999", "a", "zz"]) {
    const wanted = many.filter(({ key }) => after === undefined || String(key) > after);
    const read = await readRecords(snapshot, after === undefined ? undefined : Buffer.from(after));
    expect(
      read.map(({ key }) => String(key)),
      `after ${after}`,
    ).toEqual(wanted.map(({ key }) => String(key)));
    expect(Buffer.concat(read.map(({ value }) => value)).equals(Buffer.concat(wanted.map(({ value }) => value)))).toBe(true);
  }
});

/** Row groups of two pages, of two records each but for the last. */
const few = jsonRecords(23);
const fewEncoded = await encodeRecords(few, description, { pageRows: 2, groupBytes: 300 });

test("each record of a small snapshot is found by its key, and no key between two of them", async () => {
  const { snapshot } = await open(fewEncoded.bytes);
  expect(snapshot.groups.length).toBeGreaterThan(4);
  for (const { key, value, index, timeMs } of few) {
    expect(await snapshot.get(key)).toEqual({ value, index, timeMs });
    expect(await snapshot.get(Buffer.concat([key, Buffer.from("!")]))).toBeUndefined();
    expect(await snapshot.get(key.subarray(0, -1))).toBeUndefined();
  }
  expect(await snapshot.get(Buffer.from("zz"))).toBeUndefined();
});

test("behind any key of a small snapshot, or between two, its records are read from there on", async () => {
  const { snapshot } = await open(fewEncoded.bytes);
  for (const after of [Buffer.from(""), ...few.flatMap(({ key }) => [key, Buffer.concat([key, Buffer.from("!")])])]) {
    expect(await readRecords(snapshot, after)).toEqual(few.filter(({ key }) => Buffer.compare(key, after) > 0));
  }
});

test("a record is read by one range of page indexes and one of its page, and the rows by one range a row group", async () => {
  const { snapshot, store } = await open(fewEncoded.bytes);
  const rangesOf = async (read: () => Promise<unknown>) => {
    store.ranges.length = 0;
    await read();
    return store.ranges.map(({ offset, length }) => [offset, length]);
  };
  const indexOf = ({ index }: Snapshot["groups"][number]) => [index.offset, index.byteLength];
  const [first, second] = snapshot.groups;
  expect((await rangesOf(() => snapshot.get(few[0].key)))[0]).toEqual(indexOf(first));
  const [index, ...pages] = await rangesOf(() => snapshot.get(second.lastKey));
  expect(index).toEqual(indexOf(second));
  for (const [offset, length] of pages) expect([offset >= second.offset, offset + length <= second.offset + second.byteLength]).toEqual([true, true]);
  expect(await rangesOf(() => snapshot.get(Buffer.from("a")))).toEqual([]);
  expect(await rangesOf(() => snapshot.get(Buffer.from("zz")))).toEqual([]);
  expect(await rangesOf(() => snapshot.get(Buffer.concat([first.lastKey, Buffer.from("!")])))).toEqual([]);
  const [{ lastKeys }] = await snapshot.pagesOf(1, 2);
  expect(await rangesOf(() => snapshot.get(Buffer.concat([lastKeys[0], Buffer.from("!")])))).toEqual([indexOf(second)]);
  expect(await rangesOf(() => snapshot.pagesOf(1, 1))).toEqual([]);
  expect(await rangesOf(() => readRecords(snapshot))).toHaveLength(1 + snapshot.groups.length);
  expect(await rangesOf(() => readRecords(snapshot, first.lastKey))).toHaveLength(snapshot.groups.length);
});

test.each([
  [8, 1],
  [60, 2],
])(
  "the pages of a record of %i are read by %i ranges: what lies in the widest gap is left out, where that is more than a request is worth",
  async (count, most) => {
    const wide = Array.from({ length: count }, (_, i) => {
      const key = Buffer.concat([Buffer.from(String(i).padStart(4, "0")), noise(i, 900)]);
      return { key, value: Buffer.from(noise(i, 1_500)), index: i, timeMs: i };
    });
    const { snapshot, store } = await open((await encodeRecords(wide, description, { pageRows: 1, groupBytes: 1_000_000 })).bytes);
    const [pages] = await snapshot.pagesOf(0, 1);
    for (const [page, { key, value, index, timeMs }] of wide.entries()) {
      store.ranges.length = 0;
      expect(await snapshot.get(key)).toEqual({ value, index, timeMs });
      const places = COLUMNS.map((_, column) => pagePlace(snapshot.groups[0], pages, column, page)).sort((a, b) => a.offset - b.offset);
      const gaps = places.map(({ offset }, i) => (i === 0 ? 0 : offset - places[i - 1].offset - places[i - 1].length));
      const widest = gaps.indexOf(Math.max(...gaps));
      const spans = most === 1 ? [places] : [places.slice(0, widest), places.slice(widest)];
      const ranges = spans.map((span) => ({ offset: span[0].offset, length: span[span.length - 1].offset + span[span.length - 1].length - span[0].offset }));
      expect(inOrder(store.ranges.slice(1))).toEqual(ranges);
    }
  },
);

test("where row groups are read back, the page indexes of the others are verified as well", async () => {
  const { snapshot: sound } = await open(fewEncoded.bytes);
  const wrong = Buffer.from(fewEncoded.bytes);
  wrong[sound.groups[0].index.offset] ^= 1;
  const { snapshot } = await open(wrong);
  await expect(Array.fromAsync(snapshot.verifyBytes([1]))).rejects.toMatchObject({ kind: "repair", object: KEY });
});

/** As the benches have them: 235 bytes, of which 64 letters cannot shrink below 48 bytes. */
const lived = await encodeRecords(
  Array.from({ length: 75_000 }, (_, i) => ({
    key: Buffer.from(`user/${String(i).padStart(10, "0")}`),
    value: Buffer.from(JSON.stringify({ id: i, city: ["Oslo", "Lima"][i % 2], seenAt: `2026-03-0${1 + (i % 9)}T10:${10 + (i % 50)}:00.000Z`, ...tokens(i) })),
    index: 1 + ((i * 48_271) % 80_021),
    timeMs: 1_700_000_000_000 + ((i * 48_271) % 80_021),
  })),
);

function tokens(i: number): object {
  return {
    name: `${["Ada", "Grace", "Tony"][i % 3]} ${(i * 7_919) % 10_000}`,
    coins: (i * 48_271) % 1_000_003,
    token: Buffer.from(noise(i, 48)).toString("base64url"),
  };
}

test("one record of a million is read by at most four ranges and 160 KB, the foot included, and no other key is found", async () => {
  const objects = new Map([[KEY, lived.bytes]]);
  const { size, footerSha256, footerBytes, groups, rows } = lived;
  expect(groups.length).toBeGreaterThan(2);
  // A foot grows with its row groups, and the rest of what is read does not.
  const [emptyFootBytes, millionth] = [(await encodeRecords([])).footerBytes, 1_000_000 / rows];
  const footOfMillion = emptyFootBytes + (footerBytes - emptyFootBytes) * millionth;
  for (let i = 0; i < rows; i += 997) {
    const store = storeOf(objects);
    const opened = await openSnapshot({ store }, { key: KEY, size, footerSha256, footerBytes });
    if (opened.kind === "absent") throw new Error("the snapshot is there");
    expect(await opened.snapshot.get(Buffer.from(`user/${String(i).padStart(10, "0")}`))).toMatchObject({ value: expect.any(Buffer) });
    expect(store.ranges.length).toBeLessThanOrEqual(4);
    const bytes = store.ranges.reduce((sum, range) => sum + range.length, 0);
    expect(bytes - footerBytes + footOfMillion).toBeLessThan(160_000);
  }
});

test("a point read finds each record as it is, and no other key", async () => {
  const { snapshot, store } = await open(encoded.bytes);
  for (let i = 0; i < many.length; i += 997) {
    const { key, value, index, timeMs } = many[i];
    store.ranges.length = 0;
    expect(await snapshot.get(key)).toEqual({ value, index, timeMs });
    expect(store.ranges.length).toBeLessThanOrEqual(3);
    expect(await snapshot.get(Buffer.concat([key, Buffer.from("!")]))).toBeUndefined();
  }
  for (const absent of ["", "a", "user/", "zz"]) expect(await snapshot.get(Buffer.from(absent))).toBeUndefined();
});

test("an object that disappears while it is read is an error to start over from", async () => {
  const expired = expect.objectContaining({ kind: "retry", code: "expired-snapshot", message: expect.stringContaining(KEY) });
  const { snapshot, objects } = await open((await encodeRecords(many.slice(0, 2_000), description, { pageRows: 64, groupBytes: 20_000 })).bytes);
  const rows = snapshot.rows();
  await rows.next();
  objects.clear();
  await expect(
    (async () => {
      for await (const _ of rows);
    })(),
  ).rejects.toEqual(expired);
  await expect(snapshot.get(many[0].key)).rejects.toEqual(expired);
  await expect(Array.fromAsync(snapshot.verifyBytes())).rejects.toEqual(expired);
});

test("a reader that stops early leaves no failure behind", async () => {
  const { snapshot, objects } = await open(encoded.bytes);
  for await (const rows of snapshot.rows()) {
    objects.clear();
    expect(rows.count).toBeGreaterThan(0);
    break;
  }
});

test("one row group at most is fetched ahead, and one range has their page indexes", async () => {
  const { snapshot, store } = await open(encoded.bytes);
  store.ranges.length = 0;
  const rows = snapshot.rows();
  await rows.next();
  const [first, second] = snapshot.groups;
  expect(inOrder(store.ranges)).toEqual([
    { offset: 0, length: 4 + first.byteLength },
    { offset: second.offset, length: second.byteLength },
    { offset: first.index.offset, length: snapshot.groups.reduce((sum, { index }) => sum + index.byteLength, 0) },
  ]);
  await rows.return(undefined);
});

test("a foot longer than the first guess is found, and read at once where its bytes are known", async () => {
  const long = many.slice(0, 160).map((record, i) => ({ ...record, key: Buffer.from(`${"k".repeat(1_000)}${String(i).padStart(8, "0")}`) }));
  const { bytes, footerBytes, size } = await encodeRecords(long, description, { pageRows: 2, groupBytes: 300 });
  expect(footerBytes).toBeGreaterThan(96 * 1024);
  const { snapshot, store } = await open(bytes);
  expect(snapshot.rowCount).toBe(long.length);
  expect(store.ranges.map(({ length }) => length)).toEqual([48 * 1024, footerBytes]);
  store.ranges.length = 0;
  await openSnapshot({ store }, { key: KEY, size, footerBytes });
  expect(store.ranges).toEqual([{ offset: size - footerBytes, length: footerBytes }]);
  expect(await readRecords(snapshot)).toEqual(long);
  await Array.fromAsync(snapshot.verifyBytes());
});

test("row groups are read from any one to any other, from a key on", async () => {
  await fc.assert(
    fc.asyncProperty(anyRecords(40), fc.nat(20), fc.nat(20), fc.option(anyKey, { nil: undefined }), async (records, one, other, lowest) => {
      const { bytes, groups } = await encodeRecords(records, description, { pageRows: 2, groupBytes: 150 });
      const { snapshot } = await open(bytes);
      const [from, to] = [one, other].map((place) => Math.min(place, groups.length)).sort((a, b) => a - b);
      const read: TestRecord[] = [];
      for await (const rows of snapshot.rowsOfGroups(from, to, lowest)) read.push(...toRecords(rows));
      const before = groups.slice(0, from).reduce((sum, { group }) => sum + group.rows, 0);
      const until = groups.slice(0, to).reduce((sum, { group }) => sum + group.rows, 0);
      expect(read).toEqual(records.slice(before, until).filter(({ key }) => lowest === undefined || Buffer.compare(key, lowest) >= 0));
    }),
  );
});

test("a row group's bytes are those that were encoded, and only the places asked for are read back", async () => {
  const { snapshot, store } = await open(encoded.bytes);
  const { offset, byteLength, index } = snapshot.groups[1];
  const [bytes] = await Array.fromAsync(snapshot.bytesOfGroups(1, 2));
  expect(bytes.equals(encoded.bytes.subarray(offset, offset + byteLength))).toBe(true);
  store.ranges.length = 0;
  expect(await Array.fromAsync(snapshot.verifyBytes([1]))).toEqual([0, 1]);
  const first = snapshot.groups[0].index.offset;
  const last = snapshot.groups[snapshot.groups.length - 1].index;
  expect(index.offset).toBeGreaterThan(first);
  expect(store.ranges).toEqual([
    { offset: first, length: last.offset + last.byteLength - first },
    { offset, length: byteLength },
  ]);
});
