// A process of a peer that stays while tasks are done. It ends when it is told to, or when this process ends, however it does.

import { spawn } from "node:child_process";
import { once } from "node:events";

export interface Resident {
  readonly pid: number;
  /** Asks it to end, and waits for that. */
  stop(): Promise<void>;
}

/** The shell's input is a pipe that this process holds: it closes when this process ends. */
const GUARD = `trap : INT TERM HUP; "$@" >&2 & echo $!; cat >/dev/null; kill $!; wait $!`;

export async function startResident(command: readonly string[], env: NodeJS.ProcessEnv): Promise<Resident> {
  const shell = spawn("sh", ["-c", GUARD, "sh", ...command], { env, stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(shell, "exit");
  const [pid] = await once(shell.stdout, "data");
  return {
    pid: Number(pid),
    async stop() {
      shell.stdin.end();
      await ended;
    },
  };
}
