// A file that is there whole or not at all: written beside its place under another name, synced, and renamed.

import { randomUUID } from "node:crypto";
import { type FileHandle, lstat, rename, rm } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { syncDirectory } from "../lib/adapters/local/directories.ts";
import { writeAll, writeDurably } from "../lib/adapters/local/temporary-files.ts";
import { callError, isTidemarkError, TidemarkError } from "../lib/model/errors.ts";

export interface WholeFile {
  write(bytes: Buffer): Promise<void>;
  /** What was written so far is void. */
  startOver(): Promise<void>;
}

/**
 * Whatever `fill` writes becomes the file, in place of one that was there; if it throws, nothing is left.
 * @throws {TidemarkError} `call` "bad-file", `wait` "no-space"
 */
export async function writeWholeFile<T>(path: string, fill: (file: WholeFile) => Promise<T>): Promise<T> {
  const place = resolve(path);
  await refuseOtherThanFile(place);
  const temporary = `${place}.${randomUUID()}.tmp`;
  try {
    const filled = await writeDurably(temporary, (file) => fill(wholeFile(file, place)));
    await rename(temporary, place);
    await syncDirectory(dirname(place));
    return filled;
  } catch (error) {
    await rm(temporary, { force: true });
    throw fileFault(error, place);
  }
}

/** The system's errors at a file of the caller's, as faults that say what to do. */
export function fileFault(error: unknown, path: string): Error {
  if (!(error instanceof Error)) return new Error(`working with ${path} failed: ${String(error)}`);
  if (isTidemarkError(error) || !("syscall" in error) || !("code" in error)) return error;
  switch (error.code) {
    case "ENOSPC":
    case "EDQUOT":
    case "EFBIG":
      return new TidemarkError("wait", "no-space", `no space is left for ${path}: make room, or name another place`, {
        cause: error,
      });
    case "ENOENT":
      return callError("bad-file", `there is no ${path}: correct the name`, error);
    case "EISDIR":
      return callError("bad-file", `${path} is a directory: name a file`, error);
    default:
      return callError("bad-file", `${path} cannot be used (${error.message}): name another file`, error);
  }
}

/** A rename would put a file in the place of a device, a pipe, or a link such as /dev/stdout. */
async function refuseOtherThanFile(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined || found.isFile()) return;
  const what = found.isDirectory() ? "a directory" : found.isSymbolicLink() ? "a symbolic link" : "no regular file";
  throw callError("bad-file", `${path} is ${what}: name a file, or leave -o away and redirect the output`);
}

function wholeFile(file: FileHandle, place: string): WholeFile {
  let end = 0;
  return {
    async write(bytes) {
      try {
        await writeAll(file, bytes, end);
        end += bytes.length;
      } catch (error) {
        throw fileFault(error, place);
      }
    },
    async startOver() {
      await file.truncate(0);
      end = 0;
    },
  };
}
