// The silent failures of InfluxDB's protocol and of its official tools (influx-wire.md W1 to W13, features.md I8 to I36), each
// played against our backup: it ends with a clear error or with a right generation, never with a wrong success.

import { createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createServer as createHttpServer } from "node:http";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { exitOfError, EXIT } from "../../cli/exit-codes.ts";
import { isTidemarkError } from "../../lib/model/errors.ts";
import { createTable } from "../../lib/jobs/tables.ts";
import { backUp, type BackupOutcome } from "../../lib/sources/influxdb/backup.ts";
import { idOf, openBackup } from "../../lib/sources/influxdb/open-backup.ts";
import { restore } from "../../lib/sources/influxdb/restore.ts";
import { beginGathering } from "../../lib/sources/influxdb/gathering.ts";
import {
  backup,
  cleanUp,
  clientOf,
  contentOf,
  expectAtRest,
  failureWorld,
  type FailureWorld,
  filesIn,
  generationOf,
  generationsOf,
  hooked,
  LEASE_LAPSED_MS,
  leftOf,
  NAME,
} from "./at-rest.ts";
import { type Fault, startProxy } from "./double.ts";
import { type Influxd, startInfluxd } from "./influxd.ts";
import { archive, type ArchiveEntry, modelShard, type ModelServer, startModelServer } from "./model-server.ts";
import { missing } from "./obtain.ts";
import { answers, points } from "./points.ts";

const SHARD_BACKUP = 0;
const METASTORE_BACKUP = 1;
const POLICY_INFO = 4;
const FIRST = "000000001-000000001.tsm";
const SECOND = "000000002-000000001.tsm";
const THIRD = "000000003-000000001.tsm";
const TOMBSTONE = "000000001-000000001.tombstone";
const T0_MS = 1_700_000_000_000;

describe("of a server that fails between two files, so that its archive is whole and lacks one", () => {
  let world: FailureWorld;
  beforeEach(() => {
    world = failureWorld();
  });

  /** Serves the shard without a file in the nth of its archives. */
  function lacking(server: ModelServer, file: string, isHit: (nth: number) => boolean): void {
    let nth = 0;
    server.spoil = ({ type, json }) => {
      if (type !== SHARD_BACKUP) return undefined;
      nth += 1;
      const shard = server.shards.get(Number(json.ShardID));
      const bytes = shard?.files.get(file);
      if (shard === undefined || bytes === undefined || !isHit(nth)) return undefined;
      const since = Date.parse(String(json.Since));
      const rest = [...shard.files].filter(([name, { modifiedMs }]) => name !== file && modifiedMs > since).sort(([a], [b]) => (a < b ? -1 : 1));
      return archive(
        rest.map(([name, held]) => ({ name: `db/policy/${shard.shard}/${name}`, bytes: held.bytes, modifiedS: Math.floor(held.modifiedMs / 1_000) })),
      );
    };
  }

  const WHOLE = { [`1/${FIRST}`]: "one", [`1/${TOMBSTONE}`]: "dead", [`1/${SECOND}`]: "two" };
  const HELD = { [FIRST]: "one", [TOMBSTONE]: "dead", [SECOND]: "two" };

  test.for([
    ["first", FIRST, 1],
    ["first", SECOND, 1],
    ["first", TOMBSTONE, 1],
    ["second", FIRST, 2],
    ["second", SECOND, 2],
    ["second", TOMBSTONE, 2],
  ] as const)("a first backup has it, where its %s reading lacked %s", async ([, file, at]) => {
    await using server = await startModelServer([modelShard(1, HELD)]);
    lacking(server, file, (nth) => nth === at);
    expect(await generationOf(backup(world, server.address))).toMatchObject({ generation: 1, outcome: "complete", files: 3 });
    expect(await contentOf(world, 1)).toEqual(WHOLE);
    await expectAtRest(world);
  });

  test.for([FIRST, SECOND, TOMBSTONE, THIRD])(
    "an increment has %s, whichever of its readings lacked it, once or twice, while new files appear",
    async (file) => {
      const runs: readonly ((nth: number) => boolean)[] = [
        (nth) => nth === 1,
        (nth) => nth === 2,
        (nth) => nth === 3,
        (nth) => nth === 2 || nth === 3,
        (nth) => nth === 2 || nth === 4,
      ];
      for (const isHit of runs) {
        world = failureWorld();
        await using server = await startModelServer([modelShard(1, HELD)]);
        await backup(world, server.address);
        // As a flush for a backup: a file of a generation of its own, of which no other was made.
        server.shards.get(1)?.files.set(THIRD, { bytes: Buffer.from("three"), modifiedMs: T0_MS + 60_000 });
        lacking(server, file, isHit);
        expect(await generationOf(backup(world, server.address))).toMatchObject({ generation: 2, vanished: [] });
        expect(await contentOf(world, 2)).toEqual({ ...WHOLE, [`1/${THIRD}`]: "three" });
        await expectAtRest(world);
      }
    },
  );

  test.for([FIRST, SECOND, TOMBSTONE])("a flush during the readings, each of which adds a file, is no reason to do without %s", async (file) => {
    await using server = await startModelServer([modelShard(1, HELD)]);
    const shard = server.shards.get(1);
    lacking(server, file, (nth) => nth === 2);
    const spoilt = server.spoil;
    let flushes = 2;
    server.spoil = (request) => {
      if (request.type === SHARD_BACKUP) {
        flushes += 1;
        shard?.files.set(`00000000${flushes}-000000001.tsm`, { bytes: Buffer.from(`flush ${flushes}`), modifiedMs: T0_MS + flushes * 1_000 });
      }
      return spoilt(request);
    };
    const { files } = await generationOf(backup(world, server.address));
    expect((await filesIn(world, 1))[1]).toContain(file);
    expect(files).toBeGreaterThan(3);
    await expectAtRest(world);
  });

  test("a compaction during the readings is no failure, and is followed", async () => {
    await using server = await startModelServer([modelShard(1, HELD)]);
    const files = server.shards.get(1)?.files;
    server.spoil = ({ type, nthOfType }) => {
      if (type === SHARD_BACKUP && nthOfType === 2) {
        for (const name of [FIRST, TOMBSTONE, SECOND]) files?.delete(name);
        files?.set("000000002-000000002.tsm", { bytes: Buffer.from("both"), modifiedMs: T0_MS + 1_000 });
      }
      return undefined;
    };
    await generationOf(backup(world, server.address));
    expect(await contentOf(world, 1)).toEqual({ "1/000000002-000000002.tsm": "both" });
    await expectAtRest(world);
  });

  test.for([FIRST, SECOND, TOMBSTONE])("%s that lacks in a reading beside a compaction of other files is not taken for one of those", async (file) => {
    await using server = await startModelServer([modelShard(1, { ...HELD, [THIRD]: "three" })]);
    const files = server.shards.get(1)?.files;
    lacking(server, file, (nth) => nth === 2);
    const spoilt = server.spoil;
    server.spoil = (request) => {
      if (request.type === SHARD_BACKUP && request.nthOfType === 2) {
        files?.delete(THIRD);
        files?.set("000000003-000000002.tsm", { bytes: Buffer.from("three, anew"), modifiedMs: T0_MS + 1_000 });
      }
      return spoilt(request);
    };
    await generationOf(backup(world, server.address));
    expect(await contentOf(world, 1)).toEqual({ ...WHOLE, "1/000000003-000000002.tsm": "three, anew" });
  });

  test("a new file that the reading of an unchanged shard lacked is found by the question for newer ones", async () => {
    await using server = await startModelServer([modelShard(1, HELD)]);
    await backup(world, server.address);
    server.shards.get(1)?.files.set(THIRD, { bytes: Buffer.from("three"), modifiedMs: T0_MS + 60_000 });
    lacking(server, THIRD, (nth) => nth === 1);
    expect(await generationOf(backup(world, server.address))).toMatchObject({ generation: 2 });
    expect(await contentOf(world, 2)).toEqual({ ...WHOLE, [`1/${THIRD}`]: "three" });
  });

  test.for([FIRST, SECOND])("%s of the generation before, lacking in every reading, is told to have vanished", async (file) => {
    for (const isWritten of [false, true]) {
      world = failureWorld();
      await using server = await startModelServer([modelShard(1, HELD)]);
      await backup(world, server.address);
      if (isWritten) server.shards.get(1)?.files.set(THIRD, { bytes: Buffer.from("three"), modifiedMs: T0_MS + 60_000 });
      lacking(server, file, () => true);
      expect((await generationOf(backup(world, server.address))).vanished).toContain(`db/policy/1/${file}`);
      expect(await contentOf(world, 1)).toEqual(WHOLE);
      await expectAtRest(world);
    }
  });

  test("a tombstone that lacks in every reading, whose file is there, is told: its rows would come back", async () => {
    await using server = await startModelServer([modelShard(1, HELD)]);
    await backup(world, server.address);
    server.shards.get(1)?.files.set(THIRD, { bytes: Buffer.from("three"), modifiedMs: T0_MS + 60_000 });
    lacking(server, TOMBSTONE, () => true);
    expect((await generationOf(backup(world, server.address))).vanished).toEqual([`db/policy/1/${TOMBSTONE}`]);
  });

  test.for([FIRST, SECOND, TOMBSTONE])("%s that lacks in every reading but the very first of a first backup is told to have vanished", async (file) => {
    await using server = await startModelServer([modelShard(1, HELD)]);
    lacking(server, file, (nth) => nth > 1);
    expect((await generationOf(backup(world, server.address))).vanished).toContain(`db/policy/1/${file}`);
    server.spoil = () => undefined;
    await backup(world, server.address);
    expect(await contentOf(world, 2)).toEqual(WHOLE);
    await expectAtRest(world);
  });

  test("what lacks in every reading from the first backup on cannot be seen: nothing on the wire tells of it", async () => {
    await using server = await startModelServer([modelShard(1, HELD)]);
    lacking(server, FIRST, () => true);
    expect(await generationOf(backup(world, server.address))).toMatchObject({ outcome: "complete", vanished: [] });
    // Once the server is well again, the next backup has it.
    server.spoil = () => undefined;
    await backup(world, server.address);
    expect(await contentOf(world, 2)).toEqual(WHOLE);
  });
});

describe("a shard that is not there any more", () => {
  const TWO = [modelShard(1, { [FIRST]: "one" }), modelShard(2, { [FIRST]: "other" })];
  const shards = () => TWO.map((one) => ({ ...one, files: new Map(one.files) }));

  test("and was dropped between the plan and its reading is left out, and no failure", async () => {
    const world = failureWorld();
    await using server = await startModelServer(shards());
    await backup(world, server.address);
    server.spoil = ({ type }) => {
      if (type === SHARD_BACKUP) server.shards.delete(2);
      return undefined;
    };
    expect(await generationOf(backup(world, server.address))).toMatchObject({ generation: 2, outcome: "complete", shards: 1, failed: [], vanished: [] });
    expect(await contentOf(world, 2)).toEqual({ [`1/${FIRST}`]: "one" });
    expect(await contentOf(world, 1)).toEqual({ [`1/${FIRST}`]: "one", [`2/${FIRST}`]: "other" });
    await expectAtRest(world);
  });

  test("because its database was dropped is left out, also where that was the last one", async () => {
    const world = failureWorld();
    await using server = await startModelServer(shards());
    await backup(world, server.address);
    server.spoil = ({ type }) => {
      if (type === SHARD_BACKUP) server.shards.clear();
      return undefined;
    };
    expect(await generationOf(backup(world, server.address))).toMatchObject({ generation: 2, outcome: "complete", shards: 0 });
    await expectAtRest(world);
  });

  test.for([
    ["lists it no more because it could not open it", false],
    ["does so from the middle of the backup on", true],
  ] as const)("although the metastore has it, on a server that %s: an error that names it, or told and as before, and never dropped", async ([, isLate]) => {
    const world = failureWorld();
    await using server = await startModelServer(shards());
    await backup(world, server.address);
    server.shards.get(1)?.files.set(SECOND, { bytes: Buffer.from("new"), modifiedMs: T0_MS + 60_000 });
    if (!isLate) server.unopened.add(2);
    server.spoil = ({ type, json }) => {
      if (type === SHARD_BACKUP && json.ShardID === 2) server.unopened.add(2);
      return undefined;
    };
    await expect(backup(world, server.address)).rejects.toMatchObject({ kind: "retry", message: expect.stringContaining("shard 2 of db/policy") });
    expect(await generationsOf(world)).toEqual([1]);
    expect(await generationOf(backup(world, server.address, { skipErrors: true }))).toMatchObject({ outcome: "partial", shards: 2, failed: [{ shard: 2 }] });
    expect(await contentOf(world, 2)).toEqual({ [`1/${FIRST}`]: "one", [`1/${SECOND}`]: "new", [`2/${FIRST}`]: "other" });
    server.spoil = () => undefined;
    server.unopened.clear();
    await generationOf(backup(world, server.address, { full: true }));
    await expectAtRest(world);
  });

  test("and never was: one that is made ahead of its points, or that no backup ever had, is left out", async () => {
    const world = failureWorld();
    await using server = await startModelServer(shards());
    server.unopened.add(2);
    expect(await generationOf(backup(world, server.address))).toMatchObject({ outcome: "complete", shards: 1 });
  });
});

describe("a server that is busy, and answers nothing", () => {
  test.for([1, 3, 6])("to the first %d questions for a shard is asked again", async (k) => {
    const world = failureWorld();
    await using server = await startModelServer([modelShard(1, { [FIRST]: "one" })]);
    server.spoil = ({ type, nthOfType }) => (type === SHARD_BACKUP && nthOfType <= k ? Buffer.alloc(0) : undefined);
    expect(await generationOf(backup(world, server.address))).toMatchObject({ generation: 1, outcome: "complete", files: 1 });
    await expectAtRest(world);
  });

  test.for([1, 2, 3])("now and then, also to the question whether it has the shard (the %dth), is asked again", async (k) => {
    const world = failureWorld();
    await using server = await startModelServer([modelShard(1, { [FIRST]: "one" })]);
    server.spoil = ({ type, nthOfType }) => {
      if (type === SHARD_BACKUP) return nthOfType <= 3 ? Buffer.alloc(0) : undefined;
      return type === POLICY_INFO && nthOfType === k ? Buffer.from('{"Paths":["db/pol') : undefined;
    };
    expect(await generationOf(backup(world, server.address))).toMatchObject({ generation: 1, files: 1 });
  });

  test("for ever is an error that names the shard; with skipErrors the shard is as before and listed, and with all of them failing an error", async () => {
    const world = failureWorld();
    await using server = await startModelServer([modelShard(1, { [FIRST]: "one" }), modelShard(10, { [FIRST]: "ten" })]);
    const isBusy = new Set([10]);
    const silence = () => {
      server.spoil = ({ type, json }) => (type === SHARD_BACKUP && isBusy.has(Number(json.ShardID)) ? Buffer.alloc(0) : undefined);
    };
    silence();
    const failure = await backup(world, server.address).catch((error: unknown) => error);
    expect(failure).toMatchObject({ kind: "retry", code: "empty-reply", message: expect.stringContaining("shard 10 of db/policy") });
    expect(exitOfError(failure)).toBe(EXIT.retry);
    expect(await generationsOf(world)).toEqual([]);
    // Of a shard that no generation had there is nothing to be as before.
    expect(await generationOf(backup(world, server.address, { skipErrors: true }))).toMatchObject({
      generation: 1,
      outcome: "partial",
      shards: 1,
      failed: [{ shard: 10 }],
    });
    server.spoil = () => undefined;
    await generationOf(backup(world, server.address));
    for (const shard of [1, 10]) server.shards.get(shard)?.files.set(SECOND, { bytes: Buffer.from("more"), modifiedMs: T0_MS + 60_000 });
    silence();
    expect(await generationOf(backup(world, server.address, { skipErrors: true }))).toMatchObject({
      generation: 3,
      outcome: "partial",
      failed: [{ shard: 10, database: "db", policy: "policy" }],
    });
    expect(await contentOf(world, 3)).toEqual({ [`1/${FIRST}`]: "one", [`1/${SECOND}`]: "more", [`10/${FIRST}`]: "ten" });
    isBusy.add(1);
    await expect(backup(world, server.address, { skipErrors: true })).rejects.toMatchObject({ code: "empty-reply" });
    expect(await generationsOf(world)).toEqual([1, 2, 3]);
    server.spoil = () => undefined;
    await generationOf(backup(world, server.address));
    expect(await contentOf(world, 4)).toMatchObject({ [`10/${SECOND}`]: "more" });
    await expectAtRest(world);
  });
});

describe("an archive that holds what it should not", () => {
  const place = (name: string): ArchiveEntry => ({ name, bytes: Buffer.from("bytes") });
  const spoilt: readonly [string, readonly ArchiveEntry[]][] = [
    ["a name with ..", [place(`db/policy/1/../10/${FIRST}`)]],
    ["a name out of the folder", [place(`../../${FIRST}`)]],
    ["another shard's folder that begins alike", [place(`db/policy/10/${FIRST}`)]],
    ["another policy's folder", [place(`db/policy2/1/${FIRST}`)]],
    ["an absolute name", [place(`/db/policy/1/${FIRST}`)]],
    ["a folder in the shard's", [place(`db/policy/1/index/${FIRST}`)]],
    ["a name without a folder", [place(FIRST)]],
    ["a file that is none of a shard", [place("db/policy/1/fields.idx")]],
    ["a file under a temporary name", [place(`db/policy/1/${FIRST}.tmp`)]],
    ["a directory", [{ name: "db/policy/1/", bytes: Buffer.alloc(0), type: "5" }]],
    ["a hard link", [{ name: `db/policy/1/${FIRST}`, bytes: Buffer.alloc(0), type: "1" }]],
    ["a symbolic link", [{ name: `db/policy/1/${FIRST}`, bytes: Buffer.alloc(0), type: "2" }]],
    ["a device", [{ name: `db/policy/1/${FIRST}`, bytes: Buffer.alloc(0), type: "3" }]],
    ["a name twice", [place(`db/policy/1/${FIRST}`), place(`db/policy/1/${FIRST}`)]],
  ];
  test.for(spoilt)("%s: refused, by an error that names the shard; once it is right, so is the backup", async ([, entries]) => {
    const world = failureWorld();
    await using server = await startModelServer([modelShard(1, { [FIRST]: "one" })]);
    const good: ArchiveEntry = { name: `db/policy/1/${SECOND}`, bytes: Buffer.from("two") };
    server.spoil = ({ type }) => (type === SHARD_BACKUP ? archive([...entries, good]) : undefined);
    await expect(backup(world, server.address)).rejects.toMatchObject({ kind: "retry", message: expect.stringContaining("shard 1 of db/policy") });
    expect(await generationsOf(world)).toEqual([]);
    server.spoil = () => undefined;
    await generationOf(backup(world, server.address));
    expect(await contentOf(world, 1)).toEqual({ [`1/${FIRST}`]: "one" });
    await expectAtRest(world);
  });
});

describe("a backup that is killed", () => {
  const FILES = { [FIRST]: "one", [SECOND]: "two", [THIRD]: "three" };
  const served = () => startModelServer([modelShard(1, FILES), modelShard(2, { [FIRST]: "other" }), modelShard(10, { [FIRST]: "ten" })]);
  const WHOLE = { [`1/${FIRST}`]: "one", [`1/${SECOND}`]: "two", [`1/${THIRD}`]: "three", [`2/${FIRST}`]: "other", [`10/${FIRST}`]: "ten" };

  async function killedAt(world: FailureWorld, at: number, run: (world: FailureWorld) => Promise<unknown>): Promise<void> {
    const dying = hooked(world, (call) => {
      if (call >= at) throw new Error("killed");
    });
    await run(dying).catch(() => undefined);
  }

  test.for([
    ["by whoever comes", undefined],
    ["under its own name", "nightly"],
  ] as const)("at any call of a store is followed %s by one that is right, and stores next to nothing again", async ([, job]) => {
    await using server = await served();
    const run = (world: FailureWorld) => backUp(world, { name: NAME, client: clientOf(server.address), ...(job !== undefined && { job }) });
    const calls = await callsOf(run, failureWorld());
    expect(calls).toBeGreaterThan(30);
    for (let at = job === undefined ? 1 : 2; at <= calls; at += 3) {
      const world = failureWorld(at);
      await killedAt(world, at, run);
      world.clock.skip(LEASE_LAPSED_MS);
      await backup(world, server.address, job === undefined ? {} : { job });
      expect(await contentOf(world, 1)).toEqual(WHOLE);
      await expectAtRest(world);
    }
  });

  test("leaves its open upload to cleanup, and what it stored of other files to the next, which sends only what is missing", async () => {
    const big = Buffer.alloc(20 * 1024 * 1024, "big");
    await using server = await startModelServer([modelShard(1, { [FIRST]: "one", [SECOND]: { bytes: big, modifiedMs: T0_MS } })]);
    const world = failureWorld();
    let parts = 0;
    const dying = hooked(world, (_, name) => {
      parts += name === "uploadPart" ? 1 : 0;
      if (parts > 1) throw new Error("killed");
    });
    await expect(backUp(dying, { name: NAME, client: clientOf(server.address) })).rejects.toThrow("killed");
    expect(await leftOf(world)).toMatchObject({
      stored: [expect.stringContaining(FIRST)],
      uploads: [expect.stringContaining(SECOND)],
      notes: [expect.stringContaining(FIRST)],
    });
    // Cleanup leaves alone what may still be gathered.
    const before = await leftOf(world);
    await cleanUp(world);
    expect(await leftOf(world)).toEqual(before);
    world.clock.skip(LEASE_LAPSED_MS);
    let sent = 0;
    const counting: FailureWorld = {
      ...world,
      objects: {
        ...world.objects,
        createIfAbsent: (key, body) => {
          if (key.includes("attached")) sent += body.length;
          return world.objects.createIfAbsent(key, body);
        },
        uploadPart: (part) => {
          sent += part.body.length;
          return world.objects.uploadPart(part);
        },
      },
    };
    const { storedBytes } = await generationOf(backup(counting, server.address));
    expect(storedBytes).toBe(big.length + "one".length);
    expect(sent).toBeLessThan(big.length + 4_096);
    expect((await filesIn(world, 1))[1]).toEqual([FIRST, SECOND]);
    await expectAtRest(world);
  });

  test.for([
    ["its own clock, too, shows that its lease has lapsed", false],
    ["its own clock stands still", true],
  ] as const)("or stopped, at any call of a store, and goes on after another has committed, changes nothing of that, where %s", async ([, isStill]) => {
    await using server = await served();
    await using other = await startModelServer([modelShard(1, { ...FILES, [SECOND]: "TWO" }), modelShard(3, { [FIRST]: "third" })]);
    const OF_OTHER = { [`1/${FIRST}`]: "one", [`1/${SECOND}`]: "TWO", [`1/${THIRD}`]: "three", [`3/${FIRST}`]: "third" };
    const kinds = new Set<string>();
    for (let at = isStill ? 1 : 2, last = at; at <= last; at += 3) {
      const world = failureWorld(at);
      await backup(world, other.address, { selection: { database: "db", policy: "policy", shard: 1 } });
      let rival: string | undefined;
      const zombie = hooked(world, async (call) => {
        last = Math.max(last, call);
        if (call !== at) return;
        world.clock.skip(LEASE_LAPSED_MS);
        rival = (await backup(world, other.address)).kind;
      });
      const still = { ...world.clock, now: () => Date.now() };
      const outcome = await backUp(isStill ? { ...zombie, clock: still } : zombie, { name: NAME, client: clientOf(server.address) }).catch(
        (error: unknown) => error,
      );
      const kind = isTidemarkError(outcome) ? outcome.code : (outcome as BackupOutcome).kind;
      kinds.add(kind);
      // One that renewed its lease in time is no zombie. What began or ended before the other came is a generation of its own.
      const made = [rival === "completed" ? OF_OTHER : undefined, kind === "completed" ? WHOLE : undefined].filter((one) => one !== undefined);
      const contents = await Promise.all((await generationsOf(world)).slice(1).map((generation) => contentOf(world, generation)));
      expect(contents).toHaveLength(made.length);
      expect(contents).toEqual(expect.arrayContaining(made));
      await expectAtRest(world);
    }
    expect([...kinds].sort()).toEqual(expect.arrayContaining(isStill ? ["completed", "outOfDate"] : ["completed", "lost-lease", "outOfDate"]));
  });
});

describe("cleanup", () => {
  test("that runs in the middle of a backup, at any call of a store, takes nothing of it", async () => {
    await using server = await startModelServer([modelShard(1, { [FIRST]: "one", [SECOND]: "two" }), modelShard(2, { [FIRST]: "other" })]);
    const prepared = async (seed: number) => {
      const world = failureWorld(seed);
      await createTable(world, { name: NAME, source: "influxdb", keepSnapshots: 2 });
      for (const text of ["a", "b", "c"]) {
        server.shards.get(2)?.files.set(SECOND, { bytes: Buffer.from(text), modifiedMs: T0_MS + 60_000 });
        await backup(world, server.address);
      }
      server.shards.get(2)?.files.set(SECOND, { bytes: Buffer.from("d"), modifiedMs: T0_MS + 60_000 });
      return world;
    };
    const calls = await callsOf((world) => backup(world, server.address), await prepared(1));
    for (let at = 1; at <= calls; at += 5) {
      const world = await prepared(at);
      const outcome = await backup(
        hooked(world, async (call) => {
          if (call === at) await cleanUp(world);
        }),
        server.address,
      );
      expect(outcome.kind).toBe("completed");
      expect(await contentOf(world, 4)).toEqual({ [`1/${FIRST}`]: "one", [`1/${SECOND}`]: "two", [`2/${FIRST}`]: "other", [`2/${SECOND}`]: "d" });
      await expectAtRest(world);
      expect(await generationsOf(world)).toEqual([3, 4]);
    }
  });
});

describe("a lease", () => {
  test("lets one of two backups go on, tells the other by whom and how long, and once it has lapsed another goes on", async () => {
    await using server = await startModelServer([modelShard(1, { [FIRST]: "one" })]);
    const world = failureWorld();
    const began: BackupOutcome[] = [];
    const slow = hooked(world, async (_, name) => {
      if (name !== "head" || began.length > 0) return;
      began.push(await backup(world, server.address));
    });
    expect((await backUp(slow, { name: NAME, client: clientOf(server.address) })).kind).toBe("completed");
    expect(began).toEqual([{ kind: "rejected", owner: expect.any(String), untilMs: expect.any(Number) }]);
    await expectAtRest(world);

    const held = await beginGathering(world, idOf(NAME), "killed");
    expect(held.kind).toBe("held");
    expect((await backup(world, server.address)).kind).toBe("rejected");
    world.clock.skip(LEASE_LAPSED_MS);
    expect((await backup(world, server.address, { full: true })).kind).toBe("completed");
    // Whoever held it learns that it is another's.
    expect(held.kind === "held" && (await held.gathering.keep())).toBe(false);
  });

  test("that its holder gave back, because it failed or was stopped, is free at once", async () => {
    await using server = await startModelServer([modelShard(1, { [FIRST]: "one" })]);
    const world = failureWorld();
    server.spoil = ({ type }) => (type === SHARD_BACKUP ? Buffer.alloc(1_000) : undefined);
    await expect(backup(world, server.address)).rejects.toMatchObject({ kind: "retry" });
    server.spoil = () => undefined;
    const stopped = new AbortController();
    const stopping = hooked(world, (_, name) => {
      if (name === "createIfAbsent") stopped.abort();
    });
    expect(await backup(stopping, server.address, { client: clientOf(server.address, { signal: stopped.signal }), signal: stopped.signal })).toEqual({
      kind: "aborted",
      generation: 1,
    });
    expect(await generationOf(backup(world, server.address))).toMatchObject({ generation: 1 });
    await expectAtRest(world);
  });
});

describe("a metastore's reply", () => {
  const changes: readonly [string, (reply: Buffer) => Buffer][] = [
    ["with another magic", (reply) => patched(reply, (copy) => copy.writeUInt32BE(0x59590102, 4))],
    ["whose magic has bits above it", (reply) => patched(reply, (copy) => copy.writeUInt32BE(1, 0))],
    ["with a length beyond it", (reply) => patched(reply, (copy) => copy.writeBigUInt64BE(BigInt(reply.length), 8))],
    ["with a length beyond all numbers", (reply) => patched(reply, (copy) => copy.writeBigUInt64BE(2n ** 64n - 1n, 8))],
    ["with a length that is too small", (reply) => patched(reply, (copy) => copy.writeBigUInt64BE(copy.readBigUInt64BE(8) - 1n, 8))],
    ["with bytes behind", (reply) => Buffer.concat([reply, Buffer.of(0)])],
    ["without the node", (reply) => reply.subarray(0, -5)],
    ["that is empty", () => Buffer.alloc(0)],
    ["whose text is no protobuf", (reply) => patched(reply, (copy) => copy.fill(0xff, 16, 40))],
  ];
  test.for(changes)("%s makes an error and no generation, and the next backup is right", async ([, change]) => {
    await using server = await startModelServer([modelShard(1, { [FIRST]: "one" })]);
    await using proxy = await startProxy(server.address, ({ type, nthOfType }) =>
      type === METASTORE_BACKUP && nthOfType === 2 ? { kind: "rewrite", reply: change } : undefined,
    );
    const world = failureWorld();
    await expect(backup(world, proxy.address)).rejects.toMatchObject({ kind: "retry", code: "bad-reply", message: expect.stringContaining("metastore") });
    expect(await generationsOf(world)).toEqual([]);
    await generationOf(backup(world, proxy.address));
    expect(await contentOf(world, 1)).toEqual({ [`1/${FIRST}`]: "one" });
    await expectAtRest(world);
  });

  function patched(reply: Buffer, change: (copy: Buffer) => unknown): Buffer {
    const copy = Buffer.from(reply);
    change(copy);
    return copy;
  }
});

describe("what is no snapshotter, or does not answer", () => {
  const refused = async (address: string, silentMs = 200) => {
    const world = failureWorld();
    const error = await backup(world, address, { client: clientOf(address, { silentMs }) }).catch((thrown: unknown) => thrown);
    // A wrong address leaves nothing behind: no table, no object.
    expect([...world.objects.objects.keys()]).toEqual([]);
    return error;
  };

  test("a server that closes at once, an HTTP server: told apart from InfluxDB, by name of the port it has", async () => {
    await using closing = await listener((server) => server.on("connection", (socket) => socket.destroy()));
    expect(await refused(closing.address)).toMatchObject({ kind: "call", code: "no-snapshotter", message: expect.stringContaining("8088") });
    await using ending = await listener((server) => server.on("connection", (socket) => socket.end()));
    expect(await refused(ending.address)).toMatchObject({ kind: "call", code: "no-snapshotter" });
    await using http = await listener(
      undefined,
      createHttpServer((_, response) => response.end("influx")),
    );
    expect(await refused(http.address)).toMatchObject({ kind: "call", code: "no-snapshotter", message: expect.stringContaining("HTTP") });
  });

  test("nothing listens: an error that says so, at once", async () => {
    const gone = await listener((server) => server.on("connection", (socket) => socket.destroy()));
    await gone[Symbol.asyncDispose]();
    expect(await refused(gone.address)).toMatchObject({ kind: "retry", code: "unreachable", message: expect.stringContaining(gone.address) });
  });

  test("one that takes the question and is silent for ever is given up after silentMs: from the first byte on, or in the middle of a shard", async () => {
    await using silent = await listener((server) => server.on("connection", (socket) => void socket.resume()));
    expect(await refused(silent.address)).toMatchObject({ kind: "retry", code: "silent-server", message: expect.stringContaining("0.2 s") });

    await using server = await startModelServer([modelShard(1, { [FIRST]: "one" })]);
    for (const bytes of [0, 700]) {
      const world = failureWorld();
      await using proxy = await startProxy(server.address, ({ type }) => (type === SHARD_BACKUP ? { kind: "stall", bytes } : undefined));
      const client = clientOf(proxy.address, { silentMs: 60 });
      await expect(backup(world, proxy.address, { client })).rejects.toMatchObject({
        code: "silent-server",
        message: expect.stringContaining("shard 1 of db/policy"),
      });
      expect(await generationsOf(world)).toEqual([]);
    }
  });

  test("one that is stopped by its user while it is silent ends at once", async () => {
    await using server = await startModelServer([modelShard(1, { [FIRST]: "one" })]);
    await using proxy = await startProxy(server.address, ({ type }) => (type === SHARD_BACKUP ? { kind: "stall", bytes: 10 } : undefined));
    const stopped = new AbortController();
    setTimeout(() => stopped.abort(), 100);
    const client = clientOf(proxy.address, { signal: stopped.signal });
    expect((await backup(failureWorld(), proxy.address, { client, signal: stopped.signal })).kind).toBe("aborted");
  });

  async function listener(prepare?: (server: Server) => unknown, server: Server = createServer()) {
    const sockets = new Set<Socket>();
    server.on("connection", (socket) => sockets.add(socket));
    prepare?.(server);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const bound = server.address();
    if (bound === null || typeof bound === "string") throw new Error("a server that listens has a port");
    return {
      address: `127.0.0.1:${bound.port}`,
      [Symbol.asyncDispose]: async () => {
        const closed = once(server, "close");
        server.close();
        for (const socket of sockets) socket.destroy();
        await closed;
      },
    };
  }
});

/** The calls of the stores that a run makes. */
async function callsOf(run: (world: FailureWorld) => Promise<unknown>, world: FailureWorld): Promise<number> {
  let calls = 0;
  const counted = hooked(world, () => {
    calls += 1;
  });
  await run(counted);
  return calls;
}

const lacks = await missing();
if (lacks !== undefined) test("failures of a real InfluxDB are no wrong success", ({ skip }) => skip(lacks));
else describe("with a real InfluxDB", playFailures);

function playFailures(): void {
  const DAY_MS = 86_400_000;
  const ODD_DATABASE = `odd "dätabase". x'y`;
  const ODD_POLICY = `pol.icy "q' ü`;
  const of = (database: string) => ({ selection: { database } });
  let server: Influxd | undefined;
  let source: Influxd;

  beforeAll(async () => {
    server = await startInfluxd();
    source = server;
    await source.query(
      `CREATE DATABASE "ids" WITH DURATION INF SHARD DURATION 1d NAME "kept"; CREATE RETENTION POLICY "filler" ON "ids" DURATION INF REPLICATION 1 SHARD DURATION 1d`,
    );
    const days = (from: number, count: number, policy: string) =>
      Array.from(
        { length: count },
        (_, day) => `m,day=${from + day} v=${from + day}i,of="${policy}" ${BigInt(Date.UTC(2024, 0, 1) + (from + day) * DAY_MS) * 1_000_000n}`,
      );
    for (const [from, count, policy] of [
      [0, 1, "kept"],
      [1, 8, "filler"],
      [1, 1, "kept"],
      [10, 89, "filler"],
      [2, 1, "kept"],
    ] as const)
      for (const line of days(from, count, policy)) await source.write("ids", [line], { policy });
    await source.query('DROP RETENTION POLICY "filler" ON "ids"');

    await source.query('CREATE DATABASE "cut" WITH DURATION INF SHARD DURATION 1d NAME "policy"');
    const lines = points({ seed: 5, points: 210, shardGroupMs: DAY_MS });
    // Three files, too few for a compaction, without a tombstone, which would start one.
    for (const from of [0, 70, 140]) {
      await source.write("cut", lines.slice(from, from + 70));
      await backup(failureWorld(), source.snapshotter, of("cut"));
    }
    const world = failureWorld();
    await backup(world, source.snapshotter, of("cut"));
    expect(Object.values(await filesIn(world, 1))).toEqual([[FIRST, SECOND, THIRD]]);
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
  });

  async function baseline(database: string): Promise<string> {
    return (await generationOf(backup(failureWorld(), source.snapshotter, of(database)))).digest;
  }

  /** Of the reply of that type to a backup of "cut"; to be asked for lists of shards the server must not answer for one. */
  async function replyBytes(type: number): Promise<number> {
    let bytes = 0;
    const measured = (reply: Buffer): Buffer => {
      bytes = reply.length;
      return reply;
    };
    await using proxy = await startProxy(source.snapshotter, (request) => {
      if (request.type === type) return { kind: "rewrite", reply: measured };
      return type === POLICY_INFO && request.type === SHARD_BACKUP ? { kind: "nothing" } : undefined;
    });
    await backup(failureWorld(), proxy.address, of("cut")).catch(() => undefined);
    return bytes;
  }

  /** So many places of a reply, its first byte and its last among them. */
  function placesIn(bytes: number, count: number): readonly number[] {
    return [...new Set(Array.from({ length: count }, (_, at) => Math.floor((at * (bytes - 1)) / (count - 1))))];
  }

  async function eachAlong(places: readonly number[], prove: (bytes: number) => Promise<void>): Promise<void> {
    const left = [...places];
    const work = async () => {
      for (let place = left.shift(); place !== undefined; place = left.shift()) await prove(place);
    };
    await Promise.all(Array.from({ length: 3 }, work));
  }

  test.for(["fin", "rst"] as const)(
    "a shard's reply that is cut by %s at any of 100 places, in its first or in its second reading, is read again, and the backup is right",
    async (by) => {
      const digest = await baseline("cut");
      const bytes = await replyBytes(SHARD_BACKUP);
      await eachAlong(placesIn(bytes, 100), async (place) => {
        const world = failureWorld(place);
        const nth = 1 + (place % 2);
        await using proxy = await startProxy(source.snapshotter, ({ type, nthOfType }) =>
          type === SHARD_BACKUP && nthOfType === nth ? { kind: "cut", bytes: place, by } : undefined,
        );
        const made = backUp(world, { name: NAME, client: clientOf(proxy.address), ...of("cut") });
        expect(await generationOf(made)).toMatchObject({ generation: 1, outcome: "complete", digest, vanished: [] });
        if (place % 10 === 0) await expectAtRest(world);
      });
    },
  );

  test("a shard's reply that is cut at every try is an error that names the shard; no generation is made, that of before stays, the next is right", async () => {
    const digest = await baseline("cut");
    const bytes = await replyBytes(SHARD_BACKUP);
    for (const [at, place] of placesIn(bytes, 8).entries()) {
      const world = failureWorld(place);
      const faults: { by?: "fin" | "rst" } = { by: at % 2 === 0 ? "fin" : "rst" };
      await using proxy = await startProxy(source.snapshotter, ({ type }) =>
        type === SHARD_BACKUP && faults.by !== undefined ? { kind: "cut", bytes: place, by: faults.by } : undefined,
      );
      if (at % 3 === 0) await backup(world, source.snapshotter, of("cut"));
      const before = at % 3 === 0 ? [1] : [];
      const error = await backup(world, proxy.address, { ...of("cut"), full: true }).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ kind: "retry", message: expect.stringMatching(/shard \d+ of cut\/policy/) });
      expect(exitOfError(error)).toBe(EXIT.retry);
      expect(await generationsOf(world)).toEqual(before);
      delete faults.by;
      expect(await generationOf(backup(world, proxy.address, { ...of("cut"), full: true }))).toMatchObject({ generation: before.length + 1, digest });
      await expectAtRest(world);
    }
  });

  test("a metastore's reply that is cut at any of 100 places makes a right backup or an error and no generation; the next one is right", async () => {
    const digest = await baseline("cut");
    const bytes = await replyBytes(METASTORE_BACKUP);
    const codes = new Set<unknown>();
    await eachAlong(placesIn(bytes, 100), async (place) => {
      const world = failureWorld(place);
      const [nth, by] = [1 + (place % 2), place % 3 === 0 ? "rst" : "fin"] as const;
      await using proxy = await startProxy(source.snapshotter, ({ type, nthOfType }) =>
        type === METASTORE_BACKUP && nthOfType === nth ? { kind: "cut", bytes: place, by } : undefined,
      );
      const run = () => backUp(world, { name: NAME, client: clientOf(proxy.address), ...of("cut") });
      const outcome = await run().catch((thrown: unknown) => thrown);
      if (isTidemarkError(outcome)) {
        codes.add(outcome.code);
        expect((await leftOf(world)).stored).toEqual([]);
        expect(await generationOf(run())).toMatchObject({ generation: 1, digest });
      } else expect(outcome).toMatchObject({ kind: "completed", generation: { digest } });
      if (place % 10 === 0) await expectAtRest(world);
    });
    expect([...codes].sort()).toEqual(expect.arrayContaining(["bad-reply", "broken-connection"]));
  });

  test("a list of shards that is cut at any place, while the server is busy with the shard, costs no shard", async () => {
    const digest = await baseline("cut");
    const bytes = await replyBytes(POLICY_INFO);
    expect(bytes).toBeGreaterThan(20);
    await eachAlong(placesIn(bytes, 100), async (place) => {
      const world = failureWorld(place);
      const by = place % 2 === 0 ? "rst" : "fin";
      await using proxy = await startProxy(source.snapshotter, ({ type, nthOfType }) => {
        if (type === SHARD_BACKUP && nthOfType <= 2) return { kind: "nothing" };
        return type === POLICY_INFO && nthOfType === 1 ? { kind: "cut", bytes: place, by } : undefined;
      });
      const made = backUp(world, { name: NAME, client: clientOf(proxy.address), ...of("cut") });
      expect(await generationOf(made)).toMatchObject({ outcome: "complete", shards: 1, digest });
    });
  });

  test("what was read through cuts, busy answers and a lost file is restored, and answers as the source does", async () => {
    const world = failureWorld();
    const faults: readonly (Fault | undefined)[] = [
      { kind: "nothing" },
      { kind: "cut", bytes: 700, by: "rst" },
      undefined,
      { kind: "drop", files: /000000001-000000001\.tsm$/ },
      { kind: "cut", bytes: 2_000, by: "fin" },
      { kind: "drop", files: /000000003-000000001\.tsm$/ },
    ];
    await using proxy = await startProxy(source.snapshotter, ({ type, nthOfType }) => (type === SHARD_BACKUP ? faults[nthOfType - 1] : undefined));
    await generationOf(backup(world, proxy.address, of("cut")));
    await restore(world, { name: NAME, client: clientOf(source.snapshotter), database: "cut", newDatabase: "cut again" });
    expect(await answers(source, "cut again")).toEqual(await answers(source, "cut"));
    await expectAtRest(world);
  });

  test.for([
    ["its first file", /000000001-000000001\.tsm$/],
    ["its last file", /000000003-000000001\.tsm$/],
    ["any file", /./],
  ] as const)("an archive without %s in any one reading, of a first backup or an increment, makes no generation without it", async ([, files]) => {
    const world = failureWorld();
    for (const nth of [1, 2]) {
      await using proxy = await startProxy(source.snapshotter, ({ type, nthOfType }) =>
        type === SHARD_BACKUP && nthOfType === nth ? { kind: "drop", files } : undefined,
      );
      const { digest } = await generationOf(backup(world, proxy.address, { ...of("cut"), full: true }));
      expect(digest).toBe(await baseline("cut"));
    }
    // An increment, and the question for newer files of an unchanged shard: nothing is new, so nothing is made.
    for (const nth of [1, 2, 3]) {
      await using proxy = await startProxy(source.snapshotter, ({ type, nthOfType }) =>
        type === SHARD_BACKUP && nthOfType === nth ? { kind: "drop", files } : undefined,
      );
      expect((await backup(world, proxy.address, of("cut"))).kind).toBe("ignored");
    }
    await expectAtRest(world);
  });

  test("shards 1, 10 and 100 of one policy each have their own files, in the backup and restored", async () => {
    const world = failureWorld();
    const { shards } = await generationOf(backup(world, source.snapshotter, of("ids")));
    expect(shards).toBe(3);
    expect(Object.keys(await filesIn(world, 1))).toEqual(["1", "10", "100"]);
    const { databases } = await restore(world, { name: NAME, client: clientOf(source.snapshotter), database: "ids", newDatabase: "ids again" });
    expect(databases[0].shards.map(({ shard }) => shard)).toEqual([1, 10, 100]);
    // The index of the source still shows series of the policy that was dropped.
    expect((await answers(source, "ids again")).policies).toEqual((await answers(source, "ids")).policies);
    const days = await source.query(`SELECT v FROM m`, { db: "ids again" });
    expect(days[0].series?.[0].values.map(([, v]) => v)).toEqual([0, 1, 2]);
  });

  test("names with spaces, quotes, dots and umlauts come through, also where they fill a header", async () => {
    const long = `${"long name ".repeat(8)}ü`;
    for (const [database, policy] of [
      [ODD_DATABASE, ODD_POLICY],
      [long, `${long} policy`],
    ] as const) {
      const [quotedDatabase, quotedPolicy] = [database, policy].map((name) => `"${name.replaceAll('"', '\\"')}"`);
      await source.query(`CREATE DATABASE ${quotedDatabase} WITH DURATION INF SHARD DURATION 1d NAME ${quotedPolicy}`);
      await source.write(database, points({ seed: 9, points: 50, shardGroupMs: DAY_MS }));
      const world = failureWorld();
      await generationOf(backup(world, source.snapshotter, of(database)));
      await restore(world, { name: NAME, client: clientOf(source.snapshotter), database, newDatabase: `${database}, again` });
      expect(await answers(source, `${database}, again`)).toEqual(await answers(source, database));
      await expectAtRest(world);
    }
  });

  test("a server before 1.5, played by a double with a real server's files, is backed up; a range of it is refused, and a restore to it", async () => {
    const world = failureWorld();
    await backup(world, source.snapshotter, of("cut"));
    const opened = await openBackup(world, NAME);
    const [record] = opened.shards.values();
    const files = new Map<string, { bytes: Buffer; modifiedMs: number }>();
    for (const file of record.files)
      files.set(file.name, { bytes: Buffer.concat(await Array.fromAsync(opened.read(file))), modifiedMs: file.modifiedS * 1_000 });
    await opened.close();
    const shard = { shard: record.shard, database: "cut", policy: "policy", files };
    await using old = await startModelServer([shard], { dialect: "1.0" });
    const other = failureWorld();
    await generationOf(backup(other, old.address));
    const copied = await openBackup(other, NAME);
    expect(copied.shards.get(record.shard)?.files.map(({ name, sha256 }) => [name, sha256])).toEqual(record.files.map(({ name, sha256 }) => [name, sha256]));
    await copied.close();
    expect((await backup(other, old.address)).kind).toBe("ignored");
    await expect(backup(other, old.address, { range: { start: new Date(record.shard * DAY_MS + 1_000).toISOString() }, full: true })).rejects.toMatchObject({
      kind: "call",
      code: "old-server",
    });
    await expect(restore(other, { name: NAME, client: clientOf(old.address) })).rejects.toMatchObject({ kind: "call", code: "old-server" });
    // Nothing newer and a failure are both 0 bytes there: never taken for nothing.
    old.spoil = ({ type }) => (type === SHARD_BACKUP ? Buffer.alloc(0) : undefined);
    await expect(backup(other, old.address)).rejects.toMatchObject({ kind: "retry", code: "empty-reply" });
    await expectAtRest(other);
  });

  test("a database that is dropped while it is read is left out, and the rest is backed up", async () => {
    await source.query('CREATE DATABASE "dropped" WITH DURATION INF SHARD DURATION 1d NAME "policy"');
    await source.write("dropped", points({ seed: 3, points: 20, shardGroupMs: DAY_MS }));
    const world = failureWorld();
    await backup(world, source.snapshotter);
    const before = Object.keys(await filesIn(world, 1)).length;
    let isDropped = false;
    const client = clientOf(source.snapshotter);
    const dropping: typeof client = {
      ...client,
      async *shard(...about) {
        if (!isDropped) await source.query('DROP DATABASE "dropped"');
        isDropped = true;
        yield* client.shard(...about);
      },
    };
    expect(await generationOf(backup(world, source.snapshotter, { client: dropping }))).toMatchObject({ outcome: "complete", failed: [] });
    expect(Object.keys(await filesIn(world, 2))).toHaveLength(before - 1);
    await expectAtRest(world);
  });

  test("a file name that the server uses again for other bytes is another file: each generation has its own", async () => {
    const world = failureWorld();
    await using own = await startInfluxd({ settings: { data: { "compact-full-write-cold-duration": "1s" } } });
    await own.query('CREATE DATABASE "again" WITH DURATION INF SHARD DURATION 7d NAME "policy"');
    const written = async (v: number) => {
      await own.write("again", [`m v=${v}i 1704067200000000000`]);
      const { generation } = await generationOf(backup(world, own.snapshotter, of("again")));
      return generation;
    };
    await written(1);
    const files = async () => (await readdir(join(own.layout.data, "again/policy/1"))).filter((name) => name.endsWith(".tsm"));
    await own.query("DELETE FROM m", { db: "again" });
    await own.stop();
    await own.start();
    await expect.poll(files, { timeout: 20_000, interval: 200 }).toEqual([]);
    await own.stop();
    await own.start();
    const second = await written(2);
    expect(await files()).toEqual([FIRST]);
    const [before, after] = await Promise.all([1, second].map(async (generation) => (await filesOf(world, generation)).get(FIRST)));
    expect(after?.sha256).not.toBe(before?.sha256);
    expect(after?.bytes).toBe(before?.bytes);
    for (const [generation, v] of [
      [1, 1],
      [second, 2],
    ] as const) {
      const newDatabase = `again ${generation}`;
      await restore(world, { name: NAME, client: clientOf(own.snapshotter), database: "again", newDatabase, at: { generation } });
      expect((await own.query("SELECT v FROM m", { db: newDatabase }))[0].series?.[0].values[0][1]).toBe(v);
    }
    await expectAtRest(world);
  });

  async function filesOf(world: FailureWorld, generation: number): Promise<ReadonlyMap<string, { readonly sha256: string; readonly bytes: number }>> {
    const opened = await openBackup(world, NAME, { generation });
    await opened.close();
    return new Map([...opened.shards.values()].flatMap(({ files }) => files.map((file) => [file.name, file] as const)));
  }

  test("a shard that the server cannot open after a restart is an error that names it, and no shard that was dropped", async () => {
    const world = failureWorld();
    await using own = await startInfluxd();
    await own.query('CREATE DATABASE "broken" WITH DURATION INF SHARD DURATION 1d NAME "policy"');
    await own.write("broken", points({ seed: 4, points: 40, shardGroupMs: DAY_MS, groups: 2 }));
    await generationOf(backup(world, own.snapshotter, of("broken")));
    await own.stop();
    await writeFile(join(own.layout.data, "broken/policy/2/other.tsm"), "a name that it cannot read");
    await own.start();
    await expect(backup(world, own.snapshotter, of("broken"))).rejects.toMatchObject({
      kind: "retry",
      message: expect.stringContaining("shard 2 of broken/policy"),
    });
    expect(await generationOf(backup(world, own.snapshotter, { ...of("broken"), skipErrors: true }))).toMatchObject({
      outcome: "partial",
      shards: 2,
      failed: [{ shard: 2 }],
    });
    await expectAtRest(world);
  });
}
