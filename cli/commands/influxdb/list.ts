import { Command } from "commander";
import { checkTableName } from "../../../lib/model/names.ts";
import { listGenerations } from "../../../lib/sources/influxdb/open-backup.ts";
import type { GenerationRecord } from "../../../lib/sources/influxdb/records.ts";
import { type Context, type Run, withWorld } from "../../context.ts";
import { EXIT, type ExitCode } from "../../exit-codes.ts";
import { bytesInWords, columns, grouped } from "../../words.ts";

export function listCommand(run: Run): Command {
  return new Command("list")
    .argument("<name>", "what the backup is called")
    .description("show the generations that can be brought back")
    .action((name: string, _flags: unknown, command: Command) => run(command, (context) => list(context, name)));
}

async function list(context: Context, name: string): Promise<ExitCode> {
  checkTableName(name);
  const generations = await withWorld(context, (world) => listGenerations(world, name));
  context.output.result({ name, generations: generations.map(documentOf) }, generations.length === 0 ? `${name} has no backup yet` : table(generations));
  return EXIT.complete;
}

function documentOf({ generation, startedAt, ...rest }: GenerationRecord): object {
  return { id: generation, ...rest, time: startedAt, parent: rest.parent?.generation ?? null, parentDigest: rest.parent?.digest ?? null };
}

function table(generations: readonly GenerationRecord[]): string {
  const rows = generations.map((one) => [
    String(one.generation),
    one.startedAt,
    one.kind,
    one.parent === undefined ? "-" : String(one.parent.generation),
    grouped(one.databases.length),
    grouped(one.shards),
    grouped(one.files),
    bytesInWords(one.bytes),
    bytesInWords(one.storedBytes),
    one.outcome,
  ]);
  return columns([["generation", "time", "kind", "parent", "databases", "shards", "files", "bytes", "stored", "outcome"], ...rows]);
}
