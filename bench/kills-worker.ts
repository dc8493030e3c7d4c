// One life of a capture, for bench/kills.ts: `kills-worker.ts FOLDER BUCKET`. A line of JSON for each part that is stored, and one at the end.

import { setTimeout as pause } from "node:timers/promises";
import { join } from "node:path";
import { s3Client } from "../lib/adapters/aws/clients.ts";
import { s3ObjectStore } from "../lib/adapters/aws/object-store.ts";
import { localCheckpointStore } from "../lib/adapters/local/checkpoint-store.ts";
import { systemClock } from "../lib/adapters/local/clock.ts";
import { cryptoRandom } from "../lib/adapters/local/random.ts";
import { capture } from "../lib/snapshot/capture.ts";

/** A life that is killed leaves its lease behind, which must lapse first. */
const LEASE_TTL_MS = 300;

const [folder = "", bucket = ""] = process.argv.slice(2);
const checksums = "none";
const objects = s3ObjectStore(s3Client({ endpoint: process.env.AWS_ENDPOINT_URL, checksums }), { bucket, checksums });
const checkpoints = localCheckpointStore(join(folder, "checkpoints.sqlite"));
const say = (told: object): void => console.log(JSON.stringify(told));
const telemetry = {
  report(event: { readonly kind: string }): void {
    if (event.kind.startsWith("capture-")) say(event);
  },
};
const world = { objects, checkpoints, clock: systemClock(), random: cryptoRandom(), telemetry };

void live();

async function live(): Promise<void> {
  for (;;) {
    const outcome = await capture(world, { id: { table: "bench", shard: 0 }, codec: "json", leaseTtlMs: LEASE_TTL_MS });
    if (outcome.kind !== "rejected") {
      say(outcome);
      process.exit(0);
    }
    await pause(LEASE_TTL_MS / 3);
  }
}
