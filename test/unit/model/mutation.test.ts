import { expect, test } from "vitest";
import { BATCH_BYTES_MAX, BATCH_MUTATIONS_MAX, KEY_BYTES_MAX, PRODUCER_BYTES_MAX, VALUE_BYTES_MAX } from "../../../lib/model/limits.ts";
import { batchBytes, checkMutations, checkProducer, type Mutation } from "../../../lib/model/mutation.ts";
import { toEpoch, toIndex } from "../../../lib/model/position.ts";
import { utf8 } from "../../../lib/model/bytes.ts";

function putOf(key: string | Uint8Array, valueBytes = 1): Mutation {
  return { kind: "put", key: typeof key === "string" ? Buffer.from(key) : key, value: Buffer.alloc(valueBytes) };
}
const removal: Mutation = { kind: "delete", key: Buffer.from("k") };
const patchOf: Mutation = { kind: "patch", key: Buffer.from("k"), value: Buffer.from("{}") };

test.each([
  ["one mutation", [putOf("k")]],
  ["as many as are allowed", new Array<Mutation>(BATCH_MUTATIONS_MAX).fill(removal)],
  ["the longest key", [putOf("k".repeat(KEY_BYTES_MAX))]],
  ["the largest value", [putOf("k", VALUE_BYTES_MAX)]],
  ["an empty value", [putOf("k", 0)]],
  ["the most bytes", [putOf("a", VALUE_BYTES_MAX), putOf("b", BATCH_BYTES_MAX - VALUE_BYTES_MAX - 2)]],
  ["a patch of JSON", [patchOf]],
] as const)("a batch is taken: %s", (_, mutations) => {
  expect(() => checkMutations(mutations, "json")).not.toThrow();
});

test.each([
  ["empty-batch", []],
  ["batch-too-large", new Array<Mutation>(BATCH_MUTATIONS_MAX + 1).fill(removal)],
  ["batch-too-large", [putOf("a", VALUE_BYTES_MAX), putOf("b", BATCH_BYTES_MAX - VALUE_BYTES_MAX - 1)]],
  ["empty-key", [putOf("")]],
  ["key-too-long", [putOf("k".repeat(KEY_BYTES_MAX + 1))]],
  ["ill-formed-text", [putOf(Buffer.from([0xff]))]],
  ["ill-formed-text", [putOf("k"), { kind: "delete", key: Buffer.from([0xc3]) }]],
  ["value-too-large", [putOf("k", VALUE_BYTES_MAX + 1)]],
] as const)("a batch is refused: %s", (code, mutations) => {
  expect(() => checkMutations(mutations, "json")).toThrow(expect.objectContaining({ kind: "call", code }));
});

test("a key or value that is refused is named by its mutation", () => {
  expect(() => checkMutations([putOf("k"), putOf("")], "json")).toThrow("the key of mutation 2 of the batch");
  expect(() => checkMutations([putOf("k"), putOf("k", VALUE_BYTES_MAX + 1)], "json", "line 7")).toThrow("the value of mutation 2 of line 7");
});

test("a patch of bytes is refused, and says which mutation it is", () => {
  expect(() => checkMutations([putOf("k"), patchOf], "bytes")).toThrow(
    expect.objectContaining({ code: "patch-of-bytes", message: expect.stringContaining("mutation 2") }),
  );
});

test("a batch's bytes are those of its keys and values", () => {
  expect(batchBytes([putOf("abc", 10), removal, patchOf])).toBe(3 + 10 + 1 + 1 + 2);
});

test.each([
  ["p", 0n],
  ["p".repeat(PRODUCER_BYTES_MAX), (1n << 192n) - 1n],
  ["ß\u{1f3b2}", 1n],
] as const)("producer %j and sequence %d are taken", (producer, sequence) => {
  expect(() => checkProducer(producer, sequence)).not.toThrow();
});

test.each([
  ["bad-producer", "", 1n],
  ["bad-producer", "p".repeat(PRODUCER_BYTES_MAX + 1), 1n],
  ["bad-producer", "é".repeat(PRODUCER_BYTES_MAX / 2 + 1), 1n],
  ["ill-formed-text", "\ud800", 1n],
  ["bad-sequence", "p", -1n],
  ["bad-sequence", "p", 1n << 192n],
] as const)("%s: producer and sequence are refused", (code, producer, sequence) => {
  expect(() => checkProducer(producer, sequence)).toThrow(expect.objectContaining({ kind: "call", code }));
});

test("half a surrogate pair has no UTF-8 and is refused", () => {
  expect(() => utf8("a\udc00", "the key")).toThrow(expect.objectContaining({ code: "ill-formed-text" }));
});

test.each([-1, 1.5, Number.NaN, 2 ** 53])("%d is neither index nor epoch", (value) => {
  expect(() => toIndex(value)).toThrow(expect.objectContaining({ kind: "call", code: "bad-index" }));
  expect(() => toEpoch(value)).toThrow(expect.objectContaining({ kind: "call", code: "bad-epoch" }));
});
