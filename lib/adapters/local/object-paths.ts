// Keys as paths below a directory, and never outside it.

import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { callError } from "../../model/errors.ts";
import { compareByBytes } from "../byte-order.ts";
import { systemCode } from "./faults.ts";

/** The path of an object; refuses a key that names no file below `root`. */
export function objectPath(root: string, key: string): string {
  if (!isSafeKey(key)) {
    throw callError("bad-key", `${JSON.stringify(key)} is not an object's key: use names joined by single slashes, none of them "." or ".."`);
  }
  return join(root, ...key.split("/"));
}

export function isSafeKey(key: string): boolean {
  if (key.includes("\0") || key.includes("\\") || !key.isWellFormed()) return false;
  return key.split("/").every((segment) => segment !== "" && segment !== "." && segment !== "..");
}

interface Entry {
  readonly name: string;
  readonly isDirectory: boolean;
}

/**
 * The objects below `root` whose keys start with `prefix` and lie behind `after`, in byte order of keys. Reads only
 * the directories that can hold some, one at a time.
 */
export async function* walkObjects(root: string, prefix: string, after: string | undefined): AsyncGenerator<{ readonly key: string; readonly size: number }> {
  const start = prefix.slice(0, prefix.lastIndexOf("/") + 1);
  if (start !== "" && !isSafeKey(start.slice(0, -1))) return;
  yield* walk(start);

  async function* walk(parent: string): AsyncGenerator<{ readonly key: string; readonly size: number }> {
    for (const { name, isDirectory } of await entriesOf(join(root, parent), (entry) => mayHold(parent, entry))) {
      const key = `${parent}${name}`;
      if (isDirectory) yield* walk(`${key}/`);
      else {
        const size = await sizeOf(join(root, key));
        if (size !== undefined) yield { key, size };
      }
    }
  }

  /** Whether the entry is, or its directory can hold, an object that is asked for. */
  function mayHold(parent: string, { name, isDirectory }: Entry): boolean {
    const key = `${parent}${name}`;
    if (!isDirectory) return key.startsWith(prefix) && (after === undefined || compareByBytes(key, after) > 0);
    const below = `${key}/`;
    if (!below.startsWith(prefix) && !prefix.startsWith(below)) return false;
    return after === undefined || after.startsWith(below) || compareByBytes(below, after) > 0;
  }
}

async function entriesOf(directory: string, isWanted: (entry: Entry) => boolean): Promise<Entry[]> {
  try {
    const entries: Entry[] = [];
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      const wanted = { name: entry.name, isDirectory: entry.isDirectory() };
      if (isWanted(wanted)) entries.push(wanted);
    }
    return entries.sort(compareEntries);
  } catch (error) {
    if (isAbsence(error)) return [];
    throw error;
  }
}

/** A directory's objects are behind its name and a slash: "a.b" comes before "a/b", since "." comes before "/". */
function compareEntries(a: Entry, b: Entry): number {
  return compareByBytes(a.isDirectory ? `${a.name}/` : a.name, b.isDirectory ? `${b.name}/` : b.name);
}

/** The size of a file; undefined if there is none, or something else. */
export async function sizeOf(path: string): Promise<number | undefined> {
  try {
    const found = await stat(path);
    return found.isFile() ? found.size : undefined;
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}

/** Whether an error says that there is no file: no such name, a file where a directory would be, or a directory itself. */
export function isAbsence(error: unknown): boolean {
  const code = systemCode(error);
  return code === "ENOENT" || code === "ENOTDIR" || code === "EISDIR";
}
