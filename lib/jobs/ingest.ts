// Appends batches that came over a wire, for a process that lives on between calls: each table's writer is kept, with its
// belief of where the log ends, so that an append costs one PUT, one read and one published tail.
//
// A call that fails takes the kept writer along. The one that repeats it may come to another process, and this one must
// not wait for a batch that it will never see again. So a producer sends its next call only when the one before is
// answered (rule 6); within a call its batches keep their order.

import { callError, TidemarkError } from "../model/errors.ts";
import type { BatchRequest } from "../redo-log/writer.ts";
import type { World } from "../ports/world.ts";
import { shardName } from "../model/names.ts";
import type { Table } from "../model/table.ts";
import { type ShardOutcome, type TableWriter, tableWriter } from "./append.ts";
import { getTable } from "./tables.ts";

export interface IngestTable {
  readonly table: Table;
  /**
   * Appends the batches together, in their order; settles once all are durable.
   * @throws {TidemarkError} `retry`: some may be durable; call again with the same batches. `call`: see its message.
   */
  append(batches: readonly BatchRequest[]): Promise<readonly (readonly ShardOutcome[])[]>;
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
      const { table } = await openKept(name);
      return { table, append: (batches) => append(name, batches) };
    },
  };

  async function openKept(name: string): Promise<Kept> {
    const known = kept.get(name);
    if (known !== undefined) return known;
    const table = await getTable(world, name);
    const opened = { table, writer: tableWriter(world, table) };
    kept.set(name, opened);
    return opened;
  }

  async function append(name: string, batches: readonly BatchRequest[]): Promise<readonly (readonly ShardOutcome[])[]> {
    const { writer } = await openKept(name);
    const settled = await Promise.allSettled(batches.map((batch) => writer.append(batch)));
    const failed = settled.find((result) => result.status === "rejected");
    if (failed !== undefined) {
      kept.delete(name);
      throw failed.reason;
    }
    const outcomes = settled.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    for (const { shard, outcome } of outcomes.flat()) {
      switch (outcome.kind) {
        case "appended":
          break;
        case "sealed":
          // The table was deleted, or made anew, perhaps with other shards: the next call looks at it afresh.
          kept.delete(name);
          throw new TidemarkError("retry", "sealed", `${shardName({ table: name, shard })} began a new life, or its table was deleted; call again`);
        case "forgotten":
          throw callError(
            "forgotten-batch",
            `${shardName({ table: name, shard })} may have applied a batch of this producer and forgotten it: look at the state, then append what lacks under another producer`,
          );
      }
    }
    return outcomes;
  }
}
