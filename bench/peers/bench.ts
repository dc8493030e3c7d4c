// Measures tasks one at a time: what the kernel says of the process, what the process says of its own work, what the proxy
// counted meanwhile, and what the bucket holds afterwards.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { CREDENTIALS, REGION } from "../../test/s3/versitygw.ts";
import type { Data } from "./data.ts";
import type { Bench, Check, Row } from "./peer.ts";
import type { Server } from "./server.ts";

const MEASURE = fileURLToPath(new URL("./measure.py", import.meta.url));
const TASK_SECONDS_MAX = 1_800;
/** Linux's unit of CPU time in /proc. */
const TICKS_PER_SECOND = 100;
const ERROR_CHARS = 2_000;

const PROCESS = z.object({ seconds: z.number(), cpuSeconds: z.number(), peakBytes: z.number() });
/** A program that can tell of its own work prints one such line, behind the word. */
const REPORT = z.object({ seconds: z.number(), cpuSeconds: z.number(), snapshotBytes: z.number().exactOptional(), note: z.string().exactOptional() });
const REPORT_LINE = /^REPORT (.*)$/m;

export interface BenchOptions {
  readonly peer: string;
  readonly folder: string;
  readonly data: Data;
  readonly server: Server;
  readonly onRow: (row: Row) => void;
  readonly onCheck: (check: Check) => void;
}

export function openBench({ peer, folder, data, server, onRow, onCheck }: BenchOptions): Bench {
  const env = environment(server.endpoint, server.bucket);

  async function keep(row: Omit<Row, "peer" | "up" | "down" | "stored" | "requests">): Promise<Row> {
    const { up, down, requests } = await server.traffic();
    const kept = { peer, ...row, up, down, requests, stored: await server.stored() };
    onRow(kept);
    return kept;
  }

  /** What it prints. */
  async function start(command: readonly [string, ...string[]], extra: NodeJS.ProcessEnv = {}): Promise<string> {
    const child = spawn(command[0], command.slice(1), { cwd: folder, env: { ...env, ...extra }, stdio: ["ignore", "pipe", "pipe"] });
    const [printed, errors, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")]);
    if (code !== 0) throw new Error(`${command.join(" ")} failed (${code}):\n${(printed + errors).slice(-ERROR_CHARS)}`);
    return printed;
  }

  return {
    folder,
    data,
    endpoint: server.endpoint,
    bucket: server.bucket,
    env,
    async measure({ task, comparisons, command, env: extra }) {
      const account = join(folder, "account.json");
      await server.traffic();
      const printed = await start(["python3", MEASURE, String(TASK_SECONDS_MAX), account, ...command], extra);
      const process = PROCESS.parse(JSON.parse(await readFile(account, "utf8")));
      const told = REPORT_LINE.exec(printed)?.[1];
      const work = told === undefined ? { seconds: process.seconds, cpuSeconds: process.cpuSeconds } : REPORT.parse(JSON.parse(told));
      return keep({ task, ...(comparisons && { comparisons }), ...work, process });
    },
    async watch({ task, comparisons, pid }, work) {
      await writeFile(`/proc/${pid}/clear_refs`, "5"); // Its peak starts anew.
      await server.traffic();
      const cpuBefore = await cpuSecondsOf(pid);
      const startedAt = performance.now();
      await work();
      const seconds = (performance.now() - startedAt) / 1e3;
      const cpuSeconds = (await cpuSecondsOf(pid)) - cpuBefore;
      return keep({ task, ...(comparisons && { comparisons }), seconds, cpuSeconds, process: { seconds, cpuSeconds, peakBytes: await peakBytesOf(pid) } });
    },
    run: (...command) => start(command),
    note(row) {
      onRow({ peer, ...row });
    },
    check(what, found, expected) {
      onCheck({ peer, what, found, expected });
    },
  };
}

/** Names differ from one S3 client to the next; a bundle of certificates is of no use to plain HTTP, and Litestream does not start with one. */
export function environment(endpoint: string, bucket: string): NodeJS.ProcessEnv {
  const { AWS_CA_BUNDLE: _, ...inherited } = process.env;
  return {
    ...inherited,
    AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId,
    AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey,
    AWS_REGION: REGION,
    AWS_DEFAULT_REGION: REGION,
    AWS_EC2_METADATA_DISABLED: "true",
    AWS_ENDPOINT: endpoint,
    AWS_ENDPOINT_URL: endpoint,
    AWS_BUCKET: bucket,
    AWS_ALLOW_HTTP: "true",
    NO_PROXY: "127.0.0.1",
    no_proxy: "127.0.0.1",
  };
}

async function cpuSecondsOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  // Behind the program's name, which may hold blanks: the fields from the third on.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

async function peakBytesOf(pid: number): Promise<number> {
  const kibibytes = /^VmHWM:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kibibytes) * 1024;
}
