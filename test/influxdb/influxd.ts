// An InfluxDB 1.x server for tests: a process of its own on 127.0.0.1, in a temporary folder of its own. It cannot outlive the tests,
// however they end.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { freePorts } from "../loopback.ts";
import { influxdProgram } from "./obtain.ts";

const START_MS_MAX = 30_000;
const STOP_MS_MAX = 15_000;
const POLL_MS = 25;
const OFFICIAL_MS_MAX = 60_000;
const LINES_PER_WRITE = 5_000;

/** Sections of its configuration file: `{ data: { "index-version": "tsi1" } }`. They come on top of the rig's own. */
export type InfluxdSettings = Readonly<Record<string, Readonly<Record<string, string | number | boolean>>>>;

/** Where a server keeps its metadata (`meta.db`), its shards and, left out if it is of no matter, its write-ahead log. */
export interface InfluxdLayout {
  readonly meta: string;
  readonly data: string;
  readonly wal?: string;
}

export interface InfluxdOptions {
  readonly settings?: InfluxdSettings;
  /** The server's folder, made if it is not there, and left behind; without it one of its own, which goes with the server. */
  readonly directory?: string;
  /** Files to start on, which are left behind; what is left out is in the server's folder. */
  readonly layout?: InfluxdLayout;
}

export interface QueryResult {
  readonly statement_id: number;
  readonly series?: readonly QuerySeries[];
  readonly error?: string;
}

export interface QuerySeries {
  /** SHOW DATABASES and the like give none in some versions. */
  readonly name?: string;
  readonly tags?: Readonly<Record<string, string>>;
  readonly columns: readonly string[];
  readonly values: readonly (readonly (string | number | boolean | null)[])[];
}

export interface WriteOptions {
  /** Default: the database's default policy. */
  readonly policy?: string;
  /** Default: nanoseconds. */
  readonly precision?: "ns" | "u" | "ms" | "s" | "m" | "h";
}

export interface Influxd extends AsyncDisposable {
  /** Where its snapshotter listens: "127.0.0.1:PORT". */
  readonly snapshotter: string;
  /** Where its HTTP API is: "http://127.0.0.1:PORT". */
  readonly http: string;
  /** Holds `meta`, `data`, `wal`, its configuration and its log, but for what a layout says. */
  readonly directory: string;
  readonly layout: Required<InfluxdLayout>;
  /** Writes lines of line protocol; of no lines nothing. */
  write(database: string, lines: readonly string[], options?: WriteOptions): Promise<void>;
  /** One result for each statement; an error of any of them is thrown. Times are text, whole numbers beyond 2^53 lose digits. */
  query(statements: string, options?: { readonly db?: string }): Promise<readonly QueryResult[]>;
  /** SIGTERM, by its pid, and its end; nothing where it does not run. Its folder stays until it is disposed of. */
  stop(): Promise<void>;
  /** SIGKILL, by its pid, and its end. */
  kill(): Promise<void>;
  /** Once more, on the same folder and ports. */
  start(): Promise<void>;
  /** All it has logged, of every start. */
  log(): Promise<string>;
}

export async function startInfluxd({ settings = {}, directory: given, layout }: InfluxdOptions = {}): Promise<Influxd> {
  const { path } = await influxdProgram();
  const directory = given ?? (await mkdtemp(join(tmpdir(), "tidemark-influxd-")));
  const folders = { meta: join(directory, "meta"), data: join(directory, "data"), wal: join(directory, "wal"), ...layout };
  const [snapshotterPort, httpPort] = await freePorts(2);
  const snapshotter = `127.0.0.1:${snapshotterPort}`;
  const address = `127.0.0.1:${httpPort}`;
  const http = `http://${address}`;
  const configuration = join(directory, "influxdb.conf");
  const logFile = join(directory, "influxd.log");
  for (const folder of Object.values(folders)) await mkdir(folder, { recursive: true });
  await writeFile(configuration, configurationOf(settings, { folders, snapshotter, address }));

  let running: Running | undefined;
  const log = () => readFile(logFile, "utf8").catch(() => "");
  const end = async (signal: "SIGTERM" | "SIGKILL"): Promise<void> => {
    const ending = running;
    running = undefined;
    if (ending !== undefined) await endOf(ending, signal);
  };
  const start = async (): Promise<void> => {
    if (running !== undefined) throw new Error("this influxd runs already");
    running = await launch(path, ["run", "-config", configuration], { logFile, removed: given === undefined ? directory : "" });
    await answering(`${http}/ping`, running).catch(async (error: unknown) => {
      await end("SIGKILL");
      throw new Error(`influxd does not answer: ${await log()}`, { cause: error });
    });
  };
  const dispose = async (): Promise<void> => {
    await end("SIGTERM");
    if (given === undefined) await rm(directory, { recursive: true, force: true });
  };

  await start().catch(async (error: unknown) => {
    await dispose();
    throw error;
  });
  return {
    snapshotter,
    http,
    directory,
    layout: folders,
    write: (database, lines, options = {}) => write(http, database, lines, options),
    query: (statements, { db } = {}) => query(http, statements, db),
    stop: () => end("SIGTERM"),
    kill: () => end("SIGKILL"),
    start,
    log,
    [Symbol.asyncDispose]: dispose,
  };
}

export async function influxdVersion(): Promise<string> {
  return (await influxdProgram()).version;
}

/** How a command of the official tool ended, and what it wrote to either output. */
export interface OfficialRun {
  readonly exitCode: number;
  readonly output: string;
}

/** `influxd backup …`: `officialBackup(["-portable", "-host", influxd.snapshotter, folder])`. */
export function officialBackup(args: readonly string[]): Promise<OfficialRun> {
  return official("backup", args);
}

/** `influxd restore …`. */
export function officialRestore(args: readonly string[]): Promise<OfficialRun> {
  return official("restore", args);
}

async function official(command: string, args: readonly string[]): Promise<OfficialRun> {
  const { path } = await influxdProgram();
  return await new Promise((resolve, reject) => {
    execFile(path, [command, ...args], { timeout: OFFICIAL_MS_MAX, killSignal: "SIGKILL" }, (error, stdout, stderr) => {
      const exitCode = error === null ? 0 : error.code;
      if (typeof exitCode === "number") resolve({ exitCode, output: stdout + stderr });
      else reject(new Error(`influxd ${command} did not end by itself: ${stdout}${stderr}`, { cause: error }));
    });
  });
}

interface Running {
  readonly guard: ChildProcess;
  /** Of the server itself. */
  readonly pid: number;
}

/**
 * Runs the server as long as its own input is open, which the system closes when this process ends, however it ends; then kills
 * it by its process id and removes the folder $0, if there is one, unless it was told to keep it. It ends with the server. A signal
 * to the whole group, as of Ctrl-C, ends both.
 */
const GUARD = `
  trap : INT TERM HUP
  exec 3<&0
  "$@" >&2 3<&- & server=$!
  echo "$server"
  (
    read -r told <&3
    trap "" TERM
    kill "$server"
    [ "$told" = keep ] || [ -z "$0" ] && exit
    while kill -0 "$server" 2>/dev/null; do sleep 0.05; done
    rm -rf -- "$0"
  ) 2>/dev/null & watcher=$!
  while kill -0 "$server" 2>/dev/null; do wait "$server"; done
  kill "$watcher" 2>/dev/null
  wait "$watcher"`;

interface Launch {
  readonly logFile: string;
  /** The folder that goes with the server where this process ends without stopping it. */
  readonly removed: string;
}

async function launch(path: string, args: readonly string[], { logFile, removed }: Launch): Promise<Running> {
  const log = await open(logFile, "a");
  try {
    const guard = spawn("sh", ["-c", GUARD, removed, path, ...args], { stdio: ["pipe", "pipe", log.fd] });
    guard.stdin?.on("error", () => {});
    if (guard.stdout === null) throw new Error("a pipe was asked for");
    const [first]: Buffer[] = await once(guard.stdout, "data");
    return { guard, pid: Number(first.toString()) };
  } finally {
    await log.close();
  }
}

/** As long as the guard has not ended, the server's pid is nobody else's. */
async function endOf({ guard, pid }: Running, signal: "SIGTERM" | "SIGKILL"): Promise<void> {
  if (hasEnded(guard)) return;
  const ended = once(guard, "exit");
  process.kill(pid, signal);
  guard.stdin?.end("keep\n");
  const late = setTimeout(() => process.kill(pid, "SIGKILL"), STOP_MS_MAX);
  await ended;
  clearTimeout(late);
}

async function answering(ping: string, { guard }: Running): Promise<void> {
  const deadline = Date.now() + START_MS_MAX;
  for (;;) {
    const answer = await fetch(ping).catch(() => undefined);
    if (answer?.ok) return;
    if (hasEnded(guard)) throw new Error("it has ended");
    if (Date.now() > deadline) throw new Error(`it did not within ${START_MS_MAX} ms`);
    await pause(POLL_MS);
  }
}

function hasEnded(guard: ChildProcess): boolean {
  return guard.exitCode !== null || guard.signalCode !== null;
}

async function write(http: string, database: string, lines: readonly string[], { policy, precision }: WriteOptions): Promise<void> {
  const target = new URL("/write", http);
  target.searchParams.set("db", database);
  if (policy !== undefined) target.searchParams.set("rp", policy);
  if (precision !== undefined) target.searchParams.set("precision", precision);
  for (let from = 0; from < lines.length; from += LINES_PER_WRITE) {
    const body = lines.slice(from, from + LINES_PER_WRITE).join("\n");
    const answer = await fetch(target, { method: "POST", body });
    const text = await answer.text();
    if (answer.status !== 204) throw new Error(`influxd did not take the lines: ${answer.status} ${text}`);
  }
}

async function query(http: string, statements: string, database: string | undefined): Promise<readonly QueryResult[]> {
  const answer = await fetch(new URL("/query", http), {
    method: "POST",
    body: new URLSearchParams({ q: statements, ...(database === undefined ? {} : { db: database }) }),
  });
  const told: QueryAnswer = JSON.parse(await answer.text());
  const error = told.error ?? told.results?.find((result) => result.error !== undefined)?.error;
  if (error !== undefined || told.results === undefined) throw new Error(`influxd refuses ${JSON.stringify(statements)}: ${error ?? answer.status}`);
  return told.results;
}

interface QueryAnswer {
  readonly results?: readonly QueryResult[];
  readonly error?: string;
}

interface Places {
  readonly folders: Required<InfluxdLayout>;
  readonly snapshotter: string;
  /** Of the HTTP API. */
  readonly address: string;
}

/** Nothing listens, reports or writes that a test did not ask for. */
function configurationOf(settings: InfluxdSettings, { folders, snapshotter, address }: Places): string {
  const own: InfluxdSettings = {
    meta: { dir: folders.meta },
    data: { dir: folders.data, "wal-dir": folders.wal, "query-log-enabled": false },
    monitor: { "store-enabled": false },
    subscriber: { enabled: false },
    continuous_queries: { enabled: false },
    "shard-precreation": { enabled: false },
    retention: { enabled: false },
    http: { "bind-address": address, "log-enabled": false },
  };
  const sections = [...new Set([...Object.keys(own), ...Object.keys(settings)])];
  const lines = sections.flatMap((section) => {
    const values = Object.entries({ ...own[section], ...settings[section] });
    return [`[${section}]`, ...values.map(([name, value]) => `${name} = ${JSON.stringify(value)}`)];
  });
  return ["reporting-disabled = true", `bind-address = ${JSON.stringify(snapshotter)}`, ...lines, ""].join("\n");
}
