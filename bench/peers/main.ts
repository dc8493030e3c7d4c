// `npm run bench:peers`: Tidemark beside its peers, on the same records, the same S3 server and the same counting proxy.
//   npm run bench:peers -- [--only tidemark,duckdb] [--records 1000000] [--json]
// Figures go to stdout when all is done, progress to stderr. bench/README.md says how they are made.

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { missing as missingServer } from "../../test/s3/versitygw.ts";
import { openBench } from "./bench.ts";
import { bound } from "./bound/peer.ts";
import { type Data, makeData } from "./data.ts";
import { deltaRs } from "./delta-rs/peer.ts";
import { duckdb } from "./duckdb/peer.ts";
import { litestream } from "./litestream/peer.ts";
import type { Check, Peer, Row } from "./peer.ts";
import { ratiosOf } from "./ratios.ts";
import { restic } from "./restic/peer.ts";
import { startServer } from "./server.ts";
import { slatedb } from "./slatedb/peer.ts";
import { checksTable, isSame, ratiosTable, rowsTable } from "./tables.ts";
import { tidemark } from "./tidemark/peer.ts";
import { has } from "./tools.ts";

const PEERS: readonly Peer[] = [bound, tidemark, duckdb, deltaRs, litestream, slatedb, restic];
/** Of which 1 % is enough to be measured. */
const RECORDS_MIN = 10_000;

interface Results {
  readonly rows: Row[];
  readonly checks: Check[];
  /** By peer: what to install first, or how it failed. */
  readonly skipped: Record<string, string>;
  readonly failed: Record<string, string>;
}

const { peers, records, asJson } = parseFlags();
const needed = await missingPrograms();
if (needed !== undefined) stop(needed);
const data = await makeData(records);
const results: Results = { rows: [], checks: [], skipped: {}, failed: {} };
const folder = await mkdtemp(join(tmpdir(), "tidemark-peers-"));
try {
  for (const peer of peers) await benchPeer(peer, data, join(folder, peer.name));
} finally {
  await rm(folder, { recursive: true, force: true });
}
report();

async function benchPeer(peer: Peer, data: Data, folder: string): Promise<void> {
  try {
    const ready = await peer.setUp();
    if (ready.kind === "lacking") {
      results.skipped[peer.name] = ready.what;
      return;
    }
    await mkdir(folder);
    const server = await startServer();
    const onRow = (row: Row): void => {
      results.rows.push(row);
      console.error(`${row.peer}: ${row.task}${row.seconds === undefined ? "" : ` in ${row.seconds.toFixed(2)} s`}`);
    };
    const onCheck = (check: Check): void => void results.checks.push(check);
    try {
      await ready.run(openBench({ peer: peer.name, folder, data, server, onRow, onCheck }));
    } finally {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    }
  } catch (error) {
    results.failed[peer.name] = error instanceof Error ? error.message : String(error);
  }
}

function report(): void {
  const { rows, checks, skipped, failed } = results;
  const ratios = ratiosOf(rows, tidemark.name);
  if (asJson) {
    console.log(JSON.stringify({ records, node: process.versions.node, rows, ratios, checks, skipped, failed }, undefined, 1));
  } else {
    console.log(`${records} records\n\n${rowsTable(rows)}`);
    if (ratios.length > 0) console.log(`\nTidemark divided by its peers: below 1 it takes less\n\n${ratiosTable(ratios)}`);
    if (checks.length > 0) console.log(`\n${checksTable(checks)}`);
    for (const [peer, what] of Object.entries(skipped)) console.log(`\n${peer} was skipped: ${what}`);
    for (const [peer, why] of Object.entries(failed)) console.log(`\n${peer} failed: ${why}`);
  }
  if (Object.keys(failed).length > 0 || !checks.every(isSame)) process.exitCode = 1;
}

/** What every peer needs. */
async function missingPrograms(): Promise<string | undefined> {
  if (process.platform !== "linux") return "this runs on Linux only: it reads /proc";
  if (!(await has("go", "version"))) return "the S3 server and the proxy are built with Go, which is missing: install it (https://go.dev/dl)";
  if (!(await has("python3", "-c", "import ensurepip, sys, venv; assert sys.version_info >= (3, 11)")))
    return "Python 3.11 or newer with venv is missing. Debian: apt-get install python3 python3-venv";
  return missingServer();
}

function parseFlags(): { readonly peers: readonly Peer[]; readonly records: number; readonly asJson: boolean } {
  const options = { only: { type: "string" }, records: { type: "string", default: "1000000" }, json: { type: "boolean", default: false } } as const;
  const { values } = parseArgs({ options });
  const records = Number(values.records);
  if (!Number.isSafeInteger(records) || records < RECORDS_MIN) stop(`--records takes a whole number, at least ${RECORDS_MIN}`);
  const names = values.only?.split(",") ?? PEERS.map(({ name }) => name);
  const unknown = names.find((name) => !PEERS.some((peer) => peer.name === name));
  if (unknown !== undefined) stop(`there is no peer ${JSON.stringify(unknown)}: choose from ${PEERS.map(({ name }) => name).join(", ")}`);
  return { peers: PEERS.filter(({ name }) => names.includes(name)), records, asJson: values.json };
}

function stop(why: string): never {
  console.error(why);
  process.exit(2);
}
