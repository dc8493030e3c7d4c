import { Command } from "commander";
import { z } from "zod";
import { snapshotShard } from "../../../lib/jobs/snapshot.ts";
import { checkTableName } from "../../../lib/model/names.ts";
import { backUp, type BackupOutcome, type BackupRequest } from "../../../lib/sources/influxdb/backup.ts";
import { influxClient } from "../../../lib/sources/influxdb/client.ts";
import { parseAddress } from "../../../lib/sources/influxdb/connection.ts";
import { idOf } from "../../../lib/sources/influxdb/open-backup.ts";
import { type Context, interrupted, type Run, withWorld } from "../../context.ts";
import { EXIT, type ExitCode } from "../../exit-codes.ts";
import { parseFlags, timeText, waitingTime, wholeNumber } from "../../flags.ts";
import { bytesInWords, count, secondsInWords } from "../../words.ts";

export function backupCommand(run: Run): Command {
  return new Command("backup")
    .argument("<address>", "HOST:PORT of the server's snapshotter")
    .argument("<name>", "what the backup is called: a table of the store, made by the first one")
    .description("back a running server up: all of it first, then what changed")
    .option("--database <name>", "only this database")
    .option("--policy <name>", "only this retention policy of it")
    .option("--shard <id>", "only this shard of it")
    .option("--start <time>", "only what may have points from this time on, as 2026-11-01T00:00Z")
    .option("--end <time>", "only what may have points up to this time")
    .option("--full", "store every file anew, and rest on no earlier generation")
    .option("--skip-errors", "go on behind shards that fail: they stay as they were, and the generation is partial (exit code 4)")
    .option("--without-users", "leave users and their passwords' hashes out")
    .option("--job <id>", "a name for this run: repeated after a kill under the same name, it goes on at the shard where it stopped")
    .option("--timeout <duration>", "how long the server may say nothing (default: 120s)")
    .addHelpText("after", `\n${EXAMPLES}`)
    .action((address: string, name: string, flags: unknown, command: Command) => run(command, (context) => backup(context, { address, name, flags })));
}

const EXAMPLES = `Everything that the server acknowledged before the backup began is in it. Files are known by name and SHA-256, so an increment
stores what is new; where nothing is, nothing is written. A time range takes whole blocks: points around it may come along.
"_internal" is left out unless --database asks for it.

Examples:
  tidemark influxdb backup 127.0.0.1:8088 metrics
  tidemark influxdb backup db.internal:8088 metrics --database telegraf --skip-errors --json`;

const FLAGS = z.strictObject({
  database: z.string().min(1, "write the name of a database").optional(),
  policy: z.string().min(1, "write the name of a retention policy").optional(),
  shard: wholeNumber(1).optional(),
  start: timeText.optional(),
  end: timeText.optional(),
  full: z.boolean().default(false),
  skipErrors: z.boolean().default(false),
  withoutUsers: z.boolean().default(false),
  job: z
    .string()
    .regex(/^[A-Za-z0-9._:-]{1,64}$/, "write 1 to 64 letters, digits, and . _ : -")
    .optional(),
  timeout: waitingTime.optional(),
});

async function backup(
  context: Context,
  { address, name, flags }: { readonly address: string; readonly name: string; readonly flags: unknown },
): Promise<ExitCode> {
  const { database, policy, shard, start, end, timeout, job, ...rest } = parseFlags(FLAGS, flags);
  checkTableName(name);
  const { signal } = context;
  const client = influxClient({ address: parseAddress(address), silentMs: timeout, signal });
  const request: BackupRequest = {
    ...rest,
    name,
    client,
    signal,
    ...(job !== undefined && { job }),
    selection: { ...(database !== undefined && { database }), ...(policy !== undefined && { policy }), ...(shard !== undefined && { shard }) },
    range: { ...(start !== undefined && { start }), ...(end !== undefined && { end }) },
  };
  return withWorld(context, async (world) => {
    const outcome = await backUp(world, request);
    if (outcome.kind === "aborted") throw interrupted(`what is stored of generation ${outcome.generation} is not stored again by the next backup`);
    if (outcome.kind === "completed" || outcome.kind === "partial") {
      for (const file of outcome.vanished) context.output.warning(`${file} is gone, and no compaction accounts for it: were all of its rows deleted?`);
      for (const failed of outcome.generation.failed) {
        context.output.warning(`shard ${failed.shard} of ${failed.database}/${failed.policy} is as it was in the generation before: ${failed.error}`);
      }
      // A generation is safe once it is appended; the snapshot makes it quick to read, and counts for what is kept.
      const { outcome: captured } = await snapshotShard(world, { id: idOf(name), signal });
      if (captured.kind === "aborted") context.output.warning("the snapshot was not finished: the next backup, or tidemark run, makes it");
    }
    context.output.result(outcome, inWords(name, outcome));
    return exitOf(outcome);
  });
}

function exitOf({ kind }: BackupOutcome): ExitCode {
  switch (kind) {
    case "completed":
    case "ignored":
      return EXIT.complete;
    case "partial":
      return EXIT.partial;
    case "rejected":
    case "outOfDate":
    case "aborted":
      return EXIT.retry;
  }
}

function inWords(name: string, outcome: BackupOutcome): string {
  switch (outcome.kind) {
    case "completed":
    case "partial": {
      const { generation, kind, shards, files, bytes, storedFiles, storedBytes, failed, startedAt, finishedAt } = outcome.generation;
      const took = secondsInWords(Date.parse(finishedAt) - Date.parse(startedAt));
      const about = `${count(shards, "shard")}, ${count(files, "file")}, ${bytesInWords(bytes)}; ${count(storedFiles, "file")} stored, ${bytesInWords(storedBytes)}, in ${took}`;
      return `${name}: generation ${generation}, ${kind}: ${about}${failed.length === 0 ? "" : `; ${count(failed.length, "shard")} failed`}`;
    }
    case "ignored":
      return `${name}: nothing is new in ${count(outcome.shards, "shard")} since generation ${outcome.generation}: nothing was written`;
    case "rejected":
      return `${name}: another backup is at it, until ${new Date(outcome.untilMs).toISOString()} unless it goes on: try again later`;
    case "outOfDate":
      return `${name}: another backup has made generation ${outcome.generation} meanwhile: back up again for what came since`;
    case "aborted":
      return "";
  }
}
