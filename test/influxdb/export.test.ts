// What is exported to a folder, byte for byte, of files of any number of frames.

import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterEach, beforeEach, expect, test } from "vitest";
import { exportBackup } from "../../lib/sources/influxdb/export.ts";
import { backup, failureWorld, type FailureWorld, generationOf, NAME } from "./at-rest.ts";
import { archive, type ModelFile, modelShard, startModelServer } from "./model-server.ts";

const EXPORT_MS_MAX = 60_000;

const file = (bytes: number): ModelFile => ({ bytes: randomBytes(bytes), modifiedMs: 1_700_000_000_000 });
const FILES = { "000000001-000000001.tsm": file(3_500_000), "000000002-000000001.tsm": file(5_000), "000000003-000000001.tsm": file(700_000) };

let world: FailureWorld;
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tidemark-export-"));
  world = failureWorld();
  await using server = await startModelServer([modelShard(1, FILES)]);
  await generationOf(backup(world, server.address));
});
afterEach(() => rm(folder, { recursive: true }));

test(
  "as data, each file has its bytes",
  async () => {
    const directory = join(folder, "data");
    await exportBackup(world, { name: NAME, directory, format: "data" });
    for (const [name, { bytes }] of Object.entries(FILES)) {
      expect((await readFile(join(directory, "data/db/policy/1", name))).equals(bytes), name).toBe(true);
    }
  },
  EXPORT_MS_MAX,
);

test(
  "as a portable backup, a shard's archive has the bytes of all of its files",
  async () => {
    const directory = join(folder, "portable");
    await exportBackup(world, { name: NAME, directory, format: "portable" });
    const [name] = (await readdir(directory)).filter((one) => one.endsWith(".s1.tar.gz"));
    const whole = archive(Object.entries(FILES).map(([of, { bytes }]) => ({ name: `db/policy/1/${of}`, bytes })));
    expect(gunzipSync(await readFile(join(directory, name))).equals(whole)).toBe(true);
  },
  EXPORT_MS_MAX,
);
