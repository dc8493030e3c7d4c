// A server on this machine that plays the replies it is given, in order, and keeps the requests. In front of a real
// server it passes requests on, and loses the replies that it is told to lose.

import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type OutgoingHttpHeaders, request as send, type ServerResponse } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import type { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import type { S3Client } from "@aws-sdk/client-s3";
import { awsClients } from "../../../../lib/adapters/aws/clients.ts";
import { listenAnywhere } from "../../../loopback.ts";

export interface Reply {
  readonly status: number;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Buffer;
  /** So many bytes of the body, and then nothing more; or then the connection is reset. */
  readonly stallsAfter?: number;
  readonly breaksAfter?: number;
}

/**
 * `cut`: the connection is reset, and nothing was done. `silent`: no answer ever comes. Only in front of a real server:
 * `pass`: it does what is asked; `lost`: it does, and then the connection is reset; `lateMs`: it is asked so much later.
 */
export type Played = Reply | "cut" | "silent" | "pass" | "lost" | { readonly lateMs: number };

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface HttpDouble {
  readonly requests: readonly SeenRequest[];
  readonly s3: S3Client;
  readonly dynamodb: DynamoDBClient;
  /** The replies to the next requests. */
  play(...replies: readonly Played[]): void;
  close(): Promise<void>;
}

export interface HttpDoubleOptions {
  readonly attemptsMax?: number;
  readonly silenceMsMax?: number;
  /** The real server. */
  readonly upstream?: string;
  /** The reply to a request that none was given for. Default: "pass" in front of a real server, else the status 500. */
  readonly otherwise?: (request: SeenRequest) => Played;
  readonly region?: string;
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
}

const TEST_CREDENTIALS = { accessKeyId: "test", secretAccessKey: "test" };

export async function httpDouble(options: HttpDoubleOptions = {}): Promise<HttpDouble> {
  const { attemptsMax = 1, silenceMsMax, upstream, region = "eu-central-1", credentials = TEST_CREDENTIALS } = options;
  const { otherwise = () => (upstream === undefined ? { status: 500, body: "no reply was given" } : "pass") } = options;
  const requests: SeenRequest[] = [];
  const replies: Played[] = [];
  const server = createServer((request, response) => void answer(request, response).catch(() => request.socket.destroy()));
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const seen = { method: request.method ?? "", path: request.url ?? "", headers: request.headers, body: await bytesOf(request) };
    requests.push(seen);
    const played = replies.shift() ?? otherwise(seen);
    if (played === "silent") return;
    const isLate = typeof played === "object" && "lateMs" in played;
    if (isLate) await pause(played.lateMs);
    const reply = isLate || played === "pass" || played === "lost" ? await forwarded(seen, upstream) : played;
    if (reply === "cut" || played === "lost") request.socket.destroy();
    else respond(response, reply);
  }
  const endpoint = `http://127.0.0.1:${await listenAnywhere(server)}`;
  const clients = awsClients({ region, endpoint, credentials, attemptsMax, ...(silenceMsMax !== undefined && { silenceMsMax }) });
  return {
    requests,
    s3: clients.s3,
    dynamodb: clients.dynamodb,
    play: (...given) => void replies.push(...given),
    close: async () => {
      clients.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function respond(response: ServerResponse, { status, headers, body = "", stallsAfter, breaksAfter }: Reply): void {
  const part = breaksAfter ?? stallsAfter;
  if (part === undefined) {
    response.writeHead(status, headers);
    response.end(body);
    return;
  }
  response.writeHead(status, { ...headers, "content-length": body.length });
  response.write(body.slice(0, part), () => breaksAfter !== undefined && response.destroy());
}

/** The Host header stays as it came, since it is signed. */
async function forwarded({ method, path, headers, body }: SeenRequest, upstream: string | undefined): Promise<Reply> {
  if (upstream === undefined) throw new Error("there is no server to pass requests on to");
  const { expect: _, ...passed } = headers;
  const { hostname, port } = new URL(upstream);
  const request = send({ hostname, port, method, path, headers: passed });
  request.end(body);
  const [response] = (await once(request, "response")) as [IncomingMessage];
  return { status: response.statusCode ?? 500, headers: { ...response.headers }, body: await bytesOf(response) };
}

async function bytesOf(stream: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

export function s3Error(status: number, code: string, more = "", headers: OutgoingHttpHeaders = {}): Reply {
  return {
    status,
    headers: { "content-type": "application/xml", ...headers },
    body: `<?xml version="1.0"?><Error><Code>${code}</Code><Message>played ${code}</Message>${more}</Error>`,
  };
}

export function xml(body: string, headers: OutgoingHttpHeaders = {}): Reply {
  return { status: 200, headers: { "content-type": "application/xml", ...headers }, body: `<?xml version="1.0"?>${body}` };
}

export function json(body: unknown): Reply {
  return { status: 200, headers: { "content-type": "application/x-amz-json-1.0" }, body: JSON.stringify(body) };
}

export function dynamodbError(code: string, more: object = {}, status = 400): Reply {
  const body = { __type: `com.amazonaws.dynamodb.v20120810#${code}`, message: `played ${code}`, ...more };
  return { status, headers: { "content-type": "application/x-amz-json-1.0" }, body: JSON.stringify(body) };
}
