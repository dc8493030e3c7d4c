// An object store on S3, or on anything that speaks its protocol with If-None-Match on PUT and on completion.
//
// The SDK repeats requests by itself. A PUT or a completion that it repeats after a lost reply finds its own object and
// answers "exists": nobody is told "created" then. The callers know their own object again by its bytes, so that is
// safe (protocol rules 9 and 15).
//
// Every part goes with its CRC-32, which S3 compares on arrival and again on completion; the port's ETag of a part is
// S3's with the checksum behind it, since completing asks for both.

import { crc32 } from "node:zlib";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  type CompletedPart,
  CreateMultipartUploadCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { assert } from "../../model/assert.ts";
import { callError, TidemarkError } from "../../model/errors.ts";
import { S3_DELETE_MANY_MAX, S3_LIST_PAGE_MAX } from "../../model/limits.ts";
import type { CompleteOutcome, GetOutcome, ObjectStore, UploadedPart } from "../../ports/object-store.ts";
import { areInOrder, checkPartNumber } from "../part-numbers.ts";
import { awsErrorName, awsStatus, orAwsFault } from "./errors.ts";

export interface S3ObjectStoreOptions {
  readonly bucket: string;
  /** Goes before every key, as it is: end it with a slash. Default: none. */
  readonly prefix?: string;
}

export function s3ObjectStore(client: S3Client, { bucket, prefix: root = "" }: S3ObjectStoreOptions): ObjectStore {
  const resource = `bucket ${JSON.stringify(bucket)}`;

  async function head(key: string): Promise<{ readonly kind: "found"; readonly size: number } | { readonly kind: "absent" }> {
    try {
      const found = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: root + key }));
      return { kind: "found", size: found.ContentLength ?? 0 };
    } catch (error) {
      if (isAbsence(error)) return { kind: "absent" };
      throw error;
    }
  }

  const store: ObjectStore = {
    async createIfAbsent(key, body) {
      try {
        await client.send(new PutObjectCommand({ Bucket: bucket, Key: root + key, Body: body, IfNoneMatch: "*", ChecksumAlgorithm: "CRC32" }));
        return { kind: "created" };
      } catch (error) {
        if (isTaken(error)) return { kind: "exists" };
        throw error;
      }
    },

    async get(key) {
      try {
        const found = await client.send(new GetObjectCommand({ Bucket: bucket, Key: root + key }));
        const body = await bodyOf(found, key);
        return { kind: "found", body, size: body.length };
      } catch (error) {
        if (isAbsence(error)) return { kind: "absent" };
        throw error;
      }
    },

    async getRange(key, { offset, length }): Promise<GetOutcome> {
      const nothing = async (): Promise<GetOutcome> => {
        const found = await head(key);
        return found.kind === "absent" ? found : { kind: "found", body: Buffer.alloc(0), size: found.size };
      };
      // S3 has no range without a byte, and refuses one behind the end.
      if (length === 0) return nothing();
      try {
        const range = `bytes=${offset}-${Math.min(offset + length, Number.MAX_SAFE_INTEGER) - 1}`;
        const found = await client.send(new GetObjectCommand({ Bucket: bucket, Key: root + key, Range: range }));
        return { kind: "found", body: await bodyOf(found, key), size: sizeIn(found.ContentRange) };
      } catch (error) {
        if (isAbsence(error)) return { kind: "absent" };
        if (awsErrorName(error) === "InvalidRange" || awsStatus(error) === 416) return nothing();
        throw error;
      }
    },

    head,

    async list({ prefix, after, limit = S3_LIST_PAGE_MAX }) {
      const page = await client.send(
        new ListObjectsV2Command({
          Bucket: bucket,
          Prefix: root + prefix,
          MaxKeys: Math.min(limit, S3_LIST_PAGE_MAX),
          EncodingType: "url",
          ...(after !== undefined && { StartAfter: root + after }),
        }),
      );
      const objects = (page.Contents ?? []).map(({ Key, Size }) => ({ key: listedKey(Key, page.EncodingType, root), size: Size ?? 0 }));
      return { objects, ...(page.IsTruncated && objects.length > 0 && { next: objects[objects.length - 1].key }) };
    },

    async deleteMany(keys) {
      assert(keys.length <= S3_DELETE_MANY_MAX, `at most ${S3_DELETE_MANY_MAX} objects are deleted by one call`);
      if (keys.length === 0) return { failed: [] };
      const answer = await client.send(
        new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects: keys.map((key) => ({ Key: root + key })), Quiet: true }, ChecksumAlgorithm: "CRC32" }),
      );
      const refused = (answer.Errors ?? []).filter(({ Code }) => Code !== "NoSuchKey");
      return { failed: refused.map(({ Key = root, Code, Message }) => ({ key: Key.slice(root.length), reason: `${Code}: ${Message}` })) };
    },

    async createUpload(key) {
      const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key: root + key, ChecksumAlgorithm: "CRC32" }));
      if (UploadId === undefined) throw unreadable(resource, "an upload without an id");
      return { uploadId: UploadId };
    },

    async uploadPart({ key, uploadId, number, body }) {
      checkPartNumber(number);
      const checksum = crc32Base64(body);
      try {
        const { ETag } = await client.send(
          new UploadPartCommand({ Bucket: bucket, Key: root + key, UploadId: uploadId, PartNumber: number, Body: body, ChecksumCRC32: checksum }),
        );
        if (ETag === undefined) throw unreadable(resource, "a part without an ETag");
        return { kind: "stored", etag: joinEtag(ETag, checksum) };
      } catch (error) {
        if (awsErrorName(error) === "NoSuchUpload") return { kind: "noSuchUpload" };
        throw error;
      }
    },

    async completeUpload({ key, uploadId, parts }) {
      areInOrder(parts); // S3 itself says which of several faults comes first.
      try {
        await client.send(
          new CompleteMultipartUploadCommand({
            Bucket: bucket,
            Key: root + key,
            UploadId: uploadId,
            IfNoneMatch: "*",
            MultipartUpload: { Parts: parts.map(completedPart) },
          }),
        );
        return { kind: "completed" };
      } catch (error) {
        const outcome = completeOutcome(error);
        if (outcome === undefined) throw error;
        return outcome;
      }
    },

    async abortUpload({ key, uploadId }) {
      try {
        await client.send(new AbortMultipartUploadCommand({ Bucket: bucket, Key: root + key, UploadId: uploadId }));
      } catch (error) {
        if (awsErrorName(error) !== "NoSuchUpload") throw error;
      }
    },

    async listUploads({ prefix, after, limit = S3_LIST_PAGE_MAX }) {
      const page = await client.send(
        new ListMultipartUploadsCommand({
          Bucket: bucket,
          Prefix: root + prefix,
          MaxUploads: Math.min(limit, S3_LIST_PAGE_MAX),
          EncodingType: "url",
          ...(after !== undefined && { KeyMarker: root + after.key, UploadIdMarker: after.uploadId }),
        }),
      );
      const uploads = (page.Uploads ?? []).map(({ Key, UploadId = "" }) => ({ key: listedKey(Key, page.EncodingType, root), uploadId: UploadId }));
      return { uploads, ...(page.IsTruncated && uploads.length > 0 && { next: uploads[uploads.length - 1] }) };
    },
  };

  return withFaults(store, resource);
}

function withFaults(store: ObjectStore, resource: string): ObjectStore {
  return {
    createIfAbsent: (key, body) => orAwsFault(resource, () => store.createIfAbsent(key, body)),
    get: (key) => orAwsFault(resource, () => store.get(key)),
    getRange: (key, range) => orAwsFault(resource, () => store.getRange(key, range)),
    head: (key) => orAwsFault(resource, () => store.head(key)),
    list: (request) => orAwsFault(resource, () => store.list(request)),
    deleteMany: (keys) => orAwsFault(resource, () => store.deleteMany(keys)),
    createUpload: (key) => orAwsFault(resource, () => store.createUpload(key)),
    uploadPart: (request) => orAwsFault(resource, () => store.uploadPart(request)),
    completeUpload: (request) => orAwsFault(resource, () => store.completeUpload(request)),
    abortUpload: (upload) => orAwsFault(resource, () => store.abortUpload(upload)),
    listUploads: (request) => orAwsFault(resource, () => store.listUploads(request)),
  };
}

/** What a refused completion means to the port; undefined for a fault. */
function completeOutcome(error: unknown): CompleteOutcome | undefined {
  if (isTaken(error)) return { kind: "exists" };
  switch (awsErrorName(error)) {
    case "NoSuchUpload":
      return { kind: "noSuchUpload" };
    case "InvalidPart":
    case "InvalidPartOrder":
    case "BadDigest":
      return { kind: "invalidPart" };
    // Another write to the key came in between. By S3's rules this upload cannot be completed any more: look at the
    // object, then start a new upload, which is what a caller does whose upload is gone. Cleanup ends the old one.
    case "ConditionalRequestConflict":
      return { kind: "noSuchUpload" };
    case "EntityTooSmall":
      throw callError("part-too-small", "a part other than the last has less than 5 MiB: S3 takes no upload with such a part", error);
    default:
      return undefined;
  }
}

function isTaken(error: unknown): boolean {
  return awsErrorName(error) === "PreconditionFailed" || awsStatus(error) === 412;
}

/** HEAD has no body, so its 404 bears no code: a bucket that is missing shows at the next other call. */
function isAbsence(error: unknown): boolean {
  const name = awsErrorName(error);
  return name === "NoSuchKey" || name === "NotFound" || (awsStatus(error) === 404 && name !== "NoSuchBucket");
}

async function bodyOf({ Body, ContentLength }: GetObjectCommandOutput, key: string): Promise<Buffer> {
  const bytes = await Body?.transformToByteArray();
  if (bytes === undefined || (ContentLength !== undefined && bytes.length !== ContentLength)) throw unreadable(key, "a body that was cut off");
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The whole object's size in `bytes 0-99/1234`. */
function sizeIn(contentRange: string | undefined): number {
  const size = Number(/\/([0-9]+)$/.exec(contentRange ?? "")?.[1]);
  if (!Number.isSafeInteger(size)) throw unreadable(contentRange ?? "no Content-Range", "a range without the object's size");
  return size;
}

/** S3 escapes keys on request, since XML cannot hold all of them; other stores may ignore that, and then say so. */
function listedKey(key: string | undefined, encoding: string | undefined, root: string): string {
  const plain = encoding === "url" ? decodeURIComponent((key ?? "").replaceAll("+", " ")) : (key ?? "");
  return plain.slice(root.length);
}

function crc32Base64(body: Uint8Array): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc32(body));
  return bytes.toString("base64");
}

const ETAG_BORDER = " crc32:";

function joinEtag(etag: string, checksum: string): string {
  return `${etag}${ETAG_BORDER}${checksum}`;
}

function completedPart({ number, etag }: UploadedPart): CompletedPart {
  const border = etag.lastIndexOf(ETAG_BORDER);
  if (border < 0) return { PartNumber: number, ETag: etag };
  return { PartNumber: number, ETag: etag.slice(0, border), ChecksumCRC32: etag.slice(border + ETAG_BORDER.length) };
}

function unreadable(place: string, what: string): TidemarkError {
  return new TidemarkError("retry", "unreadable-answer", `${place}: S3 answered with ${what}; call again`);
}
