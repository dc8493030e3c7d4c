// Runs a command that cannot outlive whoever started it: `node leash.ts <folder> <command> …`.
// Its standard input is a pipe that the starter holds. The pipe closes when the starter says so or dies, by SIGKILL too; then the
// command is killed with all that it started, and its folder is removed. That needs nothing of the system but process groups.

import { spawn } from "node:child_process";
import { rmSync } from "node:fs";

const [folder = "", command = "", ...args] = process.argv.slice(2);

const child = spawn(command, args, { detached: true, stdio: ["ignore", "inherit", "inherit"] });
child.once("error", (error) => {
  console.error(error);
  process.exit(1);
});
child.once("exit", (code) => {
  killGroup();
  process.exit(code ?? 1);
});
process.stdin.once("end", release).once("error", release).resume();

function release(): void {
  child.removeAllListeners("exit");
  killGroup();
  // What is being killed may write for an instant longer.
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  process.exit(0);
}

function killGroup(): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  } catch {
    // Nothing of the group is left.
  }
}
