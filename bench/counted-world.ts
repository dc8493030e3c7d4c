// A world whose stores count the requests, and the units of capacity, that AWS would bill for the same calls. The stores
// are those in memory: what is counted is which calls the jobs make, and each call is billed as the AWS adapter sends it
// (test/cli/requests.test.ts compares the two, call by call).
//
// DynamoDB bills by size, so items are measured as it measures them; where S3 names something longer than the store in
// memory does (upload ids), the longer name is used.

import { memoryCheckpointStore } from "../lib/adapters/memory/checkpoint-store.ts";
import { manualClock, type ManualClock } from "../lib/adapters/memory/clock.ts";
import { memoryObjectStore } from "../lib/adapters/memory/object-store.ts";
import { seededRandom } from "../lib/adapters/memory/random.ts";
import type { Attribute, Attributes, CheckpointStore, Item, ItemChange, ItemKey } from "../lib/ports/checkpoint-store.ts";
import type { ObjectStore } from "../lib/ports/object-store.ts";
import type { World } from "../lib/ports/world.ts";
import { NO_REQUESTS, type Requests, sumOf } from "../cli/request-counts.ts";

export interface CountedWorld extends World {
  readonly clock: ManualClock;
  /** What the work asked for. */
  count<Result>(work: () => Promise<Result>): Promise<Requests>;
  /** A message is sent, received and deleted. */
  message(): void;
}

export function countedWorld({ startMs }: { readonly startMs: number }): CountedWorld {
  let counted = NO_REQUESTS;
  const bill = (requests: Partial<Requests>): void => {
    counted = sumOf(counted, requests);
  };
  return {
    objects: countedObjects(memoryObjectStore(), bill),
    checkpoints: countedItems(memoryCheckpointStore(), bill),
    clock: manualClock(startMs),
    random: seededRandom(1),
    telemetry: { report: () => undefined },
    async count(work) {
      counted = NO_REQUESTS;
      await work();
      return counted;
    },
    message: () => bill({ messages: 3 }),
  };
}

type Bill = (requests: Partial<Requests>) => void;

/** S3's upload ids have about so many characters, and stand in the control item. */
const UPLOAD_ID_LENGTH = 128;

function countedObjects(store: ObjectStore, bill: Bill): ObjectStore {
  const paid = <Answer>(requests: Partial<Requests>, answer: Answer): Answer => {
    bill(requests);
    return answer;
  };
  const inside = <Upload extends { readonly uploadId: string }>(upload: Upload): Upload => ({ ...upload, uploadId: upload.uploadId.replaceAll("~", "") });
  return {
    createIfAbsent: (key, body) => paid({ s3Writes: 1 }, store.createIfAbsent(key, body)),
    get: (key) => paid({ s3Reads: 1 }, store.get(key)),
    async getRange(key, range) {
      const got = await store.getRange(key, range);
      const asksForBytes = range.length > 0;
      // S3 refuses a range without a byte: the adapter then asks for the object's size.
      const asksForSize = !asksForBytes || (got.kind === "found" && range.offset >= got.size);
      bill({ s3Reads: Number(asksForBytes) + Number(asksForSize) });
      return got;
    },
    head: (key) => paid({ s3Reads: 1 }, store.head(key)),
    list: (request) => paid({ s3Writes: 1 }, store.list(request)),
    deleteMany: (keys) => paid({ s3Deletes: Number(keys.length > 0) }, store.deleteMany(keys)),
    async createUpload(key, numbers) {
      bill({ s3Writes: 1 });
      const { uploadId } = await store.createUpload(key, numbers);
      return { uploadId: uploadId.padEnd(UPLOAD_ID_LENGTH, "~") };
    },
    uploadPart: (request) => paid({ s3Writes: 1 }, store.uploadPart(inside(request))),
    copyPart: (request) => paid({ s3Writes: 1 }, store.copyPart(inside(request))),
    completeUpload: (request) => paid({ s3Writes: 1 }, store.completeUpload(inside(request))),
    abortUpload: (upload) => paid({ s3Deletes: 1 }, store.abortUpload(inside(upload))),
    async listUploads(request) {
      bill({ s3Writes: 1 });
      const page = await store.listUploads({ ...request, ...(request.after && { after: inside(request.after) }) });
      return { ...page, uploads: page.uploads.map(({ key, uploadId }) => ({ key, uploadId: uploadId.padEnd(UPLOAD_ID_LENGTH, "~") })) };
    },
  };
}

const WRITE_UNIT_BYTES = 1_024;
const READ_UNIT_BYTES = 4_096;
const TRANSACTION_FACTOR = 2;
/** Of keys and the attribute, as long as they come. */
const INDEX_ENTRY_BYTES = 150;

function countedItems(store: CheckpointStore, bill: Bill): CheckpointStore {
  return {
    async get(key) {
      const item = await store.get(key);
      bill({ readUnits: readUnits(sizeOf(item)) });
      return item;
    },
    async query(request) {
      const page = await store.query(request);
      bill({ readUnits: readUnits(page.items.reduce((bytes, item) => bytes + sizeOf(item), 0)) });
      return page;
    },
    async queryDirty(request) {
      const page = await store.queryDirty(request);
      // An index is not read consistently.
      bill({ readUnits: readUnits(page.keys.length * INDEX_ENTRY_BYTES) / 2 });
      return page;
    },
    async write(changes) {
      const before = await Promise.all(changes.map(({ item }) => store.get(item)));
      const outcome = await store.write(changes);
      const after = await Promise.all(changes.map(({ item }) => store.get(item)));
      bill({ writeUnits: changes.reduce((units, _, place) => units + unitsOf(changes, place, before[place], after[place]), 0) });
      return outcome;
    },
  };
}

/** A refused write is billed like one of the item that stands there. */
function unitsOf(changes: readonly ItemChange[], place: number, before: Item | undefined, after: Item | undefined): number {
  const change = changes[place];
  // A check of nothing is left out of the transaction.
  if ("check" in change && change.when.length === 0) return 0;
  const isPlain = changes.length === 1 && !("check" in change);
  const units = writeUnits(Math.max(sizeOf(before), sizeOf(after)));
  return (isPlain ? units : TRANSACTION_FACTOR * units) + indexUnits(before, after);
}

/** The index `dirty` has keys alone: it is written when an item comes or goes, or gets another value, which is both. */
function indexUnits(before: Item | undefined, after: Item | undefined): number {
  const [was, is] = [before?.attributes.dirty, after?.attributes.dirty];
  return was === is ? 0 : Number(was !== undefined) + Number(is !== undefined);
}

function writeUnits(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / WRITE_UNIT_BYTES));
}

function readUnits(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / READ_UNIT_BYTES));
}

/** An item's size as DynamoDB counts it: names and values, a number by its digits, three bytes and one a member for a map. */
function sizeOf(item: Item | undefined): number {
  return item === undefined ? 0 : keyBytes(item.key) + membersBytes(item.attributes);
}

function keyBytes({ partition, sort }: ItemKey): number {
  return "partition".length + "sort".length + Buffer.byteLength(partition) + Buffer.byteLength(sort);
}

function membersBytes(attributes: Attributes): number {
  return Object.entries(attributes).reduce((bytes, [name, value]) => bytes + Buffer.byteLength(name) + valueBytes(value), 0);
}

function valueBytes(value: Attribute): number {
  if (typeof value === "string") return Buffer.byteLength(value);
  if (typeof value === "number") return Math.ceil(String(value).length / 2) + 1;
  if (typeof value === "boolean") return 1;
  const members = Object.entries(value);
  return 3 + members.length + membersBytes(Object.fromEntries(members));
}
