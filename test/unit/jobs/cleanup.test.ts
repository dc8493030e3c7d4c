import { expect, test } from "vitest";
import { tailItem } from "../../../lib/checkpoint/items.ts";
import { cleanupShard, cleanupStrays } from "../../../lib/jobs/cleanup.ts";
import { getTable } from "../../../lib/jobs/tables.ts";
import { POLICY_DEFAULTS } from "../../../lib/model/table.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import { appendEach, id, keysOf, memoryWorld, put, withObjects, worldWithTable } from "./world.ts";

const tidy = { ...POLICY_DEFAULTS, compactionOverhead: 0 };

test("a shard whose tail tells all is cleaned without a word on it", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await capture(world, { id, codec: "json" });
  await appendEach(world, [[put("b", 2)]]);
  const before = await world.checkpoints.get(tailItem(id));
  world.clock.advance(60_000);
  await cleanupShard(world, { id, policy: await getTable(world, "players") });
  expect(await world.checkpoints.get(tailItem(id))).toEqual(before);
});

test("a tail of another life is damage, and is not taken for this one's", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  await world.checkpoints.write([{ item: tailItem(id), when: [], set: { incarnation: "f".repeat(16), next: 9 } }]);
  await expect(cleanupShard(world, { id, policy: tidy })).rejects.toMatchObject({ kind: "repair", code: "damaged-item" });
});

test("the report names each upload that was ended, and what would not go", async () => {
  const world = await worldWithTable();
  for (let round = 0; round < 4; round++) {
    await appendEach(world, [[put("a", round)]]);
    await capture(world, { id, codec: "json" });
  }
  const prefix = keysOf(world)[0].split("/").slice(0, 3).join("/");
  const upload = {
    key: `${prefix}/snapshots/0000000000000001-e1.parquet`,
    ...(await world.objects.createUpload(`${prefix}/snapshots/0000000000000001-e1.parquet`)),
  };
  const refusing = withObjects(world, () => ({ deleteMany: async (keys) => ({ failed: keys.map((key) => ({ key, reason: "denied" })) }) }));
  const planned = await cleanupShard(refusing, { id, policy: tidy, dryRun: true });
  expect(planned).toMatchObject({ kind: "planned", uploads: [`${upload.key} (upload ${upload.uploadId})`], failed: [] });
  const report = await cleanupShard(refusing, { id, policy: tidy });
  expect(report).toMatchObject({ kind: "cleaned", uploads: planned.uploads, redoFiles: planned.redoFiles, snapshots: planned.snapshots });
  expect(planned.redoFiles.length + planned.snapshots.length).toBeGreaterThan(0);
  expect(report.failed.every(({ reason }) => reason === "denied")).toBe(true);
  expect(report.failed.length).toBeGreaterThan(0);
  expect((await cleanupShard(world, { id, policy: tidy })).failed).toEqual([]);
});

test("of tables that are no more only what is a shard's by its name is cleaned", async () => {
  const world = memoryWorld();
  expect(await cleanupStrays(world)).toEqual([]);
  const redo = "00112233aabbccdd/redo/0000000000000001.redo";
  const foreign = [`gone/x3/${redo}`, `gone/3x/${redo}`, `gone/03/${redo}`, `gone/-1/${redo}`];
  for (const key of [`gone/30/${redo}`, `gone/0/${redo}`, ...foreign]) await world.objects.createIfAbsent(key, Buffer.from("x"));
  const reports = await cleanupStrays(world);
  expect(reports.map((one) => `${one.id.table}/${one.id.shard}`).sort()).toEqual(["gone/0", "gone/30"]);
  expect(keysOf(world)).toEqual(foreign.toSorted());
});
