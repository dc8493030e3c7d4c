// The peers' programs, at pinned versions, each made once in the project's cache.

import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFile, cp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { cached } from "../../test/cache.ts";

const BUILD_MS_MAX = 1_800_000;
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024;

/** Runs a command to its end; what it prints. */
export async function exec(command: string, ...args: readonly string[]): Promise<string> {
  return (await promisify(execFile)(command, args, { maxBuffer: OUTPUT_BYTES_MAX, timeout: BUILD_MS_MAX })).stdout;
}

/** Whether the command is there, and runs with these arguments. */
export async function has(command: string, ...args: readonly string[]): Promise<boolean> {
  return exec(command, ...args).then(
    () => true,
    () => false,
  );
}

/** The python of an environment with what the file requires. Only that: an environment's scripts do not stand the rename of its folder. */
export async function pythonWith(requirements: string): Promise<string> {
  const text = await readFile(requirements, "utf8");
  const folder = await cached(`peers-python-${digest(text, await exec("python3", "-VV"))}`, async (making) => {
    console.error(`setting up ${text.trim().replaceAll("\n", ", ")} (only once)…`);
    await exec("python3", "-m", "venv", making);
    await exec(join(making, "bin", "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements);
  });
  return join(folder, "bin", "python");
}

/** The program of a crate in a folder here. */
export async function cargoBuild(crate: string, program: string): Promise<string> {
  const sources = [join(crate, "Cargo.toml"), join(crate, "src", "main.rs")];
  const hash = digest(...(await Promise.all(sources.map((path) => readFile(path, "utf8")))));
  const folder = await cached(`peers-${program}-${hash}`, async (making) => {
    console.error(`building ${program} (only once, some minutes)…`);
    // Cargo writes its lockfile beside the manifest: it builds a copy.
    const copy = join(making, "crate");
    const target = join(copy, "target");
    await cp(crate, copy, { recursive: true });
    await exec("cargo", "build", "--quiet", "--release", "--manifest-path", join(copy, "Cargo.toml"), "--target-dir", target);
    await copyFile(join(target, "release", program), join(making, program));
    await rm(copy, { recursive: true });
  });
  return join(folder, program);
}

/** The program of a Go module in a folder here. */
export async function goBuild(module: string, program: string): Promise<string> {
  const hash = digest(await readFile(join(module, "main.go"), "utf8"));
  const folder = await cached(`peers-${program}-${hash}`, async (making) => {
    await exec("go", "build", "-C", module, "-o", join(making, program), ".");
  });
  return join(folder, program);
}

function digest(...texts: readonly string[]): string {
  return createHash("sha256").update(texts.join("\n")).digest("hex").slice(0, 16);
}
