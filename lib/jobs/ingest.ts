// Appends batches that came over a wire, for a process that lives on between calls: each table's writer is kept, with its
// belief of where the log ends, so that an append costs one PUT, one read and one published tail.
//
// All batches of a call are checked before the first is appended: a call that is refused has written nothing. They go to
// the writers in one turn, and lib/model/limits.ts sees to it that what one call can bring fits one redo file: in each
// shard they are appended all or not at all. So none is appended behind one that failed, which, appended later, would
// be taken for a repetition, and lost (rule 6).
//
// A call that fails takes the kept writer along. The one that repeats it may come to another process, and this one must
// not wait for a batch that it will never see again. So a producer sends its next call only when the one before is answered.
//
// A batch has its first sight of the shard (`since`, rule 11) from the kept belief, for nobody sends one along; the writer
// stamps it anew where that lies far behind. Where a claim of it may have counted, and more producers than a shard remembers
// have written since, it cannot be told from a forgotten one: then the next call looks at it afresh, as any other process would
// that it came to.

import { isTidemarkError, TidemarkError } from "../model/errors.ts";
import { checkMutations, checkProducer } from "../model/mutation.ts";
import { shardName } from "../model/names.ts";
import type { Index } from "../model/position.ts";
import type { Table } from "../model/table.ts";
import type { World } from "../ports/world.ts";
import type { BatchRequest } from "../redo-log/writer.ts";
import { type ShardOutcome, type TableWriter, tableWriter } from "./append.ts";
import { getTable } from "./tables.ts";

/** The last index of a batch in a shard that it went to. */
export interface ShardShare {
  readonly shard: number;
  readonly last: Index;
}

export interface IngestTable {
  readonly table: Table;
  /**
   * Appends the batches together, in their order, and settles once all are durable; tells where each lies.
   * @throws {TidemarkError} `retry`: some may be durable; call again with the same batches. `call`: see its message.
   */
  append(batches: readonly BatchRequest[]): Promise<readonly (readonly ShardShare[])[]>;
}

export interface Ingest {
  /** @throws {TidemarkError} `call` "unknown-table" */
  open(name: string): Promise<IngestTable>;
}

interface Kept {
  readonly table: Table;
  readonly writer: TableWriter;
}

export function ingest(world: World): Ingest {
  const kept = new Map<string, Kept>();

  return {
    async open(name) {
      const opened = kept.get(name) ?? (await openTable(name));
      return { table: opened.table, append: (batches) => append(opened, batches) };
    },
  };

  async function openTable(name: string): Promise<Kept> {
    const table = await getTable(world, name);
    const opened = { table, writer: tableWriter(world, table) };
    kept.set(name, opened);
    return opened;
  }

  async function append(opened: Kept, batches: readonly BatchRequest[]): Promise<readonly (readonly ShardShare[])[]> {
    const { table, writer } = opened;
    for (const [place, { mutations, mark }] of batches.entries()) {
      checkMutations(mutations, table.codec, `batch ${place + 1}`);
      if (mark !== undefined) checkProducer(mark.producer, mark.sequence);
    }
    try {
      const settled = await Promise.allSettled(batches.map((batch) => writer.append(batch)));
      const faults = settled.flatMap((result) => (result.status === "rejected" ? [result.reason] : []));
      // A batch without an answer may be durable: that is what the caller must hear of.
      if (faults.length > 0) throw faults.find((fault) => isTidemarkError(fault) && fault.kind === "retry") ?? faults[0];
      return settled.flatMap((result) => (result.status === "fulfilled" ? [sharesOf(table, result.value)] : []));
    } catch (error) {
      // Unless another call has taken its place already.
      if (kept.get(table.name) === opened) kept.delete(table.name);
      throw error;
    }
  }
}

function sharesOf({ name }: Table, outcomes: readonly ShardOutcome[]): readonly ShardShare[] {
  return outcomes.map((share) => shareOf(name, share));
}

function shareOf(table: string, { shard, outcome }: ShardOutcome): ShardShare {
  const where = shardName({ table, shard });
  switch (outcome.kind) {
    case "appended":
      return { shard, last: outcome.last };
    case "sealed":
      // Deleted, or made anew, perhaps with other shards: the next call looks at it afresh.
      throw new TidemarkError("retry", "sealed", `${where} began a new life, or its table was deleted; call again`);
    case "forgotten":
      throw new TidemarkError("retry", "stale-writer", `${where} has heard many producers since it was last written to from here; call again`);
  }
}
