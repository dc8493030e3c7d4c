// How the tests reach what global-setup.ts deployed.

import assert from "node:assert/strict";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { buffer } from "node:stream/consumers";
import { Sha256 } from "@aws-crypto/sha256-js";
import { CloudFormationClient } from "@aws-sdk/client-cloudformation";
import { EventBridgeClient } from "@aws-sdk/client-eventbridge";
import { LambdaClient } from "@aws-sdk/client-lambda";
import { S3Client } from "@aws-sdk/client-s3";
import { SQSClient } from "@aws-sdk/client-sqs";
import { SignatureV4 } from "@smithy/signature-v4";
import { inject } from "vitest";
import { REGION } from "./localstack.ts";

const credentials = { accessKeyId: "test", secretAccessKey: "test" };
const config = () => ({ endpoint: inject("localstack").endpoint, region: REGION, credentials });

export const s3 = () => new S3Client({ ...config(), forcePathStyle: true });
export const sqs = () => new SQSClient(config());
export const lambda = () => new LambdaClient(config());
export const cloudformation = () => new CloudFormationClient(config());
export const events = () => new EventBridgeClient(config());

export interface UrlRequest {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

/** Calls a function URL, signed as its AuthType AWS_IAM asks. */
export async function signedFetch(url: string, request: UrlRequest = {}): Promise<Response> {
  const { protocol, host, hostname, port, pathname, searchParams } = new URL(url);
  const signer = new SignatureV4({ service: "lambda", region: REGION, credentials, sha256: Sha256 });
  const { method = "GET", body, headers } = request;
  const query = Object.fromEntries(searchParams);
  const signed = await signer.sign({ method, protocol, hostname, port: Number(port), path: pathname, query, headers: { ...headers, host }, body });
  return await plainFetch(url, { ...request, headers: signed.headers });
}

/**
 * Calls a function URL as it stands. LocalStack knows by the name in it which function is meant, but nobody resolves that
 * name; so it leads to this machine, which fetch() cannot be told.
 */
export async function plainFetch(url: string, { method = "GET", headers = {}, body }: UrlRequest = {}): Promise<Response> {
  const call = request(url, { method, headers, family: 4, lookup: (_name, _options, found) => found(null, "127.0.0.1", 4) }).end(body);
  const [reply]: IncomingMessage[] = await once(call, "response");
  assert(reply?.statusCode, "a reply has a status");
  return new Response(await buffer(reply), {
    status: reply.statusCode,
    headers: new Headers(Object.entries(reply.headersDistinct).flatMap(([name, values = []]) => values.map((value): [string, string] => [name, value]))),
  });
}
