import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  databaseMessages,
  onlyDatabases,
  onlyPolicies,
  parseMeta,
  renamedDatabase,
  renumbered,
  shardsOf,
  withDatabases,
  withoutUsers,
} from "../../../../lib/sources/influxdb/meta.ts";
import { outcomeOf } from "./archives.ts";

/** Fields as they are written, in their order; what is in `unknown` stands between them. */
type Raw = Uint8Array;
const message = (write: (writer: BinaryWriter) => BinaryWriter): Raw => write(new BinaryWriter()).finish();
const varint = (field: number, value: number | bigint): Raw => message((writer) => writer.tag(field, WireType.Varint).int64(String(value)));
const bytes = (field: number, content: Raw): Raw => message((writer) => writer.tag(field, WireType.LengthDelimited).bytes(content));
const text = (field: number, value: string): Raw => bytes(field, Buffer.from(value));
const joined = (...parts: readonly Raw[]): Buffer => Buffer.concat(parts);

/** Fields that no version knows, of each wire type: one has a number in more bytes than it needs, which a decoder would write otherwise. */
const unknownOf = (field: number): readonly Raw[] => [
  bytes(field, Buffer.from("later")),
  varint(field + 1, -5n),
  message((writer) => writer.tag(field + 2, WireType.Bit32).fixed32(7)),
  message((writer) => writer.tag(field + 3, WireType.Bit64).fixed64("9")),
  joined(
    message((writer) => writer.tag(field + 4, WireType.Varint)),
    Buffer.of(0x81, 0x80, 0x00),
  ),
  joined(
    message((writer) => writer.tag(field + 5, WireType.StartGroup)),
    varint(1, 5),
    message((writer) => writer.tag(field + 5, WireType.EndGroup)),
  ),
];

const shard = (id: number) => joined(varint(1, id), bytes(2, varint(1, 4)), ...unknownOf(20));
const group = (id: number, start: bigint, end: bigint, shards: readonly number[], deletedAt?: bigint) =>
  joined(
    ...unknownOf(30),
    varint(1, id),
    varint(2, start),
    varint(3, end),
    ...(deletedAt === undefined ? [] : [varint(4, deletedAt)]),
    ...shards.map((one) => bytes(5, shard(one))),
    varint(6, 77n),
  );
const policy = (name: string, ...groups: readonly Raw[]) =>
  joined(text(1, name), varint(2, 3_600_000_000_000n), varint(3, 604_800_000_000_000n), varint(4, 1), ...groups.map((one) => bytes(5, one)), ...unknownOf(40));
const database = (name: string, ...policies: readonly Raw[]) =>
  joined(text(1, name), text(2, "autogen"), ...unknownOf(50), ...policies.map((one) => bytes(3, one)), bytes(4, text(1, "a continuous query")));

const ONE = database("one", policy("autogen", group(1, -10n, 10n, [1, 2]), group(2, 10n, 20n, [3], 5n)), policy("wéek", group(3, 0n, 100n, [12])));
const TWO = database("two", policy("autogen", group(4, 0n, 2n ** 63n - 1n, [4])));
const USER = joined(text(1, "admin"), text(2, "$2a$10$hash-of-a-password"), varint(3, 1));
const REQUIRED = [varint(1, 3), varint(2, 99), varint(3, 1234567890123456789n)];
const HIGHEST = [varint(7, 1), varint(8, 4), varint(9, 12)];
const whole = joined(...REQUIRED, bytes(5, ONE), ...unknownOf(60), bytes(5, TWO), bytes(6, USER), ...HIGHEST);

/** The top-level fields as they stand, by number. */
function rawFields(meta: Uint8Array): ReadonlyMap<number, readonly string[]> {
  const found = new Map<number, string[]>();
  const reader = new BinaryReader(meta);
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const [field, type] = reader.tag();
    reader.skip(type, field);
    found.set(field, [...(found.get(field) ?? []), Buffer.from(meta.subarray(start, reader.pos)).toString("hex")]);
  }
  return found;
}

const hexOf = (raw: Raw) => Buffer.from(raw).toString("hex");

test("databases, policies, groups, shards and highest ids are read, whatever stands between them", () => {
  expect(parseMeta(whole)).toEqual({
    databases: [
      {
        name: "one",
        policies: [
          {
            name: "autogen",
            keptNs: 3_600_000_000_000n,
            groups: [
              { id: 1, startNs: -10n, endNs: 10n, isDeleted: false, shards: [1, 2] },
              { id: 2, startNs: 10n, endNs: 20n, isDeleted: true, shards: [3] },
            ],
          },
          { name: "wéek", keptNs: 3_600_000_000_000n, groups: [{ id: 3, startNs: 0n, endNs: 100n, isDeleted: false, shards: [12] }] },
        ],
      },
      {
        name: "two",
        policies: [{ name: "autogen", keptNs: 3_600_000_000_000n, groups: [{ id: 4, startNs: 0n, endNs: 2n ** 63n - 1n, isDeleted: false, shards: [4] }] }],
      },
    ],
    maxNodeId: 1,
    maxShardGroupId: 4,
    maxShardId: 12,
    users: 1,
  });
  expect(shardsOf(parseMeta(whole))).toEqual([
    { database: "one", policy: "autogen", shard: 1, startNs: -10n, endNs: 10n },
    { database: "one", policy: "autogen", shard: 2, startNs: -10n, endNs: 10n },
    { database: "two", policy: "autogen", shard: 4, startNs: 0n, endNs: 2n ** 63n - 1n },
    { database: "one", policy: "wéek", shard: 12, startNs: 0n, endNs: 100n },
  ]);
});

test("an empty metastore has nothing", () => {
  expect(parseMeta(Buffer.alloc(0))).toEqual({ databases: [], maxNodeId: 0, maxShardGroupId: 0, maxShardId: 0, users: 0 });
});

describe("a transformation keeps all else byte for byte", () => {
  test("leaving users out", () => {
    expect(withoutUsers(whole).equals(joined(...REQUIRED, bytes(5, ONE), ...unknownOf(60), bytes(5, TWO), ...HIGHEST))).toBe(true);
    expect(withoutUsers(whole).includes("$2a$10$")).toBe(false);
  });

  test("leaving databases out", () => {
    expect(onlyDatabases(whole, (name) => name === "two").equals(joined(...REQUIRED, ...unknownOf(60), bytes(5, TWO), bytes(6, USER), ...HIGHEST))).toBe(true);
    expect(onlyDatabases(whole, () => true).equals(whole)).toBe(true);
    // What a first metastore is made of: the fields that InfluxDB's proto2 requires stay.
    expect(onlyDatabases(withoutUsers(whole), () => false).equals(joined(...REQUIRED, ...unknownOf(60), ...HIGHEST))).toBe(true);
  });

  test("leaving policies out", () => {
    const asked: string[] = [];
    const kept = onlyPolicies(whole, (of, name) => {
      asked.push(`${of}/${name}`);
      return name === "wéek" || of === "two";
    });
    const week = database("one", policy("wéek", group(3, 0n, 100n, [12])));
    expect(asked).toEqual(["one/autogen", "one/wéek", "two/autogen"]);
    expect(kept.equals(joined(...REQUIRED, bytes(5, week), ...unknownOf(60), bytes(5, TWO), bytes(6, USER), ...HIGHEST))).toBe(true);
  });

  test("renumbering shards and groups, of which those without a new number keep theirs", () => {
    const ids = new Map([
      [1, 101],
      [12, 2 ** 40],
    ]);
    const changed = renumbered(whole, { ids, groupIds: new Map([[3, 300]]) });
    const before = parseMeta(whole);
    const after = parseMeta(changed);
    const renumber = (databases: typeof before.databases) =>
      databases.map((one) => ({
        ...one,
        policies: one.policies.map((each) => ({
          ...each,
          groups: each.groups.map((part) => ({ ...part, id: part.id === 3 ? 300 : part.id, shards: part.shards.map((old) => ids.get(old) ?? old) })),
        })),
      }));
    expect(after).toEqual({ ...before, databases: renumber(before.databases) });
    for (const [depth, count] of [
      [20, 5],
      [30, 4],
      [40, 3],
      [50, 2],
      [60, 1],
    ] as const) {
      for (const raw of unknownOf(depth)) expect(occurrences(changed, raw), `${depth}`).toBeGreaterThanOrEqual(count);
    }
    const fields = rawFields(changed);
    for (const [field, raws] of rawFields(whole)) if (field !== 5) expect(fields.get(field)).toEqual(raws);
    expect(occurrences(changed, varint(6, 77n))).toBeGreaterThanOrEqual(4);
  });

  test("renaming a database, and its only policy, which becomes its default", () => {
    const messages = databaseMessages(whole);
    expect([[...messages.keys()], hexOf(messages.get("two") ?? ([] as never))]).toEqual([["one", "two"], hexOf(TWO)]);
    const renamed = renamedDatabase(TWO, { name: "zwei" });
    expect(parseMeta(bytes(5, renamed)).databases[0].name).toBe("zwei");
    const both = parseMeta(bytes(5, renamedDatabase(TWO, { name: "zwei", policy: "tag" })));
    expect(both.databases[0].policies.map(({ name }) => name)).toEqual(["tag"]);
    expect(rawFields(renamedDatabase(TWO, { name: "zwei", policy: "tag" })).get(2)).toEqual([hexOf(text(2, "tag"))]);
    for (const raw of [...unknownOf(50), ...unknownOf(40), ...unknownOf(30), ...unknownOf(20)]) expect(occurrences(renamed, raw)).toBeGreaterThanOrEqual(1);
    expect(rawFields(renamed).get(4)).toEqual(rawFields(TWO).get(4));
  });

  test("adding databases and raising the highest ids", () => {
    const more = withDatabases(
      onlyDatabases(whole, (name) => name === "one"),
      [TWO],
      { maxShardGroupId: 9, maxShardId: 90 },
    );
    expect(parseMeta(more)).toEqual({ ...parseMeta(whole), maxShardGroupId: 9, maxShardId: 90 });
    const [before, after] = [rawFields(whole), rawFields(more)];
    for (const [field, raws] of before) if (field !== 8 && field !== 9) expect(after.get(field)).toEqual(raws);
    expect([after.get(8), after.get(9)]).toEqual([[hexOf(varint(8, 9))], [hexOf(varint(9, 90))]]);
  });

  test("of any fields around what is changed, in any order", () => {
    const extra = fc.constantFrom(...unknownOf(60), ...unknownOf(1_000), varint(1, 2), varint(2, 3), varint(3, 4), varint(7, 5));
    const part = fc.oneof(extra, fc.constantFrom(bytes(5, ONE), bytes(5, TWO), bytes(6, USER)));
    fc.assert(
      fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
        const meta = joined(...parts);
        const rest = (changed: Uint8Array) => [...rawFields(changed)].filter(([field]) => ![5, 6, 8, 9].includes(field));
        expect(rest(withoutUsers(meta))).toEqual(rest(meta));
        expect(rest(onlyDatabases(meta, (name) => name === "one"))).toEqual(rest(meta));
        expect(rest(onlyPolicies(meta, () => false))).toEqual(rest(meta));
        expect(rest(renumbered(meta, { ids: new Map([[1, 50]]), groupIds: new Map() }))).toEqual(rest(meta));
        expect(rest(withDatabases(meta, [ONE], { maxShardGroupId: 1, maxShardId: 1 }))).toEqual(rest(meta));
        expect(withoutUsers(meta).equals(joined(...parts.filter((one) => hexOf(one) !== hexOf(bytes(6, USER)))))).toBe(true);
      }),
    );
  });
});

function occurrences(all: Buffer, raw: Raw): number {
  let count = 0;
  for (let at = all.indexOf(raw); at >= 0; at = all.indexOf(raw, at + 1)) count++;
  return count;
}

describe("what is no metastore is refused", () => {
  test.each<[string, Raw]>([
    ["a database without a name", bytes(5, text(2, "autogen"))],
    ["a database with an empty name", bytes(5, text(1, ""))],
    ["a policy without a name", bytes(5, joined(text(1, "one"), bytes(3, varint(2, 1))))],
    ["a shard's number below 0", bytes(5, joined(text(1, "d"), bytes(3, joined(text(1, "p"), bytes(5, bytes(5, varint(1, -1n)))))))],
    ["a highest number above all safe ones", varint(9, 2n ** 53n)],
    ["a field's number of 0", Buffer.of(0x00, 0x01)],
    ["a wire type that is none", Buffer.of(0x0f, 0x01)],
    ["a number without end", Buffer.alloc(12, 0xff)],
    ["a length behind the end", Buffer.of(0x2a, 0x05, 0x00)],
    ["a group without end", message((writer) => writer.tag(60, WireType.StartGroup))],
  ])("%s", async (_, meta) => {
    expect(await outcomeOf((async () => parseMeta(meta))())).toBe("bad-reply");
  });

  test("one cut at any byte, or one that ends where a field does", async () => {
    for (let length = 0; length < whole.length; length++) {
      const outcome = await outcomeOf((async () => parseMeta(whole.subarray(0, length)))());
      expect(["bad-reply", "read"]).toContain(outcome);
      // Where it ends between two fields it is another, shorter metastore: the length around it tells (wire.ts).
      if (outcome === "read") expect(withoutUsers(whole.subarray(0, length)).length).toBeLessThanOrEqual(length);
    }
  });
});
