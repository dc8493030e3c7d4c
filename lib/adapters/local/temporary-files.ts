// Files that are not finished: written under a temporary name, made durable, then linked or renamed into place. A
// process that is killed leaves some behind; the next that opens the store sweeps them.
//
// A name tells whose it is: machine, boot and process space, process id and that process's start, since ids are used
// again. Only what provably has no owner is swept at once. Whatever is older than a day is swept too: no write takes
// that long, and a writer whose file is taken away finds that its link fails and says "retry", so no harm is done.

import { hash, randomBytes } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { type FileHandle, lstat, open, readdir, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { systemCode } from "./faults.ts";

const AGE_MS_MAX = 24 * 60 * 60_000;
const NAME = /^([0-9a-f]{8})\.([0-9a-f]{8})\.([1-9][0-9]*)\.([0-9]+)\.[0-9a-f]{16}\.tmp$/;

interface Owner {
  /** The machine's name and the space within which process ids are told apart, both hashed. */
  readonly machine: string;
  readonly space: string;
  readonly pid: number;
  /** When the process started, in ticks since the boot; "0" where the system does not tell. */
  readonly start: string;
}

const self: Owner = {
  machine: short(hostname()),
  space: short(`${textOf(() => readFileSync("/proc/sys/kernel/random/boot_id", "latin1"))} ${textOf(() => readlinkSync("/proc/self/ns/pid"))}`),
  pid: process.pid,
  start: startOf(process.pid),
};

/** A name of this process's, never given out before. */
export function temporaryName(): string {
  return `${self.machine}.${self.space}.${self.pid}.${self.start}.${randomBytes(8).toString("hex")}.tmp`;
}

/** Creates the file, lets `fill` write it and makes its bytes durable. Leaves no file behind when that fails. */
export async function writeDurably<T>(path: string, fill: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(path, "wx");
  try {
    const result = await fill(file);
    await file.datasync();
    return result;
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  } finally {
    await file.close();
  }
}

/** Writes all of the chunk, behind what was written or at `position`; one call of the system may write less. */
export async function writeAll(file: FileHandle, chunk: Uint8Array, position?: number): Promise<void> {
  for (let written = 0; written < chunk.length; ) {
    const place = position === undefined ? null : position + written;
    written += (await file.write(chunk, written, chunk.length - written, place)).bytesWritten;
  }
}

/** Removes the temporary files and directories in a directory that nobody will finish. */
export async function sweep(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    const path = join(directory, name);
    if (NAME.test(name) && (isOrphan(name) || (await isOld(path)))) await rm(path, { recursive: true, force: true });
  }
}

/** Whether the process that made a temporary name has provably ended. */
export function isOrphan(name: string): boolean {
  const match = NAME.exec(name);
  if (match === null) return false;
  const [, machine, space, pid, start] = match;
  if (machine !== self.machine || space !== self.space) return false;
  if (!isRunning(Number(pid))) return true;
  const startNow = startOf(Number(pid));
  return start !== "0" && startNow !== "0" && start !== startNow;
}

async function isOld(path: string): Promise<boolean> {
  try {
    return Date.now() - (await lstat(path)).mtimeMs > AGE_MS_MAX;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return false;
    throw error;
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) !== "ESRCH";
  }
}

function startOf(pid: number): string {
  // The second field, the program's name, stands in parentheses and may hold anything; the start is field 22.
  const stat = textOf(() => readFileSync(`/proc/${pid}/stat`, "latin1"));
  const start = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  return /^[0-9]+$/.test(start) ? start : "0";
}

function textOf(read: () => string): string {
  try {
    return read();
  } catch {
    return ""; // Not Linux, or a process that ended: nothing to tell.
  }
}

function short(text: string): string {
  return hash("sha256", text, "hex").slice(0, 8);
}
