import { Command } from "commander";
import { type CaptureProgress, type ShardStatus, shardStatus } from "../../lib/jobs/status.ts";
import { getShards, listTables, shardsOf } from "../../lib/jobs/tables.ts";
import { parseTarget, type ShardId, shardName } from "../../lib/model/names.ts";
import type { Table } from "../../lib/model/table.ts";
import type { World } from "../../lib/ports/world.ts";
import { type Context, type Run, withWorld } from "../context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { bytesInWords, columns, count, grouped, secondsInWords } from "../words.ts";

export function statusCommand(run: Run): Command {
  return new Command("status")
    .argument("[target]", "TABLE or TABLE/SHARD; all tables by default")
    .description("what each shard has, and how it fares")
    .addHelpText("after", `\n${EXAMPLES}`)
    .action((target: string | undefined, _flags: unknown, command: Command) => run(command, (context) => status(context, target)));
}

const EXAMPLES = `Reads the control items alone, no object: the tail is the last that was published.

Examples:
  tidemark status
  tidemark --json status players/3`;

/** Shards that are asked for at once. */
const SHARDS_AT_ONCE = 16;

interface TableStatus {
  readonly table: Table;
  readonly shards: readonly ShardStatus[];
}

async function status(context: Context, text: string | undefined): Promise<ExitCode> {
  const statuses = await withWorld(context, (world) => (text === undefined ? allTables(world) : oneTarget(world, text)));
  const document = { tables: statuses.map(({ table, shards }) => ({ table: table.name, state: table.state, shards: shards.map(statusDocument) })) };
  context.output.result(document, statuses.length === 0 ? "there are no tables" : statusTable(statuses));
  return EXIT.complete;
}

async function allTables(world: World): Promise<readonly TableStatus[]> {
  const statuses: TableStatus[] = [];
  for (const table of await listTables(world)) statuses.push(await tableStatus(world, table, shardsOf(table)));
  return statuses;
}

async function oneTarget(world: World, text: string): Promise<readonly TableStatus[]> {
  const { table, ids } = await getShards(world, parseTarget(text));
  return [await tableStatus(world, table, ids)];
}

async function tableStatus(world: World, table: Table, ids: readonly ShardId[]): Promise<TableStatus> {
  const shards: ShardStatus[] = [];
  for (let at = 0; at < ids.length; at += SHARDS_AT_ONCE) {
    shards.push(...(await Promise.all(ids.slice(at, at + SHARDS_AT_ONCE).map(({ shard }) => shardStatus(world, table, shard)))));
  }
  return { table, shards };
}

function statusDocument({ generations, checkpoint, ...rest }: ShardStatus): object {
  return {
    ...rest,
    ...(checkpoint && { checkpoint: { index: checkpoint.index, position: checkpoint.position, key: checkpoint.key, bytes: checkpoint.size } }),
    generations: generations.map(({ index, key, size, rows, mutations, state, verified, pins, capturedAtMs }) => ({
      index,
      key,
      bytes: size,
      rows,
      mutations,
      state,
      verified,
      pins: Object.keys(pins).length,
      capturedAt: new Date(capturedAtMs).toISOString(),
    })),
  };
}

function statusTable(statuses: readonly TableStatus[]): string {
  const heads = ["shard", "tail", "checkpoint", "kept from", "snapshots", "bytes", "recovery", "amplification", "next capture"];
  const rows = statuses.flatMap(({ table, shards }) => shards.map((shard) => shardCells(table, shard)));
  return columns([heads, ...rows]);
}

function shardCells(table: Table, status: ShardStatus): readonly string[] {
  const { shard, tail, checkpoint, lowWater, generations, outlook } = status;
  return [
    shardName({ table: table.name, shard }),
    grouped(tail),
    checkpoint === undefined ? "-" : grouped(checkpoint.index),
    grouped(lowWater),
    grouped(generations.length),
    bytesInWords(generations.reduce((sum, { size }) => sum + size, 0)),
    outlook === undefined ? "-" : secondsInWords(outlook.recovery.expectedMs),
    outlook?.writeAmplification === undefined ? "-" : outlook.writeAmplification.toFixed(2),
    table.state === "deleting" ? "being deleted" : nextCapture(status),
  ];
}

function progressInWords({ parts, bytes, bytesExpected, bytesPerSecond, expectedEndMs }: CaptureProgress): string {
  const done = `${count(parts, "part")}, ${bytesInWords(bytes)} of about ${bytesInWords(bytesExpected)}`;
  if (bytesPerSecond === undefined || expectedEndMs === undefined) return done;
  return `${done}, ${bytesInWords(bytesPerSecond)} a second, done about ${new Date(expectedEndMs).toISOString()}`;
}

function nextCapture({ capturing, progress, qualification }: ShardStatus): string {
  if (capturing) return progress === undefined ? "at work" : `at work: ${progressInWords(progress)}`;
  if (progress !== undefined) return `to go on: ${progressInWords(progress)}`;
  switch (qualification.kind) {
    case "idle":
      return "nothing new";
    case "qualifies":
      return `due: ${grouped(qualification.mutations)} mutations wait`;
    case "waits":
      return `by ${new Date(qualification.dueAtMs).toISOString()}: ${grouped(qualification.mutations)} mutations wait`;
  }
}
