// The two stateful resources: the bucket with all objects, and the table with the control items. Both stay when the
// stack goes: a deployment is never a way to lose data.

import { Duration, RemovalPolicy } from "aws-cdk-lib";
import { AttributeType, BillingMode, type ITable, ProjectionType, StreamViewType, Table, TableEncryption } from "aws-cdk-lib/aws-dynamodb";
import type { IKey } from "aws-cdk-lib/aws-kms";
import { BlockPublicAccess, Bucket, BucketEncryption, type IBucket, type LifecycleRule, ObjectOwnership } from "aws-cdk-lib/aws-s3";
import type { Construct } from "constructs";
import { acknowledge } from "./acknowledgements.ts";
import type { SnapshotPipelineProps } from "./props.ts";

/** Name of the sparse index that the planner queries. Of keys alone: a copy of each item in it would be written, and paid for, with each append. */
export const DIRTY_INDEX = "dirty";

/** Where a pipeline's state is. */
export interface Storage {
  readonly bucket: IBucket;
  /** Ends with a slash, or is empty. */
  readonly prefix: string;
  readonly table: ITable;
  /** What encrypts the objects, if it is a key that has to be granted. */
  readonly objectKey: IKey | undefined;
  /** What encrypts the items, if it is a key that has to be granted. */
  readonly itemKey: IKey | undefined;
}

export function pipelineStorage(scope: Construct, props: SnapshotPipelineProps): Storage {
  const bucket = props.bucket ?? pipelineBucket(scope, props);
  const table = props.table ?? pipelineTable(scope, props.encryptionKey);
  return {
    bucket,
    prefix: props.prefix ?? "",
    table,
    objectKey: bucket.encryptionKey ?? props.encryptionKey,
    itemKey: table.encryptionKey ?? props.encryptionKey,
  };
}

function pipelineBucket(scope: Construct, { encryptionKey, objectLock }: SnapshotPipelineProps): Bucket {
  const bucket = new Bucket(scope, "Bucket", {
    blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
    objectOwnership: ObjectOwnership.BUCKET_OWNER_ENFORCED,
    enforceSSL: true,
    ...(encryptionKey === undefined
      ? { encryption: BucketEncryption.S3_MANAGED }
      : // With the bucket key S3 asks KMS once in a while, not once for each object.
        { encryption: BucketEncryption.KMS, encryptionKey, bucketKeyEnabled: true }),
    // Old versions would keep what cleanup has let go. Object Lock exists only with them.
    versioned: objectLock !== undefined,
    ...(objectLock && { objectLockEnabled: true, objectLockDefaultRetention: objectLock }),
    lifecycleRules: [
      // A second net: cleanup ends abandoned uploads itself, and a capture may go on with its upload for a day.
      { id: "abandoned-uploads", abortIncompleteMultipartUploadAfter: Duration.days(7) },
      ...(objectLock ? [EXPIRED_VERSIONS] : []),
    ],
    removalPolicy: RemovalPolicy.RETAIN,
  });
  acknowledge(bucket, {
    rule: "S1",
    reason: "Access logs would cost more than the pipeline at rest; who wants them turns on CloudTrail data events, or passes a bucket that has them.",
  });
  return bucket;
}

/** A version goes a day after cleanup deleted it, or as soon as its lock lapses. */
const EXPIRED_VERSIONS: LifecycleRule = { id: "expired-versions", noncurrentVersionExpiration: Duration.days(1), expiredObjectDeleteMarker: true };

function pipelineTable(scope: Construct, encryptionKey: IKey | undefined): Table {
  const table = new Table(scope, "Table", {
    partitionKey: { name: "partition", type: AttributeType.STRING },
    sortKey: { name: "sort", type: AttributeType.STRING },
    billingMode: BillingMode.PAY_PER_REQUEST,
    pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
    ...(encryptionKey && { encryption: TableEncryption.CUSTOMER_MANAGED, encryptionKey }),
    stream: StreamViewType.NEW_AND_OLD_IMAGES,
    timeToLiveAttribute: "expiresAt",
    deletionProtection: true,
    removalPolicy: RemovalPolicy.RETAIN,
  });
  table.addGlobalSecondaryIndex({
    indexName: DIRTY_INDEX,
    partitionKey: { name: "dirty", type: AttributeType.STRING },
    sortKey: { name: "partition", type: AttributeType.STRING },
    projectionType: ProjectionType.KEYS_ONLY,
  });
  return table;
}
