// Appends batches to a table: each mutation to its key's shard, each shard's share of a batch all or nothing.

import { callError } from "../model/errors.ts";
import { checkMutations, type Mutation } from "../model/mutation.ts";
import type { Index } from "../model/position.ts";
import { shardOf, type Table } from "../model/table.ts";
import type { World } from "../ports/world.ts";
import { lastSequence, sessionsAt } from "../recovery/sessions.ts";
import { type BatchOutcome, type BatchRequest, shardWriter, type Writer, type WriterOptions } from "../redo-log/writer.ts";
import { shardsOf } from "./tables.ts";

export interface TableWriterOptions {
  /** How long a batch waits for company, in ms; 0 by default. */
  readonly lingerMs?: number;
}

/** One shard's share of a batch. */
export interface ShardOutcome {
  readonly shard: number;
  readonly outcome: BatchOutcome;
}

export interface TableWriter {
  /**
   * Settles once every shard's share is durable. A batch is all or nothing in each shard, not across shards: where this
   * throws, some shards may have their share; append the same batch again.
   */
  append(batch: BatchRequest): Promise<readonly ShardOutcome[]>;
  close(): Promise<void>;
}

/** What a writer knows of a table: where a key belongs, what a value is, and which of the tables that had the name it is. */
type WrittenTable = Pick<Table, "name" | "shards" | "codec" | "source" | "createdAtMs">;

/** @throws {TidemarkError} `call` "sourced-table" where the table's state is not its producers' */
export function tableWriter(world: World, table: WrittenTable, { lingerMs = 0 }: TableWriterOptions = {}): TableWriter {
  if (table.source !== undefined) {
    const remedy = `only "tidemark ${table.source} backup" writes to it; append to another table`;
    throw callError("sourced-table", `table ${table.name} holds what is backed up of ${table.source}: ${remedy}`);
  }
  const writers = new Map<number, Writer>();
  let closed = false;
  return {
    async append({ mutations, mark }) {
      // A shard that was not written to has no writer that could say so.
      if (closed) throw callError("closed-writer", `the writer of table ${table.name} is closed: make a new one`);
      // As a whole, before any shard has its share: a batch that is refused has written nothing. One shard's writer checks it itself.
      if (table.shards > 1) checkMutations(mutations, table.codec);
      const shares = split(mutations, table.shards);
      return Promise.all(
        [...shares].map(async ([shard, share]) => ({
          shard,
          outcome: await writerOf(shard).append({ mutations: share, ...(mark && { mark }) }),
        })),
      );
    },
    async close() {
      closed = true;
      await Promise.all([...writers.values()].map((writer) => writer.close()));
    },
  };

  function writerOf(shard: number): Writer {
    const known = writers.get(shard);
    if (known !== undefined) return known;
    const writer = openWriter(world, { id: { table: table.name, shard }, codec: table.codec, lingerMs, createdAtMs: table.createdAtMs });
    writers.set(shard, writer);
    return writer;
  }
}

/** The highest sequence of the producer that any shard applied; absent if none knows it. */
export async function lastSequenceOf(world: World, table: Table, producer: string): Promise<bigint | undefined> {
  let highest: bigint | undefined;
  for (const id of shardsOf(table)) {
    const last = await lastSequence(world, id, producer, world.clock.now());
    if (last !== undefined && (highest === undefined || last > highest)) highest = last;
  }
  return highest;
}

/** A writer of one shard, wired to the world. */
export function openWriter(world: World, options: WriterOptions): Writer {
  return shardWriter({ ...world, sessionsAt: (life, border) => sessionsAt(world, life, border) }, options);
}

function split(mutations: readonly Mutation[], shards: number): ReadonlyMap<number, readonly Mutation[]> {
  if (shards === 1) return new Map([[0, mutations]]);
  const shares = new Map<number, Mutation[]>();
  for (const mutation of mutations) {
    const shard = shardOf(mutation.key, shards);
    const share = shares.get(shard);
    if (share === undefined) shares.set(shard, [mutation]);
    else share.push(mutation);
  }
  return shares;
}

/** The last index that a batch's outcomes tell of each shard. */
export function lastIndexes(outcomes: readonly ShardOutcome[]): ReadonlyMap<number, Index> {
  return new Map(outcomes.flatMap(({ shard, outcome }) => (outcome.kind === "appended" ? [[shard, outcome.last] as const] : [])));
}
