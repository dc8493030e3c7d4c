// Bytes of a released format are never rewritten: test/golden/snapshot-v1.parquet stays readable for ever.

import { hash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { ENCODER_VERSION } from "../../../../lib/snapshot/parquet/description.ts";
import { openSnapshot } from "../../../../lib/snapshot/read.ts";
import { storeOf } from "../store-of.ts";
import { description, encodeRecords, jsonRecords, type TestRecord, toRecords } from "./records.ts";

const GOLDEN = new URL("../../../golden/snapshot-v1.parquet", import.meta.url);
const GOLDEN_SHA256 = "273991a4a92eefac3d88b022a6afe0e1279dc081520505ed3b4fbb4296c032d6";
const records = jsonRecords(1_500);
const expected = { ...description, codec: "json" as const };
/** Several row groups of several pages. */
const sizes = { pageRows: 128, groupBytes: 8_000 };

test("the golden snapshot is as it was when the format was released", async () => {
  expect(hash("sha256", await readFile(GOLDEN), "hex")).toBe(GOLDEN_SHA256);
});

test("the golden snapshot reads back as what went into it", async () => {
  const opened = await openSnapshot({ store: storeOf(new Map([["golden", await readFile(GOLDEN)]])) }, { key: "golden" });
  if (opened.kind === "absent") throw new Error("the golden snapshot is there");
  const { snapshot } = opened;
  const read: TestRecord[] = [];
  for await (const rows of snapshot.rows()) read.push(...toRecords(rows));
  expect(snapshot.description).toEqual(expected);
  expect(snapshot.groups.length).toBe(2);
  expect(snapshot.encoder).toBe("2/zstd-1.5.7");
  expect(read).toEqual(records);
});

test("the encoder version that wrote the golden snapshot writes the same bytes", async (context) => {
  if (ENCODER_VERSION !== "2/zstd-1.5.7") context.skip(`this is encoder ${ENCODER_VERSION}: other bytes are as right`);
  expect((await encodeRecords(records, expected, sizes)).bytes.equals(await readFile(GOLDEN))).toBe(true);
});
