import { Command } from "commander";
import { z } from "zod";
import { recoverTable, type TableRecovery } from "../../lib/jobs/recover.ts";
import { callError } from "../../lib/model/errors.ts";
import { release } from "../../lib/model/memory.ts";
import { parseTarget, type ShardId, shardName } from "../../lib/model/names.ts";
import { releaseRows } from "../../lib/model/rows.ts";
import type { ShardView } from "../../lib/recovery/recover.ts";
import { type Context, interrupted, type Run, withWorld } from "../context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { parseAt, parseFlags } from "../flags.ts";
import { recordLines } from "../../lib/ndjson/record-lines.ts";
import { writeToStdout } from "../stdout.ts";
import { type WholeFile, writeWholeFile } from "../whole-file.ts";
import { bytesInWords, count, grouped, timeInWords } from "../words.ts";

export function recoverCommand(run: Run): Command {
  return new Command("recover")
    .argument("<target>", "TABLE or TABLE/SHARD")
    .description("print the state as NDJSON, or write it as Parquet: the newest, or that at an index or a time")
    .option("--at <index|time>", "stop at the last batch wholly at or before it: digits, or a time as 2026-11-01T12:00Z")
    .option("-o, --output <file>", "write to a file, which is there whole or not at all")
    .option("--format <format>", "ndjson or parquet; by default what the name of the file ends with, else ndjson")
    .addHelpText("after", `\n${EXAMPLES}`)
    .action((target: string, flags: unknown, command: Command) => run(command, (context) => recover(context, target, flags)));
}

const EXAMPLES = `A line is {"key":…,"value":…,"index":…,"time":…}, in key order within each shard. Where it stopped is told on stderr,
with -o on stdout. A Parquet file is one shard's, like the snapshots in the store. An index is one shard's own: with several shards, name one, or ask for a time.

Examples:
  tidemark recover players
  tidemark recover players/0 --at 1500 -o players.ndjson
  tidemark recover players/0 -o players.parquet
  tidemark recover players --at 2026-11-01T12:00+01:00 | jq -c .value`;

const FLAGS = z.strictObject({
  at: z.string().optional(),
  output: z.string().min(1, "write the name of a file").optional(),
  format: z.enum(["ndjson", "parquet"], "the formats are ndjson and parquet").optional(),
});

/** Takes bytes; false when nobody takes any more. */
type Write = (bytes: Buffer) => Promise<boolean>;

async function recover(context: Context, text: string, flags: unknown): Promise<ExitCode> {
  const { at, output: file, format = file?.endsWith(".parquet") === true ? "parquet" : "ndjson" } = parseFlags(FLAGS, flags);
  if (format === "parquet" && file === undefined) throw callError("bad-flag", "a Parquet file is read from its end: name a file with -o");
  const target = parseTarget(text);
  const request = { ...target, ...(at !== undefined && { at: parseAt(at) }) };
  return withWorld(context, async (world) => {
    const recovery = await recoverTable(world, request);
    // Without a time that it waits for, a state that is empty is what was asked for.
    const byTime = request.at !== undefined && "timeMs" in request.at;
    const work = { recovery, byTime };
    if (format === "parquet" && file !== undefined) {
      const shards = await writeWholeFile(file, (whole) => writeSnapshot(context, work, whole));
      context.output.result({ table: target.table, file, shards }, `${shardsInWords(target.table, shards)}\nwritten to ${file}`);
      return EXIT.complete;
    }
    if (file === undefined) {
      const shards = await writeRecords(context, work, writeToStdout);
      context.output.note({ recovered: { table: target.table, shards } }, shardsInWords(target.table, shards));
      return EXIT.complete;
    }
    const shards = await writeWholeFile(file, (whole) =>
      writeRecords(context, work, async (bytes) => {
        await whole.write(bytes);
        return true;
      }),
    );
    context.output.result({ table: target.table, file, shards }, `${shardsInWords(target.table, shards)}\nwritten to ${file}`);
    return EXIT.complete;
  });
}

interface RecoveredShard {
  readonly shard: number;
  readonly index: number;
  readonly time: string | null;
  readonly position?: ShardView["position"];
  readonly from: number;
  readonly replayed: number;
  readonly final: boolean;
  readonly passedOver: ShardView["passedOver"];
  /** Absent where the records were not looked at. */
  readonly records?: number;
  readonly bytes: number;
}

async function writeRecords(
  { output, signal }: Context,
  { recovery, byTime }: { readonly recovery: TableRecovery; readonly byTime: boolean },
  write: Write,
): Promise<readonly RecoveredShard[]> {
  const lines = recordLines(recovery.table.codec);
  const shards: RecoveredShard[] = [];
  for await (const { id, view } of recovery.shards()) {
    let records = 0;
    let bytes = 0;
    let wanted = true;
    for await (const rows of view.rows()) {
      if (signal.aborted) throw interrupted("the state was not written to its end");
      const encoded = lines.encode(rows);
      wanted = await write(encoded);
      if (!wanted) break;
      releaseRows(rows);
      records += rows.count;
      bytes += encoded.length;
      output.progress(`${shardName(id)}: ${count(records, "record")}, ${bytesInWords(bytes)}`, records / view.rowsMax);
    }
    if (!wanted) break;
    shards.push({ ...recovered(id, view), final: view.final || !byTime, records, bytes });
  }
  return shards;
}

/** A snapshot is of one shard. */
async function writeSnapshot(
  { output, signal }: Context,
  { recovery, byTime }: { readonly recovery: TableRecovery; readonly byTime: boolean },
  whole: WholeFile,
): Promise<readonly RecoveredShard[]> {
  if (recovery.shardCount > 1) {
    const { name } = recovery.table;
    throw callError("shard-needed", `table ${name} has ${recovery.shardCount} shards, and a Parquet file is one shard's: name one, as ${name}/0`);
  }
  const shards: RecoveredShard[] = [];
  for await (const { id, view } of recovery.shards()) {
    let bytes = 0;
    for await (const chunk of view.snapshotFile()) {
      if (signal.aborted) throw interrupted("the state was not written to its end");
      if (chunk === "restart") {
        await whole.startOver();
        bytes = 0;
        continue;
      }
      await whole.write(chunk);
      bytes += chunk.length;
      release(chunk);
      output.progress(`${shardName(id)}: ${bytesInWords(bytes)}`);
    }
    shards.push({ ...recovered(id, view), final: view.final || !byTime, bytes });
  }
  return shards;
}

function recovered({ shard }: ShardId, { index, timeMs, position, from, replayed, passedOver }: ShardView) {
  const time = timeMs === 0 ? null : new Date(timeMs).toISOString();
  return { shard, index, time, ...(position && { position }), from, replayed, passedOver };
}

function shardsInWords(table: string, shards: readonly RecoveredShard[]): string {
  return shards.map((shard) => shardInWords(shardName({ table, shard: shard.shard }), shard)).join("\n");
}

function shardInWords(name: string, { index, time, from, replayed, final, passedOver, records, bytes }: RecoveredShard): string {
  const source = from === 0 ? "the log alone" : `the snapshot at index ${grouped(from)}`;
  const fellBack = passedOver.length === 0 ? "" : `; passed over for damage: ${passedOver.map(({ key }) => key).join(", ")}`;
  const open = final ? "" : "; the log has not passed that state yet: later appends may still add to it";
  const held = records === undefined ? bytesInWords(bytes) : `${count(records, "record")}, ${bytesInWords(bytes)}`;
  return `${name}: ${held}, at index ${grouped(index)} of ${timeInWords(time === null ? 0 : Date.parse(time))}, from ${source} and ${count(replayed, "mutation")} behind it${fellBack}${open}`;
}
