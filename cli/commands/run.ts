import { Command } from "commander";
import { z } from "zod";
import { type RoundReport, runLoop, runRound } from "../../lib/jobs/run.ts";
import { shardName } from "../../lib/model/names.ts";
import { type Context, type Run, withWorld } from "../context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { parseFlags, seconds } from "../flags.ts";
import { count } from "../words.ts";
import { cleanupDocument, doomedKeys } from "./cleanup.ts";
import { outcomeInWords, snapshotDocument } from "./snapshot.ts";

export function runCommand(run: Run): Command {
  return new Command("run")
    .description("the scheduled loop in one process: plan, snapshot, cleanup")
    .option("--once", "one round, with a cleanup of every shard")
    .option("--every <seconds>", `from the end of a round to the next (default: ${EVERY_MS_DEFAULT / 1_000})`)
    .addHelpText("after", `\n${EXAMPLES}`)
    .action((flags: unknown, command: Command) => run(command, (context) => rounds(context, flags)));
}

const EVERY_MS_DEFAULT = 60_000;
/** Shards that are captured are cleaned at once; all others in each so-manieth round. */
const CLEAN_EVERY_ROUNDS = 10;

const EXAMPLES = `A round captures each shard that its table's settings say is due, and cleans it. Every ${CLEAN_EVERY_ROUNDS}th round, the first among
them, cleans every shard. A shard that fails stops no other. SIGINT or SIGTERM ends the loop in order, with exit code 0.

Examples:
  tidemark run
  tidemark run --every 5
  tidemark run --once`;

const FLAGS = z.strictObject({ once: z.boolean().default(false), every: seconds(100).optional() });

async function rounds(context: Context, flags: unknown): Promise<ExitCode> {
  const { once, every: everyMs = EVERY_MS_DEFAULT } = parseFlags(FLAGS, flags);
  const { signal, output } = context;
  const onRound = (report: RoundReport): void => output.result(roundDocument(report), roundInWords(report));
  return withWorld(context, async (world) => {
    if (!once) {
      await runLoop(world, { everyMs, cleanEvery: CLEAN_EVERY_ROUNDS, signal, onRound });
      return EXIT.complete;
    }
    const report = await runRound(world, { cleanAll: true, signal });
    onRound(report);
    if (report.failures.length > 0) return EXIT.partial;
    return signal.aborted ? EXIT.retry : EXIT.complete;
  });
}

function roundDocument({ dirty, captured, cleaned, failures }: RoundReport): object {
  return {
    dirty,
    captured: captured.map(({ id, report }) => ({ ...id, ...snapshotDocument(report) })),
    cleaned: cleaned.map(({ id, report }) => ({ ...id, ...cleanupDocument(report) })),
    failures: failures.map(({ id, error }) => ({ ...id, error })),
  };
}

/** Nothing where nothing was done: a loop at rest is silent. */
function roundInWords({ captured, cleaned, failures }: RoundReport): string {
  const deleted = cleaned.reduce((sum, { report }) => sum + doomedKeys(report).length, 0);
  return [
    ...captured.map(({ id, report }) => outcomeInWords(shardName(id), report)),
    ...(deleted === 0 ? [] : [`cleanup: ${count(deleted, "object")} deleted`]),
    ...(failures.length === 0 ? [] : [`${count(failures.length, "shard")} failed`]),
  ].join("\n");
}
