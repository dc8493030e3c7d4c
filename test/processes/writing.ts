// A writer of a test: appends its batches, and keeps in its ledger what it sent and what was acknowledged.

import { setTimeout as pause } from "node:timers/promises";
import { openWriter } from "../../lib/jobs/append.ts";
import { isTidemarkError } from "../../lib/model/errors.ts";
import type { World } from "../../lib/ports/world.ts";
import { mutationsOf, producerOf } from "./batches.ts";
import { openLedger, readLedger, sentBatches } from "./ledger.ts";
import { ledgerOf, SHARD } from "./world.ts";

const GROUP_MAX = 3;

export interface WritingRequest {
  readonly root: string;
  readonly name: string;
  /** Number of the last batch. */
  readonly last: number;
  readonly restMs: number;
  readonly isStopped: () => boolean;
}

/**
 * Appends batches, up to GROUP_MAX at a time, and goes on where the ledger ends. Those in doubt when it was killed come
 * first, unchanged, in their order (rule 6). Throws on anything but a fault that asks to be tried again.
 */
export async function appendBatches(world: World, { root, name, last, restMs, isStopped }: WritingRequest): Promise<void> {
  const sent = sentBatches(readLedger(ledgerOf(root, name)));
  const ledger = openLedger(ledgerOf(root, name));
  const writer = openWriter(world, { id: SHARD, codec: "json" });
  const producer = producerOf(name);
  let waiting = sent.filter(({ acknowledged }) => acknowledged === undefined).map(({ sequence }) => sequence);
  let next = Math.max(0, ...sent.map(({ sequence }) => sequence)) + 1;
  while (waiting.length > 0 || (!isStopped() && next <= last)) {
    for (let size = 1 + (next % GROUP_MAX); waiting.length < size && !isStopped() && next <= last; next++) {
      waiting.push(next);
      ledger.add("sending", next);
    }
    const answers = await Promise.all(waiting.map(append));
    waiting = waiting.filter((_, place) => answers[place] === "in-doubt");
    if (restMs > 0) await pause(restMs);
  }
  await writer.close();
  ledger.close();

  async function append(sequence: number): Promise<"acknowledged" | "in-doubt"> {
    const mutations = mutationsOf(name, sequence).map(({ kind, key, value }) => ({ kind, key: Buffer.from(key), value: Buffer.from(value) }));
    try {
      const outcome = await writer.append({ mutations, ...(producer !== undefined && { mark: { producer, sequence: BigInt(sequence) } }) });
      if (outcome.kind !== "appended") throw new Error(`batch ${sequence} of ${name} was ${outcome.kind}`);
      ledger.add("acknowledged", sequence, outcome.first, outcome.last);
      return "acknowledged";
    } catch (error) {
      if (!isTidemarkError(error) || error.kind !== "retry") throw error;
      ledger.add("failed", error.code);
      return "in-doubt";
    }
  }
}
