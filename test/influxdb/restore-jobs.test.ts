// Restores that are stopped, overtaken by retention, or long, to a server of the test's own: `serve` over another store takes what a
// real one does.

import { afterEach, beforeEach, expect, test } from "vitest";
import { readHistory } from "../../lib/checkpoint/control.ts";
import { PIN_TTL_MS } from "../../lib/model/limits.ts";
import type { InfluxClient } from "../../lib/sources/influxdb/client.ts";
import { addressInWords } from "../../lib/sources/influxdb/connection.ts";
import { idOf } from "../../lib/sources/influxdb/open-backup.ts";
import { restore } from "../../lib/sources/influxdb/restore.ts";
import { serve, type Serving } from "../../lib/sources/influxdb/serve.ts";
import { backup, clientOf, failureWorld, type FailureWorld, generationOf, NAME } from "./at-rest.ts";
import { modelShard, startModelServer } from "./model-server.ts";

const FIRST = "000000001-000000001.tsm";
/** Of the shard of database b on the target, which counts its shards behind its own. */
const OF_B = 12;

let world: FailureWorld;
let target: Serving;
let client: InfluxClient;
beforeEach(async () => {
  world = failureWorld();
  await using server = await startModelServer(["a", "b", "c"].map((database, at) => modelShard(1 + at, { [FIRST]: database }, { database })));
  await generationOf(backup(world, server.address));
  const there = failureWorld(2);
  await using own = await startModelServer([modelShard(10, { [FIRST]: "own" }, { database: "own" })]);
  await generationOf(backup(there, own.address));
  target = await serve(there, { name: NAME, listen: { host: "127.0.0.1", port: 0 } });
  client = clientOf(addressInWords(target.address));
});
afterEach(() => target.close());

test("one of several databases that is stopped behind the first of them goes on, and when it has ended is not gone on with", async () => {
  const stopped = new AbortController();
  const stopping: InfluxClient = {
    ...client,
    async updateShard(shard, chunks) {
      await client.updateShard(shard, chunks);
      if (shard === OF_B) stopped.abort();
    },
  };
  await expect(restore(world, { name: NAME, client: stopping, signal: stopped.signal })).rejects.toMatchObject({ code: "interrupted" });
  const { databases } = await restore(world, { name: NAME, client });
  expect(databases).toMatchObject([
    { database: "a", resumed: true, shards: [{ found: true }] },
    { database: "b", resumed: true, shards: [{ found: true }] },
    { database: "c", resumed: true, shards: [{ found: false }] },
  ]);
  await expect(restore(world, { name: NAME, client })).rejects.toMatchObject({ code: "database-exists" });
});

test("a shard that the server deletes meanwhile, because its policy keeps none so old, is told, and those behind it are restored", async () => {
  const retaining: InfluxClient = {
    ...client,
    async metastore() {
      const { parsed, ...rest } = await client.metastore();
      const databases = parsed.databases.map(({ name, policies }) => ({
        name,
        policies: policies.map((policy) => ({ ...policy, groups: policy.groups.map((group) => ({ ...group, isDeleted: group.shards.includes(OF_B) })) })),
      }));
      return { ...rest, parsed: { ...parsed, databases } };
    },
    async *shard(place, which) {
      if (place.shard !== OF_B) yield* client.shard(place, which);
    },
  };
  const { databases } = await restore(world, { name: NAME, client: retaining });
  expect(databases).toMatchObject([
    { database: "a", shards: [{}], expired: [] },
    { database: "b", shards: [], expired: [2] },
    { database: "c", shards: [{}], expired: [] },
  ]);
});

test("its generation is held while the server is read back, however long that takes", async () => {
  const lapsed: boolean[] = [];
  const slow: InfluxClient = {
    ...client,
    async *shard(place, which) {
      for await (const chunk of client.shard(place, which)) {
        for (let passed = 0; passed < 3; passed++) {
          world.clock.skip(PIN_TTL_MS / 2);
          yield chunk.subarray((passed * chunk.length) / 4, ((passed + 1) * chunk.length) / 4);
          const pins = (await readHistory(world.checkpoints, idOf(NAME))).flatMap((row) => Object.values(row.pins));
          lapsed.push(!pins.some((untilMs) => untilMs > world.clock.now()));
        }
        yield chunk.subarray((3 * chunk.length) / 4);
      }
    },
  };
  await restore(world, { name: NAME, client: slow, database: "a" });
  expect(lapsed.length).toBeGreaterThan(5);
  expect(lapsed).not.toContain(true);
});
