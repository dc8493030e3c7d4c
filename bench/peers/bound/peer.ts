// No peer but bounds, measured in the same run: zstd over the same bytes, and the bytes themselves.

import { fileURLToPath } from "node:url";
import type { Bench, Peer } from "../peer.ts";

const WORKER = fileURLToPath(new URL("./worker.ts", import.meta.url));

export const bound: Peer = {
  name: "bound",
  async setUp() {
    return { kind: "ready", run };
  },
};

async function run({ data, measure, note }: Bench): Promise<void> {
  await measure({
    task: "zstd level 1: decompress and compress all",
    comparisons: ["full rewrite beside its bound", "size of a snapshot"],
    command: [process.execPath, WORKER, data.base],
  });
  note({ task: "the bytes of the 1 % uniform", comparisons: ["1 % uniform made durable"], up: await data.logicalBytes("uniform-1") });
}
