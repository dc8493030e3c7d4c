// delta-rs: the state as a Delta table, changes by MERGE.

import { fileURLToPath } from "node:url";
import { parseContent } from "../data.ts";
import type { Bench, Peer } from "../peer.ts";
import { pythonWith } from "../tools.ts";

const REQUIREMENTS = fileURLToPath(new URL("./requirements.txt", import.meta.url));
const MERGE = fileURLToPath(new URL("./merge.py", import.meta.url));

export const deltaRs: Peer = {
  name: "delta-rs",
  async setUp() {
    const python = await pythonWith(REQUIREMENTS);
    return { kind: "ready", run: (bench) => run(bench, [python, MERGE]) };
  },
};

async function run({ data, measure, run, check }: Bench, merge: readonly [string, ...string[]]): Promise<void> {
  await measure({ task: "write all", command: [...merge, "load", data.base] });
  await measure({
    task: "MERGE 1 % uniform",
    comparisons: ["1 % uniform in a new full state"],
    command: [...merge, "merge", data.changes("uniform-1")],
  });
  await measure({ task: "MERGE 1 % range", comparisons: ["1 % range in a new full state"], command: [...merge, "merge", data.changes("range-1")] });
  check("the table", parseContent(await run(...merge, "content")), await data.content("uniform-1", "range-1"));
}
