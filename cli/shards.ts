// One piece of work on each shard that a command names: a shard that fails stops no other.

import { type ShardId, shardName } from "../lib/model/names.ts";
import { type Context, interrupted } from "./context.ts";
import { EXIT, type ExitCode, exitOfError } from "./exit-codes.ts";
import { errorDocument } from "./output.ts";

export type ShardResult<Report> =
  | { readonly kind: "done"; readonly id: ShardId; readonly report: Report }
  | { readonly kind: "failed"; readonly id: ShardId; readonly error: unknown };

/** One shard after the other, so that memory is that of one. Failures are told as they happen. */
export async function eachShard<Report>(
  { output, signal }: Context,
  ids: readonly ShardId[],
  work: (id: ShardId) => Promise<Report>,
): Promise<readonly ShardResult<Report>[]> {
  const results: ShardResult<Report>[] = [];
  for (const id of ids) {
    try {
      if (signal.aborted) throw interrupted("this shard was not begun");
      results.push({ kind: "done", id, report: await work(id) });
    } catch (error) {
      output.error(error, shardName(id));
      results.push({ kind: "failed", id, error });
    }
  }
  return results;
}

/** The worst of the reports' own codes; `partial` where some shards failed, the first failure's code where all did. */
export function exitOfShards<Report>(results: readonly ShardResult<Report>[], exitOf: (report: Report) => ExitCode): ExitCode {
  const failed = results.filter((result) => result.kind === "failed");
  const codes = results.filter((result) => result.kind === "done").map(({ report }) => exitOf(report));
  if (codes.includes(EXIT.damage)) return EXIT.damage;
  if (failed.length === 0) return codes.find((code) => code !== EXIT.complete) ?? EXIT.complete;
  return codes.length === 0 ? exitOfError(failed[0].error) : EXIT.partial;
}

/** A result as a member of a document's list of shards. */
export function shardDocument<Report>(result: ShardResult<Report>, toDocument: (report: Report) => object): object {
  const { shard } = result.id;
  return result.kind === "failed" ? { shard, error: errorDocument(result.error) } : { shard, ...toDocument(result.report) };
}

/** The lines of a text answer; failures were told already. */
export function shardLines<Report>(results: readonly ShardResult<Report>[], toText: (name: string, report: Report) => string): string {
  return results.flatMap((result) => (result.kind === "done" ? [toText(shardName(result.id), result.report)] : [])).join("\n");
}
