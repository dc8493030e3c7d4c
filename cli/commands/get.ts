import { Command } from "commander";
import { z } from "zod";
import { getEntry } from "../../lib/jobs/recover.ts";
import { callError } from "../../lib/model/errors.ts";
import { checkTableName } from "../../lib/model/names.ts";
import { type Context, type Run, withWorld } from "../context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { parseAt, parseFlags } from "../flags.ts";
import { recordLines } from "../../lib/ndjson/record-lines.ts";

export function getCommand(run: Run): Command {
  return new Command("get")
    .argument("<table>")
    .argument("<key>")
    .description("print the value of one key, now or at an earlier state")
    .option("--at <index|time>", "an index of the key's shard, or a time as 2026-11-01T12:00Z")
    .addHelpText("after", `\n${EXAMPLES}`)
    .action((table: string, key: string, flags: unknown, command: Command) => run(command, (context) => get(context, { table, key, flags })));
}

const EXAMPLES = `Prints the value alone (bytes as base64); with --json the whole record. A key without a value is exit code 2.

Examples:
  tidemark get players ada
  tidemark get players ada --at 2026-11-01T12:00Z
  tidemark get pictures logo | base64 -d > logo.png`;

const FLAGS = z.strictObject({ at: z.string().optional() });

async function get(context: Context, { table, key, flags }: { readonly table: string; readonly key: string; readonly flags: unknown }): Promise<ExitCode> {
  const { at } = parseFlags(FLAGS, flags);
  const bound = at === undefined ? {} : parseAt(at);
  checkTableName(table);
  const found = await withWorld(context, (world) => getEntry(world, { table, key, at: bound }));
  if (found.kind === "absent") {
    throw callError(
      "unknown-key",
      `${JSON.stringify(key)} has no value in ${found.id.table}/${found.id.shard} at index ${found.view.index}: correct the key, or ask for another state`,
    );
  }
  const { value, index, timeMs, key: keyBytes } = found.entry;
  if (context.output.json) {
    const row = {
      count: 1,
      keys: keyBytes,
      keyEnds: Uint32Array.of(keyBytes.length),
      values: value,
      valueEnds: Uint32Array.of(value.length),
      indexes: Float64Array.of(index),
      times: Float64Array.of(timeMs),
    };
    process.stdout.write(recordLines(found.table.codec).encode(row));
  } else {
    process.stdout.write(found.table.codec === "json" ? value : value.toString("base64"));
    process.stdout.write("\n");
  }
  return EXIT.complete;
}
