import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { VALUE_BYTES_MAX } from "../../../../lib/model/limits.ts";
import { toIndex } from "../../../../lib/model/position.ts";
import {
  attachmentsOf,
  type Backup,
  backupReader,
  digestOf,
  EMPTY_BACKUP,
  generationKey,
  type MetastoreRecord,
  mutationsBetween,
  parseGeneration,
  type ShardRecord,
  shardKey,
  totalsOf,
} from "../../../../lib/sources/influxdb/records.ts";
import { aFile, aGeneration, aShard, sha } from "./samples.ts";

/** The state behind some mutations, each at the next index. */
function applied(from: ReadonlyMap<string, readonly [Buffer, number]>, mutations: ReturnType<typeof mutationsBetween>, first: number) {
  const state = new Map(from);
  mutations.forEach((mutation, place) => {
    const key = Buffer.from(mutation.key).toString();
    if (mutation.kind === "delete") state.delete(key);
    else state.set(key, [Buffer.from(mutation.value), first + place]);
  });
  return state;
}

function backupOf(state: ReadonlyMap<string, readonly [Buffer, number]>): Backup {
  const reader = backupReader("influx");
  for (const [key, [value, index]] of state) reader.add(Buffer.from(key), value, toIndex(index));
  return reader.backup();
}

const fileRecord = fc
  .record({
    generation: fc.integer({ min: 1, max: 9 }),
    kind: fc.constantFrom("tsm", "tombstone"),
    content: fc.nat(50),
    stored: fc.integer({ min: 1, max: 9 }),
  })
  .map(({ generation, kind, content, stored }) => aFile({ name: `00000000${generation}-000000001.${kind}`, content, generation: stored }));
const shardRecord = (shard: number): fc.Arbitrary<ShardRecord> =>
  fc
    .record({ files: fc.uniqueArray(fileRecord, { selector: ({ name }) => name, maxLength: 4 }), database: fc.constantFrom("a", "é/b"), isRange: fc.boolean() })
    .map(({ files, database, isRange }) =>
      aShard({ shard, database, files, ...(isRange && { range: { start: "2026-01-01T00:00:00Z", end: "2026-01-02T00:00:00Z" } }) }),
    );
const metastore: fc.Arbitrary<MetastoreRecord> = fc.record({
  bytes: fc.nat(100),
  sha256: fc.nat(50).map(sha),
  object: fc.nat(50).map((n) => `attached/0000000000000001/metastore-${n}`),
  frames: fc.constant([9]),
  users: fc.constantFrom("kept" as const, "left out" as const),
});
const state: fc.Arbitrary<Pick<Backup, "metastore" | "shards">> = fc
  .tuple(
    metastore,
    fc.uniqueArray(fc.integer({ min: 1, max: 30 }), { maxLength: 5 }).chain((ids) => fc.tuple(...ids.map(shardRecord))),
  )
  .map(([one, shards]) => ({ metastore: one, shards: new Map([...shards].sort((a, b) => a.shard - b.shard).map((record) => [record.shard, record])) }));

describe("mutations between two states", () => {
  test("applied to the one give the other, the generation's record last, and generations that cannot be brought back forgotten", () => {
    fc.assert(
      fc.property(fc.array(state, { minLength: 1, maxLength: 6 }), fc.array(fc.nat(40), { minLength: 6, maxLength: 6 }), (states, oldest) => {
        let stored: ReadonlyMap<string, readonly [Buffer, number]> = new Map();
        let next = 1;
        states.forEach((wanted, place) => {
          const head = place === 0 ? EMPTY_BACKUP : backupOf(stored);
          const generation = aGeneration({ generation: place + 1 });
          const oldestIndex = toIndex(Math.min(oldest[place], next - 1));
          const mutations = mutationsBetween(head, { ...wanted, generations: head.generations }, { generation, oldestIndex });
          const last = mutations[mutations.length - 1];
          expect(Buffer.from(last.key).toString()).toBe(generationKey(place + 1));
          expect(new Set(mutations.map(({ key }) => Buffer.from(key).toString())).size).toBe(mutations.length);
          stored = applied(stored, mutations, next);
          next += mutations.length;
          const now = backupOf(stored);
          expect({ metastore: now.metastore, shards: [...now.shards] }).toEqual({ metastore: wanted.metastore, shards: [...wanted.shards] });
          const keptBefore = [...head.generations.values()].filter(({ index }) => index >= oldestIndex).map((one) => one.generation);
          expect([...now.generations.keys()]).toEqual([...keptBefore, place + 1]);
          expect(now.generations.get(place + 1)?.index).toBe(next - 1);
        });
      }),
    );
  });

  test("of a state to itself are the generation's record alone", () => {
    fc.assert(
      fc.property(state, (same) => {
        const backup = { ...same, generations: new Map() };
        const mutations = mutationsBetween(backup, backup, { generation: aGeneration(), oldestIndex: toIndex(0) });
        expect(mutations.map(({ key }) => Buffer.from(key).toString())).toEqual([generationKey(1)]);
      }),
    );
  });

  test("a record that no value can hold is refused in words", () => {
    const files = Array.from({ length: 40_000 }, (_, at) => aFile({ name: `${String(at + 1).padStart(9, "0")}-000000001.tsm` }));
    const shards = new Map([[1, aShard({ shard: 1, files })]]);
    expect(JSON.stringify(shards.get(1)).length).toBeGreaterThan(VALUE_BYTES_MAX);
    expect(() => mutationsBetween(EMPTY_BACKUP, { shards, generations: new Map() }, { generation: aGeneration(), oldestIndex: toIndex(0) })).toThrow(
      expect.objectContaining({ kind: "call", code: "too-many-files" }),
    );
  });

  test("more than one generation takes is refused in words that tell what to do", () => {
    const files = Array.from({ length: 50 }, (_, at) => aFile({ name: `${String(at + 1).padStart(9, "0")}-000000001.tsm` }));
    const shards = new Map(Array.from({ length: 2_000 }, (_, shard) => [shard, aShard({ shard, files })]));
    expect(() => mutationsBetween(EMPTY_BACKUP, { shards, generations: new Map() }, { generation: aGeneration(), oldestIndex: toIndex(0) })).toThrow(
      expect.objectContaining({ kind: "call", code: "too-many-files", message: expect.stringContaining("--database") }),
    );
  });
});

describe("a record", () => {
  const sound: readonly (readonly [string, object])[] = [
    ["metastore", { bytes: 5, sha256: sha(1), object: "attached/0000000000000001/metastore-1", frames: [5], users: "kept" } satisfies MetastoreRecord],
    [shardKey(7), aShard({ shard: 7, files: [aFile()] })],
    [generationKey(3), aGeneration({ generation: 3 })],
  ];
  const add = (key: string, value: unknown) =>
    backupReader("influx").add(Buffer.from(key), Buffer.from(typeof value === "string" ? value : JSON.stringify(value)), toIndex(1));

  test.each(sound)("%s that lacks, or has more than, its members is refused by name", (key, record) => {
    expect(() => add(key, record)).not.toThrow();
    const refused = expect.objectContaining({ kind: "repair", code: "damaged-item", message: expect.stringContaining(`influx ${key}`) });
    for (const wrong of ["", "{", "null", "5", "[]"]) expect(() => add(key, wrong)).toThrow(refused);
    expect(() => add(key, { ...record, more: 1 })).toThrow(refused);
    const optional = ["range", "parent"];
    for (const member of Object.keys(record).filter((one) => !optional.includes(one))) {
      expect(() => add(key, { ...record, [member]: undefined })).toThrow(refused);
      expect(() => add(key, { ...record, [member]: { x: 1 } })).toThrow(
        member === "selection" ? refused : expect.objectContaining({ message: expect.stringContaining(member) }),
      );
    }
  });

  test("under a key that none has is refused by name", () => {
    for (const key of ["", "metastores", "shards/1", "x/shard/1"]) {
      expect(() => add(key, sound[1][1])).toThrow(expect.objectContaining({ kind: "repair", message: expect.stringContaining(`influx ${key}`) }));
    }
  });

  test.each<[string, object]>([
    ["a file with the name of none", { name: "../x" }],
    ["a file with half a SHA-256", { sha256: "ab".repeat(16) }],
    ["a file of fewer than no bytes", { bytes: -1 }],
    ["a file with an empty frame", { frames: [0] }],
    ["a file with a broken frame", { frames: [1.5] }],
  ])("of a shard with %s is refused", (_, change) => {
    expect(() => add(shardKey(7), aShard({ shard: 7, files: [{ ...aFile(), ...change }] }))).toThrow(expect.objectContaining({ kind: "repair" }));
  });

  test("of a generation is read alone too", () => {
    expect(parseGeneration(Buffer.from(JSON.stringify(aGeneration({ generation: 3 }))), "influx")).toEqual(aGeneration({ generation: 3 }));
    expect(() => parseGeneration(Buffer.from("{}"), "influx")).toThrow(
      expect.objectContaining({ kind: "repair", message: expect.stringContaining("influx generation") }),
    );
  });

  test("names its attachments: a shard's are its files, a metastore's is its own, a generation's are none", () => {
    const [[, one], [, shard], [, generation]] = sound;
    const objects = (record: object) => attachmentsOf(Buffer.from(JSON.stringify(record))).map(({ object }) => object);
    expect([objects(one), objects(shard), objects(generation)]).toEqual([["attached/0000000000000001/metastore-1"], [aFile().object], []]);
  });
});

describe("the digest of a state", () => {
  const base = (files = [aFile()]): Pick<Backup, "metastore" | "shards"> => ({
    metastore: { bytes: 5, sha256: sha(1), object: "attached/0000000000000001/metastore-1", frames: [5], users: "kept" },
    shards: new Map([
      [7, aShard({ shard: 7, files })],
      [8, aShard({ shard: 8, files: [] })],
    ]),
  });
  const withShard = (change: Partial<ShardRecord>) => ({
    ...base(),
    shards: new Map(base().shards).set(7, { ...aShard({ shard: 7, files: [aFile()] }), ...change }),
  });

  test.each<[string, Pick<Backup, "metastore" | "shards">]>([
    ["a file's SHA-256", base([{ ...aFile(), sha256: sha(5) }])],
    ["a file's name", base([aFile({ name: "000000002-000000001.tsm" })])],
    ["a file's bytes", base([{ ...aFile(), bytes: 99 }])],
    ["one file fewer", base([])],
    [
      "a shard's number",
      {
        ...base(),
        shards: new Map([
          [9, aShard({ shard: 9, files: [aFile()] })],
          [8, aShard({ shard: 8, files: [] })],
        ]),
      },
    ],
    ["a shard's database", withShard({ database: "other" })],
    ["a shard's policy", withShard({ policy: "other" })],
    ["a shard's range", withShard({ range: { start: "2026-01-01T00:00:00Z", end: "2026-01-02T00:00:00Z" } })],
    ["one shard fewer", { ...base(), shards: new Map([[7, aShard({ shard: 7, files: [aFile()] })]]) }],
    ["the metastore's SHA-256", { ...base(), metastore: { bytes: 5, sha256: sha(2), object: "x", frames: [5], users: "kept" } }],
    ["no metastore", { shards: base().shards }],
    [
      "which shard a file is in",
      {
        ...base(),
        shards: new Map([
          [7, aShard({ shard: 7, files: [] })],
          [8, aShard({ shard: 8, files: [aFile()] })],
        ]),
      },
    ],
  ])("changes with %s", (_, other) => {
    expect(digestOf(other)).not.toBe(digestOf(base()));
  });

  test("does not change with where and when something was stored", () => {
    const moved = withShard({
      generation: 4,
      capturedAt: "2027-01-01T00:00:00.000Z",
      files: [{ ...aFile(), object: "attached/0000000000000004/x", frames: [1, 2], modifiedS: 1 }],
    });
    expect(digestOf(moved)).toBe(digestOf(base()));
  });

  test("is the same of two states only where their content is", () => {
    const content = ({ metastore: one, shards }: Pick<Backup, "metastore" | "shards">) =>
      JSON.stringify([
        one?.sha256,
        [...shards.values()].map(({ shard, database, policy, files, range }) => [
          shard,
          database,
          policy,
          files.map((f) => [f.name, f.bytes, f.sha256]),
          range,
        ]),
      ]);
    fc.assert(
      fc.property(state, state, (a, b) => {
        expect(digestOf(a) === digestOf(b)).toBe(content(a) === content(b));
      }),
    );
  });
});

test("totals are those of all files", () => {
  const shards = new Map(
    [1, 2].map((shard) => [shard, aShard({ shard, files: [aFile({ name: "000000001-000000001.tsm" }), aFile({ name: "000000002-000000001.tsm" })] })]),
  );
  expect(totalsOf({ shards })).toEqual({ files: 4, bytes: 4 * aFile().bytes });
});
