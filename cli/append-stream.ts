// Appends a stream of batches, several in flight: they share redo files, and shards write side by side, while memory stays
// bounded (I10). A producer's batches are handed over in their order (I3).
//
// What was appended is told as a prefix of the input, the one thing that a caller can go on from: after a failure batches
// behind it may or may not be in the log, and with a producer's numbers they can be appended again and apply once.

import { callError, TidemarkError } from "../lib/model/errors.ts";
import { BATCH_BYTES_MAX, BATCH_MUTATIONS_MAX } from "../lib/model/limits.ts";
import type { Index } from "../lib/model/position.ts";
import { lastIndexes, type ShardOutcome, type TableWriter } from "../lib/jobs/append.ts";
import type { InputBatch } from "../lib/ndjson/batches.ts";

export interface AppendStreamRequest {
  readonly batches: AsyncIterable<InputBatch>;
  /** Batches are numbered from `firstSequence` on. */
  readonly producer?: { readonly name: string; readonly firstSequence: bigint };
  /** Told after each batch that joins the prefix. */
  readonly onAppended?: (report: AppendReport) => void;
  /** Told at once when a batch fails, so that a source at rest can be left. */
  readonly onFailed?: () => void;
}

/** The prefix of the input that was appended. */
export interface AppendReport {
  readonly batches: number;
  readonly mutations: number;
  /** Of keys and values. */
  readonly bytes: number;
  /** The last line of the prefix; 0 before the first. */
  readonly throughLine: number;
  /** The sequence that goes on behind the prefix. */
  readonly nextSequence?: bigint;
  /** Last index of each shard that was written, by shard. */
  readonly shards: readonly { readonly shard: number; readonly lastIndex: Index }[];
  /** Why it ended early. `inDoubt`: so many batches behind the prefix may have been appended. */
  readonly stopped?: { readonly error: unknown; readonly inDoubt: number };
}

/** Key and value bytes of batches that are not acknowledged yet, and their mutations: each takes some 300 bytes more. */
const IN_FLIGHT_BYTES_MAX = BATCH_BYTES_MAX;
const IN_FLIGHT_MUTATIONS_MAX = BATCH_MUTATIONS_MAX;

type Landing = { readonly kind: "appended"; readonly outcomes: readonly ShardOutcome[] } | { readonly kind: "failed"; readonly error: unknown };

interface Flight {
  readonly batch: InputBatch;
  readonly landing: Promise<Landing>;
  landed: boolean;
}

/** Never rejects: what ended it is in the report. Closes the writer. */
export async function appendStream(writer: TableWriter, request: AppendStreamRequest): Promise<AppendReport> {
  const { batches, producer, onAppended, onFailed } = request;
  const flights: Flight[] = [];
  const lastIndexOf = new Map<number, Index>();
  let sequence = producer?.firstSequence ?? 0n;
  let inFlightBytes = 0;
  let inFlightMutations = 0;
  const prefix = { batches: 0, mutations: 0, bytes: 0, throughLine: 0 };
  let failure: { readonly error: unknown } | undefined;
  let inDoubt = 0;

  function launch(batch: InputBatch): void {
    const number = sequence++;
    const flight: Flight = { batch, landing: appendOne(writer, batch, producer && { producer: producer.name, sequence: number }), landed: false };
    flights.push(flight);
    inFlightBytes += batch.bytes;
    inFlightMutations += batch.mutations.length;
    void flight.landing.then(({ kind }) => {
      flight.landed = true;
      if (kind === "failed") onFailed?.();
    });
  }

  async function land({ batch, landing }: Flight): Promise<void> {
    const landed = await landing;
    inFlightBytes -= batch.bytes;
    inFlightMutations -= batch.mutations.length;
    if (landed.kind === "appended") {
      for (const [shard, index] of lastIndexes(landed.outcomes)) lastIndexOf.set(shard, index);
    } else {
      failure ??= landed;
    }
    if (failure !== undefined) {
      inDoubt += 1;
      return;
    }
    prefix.batches += 1;
    prefix.mutations += batch.mutations.length;
    prefix.bytes += batch.bytes;
    prefix.throughLine = batch.lastLine;
    onAppended?.(report());
  }

  function report(): AppendReport {
    const shards = [...lastIndexOf].sort(([a], [b]) => a - b).map(([shard, lastIndex]) => ({ shard, lastIndex }));
    const nextSequence = producer && { nextSequence: producer.firstSequence + BigInt(prefix.batches) };
    return { ...prefix, ...nextSequence, shards, ...(failure && { stopped: { error: failure.error, inDoubt } }) };
  }

  /** Takes down what has landed, and waits for as much as the limits ask. */
  async function makeRoom(): Promise<void> {
    const isFull = (): boolean => inFlightBytes > IN_FLIGHT_BYTES_MAX || inFlightMutations > IN_FLIGHT_MUTATIONS_MAX;
    for (let first = flights[0]; first !== undefined && (first.landed || isFull()); first = flights[0]) {
      flights.shift();
      await land(first);
    }
  }

  let ended: { readonly error: unknown } | undefined;
  try {
    for await (const batch of batches) {
      if (failure !== undefined) break;
      launch(batch);
      await makeRoom();
    }
  } catch (error) {
    ended = { error };
  }
  await writer.close();
  for (const flight of flights) await land(flight);
  failure ??= ended;
  return report();
}

async function appendOne(
  writer: TableWriter,
  { mutations }: InputBatch,
  mark: { readonly producer: string; readonly sequence: bigint } | undefined,
): Promise<Landing> {
  try {
    const outcomes = await writer.append({ mutations, ...(mark && { mark }) });
    const error = outcomes.map(({ shard, outcome }) => refusal(shard, outcome)).find((found) => found !== undefined);
    return error === undefined ? { kind: "appended", outcomes } : { kind: "failed", error };
  } catch (error) {
    return { kind: "failed", error };
  }
}

function refusal(shard: number, outcome: ShardOutcome["outcome"]): TidemarkError | undefined {
  switch (outcome.kind) {
    case "appended":
      return undefined;
    case "sealed":
      return new TidemarkError("retry", "sealed", `shard ${shard} was deleted, or replaced by another life of it: look at the table, then append again`);
    case "forgotten":
      return callError(
        "forgotten-batch",
        `shard ${shard} may have applied a batch of this producer and forgotten it: look at the state, then append what lacks under another producer`,
      );
  }
}
