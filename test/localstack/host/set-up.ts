// Installs LocalStack and DynamoDB Local into a cache outside the clone, once for each version of what goes in.
// (A virtual environment stands the rename of what is whole as long as only its python is used, never its scripts.)

import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { cached } from "../../cache.ts";
import { startLeashed, tailOf } from "./leashed.ts";

const REQUIREMENTS = fileURLToPath(new URL("./requirements.txt", import.meta.url));
const POM = fileURLToPath(new URL("./pom.xml", import.meta.url));

export interface Installation {
  readonly python: string;
  /** A folder with DynamoDB Local. */
  readonly jars: string;
}

export async function setUp(): Promise<Installation> {
  const python = await pythonVersion();
  await requireJava();
  const hash = createHash("sha256").update(python);
  for (const file of [REQUIREMENTS, POM]) hash.update(await readFile(file));
  const folder = await cached(`localstack-${hash.digest("hex").slice(0, 16)}`, install);
  return { python: join(folder, "venv", "bin", "python"), jars: join(folder, "jars") };
}

async function install(making: string): Promise<void> {
  await requireMaven();
  console.error("setting up LocalStack (only once, about a minute): Python packages and DynamoDB Local…");
  const venv = join(making, "venv");
  await Promise.all([
    run(making, "python3", "-m", "venv", venv).then(() =>
      run(making, join(venv, "bin", "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", REQUIREMENTS),
    ),
    run(making, "mvn", "--quiet", "--batch-mode", `--file=${POM}`, `-Djars=${join(making, "jars")}`, "package"),
  ]);
}

async function run(making: string, ...command: [string, ...string[]]): Promise<void> {
  const log = join(making, `${command[0].split("/").at(-1)}.log`);
  const code = await startLeashed({ command, folder: making, log }).ended;
  if (code !== 0) throw new Error(`${command.join(" ")} failed (exit code ${code}):\n${await tailOf(log)}`);
}

async function pythonVersion(): Promise<string> {
  const script = "import ensurepip, sys, venv; assert sys.version_info >= (3, 11); print(sys.version, sys.base_prefix)";
  const printed = await output("python3", "-c", script);
  if (printed !== undefined) return printed;
  throw lacking("Python 3.11 or newer with venv, as python3", "python3 python3-venv", "python");
}

async function requireJava(): Promise<void> {
  const major = /version "(\d+)/.exec((await output("java", "-version")) ?? "")?.[1];
  if (Number(major ?? 0) < 17) throw lacking("Java 17 or newer, as java", "default-jre-headless", "openjdk");
}

async function requireMaven(): Promise<void> {
  if ((await output("mvn", "--version")) === undefined) throw lacking("Maven, as mvn", "maven", "maven");
}

/** What the command prints, or undefined where it is not there or fails. */
async function output(command: string, ...args: string[]): Promise<string | undefined> {
  const ran = await promisify(execFile)(command, args).catch(() => undefined);
  return ran && ran.stdout + ran.stderr;
}

function lacking(what: string, debian: string, homebrew: string): Error {
  return new Error(
    `LocalStack without a container engine needs ${what} on the PATH. Debian: apt-get install ${debian}. macOS: brew install ${homebrew}. ` +
      "Or start a container engine. See test/localstack/README.md.",
  );
}
