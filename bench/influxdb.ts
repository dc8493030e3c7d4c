// Backs up 10,000,000 points in 20 shards, and then 1 % more in the newest, beside `influxd backup -portable` on the same server:
// bytes stored, seconds, and the peak memory of the client's process. Ratios of one run count, not seconds. Needs what
// test/influxdb/obtain.ts finds, and some 3 GB of temporary space.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { influxClient } from "../lib/sources/influxdb/client.ts";
import { parseAddress } from "../lib/sources/influxdb/connection.ts";
import { type Influxd, influxdVersion, startInfluxd } from "../test/influxdb/influxd.ts";
import { influxdProgram } from "../test/influxdb/obtain.ts";

const POINTS = Number(process.env.POINTS ?? 10_000_000);
const SHARDS = 20;
const SERIES = 1_000;
const BATCH = 20_000;
const HOUR_MS = 3_600_000;
const FROM_MS = Date.UTC(2024, 0, 1);
const CLI = join(import.meta.dirname, "..", "dist", "cli", "main.js");
const POLL_MS = 20;

interface Ran {
  readonly seconds: number;
  readonly peakMb: number;
  readonly stdout: string;
}

const folder = await mkdtemp(join(tmpdir(), "tidemark-bench-influxdb-"));
try {
  await using server = await startInfluxd({ directory: join(folder, "server"), settings: { data: { "cache-max-memory-size": "2g" } } });
  console.log(`InfluxDB ${await influxdVersion()}, ${POINTS.toLocaleString("en-US")} points in ${SHARDS} shards, ${SERIES} series`);
  await server.query("CREATE DATABASE bench WITH DURATION INF SHARD DURATION 1h NAME autogen");
  await fill(server, 0, POINTS);
  await flush(server);
  const tidemark = (words: readonly string[]) => run(process.execPath, [CLI, "--json", "--store", `file:${join(folder, "store")}`, ...words]);
  const { path } = await influxdProgram();
  const official = (name: string, flags: readonly string[] = []) =>
    run(path, ["backup", "-portable", "-host", server.snapshotter, ...flags, join(folder, name)]);
  await tidemark(["init"]);

  const theirs = await official("official");
  const ours = await tidemark(["influxdb", "backup", server.snapshotter, "bench"]);
  const [ourBytes, theirBytes] = [storedBytes(ours), await bytesOf(join(folder, "official"))];
  tell("full, influxd backup -portable (gzip)", theirs, theirBytes);
  tell("full, tidemark influxdb backup", ours, ourBytes);

  const nothing = await tidemark(["influxdb", "backup", server.snapshotter, "bench"]);
  tell("nothing new, tidemark", nothing, 0);

  const since = new Date().toISOString().replace(/\.[0-9]+/, "");
  await fill(server, POINTS, POINTS / 100);
  const theirIncrement = await official("official-increment", ["-since", since]);
  const increment = await tidemark(["influxdb", "backup", server.snapshotter, "bench"]);
  const theirIncrementBytes = await bytesOf(join(folder, "official-increment"));
  tell("1 % more, influxd backup -portable -since", theirIncrement, theirIncrementBytes);
  tell("1 % more, tidemark", increment, storedBytes(increment));

  const restored = await tidemark(["influxdb", "restore", "bench", server.snapshotter, "--database", "bench", "--new-database", "copy"]);
  tell("restore to a new name, read back, tidemark", restored, ourBytes);
  const count = async (database: string) => JSON.stringify((await server.query("SELECT count(v), sum(n) FROM m", { db: database }))[0].series?.[0].values);
  console.log(`counts and sums after it: ${(await count("copy")) === (await count("bench")) ? "equal" : "DIFFERENT"}`);
  console.log(`increment to full: ${(storedBytes(increment) / ourBytes).toFixed(3)} of the bytes (official ${(theirIncrementBytes / theirBytes).toFixed(3)})`);
  console.log(`full, ours to theirs: ${(ours.seconds / theirs.seconds).toFixed(2)} of the seconds, ${(ourBytes / theirBytes).toFixed(2)} of the bytes`);
} finally {
  await rm(folder, { recursive: true, force: true });
}

/** Points of all shards in turn, but those behind POINTS all in the newest. */
async function fill(server: Influxd, from: number, count: number): Promise<void> {
  for (let at = from; at < from + count; at += BATCH) {
    const lines = Array.from({ length: Math.min(BATCH, from + count - at) }, (_, offset) => lineOf(at + offset));
    await server.write("bench", lines);
  }
}

function lineOf(at: number): string {
  const perShard = POINTS / SHARDS;
  const shard = at < POINTS ? Math.floor(at / perShard) : SHARDS - 1;
  const timeNs = BigInt(FROM_MS + shard * HOUR_MS) * 1_000_000n + BigInt(at % perShard) * 1_000_000n + (at < POINTS ? 0n : 1n);
  const walk = Math.sin(at / 1_000) * 50 + ((at * 7_919) % 1_000) / 1_000;
  return `m,host=server-${at % SERIES},region=r${at % 7} v=${walk.toFixed(4)},n=${(at * 31) % 10_007}i ${timeNs}`;
}

/** Caches become files: none of the runs that are measured is the one that waits for it. */
async function flush({ snapshotter }: Influxd): Promise<void> {
  const client = influxClient({ address: parseAddress(snapshotter) });
  for (const shard of await client.shardIds({ database: "bench" })) {
    for await (const _ of client.shard({ database: "bench", policy: "autogen", shard }));
  }
}

async function run(program: string, words: readonly string[]): Promise<Ran> {
  const startedMs = performance.now();
  const child = spawn(program, words, { stdio: ["ignore", "pipe", "pipe"] });
  let peakMb = 0;
  const poll = setInterval(() => {
    peakOf(child.pid).then(
      (mb) => {
        peakMb = Math.max(peakMb, mb);
      },
      () => undefined,
    );
  }, POLL_MS);
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  clearInterval(poll);
  if (code !== 0) throw new Error(`${program} ${words.join(" ")} ended with ${String(code)}: ${stderr}`);
  return { seconds: (performance.now() - startedMs) / 1_000, peakMb, stdout };
}

async function peakOf(pid: number | undefined): Promise<number> {
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kib ?? 0) / 1_024;
}

function storedBytes({ stdout }: Ran): number {
  const document = JSON.parse(stdout) as { readonly generation: { readonly storedBytes: number } };
  return document.generation.storedBytes;
}

async function bytesOf(directory: string): Promise<number> {
  const sizes = await Promise.all((await readdir(directory)).map(async (name) => (await stat(join(directory, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

function tell(what: string, { seconds, peakMb }: Ran, bytes: number): void {
  console.log(`${what.padEnd(46)} ${seconds.toFixed(2).padStart(8)} s ${peakMb.toFixed(0).padStart(6)} MB peak ${(bytes / 1e6).toFixed(1).padStart(9)} MB`);
}
