import { Command } from "commander";
import { z } from "zod";
import { checkTableName } from "../../../lib/model/names.ts";
import { exportBackup } from "../../../lib/sources/influxdb/export.ts";
import { type Context, type Run, withWorld } from "../../context.ts";
import { EXIT, type ExitCode } from "../../exit-codes.ts";
import { parseFlags } from "../../flags.ts";
import { fileFault } from "../../whole-file.ts";
import { bytesInWords, count } from "../../words.ts";
import { atFlag, parseGenerationAt } from "./generation-at.ts";

export function exportCommand(run: Run): Command {
  return new Command("export")
    .argument("<name>", "what the backup is called")
    .argument("<directory>", "a folder that is not there, or empty")
    .description("write a generation to a folder, for influxd restore or for a stopped server")
    .requiredOption("--format <format>", 'portable, for "influxd restore -portable"; or data, with meta/meta.db and data/, for influxd to start on')
    .option(...atFlag)
    .addHelpText("after", `\n${EXAMPLES}`)
    .action((name: string, directory: string, flags: unknown, command: Command) => run(command, (context) => write(context, { name, directory, flags })));
}

const EXAMPLES = `In the portable format deleted rows are left out of the files, as influxd restore would bring them back. On data a server starts with
[meta] dir = DIRECTORY/meta and [data] dir = DIRECTORY/data, and makes everything else anew.

Examples:
  tidemark influxdb export metrics ./portable --format portable && influxd restore -portable ./portable
  tidemark influxdb export metrics ./data --format data --at 2026-11-01T12:00Z`;

const FLAGS = z.strictObject({ format: z.enum(["portable", "data"], "the formats are portable and data"), at: z.string().optional() });

async function write(
  context: Context,
  { name, directory, flags }: { readonly name: string; readonly directory: string; readonly flags: unknown },
): Promise<ExitCode> {
  const { format, at } = parseFlags(FLAGS, flags);
  checkTableName(name);
  const request = { name, directory, format, signal: context.signal, ...(at !== undefined && { at: parseGenerationAt(at) }) };
  const { generation, ...written } = await withWorld(context, async (world) => {
    try {
      return await exportBackup(world, request);
    } catch (error) {
      throw fileFault(error, directory);
    }
  });
  const { shards, files, bytes } = written;
  context.output.result(
    { generation: generation.generation, time: generation.startedAt, format, ...written },
    `${name}: generation ${generation.generation}: ${count(shards, "shard")}, ${count(files, "file")}, ${bytesInWords(bytes)}; written to ${written.directory}`,
  );
  return EXIT.complete;
}
