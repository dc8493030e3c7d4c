// DuckDB: the state as one Parquet object, written anew for every fold.

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseContent } from "../data.ts";
import type { Bench, Peer } from "../peer.ts";
import { pythonWith } from "../tools.ts";

const REQUIREMENTS = fileURLToPath(new URL("./requirements.txt", import.meta.url));
const FOLD = fileURLToPath(new URL("./fold.py", import.meta.url));

export const duckdb: Peer = {
  name: "duckdb",
  async setUp() {
    const python = await pythonWith(REQUIREMENTS);
    const extension = await findExtension(join(python, "..", ".."));
    return { kind: "ready", run: (bench) => run(bench, [python, FOLD, extension]) };
  },
};

async function run({ data, measure, run, check }: Bench, fold: readonly [string, ...string[]]): Promise<void> {
  await measure({ task: "write all, sorted", command: [...fold, "load", data.base, "0.parquet"] });
  await measure({
    task: "fold 1 % uniform",
    comparisons: ["1 % uniform in a new full state"],
    command: [...fold, "fold", data.changes("uniform-1"), "0.parquet", "1.parquet"],
  });
  await measure({
    task: "fold 1 % range",
    comparisons: ["1 % range in a new full state"],
    command: [...fold, "fold", data.changes("range-1"), "1.parquet", "2.parquet"],
  });
  check("the last object", parseContent(await run(...fold, "content", "2.parquet")), await data.content("uniform-1", "range-1"));
}

/** The package brings a library for this platform somewhere below it. */
async function findExtension(environment: string): Promise<string> {
  const files = await readdir(environment, { recursive: true });
  const found = files.find((name) => name.endsWith("httpfs.duckdb_extension"));
  if (found === undefined) throw new Error("duckdb-ext-httpfs brings no extension for this platform");
  return join(environment, found);
}
