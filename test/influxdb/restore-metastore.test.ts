// What goes wrong while a metastore is sent to a server that is restored to (docs/compared.md, I26 to I36): its shards have no place before.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isTidemarkError } from "../../lib/model/errors.ts";
import { onlyDatabases } from "../../lib/sources/influxdb/meta.ts";
import { backup, clientOf, failureWorld, generationOf } from "./at-rest.ts";
import { type Influxd, influxdVersion } from "./influxd.ts";
import { missing } from "./obtain.ts";
import { type Answers, answers, points } from "./points.ts";
import { DAY_MS, placeIn, type Restores, startRestores } from "./restores.ts";
import { startSegments } from "./segments.ts";

const METASTORE_UPDATE = 6;

const lacks = await missing();
if (lacks !== undefined) test("failures of a metastore on its way to a real InfluxDB are no wrong success", ({ skip }) => skip(lacks));
else describe("a metastore on its way to a real InfluxDB", playFailures);

function playFailures(): void {
  let rig: Restores;
  let target: Influxd;
  let original: Answers;
  beforeAll(async () => {
    rig = await startRestores();
    ({ target, original } = rig);
  });
  afterAll(() => rig[Symbol.asyncDispose]());

  test("a metastore in two segments is taken whole or refused clearly, wherever it is split, and the next try is right", async () => {
    // More than a server reads at a time; what it reads at its second time is all that it takes.
    await target.query('CREATE DATABASE "wide" WITH DURATION INF SHARD DURATION 1d NAME "policy"');
    await target.write("wide", points({ seed: 22, points: 32, shardGroupMs: DAY_MS, groups: 16 }));
    const wide = await answers(target, "wide");
    const codes = new Set<string>();
    for (const part of [-1, 0.5, 1, 1.5, 1.95]) {
      const { newDatabase } = await rig.prepared();
      const world = failureWorld();
      await generationOf(backup(world, target.snapshotter, { selection: { database: "wide" } }));
      await rig.behind(
        ({ type, nthOfType, json }) => (type === METASTORE_UPDATE && nthOfType === 1 ? { kind: "split", bytes: placeIn(json, part) } : undefined),
        async (address) => {
          const about = { client: clientOf(address), database: "wide" };
          const outcome = await rig.bringBack(world, newDatabase, about).catch((error: unknown) => error);
          if (isTidemarkError(outcome)) {
            expect(outcome).toMatchObject({ kind: "retry", message: expect.stringMatching(/log tells why/) });
            codes.add(outcome.code);
            await rig.bringBack(world, newDatabase, about);
          }
          expect(await answers(target, newDatabase)).toEqual(wide);
        },
      );
      await target.query(`DROP DATABASE "${newDatabase}"`);
    }
    expect([...codes].filter((code) => code !== "refused")).toEqual([]);
    if (/^1\.[5-7]\./.test(await influxdVersion())) expect([...codes]).toEqual(["refused"]);
  });

  test("a metastore that comes in as many segments as a network makes of it is taken at the first try", async () => {
    await target.query('CREATE DATABASE "long" WITH DURATION INF SHARD DURATION 1d NAME "policy"');
    await target.write("long", points({ seed: 23, points: 120, shardGroupMs: DAY_MS, groups: 60 }));
    await using network = await startSegments(target.snapshotter);
    for (let at = 0; at < 3; at++) {
      const { meta } = await clientOf(target.snapshotter).metastore();
      const renaming = { database: "long", newDatabase: `long ${at}`, policy: "", newPolicy: "" };
      expect(
        (
          await clientOf(network.address).updateMetastore(
            onlyDatabases(meta, (name) => name === "long"),
            renaming,
          )
        ).size,
      ).toBe(60);
    }
  });

  test("a database without shards is there behind its restore, or the server refused it: its answer is the same", async () => {
    await target.query('CREATE DATABASE "bare" WITH DURATION 3d NAME "policy"');
    // With these it is more than a server reads at a time, and less than what goes out behind blanks.
    for (let at = 0; at < 10; at++) await target.query(`CREATE RETENTION POLICY "another policy ${at}" ON "bare" DURATION 2d REPLICATION 1`);
    const bare = await answers(target, "bare");
    const codes = new Set<string>();
    for (const part of [1, 1.5, 1.95]) {
      const { world, newDatabase } = await rig.prepared();
      await rig.behind(
        ({ type, nthOfType, json }) => (type === METASTORE_UPDATE && nthOfType === 1 ? { kind: "split", bytes: placeIn(json, part) } : undefined),
        async (address) => {
          const about = { client: clientOf(address), database: "bare" };
          const outcome = await rig.bringBack(world, newDatabase, about).catch((error: unknown) => error);
          if (isTidemarkError(outcome)) {
            codes.add(outcome.code);
            expect((await rig.bringBack(world, newDatabase, about)).databases).toMatchObject([{ newDatabase, shards: [], empty: [] }]);
          }
          expect((await answers(target, newDatabase)).policies).toEqual(bare.policies);
        },
      );
    }
    if (/^1\.[5-7]\./.test(await influxdVersion())) expect([...codes]).toEqual(["refused"]);
  });

  test("an answer to the metastore that is cut at any place is an error; the database is then there, is told, and dropped is restored", async () => {
    for (const [at, bytes] of [0, 7, 8, 15, 16, 31, 40, 63].entries()) {
      const { world, newDatabase } = await rig.prepared();
      await rig.behind(
        ({ type, nthOfType }) => (type === METASTORE_UPDATE && nthOfType === 1 ? { kind: "cut", bytes, by: at % 2 === 0 ? "fin" : "rst" } : undefined),
        async (address) => {
          const client = clientOf(address);
          await expect(rig.bringBack(world, newDatabase, { client })).rejects.toMatchObject({ kind: "retry" });
          await expect(rig.bringBack(world, newDatabase, { client })).rejects.toMatchObject({ code: "database-exists" });
          await target.query(`DROP DATABASE "${newDatabase}"`);
          await rig.bringBack(world, newDatabase, { client });
          expect(await answers(target, newDatabase)).toEqual(original);
        },
      );
    }
  });
}
