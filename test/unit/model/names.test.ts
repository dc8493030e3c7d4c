import fc from "fast-check";
import { expect, test } from "vitest";
import { SHARDS_MAX, TABLE_NAME_LENGTH_MAX } from "../../../lib/model/limits.ts";
import {
  attachmentReference,
  checkTableName,
  incarnationPrefix,
  isIncarnation,
  parseObjectName,
  parseTarget,
  quarantineKey,
  redoKey,
  referencesIn,
  shardName,
  snapshotKey,
} from "../../../lib/model/names.ts";
import { toEpoch, toIndex } from "../../../lib/model/position.ts";

const prefix = incarnationPrefix({ table: "players", shard: 3 }, "00112233aabbccdd");

test("a redo file's key gives its first index back", () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (first) => {
      const key = redoKey(prefix, toIndex(first));
      expect(parseObjectName(key.slice(prefix.length))).toEqual({ kind: "redo", first });
    }),
  );
});

test("a snapshot's key gives its index and epoch back", () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), (index, epoch) => {
      const key = snapshotKey(prefix, toIndex(index), toEpoch(epoch));
      expect(parseObjectName(key.slice(prefix.length))).toEqual({ kind: "snapshot", index, epoch });
    }),
  );
});

test("the order of keys is the order of indexes", () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.maxSafeNat(), (a, b) => {
      const inOrder = redoKey(prefix, toIndex(a)) < redoKey(prefix, toIndex(b));
      expect(inOrder).toBe(a < b);
    }),
  );
});

test("keys are those of the format", () => {
  expect([redoKey(prefix, toIndex(57)), snapshotKey(prefix, toIndex(57), toEpoch(3))]).toEqual([
    "players/3/00112233aabbccdd/redo/0000000000000057.redo",
    "players/3/00112233aabbccdd/snapshots/0000000000000057-e3.parquet",
  ]);
});

test.each([
  "",
  "redo/57.redo",
  "redo/0000000000000057.redo.tmp",
  "redo/00000000000000057.redo",
  "redo/9999999999999999.redo",
  "redo/0000000000000057.REDO",
  "x/redo/0000000000000057.redo",
  "snapshots/0000000000000057-e0.parquet",
  "snapshots/0000000000000057-e03.parquet",
  "snapshots/0000000000000057.parquet",
  "snapshots/0000000000000057-e9007199254740992.parquet",
  "redo/0000000000000057.redo\n",
  "xsnapshots/0000000000000057-e3.parquet",
  "snapshots/0000000000000057-e3.parquet.tmp",
  "snapshots/0000000000000057-e3xparquet",
  "snapshots/9999999999999999-e3.parquet",
  "snapshots/57-e3.parquet",
  "redo/0000000000000057xredo",
  "attached/9999999999999999/a",
  "attached/0000000000000007/",
  "attached/0000000000000007/a/../b",
  "attached/0000000000000007/a//b",
  "attached/0000000000000007/a b",
  `attached/0000000000000007/${"a".repeat(201)}`,
  "attached/7/a",
  "xattached/0000000000000007/a",
])("a name that no version makes is unknown: %j", (rest) => {
  expect(parseObjectName(rest)).toEqual({ kind: "unknown" });
});

test.each(["players", "p", "0", "a.b", "a-b_c.d", "a".repeat(TABLE_NAME_LENGTH_MAX)])("%j is a table's name", (name) => {
  expect(() => checkTableName(name)).not.toThrow();
});

test.each(["", "../x", "a/b", "..", ".a", "a..b", "-a", "_a", "Players", "pläyers", "a b", "a\n", "a".repeat(TABLE_NAME_LENGTH_MAX + 1)])(
  "%j is no table's name",
  (name) => {
    expect(() => checkTableName(name)).toThrow(expect.objectContaining({ kind: "call", code: "bad-table-name" }));
  },
);

test("a target is a table, or a table and a shard", () => {
  expect([parseTarget("players"), parseTarget("players/0"), parseTarget(`players/${SHARDS_MAX - 1}`)]).toEqual([
    { table: "players" },
    { table: "players", shard: 0 },
    { table: "players", shard: SHARDS_MAX - 1 },
  ]);
});

test("a shard's name is a target of that shard", () => {
  fc.assert(
    fc.property(fc.nat(SHARDS_MAX - 1), (shard) => {
      expect(parseTarget(shardName({ table: "players", shard }))).toEqual({ table: "players", shard });
    }),
  );
});

test.each(["Players", "Players/0", "/0", "a..b/0", ""])("%j names no table, and so no shard of one", (text) => {
  expect(() => parseTarget(text)).toThrow(expect.objectContaining({ kind: "call", code: "bad-table-name" }));
});

test.each([
  "players/",
  "players/01",
  "players/-1",
  "players/+1",
  "players/1.0",
  "players/1e1",
  "players/ 1",
  `players/${SHARDS_MAX}`,
  "players/0/1",
  "players/x",
])("%j names no shard", (text) => {
  expect(() => parseTarget(text)).toThrow(expect.objectContaining({ kind: "call", code: "bad-shard" }));
});

test("an incarnation is sixteen hexadecimal digits", () => {
  expect(["00112233aabbccdd", "00112233AABBCCDD", "0011", "00112233aabbccdde", "00112233aabbccd/"].map(isIncarnation)).toEqual([
    true,
    false,
    false,
    false,
    false,
  ]);
});

test("an attachment's reference gives its sequence back, and is found in a value as a JSON string of its own", () => {
  const names = ["7/one.tsm", "a", "A-b_c.d/e", "a".repeat(200)];
  const references = names.map((name, sequence) => attachmentReference(sequence, name));
  expect(references[0]).toBe("attached/0000000000000000/7/one.tsm");
  expect(references.map(parseObjectName)).toEqual(names.map((_, sequence) => ({ kind: "attached", sequence })));
  expect(referencesIn(Buffer.from(JSON.stringify({ files: references, other: "é" })))).toEqual(references);
});

test("no other text of a value is a reference", () => {
  const texts = [
    "attached/7/a",
    "attached/0000000000000007/",
    "attached/0000000000000007/../a",
    "x/attached/0000000000000007/a",
    "attached/0000000000000007/a b",
  ];
  expect(referencesIn(Buffer.from(`${JSON.stringify(texts)}attached/0000000000000007/a`))).toEqual([]);
});

test("the copy of a damaged object lies outside of every table", () => {
  expect(quarantineKey(redoKey(prefix, toIndex(57)))).toBe(`_quarantine/${prefix}redo/0000000000000057.redo`);
  expect(() => checkTableName("_quarantine")).toThrow(expect.objectContaining({ code: "bad-table-name" }));
});
