// Runs the real command line on a store of its own.

import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";

export const MAIN = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Place {
  /** The working directory; the store is `.tidemark` in it. */
  readonly directory: string;
  run(words: readonly string[], input?: string | Uint8Array, variables?: Readonly<Record<string, string>>): Promise<Ran>;
  /** With --json; stdout parsed. */
  json(words: readonly string[], input?: string | Uint8Array): Promise<Omit<Ran, "stdout"> & { readonly document: unknown }>;
  remove(): Promise<void>;
}

export async function makePlace(): Promise<Place> {
  const directory = await mkdtemp(join(tmpdir(), "tidemark-cli-"));
  const run: Place["run"] = async (words, input = "", variables = {}) => {
    const { TIDEMARK_STORE: _, ...inherited } = process.env;
    const env = { ...inherited, ...variables };
    const child = spawn(process.execPath, [MAIN, ...words], { cwd: directory, env, stdio: "pipe" });
    // A command that ends before it has read all closes the pipe.
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
    const ended = new Promise<number | null>((resolve, reject) => {
      child.on("error", reject);
      child.on("close", resolve);
    });
    const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
    return { code, stdout, stderr };
  };
  return {
    directory,
    run,
    async json(words, input) {
      const { stdout, ...rest } = await run(["--json", ...words], input);
      return { ...rest, document: stdout === "" ? undefined : JSON.parse(stdout) };
    },
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}

/** NDJSON of puts. */
export function puts(entries: Readonly<Record<string, unknown>>): string {
  return Object.entries(entries)
    .map(([key, value]) => `${JSON.stringify({ key, value })}\n`)
    .join("");
}

export function lines(output: string): readonly unknown[] {
  return output
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}
