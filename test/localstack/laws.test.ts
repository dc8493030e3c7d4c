// Both law books against LocalStack: S3 by its own provider, DynamoDB by DynamoDB Local.

import { afterAll, beforeAll, inject } from "vitest";
import { CreateBucketCommand } from "@aws-sdk/client-s3";
import { type AwsClients, awsClients } from "../../lib/adapters/aws/clients.ts";
import { dynamodbCheckpointStore } from "../../lib/adapters/aws/checkpoint-store.ts";
import { initAwsStore } from "../../lib/adapters/aws/init.ts";
import { s3ObjectStore } from "../../lib/adapters/aws/object-store.ts";
import { systemClock } from "../../lib/adapters/local/clock.ts";
import { checkpointStoreLaws } from "../conformance/checkpoint-store.ts";
import { objectStoreLaws } from "../conformance/object-store.ts";

let clients: AwsClients;
let stores = 0;
beforeAll(() => {
  const { endpoint, region } = inject("localstack");
  clients = awsClients({ region, endpoint, credentials: { accessKeyId: "test", secretAccessKey: "test" } });
});
afterAll(() => clients.close());

objectStoreLaws("S3 by LocalStack", async () => {
  const bucket = `tidemark-laws-${process.pid}-${++stores}`;
  await clients.s3.send(new CreateBucketCommand({ Bucket: bucket }));
  // Not one that a URL must escape: LocalStack compares the text to start after, as it stands, with escaped keys.
  return { store: s3ObjectStore(clients.s3, { bucket, prefix: "laws/of-s3/" }), dispose: async () => {} };
});

checkpointStoreLaws("DynamoDB by LocalStack", async () => {
  const names = { bucket: `tidemark-laws-${process.pid}`, table: `tidemark-laws-${process.pid}-${++stores}` };
  await initAwsStore({ ...clients, clock: systemClock() }, names);
  return { store: dynamodbCheckpointStore(clients.dynamodb, names), dispose: async () => {} };
});
