import { RemovalPolicy } from "aws-cdk-lib";
import { Annotations, Match } from "aws-cdk-lib/assertions";
import { AttributeType, Table } from "aws-cdk-lib/aws-dynamodb";
import { Key } from "aws-cdk-lib/aws-kms";
import { Bucket, ObjectLockRetention } from "aws-cdk-lib/aws-s3";
import { Duration } from "aws-cdk-lib";
import { describe, expect, test } from "vitest";
import { propertiesOf, synthesize, synthesizeApp } from "./scene.ts";

const plain = synthesize();
const withKey = synthesize((stack) => ({ encryptionKey: new Key(stack, "Key") }));

function bucketOf(scene: Parameters<typeof propertiesOf>[0]) {
  return propertiesOf(scene, "AWS::S3::Bucket", "Bucket");
}

function tableOf(scene: Parameters<typeof propertiesOf>[0]) {
  return propertiesOf(scene, "AWS::DynamoDB::Table", "Table");
}

describe("bucket", () => {
  test("the public has no way in, and the owner owns every object", () => {
    expect(bucketOf(plain)).toMatchObject({
      PublicAccessBlockConfiguration: { BlockPublicAcls: true, BlockPublicPolicy: true, IgnorePublicAcls: true, RestrictPublicBuckets: true },
      OwnershipControls: { Rules: [{ ObjectOwnership: "BucketOwnerEnforced" }] },
    });
  });

  test("whoever comes without TLS is denied everything", () => {
    plain.template.hasResourceProperties("AWS::S3::BucketPolicy", {
      PolicyDocument: { Statement: [{ Effect: "Deny", Action: "s3:*", Principal: { AWS: "*" }, Condition: { Bool: { "aws:SecureTransport": "false" } } }] },
    });
  });

  test("objects are encrypted by S3, or by the key that is given, with a bucket key", () => {
    const encryption = [plain, withKey].map((scene) => bucketOf(scene).BucketEncryption);
    expect(encryption).toEqual([
      { ServerSideEncryptionConfiguration: [{ ServerSideEncryptionByDefault: { SSEAlgorithm: "AES256" } }] },
      {
        ServerSideEncryptionConfiguration: [
          { BucketKeyEnabled: true, ServerSideEncryptionByDefault: { SSEAlgorithm: "aws:kms", KMSMasterKeyID: { "Fn::GetAtt": ["Key961B73FD", "Arn"] } } },
        ],
      },
    ]);
  });

  test("nothing but abandoned uploads goes by lifecycle, and versioning is off", () => {
    const { LifecycleConfiguration, VersioningConfiguration } = bucketOf(plain);
    expect([LifecycleConfiguration, VersioningConfiguration]).toEqual([
      { Rules: [{ Id: "abandoned-uploads", Status: "Enabled", AbortIncompleteMultipartUpload: { DaysAfterInitiation: 7 } }] },
      undefined,
    ]);
  });

  test("with Object Lock versions are kept for the lock's time, and go after", () => {
    const locked = bucketOf(synthesize({ objectLock: ObjectLockRetention.governance(Duration.days(3)) }));
    expect(locked).toMatchObject({
      ObjectLockConfiguration: { ObjectLockEnabled: "Enabled", Rule: { DefaultRetention: { Mode: "GOVERNANCE", Days: 3 } } },
      VersioningConfiguration: { Status: "Enabled" },
      LifecycleConfiguration: {
        Rules: [{ Id: "abandoned-uploads" }, { Id: "expired-versions", NoncurrentVersionExpiration: { NoncurrentDays: 1 }, ExpiredObjectDeleteMarker: true }],
      },
    });
  });
});

describe("table", () => {
  test("it has the keys, the sparse index, the TTL and the stream that the adapter and the functions use", () => {
    expect(tableOf(plain)).toMatchObject({
      KeySchema: [
        { AttributeName: "partition", KeyType: "HASH" },
        { AttributeName: "sort", KeyType: "RANGE" },
      ],
      AttributeDefinitions: ["partition", "sort", "dirty"].map((AttributeName) => ({ AttributeName, AttributeType: "S" })),
      GlobalSecondaryIndexes: [
        {
          IndexName: "dirty",
          KeySchema: [
            { AttributeName: "dirty", KeyType: "HASH" },
            { AttributeName: "partition", KeyType: "RANGE" },
          ],
          Projection: { ProjectionType: "KEYS_ONLY" },
        },
      ],
      BillingMode: "PAY_PER_REQUEST",
      TimeToLiveSpecification: { AttributeName: "expiresAt", Enabled: true },
      StreamSpecification: { StreamViewType: "NEW_AND_OLD_IMAGES" },
    });
  });

  test("it can be brought back to any second, is not deleted by mistake, and is encrypted by the key that is given", () => {
    expect(tableOf(withKey)).toMatchObject({
      PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
      DeletionProtectionEnabled: true,
      SSESpecification: { SSEEnabled: true, SSEType: "KMS", KMSMasterKeyId: { "Fn::GetAtt": ["Key961B73FD", "Arn"] } },
    });
  });
});

describe("what holds state", () => {
  test("stays when the stack goes, or when an update replaces it", () => {
    const stateful = ["AWS::S3::Bucket", "AWS::DynamoDB::Table", "AWS::KMS::Key"].flatMap((type) => Object.values(withKey.template.findResources(type)));
    expect(stateful.map(({ DeletionPolicy, UpdateReplacePolicy }) => [DeletionPolicy, UpdateReplacePolicy])).toEqual(Array(3).fill(["Retain", "Retain"]));
  });

  test("keeps its logical id from release to release: another one would leave the state behind", () => {
    const ids = (template: typeof plain.template) => ["AWS::S3::Bucket", "AWS::DynamoDB::Table"].flatMap((type) => Object.keys(template.findResources(type)));
    expect([ids(plain.template), ids(synthesizeApp().template)]).toEqual(Array(2).fill(["PipelineBucket5BC3F8EA", "PipelineTable0C1A5F45"]));
  });
});

describe("storage that is given", () => {
  test("nothing is made beside a bucket and a table of one's own", () => {
    const { template } = synthesize((stack) => ({
      bucket: Bucket.fromBucketName(stack, "Own", "own-bucket"),
      table: Table.fromTableName(stack, "OwnTable", "own-table"),
    }));
    expect(["AWS::S3::Bucket", "AWS::DynamoDB::Table"].map((type) => template.findResources(type))).toEqual([{}, {}]);
  });

  test("a bucket without its table is warned of, for what is in it could not be reached", () => {
    const { stack } = synthesize((around) => ({ bucket: Bucket.fromBucketName(around, "Own", "own-bucket") }));
    const warnings = Annotations.fromStack(stack).findWarning("*", Match.stringLikeRegexp("^bucket is given and table is not"));
    expect(warnings.map(({ id }) => id)).toEqual(["/Test/Pipeline"]);
  });

  test("without a stream on the table there are no events", () => {
    const { pipeline } = synthesize((stack) => ({ table: Table.fromTableName(stack, "OwnTable", "own-table") }));
    expect([pipeline.functions.events, pipeline.queues.eventsDeadLetters, pipeline.eventBus]).toEqual([undefined, undefined, undefined]);
  });

  test("the stream of a given table is followed", () => {
    const tableArn = "arn:aws:dynamodb:eu-west-1:123456789012:table/own";
    const tableStreamArn = `${tableArn}/stream/2026-11-01T00:00:00.000`;
    const { template } = synthesize((stack) => ({ table: Table.fromTableAttributes(stack, "OwnTable", { tableArn, tableStreamArn }) }));
    template.hasResourceProperties("AWS::Lambda::EventSourceMapping", { EventSourceArn: tableStreamArn });
  });

  test("the keys of a given bucket and table are granted without being named again", () => {
    const { template } = synthesize((stack) => ({
      bucket: new Bucket(stack, "Own", { encryptionKey: new Key(stack, "BucketKey") }),
      table: new Table(stack, "OwnTable", {
        partitionKey: { name: "partition", type: AttributeType.STRING },
        encryptionKey: new Key(stack, "TableKey"),
        removalPolicy: RemovalPolicy.RETAIN,
      }),
    }));
    const policies = JSON.stringify(template.findResources("AWS::IAM::Policy", { Properties: { Roles: [{ Ref: "PipelineIngestRoleD47CE032" }] } }));
    expect(policies).toMatch(/BucketKey.*TableKey/);
  });
});
