// Deploys the project's app into LocalStack as anybody would: with the CDK's own command line.

import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { LocalStack } from "./behaviour.ts";
import { awsEnvironment, REGION } from "./localstack.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const CDK = join(ROOT, "node_modules", "aws-cdk", "bin", "cdk");
const ACCOUNT = "000000000000";
const COMMAND_LIMIT_MS = 300_000;
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

export interface DeploymentRequest {
  readonly localstack: Pick<LocalStack, "endpoint">;
  /** Handed to the app as the context value `stackName`. */
  readonly stackName: string;
  readonly context?: Readonly<Record<string, string>>;
}

export interface Deployment {
  readonly stackName: string;
  readonly outputs: Readonly<Record<string, string>>;
}

/** Prepares LocalStack for the deployments: once for each. */
export async function bootstrap({ endpoint }: Pick<LocalStack, "endpoint">): Promise<void> {
  await withFolder(async (folder) => {
    // Away from the clone, where it would run the app first.
    await cdk({ endpoint, folder, cwd: folder }, ["bootstrap", `aws://${ACCOUNT}/${REGION}`]);
  });
}

/** Deploys the stack, or updates it. The functions' bundles must be there. */
export async function deploy(request: DeploymentRequest): Promise<Deployment> {
  const { localstack, stackName } = request;
  return await withFolder(async (folder) => {
    const file = join(folder, "outputs.json");
    await cdk({ endpoint: localstack.endpoint, folder, cwd: ROOT }, [
      "deploy",
      "--progress=events",
      "--all",
      "--require-approval=never",
      `--outputs-file=${file}`,
      ...contextOf(request),
    ]);
    const stacks: Record<string, Record<string, string>> = JSON.parse(await readFile(file, "utf8"));
    return { stackName, outputs: stacks[stackName] ?? {} };
  });
}

export async function destroy(request: DeploymentRequest): Promise<void> {
  await withFolder(async (folder) => {
    await cdk({ endpoint: request.localstack.endpoint, folder, cwd: ROOT }, ["destroy", "--all", "--force", ...contextOf(request)]);
  });
}

function contextOf({ stackName, context }: DeploymentRequest): string[] {
  return Object.entries({ ...context, stackName }).flatMap(([name, value]) => ["--context", `${name}=${value}`]);
}

/** `folder` takes what the app synthesizes, so that commands at the same time do not clash. */
async function cdk(
  { endpoint, folder, cwd }: { readonly endpoint: string; readonly folder: string; readonly cwd: string },
  args: readonly string[],
): Promise<void> {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith("AWS_"));
  const env = {
    ...Object.fromEntries(own),
    ...awsEnvironment(endpoint),
    // The app line says "node": the one that runs this.
    PATH: [dirname(process.execPath), process.env.PATH].join(delimiter),
    NO_PROXY: "127.0.0.1,localhost",
    CDK_DISABLE_CLI_TELEMETRY: "true",
    HOME: folder,
  };
  const command = [CDK, ...args, `--output=${join(folder, "assembly")}`, "--no-notices", "--no-version-reporting", "--ci"];
  const ran = promisify(execFile)(process.execPath, command, { cwd, env, timeout: COMMAND_LIMIT_MS, maxBuffer: OUTPUT_BYTES_MAX });
  await ran.catch((error: Error & { stdout?: string; stderr?: string }) => {
    throw new Error(`cdk ${args.join(" ")} failed:\n${error.stdout}${error.stderr}`);
  });
}

async function withFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "tidemark-cdk-"));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
