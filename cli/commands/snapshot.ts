import { Command } from "commander";
import { type SnapshotReport, snapshotShard } from "../../lib/jobs/snapshot.ts";
import { getShards } from "../../lib/jobs/tables.ts";
import { parseTarget } from "../../lib/model/names.ts";
import { type Context, type Run, withWorld } from "../context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { eachShard, exitOfShards, shardDocument, shardLines } from "../shards.ts";
import { bytesInWords, count, grouped, secondsInWords } from "../words.ts";
import { cleanupDocument } from "./cleanup.ts";

export function snapshotCommand(run: Run): Command {
  return new Command("snapshot")
    .argument("<target>", "TABLE or TABLE/SHARD")
    .description("capture now, clean up, and print the outcome")
    .addHelpText("after", `\n${EXAMPLES}`)
    .action((target: string, _flags: unknown, command: Command) => run(command, (context) => snapshot(context, target)));
}

const EXAMPLES = `Appends go on meanwhile; what arrives after the cut is left to the next snapshot.

Examples:
  tidemark snapshot players
  tidemark snapshot players/3`;

async function snapshot(context: Context, text: string): Promise<ExitCode> {
  const target = parseTarget(text);
  return withWorld(context, async (world) => {
    const { ids } = await getShards(world, target);
    const results = await eachShard(context, ids, (id) => snapshotShard(world, { id, signal: context.signal }));
    const document = { table: target.table, shards: results.map((result) => shardDocument(result, snapshotDocument)) };
    context.output.result(document, shardLines(results, outcomeInWords));
    return exitOfShards(results, exitOfOutcome);
  });
}

export function snapshotDocument({ cleanup, ...rest }: SnapshotReport): object {
  return { ...rest, ...(cleanup && { cleanup: cleanupDocument(cleanup) }) };
}

function exitOfOutcome({ outcome }: SnapshotReport): ExitCode {
  switch (outcome.kind) {
    case "completed":
    case "ignored":
      return EXIT.complete;
    case "rejected":
    case "outOfDate":
    case "aborted":
      return EXIT.retry;
  }
}

export function outcomeInWords(shard: string, { outcome, durationMs }: SnapshotReport): string {
  switch (outcome.kind) {
    case "completed": {
      const held = `${count(outcome.rows, "record")}, ${bytesInWords(outcome.bytes)}`;
      return `${shard}: completed at index ${grouped(outcome.index)}: ${count(outcome.mutations, "new mutation")}, ${held}, in ${secondsInWords(durationMs)}`;
    }
    case "ignored":
      return outcome.reason === "nothing-new"
        ? `${shard}: ignored: nothing new since index ${grouped(outcome.index)}`
        : `${shard}: ignored: there is no such shard`;
    case "rejected":
      return `${shard}: rejected: another capture is at it, until ${new Date(outcome.untilMs).toISOString()} at the latest`;
    case "outOfDate":
      return `${shard}: out of date: another capture came first`;
    case "aborted":
      return `${shard}: aborted: ${outcome.reason}`;
  }
}
