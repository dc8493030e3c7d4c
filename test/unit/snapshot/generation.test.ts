import { expect, test } from "vitest";
import { toIndex } from "../../../lib/model/position.ts";
import { type GenerationRow, openGeneration } from "../../../lib/snapshot/generation.ts";
import { description, encodeRecords, jsonRecords } from "./parquet/records.ts";
import { storeOf } from "./store-of.ts";

const life = { id: { table: "players", shard: 3 }, incarnation: "00112233aabbccdd" };
const { bytes, size, footerSha256, footerBytes } = await encodeRecords(jsonRecords(3));
const { index, position, border } = description;
const row: GenerationRow = { index, position, border, key: "players/3/00112233aabbccdd/snapshots/1-e1.parquet", size, footerSha256, footerBytes };

const open = (change: Partial<GenerationRow> = {}, of = life) => {
  const changed = { ...row, ...change };
  return openGeneration({ store: storeOf(new Map([[changed.key, bytes]])) }, of, changed);
};

test("a generation is opened by its row; that its object is gone is an outcome", async () => {
  expect(await open()).toMatchObject({ kind: "opened", snapshot: { description, rowCount: 3 } });
  expect(await openGeneration({ store: storeOf(new Map()) }, life, row)).toEqual({ kind: "absent" });
});

test.each<[string, Partial<GenerationRow>]>([
  ["the index is", { index: toIndex(3) }],
  ["the redo file of its position is", { position: { ...position, redoFile: toIndex(40) } }],
  ["the batch of its position is", { position: { ...position, batchOffset: 8 } }],
  ["where the log goes on is", { border: { ...border, next: toIndex(58) } }],
  ["the chain digest is", { border: { ...border, digest: "f".repeat(64) } }],
  ["the time is", { border: { ...border, timeMs: 1 } }],
])("a row that differs from the footer is damage: %s another", async (what, change) => {
  await expect(open(change)).rejects.toMatchObject({ kind: "repair", object: row.key, message: expect.stringContaining(`differ: ${what}`) });
});

test("a snapshot of another shard or incarnation in this one's place is damage", async () => {
  const [other, again] = [
    { id: { table: "players", shard: 4 }, incarnation: life.incarnation },
    { id: life.id, incarnation: "ffffffffffffffff" },
  ];
  await expect(open({ key: "players/4/00112233aabbccdd/snapshots/1-e1.parquet" }, other)).rejects.toMatchObject({
    kind: "repair",
    message: expect.stringContaining("the shard is players/3 in the one, players/4 in the other"),
  });
  await expect(open({ key: "players/3/ffffffffffffffff/snapshots/1-e1.parquet" }, again)).rejects.toMatchObject({
    kind: "repair",
    message: expect.stringContaining("the incarnation is 00112233aabbccdd in the one, ffffffffffffffff in the other"),
  });
  await expect(open({}, again)).rejects.toMatchObject({ kind: "repair", message: expect.stringContaining("its history row is one of incarnation") });
});
