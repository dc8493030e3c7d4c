// One of the processes. Started with its role, the root and, for a writer, its name, how many batches it appends and how
// long it rests between them. It goes on where its ledger ends; told to stop, it finishes what it is at.

import { setTimeout as pause } from "node:timers/promises";
import { isTidemarkError } from "../../lib/model/errors.ts";
import type { TelemetryEvent } from "../../lib/ports/telemetry.ts";
import { openWriter } from "../../lib/jobs/append.ts";
import { snapshotShard } from "../../lib/jobs/snapshot.ts";
import { mutationsOf, producerOf } from "./batches.ts";
import { openLedger, readLedger, sentBatches } from "./ledger.ts";
import { ledgerOf, openWorld, PART_BYTES, SHARD } from "./world.ts";

const GROUP_MAX = 3;
const REJECTED_PAUSE_MS = 5_000;

const [role, root, name, batches, pauseMs] = process.argv.slice(2);
let isStopped = false;
process.on("message", () => {
  isStopped = true;
});

if (role === "writer") await write(name, Number(batches), Number(pauseMs));
else await captureAndClean();
process.disconnect?.();

/** Appends batches, up to GROUP_MAX at a time. Those in doubt when it was killed come first, unchanged, in their order (rule 6). */
async function write(writerName: string, last: number, restMs: number): Promise<void> {
  const sent = sentBatches(readLedger(ledgerOf(root, writerName)));
  const ledger = openLedger(ledgerOf(root, writerName));
  const world = await openWorld(root);
  const writer = openWriter(world, { id: SHARD, codec: "json" });
  const producer = producerOf(writerName);
  let waiting = sent.filter(({ acknowledged }) => acknowledged === undefined).map(({ sequence }) => sequence);
  let next = Math.max(0, ...sent.map(({ sequence }) => sequence)) + 1;
  process.send?.("ready");
  while (waiting.length > 0 || (!isStopped && next <= last)) {
    for (let size = 1 + (next % GROUP_MAX); waiting.length < size && !isStopped && next <= last; next++) {
      waiting.push(next);
      ledger.add("sending", next);
    }
    const answers = await Promise.all(waiting.map(append));
    waiting = waiting.filter((_, place) => answers[place] === "in-doubt");
    if (restMs > 0) await pause(restMs);
  }
  await writer.close();
  await world.close();
  ledger.close();

  async function append(sequence: number): Promise<"acknowledged" | "in-doubt"> {
    const mutations = mutationsOf(writerName, sequence).map(({ kind, key, value }) => ({ kind, key: Buffer.from(key), value: Buffer.from(value) }));
    try {
      const outcome = await writer.append({ mutations, ...(producer !== undefined && { mark: { producer, sequence: BigInt(sequence) } }) });
      if (outcome.kind !== "appended") fail(`batch ${sequence} of ${writerName} was ${outcome.kind}`);
      ledger.add("acknowledged", sequence, outcome.first, outcome.last);
      return "acknowledged";
    } catch (error) {
      if (!isTidemarkError(error) || error.kind !== "retry") fail(error);
      ledger.add("failed", error.code);
      return "in-doubt";
    }
  }
}

/** Captures and cleans without a pause, but while another's lease runs. */
async function captureAndClean(): Promise<void> {
  const ledger = openLedger(ledgerOf(root, "capturer"));
  const report = (event: TelemetryEvent): void => {
    if (event.kind !== "job-stage") return;
    ledger.add("stage", event.stage);
    process.send?.(event.stage);
  };
  const world = await openWorld(root, { telemetry: { report }, onCommit: (key) => ledger.add("committed", key) });
  process.send?.("ready");
  while (!isStopped) {
    try {
      const { outcome } = await snapshotShard(world, { id: SHARD, partBytes: PART_BYTES });
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
