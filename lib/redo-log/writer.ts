// A shard's writer: takes batches from many callers and appends them together, one redo file at a time (group commit).
// Waiting a little (`lingerMs`) makes fewer, larger redo files; that, not the mutations, decides the bill.
//
// A producer has at most one batch in doubt (rule 6). Were its next batch appended while the one before may or may not
// be in the log, repeating that one later would find its sequence passed, and it would be lost though acknowledged. So
// when an append fails without an answer, later batches of its producers are turned away until the doubtful one is repeated.

import { callError, isTidemarkError, messageOf, TidemarkError } from "../model/errors.ts";
import { REDO_FILE_BATCHES_MAX, REDO_FILE_BYTES_MAX, REDO_FILE_MUTATIONS_MAX } from "../model/limits.ts";
import { type Batch, batchBytes, checkMutations, checkProducer, type Mutation, type ProducerMark, type ValueCodec } from "../model/mutation.ts";
import { type ShardId, shardName } from "../model/names.ts";
import { type Index, toIndex } from "../model/position.ts";
import type { Telemetry } from "../ports/telemetry.ts";
import { append, type AppendDeps } from "./append.ts";
import { type Belief, findTail, firstBelief, publishTail } from "./tail.ts";

export interface WriterDeps extends AppendDeps {
  readonly telemetry: Telemetry;
}

export interface WriterOptions {
  readonly id: ShardId;
  readonly codec: ValueCodec;
  /** How long the first of several waiting batches waits for company, in ms; 0, the default, appends at once. */
  readonly lingerMs?: number;
  /** The life that the batches are meant for; by default the one that the first of them finds. */
  readonly incarnation?: string;
  /** When the table was made that the batches are meant for; by default whichever has its name when the first of them comes. */
  readonly createdAtMs?: number;
}

/** A batch as a caller hands it in; without `mark` it is appended at least once, with it exactly once (I3). */
export interface BatchRequest {
  readonly mutations: readonly Mutation[];
  readonly mark?: Omit<ProducerMark, "since"> & { readonly since?: Index };
}

/** `appended`: the indexes and the time (ms since 1970) of this batch. `sealed`: open the table again. `forgotten`: too old to be known; read the state to see whether it applied. */
export type BatchOutcome =
  | { readonly kind: "appended"; readonly first: Index; readonly last: Index; readonly timeMs: number }
  | { readonly kind: "sealed" }
  | { readonly kind: "forgotten" };

export interface Writer {
  /**
   * Settles once the batch is durable. Until then it is held in memory: who has many waits for some before handing in more.
   * @throws {TidemarkError} `call`: the batch was refused, and nothing was written, unless it was the store that refused its caller.
   * There, and with every other kind, it may be in the log: append the same batch again.
   */
  append(batch: BatchRequest): Promise<BatchOutcome>;
  /** Settles when all that waits is settled; no batch is taken any more. */
  close(): Promise<void>;
}

interface Waiting {
  batch: Batch;
  readonly bytes: number;
  readonly settle: (outcome: BatchOutcome) => void;
  readonly fail: (error: unknown) => void;
}

export function shardWriter(deps: WriterDeps, { id, codec, lingerMs = 0, incarnation, createdAtMs }: WriterOptions): Writer {
  /** None passes another: a producer's order is that of its calls. */
  const waiting: Waiting[] = [];
  /** The marks of doubtful batches as they were first sent, by producer. */
  const inDoubt = new Map<string, ProducerMark>();
  let waitingBytes = 0;
  let belief: Belief | undefined;
  let pump: Promise<void> | undefined;
  let closed = false;
  let sealed = false;
  let full = new AbortController();

  return {
    async append(request) {
      checkMutations(request.mutations, codec);
      if (request.mark) checkProducer(request.mark.producer, request.mark.sequence);
      const bytes = batchBytes(request.mutations);
      if (closed) throw callError("closed-writer", `the writer of ${shardName(id)} is closed: make a new one`);
      const batch: Batch = { mutations: request.mutations, ...(request.mark && { mark: { ...request.mark, since: request.mark.since ?? toIndex(0) } }) };
      return new Promise<BatchOutcome>((settle, fail) => {
        waiting.push({ batch, bytes, settle, fail });
        waitingBytes += bytes;
        if (fileIsFull()) full.abort();
        pump ??= run();
      });
    },
    async close() {
      closed = true;
      full.abort();
      await pump;
    },
  };

  async function run(): Promise<void> {
    // Callers that append in the same turn get into the same file, even without lingering.
    await Promise.resolve();
    while (waiting.length > 0) {
      if (lingerMs > 0 && !closed && !fileIsFull()) await deps.clock.sleep(lingerMs, full.signal);
      full = new AbortController();
      const group = take();
      // A life that has ended does not begin again: what is written for it would only lie about.
      if (sealed) for (const { settle } of group) settle({ kind: "sealed" });
      else if (group.length > 0) await appendGroup(group);
    }
    // In the turn of the last look at the queue: a batch that comes later starts another run.
    pump = undefined;
  }

  /** The next file's batches, from the front of the queue; batches that must not be sent now are turned away. */
  function take(): Waiting[] {
    const group: Waiting[] = [];
    // Behind the doubtful batch, in the same file, later ones of its producer keep their order: turned away, they could be
    // passed by one that is sent when the doubt is gone.
    const repeated = new Set<string>();
    let bytes = 0;
    let mutations = 0;
    let taken = 0;
    while (taken < waiting.length && group.length < REDO_FILE_BATCHES_MAX) {
      const next = waiting[taken];
      bytes += next.bytes;
      mutations += next.batch.mutations.length;
      if (group.length > 0 && (bytes > REDO_FILE_BYTES_MAX || mutations > REDO_FILE_MUTATIONS_MAX)) break;
      taken++;
      waitingBytes -= next.bytes;
      const { mark } = next.batch;
      const doubtful = mark && inDoubt.get(mark.producer);
      if (mark !== undefined && doubtful !== undefined && mark.sequence !== doubtful.sequence && !repeated.has(mark.producer)) {
        next.fail(
          new TidemarkError(
            "retry",
            "batch-in-doubt",
            `batch ${doubtful.sequence} of producer ${mark.producer} is in doubt: append it again before batch ${mark.sequence}`,
          ),
        );
        continue;
      }
      if (mark !== undefined) repeated.add(mark.producer);
      group.push(next);
    }
    // At once: where many wait, each that is taken out moves all that are behind it.
    waiting.splice(0, taken);
    return group;
  }

  /** @param stampsAnew whether batches that look forgotten are stamped anew: only once, as who stamped them may have been another */
  async function appendGroup(group: readonly Waiting[], stampsAnew = true): Promise<void> {
    const asked = group.map(({ batch }) => batch);
    try {
      belief ??= await firstBelief(deps, id, deps.clock.now(), createdAtMs);
      if (belief === undefined || (incarnation !== undefined && belief.incarnation !== incarnation)) return seal(group);
      for (const entry of group) entry.batch = stamped(entry.batch, belief);
      const outcome = await append(deps, { id, batches: group.map(({ batch }) => batch), belief, stampsAnew });
      if (outcome.kind === "misled") {
        const walked = await findTail(deps, id, deps.clock.now());
        // The batches are meant for the life that the writer found first: where there is another, it seals.
        if (walked.incarnation === belief.incarnation) belief = walked;
        for (const [place, entry] of group.entries()) entry.batch = asked[place];
        return await appendGroup(group, false);
      }
      for (const { batch } of group) if (batch.mark) inDoubt.delete(batch.mark.producer);
      switch (outcome.kind) {
        case "appended":
          belief = outcome.belief;
          await publish(outcome.belief);
          acknowledge(group, outcome.first, outcome.timeMs);
          report(group, outcome.first, outcome.bytes);
          return;
        case "sealed":
          seal(group);
          return;
        case "forgotten":
          turnAway(group, new Set(outcome.batches));
          return;
      }
    } catch (error) {
      // Batches of one producer stand in the group in their order: the first is the one to repeat. That holds even where none
      // was sent: were a later batch appended first, this one, repeated, would be taken for a repetition and never apply.
      const refused = belief === undefined && isTidemarkError(error) && error.kind === "call";
      for (const { batch } of refused ? [] : [...group].reverse()) if (batch.mark) inDoubt.set(batch.mark.producer, batch.mark);
      for (const { fail } of group) fail(error);
      if (refused) refuseBehind(group, error);
    }
  }

  /**
   * What a producer had handed in behind a batch that is refused goes with it. It was handed in before anybody could know; were
   * it appended, as the table may be made in this moment, the refused one, repeated, would be taken for a repetition.
   */
  function refuseBehind(group: readonly Waiting[], error: unknown): void {
    const producers = new Set(group.flatMap(({ batch: { mark } }) => mark?.producer ?? []));
    const isBehind = ({ batch: { mark } }: Waiting): boolean => mark !== undefined && producers.has(mark.producer);
    const refused = waiting.filter(isBehind);
    waiting.splice(0, waiting.length, ...waiting.filter((entry) => !isBehind(entry)));
    for (const { bytes, fail } of refused) {
      waitingBytes -= bytes;
      fail(error);
    }
  }

  function seal(group: readonly Waiting[]): void {
    sealed = true;
    for (const { settle } of group) settle({ kind: "sealed" });
  }

  function acknowledge(group: readonly Waiting[], first: Index, timeMs: number): void {
    let at = first;
    for (const { batch, settle } of group) {
      const next = toIndex(at + batch.mutations.length);
      settle({ kind: "appended", first: at, last: toIndex(next - 1), timeMs });
      at = next;
    }
  }

  /** The forgotten batches get their answer; the others go back to the front of the queue. */
  function turnAway(group: readonly Waiting[], forgotten: ReadonlySet<number>): void {
    const others = group.filter((_, place) => !forgotten.has(place));
    waiting.unshift(...others);
    for (const { bytes } of others) waitingBytes += bytes;
    for (const place of forgotten) group[place].settle({ kind: "forgotten" });
  }

  /** A hint that is lost costs a later look at the log, never a mutation. */
  async function publish(tail: Belief): Promise<void> {
    try {
      await publishTail(deps.checkpoints, id, tail);
    } catch (error) {
      deps.telemetry.report({
        kind: "warning",
        shard: shardName(id),
        message: `the tail was not published: ${messageOf(error)}`,
      });
    }
  }

  function report(group: readonly Waiting[], first: Index, bytes: number): void {
    const mutations = group.reduce((sum, { batch }) => sum + batch.mutations.length, 0);
    deps.telemetry.report({ kind: "appended", shard: shardName(id), first, mutations, batches: group.length, bytes });
  }

  /** A batch keeps the `since` of its first sending, over every attempt that follows. */
  function stamped(batch: Batch, { border }: Belief): Batch {
    if (batch.mark === undefined || batch.mark.since > 0) return batch;
    const sent = inDoubt.get(batch.mark.producer)?.since ?? 0;
    return { ...batch, mark: { ...batch.mark, since: sent > 0 ? toIndex(sent) : border.next } };
  }

  function fileIsFull(): boolean {
    return waiting.length >= REDO_FILE_BATCHES_MAX || waitingBytes >= REDO_FILE_BYTES_MAX;
  }
}
