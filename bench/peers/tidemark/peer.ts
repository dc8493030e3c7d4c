// Tidemark: append, capture, recover and get, each a process of its own that runs one bundled file, as a function's
// invocation does.

import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { FOR_LAMBDA } from "../../../functions/bundle.ts";
import { SNAPSHOT_ENVIRONMENT } from "../../../infra/runtime.ts";
import { openSnapshot } from "../../../lib/snapshot/read.ts";
import type { Comparison } from "../comparisons.ts";
import { type ChangeSet, contentOf, type KeyValue, linesOf, recordsOf } from "../data.ts";
import type { Bench, Peer } from "../peer.ts";

const ENVIRONMENT = Object.entries(SNAPSHOT_ENVIRONMENT).map(([name, value]) => `${name}=${value}`);
const WORKER = fileURLToPath(new URL("./worker.ts", import.meta.url));

export const tidemark: Peer = {
  name: "tidemark",
  async setUp() {
    return { kind: "ready", run };
  },
};

interface Step {
  readonly set: ChangeSet;
  readonly name: string;
  readonly appended?: readonly Comparison[];
  readonly captured?: readonly Comparison[];
}

/** Change, then capture. Uniform changes reach every row group, so all of the snapshot is written anew. */
const STEPS: readonly Step[] = [
  {
    set: "uniform-1",
    name: "1 % uniform",
    appended: ["1 % uniform made durable"],
    captured: ["1 % uniform in a new full state", "full rewrite beside its bound"],
  },
  { set: "range-1", name: "1 % range", captured: ["1 % range in a new full state"] },
  { set: "new-1", name: "1 % behind the last key" },
];

/** Recoveries to a file: the worker's action, and the reader of what it wrote. Another format is one row here and one action there. */
const RECOVERIES: readonly { readonly format: string; readonly action: string; readonly read: (file: string) => AsyncIterable<KeyValue> }[] = [
  { format: "NDJSON", action: "recover-ndjson", read: readNdjson },
  { format: "Parquet", action: "recover-parquet", read: readParquet },
];

async function run(bench: Bench): Promise<void> {
  const { folder, bucket, data, measure, check } = bench;
  await build({ ...FOR_LAMBDA, entryPoints: [WORKER], outdir: folder });
  const worker = (...args: readonly string[]) => ["env", ...ENVIRONMENT, process.execPath, join(folder, "worker.cjs"), folder, bucket, ...args] as const;
  await bench.run(...worker("create"));
  await measure({ task: "append all", command: worker("append", data.base) });
  await measure({ task: "capture all", comparisons: ["size of a snapshot"], command: worker("capture") });
  for (const { set, name, appended = [], captured = [] } of STEPS) {
    await measure({ task: `append ${name}`, comparisons: appended, command: worker("append", data.changes(set)) });
    await measure({ task: `capture ${name}`, comparisons: captured, command: worker("capture") });
  }
  const expected = await data.content(...STEPS.map(({ set }) => set));
  for (const { format, action, read } of RECOVERIES) {
    const file = join(folder, action);
    await measure({ task: `recover to ${format}`, comparisons: ["recovery to a verified file"], command: worker(action, file) });
    check(`recovered to ${format}`, await contentOf(read(file)), expected);
  }
  for await (const { key, value } of recordsOf(data.changes("range-1"))) {
    const file = join(folder, "value");
    await measure({ task: "get one key", command: worker("get", key, file) });
    check("value of one key", await contentOf([{ key, value: await readFile(file, "latin1") }]), await contentOf([{ key, value }]));
    break;
  }
}

async function* readParquet(path: string): AsyncGenerator<KeyValue> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const store = {
      head: async () => ({ kind: "found", size, etag: "" }) as const,
      async getRange(_: string, { offset, length }: { readonly offset: number; readonly length: number }) {
        const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, offset);
        return { kind: "found", body: buffer.subarray(0, bytesRead), size } as const;
      },
    };
    const opened = await openSnapshot({ store }, { key: path });
    if (opened.kind === "absent") return;
    for await (const { count, keys, keyEnds, values, valueEnds } of opened.snapshot.rows()) {
      for (let row = 0; row < count; row++) {
        const key = keys.toString("latin1", row === 0 ? 0 : keyEnds[row - 1], keyEnds[row]);
        yield { key, value: values.toString("latin1", row === 0 ? 0 : valueEnds[row - 1], valueEnds[row]) };
      }
    }
  } finally {
    await file.close();
  }
}

const KEY = `{"key":"`;
const VALUE = `","value":`;
const INDEX = `,"index":`;

async function* readNdjson(file: string): AsyncGenerator<KeyValue> {
  for await (const line of linesOf(file)) {
    const middle = line.indexOf(VALUE);
    yield { key: line.slice(KEY.length, middle), value: line.slice(middle + VALUE.length, line.lastIndexOf(INDEX)) };
  }
}
