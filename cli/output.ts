// What a command says, and where: its answer on stdout, all else on stderr. With --json both are JSON, a document a line.

import { isTidemarkError } from "../lib/model/errors.ts";
import { bar } from "./words.ts";

export interface Output {
  readonly json: boolean;
  /** The answer: the document with --json, else the text. */
  result(document: object, text: string): void;
  /** What is good to know; silent with --quiet. */
  note(document: object, text: string): void;
  /** What went wrong without stopping the command. */
  warning(message: string, shard?: string): void;
  error(error: unknown, shard?: string): void;
  /** Shows what is going on, on a terminal, with a bar where the share of it that is done is known (0 to 1). The next message, or `stop`, takes it away. */
  progress(text: string, share?: number): void;
  stop(): void;
}

export interface OutputOptions {
  readonly json: boolean;
  readonly quiet: boolean;
}

export async function openOutput({ json, quiet }: OutputOptions): Promise<Output> {
  // A terminal that tells no width (0 columns) makes the spinner clear lines without end.
  const isShown = !quiet && process.stderr.isTTY && process.stderr.columns > 0;
  const spinner = isShown ? (await import("ora")).default({ stream: process.stderr, discardStdin: false }) : undefined;
  const stop = (): void => {
    spinner?.stop();
  };
  const toStdout = (text: string): void => {
    stop();
    process.stdout.write(`${text}\n`);
  };
  const toStderr = (document: object, text: string): void => {
    stop();
    process.stderr.write(`${json ? toJson(document) : text}\n`);
  };
  return {
    json,
    result: (document, text) => {
      if (json) toStdout(toJson(document));
      else if (text !== "") toStdout(text);
    },
    note: (document, text) => {
      if (!quiet) toStderr(document, text);
    },
    warning: (message, shard) => toStderr({ warning: { message, ...(shard !== undefined && { shard }) } }, `tidemark: warning: ${named(message, shard)}`),
    error: (error, shard) => toStderr({ error: errorDocument(error, shard) }, `tidemark: ${named(messageOf(error), shard)}`),
    progress: (text, share) => {
      if (spinner === undefined) return;
      spinner.text = share === undefined ? text : `${bar(share)} ${text}`;
      if (!spinner.isSpinning) spinner.start();
    },
    stop,
  };
}

/** An error as machines read it. */
export function errorDocument(error: unknown, shard?: string): object {
  const known = isTidemarkError(error) ? { kind: error.kind, code: error.code } : { kind: "bug", code: "unexpected" };
  return { ...known, message: messageOf(error), ...(shard !== undefined && { shard }) };
}

/** Sequences are bigints, which JSON has no word for: they go as strings. */
function toJson(document: object): string {
  return JSON.stringify(document, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));
}

/** The stack of what nobody expected goes into the report of a bug. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return isTidemarkError(error) && error.kind !== "bug" ? error.message : (error.stack ?? error.message);
}

function named(message: string, shard: string | undefined): string {
  return shard === undefined || message.includes(shard) ? message : `${shard}: ${message}`;
}
