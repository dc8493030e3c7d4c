// versitygw, a real S3 server, on this machine: built from its pinned source by Go, once, into the project's cache.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import type { S3Client } from "@aws-sdk/client-s3";
import { awsClients } from "../../lib/adapters/aws/clients.ts";
import { GO_INSTALL_MS_MAX, goBinary, goInstall } from "../cache.ts";
import { freePorts } from "../loopback.ts";

const PROGRAM = { path: "github.com/versity/versitygw/cmd/versitygw", version: "v1.8.0" };

export const REGION = "us-east-1";
export const CREDENTIALS = { accessKeyId: "laws", secretAccessKey: "laws-secret" };
export const INSTALL_MS_MAX = GO_INSTALL_MS_MAX;
const START_MS_MAX = 30_000;
const POLL_MS = 50;

export interface Versitygw {
  readonly endpoint: string;
  /** A client of its own, as the project makes them. */
  client(): S3Client;
  stop(): Promise<void>;
}

/**
 * Why the server cannot run here; undefined where it can. Continuous integration must have Go: there the tests run into
 * the error of the missing program instead of being skipped.
 */
export async function missing(): Promise<string | undefined> {
  if (existsSync(goBinary(PROGRAM)) || process.env.CI !== undefined || (await hasGo())) return undefined;
  return "versitygw is built with Go, which is missing: install it (https://go.dev/dl), then run this again";
}

export async function startVersitygw(): Promise<Versitygw> {
  const binary = await goInstall(PROGRAM);
  const folder = await mkdtemp(join(tmpdir(), "tidemark-versitygw-"));
  await mkdir(join(folder, "buckets"));
  const [port] = await freePorts(1);
  const endpoint = `http://127.0.0.1:${port}`;
  const server = spawn("sh", ["-c", GUARD, folder, binary, "--port", `127.0.0.1:${port}`, "--quiet", "--keep-alive", "posix", join(folder, "buckets")], {
    env: { ...process.env, ROOT_ACCESS_KEY: CREDENTIALS.accessKeyId, ROOT_SECRET_KEY: CREDENTIALS.secretAccessKey },
    stdio: ["pipe", "ignore", "ignore"],
  });
  const stop = async (): Promise<void> => {
    if (server.exitCode !== null) return;
    const ended = once(server, "exit");
    server.stdin.end();
    await ended;
  };
  await answering(endpoint, server, join(folder, "log")).catch(async (error) => {
    await stop();
    throw error;
  });
  return {
    endpoint,
    client: () => awsClients({ region: REGION, endpoint, credentials: CREDENTIALS }).s3,
    stop,
  };
}

/**
 * Runs the server as long as its own input is open, which the system closes when this process ends, however it ends;
 * then kills it by its process id and removes its folder, $0. A signal to the whole group, as of Ctrl-C, ends it too.
 */
const GUARD = `trap : INT TERM HUP; "$@" >"$0/log" 2>&1 & server=$!; cat >/dev/null; kill "$server"; wait "$server"; rm -rf -- "$0"`;

async function hasGo(): Promise<boolean> {
  return promisify(execFile)("go", ["version"]).then(
    () => true,
    () => false,
  );
}

async function answering(endpoint: string, server: ChildProcess, log: string): Promise<void> {
  const deadline = Date.now() + START_MS_MAX;
  for (;;) {
    const answer = await fetch(endpoint).catch(() => undefined);
    if (answer !== undefined) return;
    if (server.exitCode !== null || Date.now() > deadline) throw new Error(`versitygw does not answer: ${await readFile(log, "utf8").catch(() => "no log")}`);
    await pause(POLL_MS);
  }
}
