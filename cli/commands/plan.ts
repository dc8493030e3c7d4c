import { Command } from "commander";
import { z } from "zod";
import { type Decision, type ExplainedShard, explainPlan } from "../../lib/jobs/explain.ts";
import { getTable } from "../../lib/jobs/tables.ts";
import { shardName } from "../../lib/model/names.ts";
import { type Context, type Run, withWorld } from "../context.ts";
import { captureDollars } from "../cost.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { parseFlags } from "../flags.ts";
import { LIST_PRICES } from "../prices.ts";
import { bytesInWords, columns, count, grouped, secondsInWords } from "../words.ts";

export function planCommand(run: Run): Command {
  return new Command("plan")
    .argument("[table]", "all tables by default")
    .description("which shards are captured next, and why; nothing is done")
    .option("--explain", "each shard at length: its log, its recovery, its limits, what a capture would cost and save")
    .addHelpText("after", `\n${EXAMPLES}`)
    .action((table: string | undefined, flags: unknown, command: Command) => run(command, (context) => showPlan(context, table, flags)));
}

const EXAMPLES = `Shows the shards with mutations that no snapshot holds, from their items alone. A shard goes if a run of the planner would ask for
its capture now, and waits if it is not due. It is asked if its capture was asked for and has not come yet, and held if enough
captures of its table are under way.

Examples:
  tidemark plan
  tidemark plan players --explain
  tidemark --json plan`;

const FLAGS = z.strictObject({ explain: z.boolean().default(false) });

async function showPlan(context: Context, name: string | undefined, flags: unknown): Promise<ExitCode> {
  const { explain } = parseFlags(FLAGS, flags);
  const shards = await withWorld(context, async (world) => {
    if (name !== undefined) await getTable(world, name);
    return explainPlan(world, name === undefined ? {} : { table: name });
  });
  context.output.result(
    { ...counts(shards), shards: shards.map(document) },
    shards.length === 0 ? "no shard has mutations that no snapshot holds" : text(shards, explain),
  );
  return EXIT.complete;
}

const DECISIONS: readonly Decision[] = ["goes", "asked", "held", "waits"];

function counts(shards: readonly ExplainedShard[]): Readonly<Record<string, number>> {
  return Object.fromEntries(DECISIONS.map((decision) => [decision, shards.filter((shard) => shard.decision === decision).length]));
}

function document(shard: ExplainedShard): object {
  const { id, table: _, qualification, outlook, capturedAtMs, askedAtMs, ...rest } = shard;
  const { dueAtMs, ...figures } = outlook;
  return {
    ...id,
    ...rest,
    ...(qualification.kind === "qualifies" && { by: qualification.by }),
    ...figures,
    ...(isCaptured(shard) && { capturedAt: timeText(capturedAtMs) }),
    dueAt: timeText(dueAtMs),
    ...(askedAtMs !== undefined && { askedAt: timeText(askedAtMs) }),
    capture: { bytes: newBytes(shard), dollars: dollars(shard), savesMs: outlook.recovery.replayMs },
  };
}

function text(shards: readonly ExplainedShard[], explain: boolean): string {
  const all = counts(shards);
  const sum = DECISIONS.map((decision) => `${grouped(all[decision])} ${decision}`).join(", ");
  if (explain) return [...shards.map(explained), sum].join("\n");
  return `${columns([["shard", "decision", "why"], ...shards.map((shard) => [shardName(shard.id), shard.decision, why(shard)])])}\n${sum}`;
}

function why(shard: ExplainedShard): string {
  const { qualification, outlook, decision, askedAtMs, table } = shard;
  if (decision === "asked" && askedAtMs !== undefined) return `its capture was asked for at ${timeText(askedAtMs)}; ${reason(shard)}`;
  if (decision === "held") return `${count(table.capturesTogetherMax, "capture")} of the table at a time; ${reason(shard)}`;
  return qualification.kind === "qualifies" ? reason(shard) : `until ${timeText(outlook.dueAtMs)} at the latest`;
}

/** What makes a due shard due. */
function reason({ qualification, outlook, table }: ExplainedShard): string {
  if (qualification.kind !== "qualifies") return "";
  switch (qualification.by) {
    case "mutations":
      return `${count(outlook.mutations, "mutation")}, of ${grouped(table.captureAfterMutations)} at most`;
    case "log":
      return `${bytesInWords(outlook.log.bytes)} of log, of ${bytesInWords(outlook.logDueBytes ?? 0)} at most`;
    case "recovery":
      return `a recovery takes ${secondsInWords(outlook.recovery.expectedMs)}, of ${secondsInWords(outlook.recovery.dueMs)} at most`;
    case "interval":
      return `since ${timeText(outlook.dueAtMs)}`;
  }
}

function explained(shard: ExplainedShard): string {
  const { outlook, table } = shard;
  const amplification = outlook.writeAmplification;
  const lines = [
    `log: ${bytesInWords(outlook.log.bytes)} in ${count(outlook.log.files, "redo file")}, ${count(outlook.mutations, "mutation")}; ${logLimit(shard)}`,
    `recovery: ${recovery(shard)}`,
    `limits: ${grouped(outlook.mutations)} of ${count(table.captureAfterMutations, "mutation")}; ${lastCaptured(shard)}, due ${timeText(outlook.dueAtMs)}`,
    `a capture: writes about ${bytesInWords(newBytes(shard))}, on AWS for about ${dollars(shard).toPrecision(2)} dollars; each recovery is then ${secondsInWords(outlook.recovery.replayMs)} shorter`,
    ...(amplification === undefined ? [] : [`write amplification: ${amplification.toFixed(2)} bytes stored for each byte appended`]),
  ];
  return [`${shardName(shard.id)} ${shard.decision}: ${why(shard)}`, ...lines.map((line) => `  ${line}`)].join("\n");
}

function lastCaptured(shard: ExplainedShard): string {
  return isCaptured(shard) ? `last captured ${timeText(shard.capturedAtMs)}` : `never captured, written since ${timeText(shard.capturedAtMs)}`;
}

/** Of a snapshot that an older version made, the size is not known. */
function isCaptured({ outlook: { logDueBytes }, snapshotBytes }: ExplainedShard): boolean {
  return snapshotBytes !== undefined || logDueBytes === undefined;
}

function logLimit({ outlook: { logDueBytes }, snapshotBytes, table }: ExplainedShard): string {
  if (logDueBytes === undefined) return "not limited: an older version made the snapshot, and its size is not known";
  if (snapshotBytes === undefined) return `due at ${bytesInWords(logDueBytes)}, as there is no snapshot`;
  const share = `${grouped(table.captureLogPercent)} % of the snapshot's ${bytesInWords(snapshotBytes)}`;
  return logDueBytes > Math.ceil((snapshotBytes * table.captureLogPercent) / 100)
    ? `due at ${bytesInWords(logDueBytes)}, the least`
    : `due at ${bytesInWords(logDueBytes)}, ${share}`;
}

function recovery({ outlook, table, measured }: ExplainedShard): string {
  const { expectedMs, snapshotMs, replayMs, dueMs, outgrown } = outlook.recovery;
  const rates = measured.read && measured.replay ? "measured" : "by assumed rates";
  const parts = `${secondsInWords(snapshotMs)} for the snapshot and ${secondsInWords(replayMs)} for the log, ${rates}`;
  const wanted = secondsInWords(table.recoverWithinMs);
  const limit = outgrown
    ? `due above ${secondsInWords(dueMs)}: the snapshot alone takes more than half of the ${wanted} that are wanted, so no capture can keep to that; it takes more shards, or a longer time`
    : `due above ${wanted}`;
  return `${secondsInWords(expectedMs)} expected, ${parts}; ${limit}`;
}

/** About as large as the one before; the first as large as its log. */
function newBytes({ snapshotBytes, outlook }: ExplainedShard): number {
  return snapshotBytes ?? outlook.log.bytes;
}

function dollars(shard: ExplainedShard): number {
  return captureDollars({ snapshotBytes: newBytes(shard), redoFiles: shard.outlook.log.files }, LIST_PRICES);
}

function timeText(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
