import { Command } from "commander";
import { z } from "zod";
import { type CleanupReport, cleanupShard } from "../../lib/jobs/cleanup.ts";
import { getShards } from "../../lib/jobs/tables.ts";
import { parseTarget } from "../../lib/model/names.ts";
import { type Context, type Run, withWorld } from "../context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { parseFlags } from "../flags.ts";
import { eachShard, exitOfShards, shardDocument, shardLines } from "../shards.ts";
import { bytesInWords, count, grouped } from "../words.ts";

export function cleanupCommand(run: Run): Command {
  return new Command("cleanup")
    .argument("<target>", "TABLE or TABLE/SHARD")
    .description("delete what no recovery can need any more")
    .option("--dry-run", "print what would be deleted, and delete nothing")
    .addHelpText("after", `\n${EXAMPLES}`)
    .action((target: string, flags: unknown, command: Command) => run(command, (context) => cleanup(context, target, flags)));
}

const EXAMPLES = `Examples:
  tidemark cleanup players --dry-run
  tidemark cleanup players/3`;

const FLAGS = z.strictObject({ dryRun: z.boolean().default(false) });

async function cleanup(context: Context, text: string, flags: unknown): Promise<ExitCode> {
  const { dryRun } = parseFlags(FLAGS, flags);
  const target = parseTarget(text);
  return withWorld(context, async (world) => {
    const { table, ids } = await getShards(world, target);
    const results = await eachShard(context, ids, (id) => cleanupShard(world, { id, policy: table, dryRun }));
    context.output.result({ table: table.name, shards: results.map((result) => shardDocument(result, cleanupDocument)) }, shardLines(results, reportInWords));
    return exitOfShards(results, exitOfReport);
  });
}

/** What went, or would go: objects by key and bytes. */
export function cleanupDocument({ redoFiles, snapshots, orphans, attachments, ...rest }: CleanupReport): object {
  const objects = (doomed: CleanupReport["redoFiles"]) => doomed.map(({ key, size }) => ({ key, bytes: size }));
  return { ...rest, redoFiles: objects(redoFiles), snapshots: objects(snapshots), orphans: objects(orphans), attachments: objects(attachments) };
}

function exitOfReport({ kind, failed }: CleanupReport): ExitCode {
  switch (kind) {
    case "planned":
      return EXIT.complete;
    case "cleaned":
      return failed.length === 0 ? EXIT.complete : EXIT.retry;
    case "outrun":
      return EXIT.retry;
  }
}

function reportInWords(shard: string, report: CleanupReport): string {
  switch (report.kind) {
    case "planned":
      return [`${shard}: would delete ${doomedInWords(report)}`, ...doomedKeys(report).map((key) => `  ${key}`)].join("\n");
    case "cleaned":
      return [
        `${shard}: deleted ${doomedInWords(report)}`,
        ...report.failed.map(({ key, reason }) => `  not deleted, left to the next run: ${key}: ${reason}`),
      ].join("\n");
    case "outrun":
      return `${shard}: the shard changed meanwhile: run cleanup again`;
  }
}

function doomedInWords(report: CleanupReport): string {
  const { redoFiles, snapshots, orphans, attachments, uploads } = report;
  const bytes = [...redoFiles, ...snapshots, ...orphans, ...attachments].reduce((sum, { size }) => sum + size, 0);
  const left = [count(orphans.length, "orphan"), count(uploads.length, "open upload")].join(" and ");
  const attached = attachments.length === 0 ? "" : `${count(attachments.length, "attachment")}, `;
  return `${count(redoFiles.length, "redo file")}, ${count(snapshots.length, "snapshot")}, ${attached}${left}: ${bytesInWords(bytes)}; kept from index ${grouped(report.lowWater)} on`;
}

/** The keys of the same, then the uploads. */
export function doomedKeys({ redoFiles, snapshots, orphans, attachments, uploads }: CleanupReport): readonly string[] {
  return [...[...redoFiles, ...snapshots, ...orphans, ...attachments].map(({ key }) => key), ...uploads];
}
