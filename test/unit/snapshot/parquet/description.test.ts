import { expect, test } from "vitest";
import { SESSIONS_MAX } from "../../../../lib/model/limits.ts";
import { decodeMetadata, encodeMetadata, type Metadata } from "../../../../lib/snapshot/parquet/description.ts";
import { compress } from "../../../../lib/snapshot/parquet/page.ts";
import { description } from "./records.ts";

const groups = [0, 1, 255].map((carried, i) => ({ sha256: `${i}`.repeat(64), indexSha256: `${i + 1}`.repeat(64), crc32: 0xffff_ffff - i, carried }));
const metadata = encodeMetadata(description, groups);

function withEntry(key: string, value: string): Metadata {
  return metadata.map(([name, before]) => [name, name === `tidemark.${key}` ? value : before]);
}

function withField(key: string, change: object): Metadata {
  const text = metadata.find(([name]) => name === `tidemark.${key}`)?.[1] ?? "";
  return withEntry(key, JSON.stringify({ ...JSON.parse(text), ...change }));
}

/** So many sessions of no name, and what follows them. */
function sessions(count: number, behind = 0): string {
  const bytes = Buffer.alloc(4 + count * (1 + 24 + 8) + behind);
  bytes.writeUInt32LE(count);
  return compress(bytes).toString("base64");
}

test("what a snapshot says of itself and of its row groups comes back, whatever others have added", () => {
  expect(decodeMetadata(metadata)).toMatchObject({ description, groups });
  expect(decodeMetadata([["ARROW:schema", "whatever"], ...metadata]).description).toEqual(description);
  const { base: _, ...first } = description;
  expect(decodeMetadata(encodeMetadata(first, [])).description).toStrictEqual(first);
});

test("the metadata has the entries of the format in its order", () => {
  const names = "format encoder table shard incarnation codec index position border base sessions forgottenThrough splices groups".split(" ");
  expect(metadata.map(([key]) => key)).toEqual(names.map((name) => `tidemark.${name}`));
  const { base: _, ...first } = description;
  expect(encodeMetadata(first, []).map(([key]) => key)).toEqual(names.filter((name) => name !== "base").map((name) => `tidemark.${name}`));
});

test("a row group that was carried through more generations than are told is told as carried through so many", () => {
  const [carried] = decodeMetadata(encodeMetadata(description, [{ ...groups[0], carried: 256 }])).groups;
  expect(carried).toEqual({ ...groups[0], carried: 255 });
});

test("metadata without any entry but the format and the base is refused", () => {
  for (const [missing] of metadata.filter(([key]) => key !== "tidemark.format" && key !== "tidemark.base")) {
    const rest = metadata.filter(([key]) => key !== missing);
    expect(() => decodeMetadata(rest), missing).toThrow(new RangeError(`the metadata has no ${missing}`));
  }
});

test.each<[string, Metadata, string]>([
  ["an unknown codec", withEntry("codec", "text"), "unknown codec"],
  ["a position that is no object", withEntry("position", "7"), "no object"],
  ["a border that is nothing", withEntry("border", "null"), "no object"],
  ["a digest that is no text", withField("border", { digest: 7 }), "no digest"],
  ["a digest in a list", withField("border", { digest: ["0".repeat(64)] }), "no digest"],
  ["a digest that is too long", withField("border", { digest: "0".repeat(65) }), "no digest"],
  ["a digest with something before it", withField("border", { digest: `x${"0".repeat(64)}` }), "no digest"],
  ["a digest in capitals", withField("border", { digest: "A".repeat(64) }), "no digest"],
  ["a time that is no number", withField("border", { timeMs: [7] }), "no number"],
  ["a time that is nothing", withField("border", { timeMs: null }), "no number"],
  ["a negative batch", withField("position", { batchOffset: -1 }), "no number"],
  ["half a batch", withField("position", { batchOffset: 0.5 }), "no number"],
  ["a negative shard", withEntry("shard", "-1"), "no number"],
  ["a shard of nothing", withEntry("shard", ""), "no number"],
  ["a shard with something before it", withEntry("shard", " 1"), "no number"],
  ["a shard with something behind it", withEntry("shard", "1e1"), "no number"],
  ["an index that is not safe", withEntry("index", "9007199254740992"), "no number"],
  ["too many sessions", withEntry("sessions", sessions(SESSIONS_MAX + 1)), "sessions"],
  ["bytes behind the sessions", withEntry("sessions", sessions(1, 1)), "behind the sessions"],
  ["hashes that are cut", withEntry("groups", Buffer.alloc(3 * 69 - 1).toString("base64")), "is cut"],
])("metadata with %s is refused", (_, wrong, why) => {
  expect(() => decodeMetadata(wrong)).toThrow(expect.objectContaining({ name: "RangeError", message: expect.stringContaining(why) }));
});

test("as many sessions as a shard remembers are read", () => {
  expect(decodeMetadata(withEntry("sessions", sessions(SESSIONS_MAX))).description.sessions).toHaveLength(SESSIONS_MAX);
});
