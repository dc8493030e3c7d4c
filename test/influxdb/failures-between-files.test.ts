// A server that fails between two files sends an archive that looks whole: no backup lacks a file for it, and none holds what is not the
// shard's (docs/compared.md, I9, I12, I33).

import { beforeEach, describe, expect, test } from "vitest";
import { backup, contentOf, expectAtRest, failureWorld, type FailureWorld, filesIn, generationOf, generationsOf } from "./at-rest.ts";
import { archive, type ArchiveEntry, modelShard, type ModelServer, startModelServer } from "./model-server.ts";

const SHARD_BACKUP = 0;
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

  test.for([60_000, 999, 1])(
    "a new file that the reading of an unchanged shard lacked is found by the question for newer ones, %i ms behind",
    async (behindMs) => {
      await using server = await startModelServer([modelShard(1, HELD)]);
      await backup(world, server.address);
      server.shards.get(1)?.files.set(THIRD, { bytes: Buffer.from("three"), modifiedMs: T0_MS + behindMs });
      lacking(server, THIRD, (nth) => nth === 1);
      expect(await generationOf(backup(world, server.address))).toMatchObject({ generation: 2 });
      expect(await contentOf(world, 2)).toEqual({ ...WHOLE, [`1/${THIRD}`]: "three" });
    },
  );

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

  test("a file that is gone with its tombstone, as where all of its rows were deleted, is told once", async () => {
    await using server = await startModelServer([modelShard(1, HELD)]);
    await backup(world, server.address);
    for (const name of [FIRST, TOMBSTONE]) server.shards.get(1)?.files.delete(name);
    expect((await generationOf(backup(world, server.address))).vanished).toEqual([`db/policy/1/${FIRST}`]);
    expect(await contentOf(world, 2)).toEqual({ [`1/${SECOND}`]: "two" });
    await expectAtRest(world);
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

  test.for([FIRST, SECOND, TOMBSTONE])("%s that lacks in every reading, beside a compaction of other files, is told to have vanished", async (file) => {
    await using server = await startModelServer([modelShard(1, { ...HELD, [THIRD]: "three" })]);
    await backup(world, server.address);
    const files = server.shards.get(1)?.files;
    files?.delete(THIRD);
    files?.set("000000003-000000002.tsm", { bytes: Buffer.from("three, anew"), modifiedMs: T0_MS + 60_000 });
    lacking(server, file, () => true);
    const { vanished } = await generationOf(backup(world, server.address));
    // What lies right below a compacted file may be a part of it, as far as names tell.
    if (file === SECOND) expect(vanished).toEqual([]);
    else expect(vanished).toEqual([`db/policy/1/${file}`]);
    expect(await contentOf(world, 1)).toEqual({ ...WHOLE, [`1/${THIRD}`]: "three" });
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

describe("an archive that holds what it should not", () => {
  const place = (name: string): ArchiveEntry => ({ name, bytes: Buffer.from("bytes") });
  const spoilt: readonly [string, readonly ArchiveEntry[]][] = [
    ["a name with ..", [place(`db/policy/1/../10/${FIRST}`)]],
    ["a name out of the folder", [place(`../../${FIRST}`)]],
    ["another shard's folder that begins alike", [place(`db/policy/10/${FIRST}`)]],
    ["another shard's folder, as long as its own", [place(`db/policy/2/${FIRST}`)]],
    ["another database's folder", [place(`dc/policy/1/${FIRST}`)]],
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
