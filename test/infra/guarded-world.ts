// A store that refuses what a role of the template may not do, as IAM would: the jobs run on it with their own rights.

import { memoryCheckpointStore } from "../../lib/adapters/memory/checkpoint-store.ts";
import { manualClock, type ManualClock } from "../../lib/adapters/memory/clock.ts";
import { memoryObjectStore } from "../../lib/adapters/memory/object-store.ts";
import { seededRandom } from "../../lib/adapters/memory/random.ts";
import type { CheckpointStore, ItemChange } from "../../lib/ports/checkpoint-store.ts";
import type { ObjectStore } from "../../lib/ports/object-store.ts";
import type { World } from "../../lib/ports/world.ts";
import type { Context } from "./policies.ts";

/** Whether an action on a resource is allowed, with what the request brings for conditions. */
export type Allows = (action: string, resource: string, context: Context) => boolean;

export interface SharedStore {
  readonly clock: ManualClock;
  /** The store as a role sees it. */
  as(allows: Allows): World;
}

const BUCKET = "<Bucket.Arn>";
const TABLE = "<Table.Arn>";

export function sharedStore(): SharedStore {
  const [objects, checkpoints, clock, random] = [memoryObjectStore(), memoryCheckpointStore(), manualClock(1_700_000_000_000), seededRandom(1)];
  return {
    clock,
    as(allows) {
      const need = (action: string, resource: string, context: Context = {}): void => {
        if (!allows(action, resource, context)) throw new Error(`denied: ${action} on ${resource} ${JSON.stringify(context)}`);
      };
      return { objects: guardedObjects(objects, need), checkpoints: guardedItems(checkpoints, need), clock, random, telemetry: { report: () => undefined } };
    },
  };
}

type Need = (action: string, resource: string, context?: Context) => void;

function guardedObjects(store: ObjectStore, need: Need): ObjectStore {
  const on = (key: string): string => `${BUCKET}/${key}`;
  /** S3 tells that an object is missing only to who may list. */
  const read = async <Found extends { readonly kind: string }>(key: string, found: Promise<Found>): Promise<Found> => {
    need("s3:GetObject", on(key));
    const outcome = await found;
    if (outcome.kind === "absent") need("s3:ListBucket", BUCKET);
    return outcome;
  };
  return {
    async createIfAbsent(key, body) {
      need("s3:PutObject", on(key));
      return store.createIfAbsent(key, body);
    },
    get: (key) => read(key, store.get(key)),
    getRange: (key, range) => read(key, store.getRange(key, range)),
    head: (key) => read(key, store.head(key)),
    async list(request) {
      need("s3:ListBucket", BUCKET, { "s3:prefix": [request.prefix] });
      return store.list(request);
    },
    async deleteMany(keys) {
      for (const key of keys) need("s3:DeleteObject", on(key));
      return store.deleteMany(keys);
    },
    async createUpload(key, numbers) {
      need("s3:PutObject", on(key));
      return store.createUpload(key, numbers);
    },
    async uploadPart(part) {
      need("s3:PutObject", on(part.key));
      return store.uploadPart(part);
    },
    /** S3 reads the source with the rights of who asks for the copy. */
    async copyPart(part) {
      need("s3:PutObject", on(part.key));
      need("s3:GetObject", on(part.source.key));
      const outcome = await store.copyPart(part);
      if (outcome.kind === "sourceChanged") need("s3:ListBucket", BUCKET);
      return outcome;
    },
    async completeUpload(upload) {
      need("s3:PutObject", on(upload.key));
      return store.completeUpload(upload);
    },
    async abortUpload(upload) {
      need("s3:AbortMultipartUpload", on(upload.key));
      return store.abortUpload(upload);
    },
    async listUploads(request) {
      need("s3:ListBucketMultipartUploads", BUCKET);
      return store.listUploads(request);
    },
  };
}

function guardedItems(store: CheckpointStore, need: Need): CheckpointStore {
  const of = (partition: string): Context => ({ "dynamodb:LeadingKeys": [partition] });
  return {
    async get(key) {
      need("dynamodb:GetItem", TABLE, of(key.partition));
      return store.get(key);
    },
    async query(request) {
      need("dynamodb:Query", TABLE, of(request.partition));
      return store.query(request);
    },
    async queryDirty(request) {
      need("dynamodb:Query", `${TABLE}/index/dirty`, of(request.value));
      return store.queryDirty(request);
    },
    async write(changes) {
      for (const change of changes) need(`dynamodb:${actionOf(change)}`, TABLE, of(change.item.partition));
      return store.write(changes);
    },
  };
}

function actionOf(change: ItemChange): string {
  if ("put" in change) return "PutItem";
  if ("set" in change) return "UpdateItem";
  return "delete" in change ? "DeleteItem" : "ConditionCheckItem";
}
