// Starts a command on a leash (leash.ts), its output going to a file.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const LEASH = fileURLToPath(new URL("./leash.ts", import.meta.url));
const TAIL_LINES = 30;

export interface Leashed {
  /** Settles when the command has ended, with its exit code. */
  readonly ended: Promise<number>;
  /** Kills it with all that it started, and removes its folder. */
  release(): Promise<void>;
}

export interface Command {
  readonly command: readonly [string, ...string[]];
  /** Removed when the command is released or this process dies. */
  readonly folder: string;
  readonly log: string;
  readonly env?: NodeJS.ProcessEnv;
}

export function startLeashed({ command, folder, log, env = process.env }: Command): Leashed {
  const output = openSync(log, "a");
  const leash: ChildProcess = spawn(process.execPath, [LEASH, folder, ...command], { detached: true, stdio: ["pipe", output, output], env });
  closeSync(output);
  const ended = once(leash, "exit").then(([code]) => Number(code ?? 1));
  const release = async () => {
    leash.stdin?.end();
    await ended;
  };
  return { ended, release };
}

export async function tailOf(log: string): Promise<string> {
  return (await readFile(log, "utf8")).trimEnd().split("\n").slice(-TAIL_LINES).join("\n");
}
