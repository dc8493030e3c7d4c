import { addAbortSignal, type Readable } from "node:stream";
import { createReadStream, ReadStream, statSync } from "node:fs";
import { Command } from "commander";
import { z } from "zod";
import { lastSequenceOf, tableWriter } from "../../lib/jobs/append.ts";
import { getTable } from "../../lib/jobs/tables.ts";
import { callError, isTidemarkError, TidemarkError } from "../../lib/model/errors.ts";
import { BATCH_MUTATIONS_MAX } from "../../lib/model/limits.ts";
import { checkProducer } from "../../lib/model/mutation.ts";
import { checkTableName, shardName } from "../../lib/model/names.ts";
import type { Table } from "../../lib/model/table.ts";
import type { World } from "../../lib/ports/world.ts";
import { type AppendReport, appendStream } from "../append-stream.ts";
import { readBatches } from "../../lib/ndjson/batches.ts";
import { type Context, interrupted, type Run, withWorld } from "../context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { parseFlags, sequence, wholeNumber } from "../flags.ts";
import { fileFault } from "../whole-file.ts";
import { bytesInWords, count, grouped } from "../words.ts";

export function appendCommand(run: Run): Command {
  return new Command("append")
    .argument("<table>")
    .argument("[file]", "NDJSON; - is stdin", "-")
    .description("append mutations, and print the last index of each shard")
    .option("--producer <id>", "who sends the batches: each of its batches applies once, however often it is sent")
    .option("--first-sequence <n>", "number of the first batch; needs --producer (default: 1)")
    .option("--batch <n>", `lines of a batch, at most (default: ${BATCH_LINES_DEFAULT})`)
    .addHelpText("after", `\n${EXAMPLES}`)
    .action((table: string, file: string, flags: unknown, command: Command) => run(command, (context) => append(context, { name: table, file, flags })));
}

const BATCH_LINES_DEFAULT = 1_000;
const FIRST_SEQUENCE_DEFAULT = 1n;

const EXAMPLES = `A line is {"op":"put"|"delete"|"patch","key":…,"value":…}; no op means put; "k" and "v" do for key and value; a table of
bytes takes values as base64. An empty line ends a batch. A batch is all or nothing in each shard.

Examples:
  echo '{"key":"ada","value":{"score":1}}' | tidemark append players
  tidemark append players changes.ndjson --producer loader-1
  tidemark append players changes.ndjson --producer loader-1 --first-sequence 41`;

/** Company for a batch: fewer, larger redo files. */
const LINGER_MS = 20;
const READ_BYTES = 1024 * 1024;

const FLAGS = z.strictObject({
  producer: z.string().optional(),
  firstSequence: sequence.optional(),
  batch: wholeNumber(1, BATCH_MUTATIONS_MAX).default(BATCH_LINES_DEFAULT),
});

async function append(context: Context, { name, file, flags }: { readonly name: string; readonly file: string; readonly flags: unknown }): Promise<ExitCode> {
  const { producer: producerName, firstSequence = FIRST_SEQUENCE_DEFAULT, batch: linesMax } = parseFlags(FLAGS, flags);
  const producer = producerName === undefined ? undefined : { name: producerName, firstSequence };
  if (producer !== undefined) checkProducer(producer.name, producer.firstSequence);
  else if (isNumbered(flags)) throw callError("bad-flag", "--first-sequence numbers the batches of a producer: name it with --producer");
  checkTableName(name);
  const { output, signal } = context;
  return withWorld(context, async (world) => {
    const table = await getTable(world, name);
    if (producer !== undefined && !isNumbered(flags)) await warnOfPassed(context, world, { table, producer: producer.name });
    const failed = new AbortController();
    const source = addAbortSignal(AbortSignal.any([signal, failed.signal]), openSource(file));
    const size = file === "-" ? undefined : statSync(file, { throwIfNoEntry: false })?.size;
    const report = await appendStream(tableWriter(world, table, { lingerMs: LINGER_MS }), {
      batches: readBatches(source, { codec: table.codec, linesMax }),
      ...(producer && { producer }),
      onAppended: (soFar) => output.progress(`${name}: ${appendedInWords(soFar)}`, shareRead(source, size)),
      onFailed: () => failed.abort(),
    });
    source.destroy();
    output.result(reportDocument(name, report), reportInWords(name, report));
    if (report.stopped === undefined) return EXIT.complete;
    throw stopError(report, sourceFault(report.stopped.error, { file, aborted: signal.aborted }));
  });
}

function isNumbered(flags: unknown): boolean {
  return "firstSequence" in Object(flags);
}

/** A producer that has appended before, and begins at 1 without having said so, may mean new changes: they would go nowhere, and nobody would hear of it. */
async function warnOfPassed({ output }: Context, world: World, { table, producer }: { readonly table: Table; readonly producer: string }): Promise<void> {
  const last = await lastOf(world, table, producer);
  if (last === undefined || last < FIRST_SEQUENCE_DEFAULT) return;
  output.warning(
    `producer ${producer} has come to sequence ${last} before: batches up to that may be taken for ones sent again, and change nothing; if they are new changes, append them again with --first-sequence ${last + 1n}`,
  );
}

/** What is damaged in the log is no matter of an append. */
async function lastOf(world: World, table: Table, producer: string): Promise<bigint | undefined> {
  try {
    return await lastSequenceOf(world, table, producer);
  } catch (error) {
    if (isTidemarkError(error) && (error.kind === "repair" || error.kind === "retry")) return undefined;
    throw error;
  }
}

function openSource(file: string): Readable {
  return file === "-" ? process.stdin : createReadStream(file, { highWaterMark: READ_BYTES });
}

/** How much of a file was read; unknown for a pipe. */
function shareRead(source: Readable, size: number | undefined): number | undefined {
  return source instanceof ReadStream && size !== undefined && size > 0 ? source.bytesRead / size : undefined;
}

function sourceFault(error: unknown, { file, aborted }: { readonly file: string; readonly aborted: boolean }): Error {
  if (aborted && !isTidemarkError(error)) return interrupted("the input was not read to its end");
  return fileFault(error, file === "-" ? "stdin" : file);
}

/** The error with what a caller needs to go on: where the appended prefix ends, and how to continue behind it. */
function stopError({ throughLine, nextSequence, stopped }: AppendReport, error: Error): Error {
  if (!isTidemarkError(error) || error.kind === "bug") return error;
  const done = throughLine === 0 ? "nothing was appended" : `lines 1 to ${throughLine} are appended`;
  const doubt =
    stopped === undefined || stopped.inDoubt === 0 ? "nothing behind them" : `of the ${count(stopped.inDoubt, "batch", "batches")} behind some may be`;
  const state = throughLine === 0 && stopped?.inDoubt === 0 ? done : `${done}, ${doubt}`;
  const goOn = `go on from line ${throughLine + 1}${nextSequence === undefined ? "" : ` with --first-sequence ${nextSequence}`}`;
  return new TidemarkError(error.kind, error.code, `${error.message}; ${state}; ${goOn}`, { cause: error });
}

function reportDocument(table: string, { stopped, ...report }: AppendReport): object {
  return { table, complete: stopped === undefined, ...report };
}

function reportInWords(table: string, report: AppendReport): string {
  const shards = report.shards.map(({ shard, lastIndex }) => `${shardName({ table, shard })}: last index ${grouped(lastIndex)}`);
  return [`appended ${appendedInWords(report)}`, ...shards].join("\n");
}

function appendedInWords({ mutations, batches, bytes }: AppendReport): string {
  return `${count(mutations, "mutation")} in ${count(batches, "batch", "batches")}, ${bytesInWords(bytes)}`;
}
