import { expect, test } from "vitest";
import { SHARDS_MAX } from "../../../lib/model/limits.ts";
import { checkTable, POLICY_DEFAULTS, shardOf, type Table } from "../../../lib/model/table.ts";

const table: Table = { ...POLICY_DEFAULTS, name: "players", shards: 4, codec: "json", createdAtMs: 0, state: "live" };

test.each([
  {},
  { shards: 1 },
  { shards: SHARDS_MAX },
  { source: "influxdb", shards: 1 } as const,
  { captureLogPercent: 1 },
  { captureLogPercent: 10_000 },
  { recoverWithinMs: 1_000 },
  { capturesTogetherMax: 1 },
  { captureAfterMutations: 1 },
  { captureAfterMs: 1_000 },
  { keepSnapshots: 2 },
  { keepForMs: 86_400_000 },
  { compactionOverhead: 1_000 },
])("settings that can be kept are taken: %j", (change) => {
  expect(() => checkTable({ ...table, ...change })).not.toThrow();
});

test.each([
  ["bad-setting", { shards: 0 }],
  ["bad-setting", { shards: 1.5 }],
  ["bad-setting", { shards: SHARDS_MAX + 1 }],
  ["bad-setting", { captureLogPercent: 0 }],
  ["bad-setting", { captureLogPercent: 25.5 }],
  ["bad-setting", { captureLogPercent: 10_001 }],
  ["bad-setting", { recoverWithinMs: 999 }],
  ["bad-setting", { capturesTogetherMax: 0 }],
  ["bad-setting", { capturesTogetherMax: SHARDS_MAX + 1 }],
  ["bad-setting", { captureAfterMutations: 0 }],
  ["bad-setting", { captureAfterMs: 999 }],
  ["bad-setting", { keepSnapshots: 1 }],
  ["bad-setting", { keepSnapshots: 10_001 }],
  ["bad-setting", { keepForMs: -1 }],
  ["bad-setting", { compactionOverhead: Number.NaN }],
  ["bad-setting", { compactionOverhead: 2 ** 53 }],
  ["bad-setting", { source: "influxdb", shards: 2 } as const],
  ["bad-table-name", { name: "../x" }],
])("settings that cannot be kept are refused: %s %j", (code, change) => {
  expect(() => checkTable({ ...table, ...change })).toThrow(expect.objectContaining({ kind: "call", code }));
});

test("a key's shard never changes: it is part of the format", () => {
  const keys = ["", "a", "p/42", "user/00000001", "é", "\u{1f600}"].map((text) => Buffer.from(text));
  expect(keys.map((key) => [1, 2, 4, 7, 10_000].map((shards) => shardOf(key, shards)))).toEqual([
    [0, 1, 3, 4, 8923],
    [0, 1, 3, 0, 1715],
    [0, 1, 1, 6, 3613],
    [0, 1, 1, 2, 6485],
    [0, 1, 3, 1, 9943],
    [0, 0, 2, 4, 7642],
  ]);
});

test("numbered keys spread evenly over the shards", () => {
  const shards = 16;
  const counts = new Array<number>(shards).fill(0);
  for (let i = 0; i < 16_000; i++) counts[shardOf(Buffer.from(`user/${i}`), shards)]++;
  expect(Math.min(...counts)).toBeGreaterThan(850);
  expect(Math.max(...counts)).toBeLessThan(1_150);
});
