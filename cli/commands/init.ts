import { Command } from "commander";
import { pair } from "../../lib/jobs/pair.ts";
import { type Context, type Run, withWorld } from "../context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { initStore, type StoreUrl } from "../store.ts";

export function initCommand(run: Run): Command {
  return new Command("init")
    .description("create what the store needs and lacks: the directory, or bucket and DynamoDB table")
    .addHelpText("after", `\n${EXAMPLES}`)
    .action((_flags, command: Command) => run(command, init));
}

const EXAMPLES = `Safe to repeat: what is there stays as it is. On AWS a deployed stack makes bucket and table.

Examples:
  tidemark init
  tidemark --store file:/var/lib/tidemark init
  tidemark --store 's3://states/prod?table=tidemark&region=eu-north-1' init`;

async function init(context: Context): Promise<ExitCode> {
  const { output, store } = context;
  const { kind } = await initStore(store);
  await withWorld(context, pair);
  const where = storeName(store);
  output.result({ store: where, kind }, kind === "created" ? `${where} is ready` : `${where} was ready before`);
  return EXIT.complete;
}

function storeName(store: StoreUrl): string {
  return store.kind === "file" ? `file:${store.path}` : `s3://${store.bucket}/${store.prefix} with DynamoDB table ${store.table}`;
}
