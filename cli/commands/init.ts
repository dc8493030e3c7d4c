import { Command } from "commander";
import type { Context, Run } from "../context.ts";
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

async function init({ output, store }: Context): Promise<ExitCode> {
  const { kind } = await initStore(store);
  const where = storeName(store);
  output.result({ store: where, kind }, kind === "created" ? `${where} is ready` : `${where} was ready before`);
  return EXIT.complete;
}

function storeName(store: StoreUrl): string {
  return store.kind === "file" ? `file:${store.path}` : `s3://${store.bucket}/${store.prefix} with DynamoDB table ${store.table}`;
}
