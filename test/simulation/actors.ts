// Who acts on the stage: clients that send batches through writers, captures, cleaners, readers. Each waits for its turn,
// does one job of the real core, and judges its outcome. Faults that the schedule injected are taken as the core promises
// they can be: `retry` may be tried again, everything else must have its reason.

import { isTidemarkError, type TidemarkError } from "../../lib/model/errors.ts";
import type { Batch, Mutation } from "../../lib/model/mutation.ts";
import type { ShardId } from "../../lib/model/names.ts";
import { type Epoch, toIndex } from "../../lib/model/position.ts";
import type { Rows } from "../../lib/model/rows.ts";
import type { CheckpointStore } from "../../lib/ports/checkpoint-store.ts";
import type { Random } from "../../lib/ports/random.ts";
import type { World } from "../../lib/ports/world.ts";
import { openWriter } from "../../lib/jobs/append.ts";
import { cleanupShard } from "../../lib/jobs/cleanup.ts";
import { snapshotShard } from "../../lib/jobs/snapshot.ts";
import { recover, type ShardView } from "../../lib/recovery/recover.ts";
import type { BatchOutcome, Writer } from "../../lib/redo-log/writer.ts";
import { capture, spreadCapture } from "../../lib/snapshot/capture.ts";
import { captureSection } from "../../lib/snapshot/capture-section.ts";
import type { CaptureRequest } from "../../lib/snapshot/outcome.ts";
import { broken, type Promises } from "./promises.ts";
import type { Settings } from "./settings.ts";
import type { Process, Stage } from "./stage.ts";
import { difference, rowDifference } from "./truth.ts";

export interface Troupe {
  readonly id: ShardId;
  readonly stage: Stage;
  readonly promises: Promises;
  readonly settings: Settings;
  readonly random: Random;
  /** Adds one to a count of what was met. */
  readonly count: (what: string) => void;
  readonly writers: { readonly process: Process; readonly writer: Writer }[];
  /** Sections that were asked for. */
  readonly messages: { readonly epoch: Epoch; readonly section: number }[];
  /** Answers to times that were said to be final. */
  readonly finals: { readonly timeMs: number; readonly index: number }[];
}

const KEYS = 9;

export function openWriterOf({ id, settings }: Troupe, process: Process): Writer {
  return openWriter(process.world, { id, codec: "json", lingerMs: settings.lingerMs });
}

/** A client's batches, in their order, until each is answered. */
export interface Client {
  readonly unanswered: () => readonly Batch[];
  readonly play: () => Promise<void>;
}

/**
 * A producer has at most one batch in doubt: it repeats it, unchanged, through any writer, until it is answered (rule 6).
 * It may send several at once through one writer. Without a name it sends unmarked batches, and may let a doubtful one go.
 */
export function client(troupe: Troupe, process: Process, producer: string | undefined): Client {
  const { stage, settings } = troupe;
  const sent: Batch[] = [];
  let open: Batch[] = [];
  return {
    unanswered: () => open,
    async play() {
      while (sent.length < settings.batchesMax || open.length > 0) {
        await stage.turn(process, "send");
        const writers = troupe.writers;
        if (writers.length === 0) continue;
        const through = writers[Math.floor(troupe.random.fraction() * writers.length)];
        for (let more = open.length === 0 ? whole(troupe.random, 1, 2) : 0; more > 0; more--) {
          const batch = drawBatch(troupe.random, producer, sent.length + 1);
          sent.push(batch);
          open.push(batch);
        }
        await sendOpen(through);
      }
    },
  };

  /** All in their order; each at a turn of its own, while those before may still be under way. */
  async function sendOpen({ process: writing, writer }: Troupe["writers"][number]): Promise<void> {
    const sending: Promise<{ readonly batch: Batch; readonly reply: Reply | "died" }>[] = [];
    for (const batch of open) {
      if (sending.length > 0 && troupe.random.fraction() < 0.5) await stage.turn(process, "send more");
      sending.push(Promise.race([writing.died, sendOne(troupe, writer, batch)]).then((reply) => ({ batch, reply })));
    }
    const replies = await Promise.all(sending);
    open = replies.filter(({ reply }) => reply === "died" || reply.kind === "unanswered").map(({ batch }) => batch);
    if (producer === undefined && troupe.random.fraction() < 0.5) open = [];
    // This writer has an earlier batch in doubt, which another one may have taken since: to repeat it does no harm.
    for (const { reply } of replies) {
      const doubtful =
        reply !== "died" && reply.kind === "unanswered" ? sent.find(({ mark }) => mark !== undefined && mark.sequence === reply.doubtful) : undefined;
      if (doubtful !== undefined && !open.includes(doubtful)) open.unshift(doubtful);
    }
  }
}

type Reply = BatchOutcome | { readonly kind: "unanswered"; readonly doubtful?: bigint };

export async function sendOne({ promises, count }: Pick<Troupe, "promises" | "count">, writer: Writer, batch: Batch): Promise<Reply> {
  try {
    const outcome = await writer.append(batch);
    if (outcome.kind !== "appended") return broken("I1", `a batch was answered ${outcome.kind}, though the shard lives on`);
    promises.acknowledged(batch, outcome);
    count("acknowledged");
    return outcome;
  } catch (error) {
    expectRetry(error, count);
    const doubtful = /^batch (\d+) of producer/.exec((error as Error).message)?.[1];
    return { kind: "unanswered", ...(doubtful !== undefined && { doubtful: BigInt(doubtful) }) };
  }
}

export async function captures(troupe: Troupe, process: Process): Promise<void> {
  const { stage, settings, id, count, random } = troupe;
  const { foldBytesMax, logBytesMax, sections } = settings;
  const limits = { sizes: settings.sizes[whole(random, 0, settings.sizes.length - 1)], foldBytesMax, logBytesMax, sections };
  for (;;) {
    await stage.turn(process, "capture");
    try {
      if (sections > 1 && random.fraction() < 0.6) await captureByMessages(troupe, process, limits);
      else if (random.fraction() < 0.5) {
        const { outcome } = await snapshotShard(process.world, { id, ...limits });
        count(`captures ${outcome.kind}`);
      } else {
        const outcome = await capture(process.world, { id, codec: "json", ...limits });
        count(`captures ${outcome.kind}`);
      }
    } catch (error) {
      expectRetry(error, count);
    }
  }
}

/** As functions do it: the sections are asked for by messages, which may come in any order, late or twice, and to others meanwhile. */
async function captureByMessages(
  { stage, id, count, random, messages }: Troupe,
  process: Process,
  limits: Omit<CaptureRequest, "id" | "codec">,
): Promise<void> {
  // Mostly of those that were sent last: the others ask for sections of captures that ended.
  const newest = messages.filter(({ epoch }) => epoch === messages.at(-1)?.epoch);
  const drawn = random.fraction() < 0.7 ? newest : messages;
  const message = random.fraction() < 0.8 ? drawn[Math.floor(random.fraction() * drawn.length)] : undefined;
  if (message === undefined) {
    const outcome = await spreadCapture(process.world, { id, codec: "json", ...limits });
    count(`captures ${outcome.kind}`);
    if (outcome.kind === "spread") messages.push(...outcome.sections.map((section) => ({ epoch: outcome.epoch, section })));
    return;
  }
  await stage.turn(process, `section ${message.section}`);
  const outcome = await captureSection(process.world, { id, codec: "json", ...limits, ...message });
  count(`sections ${outcome.kind}`);
}

export async function cleaner({ stage, settings, id, count }: Troupe, process: Process): Promise<void> {
  for (;;) {
    await stage.turn(process, "clean");
    try {
      const report = await cleanupShard(process.world, { id, policy: settings.policy });
      if (report.unparseable.length > 0) broken("I7", `names were not understood: ${report.unparseable}`);
      count(`cleanups ${report.kind}`);
    } catch (error) {
      expectRetry(error, count);
    }
  }
}

/** What a reader asks for. */
interface Wanted {
  readonly index?: number;
  readonly timeMs?: number;
}

export async function reader(troupe: Troupe, process: Process): Promise<void> {
  const { stage, promises, random } = troupe;
  for (;;) {
    await stage.turn(process, "read");
    const tail = promises.log.tail.next - 1;
    const chance = random.fraction();
    const wanted: Wanted =
      chance < 0.5 ? {} : chance < 0.8 ? { index: whole(random, Math.max(0, tail - 6), tail + 1) } : { timeMs: stage.nowMs - whole(random, 0, 500) };
    await readOnce(troupe, process, wanted, random.fraction() < 0.4);
  }
}

/** Recovers and compares with what the log says; every error must have its reason. */
export async function readOnce(troupe: Pick<Troupe, "id" | "promises" | "count" | "finals">, process: Process, wanted: Wanted, pinned: boolean): Promise<void> {
  const { id, promises, count, finals } = troupe;
  const before = { acknowledged: promises.acknowledgedLast, generations: new Set([...promises.rows.values()].map(({ key }) => key)) };
  const at = { ...(wanted.index !== undefined && { index: toIndex(wanted.index) }), ...(wanted.timeMs !== undefined && { timeMs: wanted.timeMs }) };
  try {
    const { world, attempts } = countingAttempts(process);
    const view = await recover(world, { id, codec: "json", at, pinned });
    if (attempts() > 1) count("readers starting over");
    checkReached(promises, wanted, view, before.acknowledged);
    if (wanted.timeMs !== undefined && view.final) finals.push({ timeMs: wanted.timeMs, index: view.index });
    const rows: Rows[] = [];
    for await (const page of view.rows()) rows.push(page);
    const state = promises.log.stateAt({ index: view.index });
    const wrong = difference(rows, state);
    if (wrong !== undefined) broken("I5", `the state recovered at ${view.index} differs from the replay: ${wrong}`);
    await checkOne(view, state.rows, `k${view.index % KEYS}`);
    await view.close();
    count("recoveries");
  } catch (error) {
    checkRefusal(troupe, wanted, before, error);
  }
}

/** A recovery reads the history once an attempt. */
function countingAttempts({ world }: Process): { readonly world: World; readonly attempts: () => number } {
  let attempts = 0;
  const query: CheckpointStore["query"] = (request) => {
    attempts += 1;
    return world.checkpoints.query(request);
  };
  return { world: { ...world, checkpoints: { ...world.checkpoints, query } }, attempts: () => attempts };
}

async function checkOne(
  view: ShardView,
  rows: ReadonlyMap<string, { readonly value: string; readonly index: number; readonly timeMs: number }>,
  key: string,
): Promise<void> {
  const entry = await view.get(Buffer.from(key));
  const expected = rows.get(key);
  if (entry === undefined && expected === undefined) return;
  const wrong = entry === undefined ? "it is absent" : rowDifference(expected && [key, expected], [key, { ...entry, value: entry.value.toString() }]);
  if (wrong !== undefined) broken("I5", `the record of ${key} at ${view.index}: ${wrong}`);
}

function checkReached({ log }: Promises, wanted: Wanted, view: ShardView, acknowledgedBefore: number): void {
  const state = log.stateAt({ index: view.index });
  if (state.index !== view.index || state.timeMs !== view.timeMs) broken("I5", `${view.index} was recovered, which is no batch's end`);
  const must = log.stateAt({ ...wanted, index: Math.min(wanted.index ?? Number.POSITIVE_INFINITY, acknowledgedBefore) }).index;
  if (view.index < must) broken("I1", `${view.index} was recovered, but ${must} had been acknowledged before`);
  const may = log.stateAt(wanted).index;
  if (view.index > may) broken("I5", `${view.index} was recovered, which lies behind what was asked for`);
  if (wanted.index !== undefined && view.index !== may)
    broken("I5", `${view.index} was recovered, but ${may} is the last batch's end at or before ${wanted.index}`);
}

function checkRefusal(
  { promises, count }: Pick<Troupe, "promises" | "count">,
  wanted: Wanted,
  before: { readonly acknowledged: number; readonly generations: ReadonlySet<string> },
  error: unknown,
): void {
  if (isTidemarkError(error) && error.kind === "repair" && Object.keys(wanted).length > 0 && promises.damaged.size > 0) {
    count("refusals of damaged states");
    return;
  }
  if (!isTidemarkError(error) || error.code !== "out-of-range") {
    expectRetry(error, count);
    return;
  }
  const { index = Number.POSITIVE_INFINITY, timeMs = Number.POSITIVE_INFINITY } = wanted;
  if (/beyond the tail/.test(error.message)) {
    if (index <= before.acknowledged) broken("I1", `${index} was refused as beyond the tail, but ${before.acknowledged} had been acknowledged`);
    count("refusals beyond the tail");
    return;
  }
  const lowWater = promises.control?.lowWater ?? 1;
  const served = [...promises.rows.values()].some(
    (row) => row.state === "kept" && before.generations.has(row.key) && row.index <= index && row.border.timeMs <= timeMs && row.border.next >= lowWater,
  );
  if (served || lowWater === 1) broken("I6", `the state at ${JSON.stringify(wanted)} was refused as no longer kept: ${error.message}`);
  count("refusals below the mark");
}

function expectRetry(error: unknown, count: (what: string) => void): asserts error is TidemarkError {
  if (!isTidemarkError(error)) throw error;
  if (error.kind === "repair") broken("I8", `false or unneeded alarm: ${error.message}`);
  if (error.kind !== "retry") throw error;
  count(`retries for ${error.code}`);
}

function drawBatch(random: Random, producer: string | undefined, sequence: number): Batch {
  const mutations = Array.from({ length: whole(random, 1, 3) }, (): Mutation => {
    const key = Buffer.from(`k${whole(random, 0, KEYS - 1)}`);
    const chance = random.fraction();
    if (chance < 0.15) return { kind: "delete", key };
    if (chance < 0.35) return { kind: "patch", key, value: Buffer.from(`{"${whole(random, 0, 2)}":${random.fraction() < 0.3 ? "null" : sequence}}`) };
    return { kind: "put", key, value: Buffer.from(`{"by":"${producer ?? "stranger"}","0":${sequence}}`) };
  });
  return { mutations, ...(producer !== undefined && { mark: { producer, sequence: BigInt(sequence), since: toIndex(1) } }) };
}

export function whole(random: Random, min: number, max: number): number {
  return min + Math.floor(random.fraction() * (max - min + 1));
}
