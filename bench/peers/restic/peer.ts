// restic: backups of a file that holds the state, in chunks cut by content. It reads all of the file each time, and sends new chunks.

import { join } from "node:path";
import { contentOf, recordsOf } from "../data.ts";
import type { Bench, Peer } from "../peer.ts";
import { has } from "../tools.ts";

export const restic: Peer = {
  name: "restic",
  async setUp() {
    if (!(await has("restic", "version"))) return { kind: "lacking", what: "it is taken from the PATH. Debian: apt-get install restic" };
    return { kind: "ready", run };
  },
};

async function run({ folder, data, endpoint, bucket, measure, run, check }: Bench): Promise<void> {
  const options = ["--quiet", "--repo", `s3:${endpoint}/${bucket}/restic`, "--cache-dir", join(folder, "cache"), "--password-command", "echo bench"];
  const state = join(folder, "state.ndjson");
  await run("restic", ...options, "init");
  await data.write(state);
  await measure({ task: "first backup of the state's file", command: ["restic", ...options, "backup", state] });
  await data.write(state, "uniform-1");
  await measure({ task: "backup with 1 % uniform", command: ["restic", ...options, "backup", state] });
  await data.write(state, "uniform-1", "range-1");
  await measure({ task: "backup with 1 % range", command: ["restic", ...options, "backup", state] });
  const target = join(folder, "restored");
  await measure({
    task: "restore the newest",
    comparisons: ["recovery to a verified file"],
    command: ["restic", ...options, "restore", "latest", "--target", target],
  });
  check("restored", await contentOf(recordsOf(join(target, state))), await data.content("uniform-1", "range-1"));
}
