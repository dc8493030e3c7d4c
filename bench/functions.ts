// The functions' bundles: their sizes, and how long a fresh process takes until one is loaded and could be called,
// beside a process that loads nothing. Medians; the two kinds take turns, so that both meet the same machine.
// Not measured: a real Lambda, which has its own way to start, fetches the bundle, gives a function with little memory
// little of a processor, and calls the handler; nor the first connections to S3 and DynamoDB.
//   npm run build && node bench/functions.ts

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const SAMPLES = 15;
const BUNDLES = fileURLToPath(new URL("../dist/functions/", import.meta.url));

const ENVIRONMENT = {
  AWS_REGION: "us-east-1",
  AWS_ACCESS_KEY_ID: "bench",
  AWS_SECRET_ACCESS_KEY: "bench",
  AWS_EXECUTION_ENV: "AWS_Lambda_nodejs24.x",
  AWS_LAMBDA_FUNCTION_NAME: "bench",
  TIDEMARK_BUCKET: "states",
  TIDEMARK_TABLE: "control",
  TIDEMARK_PIPELINE: "bench",
  TIDEMARK_SNAPSHOT_QUEUE: "https://sqs.us-east-1.amazonaws.com/000000000000/snapshot",
  TIDEMARK_CLEANUP_QUEUE: "https://sqs.us-east-1.amazonaws.com/000000000000/cleanup",
  TIDEMARK_DEAD_LETTER_QUEUE: "https://sqs.us-east-1.amazonaws.com/000000000000/dead",
  TIDEMARK_BACKUP_QUEUE: "https://sqs.us-east-1.amazonaws.com/000000000000/backup",
  TIDEMARK_EVENT_BUS: "default",
  TIDEMARK_INFLUXDB: JSON.stringify({ name: "metrics", host: "10.0.0.5", port: 8088, skipErrors: true, withoutUsers: false }),
};

interface Start {
  /** From the process being asked for to its word that it is ready. */
  readonly readyMs: number;
  readonly loadMs: number;
}

const names = bundleNames();
const bare: Start[] = [];
const starts = new Map<string, Start[]>(names.map((name) => [name, []]));
for (let sample = 0; sample < SAMPLES; sample++) {
  bare.push(await start(undefined));
  for (const [name, of] of starts) of.push(await start(bundlePath(name)));
}
const bareMs = median(bare.map(({ readyMs }) => readyMs));
console.log(`a fresh process, median of ${SAMPLES}; one that loads nothing is ready after ${bareMs.toFixed(0)} ms`);
console.log(
  `  ${"function".padEnd(14)}${"KiB".padStart(8)}${"gzip KiB".padStart(10)}${"load ms".padStart(11)}${"ready ms".padStart(10)}${"to bare".padStart(9)}`,
);
for (const [name, of] of starts) {
  const bundle = readFileSync(bundlePath(name));
  const readyMs = median(of.map((one) => one.readyMs));
  const sizes = [bundle.length, gzipSync(bundle).length].map((bytes) => (bytes / 1_024).toFixed(0));
  const loadMs = median(of.map((one) => one.loadMs)).toFixed(0);
  console.log(
    `  ${name.padEnd(14)}${sizes[0].padStart(8)}${sizes[1].padStart(10)}${loadMs.padStart(11)}${readyMs.toFixed(0).padStart(10)}${(readyMs / bareMs).toFixed(1).padStart(9)}`,
  );
}

async function start(bundle: string | undefined): Promise<Start> {
  const loaded = bundle === undefined ? "" : `const { handler } = require(${JSON.stringify(bundle)}); if (typeof handler !== "function") process.exit(1);`;
  const script = `const from = performance.now(); ${loaded} console.log(performance.now() - from);`;
  const { PATH = "" } = process.env;
  const from = performance.now();
  const child = spawn(process.execPath, ["-e", script], { env: { PATH, ...ENVIRONMENT }, stdio: ["ignore", "pipe", "inherit"] });
  const ready = once(child.stdout, "data").then(() => performance.now() - from);
  const [readyMs, output] = await Promise.all([ready, text(child.stdout), ended(child)]);
  return { readyMs, loadMs: Number(output) };
}

async function ended(child: ReturnType<typeof spawn>): Promise<void> {
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error("a bundle could not be loaded: its error is above");
}

function bundleNames(): readonly string[] {
  try {
    const folders = readdirSync(BUNDLES);
    if (folders.length > 0) return folders.sort();
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
  }
  console.error("there are no bundles: make them with `npm run build`");
  process.exit(2);
}

function bundlePath(name: string): string {
  return `${BUNDLES}${name}/index.cjs`;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}
