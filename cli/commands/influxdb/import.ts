import { Command } from "commander";
import { snapshotShard } from "../../../lib/jobs/snapshot.ts";
import { checkTableName } from "../../../lib/model/names.ts";
import { importBackup, type ImportReport } from "../../../lib/sources/influxdb/import.ts";
import { idOf } from "../../../lib/sources/influxdb/open-backup.ts";
import { type Context, type Run, withWorld } from "../../context.ts";
import { EXIT, type ExitCode } from "../../exit-codes.ts";
import { fileFault } from "../../whole-file.ts";
import { bytesInWords, count } from "../../words.ts";

export function importCommand(run: Run): Command {
  return new Command("import")
    .argument("<directory>", 'what "influxd backup -portable" wrote')
    .argument("<name>", "what the backup is to be called")
    .description("read an official portable backup in, each of its manifests as a generation")
    .addHelpText(
      "after",
      "\nA folder with a full backup and increments (-since) becomes generations that restore rightly. What is cut off or does not fit its\nmanifest is refused. Stopped, the same import goes on behind the last whole manifest.",
    )
    .action((directory: string, name: string, _flags: unknown, command: Command) => run(command, (context) => readIn(context, { directory, name })));
}

async function readIn(context: Context, { directory, name }: { readonly directory: string; readonly name: string }): Promise<ExitCode> {
  checkTableName(name);
  const report = await withWorld(context, async (world) => {
    try {
      const read = await importBackup(world, { name, directory, signal: context.signal });
      if (read.generations.length > 0) await snapshotShard(world, { id: idOf(name), signal: context.signal });
      return read;
    } catch (error) {
      throw fileFault(error, directory);
    }
  });
  context.output.result({ name, found: report.found, generations: report.generations }, inWords(name, report));
  return EXIT.complete;
}

function inWords(name: string, { generations, found }: ImportReport): string {
  const before = found === 0 ? [] : [`${name}: ${count(found, "manifest")} read in already`];
  const read = generations.map(
    (one) => `${name}: generation ${one.generation}, ${one.kind}: ${count(one.shards, "shard")}, ${count(one.files, "file")}, ${bytesInWords(one.bytes)}`,
  );
  return [...before, ...read].join("\n");
}
