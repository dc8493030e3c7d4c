// What others read of a snapshot that was spliced many times is what the log means.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DuckDBInstance } from "@duckdb/node-api";
import fc from "fast-check";
import { parquetMetadata, parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { expect, test } from "vitest";
import { FILE_ORDER, KEY, MAGIC } from "../../../../lib/snapshot/parquet/layout.ts";
import { type Change, modelState } from "../../machines/keyed/log.ts";
import { anyChanges, baseOf, changesOf, evenPuts, opened, piecesOf, type SplicedSnapshot, snapshotOf, statesOf } from "../splices.ts";
import { description } from "./records.ts";

const GENERATIONS = 50;
const { log, spliced } = await spliceOften();
const model = modelState(log);

/** Splice on splice: row groups of all ages lie in the last one. */
async function spliceOften(): Promise<{ readonly log: readonly Change[]; readonly spliced: SplicedSnapshot }> {
  let all = evenPuts(600);
  let base = await baseOf(all);
  let made: SplicedSnapshot | undefined;
  for (const changes of fc.sample(anyChanges(600, 5), { numRuns: GENERATIONS, seed: 3 })) {
    const cut = all.length;
    all = [...all, ...changes];
    made = await snapshotOf(await piecesOf({ base, changes: changesOf(all, cut) }), base, { ...description, codec: "json" });
    base = await opened(made.bytes);
  }
  if (made === undefined) throw new Error("there are generations");
  return { log: all, spliced: made };
}

test("our reader reads what the log means, whole and by key, and finds every byte sound", async () => {
  const snapshot = await opened(spliced.bytes);
  expect(snapshot.description.splices).toBe(GENERATIONS);
  expect(spliced.carried.length).toBeGreaterThan(spliced.groups.length / 2);
  expect(await statesOf(snapshot)).toEqual(model);
  for (const { key, value, index, timeMs } of model) expect(await snapshot.get(Buffer.from(key))).toEqual({ value: Buffer.from(value), index, timeMs });
  await Array.fromAsync(snapshot.verifyBytes());
});

test("DuckDB reads the same rows, and those of one key or a range of them", async () => {
  const folder = await mkdtemp(join(tmpdir(), "tidemark-splices-"));
  const duckdb = await DuckDBInstance.create(":memory:");
  try {
    await writeFile(join(folder, "spliced.parquet"), spliced.bytes);
    const connection = await duckdb.connect();
    const query = async (where: string) =>
      (
        await connection.runAndReadAll(`SELECT key, value::VARCHAR, index::DOUBLE, epoch_ms(time)::DOUBLE FROM '${join(folder, "spliced.parquet")}' ${where}`)
      ).getRowsJS();
    const rows = model.map(({ key, value, index, timeMs }) => [key, value, index, timeMs]);
    expect(await query("")).toEqual(rows);
    expect(await query("WHERE key >= 'k0100' AND key < 'k0201'")).toEqual(rows.filter(([key]) => String(key) >= "k0100" && String(key) < "k0201"));
    for (const row of rows.filter((_, i) => i % 40 === 0)) expect(await query(`WHERE key = '${row[0]}'`)).toEqual([row]);
    connection.closeSync();
  } finally {
    duckdb.closeSync();
    await rm(folder, { recursive: true, force: true });
  }
});

test("hyparquet reads the same rows", async () => {
  const { buffer, byteOffset, length } = Buffer.from(spliced.bytes);
  const rows = await parquetReadObjects({ file: buffer.slice(byteOffset, byteOffset + length), compressors });
  expect(rows).toEqual(model.map(({ key, value, index, timeMs }) => ({ key, value: JSON.parse(value), index: BigInt(index), time: new Date(timeMs) })));
});

test("row groups, and the chunks in them, tile the object from its head on, and so do their page indexes up to the foot", () => {
  const { buffer, byteOffset, length } = Buffer.from(spliced.bytes);
  const { row_groups: groups } = parquetMetadata(buffer.slice(byteOffset, byteOffset + length));
  expect(groups.length).toBe(spliced.groups.length);
  let end = BigInt(MAGIC.length);
  for (const { columns } of groups) {
    for (const column of FILE_ORDER) {
      const about = columns[column].meta_data;
      expect(about?.data_page_offset).toBe(end);
      end += about?.total_compressed_size ?? 0n;
    }
  }
  for (const [place, { columns }] of groups.entries()) {
    expect(columns[KEY].column_index_offset).toBe(end);
    end += BigInt(spliced.groups[place].index.length);
  }
  expect(end).toBe(BigInt(spliced.size - spliced.footerBytes));
});
