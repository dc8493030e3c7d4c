import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { decodeFoot } from "../../../../lib/snapshot/parquet/footer.ts";
import { GROUP_BYTES_MAX, MAGIC, PAGE_INDEX_BYTES_MAX, type RowGroup, TRAILER_BYTES } from "../../../../lib/snapshot/parquet/layout.ts";
import type { PlacedGroup } from "../../../../lib/snapshot/parquet/page-index.ts";
import { SEAL_BYTES, sealFooter } from "../../../../lib/snapshot/parquet/seal.ts";
import { encodeTail } from "../../../../lib/snapshot/parquet/tail.ts";
import { readThrift } from "../../../../lib/snapshot/parquet/thrift.ts";
import { description, encodeRecords, jsonRecords } from "./records.ts";

/** Row groups of a few records. */
const { groups } = await encodeRecords(jsonRecords(8), description, { pageRows: 2, groupBytes: 450 });

interface Forged {
  /** The page indexes and the foot. */
  readonly tail: Buffer;
  readonly foot: Buffer;
  readonly indexesStart: number;
}

function forged(placed: readonly PlacedGroup[]): Forged {
  const { chunks } = encodeTail(description, placed);
  return {
    tail: Buffer.concat(chunks),
    foot: chunks[chunks.length - 1],
    indexesStart: placed.reduce((end, { group }) => end + group.byteLength, MAGIC.length),
  };
}

/** The footer of an object, of which only the tail is there. */
function footerOf({ tail, indexesStart }: Pick<Forged, "tail" | "indexesStart">) {
  const finding = decodeFoot({ object: "snapshot", size: indexesStart + tail.length, last: tail });
  if (finding.kind !== "foot") throw new Error("the tail holds the foot");
  return finding.footer;
}

/** The same foot, some bytes of its footer replaced by as many others, and sealed anew. */
function resealed({ tail, foot, indexesStart }: Forged, found: Uint8Array, by: Uint8Array, start = indexesStart): Pick<Forged, "tail" | "indexesStart"> {
  const footer = Buffer.from(foot.subarray(SEAL_BYTES, foot.length - TRAILER_BYTES));
  footer.set(by, footer.lastIndexOf(found));
  return { tail: Buffer.concat([tail.subarray(0, tail.length - foot.length), sealFooter(footer, start)]), indexesStart };
}

const damaged = (why: string) => expect.objectContaining({ kind: "repair", object: "snapshot", message: expect.stringContaining(why) });
const NOTHING = Buffer.alloc(0);

/** One row group whose value column has so many bytes more. */
function lengthened(by: number): PlacedGroup {
  const [{ group, index, indexLengths }] = groups;
  const columns = group.columns.map((chunk, column) => (column === 1 ? { ...chunk, byteLength: chunk.byteLength + by } : chunk));
  const longer: RowGroup = { ...group, byteLength: group.byteLength + by, columns };
  return { group: longer, index, indexLengths };
}

test("a footer tells the row groups and where their page indexes lie", () => {
  const { rows, groups: stored } = footerOf(forged(groups));
  expect(groups.length).toBeGreaterThan(1);
  expect(rows).toBe(8);
  expect(stored.map(({ index: _, ...group }) => group)).toEqual(groups.map(({ group }) => group));
  expect(stored.map(({ index }) => [index.byteLength, index.lengths])).toEqual(groups.map(({ index, indexLengths }) => [index.length, indexLengths]));
  expect(footerOf(resealed(forged(groups), NOTHING, NOTHING)).groups).toEqual(stored);
});

test("values are told as JSON where their codec says so, and as bytes otherwise", () => {
  const valueColumn = (codec: "json" | "bytes") => {
    const { chunks } = encodeTail({ ...description, codec }, []);
    return readThrift(chunks[0], SEAL_BYTES).struct.structs(2)[2];
  };
  const [json, bytes] = [valueColumn("json"), valueColumn("bytes")];
  expect([json.text(4), bytes.text(4)]).toEqual(["value", "value"]);
  expect([json.integer(6), json.struct(10).has(12)]).toEqual([19, true]);
  expect([bytes.has(6), bytes.has(10)]).toEqual([false, false]);
});

test("a footer that counts other rows than its row groups is refused", () => {
  // Field 3, an integer, and the head of field 4, a list.
  const [counted, other] = [8, 9].map((rows) => Buffer.from([0x16, 2 * rows, 0x19]));
  expect(() => footerOf(resealed(forged(groups), counted, other))).toThrow(damaged("counts other rows"));
});

test("row groups that overlap are refused, and so are those that share a key", () => {
  const [{ group: first }, { group: second }] = groups;
  for (const key of [first.lastKey, first.firstKey]) {
    expect(() => footerOf(resealed(forged(groups), second.firstKey, key))).toThrow(damaged("overlap"));
  }
});

test("row groups and page indexes tile the object, and so does a foot without either", () => {
  const empty = forged([]);
  expect(footerOf(empty).groups).toEqual([]);
  const withGap = { tail: Buffer.concat([Buffer.alloc(1), empty.tail]), indexesStart: empty.indexesStart };
  expect(() => footerOf(withGap)).toThrow(damaged("do not tile the object"));
  const { tail, indexesStart } = resealed(empty, NOTHING, NOTHING, empty.indexesStart + 1);
  expect(() => footerOf({ tail, indexesStart: indexesStart + 1 })).toThrow(damaged("do not tile the object"));
});

test("a row group has no more bytes than a reader takes", () => {
  const room = GROUP_BYTES_MAX - groups[0].group.byteLength;
  expect(footerOf(forged([lengthened(room)])).groups[0].byteLength).toBe(GROUP_BYTES_MAX);
  expect(() => footerOf(forged([lengthened(room + 1)]))).toThrow(damaged(`a row group has ${GROUP_BYTES_MAX + 1} bytes`));
});

test("a row group whose columns do not tile it is refused", () => {
  const [{ group, ...about }] = groups;
  const columns = group.columns.map((chunk, column) => (column === 1 ? { ...chunk, offset: chunk.offset + 1 } : chunk));
  expect(() => footerOf(forged([{ ...about, group: { ...group, columns } }]))).toThrow(damaged("do not tile it"));
});

test("a page index has no more bytes than a reader takes", () => {
  const [{ group, indexLengths }] = groups;
  const withIndex = (bytes: number) => forged([{ group, index: Buffer.alloc(bytes), indexLengths }]);
  expect(footerOf(withIndex(PAGE_INDEX_BYTES_MAX)).groups[0].index.byteLength).toBe(PAGE_INDEX_BYTES_MAX);
  expect(() => footerOf(withIndex(PAGE_INDEX_BYTES_MAX + 1))).toThrow(damaged(`a page index has ${PAGE_INDEX_BYTES_MAX + 1} bytes`));
});

test("the structures of a page index lie one behind the other within it, and none is empty", () => {
  const [{ group, index, indexLengths }] = groups;
  const withLengths = (lengths: readonly number[]) => forged([{ group, index, indexLengths: lengths }]);
  expect(() => footerOf(withLengths([0, ...indexLengths.slice(1)]))).toThrow(damaged("do not tile it"));
  expect(footerOf(withLengths([1, ...indexLengths.slice(1)])).groups).toHaveLength(1);
  expect(() => footerOf(withLengths([index.length, ...indexLengths.slice(1)]))).toThrow(damaged("beyond its end"));
  const { tail, indexesStart } = resealed(forged(groups.slice(0, 1)), NOTHING, NOTHING, groups[0].group.byteLength + MAGIC.length + 1);
  expect(() => footerOf({ tail, indexesStart })).toThrow(damaged("do not tile it"));
});

/** As many row groups as a snapshot of so many times 1.75 MB has. */
function manyGroups(count: number): readonly PlacedGroup[] {
  const [{ group, index, indexLengths }] = groups;
  return Array.from({ length: count }, (_, place) => {
    const key = Buffer.from(String(place).padStart(12, "0"));
    return { group: { ...group, offset: MAGIC.length + place * group.byteLength, firstKey: key, lastKey: key }, index, indexLengths };
  });
}

const READER = new URL("../../../../lib/snapshot/parquet/footer.ts", import.meta.url).href;
const READ_FOOT = `const { parentPort, workerData } = require("node:worker_threads");
import(workerData.reader).then(({ decodeFoot }) => {
  const { footer } = decodeFoot({ object: "snapshot", size: workerData.size, last: Buffer.from(workerData.tail) });
  parentPort.postMessage(footer.groups.length);
});`;

test("a footer of many row groups is read in little more memory than what it tells of them takes", async () => {
  const count = 10_000;
  const { tail, indexesStart } = forged(manyGroups(count));
  const workerData = { reader: READER, tail, size: indexesStart + tail.length };
  // What it tells takes some 1.3 kB a row group; all that its structures hold, as objects, five times that.
  const worker = new Worker(READ_FOOT, { eval: true, workerData, execArgv: [], resourceLimits: { maxOldGenerationSizeMb: 56 } });
  expect(await once(worker, "message")).toEqual([count]);
  await worker.terminate();
});
