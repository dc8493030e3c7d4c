// InfluxDB 1.x's program, `influxd`: that of this machine, else of Debian's package, unpacked into the project's cache and not installed.

import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { access, mkdir, readdir, rename, rm } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { cached } from "../cache.ts";

const run = promisify(execFile);

const PACKAGE = "influxdb";
/** Reading the archive's lists anew, then some 5 MB. */
const APT_MS_MAX = 120_000;
const VERSION_MS_MAX = 10_000;
/** Versions 2 and 3 call their program the same, and have no snapshotter. */
const VERSION = /^InfluxDB v?(1\.\S+)/;

export interface InfluxdProgram {
  readonly path: string;
  /** As it tells it itself: "1.6.7~rc0". */
  readonly version: string;
}

let obtained: Promise<InfluxdProgram> | undefined;

/** The program, downloaded if need be; where it can't be had, an error that says why. */
export async function influxdProgram(): Promise<InfluxdProgram> {
  obtained ??= obtain();
  return await obtained;
}

/**
 * Why InfluxDB cannot run here; undefined where it can. Continuous integration must have it: there the tests run into the
 * error of the missing program instead of being skipped.
 */
export async function missing(): Promise<string | undefined> {
  if (process.env.CI !== undefined) return undefined;
  return await influxdProgram().then(
    () => undefined,
    (error: unknown) => reasonOf(error),
  );
}

async function obtain(): Promise<InfluxdProgram> {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    const path = join(folder, "influxd");
    const version = await versionOf(path);
    if (version !== undefined) return { path, version };
  }
  const path = join(await cached("influxdb-debian", unpack), "influxd");
  const version = await versionOf(path);
  if (version === undefined) throw new Error(`Debian's ${PACKAGE} brought no InfluxDB 1.x that runs here: ${path}`);
  return { path, version };
}

async function versionOf(path: string): Promise<string | undefined> {
  const runs = await access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
  if (!runs) return undefined;
  const told = await run(path, ["version"], { timeout: VERSION_MS_MAX }).catch(() => undefined);
  return told === undefined ? undefined : VERSION.exec(told.stdout)?.[1];
}

/** Leaves the program, and nothing else, in the folder. */
async function unpack(folder: string): Promise<void> {
  const work = join(folder, "work");
  try {
    await mkdir(work);
    await download(work);
    const archive = (await readdir(work)).find((name) => name.endsWith(".deb"));
    if (archive === undefined) throw new Error("apt-get left no package");
    await run("dpkg", ["-x", archive, "root"], { cwd: work });
    await rename(join(work, "root/usr/bin/influxd"), join(folder, "influxd"));
  } catch (error) {
    throw new Error(
      `InfluxDB 1.x is missing, and Debian's package ${PACKAGE} could not be had: put an influxd 1.x on the PATH, then run this again. ${reasonOf(error)}`,
      { cause: error },
    );
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** By the lists of packages that this machine has, else by lists of its own, which need no rights. */
async function download(work: string): Promise<void> {
  await apt(work, [], ["download", PACKAGE]).catch(async () => {
    await mkdir(join(work, "lists/partial"), { recursive: true });
    await mkdir(join(work, "cache/archives/partial"), { recursive: true });
    const own = ["-o", `Dir::State::lists=${join(work, "lists")}`, "-o", `Dir::Cache=${join(work, "cache")}`];
    await apt(work, own, ["update"]);
    await apt(work, own, ["download", PACKAGE]);
  });
}

async function apt(work: string, options: readonly string[], command: readonly string[]): Promise<void> {
  // As root apt would drop to a user that cannot enter the cache.
  await run("apt-get", ["--quiet", "-o", "APT::Sandbox::User=root", ...options, ...command], { cwd: work, timeout: APT_MS_MAX, killSignal: "SIGKILL" });
}

function reasonOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).trim().replaceAll(/\s+/g, " ");
}
