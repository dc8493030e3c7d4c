// Programs that tests and benches need and npm does not bring: made once, in a cache outside the clone.
// What is made gets its name when it is whole: a killed set-up leaves nothing half, and of two at once one wins.

import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

/** Building a program of Go from an empty module cache takes minutes. */
export const GO_INSTALL_MS_MAX = 600_000;

/** A program that Go builds: the path of its package, whose last name is the program's. */
export interface GoProgram {
  readonly path: string;
  readonly version: string;
}

export function cachePath(name: string): string {
  const { TIDEMARK_CACHE, XDG_CACHE_HOME } = process.env;
  return join(TIDEMARK_CACHE ?? join(XDG_CACHE_HOME ?? join(homedir(), ".cache"), "tidemark"), name);
}

/** The folder of that name in the cache; where it is not there yet, `make` fills one that is empty. */
export async function cached(name: string, make: (folder: string) => Promise<void>): Promise<string> {
  const folder = cachePath(name);
  if (existsSync(folder)) return folder;
  await mkdir(cachePath(""), { recursive: true });
  const making = await mkdtemp(`${folder}.making-`);
  try {
    await make(making);
    await rename(making, folder).catch((error: unknown) => {
      if (!existsSync(folder)) throw error;
    });
  } finally {
    await rm(making, { recursive: true, force: true });
  }
  return folder;
}

/** The program's file, built if it is not there yet. */
export async function goInstall(program: GoProgram): Promise<string> {
  await cached(folderOf(program), async (folder) => {
    try {
      await promisify(execFile)("go", ["install", `${program.path}@${program.version}`], {
        env: { ...process.env, GOBIN: folder },
        timeout: GO_INSTALL_MS_MAX,
      });
    } catch (error) {
      throw new Error(`${folderOf(program)} could not be built: have Go (https://go.dev/dl) and a network that reaches its module proxy`, { cause: error });
    }
  });
  return goBinary(program);
}

/** Where the program's file is once it is built. */
export function goBinary(program: GoProgram): string {
  return join(cachePath(folderOf(program)), process.platform === "win32" ? `${nameOf(program)}.exe` : nameOf(program));
}

function folderOf(program: GoProgram): string {
  return `${nameOf(program)}-${program.version}`;
}

function nameOf({ path }: GoProgram): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
