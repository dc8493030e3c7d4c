// What Lambda's runtime for Node does, for function_process.py: loads the handler, then answers one invocation after the other.
// Requests are JSON lines on the standard input, replies JSON lines on a pipe of their own, since a function may print.

import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const RESPONSE_BYTES_MAX = 6_291_556;

interface Request {
  readonly requestId: string;
  readonly functionArn: string;
  readonly traceId: string;
  readonly deadlineMs: number;
  /** JSON, as the caller sent it. */
  readonly event: string;
}

type Handler = (event: unknown, context: object) => Promise<unknown>;

const { env } = process;
const repliesFd = Number(env.REPLIES_FD);

try {
  const handler = await loadHandler(env.LAMBDA_TASK_ROOT ?? "", env._HANDLER ?? "");
  reply(false, "null");
  for await (const line of createInterface({ input: process.stdin })) await answer(handler, JSON.parse(line));
} catch (error) {
  console.error(error);
  reply(true, describe(error));
  process.exitCode = 1;
}

/** `index.handler` is the export `handler` of index.mjs, index.js or index.cjs. */
async function loadHandler(folder: string, name: string): Promise<Handler> {
  const [file = "", exported = ""] = name.split(".");
  const path = ["mjs", "js", "cjs"].map((extension) => join(folder, `${file}.${extension}`)).find((candidate) => existsSync(candidate));
  if (path === undefined) throw new Error(`Cannot find module '${file}'`);
  const handler: unknown = (await import(pathToFileURL(path).href))[exported];
  if (typeof handler !== "function") throw new Error(`${name} is undefined or not exported`);
  return handler as Handler;
}

async function answer(handler: Handler, request: Request): Promise<void> {
  env._X_AMZN_TRACE_ID = request.traceId;
  try {
    const body = JSON.stringify((await handler(JSON.parse(request.event), contextOf(request))) ?? null);
    if (Buffer.byteLength(body) > RESPONSE_BYTES_MAX)
      throw new Error(`Response payload size exceeded maximum allowed payload size (${RESPONSE_BYTES_MAX} bytes).`);
    reply(false, body);
  } catch (error) {
    console.error("Invoke Error", error);
    reply(true, describe(error));
  }
}

function contextOf({ requestId, functionArn, deadlineMs }: Request): object {
  return {
    callbackWaitsForEmptyEventLoop: true,
    awsRequestId: requestId,
    invokedFunctionArn: functionArn,
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
    getRemainingTimeInMillis: () => deadlineMs - Date.now(),
  };
}

function describe(thrown: unknown): string {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  return JSON.stringify({ errorType: error.name, errorMessage: error.message, trace: error.stack?.split("\n") ?? [] });
}

function reply(failed: boolean, body: string): void {
  writeFileSync(repliesFd, `${JSON.stringify({ failed, body })}\n`);
}
