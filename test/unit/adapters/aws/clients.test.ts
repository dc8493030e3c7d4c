import { createServer } from "node:http";
import { afterEach, expect, test } from "vitest";
import { s3ObjectStore } from "../../../../lib/adapters/aws/object-store.ts";
import { ATTEMPTS_MAX, type AwsClients, type AwsClientsOptions, awsClients } from "../../../../lib/adapters/aws/clients.ts";
import { listenAnywhere } from "../../../loopback.ts";

const opened: AwsClients[] = [];
afterEach(() => {
  for (const clients of opened.splice(0)) clients.close();
});

function open(options: AwsClientsOptions): AwsClients {
  const clients = awsClients(options);
  opened.push(clients);
  return clients;
}

test("both clients are bounded in attempts, in silence and in waiting for a connection, and keep their connections", async () => {
  const { s3, dynamodb } = open({ region: "eu-central-1" });
  for (const { config } of [s3, dynamodb]) {
    expect(await config.region()).toBe("eu-central-1");
    expect(await config.maxAttempts()).toBe(ATTEMPTS_MAX);
  }
  // The handler settles its settings before its first request.
  await new Promise(setImmediate);
  for (const { config, silenceMs } of [
    { ...s3, silenceMs: 20_000 },
    { ...dynamodb, silenceMs: 5_000 },
  ]) {
    const handler = config.requestHandler as unknown as { readonly configProvider: Promise<{ readonly httpsAgent: { readonly keepAlive: boolean } }> };
    expect(await handler.configProvider).toMatchObject({ connectionTimeout: 10_000, socketTimeout: silenceMs, httpsAgent: { keepAlive: true } });
  }
});

test("what is given goes before the environment, and what is not is left to it", async () => {
  const { s3, dynamodb } = open({ endpoint: "http://127.0.0.1:4566", region: "us-east-1", credentials: { accessKeyId: "a", secretAccessKey: "b" } });
  expect(s3.config.forcePathStyle).toBe(true);
  expect(await dynamodb.config.credentials()).toMatchObject({ accessKeyId: "a", secretAccessKey: "b" });
  expect(open({ region: "us-east-1" }).s3.config.forcePathStyle).toBe(false);
});

test("a server that never says 100 Continue is sent a large body all the same", async () => {
  let received = 0;
  const server = createServer();
  server.on("checkContinue", (request, response) => {
    request.on("data", (chunk: Buffer) => {
      received += chunk.length;
    });
    request.on("end", () => response.writeHead(200, { etag: `"e"` }).end());
  });
  const endpoint = `http://127.0.0.1:${await listenAnywhere(server)}`;
  const { s3 } = open({ endpoint, region: "us-east-1", credentials: { accessKeyId: "a", secretAccessKey: "b" } });
  const body = Buffer.alloc(3 * 1024 * 1024);
  expect(await s3ObjectStore(s3, { bucket: "states" }).createIfAbsent("k", body)).toEqual({ kind: "created" });
  expect(received).toBe(body.length);
  server.close();
});
