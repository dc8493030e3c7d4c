import { Command } from "commander";
import { checkTableName } from "../../../lib/model/names.ts";
import { type BackupVerifyReport, verifyBackup } from "../../../lib/sources/influxdb/verify.ts";
import { type Context, type Run, withWorld } from "../../context.ts";
import { EXIT, type ExitCode } from "../../exit-codes.ts";
import { bytesInWords, count } from "../../words.ts";

export function verifyCommand(run: Run): Command {
  return new Command("verify")
    .argument("<name>", "what the backup is called")
    .description("read every byte of every generation that is kept, and hold it against its SHA-256")
    .addHelpText("after", "\nChanges nothing. Damage is exit code 5, each finding with the object's name.")
    .action((name: string, _flags: unknown, command: Command) => run(command, (context) => verify(context, name)));
}

async function verify(context: Context, name: string): Promise<ExitCode> {
  checkTableName(name);
  const report = await withWorld(context, (world) => verifyBackup(world, name, context.signal));
  context.output.result({ name, ...report }, inWords(name, report));
  return report.findings.length === 0 ? EXIT.complete : EXIT.damage;
}

function inWords(name: string, { generations, attachments, bytes, findings }: BackupVerifyReport): string {
  const read = `${count(generations, "generation")} with ${count(attachments, "attachment")} read, ${bytesInWords(bytes)}`;
  if (findings.length === 0) return `${name}: sound: ${read}`;
  return [`${name}: damaged: ${read}`, ...findings.map(({ object, what }) => `  ${object}: ${what}`)].join("\n");
}
