// Folders of official portable backups that grow, or are of more than one server; written here as the official client writes them.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { afterEach, beforeEach, expect, test } from "vitest";
import { snapshotShard } from "../../lib/jobs/snapshot.ts";
import { createTable } from "../../lib/jobs/tables.ts";
import { importBackup } from "../../lib/sources/influxdb/import.ts";
import { idOf } from "../../lib/sources/influxdb/open-backup.ts";
import { contentOf, failureWorld, type FailureWorld, generationsOf, NAME } from "./at-rest.ts";
import { archive, metaOf, type ModelShard, modelShard } from "./model-server.ts";

const FIRST = "000000001-000000001.tsm";
const SECOND = "000000002-000000001.tsm";

let world: FailureWorld;
let directory: string;
beforeEach(async () => {
  world = failureWorld();
  directory = await mkdtemp(join(tmpdir(), "tidemark-import-"));
});
afterEach(() => rm(directory, { recursive: true }));

/** One backup in the folder: of the server's shards those that were asked for, which may be others than its metastore has. */
async function backedUp(day: number, { meta, shards }: { readonly meta: Buffer; readonly shards: readonly ModelShard[] }): Promise<void> {
  const stamp = `202611${String(day).padStart(2, "0")}T000000Z`;
  const portable = new BinaryWriter().tag(1, WireType.LengthDelimited).bytes(meta).tag(2, WireType.Varint).uint64(0).finish();
  await writeFile(join(directory, `${stamp}.meta`), portable);
  const files: object[] = [];
  for (const { shard, database, policy, files: held } of shards) {
    const fileName = `${stamp}.s${shard}.tar.gz`;
    const tar = archive([...held].map(([name, { bytes }]) => ({ name: `${database}/${policy}/${shard}/${name}`, bytes })));
    await writeFile(join(directory, fileName), gzipSync(tar));
    files.push({ database, policy, shardID: shard, fileName, size: tar.length, lastModified: 0 });
  }
  const manifest = { meta: { fileName: `${stamp}.meta`, size: portable.length }, limited: false, files };
  await writeFile(join(directory, `${stamp}.manifest`), JSON.stringify(manifest));
}

async function readIn() {
  const report = await importBackup(world, { name: NAME, directory });
  if (report.generations.length > 0) await snapshotShard(world, { id: idOf(NAME) });
  return report;
}

test("a folder that grows is read in behind what was read in before, also once the generations of its first backups are let go", async () => {
  await createTable(world, { name: NAME, source: "influxdb", keepSnapshots: 2 });
  const shards: ModelShard[] = [];
  for (let day = 1; day <= 6; day++) {
    const newest = modelShard(day, { [FIRST]: `day ${day}` });
    shards.push(newest);
    await backedUp(day, { meta: metaOf(shards), shards: [newest] });
    expect(await readIn()).toMatchObject({ generations: [{ generation: day, shards: day }], found: day - 1 });
  }
  expect(await generationsOf(world)).not.toContain(1);
  expect(await contentOf(world, 6)).toEqual(Object.fromEntries(shards.map(({ shard }) => [`${shard}/${FIRST}`, `day ${shard}`])));
});

test("a shard has no files of one that had its id before the server was set up anew", async () => {
  const before = [modelShard(1, { [FIRST]: "old" }, { database: "old" }), modelShard(2, { [FIRST]: "older" }, { database: "old" })];
  const after = [modelShard(1, { [SECOND]: "new" }, { database: "new" }), modelShard(2, { [SECOND]: "newer" }, { database: "new" })];
  await backedUp(1, { meta: metaOf(before), shards: before });
  await backedUp(2, { meta: metaOf(after), shards: [after[0]] });
  await readIn();
  expect(await contentOf(world, 1)).toEqual({ [`1/${FIRST}`]: "old", [`2/${FIRST}`]: "older" });
  expect(await contentOf(world, 2)).toEqual({ [`1/${SECOND}`]: "new" });
});

test("a shard that the server was just deleting, so that its files are there and its place is not, is left out", async () => {
  const shards = [modelShard(1, { [FIRST]: "going" }), modelShard(2, { [FIRST]: "staying" })];
  await backedUp(1, { meta: metaOf(shards, { deleted: [1] }), shards });
  expect(await readIn()).toMatchObject({ generations: [{ shards: 1 }] });
  expect(await contentOf(world, 1)).toEqual({ [`2/${FIRST}`]: "staying" });
});

test("an archive of a shard that its metastore never had is refused", async () => {
  await backedUp(1, { meta: metaOf([modelShard(1, {})]), shards: [modelShard(2, { [FIRST]: "stray" })] });
  await expect(readIn()).rejects.toMatchObject({ kind: "call", code: "bad-backup", message: expect.stringContaining("s2.tar.gz") });
});
