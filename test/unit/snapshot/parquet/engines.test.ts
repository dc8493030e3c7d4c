// What others read of a snapshot is what we read of it.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DuckDBInstance } from "@duckdb/node-api";
import { parquetMetadata, parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { afterAll, beforeAll, expect, test } from "vitest";
import { description, encodeRecords, jsonRecords, type TestRecord } from "./records.ts";

const records = [
  ...jsonRecords(30_000),
  ...["\uffff", "\u{10000}", "\u{1f600}"].map((key, i) => ({
    key: Buffer.from(key),
    value: Buffer.from(`{"id":${i},"city":"Köln"}`),
    index: 2 ** 40 + i,
    timeMs: 2 ** 41 + i,
  })),
];
const json = await encodeRecords(records, { ...description, codec: "json" });

let folder = "";
let duckdb: DuckDBInstance;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tidemark-parquet-"));
  await writeFile(join(folder, "json.parquet"), json.bytes);
  await writeFile(join(folder, "empty.parquet"), (await encodeRecords([])).bytes);
  await writeFile(join(folder, "large.parquet"), (await encodeRecords(largeRecords())).bytes);
  duckdb = await DuckDBInstance.create(":memory:");
});

afterAll(async () => {
  duckdb.closeSync();
  await rm(folder, { recursive: true, force: true });
});

function largeRecords(): readonly TestRecord[] {
  return [0, 1, 600_000, 8 * 1024 * 1024, 0].map((length, i) => ({
    key: Buffer.from(`k${i}`),
    value: Buffer.alloc(length, Buffer.from([0, 0xff, i])),
    index: 2 ** 53 - 1 - i,
    timeMs: i,
  }));
}

async function query(sql: string): Promise<readonly unknown[]> {
  const connection = await duckdb.connect();
  try {
    return (await connection.runAndReadAll(sql.replaceAll("@", `${folder}/`))).getRowsJS();
  } finally {
    connection.closeSync();
  }
}

test("DuckDB reads every record as it was written, in key order", async () => {
  const rows = await query("SELECT key, value::VARCHAR, index, epoch_ms(time) FROM '@json.parquet'");
  expect(rows).toEqual(records.map(({ key, value, index, timeMs }) => [String(key), String(value), BigInt(index), BigInt(timeMs)]));
});

test("DuckDB counts, filters by key and groups by a field of the JSON", async () => {
  expect(await query("SELECT count(*) FROM '@json.parquet'")).toEqual([[BigInt(records.length)]]);
  expect(await query("SELECT index FROM '@json.parquet' WHERE key = 'user/00012345'")).toEqual([[BigInt(records[12_345].index)]]);
  expect(await query("SELECT count(*) FROM '@json.parquet' WHERE key >= 'user/00010000' AND key < 'user/00020000'")).toEqual([[10_000n]]);
  expect(
    await query("SELECT value->>'$.city' AS city, count(*), sum((value->>'$.coins')::INT) FROM '@json.parquet' WHERE key < 'v' GROUP BY ALL ORDER BY city"),
  ).toEqual(
    ["Kyoto", "Lima", "Oslo"].map((city) => {
      const values = records.map(({ value }) => JSON.parse(String(value))).filter((value) => value.city === city);
      return [city, BigInt(values.length), BigInt(values.reduce((sum, value) => sum + value.coins, 0))];
    }),
  );
});

test("DuckDB reads a snapshot without rows, and values of any size and any bytes", async () => {
  expect(await query("SELECT count(*) FROM '@empty.parquet'")).toEqual([[0n]]);
  expect(await query("SELECT key, octet_length(value), md5(value), index, epoch_ms(time) FROM '@large.parquet'")).toHaveLength(5);
  expect(await query("SELECT octet_length(value), index FROM '@large.parquet'")).toEqual(
    largeRecords().map(({ value, index }) => [BigInt(value.length), BigInt(index)]),
  );
});

test("DuckDB shows what the snapshot says of itself, and the columns as they are meant", async () => {
  const metadata = await query("SELECT decode(key), decode(value) FROM parquet_kv_metadata('@json.parquet')");
  expect(metadata).toContainEqual(["tidemark.table", "players"]);
  expect(metadata).toContainEqual(["tidemark.position", '{"redoFile":41,"batchOffset":7}']);
  const columns = await query("SELECT name, type, logical_type, field_id FROM parquet_schema('@json.parquet') WHERE num_children IS NULL");
  expect(columns).toEqual([
    ["key", "BYTE_ARRAY", "StringType()", 1n],
    ["value", "BYTE_ARRAY", "JsonType()", 2n],
    ["index", "INT64", null, 3n],
    ["time", "INT64", expect.stringContaining("isAdjustedToUTC=1"), 4n],
  ]);
});

test("hyparquet reads every record as it was written", async () => {
  const { buffer, byteOffset, length } = Buffer.from(json.bytes);
  const file = buffer.slice(byteOffset, byteOffset + length);
  const rows = await parquetReadObjects({ file, compressors });
  expect(rows).toEqual(
    records.map(({ key, value, index, timeMs }) => ({ key: String(key), value: JSON.parse(String(value)), index: BigInt(index), time: new Date(timeMs) })),
  );
  expect(parquetMetadata(file).num_rows).toBe(BigInt(records.length));
});
