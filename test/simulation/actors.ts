// Who acts on the stage: clients that send batches through writers, captures, cleaners; readers.ts has those who read. Each
// waits for its turn, does one job of the real core, and judges its outcome. Faults that the schedule injected are taken as the core promises
// they can be: `retry` may be tried again, everything else must have its reason.

import { isTidemarkError } from "../../lib/model/errors.ts";
import { checkJson } from "../../lib/model/json.ts";
import type { Batch, Mutation } from "../../lib/model/mutation.ts";
import { type ShardId, STORE_KEY } from "../../lib/model/names.ts";
import { type Epoch, toIndex } from "../../lib/model/position.ts";
import type { Random } from "../../lib/ports/random.ts";
import type { World } from "../../lib/ports/world.ts";
import { openWriter } from "../../lib/jobs/append.ts";
import { cleanupShard } from "../../lib/jobs/cleanup.ts";
import { captureShard, snapshotShard } from "../../lib/jobs/snapshot.ts";
import type { BatchOutcome, Writer } from "../../lib/redo-log/writer.ts";
import { capture, spreadCapture } from "../../lib/snapshot/capture.ts";
import { captureSection, type SectionOutcome } from "../../lib/snapshot/capture-section.ts";
import type { CaptureOutcome, CaptureRequest, Spread } from "../../lib/snapshot/outcome.ts";
import { handsIn, type SeenLives, watchedLives } from "./lives.ts";
import { broken, type Promises } from "./promises.ts";
import type { Settings } from "./settings.ts";
import type { Process, Stage } from "./stage.ts";
import type { TrueLog } from "./truth.ts";
import { carelessBatch, drawValue } from "./values.ts";

export interface Troupe {
  readonly id: ShardId;
  readonly stage: Stage;
  readonly promises: Promises;
  readonly settings: Settings;
  readonly random: Random;
  /** Adds one to a count of what was met. */
  readonly count: (what: string) => void;
  readonly writers: Writing[];
  /** Sections that were asked for. */
  readonly messages: { readonly epoch: Epoch; readonly section: number }[];
  /** Answers to times that were said to be final, of the life with this log. */
  readonly finals: { readonly log: TrueLog; readonly timeMs: number; readonly index: number }[];
}

/** A writer of the core, in a process that lives as long. */
export interface Writing {
  readonly process: Process;
  readonly writer: Writer;
  /** Where the table may be deleted. */
  readonly seen?: SeenLives;
}

/** Some order otherwise by code units than by bytes, and one is the beginning of others. */
export const KEYS = ["k", "k0", "k1", "k2", "k3", "k\u{7f}", "k\u{80}", "k\u{ffee}", "k\u{1f30a}"];

export function openWriterOf({ id, settings, promises }: Troupe, process: Process): Writing {
  const { world, seen } = watchedLives(process.world, id, () => promises.log);
  const isWatched = settings.deletes;
  const writer = openWriter(isWatched ? world : process.world, { id, codec: settings.codec, lingerMs: settings.lingerMs });
  return { process, writer, ...(isWatched && { seen }) };
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
        // Who is kept waiting goes elsewhere, mostly: else one writer that stalls would soon hold everybody.
        const moving = troupe.writers.filter(({ process: { pending } }) => pending.every(({ heldWhile }) => heldWhile === undefined));
        const writers = moving.length > 0 && troupe.random.fraction() < 0.9 ? moving : troupe.writers;
        if (writers.length === 0) continue;
        const through = writers[Math.floor(troupe.random.fraction() * writers.length)];
        for (let more = open.length === 0 ? whole(troupe.random, 1, 2) : 0; more > 0; more--) {
          const batch = drawBatch(troupe.random, settings, producer, sent.length + 1);
          sent.push(batch);
          open.push(batch);
        }
        if (troupe.random.fraction() < CARELESS) await sendCarelessly(troupe, through.writer);
        if (await sendOpen(through)) openAgain(through);
      }
    },
  };

  /** The life that a writer was opened for has ended: an application opens the table again. */
  function openAgain(ended: Writing): void {
    const place = troupe.writers.indexOf(ended);
    if (place >= 0) troupe.writers[place] = openWriterOf(troupe, ended.process);
  }

  /** All in their order; each at a turn of its own, while those before may still be under way. True where the life that they were for has ended. */
  async function sendOpen(writing: Writing): Promise<boolean> {
    const sending: Promise<{ readonly batch: Batch; readonly reply: Reply | "died" }>[] = [];
    let refused = false;
    for (const batch of open) {
      if (sending.length > 0 && troupe.random.fraction() < 0.5) await stage.turn(process, "send more");
      // None is handed in behind one that is known to be refused.
      if (refused) break;
      const replied = Promise.race([writing.process.died, sendOne(troupe, writing, batch)]).then((reply) => {
        refused ||= reply !== "died" && reply.kind === "refused";
        return { batch, reply };
      });
      // A broken promise is told behind the last one's turn.
      replied.catch(() => undefined);
      sending.push(replied);
    }
    const replies = await Promise.all(sending);
    const answered = new Set(replies.filter(({ reply }) => reply !== "died" && reply.kind === "appended").map(({ batch }) => batch));
    open = open.filter((batch) => !answered.has(batch));
    if (producer === undefined && troupe.random.fraction() < 0.5) open = [];
    // This writer has an earlier batch in doubt, which another one may have taken since: to repeat it does no harm.
    for (const { reply } of replies) {
      const doubtful =
        reply !== "died" && reply.kind === "unanswered" ? sent.find(({ mark }) => mark !== undefined && mark.sequence === reply.doubtful) : undefined;
      if (doubtful !== undefined && !open.includes(doubtful)) open.unshift(doubtful);
    }
    return replies.some(({ reply }) => reply !== "died" && reply.kind === "sealed");
  }
}

/** Share of the times at which a client sends something that it may not, first. */
const CARELESS = 0.03;

type Reply = BatchOutcome | { readonly kind: "refused" } | { readonly kind: "unanswered"; readonly doubtful?: bigint };

export async function sendOne({ promises, count }: Pick<Troupe, "promises" | "count">, { writer, seen }: Writing, batch: Batch): Promise<Reply> {
  if (seen !== undefined) handsIn(seen, batch);
  try {
    const outcome = await writer.append(batch);
    if (outcome.kind === "sealed" && promises.met["lives ended"] > 0) {
      count("sealed");
      return outcome;
    }
    if (outcome.kind !== "appended") return broken("I1", `a batch was answered ${outcome.kind}, though the shard lives on`);
    promises.acknowledged(batch, outcome, seen);
    count("acknowledged");
    return outcome;
  } catch (error) {
    expectReason({ promises, count }, error);
    if (isTidemarkError(error) && error.kind === "call") return { kind: "refused" };
    const doubtful = /^batch (\d+) of producer/.exec((error as Error).message)?.[1];
    return { kind: "unanswered", ...(doubtful !== undefined && { doubtful: BigInt(doubtful) }) };
  }
}

export async function captures(troupe: Troupe, process: Process): Promise<void> {
  const { stage, settings, id, random } = troupe;
  const { foldBytesMax, logBytesMax, timeMs, sections } = settings;
  for (;;) {
    await stage.turn(process, "capture");
    // Each job may be another version's, which cuts otherwise than the one whose capture it finds.
    const limits = { sizes: settings.sizes[whole(random, 0, settings.sizes.length - 1)], foldBytesMax, logBytesMax, timeMs, sections };
    try {
      if (sections > 1 && random.fraction() < 0.6) await captureByMessages(troupe, process, limits);
      else if (random.fraction() < 0.1) {
        const stopping = stoppingAfter(process.world, whole(random, 1, 40));
        captured(troupe, "stopped captures", (await snapshotShard(stopping.world, { id, ...limits, signal: stopping.signal })).outcome);
      } else if (random.fraction() < 0.5) {
        captured(troupe, "captures", (await snapshotShard(process.world, { id, ...limits })).outcome);
      } else {
        captured(troupe, "captures", await capture(process.world, { id, codec: settings.codec, ...limits }));
      }
    } catch (error) {
      expectReason(troupe, error);
    }
  }
}

/** As a function whose time is up: behind so many calls of the object store its work is told to stop. */
function stoppingAfter(world: World, calls: number): { readonly world: World; readonly signal: AbortSignal } {
  const controller = new AbortController();
  let left = calls;
  const counted = <Args extends readonly unknown[], Answer>(call: (...args: Args) => Answer) => {
    return (...args: Args): Answer => {
      left -= 1;
      if (left === 0) controller.abort();
      return call(...args);
    };
  };
  const { objects } = world;
  const { get, getRange, head, createUpload, uploadPart, copyPart, completeUpload } = objects;
  const stopping = { get: counted(get), getRange: counted(getRange), head: counted(head), createUpload: counted(createUpload) };
  const sending = { uploadPart: counted(uploadPart), copyPart: counted(copyPart), completeUpload: counted(completeUpload) };
  return { world: { ...world, objects: { ...objects, ...stopping, ...sending } }, signal: controller.signal };
}

/** As functions do it: the sections are asked for by messages, which may come in any order, late or twice, and to others meanwhile. */
async function captureByMessages(troupe: Troupe, process: Process, limits: Omit<CaptureRequest, "id" | "codec">): Promise<void> {
  const { stage, id, random, messages, settings } = troupe;
  // Mostly of those that were sent last: the others ask for sections of captures that ended.
  const newest = messages.filter(({ epoch }) => epoch === messages.at(-1)?.epoch);
  const drawn = random.fraction() < 0.7 ? newest : messages;
  const message = random.fraction() < 0.8 ? drawn[Math.floor(random.fraction() * drawn.length)] : undefined;
  if (message === undefined) {
    const request = { id, codec: settings.codec, ...limits };
    const outcome =
      random.fraction() < 0.5 ? await spreadCapture(process.world, request) : (await captureShard(process.world, { ...request, spread: true })).outcome;
    captured(troupe, "captures", outcome);
    if (outcome.kind === "spread") messages.push(...outcome.sections.map((section) => ({ epoch: outcome.epoch, section })));
    return;
  }
  await stage.turn(process, `section ${message.section}`);
  if (random.fraction() < 0.3) {
    const { epoch, section: number } = message;
    const { world, signal } = random.fraction() < 0.5 ? stoppingAfter(process.world, whole(random, 1, 20)) : { world: process.world };
    const { outcome, next } = await captureShard(world, { id, ...limits, section: { epoch, number }, ...(signal && { signal }) });
    if (outcome.kind !== "spread") captured(troupe, "sections", outcome);
    if (next === "capture" && outcome.kind === "sectionDone") broken("I9", "a section that is done is to be made again");
    return;
  }
  captured(troupe, "sections", await captureSection(process.world, { id, codec: settings.codec, ...limits, ...message }));
}

/** A snapshot comes out as it was made, unless what it was made of, or what was read back, was damaged. */
function captured({ count, promises }: Troupe, what: string, outcome: CaptureOutcome | SectionOutcome | Spread): void {
  count(`${what} ${outcome.kind}`);
  if (outcome.kind !== "aborted") return;
  const [, key] = /^(\S+) is damaged/.exec(outcome.reason) ?? [];
  if (key !== undefined && !promises.damage.mayBeNamed(key) && !promises.damage.mayBeCarried)
    broken("I9", `a snapshot did not come out right: ${outcome.reason}`);
}

export async function cleaner(troupe: Troupe, process: Process): Promise<void> {
  const { stage, settings, id, count } = troupe;
  for (;;) {
    await stage.turn(process, "clean");
    try {
      const report = await cleanupShard(process.world, { id, policy: settings.policy });
      if (report.unparseable.length > 0) broken("I7", `names were not understood: ${report.unparseable}`);
      count(`cleanups ${report.kind}`);
    } catch (error) {
      expectReason(troupe, error);
    }
  }
}

/** Every error must have its reason in a fault that was injected. */
export function expectReason({ promises, count }: Pick<Troupe, "promises" | "count">, error: unknown): void {
  if (!isTidemarkError(error)) throw error;
  if (error.kind === "repair") {
    if (!promises.damage.mayBeNamed(error.object ?? "")) broken("I8", `false or unneeded alarm: ${error.message}`);
    count("alarms");
    return;
  }
  if (error.code === "unknown-table" && promises.met.deletions > 0) {
    count("refusals of a table that is deleted");
    return;
  }
  // What tells the store's id was damaged on its way.
  if ((error.code === "foreign-store" || error.code === "newer-format") && promises.damage.mayBeNamed(STORE_KEY)) {
    count("stores taken for another");
    return;
  }
  if (error.kind !== "retry" && error.code !== "no-space") throw error;
  count(error.kind === "retry" ? `retries for ${error.code}` : "refusals for room");
}

export function drawBatch(
  random: Random,
  { moreKeys, mutationsMax, codec }: Pick<Settings, "moreKeys" | "mutationsMax" | "codec">,
  producer: string | undefined,
  sequence: number,
): Batch {
  const mark = producer !== undefined && { mark: { producer, sequence: BigInt(sequence), since: toIndex(1) } };
  if (random.fraction() < PURGES) return { mutations: purge(random, moreKeys), ...mark };
  const mutations = Array.from({ length: whole(random, 1, mutationsMax) }, (): Mutation => {
    const place = whole(random, 0, KEYS.length + moreKeys - 1);
    const key = Buffer.from(KEYS[place] ?? `another-key-${place}`);
    const chance = random.fraction();
    if (chance < 0.15) return { kind: "delete", key };
    if (chance < 0.18) return { kind: codec === "json" && chance < 0.16 ? "patch" : "put", key, value: drawValue(random, codec, sequence) };
    if (chance < 0.35 && codec === "json")
      return { kind: "patch", key, value: Buffer.from(`{"${whole(random, 0, 2)}":${random.fraction() < 0.3 ? "null" : sequence}}`) };
    return { kind: "put", key, value: Buffer.from(`{"by":"${producer ?? "stranger"}","0":${sequence}}`) };
  });
  return { mutations, ...mark };
}

/** Share of the batches that delete many keys side by side: then a part of a snapshot, or most of it, is gone. */
const PURGES = 0.02;

function purge(random: Random, moreKeys: number): readonly Mutation[] {
  const keys = [...KEYS, ...Array.from({ length: moreKeys }, (_, place) => `another-key-${place + KEYS.length}`)].sort();
  const from = whole(random, 0, keys.length - 2);
  return keys.slice(from, from + whole(random, 2, keys.length)).map((key) => ({ kind: "delete", key: Buffer.from(key) }));
}

/** What may not be sent is refused before anything of it is: nothing of the stores is asked. Values pass the door that NDJSON has. */
async function sendCarelessly({ random, settings, count }: Troupe, writer: Writer): Promise<void> {
  const { mutations, producer, sequence = 0n } = carelessBatch(random, settings.codec);
  try {
    if (settings.codec === "json") for (const mutation of mutations) if (mutation.kind !== "delete") checkJson(mutation.value, "the value");
    const outcome = await writer.append({ mutations, ...(producer !== undefined && { mark: { producer, sequence } }) });
    broken("I1", `a batch that may not be was answered ${outcome.kind}`);
  } catch (error) {
    if (!isTidemarkError(error) || error.kind !== "call") throw error;
    count("careless batches refused");
  }
}

export function whole(random: Random, min: number, max: number): number {
  return min + Math.floor(random.fraction() * (max - min + 1));
}
