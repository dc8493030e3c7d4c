import fc from "fast-check";
import { expect, test } from "vitest";
import { openSnapshot, type RowRange, type Snapshot } from "../../../lib/snapshot/read.ts";
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

async function readRecords(snapshot: Snapshot, range?: RowRange): Promise<readonly TestRecord[]> {
  const records: TestRecord[] = [];
  for await (const rows of snapshot.rows(range)) {
    expect(rows.count).toBeGreaterThan(0);
    records.push(...toRecords(rows));
  }
  return records;
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
const encoded = encodeRecords(many);

test("an absent object is an outcome, whether its size is known or not", async () => {
  const store = storeOf(new Map());
  expect(await openSnapshot({ store }, { key: KEY })).toEqual({ kind: "absent" });
  expect(await openSnapshot({ store }, { key: KEY, size: 100, footerSha256: "0".repeat(64) })).toEqual({ kind: "absent" });
});

test("what is read is what was written, and every range of it", async () => {
  await fc.assert(
    fc.asyncProperty(
      anyRecords(40),
      fc.option(anyKey, { nil: undefined }),
      fc.option(anyKey, { nil: undefined }),
      fc.nat(6),
      async (records, after, key, cut) => {
        const { snapshot } = await open(encodeRecords(records).bytes);
        const prefix = key?.subarray(0, cut);
        const wanted = records.filter(
          (record) =>
            (after === undefined || Buffer.compare(record.key, after) > 0) && (prefix === undefined || record.key.subarray(0, prefix.length).equals(prefix)),
        );
        expect(await readRecords(snapshot, { ...(after && { after }), ...(prefix && { prefix }) })).toEqual(wanted);
      },
    ),
  );
});

test("ranges that cross pages and row groups hold exactly their records", async () => {
  const { snapshot } = await open(encoded.bytes);
  expect(snapshot.groups.length).toBeGreaterThan(1);
  expect(snapshot.description).toEqual(description);
  expect(snapshot.rowCount).toBe(many.length);
  for (const [after, prefix] of [
    [undefined, undefined],
    ["user/00001023", undefined],
    ["user/00001024", undefined],
    ["user/00039998", undefined],
    ["user/00039999", undefined],
    ["a", undefined],
    ["zz", undefined],
    [undefined, "user/0000"],
    [undefined, "user/00012"],
    ["user/000125", "user/00012"],
    ["user/00029", "user/00012"],
    [undefined, "user/00039999"],
    [undefined, "user/00040"],
    [undefined, "user/000123456"],
    [undefined, ""],
  ] as const) {
    const wanted = many.filter(({ key }) => (after === undefined || String(key) > after) && (prefix === undefined || String(key).startsWith(prefix)));
    const read = await readRecords(snapshot, {
      ...(after !== undefined && { after: Buffer.from(after) }),
      ...(prefix !== undefined && { prefix: Buffer.from(prefix) }),
    });
    expect(
      read.map(({ key }) => String(key)),
      `after ${after}, prefix ${prefix}`,
    ).toEqual(wanted.map(({ key }) => String(key)));
    expect(Buffer.concat(read.map(({ value }) => value)).equals(Buffer.concat(wanted.map(({ value }) => value)))).toBe(true);
  }
}, 30_000);

test("a prefix reads only the row groups that can hold it", async () => {
  const { snapshot, store } = await open(encoded.bytes);
  store.ranges.length = 0;
  await readRecords(snapshot, { prefix: Buffer.from("user/0000000") });
  expect(store.ranges).toEqual([{ offset: 0, length: 4 + snapshot.groups[0].byteLength }]);
});

test("a point read finds each record by at most four ranges, and no other key", async () => {
  const { snapshot, store } = await open(encoded.bytes);
  for (let i = 0; i < many.length; i += 997) {
    const { key, value, index, timeMs } = many[i];
    store.ranges.length = 0;
    expect(await snapshot.get(key)).toEqual({ value, index, timeMs });
    expect(store.ranges.length).toBeLessThanOrEqual(4);
    expect(store.ranges.reduce((sum, range) => sum + range.length, 0)).toBeLessThan(600_000);
    expect(await snapshot.get(Buffer.concat([key, Buffer.from("!")]))).toBeUndefined();
  }
  for (const absent of ["", "a", "user/", "zz"]) expect(await snapshot.get(Buffer.from(absent))).toBeUndefined();
});

test("an object that disappears while it is read is an error to start over from", async () => {
  const expired = expect.objectContaining({ kind: "retry", code: "expired-snapshot", message: expect.stringContaining(KEY) });
  const { snapshot, objects } = await open(encoded.bytes);
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

test("one row group at most is read ahead", async () => {
  const { snapshot, store } = await open(encoded.bytes);
  store.ranges.length = 0;
  const rows = snapshot.rows();
  await rows.next();
  expect(store.ranges.length).toBe(2);
  await rows.return(undefined);
});

test("a tail longer than the first guess is found", async () => {
  const long = many
    .slice(0, 30_000)
    .map((record, i) => ({ ...record, key: Buffer.from(`${"k".repeat(1_000)}${String(i).padStart(8, "0")}`), value: Buffer.alloc(0) }));
  const sparse = long.flatMap((record, i) => (i % 40 === 0 ? [{ ...record, value: Buffer.alloc(400_000) }] : i % 40 < 3 ? [record] : []));
  const { bytes } = encodeRecords(sparse);
  const { snapshot } = await open(bytes);
  expect(bytes.length - snapshot.groups.reduce((end, group) => end + group.byteLength, 4)).toBeGreaterThan(256 * 1024);
  expect(snapshot.rowCount).toBe(sparse.length);
  await Array.fromAsync(snapshot.verifyBytes());
}, 30_000);
