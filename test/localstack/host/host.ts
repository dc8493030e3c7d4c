// LocalStack as a process of this host: no container engine, the functions as Node processes (executor/).

import { mkdir, mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { freePorts } from "../../loopback.ts";
import { BEHAVIOUR, type LocalStack } from "../behaviour.ts";

import { startLeashed, tailOf } from "./leashed.ts";
import { type Installation, setUp } from "./set-up.ts";

const MAIN = fileURLToPath(new URL("./executor/main.py", import.meta.url));
const HOST = "127.0.0.1";
const START_LIMIT_MS = 60_000;
const POLL_MS = 100;

/** Never on a fixed port: the machine may have a LocalStack of its own. */
export async function startOnHost(): Promise<LocalStack> {
  const installation = await setUp();
  const [port] = await freePorts(1);
  const folder = await mkdtemp(join(tmpdir(), "tidemark-localstack-"));
  const log = `${folder}.log`;
  const env = await environmentOf(installation, port, folder);
  const { ended, release } = startLeashed({ command: [installation.python, MAIN], folder, log, env });
  let running = true;
  void ended.then(() => {
    running = false;
  });
  const endpoint = `http://${HOST}:${port}`;
  for (const startedAt = performance.now(); !(await isHealthy(endpoint)); await sleep(POLL_MS)) {
    if (running && performance.now() - startedAt < START_LIMIT_MS) continue;
    await release();
    throw new Error(
      `LocalStack ${running ? `was not ready within ${START_LIMIT_MS / 1000} s` : "ended as it started"}. The end of ${log}:\n${await tailOf(log)}`,
    );
  }
  console.error(`LocalStack runs at ${endpoint}, its log is ${log}`);
  return { endpoint, how: "host", stop: release };
}

async function environmentOf({ jars }: Installation, port: number, folder: string): Promise<NodeJS.ProcessEnv> {
  const temporary = join(folder, "tmp");
  await mkdir(temporary);
  return {
    PATH: process.env.PATH,
    JAVA_HOME: process.env.JAVA_HOME,
    HOME: folder,
    TMPDIR: temporary,
    FILESYSTEM_ROOT: join(folder, "files"),
    GATEWAY_LISTEN: `${HOST}:${port}`,
    // Function URLs are names below it, and no URL may have a name that ends in a number.
    LOCALSTACK_HOST: `localhost:${port}`,
    FUNCTION_NODE: process.execPath,
    DYNAMODB_LOCAL_JARS: jars,
    ...BEHAVIOUR,
    // True also where this host is itself a container, which LocalStack would take for its own.
    OVERRIDE_IN_DOCKER: "0",
    DNS_ADDRESS: "0",
    SKIP_SSL_CERT_DOWNLOAD: "1",
    PYTHONUNBUFFERED: "1",
    // Its modules are run from the clone.
    PYTHONDONTWRITEBYTECODE: "1",
  };
}

async function isHealthy(endpoint: string): Promise<boolean> {
  return await fetch(`${endpoint}/_localstack/health`).then(
    (response) => response.ok,
    () => false,
  );
}
