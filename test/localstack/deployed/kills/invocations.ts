// Calls deployed functions directly, and kills or stops the process of one in the middle of its invocation.

import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import { inject } from "vitest";
import { REGION } from "../../localstack.ts";
import { output } from "../stack.ts";

export const FUNCTIONS = ["ingest", "snapshot", "cleanup", "requests"] as const;
export type FunctionName = (typeof FUNCTIONS)[number];

const NAMES: Readonly<Record<FunctionName, string>> = {
  ingest: "IngestFunctionName",
  snapshot: "SnapshotFunctionName",
  cleanup: "CleanupFunctionName",
  requests: "RequestsFunctionName",
};

export type Invoked =
  | { readonly kind: "answered"; readonly payload: string; readonly log: string }
  /** No answer of the function: what it did nobody knows. */
  | { readonly kind: "failed"; readonly by: "SIGKILL" | "its limit" };

export interface Invocations {
  invoke(name: FunctionName, event: object): Promise<Invoked>;
  /** Whether a process is at an event with this text. */
  isAt(text: string): Promise<boolean>;
  /** Sends that process a signal; false where none is. */
  signal(text: string, signal: "SIGKILL" | "SIGSTOP" | "SIGCONT"): Promise<boolean>;
  close(): void;
}

export function openInvocations(): Invocations {
  const { endpoint } = inject("localstack");
  // The SDK must not call again by itself: each call is a part of the history.
  const client = new LambdaClient({ endpoint, region: REGION, credentials: { accessKeyId: "test", secretAccessKey: "test" }, maxAttempts: 1 });
  return {
    async invoke(name, event) {
      const command = new InvokeCommand({ FunctionName: output(NAMES[name]), Payload: JSON.stringify(event), LogType: "Tail" });
      const { FunctionError, Payload, LogResult = "" } = await client.send(command);
      const payload = Payload?.transformToString() ?? "";
      if (FunctionError === undefined) return { kind: "answered", payload, log: Buffer.from(LogResult, "base64").toString() };
      if (payload.includes("signal: SIGKILL")) return { kind: "failed", by: "SIGKILL" };
      if (payload.includes("Sandbox.Timedout")) return { kind: "failed", by: "its limit" };
      throw new Error(`${name} failed: ${payload}`);
    },
    isAt: (text) => ask("GET", text),
    signal: (text, signal) => ask("POST", `${text}/${signal}`),
    close: () => client.destroy(),
  };

  async function ask(method: "GET" | "POST", path: string): Promise<boolean> {
    return (await fetch(`${endpoint}/_tidemark/invocations/${path}`, { method })).status === 204;
  }
}

/** Why functions cannot be killed here, if so. */
export async function whyNoKills(): Promise<string | undefined> {
  const reply = await fetch(`${inject("localstack").endpoint}/_tidemark/invocations`);
  if (reply.ok) return undefined;
  return "functions are killed where LocalStack runs on the host: in containers their processes are not this machine's";
}

export interface HttpCall {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly body?: string;
}

/** As a function URL sends it. */
export function httpEvent({ method, path, body }: HttpCall, mark: string): object {
  return {
    rawPath: path,
    headers: { "content-type": "application/json" },
    requestContext: { requestId: mark, http: { method }, authorizer: { iam: { userArn: "arn:aws:iam::000000000000:user/someone" } } },
    ...(body !== undefined && { body }),
  };
}

/** One message, as a queue hands it over. */
export function queueEvent(message: object, mark: string): object {
  return { Records: [{ messageId: mark, body: JSON.stringify(message), attributes: { ApproximateReceiveCount: "1" } }] };
}
