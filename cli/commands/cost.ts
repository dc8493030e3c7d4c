import { Command } from "commander";
import { z } from "zod";
import { callError } from "../../lib/model/errors.ts";
import { KEEP_SNAPSHOTS_MIN, SHARDS_MAX } from "../../lib/model/limits.ts";
import { CAPTURE_LOG_PERCENT_MAX } from "../../lib/model/table.ts";
import type { Context, Run } from "../context.ts";
import { type Cost, monthlyCost, type Workload } from "../cost.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { decimal, hundredths, parseFlags, seconds, waitingTime, wholeNumber } from "../flags.ts";
import { LIST_PRICES, PRICES_OF, readPrices } from "../prices.ts";
import { bytesInWords, columns, grouped } from "../words.ts";
import { WORKLOADS } from "../workloads.ts";

export function costCommand(run: Run): Command {
  return new Command("cost")
    .description("what a pipeline on AWS would cost a month, by parts")
    .option("--like <workload>", "begin with idle, small or large; the other flags change it (default: small)")
    .option("--shards <n>", "shards of the table")
    .option("--mutations <n>", "mutations a second, of the whole table, while it is active")
    .option("--bytes <n>", "bytes of a mutation's key and value")
    .option("--hours <n>", "hours a day that it is active")
    .option("--through <way>", "who appends: library, url or queue")
    .option("--batch <n>", "mutations in one call of the URL, or one message of the queue")
    .option("--linger <seconds>", "how long the library's writer waits for company")
    .option("--capture-log-share <share>", "the table's setting")
    .option("--recover-within <duration>", "the table's setting")
    .option("--capture-after <seconds>", "the table's setting")
    .option("--capture-after-mutations <n>", "the table's setting")
    .option("--keep-snapshots <n>", "the table's setting")
    .option("--state-bytes <n>", "bytes of all keys and values, before compression")
    .option("--plan-every <minutes>", "how often the planner runs")
    .option("--no-alarms", "deployed without alarms")
    .option("--no-ingest-queue", "deployed without the ingest queue")
    .option("--no-events", "deployed without events")
    .option("--dashboard", "deployed with a dashboard")
    .option("--tracing", "deployed with X-Ray traces")
    .option("--prices <file>", "JSON with prices to use in place of the list prices")
    .addHelpText("after", `\n${EXAMPLES}`)
    .action((flags: unknown, command: Command) => run(command, (context) => cost(context, flags)));
}

const EXAMPLES = `An estimate: AWS's list prices of us-east-1 (${PRICES_OF}), without free tiers; what it assumes is in docs/cost.md. No store is opened.

Examples:
  tidemark cost --like idle
  tidemark cost --shards 8 --mutations 500 --through library --linger 0.5 --state-bytes 20000000000
  tidemark --json cost --like large --prices my-prices.json`;

const HOURS_PER_DAY = 24;
const MINUTES_PER_HOUR = 60;

const FLAGS = z.strictObject({
  like: z.enum(["idle", "small", "large"], { error: "write idle, small or large" }).default("small"),
  shards: wholeNumber(1, SHARDS_MAX).optional(),
  mutations: decimal(0, 1e9).optional(),
  bytes: wholeNumber(1).optional(),
  hours: decimal(0, HOURS_PER_DAY).optional(),
  through: z.enum(["library", "url", "queue"], { error: "write library, url or queue" }).optional(),
  batch: wholeNumber(1).optional(),
  linger: decimal(0, 3_600).optional(),
  captureLogShare: hundredths(CAPTURE_LOG_PERCENT_MAX).optional(),
  recoverWithin: waitingTime.optional(),
  captureAfter: seconds(1_000).optional(),
  captureAfterMutations: wholeNumber(1).optional(),
  keepSnapshots: wholeNumber(KEEP_SNAPSHOTS_MIN).optional(),
  stateBytes: wholeNumber(0).optional(),
  planEvery: wholeNumber(1, MINUTES_PER_HOUR).optional(),
  alarms: z.boolean(),
  ingestQueue: z.boolean(),
  events: z.boolean(),
  dashboard: z.boolean().optional(),
  tracing: z.boolean().optional(),
  prices: z.string().optional(),
});

async function cost({ output }: Context, flags: unknown): Promise<ExitCode> {
  const parsed = parseFlags(FLAGS, flags);
  const workload = workloadOf(parsed);
  if (workload.through === "queue" && !workload.ingestQueue)
    throw callError("bad-flag", "--through queue needs the ingest queue: leave --no-ingest-queue away");
  const prices = parsed.prices === undefined ? LIST_PRICES : await readPrices(parsed.prices);
  const estimate = monthlyCost(workload, prices);
  output.result({ ...estimate, workload, prices, pricesOf: parsed.prices ?? PRICES_OF }, costTable(estimate));
  return EXIT.complete;
}

function workloadOf({ like, ...flags }: z.infer<typeof FLAGS>): Workload {
  const base: Workload = WORKLOADS[like];
  return {
    shards: flags.shards ?? base.shards,
    mutationsPerSecond: flags.mutations ?? base.mutationsPerSecond,
    bytesPerMutation: flags.bytes ?? base.bytesPerMutation,
    activeHoursPerDay: flags.hours ?? base.activeHoursPerDay,
    through: flags.through ?? base.through,
    mutationsPerCall: flags.batch ?? base.mutationsPerCall,
    lingerSeconds: flags.linger ?? base.lingerSeconds,
    captureLogShare: flags.captureLogShare === undefined ? base.captureLogShare : flags.captureLogShare / 100,
    recoverWithinSeconds: flags.recoverWithin === undefined ? base.recoverWithinSeconds : flags.recoverWithin / 1_000,
    captureAfterSeconds: flags.captureAfter === undefined ? base.captureAfterSeconds : flags.captureAfter / 1_000,
    captureAfterMutations: flags.captureAfterMutations ?? base.captureAfterMutations,
    keepSnapshots: flags.keepSnapshots ?? base.keepSnapshots,
    stateBytes: flags.stateBytes ?? base.stateBytes,
    planEveryMinutes: flags.planEvery ?? base.planEveryMinutes,
    alarms: flags.alarms,
    ingestQueue: flags.ingestQueue,
    events: flags.events,
    dashboard: flags.dashboard ?? base.dashboard,
    tracing: flags.tracing ?? base.tracing,
  };
}

function costTable({ parts, total, redoFiles, captures, storedBytes }: Cost): string {
  const rows = parts.filter(({ dollars }) => dollars > 0).map(({ name, dollars }) => [name, inDollars(dollars)]);
  const figures = [`${grouped(Math.round(redoFiles))} redo files`, `${grouped(Math.round(captures))} captures`, `${bytesInWords(storedBytes)} stored`];
  return `${columns([["a month", "dollars"], ...rows, ["total", inDollars(total)]])}\n${figures.join(", ")}`;
}

export function inDollars(dollars: number): string {
  return dollars.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
}
