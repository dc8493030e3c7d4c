// The program: its commands, what they have in common, and how they end.

import { existsSync, readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { callError } from "../lib/model/errors.ts";
import { appendCommand } from "./commands/append.ts";
import { cleanupCommand } from "./commands/cleanup.ts";
import { costCommand } from "./commands/cost.ts";
import { getCommand } from "./commands/get.ts";
import { influxdbCommand } from "./commands/influxdb/influxdb.ts";
import { initCommand } from "./commands/init.ts";
import { planCommand } from "./commands/plan.ts";
import { recoverCommand } from "./commands/recover.ts";
import { repairCommand } from "./commands/repair.ts";
import { runCommand } from "./commands/run.ts";
import { snapshotCommand } from "./commands/snapshot.ts";
import { statusCommand } from "./commands/status.ts";
import { tableCommand } from "./commands/table.ts";
import { verifyCommand } from "./commands/verify.ts";
import type { Context, Run } from "./context.ts";
import { EXIT, EXIT_CODES_HELP, exitOfError, type ExitCode } from "./exit-codes.ts";
import { openOutput, type Output } from "./output.ts";
import { writeToStdout } from "./stdout.ts";
import { parseStoreUrl, STORE_DEFAULT } from "./store.ts";
import { fileFault } from "./whole-file.ts";

/** Runs one command line, without the program's own name. */
export async function main(words: readonly string[]): Promise<ExitCode> {
  const stdoutFault = watchStdout();
  // There is nowhere left to tell it, and the work goes on.
  process.stderr.on("error", () => undefined);
  let exit: ExitCode = EXIT.complete;
  const run: Run = async (command, action) => {
    const { store, json = false, quiet = false } = command.optsWithGlobals<GlobalFlags>();
    const output = await openOutput({ json, quiet });
    try {
      const context: Context = { output, signal: stopSignal(output), store: parseStoreUrl(store) };
      exit = await action(context);
      const fault = await stdoutFault();
      if (fault !== undefined) throw fault;
    } catch (error) {
      output.error(error);
      exit = exitOfError(error);
    } finally {
      output.stop();
    }
  };
  try {
    await program(run).parseAsync(words, { from: "user" });
    return exit;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.complete;
    const output = await openOutput({ json: words.includes("--json"), quiet: true });
    const told = error instanceof CommanderError ? wrongCall(error) : error;
    output.error(told);
    return exitOfError(told);
  }
}

interface GlobalFlags {
  readonly store: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

function program(run: Run): Command {
  const root = new Command("tidemark")
    .description("Serverless snapshots of keyed state: a redo log, captures, checkpoints, and any earlier state back.")
    .version(version(), "--version", "print the version")
    .option(
      "--store <url>",
      "file:PATH or s3://BUCKET/PREFIX?table=DYNAMODB_TABLE[&endpoint=URL][&region=R]; or TIDEMARK_STORE",
      process.env.TIDEMARK_STORE || STORE_DEFAULT,
    )
    .option("--json", "answers as JSON on stdout, errors and warnings as JSON on stderr")
    .option("--quiet", "no progress and no notes; warnings and errors stay")
    .addHelpText("after", `\n${EXAMPLES}\n\n${EXIT_CODES_HELP}`);
  const commands = [
    initCommand,
    tableCommand,
    appendCommand,
    snapshotCommand,
    cleanupCommand,
    recoverCommand,
    getCommand,
    statusCommand,
    planCommand,
    verifyCommand,
    repairCommand,
    runCommand,
    costCommand,
    influxdbCommand,
  ];
  for (const command of commands) root.addCommand(command(run));
  shareSettings(root);
  return root;
}

const EXAMPLES = `Examples:
  tidemark init
  tidemark table create players
  echo '{"key":"ada","value":{"score":1}}' | tidemark append players
  tidemark snapshot players
  tidemark recover players --at 2026-11-01T12:00Z
  tidemark run --every 60`;

/** Errors come back here instead of ending the process; each command has its own copy of that. */
function shareSettings(command: Command): void {
  command.exitOverride().configureOutput({ outputError: () => undefined });
  for (const child of command.commands) shareSettings(child);
}

function wrongCall(error: CommanderError): Error {
  // Without a command, the help has been shown in its place.
  const message = error.code === "commander.help" ? "no command is given" : error.message.replace(/^error: /, "").replaceAll("\n", " ");
  return callError("bad-flag", `${message}; --help shows what there is`, error);
}

/** The package's own; it lies one folder up in a clone, two when built. */
function version(): string {
  const place = ["../package.json", "../../package.json"].map((path) => new URL(path, import.meta.url)).find((path) => existsSync(path));
  return place === undefined ? "unknown" : String(JSON.parse(readFileSync(place, "utf8")).version);
}

/** The first signal asks the command to stop in order; the second ends the process as if there were no handler. */
function stopSignal(output: Output): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.once(name, () => {
      process.once(name, () => process.exit(name === "SIGINT" ? 130 : 143));
      const text = `${name}: stopping; once more stops at once`;
      output.note({ note: text }, text);
      controller.abort();
    });
  }
  return controller.signal;
}

/**
 * `tidemark recover t | head`: a reader that has enough is no fault, and what is written after that goes nowhere.
 * @returns the fault of a stdout that took not all, asked for when all is written
 */
function watchStdout(): () => Promise<Error | undefined> {
  let fault: Error | undefined;
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") fault = fileFault(error, "stdout");
  });
  return async () => {
    await writeToStdout(Buffer.alloc(0));
    return fault;
  };
}
