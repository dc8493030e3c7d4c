import { Command } from "commander";
import { z } from "zod";
import { type RepairReport, repairShard } from "../../lib/jobs/repair.ts";
import { getShards } from "../../lib/jobs/tables.ts";
import { parseTarget } from "../../lib/model/names.ts";
import { type Context, type Run, withWorld } from "../context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { parseFlags } from "../flags.ts";
import { eachShard, exitOfShards, shardDocument, shardLines } from "../shards.ts";
import { bytesInWords, count, grouped } from "../words.ts";

export function repairCommand(run: Run): Command {
  return new Command("repair")
    .argument("<target>", "TABLE or TABLE/SHARD")
    .description("do what can be done about damage, and say what is lost")
    .option("--dry-run", "say what would be done, and change nothing")
    .addHelpText("after", `\n${EXAMPLES}`)
    .action((target: string, flags: unknown, command: Command) => run(command, (context) => repair(context, target, flags)));
}

const EXAMPLES = `Begins with what "tidemark verify" finds. A damaged snapshot no longer counts, is copied below _quarantine/ and replaced by a
capture from the one before and the log. A damaged redo file has no other copy: the states that are lost with it are named.
Damage by which no state is lost is exit code 0 once it is repaired; where one is lost it is 5.

Examples:
  tidemark repair players --dry-run
  tidemark repair players/3`;

const FLAGS = z.strictObject({ dryRun: z.boolean().default(false) });

async function repair(context: Context, text: string, flags: unknown): Promise<ExitCode> {
  const { dryRun } = parseFlags(FLAGS, flags);
  const target = parseTarget(text);
  return withWorld(context, async (world) => {
    const { table, ids } = await getShards(world, target);
    const results = await eachShard(context, ids, ({ shard }) => repairShard(world, { table, shard, dryRun, signal: context.signal }));
    const document = { table: table.name, shards: results.map((result) => shardDocument(result, (report) => report)) };
    context.output.result(document, shardLines(results, reportInWords));
    return exitOfShards(results, exitOfReport);
  });
}

function exitOfReport({ kind, lost, capture }: RepairReport): ExitCode {
  if (kind === "broken" || lost.length > 0) return EXIT.damage;
  const isLeft = capture !== undefined && !["completed", "ignored"].includes(capture.kind);
  return isLeft ? EXIT.retry : EXIT.complete;
}

function reportInWords(shard: string, report: RepairReport): string {
  const lines = [`${shard}: ${headline(report)}`, ...report.findings.map(({ object, what }) => `  ${object}: ${what}`)];
  for (const { object, what } of report.unreadable) lines.push(`  ${object}: ${what}`);
  for (const item of report.rebuilt) lines.push(`  ${item}: ${report.kind === "planned" ? "would be made" : "made"} anew of what the store tells`);
  for (const key of report.doubted) lines.push(`  ${key}: ${report.kind === "planned" ? "would no longer count" : "no longer counts"}`);
  for (const { copy } of report.quarantined) lines.push(`  copied to ${copy}`);
  for (const key of report.letGo) lines.push(`  ${key}: let go`);
  if (report.capture !== undefined) lines.push(`  ${captureInWords(report.capture)}`);
  return [...lines, ...remedy(shard, report).map((line) => `  ${line}`)].join("\n");
}

function headline({ kind, lost, recoverable, rebuilt }: RepairReport): string {
  const states = lost.length === 0 ? "every state that is kept can be brought back" : `lost: ${ranges(lost)}; what is left: ${ranges(recoverable)}`;
  switch (kind) {
    case "sound":
      return "sound: there is nothing to repair";
    case "planned":
      return recoverable.length === 0 && rebuilt.length > 0 ? "would be looked into further once its items are made anew" : `would be repaired: ${states}`;
    case "repaired":
      return `repaired: ${states}`;
    case "broken":
      return recoverable.length === 0 && lost.length === 0 ? "broken: its items cannot be read" : `broken: ${states}`;
  }
}

function captureInWords(outcome: NonNullable<RepairReport["capture"]>): string {
  switch (outcome.kind) {
    case "completed":
      return `captured anew at index ${grouped(outcome.index)}: ${count(outcome.rows, "record")}, ${bytesInWords(outcome.bytes)}`;
    case "ignored":
      return "nothing waits to be captured: what no longer counts is replaced once something does; repair again then";
    case "rejected":
    case "outOfDate":
    case "aborted":
      return `not captured yet (${outcome.kind}): repair again`;
  }
}

function ranges(list: RepairReport["lost"]): string {
  if (list.length === 0) return "nothing";
  return list.map(({ from, to }) => (from === to ? `index ${grouped(from)}` : `indexes ${grouped(from)} to ${grouped(to)}`)).join(", ");
}

/** What a person has to do, where the program cannot. */
function remedy(shard: string, { kind, recoverable }: RepairReport): readonly string[] {
  const last = recoverable.at(-1);
  if (kind !== "broken") return [];
  if (last === undefined || last.to === 0) return ['nothing of it can be brought back from here: see "Damage" in docs/operations.md'];
  return [
    "stop its writers: what they append behind the break cannot be brought back",
    `"tidemark recover ${shard} --at ${last.to} -o kept.ndjson" brings back the last state there is, for a new table to begin with`,
  ];
}
