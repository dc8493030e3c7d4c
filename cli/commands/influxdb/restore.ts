import { Command } from "commander";
import { z } from "zod";
import { checkTableName } from "../../../lib/model/names.ts";
import { influxClient } from "../../../lib/sources/influxdb/client.ts";
import { parseAddress } from "../../../lib/sources/influxdb/connection.ts";
import { restore, type RestoredDatabase, type RestoreReport, type RestoreRequest } from "../../../lib/sources/influxdb/restore.ts";
import { type Context, type Run, withWorld } from "../../context.ts";
import { EXIT, type ExitCode } from "../../exit-codes.ts";
import { parseFlags, waitingTime } from "../../flags.ts";
import { bytesInWords, count } from "../../words.ts";
import { atFlag, parseGenerationAt } from "./generation-at.ts";

export function restoreCommand(run: Run): Command {
  return new Command("restore")
    .argument("<name>", "what the backup is called")
    .argument("<address>", "HOST:PORT of the server's snapshotter, InfluxDB 1.5 or later")
    .description("bring databases back to a running server, and verify them by reading back")
    .option(...atFlag)
    .option("--database <name>", "only this database (default: all but _internal)")
    .option("--new-database <name>", "its name on the server")
    .option("--policy <name>", "only this retention policy of it")
    .option("--new-policy <name>", "its name on the server")
    .option("--timeout <duration>", "how long the server may say nothing (default: 120s)")
    .addHelpText("after", `\n${EXAMPLES}`)
    .action((name: string, address: string, flags: unknown, command: Command) => run(command, (context) => bringBack(context, { name, address, flags })));
}

const EXAMPLES = `A database that exists is refused; one that an earlier try of the same restore had begun is gone on with. Rows that were deleted
stay deleted. Write nothing to a database before its restore has ended.

Examples:
  tidemark influxdb restore metrics 127.0.0.1:8088
  tidemark influxdb restore metrics 127.0.0.1:8088 --at 12 --database telegraf --new-database telegraf_12`;

const name = z.string().min(1, "write a name");
const FLAGS = z.strictObject({
  at: z.string().optional(),
  database: name.exactOptional(),
  newDatabase: name.exactOptional(),
  policy: name.exactOptional(),
  newPolicy: name.exactOptional(),
  timeout: waitingTime.optional(),
});

async function bringBack(
  context: Context,
  { name: backup, address, flags }: { readonly name: string; readonly address: string; readonly flags: unknown },
): Promise<ExitCode> {
  const { at, timeout, ...names } = parseFlags(FLAGS, flags);
  checkTableName(backup);
  const { signal } = context;
  const request: RestoreRequest = {
    name: backup,
    client: influxClient({ address: parseAddress(address), silentMs: timeout, signal }),
    signal,
    ...names,
    ...(at !== undefined && { at: parseGenerationAt(at) }),
  };
  const report = await withWorld(context, (world) => restore(world, request));
  for (const { newDatabase: there, empty, expired } of report.databases) {
    if (expired.length > 0) {
      context.output.warning(
        `${there}: ${count(expired.length, "shard")} older than the retention policy keeps: ${expired.join(", ")}; the server deletes such with its next check, unless the policy is altered before`,
      );
    }
    if (empty.length > 0) context.output.warning(`${there}: the backup has no files of ${count(empty.length, "shard")}: ${empty.join(", ")}; restored empty`);
  }
  context.output.result(documentOf(report), inWords(backup, report));
  return EXIT.complete;
}

function documentOf({ generation, databases }: RestoreReport): object {
  return { generation: generation.generation, time: generation.startedAt, databases };
}

function inWords(backup: string, { generation, databases }: RestoreReport): string {
  if (databases.length === 0) return `${backup}: generation ${generation.generation} has no database to restore`;
  return databases.map((one) => `${backup}: generation ${generation.generation}: ${databaseInWords(one)}`).join("\n");
}

function databaseInWords({ database, newDatabase, resumed, shards }: RestoredDatabase): string {
  const bytes = shards.reduce((sum, one) => sum + one.bytes, 0);
  const files = shards.reduce((sum, one) => sum + one.files, 0);
  const found = shards.filter((one) => one.found).length;
  const as = newDatabase === database ? "" : ` as ${newDatabase}`;
  const before = resumed ? `, ${count(found, "shard")} of them by an earlier try` : "";
  return `${database}${as}: ${count(shards.length, "shard")}, ${count(files, "file")}, ${bytesInWords(bytes)}${before}; read back and equal`;
}
