import { Command } from "commander";
import { z } from "zod";
import { createTable, deleteTable, getTable, listTables, updateTable } from "../../lib/jobs/tables.ts";
import { callError } from "../../lib/model/errors.ts";
import { KEEP_SNAPSHOTS_MIN, SHARDS_MAX } from "../../lib/model/limits.ts";
import { CAPTURE_LOG_PERCENT_MAX, POLICY_DEFAULTS, type Table, type TablePolicy } from "../../lib/model/table.ts";
import { type Context, type Run, withWorld } from "../context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { duration, hundredths, parseFlags, seconds, waitingTime, wholeNumber } from "../flags.ts";
import { columns, count, grouped } from "../words.ts";

export function tableCommand(run: Run): Command {
  const table = new Command("table").description("create, list, show, update or delete tables").addHelpText("after", `\n${EXAMPLES}`);
  withPolicyFlags(table.command("create").argument("<name>", "letters a-z, digits, - _ . ; at most 64").description("create a table"))
    .option("--shards <n>", "parts that are written side by side; cannot be changed (default: 1)")
    .option("--value <codec>", "json (kept byte for byte) or bytes; cannot be changed (default: json)")
    .addHelpText("after", `\nExample:\n  tidemark table create players --shards 4 --keep-for 7d`)
    .action((name: string, flags: unknown, command: Command) => run(command, (context) => create(context, name, flags)));
  table
    .command("list")
    .description("list all tables")
    .addHelpText("after", `\nExample:\n  tidemark --json table list`)
    .action((_flags, command: Command) => run(command, list));
  table
    .command("show")
    .argument("<name>")
    .description("show a table's settings")
    .addHelpText("after", `\nExample:\n  tidemark table show players`)
    .action((name: string, _flags: unknown, command: Command) => run(command, (context) => show(context, name)));
  withPolicyFlags(table.command("update").argument("<name>").description("change a table's settings; those that are not named stay"))
    .addHelpText("after", `\nExample:\n  tidemark table update players --capture-after 300 --keep-snapshots 5`)
    .action((name: string, flags: unknown, command: Command) => run(command, (context) => update(context, name, flags)));
  table
    .command("delete")
    .argument("<name>")
    .description("delete a table with all it holds, at once and for good; may be repeated where it was cut short")
    .addHelpText("after", `\nExample:\n  tidemark table delete players`)
    .action((name: string, _flags: unknown, command: Command) => run(command, (context) => remove(context, name)));
  return table;
}

const EXAMPLES = `Examples:
  tidemark table create players --shards 4 --keep-for 7d
  tidemark table list
  tidemark table update players --capture-after 300
  tidemark table delete players`;

function withPolicyFlags(command: Command): Command {
  return command
    .option("--capture-log-share <share>", `capture once the log is so large a part of the snapshot (default: ${POLICY_DEFAULTS.captureLogPercent / 100})`)
    .option("--recover-within <duration>", `capture once a recovery is expected to take longer (default: ${POLICY_DEFAULTS.recoverWithinMs / 1_000}s)`)
    .option("--capture-after-mutations <n>", `capture at the latest once so many mutations wait (default: ${POLICY_DEFAULTS.captureAfterMutations})`)
    .option(
      "--capture-after <seconds>",
      `capture at the latest so long after the last one, if a mutation waits (default: ${POLICY_DEFAULTS.captureAfterMs / 1_000})`,
    )
    .option("--captures-together <n>", `captures that a planner asks for at a time (default: ${POLICY_DEFAULTS.capturesTogetherMax}, no limit)`)
    .option("--keep-snapshots <n>", `keep so many snapshots, and the log back to the oldest of them (default: ${POLICY_DEFAULTS.keepSnapshots})`)
    .option("--keep-for <duration>", `keep every state of so long a time: 90s, 15m, 36h, 7d, 2w (default: ${POLICY_DEFAULTS.keepForMs})`)
    .option("--compaction-overhead <mutations>", `keep so many mutations behind the checkpoint in any case (default: ${POLICY_DEFAULTS.compactionOverhead})`);
}

const POLICY_FLAGS = {
  captureLogShare: hundredths(CAPTURE_LOG_PERCENT_MAX).optional(),
  recoverWithin: waitingTime.optional(),
  captureAfterMutations: wholeNumber(1).optional(),
  captureAfter: seconds(1_000).optional(),
  capturesTogether: wholeNumber(1, SHARDS_MAX).optional(),
  keepSnapshots: wholeNumber(KEEP_SNAPSHOTS_MIN, 10_000).optional(),
  keepFor: duration.optional(),
  compactionOverhead: wholeNumber(0).optional(),
};

const UPDATE_FLAGS = z.strictObject(POLICY_FLAGS);

const CREATE_FLAGS = z.strictObject({
  ...POLICY_FLAGS,
  shards: wholeNumber(1, SHARDS_MAX).optional(),
  value: z.enum(["json", "bytes"], "write json or bytes").optional(),
});

async function create(context: Context, name: string, flags: unknown): Promise<ExitCode> {
  const { shards, value, ...policy } = parseFlags(CREATE_FLAGS, flags);
  const request = { name, ...(shards !== undefined && { shards }), ...(value !== undefined && { codec: value }), ...policyOf(policy) };
  const table = await withWorld(context, (world) => createTable(world, request));
  context.output.result(tableDocument(table), `table ${name} is made, with ${count(table.shards, "shard")} of ${table.codec} values`);
  return EXIT.complete;
}

async function list(context: Context): Promise<ExitCode> {
  const tables = await withWorld(context, listTables);
  const rows = tables.map(({ name, shards, codec, state }) => [name, grouped(shards), codec, state]);
  context.output.result(
    { tables: tables.map(tableDocument) },
    tables.length === 0 ? "there are no tables" : columns([["table", "shards", "value", "state"], ...rows]),
  );
  return EXIT.complete;
}

async function show(context: Context, name: string): Promise<ExitCode> {
  const table = await withWorld(context, (world) => getTable(world, name));
  context.output.result(tableDocument(table), settings(table));
  return EXIT.complete;
}

async function update(context: Context, name: string, flags: unknown): Promise<ExitCode> {
  const policy = policyOf(parseFlags(UPDATE_FLAGS, flags));
  if (Object.keys(policy).length === 0) throw callError("bad-flag", "nothing is to be changed: name a setting; --help shows them");
  const table = await withWorld(context, (world) => updateTable(world, name, policy));
  context.output.result(tableDocument(table), settings(table));
  return EXIT.complete;
}

async function remove(context: Context, name: string): Promise<ExitCode> {
  await withWorld(context, (world) => deleteTable(world, name));
  context.output.result({ table: name, deleted: true }, `table ${name} is deleted`);
  return EXIT.complete;
}

function policyOf(flags: z.output<typeof UPDATE_FLAGS>): Partial<TablePolicy> {
  const { captureLogShare, recoverWithin, captureAfterMutations, captureAfter, capturesTogether, keepSnapshots, keepFor, compactionOverhead } = flags;
  return {
    ...(captureLogShare !== undefined && { captureLogPercent: captureLogShare }),
    ...(recoverWithin !== undefined && { recoverWithinMs: recoverWithin }),
    ...(captureAfterMutations !== undefined && { captureAfterMutations }),
    ...(captureAfter !== undefined && { captureAfterMs: captureAfter }),
    ...(capturesTogether !== undefined && { capturesTogetherMax: capturesTogether }),
    ...(keepSnapshots !== undefined && { keepSnapshots }),
    ...(keepFor !== undefined && { keepForMs: keepFor }),
    ...(compactionOverhead !== undefined && { compactionOverhead }),
  };
}

function tableDocument({ name, codec, createdAtMs, ...rest }: Table): object {
  return { table: name, value: codec, ...rest, createdAt: new Date(createdAtMs).toISOString() };
}

function settings(table: Table): string {
  return columns([
    ["table", table.name],
    ["shards", grouped(table.shards)],
    ["value", table.codec],
    ["capture", `once the log is ${grouped(table.captureLogPercent)} % of the snapshot, or a recovery takes ${grouped(table.recoverWithinMs / 1_000)} s`],
    ["at the latest", `after ${grouped(table.captureAfterMutations)} mutations, or ${grouped(table.captureAfterMs / 1_000)} s`],
    ["together", table.capturesTogetherMax >= table.shards ? "all shards" : `${grouped(table.capturesTogetherMax)} shards`],
    ["keep snapshots", grouped(table.keepSnapshots)],
    ["keep for", table.keepForMs === 0 ? "no window" : `${grouped(table.keepForMs / 1_000)} s`],
    ["compaction overhead", `${grouped(table.compactionOverhead)} mutations`],
    ["created", new Date(table.createdAtMs).toISOString()],
  ]);
}
