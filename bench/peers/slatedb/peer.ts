// SlateDB: a log and sorted tables, written by its Rust library; once as it is by default, once with zstd.

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { contentOf, type KeyValue, linesOf } from "../data.ts";
import type { Bench, Peer } from "../peer.ts";
import { cargoBuild, has } from "../tools.ts";

const CRATE = fileURLToPath(new URL(".", import.meta.url));
const CODECS = [
  { codec: "", database: "plain", env: {} },
  { codec: ", zstd", database: "zstd", env: { ZSTD: "1" } },
];

export const slatedb: Peer = {
  name: "slatedb",
  async setUp() {
    if (!(await has("cargo", "--version"))) return { kind: "lacking", what: "it is built with Cargo: install Rust (https://rustup.rs)" };
    const program = await cargoBuild(CRATE, "slatedb-peer");
    return { kind: "ready", run: (bench) => run(bench, program) };
  },
};

async function run({ folder, data, measure, check }: Bench, program: string): Promise<void> {
  const expected = await data.content("uniform-1", "range-1");
  for (const { codec, database, env } of CODECS) {
    await measure({ task: `load all${codec}`, command: [program, "load", database, data.base], env });
    await measure({
      task: `1 % uniform made durable${codec}`,
      comparisons: ["1 % uniform made durable"],
      command: [program, "put", database, data.changes("uniform-1")],
      env,
    });
    await measure({ task: `1 % range made durable${codec}`, command: [program, "put", database, data.changes("range-1")], env });
    const file = join(folder, database);
    await measure({ task: `scan to a file${codec}`, comparisons: ["recovery to a verified file"], command: [program, "scan", database, file], env });
    check(`scanned${codec}`, await contentOf(readLines(file)), expected);
  }
}

async function* readLines(file: string): AsyncGenerator<KeyValue> {
  for await (const line of linesOf(file)) {
    const middle = line.indexOf("\t");
    yield { key: line.slice(0, middle), value: line.slice(middle + 1) };
  }
}
