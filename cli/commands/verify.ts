import { Command } from "commander";
import { getShards } from "../../lib/jobs/tables.ts";
import { parseTarget } from "../../lib/model/names.ts";
import { type VerifyReport, verifyShard } from "../../lib/recovery/verify.ts";
import { type Context, type Run, withWorld } from "../context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { eachShard, exitOfShards, shardDocument, shardLines } from "../shards.ts";
import { bytesInWords, count } from "../words.ts";

export function verifyCommand(run: Run): Command {
  return new Command("verify")
    .argument("<target>", "TABLE or TABLE/SHARD")
    .description("read every byte that is kept, check every checksum and chain, replay the log and compare")
    .addHelpText("after", `\n${EXAMPLES}`)
    .action((target: string, _flags: unknown, command: Command) => run(command, (context) => verify(context, target)));
}

const EXAMPLES = `Changes nothing. Damage is exit code 5, each finding with the object's name.

Examples:
  tidemark verify players
  tidemark --json verify players/3`;

async function verify(context: Context, text: string): Promise<ExitCode> {
  const target = parseTarget(text);
  return withWorld(context, async (world) => {
    const { table, ids } = await getShards(world, target);
    const results = await eachShard(context, ids, (id) => verifyShard(world, { id, codec: table.codec }));
    context.output.result(
      { table: table.name, shards: results.map((result) => shardDocument(result, (report) => report)) },
      shardLines(results, reportInWords),
    );
    return exitOfShards(results, ({ findings }) => (findings.length === 0 ? EXIT.complete : EXIT.damage));
  });
}

function reportInWords(shard: string, { bytes, redoFiles, generations, replayed, findings }: VerifyReport): string {
  const read = `${count(generations, "snapshot")} and ${count(redoFiles, "redo file")} read, ${bytesInWords(bytes)}; ${count(replayed, "mutation")} replayed and compared`;
  if (findings.length === 0) return `${shard}: sound: ${read}`;
  return [`${shard}: damaged: ${read}`, ...findings.map(({ object, what }) => `  ${object}: ${what}`)].join("\n");
}
