import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  idMapReply,
  isMetastoreReply,
  metastoreReply,
  metastoreUpdateFrame,
  parseIdMap,
  parseMetastore,
  parsePaths,
  pathsReply,
  type ReadRequest,
  requestFrame,
  shardUpdateHead,
} from "../../../../lib/sources/influxdb/wire.ts";
import { outcomeOf } from "./archives.ts";

const NO_TIME = "0001-01-01T00:00:00Z";
const place = { database: "mydb", policy: "rp2", shard: 13 };

/** A request of dialect 1.5 as it goes out: 0x03, the type, JSON text, a line feed. */
function newer(type: number, fields: Readonly<Record<string, string | number>>): string {
  const { db = "", newDb = "", policy = "", newPolicy = "", shard = 0, since = NO_TIME, start = NO_TIME, end = NO_TIME, upload = 0 } = fields;
  return (
    `\x03${String.fromCharCode(type)}{"Type":${type},"BackupDatabase":"${db}","RestoreDatabase":"${newDb}","BackupRetentionPolicy":"${policy}",` +
    `"RestoreRetentionPolicy":"${newPolicy}","ShardID":${shard},"Since":"${since}","ExportStart":"${start}","ExportEnd":"${end}","UploadSize":${upload}}\n`
  );
}

/** The same of dialect 1.0, which has no type byte. */
function older(type: number, { db = "", policy = "", shard = 0, since = NO_TIME }: Readonly<Record<string, string | number>>): string {
  return `\x03{"Type":${type},"Database":"${db}","RetentionPolicy":"${policy}","ShardID":${shard},"Since":"${since}"}\n`;
}

describe("requests", () => {
  test("a metastore request has the 239 bytes that were captured of 1.6.7", () => {
    const frame = requestFrame("1.5", { kind: "metastore" });
    expect(frame.length).toBe(239);
    expect(frame.toString("latin1")).toBe(
      '\x03\x01{"Type":1,"BackupDatabase":"","RestoreDatabase":"","BackupRetentionPolicy":"","RestoreRetentionPolicy":"","ShardID":0,' +
        '"Since":"0001-01-01T00:00:00Z","ExportStart":"0001-01-01T00:00:00Z","ExportEnd":"0001-01-01T00:00:00Z","UploadSize":0}\n',
    );
  });

  test("a metastore request has the 90 bytes that were captured of 1.1.0", () => {
    const frame = requestFrame("1.0", { kind: "metastore" });
    expect(frame.length).toBe(90);
    expect(frame.toString("latin1")).toBe('\x03{"Type":1,"Database":"","RetentionPolicy":"","ShardID":0,"Since":"0001-01-01T00:00:00Z"}\n');
  });

  const since = "2026-08-03T01:00:00.5Z";
  const [start, end] = ["2026-08-03T01:00:00Z", "2026-08-03T02:00:00Z"];
  test.each<[string, ReadRequest, string, string | undefined]>([
    ["database-info", { kind: "database-info", database: "mydb" }, newer(3, { db: "mydb" }), older(2, { db: "mydb" })],
    ["policy-info", { kind: "policy-info", database: "mydb", policy: "rp2" }, newer(4, { db: "mydb", policy: "rp2" }), older(3, { db: "mydb", policy: "rp2" })],
    [
      "shard-backup",
      { kind: "shard-backup", ...place },
      newer(0, { db: "mydb", policy: "rp2", shard: 13 }),
      older(0, { db: "mydb", policy: "rp2", shard: 13 }),
    ],
    [
      "shard-backup since a time",
      { kind: "shard-backup", ...place, since },
      newer(0, { db: "mydb", policy: "rp2", shard: 13, since }),
      older(0, { db: "mydb", policy: "rp2", shard: 13, since }),
    ],
    ["shard-export", { kind: "shard-export", ...place, start, end }, newer(5, { db: "mydb", policy: "rp2", shard: 13, start, end }), undefined],
  ])("%s is byte for byte what each dialect has, or what only the newer one has", (_, request, ofNewer, ofOlder) => {
    expect(requestFrame("1.5", request).toString("latin1")).toBe(ofNewer);
    if (ofOlder !== undefined) expect(requestFrame("1.0", request).toString("latin1")).toBe(ofOlder);
    else expect(() => requestFrame("1.0", request)).toThrow(expect.objectContaining({ kind: "call", code: "old-server" }));
  });

  test("names of any letters stay within the JSON text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (database) => {
        const frame = requestFrame("1.5", { kind: "database-info", database });
        expect(frame.indexOf(0x0a)).toBe(frame.length - 1);
        expect(JSON.parse(frame.toString("utf8", 2))).toMatchObject({ BackupDatabase: database });
      }),
    );
  });

  test("a metastore update is its JSON text with the size, and the metastore behind, in one piece", () => {
    const renaming = { database: "mydb", newDatabase: "copy", policy: "rp2", newPolicy: "rp3" };
    expect(metastoreUpdateFrame(Buffer.of(1, 2, 3), renaming).toString("latin1")).toBe(
      `${newer(6, { db: "mydb", newDb: "copy", policy: "rp2", newPolicy: "rp3", upload: 3 })}\x01\x02\x03`,
    );
  });

  test("a metastore of several segments stands behind blanks in the text, which a server is busy with until it is there", () => {
    const meta = Buffer.alloc(100_000, 1);
    const text = metastoreUpdateFrame(meta, { database: "mydb", newDatabase: "copy", policy: "", newPolicy: "" }).toString("latin1");
    expect(text.replace(/ +/, "")).toBe(`${newer(6, { db: "mydb", newDb: "copy", upload: meta.length })}${meta.toString("latin1")}`);
    expect(text.length - meta.length).toBeGreaterThan(1024 * 1024);
  });

  test("a shard update begins with the shard's new id, 19", () => {
    expect(shardUpdateHead(19).toString("hex")).toBe("03070000000000000013");
  });
});

const MAGIC = "0000000059590101";
const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex");

describe("replies", () => {
  test("a metastore's is magic, length, metastore, length, node", () => {
    const bytes = hex(`${MAGIC} 0000000000000003 0a0b0c 0000000000000005 6e756c6c0a`);
    expect(parseMetastore(bytes)).toEqual({ meta: hex("0a0b0c"), node: Buffer.from("null\n") });
    expect(metastoreReply({ meta: hex("0a0b0c"), node: Buffer.from("null\n") }).equals(bytes)).toBe(true);
  });

  test("a map of ids is magic, count, pairs", () => {
    const bytes = hex(`${MAGIC} 0000000000000002 0000000000000001 0000000000000013 0000000000000002 0000000000000014`);
    const ids = new Map([
      [1, 19],
      [2, 20],
    ]);
    expect(parseIdMap(bytes)).toEqual(ids);
    expect(idMapReply(ids).equals(bytes)).toBe(true);
    expect(parseIdMap(hex(`${MAGIC} 0000000000000000`))).toEqual(new Map());
  });

  test("paths are JSON, null where there are none", () => {
    const paths = [place, { ...place, shard: 14 }];
    expect(pathsReply(paths).toString()).toBe('{"Paths":["mydb/rp2/13","mydb/rp2/14"]}\n');
    expect(pathsReply([]).toString()).toBe('{"Paths":null}\n');
    expect([parsePaths(pathsReply(paths)), parsePaths(pathsReply([]))]).toEqual([[13, 14], []]);
  });

  test("the id of a shard is known whatever the names before it hold", () => {
    const name = fc.string({ unit: "binary", minLength: 1 });
    fc.assert(
      fc.property(name, name, fc.nat(), (database, policy, shard) => {
        expect(parsePaths(pathsReply([{ database, policy, shard }]))).toEqual([shard]);
      }),
    );
  });

  const bytes = fc.uint8Array({ maxLength: 300 }).map((some) => Buffer.from(some));
  const ids = fc.uniqueArray(fc.tuple(fc.maxSafeNat(), fc.maxSafeNat()), { selector: ([old]) => old, maxLength: 5 }).map((pairs) => new Map(pairs));

  test("each comes back as it was sent", () => {
    fc.assert(
      fc.property(bytes, bytes, ids, (meta, node, map) => {
        expect(parseMetastore(metastoreReply({ meta, node }))).toEqual({ meta, node });
        expect(isMetastoreReply(metastoreReply({ meta, node }))).toBe(true);
        expect(parseIdMap(idMapReply(map))).toEqual(map);
      }),
    );
  });

  const whole = {
    "the metastore": { reply: metastoreReply({ meta: Buffer.alloc(40, 3), node: Buffer.from("null\n") }), parse: parseMetastore },
    "the map of ids": { reply: idMapReply(new Map([[1, 2]])), parse: parseIdMap },
    "the paths": { reply: pathsReply([place]).subarray(0, -1), parse: parsePaths },
  };

  test.each(Object.entries(whole))("%s is refused cut at any byte, and with any byte behind it", async (_, { reply, parse }) => {
    for (let length = 0; length < reply.length; length++) expect(await outcomeOf(promised(() => parse(reply.subarray(0, length))))).toBe("bad-reply");
    for (const more of [Buffer.of(0), Buffer.of(0x7d), Buffer.alloc(16), reply]) {
      expect(await outcomeOf(promised(() => parse(Buffer.concat([reply, more]))))).toBe("bad-reply");
    }
  });

  test.each([
    [`metastore`, 8, parseMetastore, whole["the metastore"].reply],
    [`metastore`, 56, parseMetastore, whole["the metastore"].reply],
    [`map of ids`, 8, parseIdMap, whole["the map of ids"].reply],
  ])("a %s whose length or count at %d lies is refused", async (_, at, parse, reply) => {
    const right = reply.readBigUInt64BE(at);
    for (const lie of [0n, right - 1n, right + 1n, 41n, 2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 60n, 2n ** 63n, 2n ** 64n - 1n].filter((one) => one !== right)) {
      const wrong = Buffer.from(reply);
      wrong.writeBigUInt64BE(lie, at);
      expect([lie, await outcomeOf(promised(() => parse(wrong)))]).toEqual([lie, "bad-reply"]);
    }
  });

  test("another magic is refused", async () => {
    for (const { reply, parse } of [whole["the metastore"], whole["the map of ids"]]) {
      for (let at = 0; at < 8; at++) {
        const wrong = Buffer.from(reply);
        wrong[at] ^= 0x40;
        expect([isMetastoreReply(wrong), await outcomeOf(promised(() => parse(wrong)))]).toEqual([false, "bad-reply"]);
      }
    }
  });

  test("an id that no safe number holds is refused, and not taken for another", async () => {
    for (const [at, id] of [
      [16, 2n ** 53n],
      [24, 2n ** 53n + 1n],
      [24, 2n ** 64n - 1n],
    ] as const) {
      const wrong = Buffer.from(whole["the map of ids"].reply);
      wrong.writeBigUInt64BE(id, at);
      expect(await outcomeOf(promised(() => parseIdMap(wrong)))).toBe("bad-reply");
    }
  });

  test("a map of ids that has one id twice is refused", async () => {
    const twice = hex(`${MAGIC} 0000000000000002 0000000000000001 0000000000000013 0000000000000001 0000000000000014`);
    expect(await outcomeOf(promised(() => parseIdMap(twice)))).toBe("bad-reply");
  });

  test.each([
    "",
    "null",
    "[]",
    "5",
    '"Paths"',
    "{}",
    '{"paths":[]}',
    '{"Paths":{}}',
    '{"Paths":"a/b/1"}',
    '{"Paths":["a/b/"]}',
    '{"Paths":["1"]}',
    '{"Paths":["a/b/1 "]}',
    '{"Paths":["a/b/-1"]}',
    '{"Paths":["a/b/9007199254740992"]}',
    '{"Paths":[1]}',
    '{"Paths":[null]}',
    "\xff",
  ])("the text %j is no list of shards", async (text) => {
    expect(await outcomeOf(promised(() => parsePaths(Buffer.from(text, "latin1"))))).toBe("bad-reply");
  });
});

async function promised<T>(work: () => T): Promise<T> {
  return work();
}
