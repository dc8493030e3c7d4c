// Makes the bucket and the table that the AWS store needs, where they do not exist. For trying things out, and for
// other endpoints than AWS; a deployment makes its own.

import { CreateTableCommand, DescribeTableCommand, type DynamoDBClient, ResourceNotFoundException, type TableDescription } from "@aws-sdk/client-dynamodb";
import { type BucketLocationConstraint, CreateBucketCommand, HeadBucketCommand, PutPublicAccessBlockCommand, type S3Client } from "@aws-sdk/client-s3";
import { callError, TidemarkError } from "../../model/errors.ts";
import type { Clock } from "../../ports/clock.ts";
import { DIRTY, PARTITION, SORT } from "../item-changes.ts";
import { DIRTY_INDEX } from "./checkpoint-store.ts";
import { awsErrorName, awsStatus, orAwsFault } from "./errors.ts";

const POLL_MS = 1_000;
const POLLS_MAX = 300;

export interface InitAwsDeps {
  readonly s3: S3Client;
  readonly dynamodb: DynamoDBClient;
  readonly clock: Pick<Clock, "sleep">;
}

/** Makes what lacks, and waits until it can be used, for five minutes at most. Safe to repeat. */
export async function initAwsStore(
  deps: InitAwsDeps,
  { bucket, table }: { readonly bucket: string; readonly table: string },
): Promise<{ readonly kind: "created" } | { readonly kind: "exists" }> {
  const bucketIsNew = await orAwsFault(`bucket ${JSON.stringify(bucket)}`, () => ensureBucket(deps.s3, bucket));
  const tableIsNew = await orAwsFault(`DynamoDB table ${JSON.stringify(table)}`, () => ensureTable(deps, table));
  return { kind: bucketIsNew || tableIsNew ? "created" : "exists" };
}

async function ensureBucket(s3: S3Client, bucket: string): Promise<boolean> {
  try {
    await s3.send(new HeadBucketCommand({ Bucket: bucket }));
    return false;
  } catch (error) {
    if (awsStatus(error) !== 404) throw error;
  }
  const region = await s3.config.region();
  // us-east-1 is the one region that must not be named.
  const where = region === "us-east-1" ? {} : { CreateBucketConfiguration: { LocationConstraint: regionConstraint(region) } };
  try {
    await s3.send(new CreateBucketCommand({ Bucket: bucket, ...where }));
  } catch (error) {
    if (awsErrorName(error) === "BucketAlreadyOwnedByYou") return false;
    throw error;
  }
  const BlockAll = { BlockPublicAcls: true, IgnorePublicAcls: true, BlockPublicPolicy: true, RestrictPublicBuckets: true };
  await s3.send(new PutPublicAccessBlockCommand({ Bucket: bucket, PublicAccessBlockConfiguration: BlockAll }));
  return true;
}

/** The SDK lists the regions it knew when it was made; newer ones are as good. */
function regionConstraint(region: string): BucketLocationConstraint {
  return region as BucketLocationConstraint;
}

async function ensureTable({ dynamodb, clock }: InitAwsDeps, table: string): Promise<boolean> {
  const isNew = (await describe(dynamodb, table)) === undefined && (await createTable(dynamodb, table));
  for (let poll = 0; poll < POLLS_MAX; poll++) {
    const found = await describe(dynamodb, table);
    if (found !== undefined) checkSchema(found, table);
    const index = found?.GlobalSecondaryIndexes?.find(({ IndexName }) => IndexName === DIRTY_INDEX);
    if (found?.TableStatus === "ACTIVE" && index?.IndexStatus === "ACTIVE") return isNew;
    await clock.sleep(POLL_MS);
  }
  throw new TidemarkError("wait", "table-not-active", `DynamoDB table ${JSON.stringify(table)} is not active yet: wait, and call again`);
}

async function describe(dynamodb: DynamoDBClient, table: string): Promise<TableDescription | undefined> {
  try {
    return (await dynamodb.send(new DescribeTableCommand({ TableName: table }))).Table;
  } catch (error) {
    if (error instanceof ResourceNotFoundException) return undefined;
    throw error;
  }
}

async function createTable(dynamodb: DynamoDBClient, table: string): Promise<boolean> {
  try {
    await dynamodb.send(
      new CreateTableCommand({
        TableName: table,
        BillingMode: "PAY_PER_REQUEST",
        AttributeDefinitions: [PARTITION, SORT, DIRTY].map((name) => ({ AttributeName: name, AttributeType: "S" })),
        KeySchema: [
          { AttributeName: PARTITION, KeyType: "HASH" },
          { AttributeName: SORT, KeyType: "RANGE" },
        ],
        GlobalSecondaryIndexes: [
          {
            IndexName: DIRTY_INDEX,
            KeySchema: [
              { AttributeName: DIRTY, KeyType: "HASH" },
              { AttributeName: PARTITION, KeyType: "RANGE" },
            ],
            Projection: { ProjectionType: "KEYS_ONLY" },
          },
        ],
      }),
    );
    return true;
  } catch (error) {
    if (awsErrorName(error) === "ResourceInUseException") return false; // Another caller makes it just now.
    throw error;
  }
}

/** Every projection has the keys, which are all that is asked for: one that holds more works, and costs more. */
function checkSchema({ KeySchema = [], GlobalSecondaryIndexes = [] }: TableDescription, table: string): void {
  const keys = KeySchema.map(({ AttributeName }) => AttributeName).join(" ");
  const index = GlobalSecondaryIndexes.find(({ IndexName }) => IndexName === DIRTY_INDEX);
  const indexKeys = index?.KeySchema?.map(({ AttributeName }) => AttributeName).join(" ");
  if (keys === `${PARTITION} ${SORT}` && indexKeys === `${DIRTY} ${PARTITION}`) return;
  throw callError(
    "wrong-table",
    `DynamoDB table ${JSON.stringify(table)} serves something else: it has other keys or lacks the index ${DIRTY_INDEX}; name another table`,
  );
}
