// The canonical stories, each of one process, and what the shard has been through before them. exhaustive.ts plays each of
// them with every fault at every step, and every two of them against each other.

import { createTable } from "../../lib/jobs/tables.ts";
import { cleanupShard } from "../../lib/jobs/cleanup.ts";
import { seededRandom } from "../../lib/adapters/memory/random.ts";
import type { Batch, Mutation } from "../../lib/model/mutation.ts";
import { LEASE_TTL_MS } from "../../lib/model/limits.ts";
import type { ShardId } from "../../lib/model/names.ts";
import { toIndex } from "../../lib/model/position.ts";
import { POLICY_DEFAULTS } from "../../lib/model/table.ts";
import { capture } from "../../lib/snapshot/capture.ts";
import { expectReason, KEYS, openWriterOf, sendOne, type Troupe } from "./actors.ts";
import { promises as watch } from "./promises.ts";
import { readOnce } from "./readers.ts";
import { calmSettings } from "./settings.ts";
import { type Process, stage as openStage } from "./stage.ts";

/** A shard on a stage, and the batches that nobody was given an answer to. */
export interface Plot {
  readonly troupe: Troupe;
  readonly unanswered: Set<Batch>;
}

export interface Story {
  readonly name: string;
  readonly play: (plot: Plot, process: Process) => Promise<void>;
}

const append: Story = {
  name: "append",
  async play({ troupe, unanswered }, process) {
    const batch = batchOf(process.name, 1, KEYS.slice(2, 5));
    unanswered.add(batch);
    const reply = await sendOne(troupe, openWriterOf(troupe, process), batch);
    if (reply.kind === "appended") unanswered.delete(batch);
  },
};

const captureOnce: Story = { name: "capture", play: (plot, process) => captures(plot, process, 1) };

const captureBySections: Story = { name: "capture by sections", play: (plot, process) => captures(plot, process, 2) };

const clean: Story = {
  name: "cleanup",
  async play({ troupe }, { world }) {
    try {
      await cleanupShard(world, { id: troupe.id, policy: troupe.settings.policy });
    } catch (error) {
      expectReason(troupe, error);
    }
  },
};

const recoverHead: Story = { name: "recover", play: ({ troupe }, process) => readOnce(troupe, process, {}, false) };

const recoverPinned: Story = {
  name: "recover, pinned",
  play: ({ troupe }, process) => readOnce(troupe, process, { index: troupe.promises.log.tail.next - 2 }, true),
};

export const STORIES: readonly Story[] = [append, captureOnce, captureBySections, clean, recoverHead, recoverPinned];

/** What a shard has been through. */
export interface Past {
  readonly name: string;
  readonly happen: (plot: Plot) => Promise<void>;
}

const young: Past = {
  name: "a log and no snapshot",
  async happen(plot) {
    await appendsAlone(plot, 3);
  },
};

const grown: Past = {
  name: "two generations, and a log behind them",
  async happen(plot) {
    for (let generation = 0; generation < 2; generation++) {
      await appendsAlone(plot, 2);
      await alone(plot, "capture before", (process) => captureOnce.play(plot, process));
    }
    await appendsAlone(plot, 2);
  },
};

const begun: Past = {
  name: "a capture that was killed between its parts",
  async happen(plot) {
    await grown.happen(plot);
    const { stage } = plot.troupe;
    const process = stage.process("killed");
    const work = captureOnce.play(plot, process);
    let parts = 0;
    await stage.until(process, ({ method }) => method === "uploadPart" && ++parts === 2);
    stage.kill(process);
    work.catch(() => undefined);
    stage.nowMs += LEASE_TTL_MS + 1;
  },
};

export const PASTS: readonly Past[] = [young, grown, begun];

/** The shard goes on while somebody is stopped: what was the tail is captured twice, and cleaned. */
export async function timePasses(plot: Plot): Promise<void> {
  plot.troupe.stage.nowMs += LEASE_TTL_MS + 1;
  await grown.happen(plot);
  await alone(plot, "cleanup before", (process) => clean.play(plot, process));
}

export async function openPlot(past: Past): Promise<Plot> {
  const id: ShardId = { table: "t", shard: 0 };
  const settings = calmSettings({ ...POLICY_DEFAULTS, keepSnapshots: 2, compactionOverhead: 0, keepForMs: 0 });
  const random = seededRandom(1);
  const stage = openStage({ random, onEffect: (effect) => promises.observe(effect) });
  const promises = watch({ id, policy: settings.policy, stage: () => stage });
  const troupe: Troupe = { id, stage, promises, settings, random, count: () => undefined, writers: [], messages: [], finals: [] };
  const plot: Plot = { troupe, unanswered: new Set() };
  await alone(plot, "builder", ({ world }) => createTable(world, { name: id.table, ...settings.policy }));
  await past.happen(plot);
  return plot;
}

async function captures({ troupe }: Plot, { world }: Process, sections: number): Promise<void> {
  try {
    await capture(world, { id: troupe.id, codec: "json", sizes: troupe.settings.sizes[0], sections });
  } catch (error) {
    expectReason(troupe, error);
  }
}

/** Each by a writer of its own, over all keys in turn. */
async function appendsAlone(plot: Plot, batches: number): Promise<void> {
  const { troupe } = plot;
  for (let each = 0; each < batches; each++) {
    const at = troupe.promises.log.files.length;
    const batch = batchOf(`before${at}`, 1, [KEYS[at % KEYS.length], KEYS[(at * 2 + 1) % KEYS.length]]);
    await alone(plot, "writer before", async (process) => {
      await sendOne(troupe, openWriterOf(troupe, process), batch);
    });
  }
}

async function alone(plot: Plot, name: string, work: (process: Process) => Promise<unknown>): Promise<void> {
  const { stage } = plot.troupe;
  const process = stage.process(name);
  await stage.finish(process, work(process));
  stage.kill(process);
}

function batchOf(producer: string, sequence: number, keys: readonly string[]): Batch {
  const mutations = keys.map(
    (key, place): Mutation => ({ kind: "put", key: Buffer.from(key), value: Buffer.from(`{"by":"${producer}","${place}":${sequence}}`) }),
  );
  return { mutations, mark: { producer, sequence: BigInt(sequence), since: toIndex(1) } };
}
