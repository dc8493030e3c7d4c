// Directories that survive a power cut. A file is durable once its bytes, its name in the directory, and the names of
// all directories above it are. Making sure of the last costs an fsync for each, so what was made sure of is remembered.
//
// Another process may remove a directory that fell empty and a third one make it anew, without its name being durable
// yet. So a directory is remembered together with what tells it from a later one, and looked at again after each link.

import type { BigIntStats } from "node:fs";
import { mkdir, open, rmdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { assert } from "../../model/assert.ts";
import { TidemarkError } from "../../model/errors.ts";
import { systemCode } from "./faults.ts";

const ATTEMPTS_MAX = 100;

export interface Directories {
  /** Makes the directory, and those above it, if need be, durably. */
  ensure(directory: string): Promise<void>;
  /** Makes the names in an ensured directory durable; one that is gone by now has none. */
  sync(directory: string): Promise<void>;
  /** After a directory was found missing: makes sure again of it and those above. */
  forget(directory: string): void;
  /** Removes the directory if it is empty, then those above that are. */
  prune(directory: string): Promise<void>;
}

/** `root` exists and is durable; all directories handed in lie below it or are it. */
export function directoriesBelow(root: string): Directories {
  const known = new Map<string, string>();

  async function ensure(directory: string): Promise<void> {
    if (directory === root || known.has(directory)) return;
    assert(directory.length > root.length, `${directory} lies below ${root}`);
    const parent = dirname(directory);
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      await ensure(parent);
      try {
        await makeDirectory(directory);
        // First the identity, then the sync: should the directory be replaced between, the identity tells.
        const identity = identityOf(await stat(directory, { bigint: true }));
        await syncDirectory(parent);
        known.set(directory, identity);
        return;
      } catch (error) {
        if (systemCode(error) !== "ENOENT") throw error;
        forget(parent);
      }
    }
    throw new TidemarkError("retry", "directory-contended", `${directory} is removed as often as it is made: call again`);
  }

  async function sync(directory: string): Promise<void> {
    const identity = await syncDirectory(directory);
    if (identity === undefined || directory === root || identity === known.get(directory)) return;
    forget(directory);
    await ensure(directory);
  }

  function forget(directory: string): void {
    for (let above = directory; above.length > root.length; above = dirname(above)) known.delete(above);
  }

  async function prune(directory: string): Promise<void> {
    for (let above = directory; above.length > root.length; above = dirname(above)) {
      if (!(await removeEmpty(above))) return;
      known.delete(above);
    }
  }

  return { ensure, sync, forget, prune };
}

/** Makes the names in a directory durable, and tells the directory's identity; undefined if it is not there. */
export async function syncDirectory(directory: string): Promise<string | undefined> {
  // Windows cannot sync a directory; its file system journals names by itself.
  if (process.platform === "win32") return undefined;
  try {
    const handle = await open(directory, "r");
    try {
      await handle.sync();
      return identityOf(await handle.stat({ bigint: true }));
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Makes a directory whose parent exists; false if it stood there already. */
export async function makeDirectory(directory: string): Promise<boolean> {
  try {
    await mkdir(directory);
    return true;
  } catch (error) {
    if (systemCode(error) === "EEXIST") return false;
    throw error;
  }
}

/** Inode numbers are used again at once, so the time of birth belongs to it. */
function identityOf({ dev, ino, birthtimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${birthtimeNs}`;
}

async function removeEmpty(directory: string): Promise<boolean> {
  try {
    await rmdir(directory);
    return true;
  } catch (error) {
    // Not empty, gone, or not ours to remove: an empty directory that stays harms nobody.
    if (systemCode(error) !== undefined) return false;
    throw error;
  }
}
