// Calls over a function URL. The URL's IAM check comes first; a call without a signature that gets here is refused again,
// in case somebody opened the URL. Errors tell the caller what to do, and never what is stored.

import * as z from "zod/mini";
import { callError, isTidemarkError, TidemarkError } from "../../lib/model/errors.ts";
import { isOfTheDeployment, loggable } from "./faults.ts";
import { matchRoute, type Parameters, type Route } from "./routes.ts";
import { lambdaHandler } from "./stack.ts";
import type { Instruments } from "./telemetry.ts";

const texts = z.record(z.string(), z.optional(z.string()));

const HTTP_EVENT = z.object({
  rawPath: z.string(),
  headers: texts,
  queryStringParameters: z._default(texts, {}),
  requestContext: z.object({
    http: z.object({ method: z.string() }),
    authorizer: z.optional(z.object({ iam: z.optional(z.looseObject({})) })),
  }),
  body: z.optional(z.string()),
  isBase64Encoded: z._default(z.boolean(), false),
});

export interface HttpRequest {
  readonly method: string;
  /** Decoded parts of the path, without empty ones. */
  readonly path: readonly string[];
  /** What the route's names stand for in the path. */
  readonly parameters: Parameters;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly query: Readonly<Record<string, string | undefined>>;
  readonly body: Buffer;
}

export interface HttpReply {
  readonly status: number;
  readonly body: object;
  readonly headers?: Readonly<Record<string, string>>;
}

export type HttpRoute = Route<(request: HttpRequest) => Promise<HttpReply>>;

/** What Lambda makes an HTTP answer of. */
export interface LambdaReply {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export function httpHandler(instruments: Instruments, routes: readonly HttpRoute[]) {
  const { logger } = instruments;
  return lambdaHandler(instruments, HTTP_EVENT, async (event) => {
    try {
      return lambdaReply(await answer(event));
    } catch (error) {
      const level = statusOf(error) >= 500 ? "error" : "warn";
      logger[level]("a call was refused", { status: statusOf(error), fault: loggable(error) });
      return lambdaReply(errorReply(error));
    }
  });

  async function answer(event: z.infer<typeof HTTP_EVENT>): Promise<HttpReply> {
    if (event.requestContext.authorizer?.iam === undefined) {
      throw new HttpError(403, "unsigned-call", "the call is not signed: sign it with AWS Signature Version 4 for the service lambda");
    }
    const { method } = event.requestContext.http;
    const path = event.rawPath
      .split("/")
      .filter((part) => part !== "")
      .map(decodePart);
    const match = matchRoute(routes, method, path);
    switch (match.kind) {
      case "found":
        return match.route.work({ ...requestOf(event), method, path, parameters: match.parameters });
      case "no-path":
        throw new HttpError(404, "unknown-route", `there is nothing here: there are ${routes.map((route) => `${route.method} ${route.path}`).join(", ")}`);
      case "no-method":
        throw new HttpError(405, "wrong-method", `use ${match.allowed.join(" or ")} here`, { allow: match.allowed.join(", ") });
    }
  }
}

/** A refusal with a status of its own. */
export class HttpError extends TidemarkError {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  constructor(status: number, code: string, message: string, headers: Readonly<Record<string, string>> = {}) {
    super("call", code, message);
    this.status = status;
    this.headers = headers;
  }
}

/** A misspelt parameter would be passed over, and the call would do something else than was meant. */
export function checkQuery({ query }: HttpRequest, known: readonly string[]): void {
  if (Object.keys(query).every((name) => known.includes(name))) return;
  throw callError(
    "unknown-parameter",
    `the query has a parameter that means nothing here: there ${known.length === 0 ? "are none" : `is ${known.join(", ")}`}`,
  );
}

/** A whole number from the query. */
export function wholeParameter({ query }: HttpRequest, name: string, { fallback, max }: { readonly fallback: number; readonly max: number }): number {
  const text = query[name];
  if (text === undefined) return fallback;
  const value = /^[0-9]{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value <= max) return value;
  throw callError("bad-parameter", `the query's ${name} is not a whole number from 0 to ${max}`);
}

function requestOf({ headers, queryStringParameters, body = "", isBase64Encoded }: z.infer<typeof HTTP_EVENT>) {
  return {
    headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value])),
    query: queryStringParameters,
    body: Buffer.from(body, isBase64Encoded ? "base64" : "utf8"),
  };
}

function decodePart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch (error) {
    throw callError("bad-path", "the path is not well-formed: encode it as UTF-8 with %XX", error);
  }
}

function lambdaReply({ status, body, headers }: HttpReply): LambdaReply {
  return { statusCode: status, headers: { "content-type": "application/json", "cache-control": "no-store", ...headers }, body: JSON.stringify(body) };
}

const NOT_FOUND: ReadonlySet<string> = new Set(["unknown-table", "unknown-shard", "unknown-request"]);
const RETRY_AFTER_S = "1";

function statusOf(error: unknown): number {
  if (error instanceof HttpError) return error.status;
  if (!isTidemarkError(error)) return 500;
  if (isOfTheDeployment(error)) return 503;
  switch (error.kind) {
    case "call":
      return NOT_FOUND.has(error.code) ? 404 : 400;
    case "retry":
    case "wait":
      return 503;
    case "repair":
    case "bug":
      return 500;
  }
}

function errorReply(error: unknown): HttpReply {
  const status = statusOf(error);
  const headers = error instanceof HttpError ? error.headers : status === 503 ? { "retry-after": RETRY_AFTER_S } : {};
  return { status, headers, body: { error: toldOf(error) } };
}

function toldOf(error: unknown): { readonly code: string; readonly message: string } {
  if (!isTidemarkError(error) || error.kind === "bug") {
    return { code: "internal-error", message: "something went wrong here; the function's log tells what. Call again, and report it if it stays" };
  }
  const { code, message } = error;
  if (isOfTheDeployment(error)) return { code, message: "the function lacks something that it needs; its log tells what. Call again once that is mended" };
  return { code, message };
}
