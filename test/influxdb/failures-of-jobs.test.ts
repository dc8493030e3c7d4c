// Backups that are killed, overtaken or cleaned under: whatever comes of it, a generation is whole, and nothing is left over
// (docs/compared.md, I15, I16).

import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { isTidemarkError } from "../../lib/model/errors.ts";
import { createTable } from "../../lib/jobs/tables.ts";
import { backUp, type BackupOutcome } from "../../lib/sources/influxdb/backup.ts";
import { idOf } from "../../lib/sources/influxdb/open-backup.ts";
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
import { modelShard, startModelServer } from "./model-server.ts";

const SHARD_BACKUP = 0;
const FIRST = "000000001-000000001.tsm";
const SECOND = "000000002-000000001.tsm";
const THIRD = "000000003-000000001.tsm";
const T0_MS = 1_700_000_000_000;

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
    const [first, big] = [randomBytes(1024 * 1024), randomBytes(20 * 1024 * 1024)];
    await using server = await startModelServer([modelShard(1, { [FIRST]: { bytes: first, modifiedMs: T0_MS }, [SECOND]: { bytes: big, modifiedMs: T0_MS } })]);
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
    // Chance cannot be compressed: what is stored is as much, and its frames.
    const framesMax = 64 * 1024;
    expect(storedBytes).toBeGreaterThanOrEqual(big.length + first.length);
    expect(storedBytes).toBeLessThan(big.length + first.length + framesMax);
    expect(sent).toBeLessThan(big.length + framesMax);
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

describe("what a job has noted as read", () => {
  /** A server, a generation of it, and a run under a name that was stopped once its shard was read. */
  async function stoppedRun() {
    const server = await startModelServer([modelShard(1, { [FIRST]: "one" })]);
    const world = failureWorld();
    await backup(world, server.address);
    const stopped = new AbortController();
    const stopping = { ...world, telemetry: { report: () => stopped.abort() } };
    expect(await backup(stopping, server.address, { job: "nightly", signal: stopped.signal })).toEqual({ kind: "aborted", generation: 2 });
    const written = { bytes: Buffer.from("two"), modifiedMs: T0_MS + 60_000 };
    return { server, world, write: () => server.shards.get(1)?.files.set(SECOND, written) };
  }
  const WHOLE = { [`1/${FIRST}`]: "one", [`1/${SECOND}`]: "two" };

  test("counts for its own run alone: the next under its name reads all anew, also where the one before had nothing to write", async () => {
    const { server, world, write } = await stoppedRun();
    await using _ = server;
    expect((await backup(world, server.address, { job: "nightly" })).kind).toBe("ignored");
    write();
    world.clock.skip(1);
    await generationOf(backup(world, server.address, { job: "nightly" }));
    expect(await contentOf(world, 2)).toEqual(WHOLE);
    await expectAtRest(world);
  });

  test("does not count once another was at it: the run that begins then has all that was there before it began", async () => {
    const { server, world, write } = await stoppedRun();
    await using _ = server;
    server.spoil = ({ type }) => (type === SHARD_BACKUP ? Buffer.alloc(1_000) : undefined);
    await expect(backup(world, server.address)).rejects.toMatchObject({ kind: "retry" });
    server.spoil = () => undefined;
    write();
    await generationOf(backup(world, server.address, { job: "nightly" }));
    expect(await contentOf(world, 2)).toEqual(WHOLE);
    await expectAtRest(world);
  });

  test("does not count for a shard of another place that has its id, where the server was set up anew meanwhile", async () => {
    const { server, world } = await stoppedRun();
    await using _ = server;
    await using anew = await startModelServer([modelShard(1, { [SECOND]: "new" }, { database: "other" })]);
    await generationOf(backup(world, anew.address, { job: "nightly" }));
    expect(await contentOf(world, 2)).toEqual({ [`1/${SECOND}`]: "new" });
    await expectAtRest(world);
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

/** The calls of the stores that a run makes. */
async function callsOf(run: (world: FailureWorld) => Promise<unknown>, world: FailureWorld): Promise<number> {
  let calls = 0;
  const counted = hooked(world, () => {
    calls += 1;
  });
  await run(counted);
  return calls;
}
