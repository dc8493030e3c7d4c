// Who may do what, and nothing beyond. Objects are named {prefix}{table}/{shard}/{incarnation}/redo/…, …/snapshots/… or …/attached/…,
// so that rights are given by kind of object. Only cleanup and an operator delete; nobody else could, by mistake or not.

import { Stack } from "aws-cdk-lib";
import { Grant, type IGrantable, PolicyStatement, type Role } from "aws-cdk-lib/aws-iam";
import type { IEventBus } from "aws-cdk-lib/aws-events";
import type { IKey } from "aws-cdk-lib/aws-kms";
import type { IFunction } from "aws-cdk-lib/aws-lambda";
import type { IQueue } from "aws-cdk-lib/aws-sqs";
import { STORE_KEY } from "../lib/model/names.ts";
import { acknowledgeWildcards } from "./acknowledgements.ts";
import { DIRTY_INDEX, type Storage } from "./storage.ts";

/** What one principal may do. */
export interface Permissions {
  readonly statements: readonly Statement[];
  /** Keys to read with, or to read and write with. */
  readonly keys: readonly { readonly key: IKey | undefined; readonly use: "read" | "write" }[];
}

interface Statement {
  readonly actions: readonly string[];
  readonly resources: readonly string[];
  readonly conditions?: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;
}

const READ_ITEMS = ["dynamodb:GetItem", "dynamodb:Query"];
/** A transaction needs the rights of its parts, and a check of an item is a part of its own. */
const WRITE_ITEMS = ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:ConditionCheckItem"];
const OF_SHARDS = { "ForAllValues:StringLike": { "dynamodb:LeadingKeys": ["shard#*"] } };
const OF_TABLES = { "ForAllValues:StringEquals": { "dynamodb:LeadingKeys": ["tables", "store"] } };

/** Creates and reads redo files; reads snapshots, which hold the producers' last sequences. */
export function appendPermissions(storage: Storage): Permissions {
  return {
    statements: [
      { actions: ["s3:PutObject"], resources: redoFiles(storage) },
      { actions: ["s3:GetObject"], resources: objects(storage) },
      listObjects(storage),
      { actions: [...READ_ITEMS, ...WRITE_ITEMS], resources: items(storage) },
    ],
    keys: writeBoth(storage),
  };
}

/** Reads the log and the base, uploads the new snapshot, with parts that S3 copies from the base by the same rights; what it leaves behind is cleanup's. */
export function snapshotPermissions(storage: Storage): Permissions {
  return {
    statements: [
      { actions: ["s3:PutObject"], resources: snapshots(storage) },
      { actions: ["s3:GetObject"], resources: objects(storage) },
      listObjects(storage),
      { actions: [...READ_ITEMS, ...WRITE_ITEMS], resources: items(storage) },
    ],
    keys: writeBoth(storage),
  };
}

/** Stores attachments and appends the batches that refer to them, of one table alone. */
export function backupPermissions(storage: Storage, table: string): Permissions {
  const mine = { ...storage, prefix: `${storage.prefix}${table}/` };
  const kinds = { redo: redoFiles(mine, ""), snapshots: snapshots(mine, ""), attachments: attachments(mine, "") };
  // A shard is opened only if its table is there: that is checked with the write.
  const ofTable = { "ForAllValues:StringLike": { "dynamodb:LeadingKeys": [`shard#${table}/*`] } };
  return {
    statements: [
      { actions: ["s3:PutObject"], resources: [...kinds.redo, ...kinds.attachments] },
      { actions: ["s3:GetObject"], resources: [...kinds.redo, ...kinds.snapshots, ...kinds.attachments] },
      listObjects(mine),
      { actions: [...READ_ITEMS, "dynamodb:ConditionCheckItem"], resources: items(storage) },
      { actions: WRITE_ITEMS, resources: items(storage), conditions: ofTable },
    ],
    keys: writeBoth(storage),
  };
}

/** Deletes objects, uploads and items; creates no object. */
export function cleanupPermissions(storage: Storage): Permissions {
  return {
    statements: [
      { actions: ["s3:GetObject", "s3:DeleteObject"], resources: objects(storage) },
      { actions: ["s3:DeleteObject"], resources: attachments(storage) },
      { actions: ["s3:GetObject"], resources: storeObject(storage) },
      { actions: ["s3:AbortMultipartUpload"], resources: [...snapshots(storage), ...attachments(storage)] },
      listObjects(storage),
      listUploads(storage),
      { actions: [...READ_ITEMS, ...WRITE_ITEMS, "dynamodb:DeleteItem"], resources: items(storage) },
    ],
    keys: [
      { key: storage.objectKey, use: "read" },
      { key: storage.itemKey, use: "write" },
    ],
  };
}

/** Asks the sparse index and notes what it has sent; no object is its business. */
export function planPermissions(storage: Storage): Permissions {
  return {
    statements: [
      { actions: READ_ITEMS, resources: items(storage) },
      { actions: ["dynamodb:Query"], resources: dirtyIndex(storage) },
      { actions: ["dynamodb:UpdateItem"], resources: items(storage), conditions: OF_SHARDS },
    ],
    keys: [{ key: storage.itemKey, use: "write" }],
  };
}

/** Reads and writes items; no object is its business. */
export function requestPermissions(storage: Storage): Permissions {
  return {
    statements: [{ actions: [...READ_ITEMS, ...WRITE_ITEMS], resources: items(storage) }],
    keys: [{ key: storage.itemKey, use: "write" }],
  };
}

/** The settings of tables and the store's id, and no other item or object. */
export function tablesPermissions(storage: Storage): Permissions {
  return {
    statements: [
      { actions: [...READ_ITEMS, ...WRITE_ITEMS], resources: items(storage), conditions: OF_TABLES },
      { actions: ["s3:GetObject", "s3:PutObject"], resources: storeObject(storage) },
      listObjects(storage),
    ],
    keys: writeBoth(storage),
  };
}

/** Sends messages, and does nothing else with a queue. */
export function sendPermissions(...queues: readonly IQueue[]): Permissions {
  return {
    statements: [{ actions: ["sqs:SendMessage"], resources: queues.map(({ queueArn }) => queueArn) }],
    keys: queues.map(({ encryptionMasterKey }) => ({ key: encryptionMasterKey, use: "write" })),
  };
}

/** A caller of a function URL needs both rights; the second is held to calls that come by the URL. */
export function callPermissions({ functionArn }: IFunction): Permissions {
  const resources = [functionArn];
  return {
    statements: [
      { actions: ["lambda:InvokeFunctionUrl"], resources, conditions: { StringEquals: { "lambda:FunctionUrlAuthType": ["AWS_IAM"] } } },
      { actions: ["lambda:InvokeFunction"], resources, conditions: { Bool: { "lambda:InvokedViaFunctionUrl": ["true"] } } },
    ],
    keys: [],
  };
}

export function eventPermissions({ eventBusArn }: IEventBus): Permissions {
  return { statements: [{ actions: ["events:PutEvents"], resources: [eventBusArn] }], keys: [] };
}

export function together(...all: readonly Permissions[]): Permissions {
  return { statements: all.flatMap(({ statements }) => statements), keys: all.flatMap(({ keys }) => keys) };
}

/** Reads the table's stream. Lambda asks for all four before it connects a stream. */
export function streamPermissions(storage: Storage, streamArn: string): Permissions {
  const actions = ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"];
  return { statements: [{ actions, resources: [streamArn] }], keys: [{ key: storage.itemKey, use: "read" }] };
}

/** Reads everything, and pins the generation that it reads: the one write, of items of shards only. */
export function readPermissions(storage: Storage): Permissions {
  return {
    statements: [
      { actions: ["s3:GetObject"], resources: [...objects(storage), ...attachments(storage)] },
      listObjects(storage),
      { actions: READ_ITEMS, resources: items(storage) },
      { actions: ["dynamodb:PutItem"], resources: items(storage), conditions: OF_SHARDS },
    ],
    keys: [
      { key: storage.objectKey, use: "read" },
      { key: storage.itemKey, use: "write" },
    ],
  };
}

/** What the command line does, all of it: append, capture, clean up, read, make and delete tables. */
export function operatePermissions(storage: Storage): Permissions {
  return {
    statements: [
      { actions: ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"], resources: [...objects(storage), ...attachments(storage)] },
      { actions: ["s3:GetObject", "s3:PutObject"], resources: storeObject(storage) },
      listObjects(storage),
      listUploads(storage),
      { actions: [...READ_ITEMS, ...WRITE_ITEMS, "dynamodb:DeleteItem"], resources: items(storage) },
      { actions: ["dynamodb:Query"], resources: dirtyIndex(storage) },
    ],
    keys: writeBoth(storage),
  };
}

/** Gives a function's role what it may do. */
export function allow(role: Role, { statements, keys }: Permissions): void {
  for (const { actions, resources, conditions } of statements) {
    role.addToPrincipalPolicy(new PolicyStatement({ actions: [...actions], resources: [...resources], ...(conditions && { conditions }) }));
    acknowledgeWildcards(
      role,
      resources,
      "Objects are named by table, shard and incarnation, which come later; the kind of object is what the role is held to.",
    );
  }
  for (const { key, use } of keys) key?.grant(role, ...KEY_ACTIONS[use]);
  const everyKey = Stack.of(role).formatArn({ service: "kms", resource: "key", resourceName: "*" });
  acknowledgeWildcards(role, [everyKey], "A key that is named by its alias alone: CDK holds the role to that alias by a condition.");
}

/** Gives somebody else's principal the same. */
export function grant(grantee: IGrantable, { statements, keys }: Permissions): Grant {
  const grants = [
    ...statements.map(({ actions, resources, conditions }) =>
      Grant.addToPrincipal({ grantee, actions: [...actions], resourceArns: [...resources], ...(conditions && { conditions: { ...conditions } }) }),
    ),
    ...keys.flatMap(({ key, use }) => (key ? [key.grant(grantee, ...KEY_ACTIONS[use])] : [])),
  ];
  return grants.reduce((all, one) => all.combine(one));
}

const KEY_ACTIONS = { read: ["kms:Decrypt"], write: ["kms:Decrypt", "kms:GenerateDataKey"] } as const;

function writeBoth({ objectKey, itemKey }: Storage): Permissions["keys"] {
  const keys = objectKey === itemKey ? [objectKey] : [objectKey, itemKey];
  return keys.map((key) => ({ key, use: "write" }));
}

/** `table`: the part of the pattern that stands for the table, empty where the prefix has it already. */
function redoFiles({ bucket, prefix }: Storage, table = "*/"): readonly string[] {
  return [bucket.arnForObjects(`${prefix}${table}*/*/redo/*.redo`)];
}

function snapshots({ bucket, prefix }: Storage, table = "*/"): readonly string[] {
  return [bucket.arnForObjects(`${prefix}${table}*/*/snapshots/*.parquet`)];
}

/** What the records of a source refer to. */
function attachments({ bucket, prefix }: Storage, table = "*/"): readonly string[] {
  return [bucket.arnForObjects(`${prefix}${table}*/*/attached/*`)];
}

function storeObject({ bucket, prefix }: Storage): readonly string[] {
  return [bucket.arnForObjects(`${prefix}${STORE_KEY}`)];
}

function objects(storage: Storage): readonly string[] {
  return [...redoFiles(storage), ...snapshots(storage)];
}

/**
 * Without the right to list, S3 answers 403 where an object is missing, and the end of the log could not be told from a
 * denial. That answer is decided without a prefix in the request: hence "IfExists".
 */
function listObjects({ bucket, prefix }: Storage): Statement {
  const list = { actions: ["s3:ListBucket"], resources: [bucket.bucketArn] };
  return prefix === "" ? list : { ...list, conditions: { StringLikeIfExists: { "s3:prefix": [`${prefix}*`] } } };
}

/** S3 knows no condition on the prefix here. */
function listUploads({ bucket }: Storage): Statement {
  return { actions: ["s3:ListBucketMultipartUploads"], resources: [bucket.bucketArn] };
}

function items({ table }: Storage): readonly string[] {
  return [table.tableArn];
}

function dirtyIndex({ table }: Storage): readonly string[] {
  return [`${table.tableArn}/index/${DIRTY_INDEX}`];
}
