import { once } from "node:events";
import { Command } from "commander";
import { z } from "zod";
import { checkTableName } from "../../../lib/model/names.ts";
import { addressInWords, parseAddress } from "../../../lib/sources/influxdb/connection.ts";
import { serve } from "../../../lib/sources/influxdb/serve.ts";
import { type Context, type Run, withWorld } from "../../context.ts";
import { EXIT, type ExitCode } from "../../exit-codes.ts";
import { parseFlags } from "../../flags.ts";
import { bytesInWords } from "../../words.ts";
import { atFlag, parseGenerationAt } from "./generation-at.ts";

export function serveCommand(run: Run): Command {
  return new Command("serve")
    .argument("<name>", "what the backup is called")
    .description("answer the snapshotter's protocol from the backups, for influxd backup and influxd restore")
    .option("--listen <address>", "HOST:PORT to listen on; the protocol has no passwords, so keep it to this machine", "127.0.0.1:8088")
    .option(...atFlag)
    .addHelpText("after", `\n${EXAMPLES}`)
    .action((name: string, flags: unknown, command: Command) => run(command, (context) => listen(context, name, flags)));
}

const EXAMPLES = `Runs until it is stopped (SIGINT, SIGTERM), and then waits for the requests in flight. What is restored to it becomes generations;
with --at one generation is served, and nothing is taken in. It hands out the password hashes of the backup's users, as any server does.

Examples:
  tidemark influxdb serve metrics
  influxd backup -portable -host 127.0.0.1:8088 ./portable`;

const FLAGS = z.strictObject({ listen: z.string(), at: z.string().optional() });

async function listen(context: Context, name: string, flags: unknown): Promise<ExitCode> {
  const { listen: address, at } = parseFlags(FLAGS, flags);
  checkTableName(name);
  const { output, signal } = context;
  await withWorld(context, async (world) => {
    const serving = await serve(world, {
      name,
      listen: parseAddress(address, 0),
      ...(at !== undefined && { at: parseGenerationAt(at) }),
      onRequest: ({ request, bytes, error }) => {
        if (error !== undefined) output.warning(`${request}: ${error}`);
        else output.note({ request, bytes }, `${request}: ${bytesInWords(bytes)}`);
      },
    });
    output.result({ listening: addressInWords(serving.address) }, `${name} is served on ${addressInWords(serving.address)}`);
    if (!signal.aborted) await once(signal, "abort");
    await serving.close();
  });
  return EXIT.complete;
}
