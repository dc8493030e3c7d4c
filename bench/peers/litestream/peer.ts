// Litestream: the state as a table of SQLite, replicated by pages. Its process stays with the database, or runs by a schedule.
//
// The application is this process. Changes are committed before the clock starts: what is measured is to make them durable.

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type Content, contentOf, type KeyValue, recordsOf } from "../data.ts";
import type { Bench, Peer } from "../peer.ts";
import { startResident } from "../resident.ts";
import { goInstall } from "../../../test/cache.ts";

const PROGRAM = { path: "github.com/benbjohnson/litestream/cmd/litestream", version: "v0.5.18" };
const SYNC_SECONDS_MAX = "300";

export const litestream: Peer = {
  name: "litestream",
  async setUp() {
    const program = await goInstall(PROGRAM);
    return { kind: "ready", run: (bench) => run(bench, program) };
  },
};

async function run(bench: Bench, program: string): Promise<void> {
  const { folder, data, measure } = bench;
  const database = join(folder, "state.db");
  const config = join(folder, "litestream.json");
  const socket = join(folder, "litestream.sock");
  await writeFile(config, JSON.stringify(configuration(bench, { database, socket })));
  const replicateOnce = [program, "replicate", "-once", "-config", config] as const;
  const restore = async (name: string): Promise<readonly [string, ...string[]]> => [program, "restore", "-config", config, "-o", join(folder, name), database];

  await change(database, data.base);
  await measure({ task: "first snapshot", command: replicateOnce });
  await change(database, data.changes("uniform-2"));
  await measure({ task: "1 % uniform made durable by a schedule", command: replicateOnce });

  const daemon = await startResident([program, "replicate", "-config", config], bench.env);
  try {
    const sync = async (): Promise<void> => void (await bench.run(program, "sync", "-wait", "-timeout", SYNC_SECONDS_MAX, "-socket", socket, database));
    await sync();
    await change(database, data.changes("uniform-1"));
    await bench.watch({ task: "1 % uniform made durable", comparisons: ["1 % uniform made durable"], pid: daemon.pid }, sync);
    await change(database, data.changes("range-1"));
    await bench.watch({ task: "1 % range made durable", pid: daemon.pid }, sync);
  } finally {
    await daemon.stop();
  }
  const expected = await data.content("uniform-2", "uniform-1", "range-1");
  await measure({ task: "restore from snapshot and increments", command: await restore("restored-1.db") });
  bench.check("restored from snapshot and increments", await contentOfTable(join(folder, "restored-1.db")), expected);
  await measure({ task: "new snapshot", comparisons: ["1 % uniform in a new full state"], command: [...replicateOnce, "-force-snapshot"] });
  await measure({ task: "restore from the new snapshot", comparisons: ["recovery to a verified file"], command: await restore("restored-2.db") });
  bench.check("restored from the new snapshot", await contentOfTable(join(folder, "restored-2.db")), expected);
}

/** One level of compaction, which is not due within the run: what is sent while a change is made durable is that change. */
function configuration({ endpoint, bucket, env }: Bench, { database, socket }: { readonly database: string; readonly socket: string }): object {
  const replica = {
    type: "s3",
    bucket,
    path: "state",
    endpoint,
    region: env.AWS_REGION,
    "force-path-style": true,
    "access-key-id": env.AWS_ACCESS_KEY_ID,
    "secret-access-key": env.AWS_SECRET_ACCESS_KEY,
  };
  return { logging: { level: "warn" }, socket: { enabled: true, path: socket }, levels: [{ interval: "24h" }], dbs: [{ path: database, replica }] };
}

async function change(path: string, file: string): Promise<void> {
  const database = new DatabaseSync(path);
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; CREATE TABLE IF NOT EXISTS state (k TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID; BEGIN");
  const put = database.prepare("INSERT INTO state VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v");
  for await (const { key, value } of recordsOf(file)) put.run(key, value);
  database.exec("COMMIT");
  database.close();
}

async function contentOfTable(path: string): Promise<Content> {
  const database = new DatabaseSync(path, { readOnly: true });
  const content = await contentOf(database.prepare("SELECT k AS key, v AS value FROM state ORDER BY k").iterate() as Iterable<unknown> as Iterable<KeyValue>);
  database.close();
  return content;
}
