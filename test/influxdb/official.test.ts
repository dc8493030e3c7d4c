// The official client beside ours: each takes what the other wrote, and both work against `tidemark influxdb serve`. Where the
// official one loses something, it is said, and ours shown right.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, mkdir, readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { MAIN, makePlace, type Place } from "../cli/tidemark.ts";
import { type Influxd, officialBackup, officialRestore, startInfluxd } from "./influxd.ts";
import { missing } from "./obtain.ts";
import { type Answers, answers, points } from "./points.ts";

const HOUR_MS = 3_600_000;

const lacks = await missing();
if (lacks !== undefined) test("the official client and ours take what the other wrote", ({ skip }) => skip(lacks));
else describe("with the official client", prove);

function prove(): void {
  let source: Influxd;
  let place: Place;
  let whole: Answers;
  const folder = (name: string): string => join(place.directory, name);
  beforeAll(async () => {
    source = await startInfluxd();
    place = await makePlace();
    await place.run(["init"]);
    await source.query("CREATE DATABASE mine WITH DURATION INF SHARD DURATION 1h NAME autogen");
    await source.write("mine", points({ seed: 7, points: 3_000, shardGroupMs: HOUR_MS, groups: 3 }));
    await officialBackup(["-portable", "-host", source.snapshotter, folder("official")]);
    await place.run(["influxdb", "backup", source.snapshotter, "ours"]);
    await source.query("DELETE FROM cpu WHERE host = 'server-2'", { db: "mine" });
    await place.run(["influxdb", "backup", source.snapshotter, "ours"]);
    whole = await answers(source, "mine");
  });
  afterAll(async () => {
    await source?.[Symbol.asyncDispose]();
    await place?.remove();
  });

  test("the official client restores our portable output, and deleted rows stay deleted", async () => {
    expect(await place.run(["influxdb", "export", "ours", folder("portable"), "--format", "portable"])).toMatchObject({ code: 0 });
    expect(await officialRestore(["-portable", "-host", source.snapshotter, "-db", "mine", "-newdb", "of_ours", folder("portable")])).toMatchObject({
      exitCode: 0,
    });
    await vi.waitFor(async () => expect((await answers(source, "of_ours")).policies).toEqual(whole.policies), { timeout: 10_000 });
  });

  test("deleted rows stay deleted by our restore, and come back by the official one", async () => {
    // Compactions so slow that the deletion stays in a file of its own.
    await using slow = await startInfluxd({ settings: { data: { "compact-throughput": 1, "compact-throughput-burst": 1 } } });
    await slow.query("CREATE DATABASE mine");
    await slow.write("mine", points({ seed: 8, points: 400, shardGroupMs: HOUR_MS }));
    await place.run(["influxdb", "backup", slow.snapshotter, "deleted"]);
    await slow.query("DELETE FROM cpu WHERE host = 'server-2'", { db: "mine" });
    await officialBackup(["-portable", "-host", slow.snapshotter, folder("official-after")]);
    await place.run(["influxdb", "backup", slow.snapshotter, "deleted"]);
    const left = await answers(slow, "mine");
    await officialRestore(["-portable", "-host", slow.snapshotter, "-db", "mine", "-newdb", "theirs", folder("official-after")]);
    expect(await place.json(["influxdb", "restore", "deleted", slow.snapshotter, "--database", "mine", "--new-database", "ours"])).toMatchObject({ code: 0 });
    const rows = async (database: string) => Number((await slow.query("SELECT count(idle) FROM cpu", { db: database }))[0].series?.[0].values?.[0][1]);
    expect((await answers(slow, "ours")).policies).toEqual(left.policies);
    await vi.waitFor(async () => expect(await rows("theirs")).toBeGreaterThan(await rows("mine")), { timeout: 10_000 });
  });

  test("a server starts on our data folder, with either index, and answers the same", async () => {
    for (const index of ["inmem", "tsi1"]) {
      const data = folder(`data-${index}`);
      expect(await place.run(["influxdb", "export", "ours", data, "--format", "data"])).toMatchObject({ code: 0 });
      await using started = await startInfluxd({
        layout: { meta: join(data, "meta"), data: join(data, "data") },
        settings: { data: { "index-version": index } },
      });
      expect((await answers(started, "mine")).policies).toEqual(whole.policies);
    }
  });

  test("an official backup is read in and restored; a full one and its increments become what they were, of which the official restore loses rows", async () => {
    expect(await place.run(["influxdb", "import", folder("official"), "read-in"])).toMatchObject({ code: 0 });
    expect(await place.json(["influxdb", "restore", "read-in", source.snapshotter, "--database", "mine", "--new-database", "back"])).toMatchObject({ code: 0 });
    const rows = async (database: string) => (await source.query("SELECT count(/.*/) FROM /.*/", { db: database }))[0].series;
    const earlier = await place.json(["influxdb", "restore", "ours", source.snapshotter, "--at", "1", "--database", "mine", "--new-database", "first"]);
    expect(earlier.code).toBe(0);
    expect(await rows("back")).toEqual(await rows("first"));

    const write = (from: number, to: number) =>
      source.write(
        "chain",
        Array.from({ length: to - from }, (_, at) => `m v=${from + at}i ${from + at + 1}`),
      );
    await source.query("CREATE DATABASE chain");
    await write(0, 5);
    await officialBackup(["-portable", "-database", "chain", "-host", source.snapshotter, folder("chain")]);
    await new Promise((passed) => setTimeout(passed, 1_500));
    const since = new Date().toISOString();
    await write(5, 7);
    await officialBackup(["-portable", "-database", "chain", "-since", since.replace(/\.[0-9]+/, ""), "-host", source.snapshotter, folder("chain")]);
    const countIn = async (database: string) => (await source.query("SELECT count(v) FROM m", { db: database }))[0].series?.[0].values?.[0][1];
    await officialRestore(["-portable", "-host", source.snapshotter, "-db", "chain", "-newdb", "chain_theirs", folder("chain")]);
    await vi.waitFor(async () => expect(await countIn("chain_theirs")).toBe(2), { timeout: 10_000 });
    expect(await place.json(["influxdb", "import", folder("chain"), "chained"])).toMatchObject({
      code: 0,
      document: {
        found: 0,
        generations: [
          { generation: 1, kind: "full" },
          { generation: 2, kind: "incremental", parent: { generation: 1 } },
        ],
      },
    });
    expect(await place.json(["influxdb", "restore", "chained", source.snapshotter, "--database", "chain", "--new-database", "chain_ours"])).toMatchObject({
      code: 0,
    });
    expect(await countIn("chain_ours")).toBe(7);
    expect(await place.json(["influxdb", "import", folder("chain"), "chained"])).toMatchObject({ code: 0, document: { found: 2, generations: [] } });
  });

  test("an official backup that is cut off, or does not fit its manifest, is refused with the file's name", async () => {
    const copy = async (name: string, spoil: (directory: string, archive: string) => Promise<void>): Promise<string> => {
      await mkdir(folder(name));
      for (const file of await readdir(folder("official"))) await writeFile(join(folder(name), file), await readFile(join(folder("official"), file)));
      const [archive] = (await readdir(folder(name))).filter((file) => file.endsWith(".s1.tar.gz"));
      await spoil(folder(name), archive);
      return archive;
    };
    const cases: readonly (readonly [string, (directory: string, archive: string) => Promise<void>])[] = [
      ["cut", (directory, archive) => truncate(join(directory, archive), 400)],
      ["longer", (directory, archive) => appendFile(join(directory, archive), "more")],
      ["of-another", async (directory, archive) => writeFile(join(directory, archive), await readFile(join(directory, archive.replace(".s1.", ".s2."))))],
      ["empty", (directory, archive) => writeFile(join(directory, archive), "")],
    ];
    for (const [name, spoil] of cases) {
      const archive = await copy(name, spoil);
      expect(await place.run(["influxdb", "import", folder(name), `spoilt-${name}`]), name).toMatchObject({
        code: 2,
        stderr: expect.stringContaining(archive),
      });
      expect(await place.json(["influxdb", "list", `spoilt-${name}`])).toMatchObject({ document: { generations: [] } });
    }
    expect(await place.run(["influxdb", "import", place.directory, "none"])).toMatchObject({ code: 2, stderr: expect.stringContaining("*.manifest") });
  });

  test("the official client backs up from `serve`, in both of its formats, and restores to it; the port is closed once it is stopped", async () => {
    await using served = await startServing(place, "ours");
    for (const flags of [["-portable"], ["-database", "mine"]]) {
      const target = folder(`served${flags[0]}`);
      expect(await officialBackup([...flags, "-host", served.address, target]), flags[0]).toMatchObject({ exitCode: 0 });
      expect((await readdir(target)).length).toBeGreaterThanOrEqual(4);
    }
    expect(await place.run(["influxdb", "import", folder("served-portable"), "of-served"])).toMatchObject({ code: 0 });
    expect(await place.json(["influxdb", "restore", "of-served", source.snapshotter, "--database", "mine", "--new-database", "through"])).toMatchObject({
      code: 0,
    });
    expect((await answers(source, "through")).policies).toEqual(whole.policies);

    // A start without an end, which a server answers with nothing, and points around it do not come along.
    const start = new Date(Date.UTC(2024, 0, 1) + HOUR_MS + HOUR_MS / 2).toISOString();
    expect(await officialBackup(["-portable", "-database", "mine", "-start", start, "-host", served.address, folder("late")])).toMatchObject({ exitCode: 0 });
    expect(await officialRestore(["-portable", "-host", source.snapshotter, "-db", "mine", "-newdb", "late", folder("late")])).toMatchObject({ exitCode: 0 });
    const idle = async (database: string, since: string) => {
      const [{ series = [] }] = await source.query(`SELECT count(idle), sum(idle) FROM cpu ${since}`, { db: database });
      return series[0]?.values?.map(([, rows, sum]) => [rows, Number(sum).toFixed(6)]);
    };
    expect(await idle("mine", `WHERE time >= '${start}'`)).toBeDefined();
    await vi.waitFor(async () => expect(await idle("late", "")).toEqual(await idle("mine", `WHERE time >= '${start}'`)), { timeout: 10_000 });

    await using taking = await startServing(place, "taken");
    expect(await place.run(["influxdb", "export", "ours", folder("to-take"), "--format", "portable"])).toMatchObject({ code: 0 });
    const words = ["-portable", "-host", taking.address, "-db", "mine", "-newdb", "theirs", folder("to-take")];
    expect(await officialRestore(words)).toMatchObject({ exitCode: 0 });
    expect((await officialRestore(words)).output).toContain("database may already exist");
    await taking[Symbol.asyncDispose]();
    expect(await place.json(["influxdb", "restore", "taken", source.snapshotter, "--new-database", "again", "--database", "theirs"])).toMatchObject({
      code: 0,
    });
    expect((await answers(source, "again")).policies).toEqual(whole.policies);
    expect(await place.json(["influxdb", "verify", "taken"])).toMatchObject({ code: 0, document: { findings: [] } });
  });
}

interface Serving extends AsyncDisposable {
  readonly address: string;
}

async function startServing(place: Place, name: string): Promise<Serving> {
  const child = spawn(process.execPath, [MAIN, "--json", "influxdb", "serve", name, "--listen", "127.0.0.1:0"], {
    cwd: place.directory,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await once(createInterface(child.stdout), "line")) as [string];
  const { listening } = JSON.parse(line) as { readonly listening: string };
  return { address: listening, [Symbol.asyncDispose]: () => ended(child) };
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  child.kill("SIGTERM");
  await once(child, "close");
}
