// Each function's rights, exactly: one that lacks and one too many both fail.

import { Duration } from "aws-cdk-lib";
import { Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import { Key } from "aws-cdk-lib/aws-kms";
import { describe, expect, test } from "vitest";
import { may, permissions, roleNames, statementsOf } from "./policies.ts";
import { type Scene, synthesize } from "./scene.ts";

const RESOURCES = {
  redo: "<Bucket.Arn>/players/3/00000000000000aa/redo/0000000000000057.redo",
  snapshots: "<Bucket.Arn>/players/3/00000000000000aa/snapshots/0000000000000057-e3.parquet",
  attached: "<Bucket.Arn>/players/3/00000000000000aa/attached/0000000000000007/5/000000001-000000001.tsm-00000000000000bb",
  "other objects": "<Bucket.Arn>/players/3/00000000000000aa/else/0000000000000057.redo",
  bucket: "<Bucket.Arn>",
  items: "<Table.Arn>",
  "dirty index": "<Table.Arn>/index/dirty",
  stream: "<Table.StreamArn>",
  "snapshot queue": "<SnapshotQueue.Arn>",
  "snapshot dead letters": "<SnapshotDeadLetterQueue.Arn>",
  "cleanup queue": "<CleanupQueue.Arn>",
  "cleanup dead letters": "<CleanupDeadLetterQueue.Arn>",
  "ingest queue": "<IngestQueue.Arn>",
  "ingest dead letters": "<IngestDeadLetterQueue.Arn>",
  "events dead letters": "<EventsDeadLetterQueue.Arn>",
  "backup queue": "<BackupQueue.Arn>",
  "backup dead letters": "<BackupDeadLetterQueue.Arn>",
  "store object": "<Bucket.Arn>/_store.json",
  bus: "arn:<AWS::Partition>:events:<AWS::Region>:<AWS::AccountId>:event-bus/default",
  plan: "<PlanFunction.Arn>",
  cleanup: "<CleanupFunction.Arn>",
  ingest: "<IngestFunction.Arn>",
  requests: "<RequestsFunction.Arn>",
  key: "<Key.Arn>",
} as const;

const ACTIONS = [
  ...["PutObject", "GetObject", "DeleteObject", "AbortMultipartUpload", "ListBucket", "ListBucketMultipartUploads"].map((name) => `s3:${name}`),
  ...["DeleteObjectVersion", "PutObjectTagging", "PutBucketPolicy", "PutLifecycleConfiguration", "BypassGovernanceRetention"].map((name) => `s3:${name}`),
  ...["GetItem", "Query", "PutItem", "UpdateItem", "ConditionCheckItem", "DeleteItem"].map((name) => `dynamodb:${name}`),
  ...["Scan", "BatchGetItem", "BatchWriteItem", "PartiQLDelete", "DeleteTable", "UpdateTable"].map((name) => `dynamodb:${name}`),
  ...["DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"].map((name) => `dynamodb:${name}`),
  ...["SendMessage", "ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes", "GetQueueUrl", "PurgeQueue"].map(
    (name) => `sqs:${name}`,
  ),
  ...["events:PutEvents", "lambda:InvokeFunction", "lambda:InvokeFunctionUrl", "lambda:UpdateFunctionCode"],
  ...["kms:Decrypt", "kms:GenerateDataKey", "kms:Encrypt", "kms:CreateGrant", "kms:ScheduleKeyDeletion", "iam:PassRole", "sts:AssumeRole"],
];

const READ = ["dynamodb:GetItem", "dynamodb:Query"];
const CHECK = ["dynamodb:ConditionCheckItem", ...READ];
const WRITE = ["dynamodb:ConditionCheckItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"];
const DELETE = ["dynamodb:ConditionCheckItem", "dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"];
const SEND = ["sqs:SendMessage"];
const CONSUME = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ReceiveMessage"];
const CONSUME_AND_SEND = [...CONSUME, "sqs:SendMessage"];
const APPEND = { redo: ["s3:GetObject", "s3:PutObject"], snapshots: ["s3:GetObject"], bucket: ["s3:ListBucket"], items: WRITE };

/** On items of shards; the settings of tables are below. */
const ROLES: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  PlanRole: { items: [...READ, "dynamodb:UpdateItem"], "dirty index": ["dynamodb:Query"], "snapshot queue": SEND },
  SnapshotRole: {
    redo: ["s3:GetObject"],
    snapshots: ["s3:GetObject", "s3:PutObject"],
    bucket: ["s3:ListBucket"],
    items: WRITE,
    "snapshot queue": CONSUME_AND_SEND,
    "snapshot dead letters": SEND,
    "cleanup queue": SEND,
  },
  CleanupRole: {
    redo: ["s3:DeleteObject", "s3:GetObject"],
    "store object": ["s3:GetObject"],
    snapshots: ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject"],
    attached: ["s3:AbortMultipartUpload", "s3:DeleteObject"],
    bucket: ["s3:ListBucket", "s3:ListBucketMultipartUploads"],
    items: DELETE,
    "cleanup queue": CONSUME_AND_SEND,
    "cleanup dead letters": SEND,
  },
  IngestRole: APPEND,
  IngestQueueRole: { ...APPEND, "ingest queue": CONSUME, "ingest dead letters": SEND },
  RequestsRole: { items: WRITE, "snapshot queue": SEND },
  EventsRole: {
    stream: ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"],
    bus: ["events:PutEvents"],
    "events dead letters": ["sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:SendMessage"],
  },
  TablesRole: { "store object": ["s3:GetObject", "s3:PutObject"], bucket: ["s3:ListBucket"] },
  // What it may do with its own table is below.
  InfluxdbRole: { bucket: ["s3:ListBucket"], items: CHECK, "backup queue": CONSUME_AND_SEND, "backup dead letters": SEND, "snapshot queue": SEND },
  BackupScheduleRole: { "backup queue": SEND },
  PlanScheduleRole: { plan: ["lambda:InvokeFunction"] },
  CleanupScheduleRole: { cleanup: ["lambda:InvokeFunction"] },
};

const TABLES = [{ name: "players" }];
const INFLUXDB = [{ name: "metrics", host: "10.0.0.5", every: Duration.hours(1) }];
const PROPS = { tables: TABLES, influxdb: INFLUXDB };
const OF_SHARDS = { "dynamodb:LeadingKeys": ["shard#players/3"] };
const OF_TABLES = { "dynamodb:LeadingKeys": ["tables"] };
const BY_URL = { "lambda:InvokedViaFunctionUrl": ["true"], "lambda:FunctionUrlAuthType": ["AWS_IAM"] };

const scene = synthesize(PROPS);

function allowed({ template }: Scene, role: string, context = {}): Readonly<Record<string, readonly string[]>> {
  return permissions(template, role, RESOURCES, ACTIONS, { ...OF_SHARDS, ...context });
}

describe("each role may do exactly what its work needs", () => {
  test.each(Object.entries(ROLES))("%s", (role, expected) => {
    expect(allowed(scene, role)).toEqual(expected);
  });

  test("there are no other roles", () => {
    expect(roleNames(scene.template).toSorted()).toEqual(Object.keys(ROLES).toSorted());
  });

  test("no statement has a wildcard in an action, or names an action that is not in these tables", () => {
    const beside = ["logs:CreateLogStream", "logs:PutLogEvents"];
    const actions = Object.keys(ROLES).flatMap((role) => statementsOf(scene.template, role).flatMap((statement) => statement.actions));
    expect(actions.filter((action) => ![...ACTIONS, ...beside].includes(action))).toEqual([]);
  });

  test("nothing is allowed on every resource but tracing, which knows none", () => {
    const everywhere = ({ template }: Scene) =>
      Object.keys(ROLES).flatMap((role) => statementsOf(template, role).flatMap(({ actions, resources }) => (resources.includes("*") ? actions : [])));
    expect(everywhere(scene)).toEqual([]);
    expect(new Set(everywhere(synthesize({ ...PROPS, tracing: true })))).toEqual(new Set(["xray:PutTelemetryRecords", "xray:PutTraceSegments"]));
  });

  test("a function writes to its own log group and to no other", () => {
    const logs = Object.keys(ROLES).flatMap((role) =>
      statementsOf(scene.template, role)
        .filter(({ actions }) => actions.includes("logs:PutLogEvents"))
        .map(({ resources }) => [role, resources]),
    );
    const functions = Object.keys(ROLES).filter((role) => !role.endsWith("ScheduleRole"));
    expect(logs).toEqual(functions.map((role) => [role, [`<${role.replace(/Role$/, "Logs")}.Arn>`]]));
  });
});

describe("rights that depend on the item or the object", () => {
  test("the function that makes tables writes items of tables and the store's id, and no other", () => {
    for (const partition of ["tables", "store"]) {
      expect(allowed(scene, "TablesRole", { "dynamodb:LeadingKeys": [partition] })).toEqual({ ...ROLES.TablesRole, items: WRITE });
    }
  });

  test("the function of a source stores, appends and writes items in its own table alone", () => {
    const place = "<Bucket.Arn>/metrics/0/00000000000000aa";
    const own = {
      redo: `${place}/redo/0000000000000057.redo`,
      snapshots: `${place}/snapshots/0000000000000057-e3.parquet`,
      attached: `${place}/attached/0000000000000007/5/000000001-000000001.tsm-00000000000000bb`,
      items: "<Table.Arn>",
    };
    expect(permissions(scene.template, "InfluxdbRole", own, ACTIONS, { "dynamodb:LeadingKeys": ["shard#metrics/0"] })).toEqual({
      redo: ["s3:GetObject", "s3:PutObject"],
      snapshots: ["s3:GetObject"],
      attached: ["s3:GetObject", "s3:PutObject"],
      items: WRITE,
    });
    expect(allowed(scene, "InfluxdbRole", OF_TABLES).items).toEqual(CHECK);
    const listing = ["metrics/0/", "players/0/"].map((prefix) =>
      may(scene.template, "InfluxdbRole", "s3:ListBucket", "<Bucket.Arn>", { "s3:prefix": [prefix] }),
    );
    expect(listing).toEqual([true, false]);
  });

  test("the planner reads the settings of tables and does not change them", () => {
    expect(allowed(scene, "PlanRole", OF_TABLES).items).toEqual(READ);
  });

  test("a table named redo or snapshots gives no right on another kind of object", () => {
    const snapshot = "<Bucket.Arn>/redo/0/00000000000000aa/snapshots/0000000000000001-e1.parquet";
    const redo = "<Bucket.Arn>/snapshots/0/00000000000000aa/redo/0000000000000001.redo";
    expect([may(scene.template, "IngestRole", "s3:PutObject", snapshot), may(scene.template, "SnapshotRole", "s3:PutObject", redo)]).toEqual([false, false]);
  });

  test("with a prefix nothing outside of it may be read, written or listed", () => {
    const { template } = synthesize({ prefix: "states/" });
    const [inside, outside] = ["states/players", "players"].map((start) => `<Bucket.Arn>/${start}/3/00000000000000aa/redo/0000000000000057.redo`);
    const actions = ["s3:GetObject", "s3:PutObject"];
    expect(permissions(template, "IngestRole", { inside, outside }, actions)).toEqual({ inside: actions });
    const listing = ["states/players/", "players/"].map((prefix) => may(template, "IngestRole", "s3:ListBucket", "<Bucket.Arn>", { "s3:prefix": [prefix] }));
    expect(listing).toEqual([true, false]);
  });

  test("with a prefix, too, S3 may tell that an object is missing: that question brings no prefix", () => {
    expect(may(synthesize({ prefix: "states/" }).template, "IngestRole", "s3:ListBucket", "<Bucket.Arn>")).toBe(true);
  });
});

describe("a key is granted to those who use what it encrypts", () => {
  const use = ["kms:Decrypt", "kms:GenerateDataKey"];
  const withKey = synthesize((stack) => ({ ...PROPS, encryptionKey: new Key(stack, "Key") }));

  test.each(Object.keys(ROLES).filter((role) => !role.endsWith("ScheduleRole")))("%s", (role) => {
    expect(allowed(withKey, role).key).toEqual(role === "EventsRole" ? ["kms:Decrypt"] : use);
  });
});

describe("a grant gives exactly what it is for", () => {
  const GRANTS = {
    grantAppend: APPEND,
    grantRead: {
      redo: ["s3:GetObject"],
      snapshots: ["s3:GetObject"],
      attached: ["s3:GetObject"],
      bucket: ["s3:ListBucket"],
      items: ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"],
    },
    grantIngest: { "ingest queue": SEND, ingest: ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"] },
    grantRequest: { requests: ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"] },
    grantOperate: {
      "store object": ["s3:GetObject", "s3:PutObject"],
      redo: ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"],
      snapshots: ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"],
      attached: ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"],
      bucket: ["s3:ListBucket", "s3:ListBucketMultipartUploads"],
      items: DELETE,
      "dirty index": ["dynamodb:Query"],
    },
  } as const;
  type GrantName = keyof typeof GRANTS;
  const names = Object.keys(GRANTS) as GrantName[];
  const granted = synthesize({}, (pipeline) => {
    for (const name of names) {
      const role = new Role(pipeline, name, { assumedBy: new ServicePrincipal("ecs-tasks.amazonaws.com") });
      pipeline[name](role).assertSuccess();
    }
  });

  test.each(names)("%s", (name) => {
    expect(allowed(granted, name, BY_URL)).toEqual(GRANTS[name]);
  });

  test("grantIngest and grantRequest allow calls by the URL alone", () => {
    expect([allowed(granted, "grantIngest").ingest, allowed(granted, "grantRequest").requests]).toEqual([undefined, undefined]);
  });

  test("a reader changes no table", () => {
    expect(allowed(granted, "grantRead", OF_TABLES).items).toEqual(READ);
  });

  test("with a key, a grant has the use of the key, too", () => {
    const withKey = synthesize(
      (stack) => ({ encryptionKey: new Key(stack, "Key") }),
      (pipeline) => {
        for (const name of names) pipeline[name](new Role(pipeline, name, { assumedBy: new ServicePrincipal("ecs-tasks.amazonaws.com") }));
      },
    );
    const use = ["kms:Decrypt", "kms:GenerateDataKey"];
    const expected = { grantAppend: use, grantRead: use, grantIngest: use, grantRequest: undefined, grantOperate: use };
    expect(Object.fromEntries(names.map((name) => [name, allowed(withKey, name).key]))).toEqual(expected);
  });
});
