// Calls over a function URL. The URL's IAM check comes first; a call without a signature that gets here is refused again,
// in case somebody opened the URL. Errors tell the caller what to do, and never what is stored.

import { z } from "zod";
import { callError, isTidemarkError, TidemarkError } from "../../lib/model/errors.ts";
import { type Invocation, lambdaHandler } from "./stack.ts";
import { logger } from "./wiring.ts";

const HTTP_EVENT = z.object({
  rawPath: z.string(),
  headers: z.record(z.string(), z.string().optional()),
  queryStringParameters: z.record(z.string(), z.string().optional()).default({}),
  requestContext: z.object({
    http: z.object({ method: z.string() }),
    authorizer: z
      .object({ iam: z.object({}).loose().optional() })
      .loose()
      .optional(),
  }),
  body: z.string().optional(),
  isBase64Encoded: z.boolean().default(false),
});

export interface HttpRequest {
  readonly method: string;
  /** Decoded parts of the path, without empty ones. */
  readonly path: readonly string[];
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

export function httpHandler(work: (request: HttpRequest, invocation: Invocation) => Promise<HttpReply>) {
  return lambdaHandler(HTTP_EVENT, async (event, invocation) => {
    try {
      if (event.requestContext.authorizer?.iam === undefined) {
        throw new HttpError(403, "unsigned-call", "the call is not signed: sign it with AWS Signature Version 4 for the service lambda");
      }
      return reply(await work(requestOf(event), invocation));
    } catch (error) {
      return reply(errorReply(error));
    }
  });
}

/** A refusal with a status of its own. */
export class HttpError extends TidemarkError {
  readonly status: number;
  constructor(status: number, code: string, message: string) {
    super("call", code, message);
    this.status = status;
  }
}

export function noSuchRoute({ method, path }: HttpRequest, routes: readonly string[]): HttpError {
  return new HttpError(404, "unknown-route", `there is no ${method} /${path.join("/")}: there are ${routes.join(", ")}`);
}

function requestOf(event: z.infer<typeof HTTP_EVENT>): HttpRequest {
  return {
    method: event.requestContext.http.method,
    path: event.rawPath
      .split("/")
      .filter((part) => part !== "")
      .map(decodePart),
    headers: Object.fromEntries(Object.entries(event.headers).map(([name, value]) => [name.toLowerCase(), value])),
    query: event.queryStringParameters,
    body: Buffer.from(event.body ?? "", event.isBase64Encoded ? "base64" : "utf8"),
  };
}

function decodePart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch (error) {
    throw callError("bad-path", "the path is not well-formed: encode it as UTF-8 with %XX", error);
  }
}

function reply({ status, body, headers }: HttpReply): object {
  return { statusCode: status, headers: { "content-type": "application/json", "cache-control": "no-store", ...headers }, body: JSON.stringify(body) };
}

const UNKNOWN_CODES = new Set(["unknown-table", "unknown-shard", "unknown-request"]);
const RETRY_AFTER_S = "1";

function errorReply(error: unknown): HttpReply {
  if (!isTidemarkError(error) || error.kind === "bug") {
    logger.error("a call failed", { error });
    return told(500, "internal-error", "something went wrong here; the function's log tells what. Call again, and report it if it stays");
  }
  const { kind, code, message } = error;
  logger.warn("a call was refused", { kind, code });
  if (error instanceof HttpError) return told(error.status, code, message);
  switch (kind) {
    case "call":
      return told(UNKNOWN_CODES.has(code) ? 404 : code === "forgotten-batch" ? 409 : 400, code, message);
    case "retry":
    case "wait":
      return { ...told(503, code, message), headers: { "retry-after": RETRY_AFTER_S } };
    case "repair":
      return told(500, code, message);
  }
}

function told(status: number, code: string, message: string): HttpReply {
  return { status, body: { error: { code, message } } };
}
