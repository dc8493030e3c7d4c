// One of the processes. Started with its role, the root, its name and, for a writer, how many batches it appends and how
// long it rests between them. It goes on where its ledger ends; told to stop, it finishes what it is at.

import { isTidemarkError } from "../../lib/model/errors.ts";
import type { TelemetryEvent } from "../../lib/ports/telemetry.ts";
import { snapshotShard } from "../../lib/jobs/snapshot.ts";
import { openLedger } from "./ledger.ts";
import { ledgerOf, openWorld, PART_BYTES, SHARD } from "./world.ts";
import { appendBatches } from "./writing.ts";

const REJECTED_PAUSE_MS = 5_000;

const [role, root, name, batches, pauseMs] = process.argv.slice(2);
let isStopped = false;
process.on("message", () => {
  isStopped = true;
});

if (role === "writer") await write(name, Number(batches), Number(pauseMs));
else await captureAndClean();
process.disconnect?.();

async function write(writerName: string, last: number, restMs: number): Promise<void> {
  const world = await openWorld(root);
  process.send?.("ready");
  await appendBatches(world, { root, name: writerName, last, restMs, isStopped: () => isStopped }).catch(fail);
  await world.close();
}

/** Captures and cleans without a pause, but while another's lease runs. */
async function captureAndClean(): Promise<void> {
  const ledger = openLedger(ledgerOf(root, name));
  const report = (event: TelemetryEvent): void => {
    if (event.kind !== "job-stage") return;
    ledger.add("stage", event.stage);
    process.send?.(event.stage);
  };
  const world = await openWorld(root, { telemetry: { report }, onCommit: (key) => ledger.add("committed", key) });
  process.send?.("ready");
  while (!isStopped) {
    try {
      const { outcome } = await snapshotShard(world, { id: SHARD, sizes: { partBytes: PART_BYTES, partBytesMin: PART_BYTES } });
      ledger.add("outcome", outcome.kind);
      if (outcome.kind === "rejected") await world.clock.sleep(REJECTED_PAUSE_MS);
    } catch (error) {
      if (!isTidemarkError(error) || error.kind !== "retry") fail(error);
      ledger.add("failed", error.code);
    }
  }
  await world.close();
  ledger.close();
}

/** Anything but a fault that asks to be tried again ends the process, and with it the test. */
function fail(error: unknown): never {
  console.error(error);
  process.exit(1);
}
