// A server on this machine that plays the replies it is given, in order, and keeps the requests.

import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { S3Client } from "@aws-sdk/client-s3";

export interface Reply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

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
  /** The reply to the next request; "cut": the connection is reset instead. */
  play(...replies: readonly (Reply | "cut")[]): void;
  close(): Promise<void>;
}

export async function httpDouble({ attemptsMax = 1 }: { readonly attemptsMax?: number } = {}): Promise<HttpDouble> {
  const requests: SeenRequest[] = [];
  const replies: (Reply | "cut")[] = [];
  const server = createServer((request, response) => void answer(request, response));
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    requests.push({ method: request.method ?? "", path: request.url ?? "", headers: request.headers, body });
    const reply = replies.shift() ?? { status: 500, body: "no reply was given" };
    if (reply === "cut") {
      request.socket.destroy();
      return;
    }
    response.writeHead(reply.status, reply.headers);
    response.end(reply.body);
  }
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const config = {
    region: "eu-central-1",
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    credentials: { accessKeyId: "test", secretAccessKey: "test" },
    maxAttempts: attemptsMax,
  };
  const s3 = new S3Client({ ...config, forcePathStyle: true });
  const dynamodb = new DynamoDBClient(config);
  return {
    requests,
    s3,
    dynamodb,
    play: (...given) => void replies.push(...given),
    close: async () => {
      s3.destroy();
      dynamodb.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export function s3Error(status: number, code: string, more = ""): Reply {
  return {
    status,
    headers: { "content-type": "application/xml" },
    body: `<?xml version="1.0"?><Error><Code>${code}</Code><Message>played ${code}</Message>${more}</Error>`,
  };
}

export function xml(body: string, headers: Readonly<Record<string, string>> = {}): Reply {
  return { status: 200, headers: { "content-type": "application/xml", ...headers }, body: `<?xml version="1.0"?>${body}` };
}

export function json(body: unknown): Reply {
  return { status: 200, headers: { "content-type": "application/x-amz-json-1.0" }, body: JSON.stringify(body) };
}

export function dynamodbError(code: string, more: object = {}, status = 400): Reply {
  const body = { __type: `com.amazonaws.dynamodb.v20120810#${code}`, message: `played ${code}`, ...more };
  return { status, headers: { "content-type": "application/x-amz-json-1.0" }, body: JSON.stringify(body) };
}
