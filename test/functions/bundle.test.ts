// The bundles as Lambda starts them: each alone, in a process of its own, with the variables that the construct sets.

import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Bundle, bundleFunctions } from "../../functions/bundle.ts";

const run = promisify(execFile);
const KIB = 1_024;
/** Of which the AWS SDK's clients are the most. What grows beyond this makes every start slower: see why before raising it. */
const BUNDLE_BYTES_MAX = 768 * KIB;
/** It runs for minutes, and reads what it finds stored with the whole of zod. */
const INFLUXDB_BYTES_MAX = 1_024 * KIB;

const COMMON = {
  AWS_REGION: "eu-central-1",
  AWS_LAMBDA_FUNCTION_NAME: "test",
  TIDEMARK_BUCKET: "states",
  TIDEMARK_TABLE: "control",
  TIDEMARK_PIPELINE: "Test/State",
};
const SNAPSHOTS = { TIDEMARK_SNAPSHOT_QUEUE: "https://sqs.eu-central-1.amazonaws.com/000000000000/snapshots" };
const CLEANUPS = { TIDEMARK_CLEANUP_QUEUE: "https://sqs.eu-central-1.amazonaws.com/000000000000/cleanups" };
const BACKUPS = { TIDEMARK_BACKUP_QUEUE: "https://sqs.eu-central-1.amazonaws.com/000000000000/backups" };
const INFLUXDB = { TIDEMARK_INFLUXDB: JSON.stringify({ name: "metrics", host: "10.0.0.5", port: 8088, skipErrors: true, withoutUsers: false }) };
const DEAD_LETTERS = { TIDEMARK_DEAD_LETTER_QUEUE: "https://sqs.eu-central-1.amazonaws.com/000000000000/dead" };

const functions: readonly (readonly [name: string, own: Readonly<Record<string, string>>])[] = [
  ["cleanup", { ...CLEANUPS, ...DEAD_LETTERS }],
  ["events", { TIDEMARK_EVENT_BUS: "default" }],
  ["influxdb", { ...INFLUXDB, ...BACKUPS, ...SNAPSHOTS, ...DEAD_LETTERS }],
  ["ingest", {}],
  ["ingest-queue", DEAD_LETTERS],
  ["plan", SNAPSHOTS],
  ["requests", SNAPSHOTS],
  ["snapshot", { ...SNAPSHOTS, ...CLEANUPS, ...DEAD_LETTERS }],
  ["tables", {}],
];

let out = "";
let bundles: readonly Bundle[] = [];

beforeAll(async () => {
  out = mkdtempSync(join(tmpdir(), "tidemark-bundles-"));
  bundles = await bundleFunctions(out);
});

afterAll(() => rmSync(out, { recursive: true }));

/** What the bundle exports as its handler, and whether that loads undici, told by a fresh process; rejects as that process ends. */
async function started(name: string, env: Readonly<Record<string, string>>): Promise<string> {
  const script = `
    const { handler } = require(process.argv[1]);
    const hasUndici = process.moduleLoadList.some((module) => module.includes("undici"));
    process.stdout.write(typeof handler + (hasUndici ? " with undici" : ""));`;
  const { stdout } = await run(process.execPath, ["-e", script, join(out, name, "index.cjs")], { env });
  return stdout;
}

test("there is one for each function, and no other", () => {
  expect(bundles.map(({ name }) => name).sort()).toEqual(functions.map(([name]) => name));
});

describe.each(functions)("%s", (name, own) => {
  test("starts alone, from one file of bounded size", async () => {
    expect(await started(name, { ...COMMON, ...own })).toBe("function");
    expect(statSync(join(out, name, "index.cjs")).size).toBeLessThan(name === "influxdb" ? INFLUXDB_BYTES_MAX : BUNDLE_BYTES_MAX);
  });

  test("says at its start which variables lack", async () => {
    const { TIDEMARK_TABLE: _, ...others } = { ...COMMON, ...own };
    await expect(started(name, others)).rejects.toMatchObject({ stderr: expect.stringContaining("TIDEMARK_TABLE must be of type string") });
    for (const variable of Object.keys(own)) {
      const rest = Object.entries({ ...COMMON, ...own }).filter(([known]) => known !== variable);
      await expect(started(name, Object.fromEntries(rest))).rejects.toMatchObject({ stderr: expect.stringContaining(`lacks ${variable}`) });
    }
  });
});

test("those without business with objects hold no client of S3", async () => {
  const withS3: string[] = [];
  for (const { name } of bundles) if ((await readFile(join(out, name, "index.cjs"), "utf8")).includes("CompleteMultipartUpload")) withS3.push(name);
  expect(withS3.sort()).toEqual(["cleanup", "influxdb", "ingest", "ingest-queue", "snapshot", "tables"]);
});
