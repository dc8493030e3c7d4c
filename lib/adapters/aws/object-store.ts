// An object store on S3, or on anything that speaks its protocol with If-None-Match on PUT and on completion.
//
// The SDK repeats requests by itself. A PUT or a completion that it repeats after a lost reply finds its own object and
// answers "exists": nobody is told "created" then. The callers know their own object again by its bytes, so that is
// safe (protocol rules 9 and 15).
//
// Every part goes with its CRC-32, which S3 compares on arrival and again on completion. Those of an upload for gaps go with their
// MD5, which it compares on arrival alone: beside checksums that it keeps, S3 takes no upload whose numbers leave one out.
//
// Of a part that it copied, S3 tells the CRC-32. Other servers tell none, or that of the whole source, which of an object
// that was itself an upload is none of a part (versitygw: `…-2`): where parts must have theirs, no upload can be completed
// with such a part. It is replaced at once by one that this process reads and sends: right everywhere, and slower. Told to use
// no checksums of parts, this store lets such a server copy; what arrived is then proven by reading it back alone.

import { hash } from "node:crypto";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  type GetObjectCommandInput,
  HeadBucketCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import { assert } from "../../model/assert.ts";
import { callError } from "../../model/errors.ts";
import { COPY_BY_HAND_BYTES_MAX, S3_DELETE_MANY_MAX, S3_LIST_PAGE_MAX } from "../../model/limits.ts";
import type { CompleteOutcome, CopyPartOutcome, GetOutcome, HeadOutcome, Numbers, ObjectStore, PartSource, Upload } from "../../ports/object-store.ts";
import { areInOrder, checkPartNumber, checkPartSource } from "../part-numbers.ts";
import { bodyOf, unreadable } from "./body.ts";
import { awsErrorName, awsStatus, missingBucket, orAwsFault } from "./errors.ts";
import type { Checksums } from "./clients.ts";
import { completedPart, crc32Base64, crc32Of, isCrc32, joinEtag } from "./part-etags.ts";

export interface S3ObjectStoreOptions {
  readonly bucket: string;
  /** Goes before every key, as it is: end it with a slash. Default: none. */
  readonly prefix?: string;
  /** Whether parts go with their CRC-32; "none" for servers that tell none of a part that they copied. Default: "crc32". */
  readonly checksums?: Checksums | undefined;
}

const READ_ATTEMPTS_MAX = 3;

export function s3ObjectStore(client: S3Client, { bucket, prefix: root = "", checksums = "crc32" }: S3ObjectStoreOptions): ObjectStore {
  const isChecked = checksums === "crc32";
  const resource = `bucket ${JSON.stringify(bucket)}`;
  let bucketSeen: Promise<void> | undefined;

  async function head(key: string): Promise<HeadOutcome> {
    try {
      const found = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: root + key }));
      if (found.ETag === undefined) throw unreadable(resource, "an object without an ETag");
      return { kind: "found", size: found.ContentLength ?? 0, etag: found.ETag };
    } catch (error) {
      if (awsErrorName(error) !== "NotFound") throw error;
      bucketSeen ??= seeBucket();
      await bucketSeen;
      return { kind: "absent" };
    }
  }

  /** The SDK repeats a call until its answer begins; a body that breaks off is asked for again here, or one break would end a long recovery. */
  async function read(
    key: string,
    only: Pick<GetObjectCommandInput, "Range" | "IfMatch"> = {},
  ): Promise<{ readonly body: Buffer; readonly contentRange: string | undefined }> {
    for (let attempt = 1; ; attempt++) {
      const found = await client.send(new GetObjectCommand({ Bucket: bucket, Key: root + key, ...only }));
      try {
        return { body: await bodyOf(found, key), contentRange: found.ContentRange };
      } catch (error) {
        if (attempt === READ_ATTEMPTS_MAX) throw unreadable(key, "a body that was cut off or changed on its way", error);
      }
    }
  }

  /** The answer to HEAD has no body to say what is absent, the object or its bucket. Asked once, and only behind an absent object. */
  async function seeBucket(): Promise<void> {
    try {
      await client.send(new HeadBucketCommand({ Bucket: bucket }));
    } catch (error) {
      // A policy may allow to list behind a prefix only; what matters is that the bucket is there.
      if (awsStatus(error) === 403) return;
      bucketSeen = undefined;
      if (awsStatus(error) === 404) throw missingBucket(resource, error);
    }
  }

  async function uploadsPage({ prefix, limit, keyAfter, idAfter }: UploadsRequest): ReturnType<ObjectStore["listUploads"]> {
    const page = await client.send(
      new ListMultipartUploadsCommand({
        Bucket: bucket,
        Prefix: root + prefix,
        MaxUploads: Math.min(limit, S3_LIST_PAGE_MAX),
        EncodingType: "url",
        ...(keyAfter !== undefined && { KeyMarker: root + keyAfter }),
        ...(idAfter !== undefined && { UploadIdMarker: idAfter }),
      }),
    );
    if (page.IsTruncated === undefined) throw unreadable(resource, "no list");
    const uploads = (page.Uploads ?? []).map(({ Key, UploadId = "" }) => ({ key: listedKey(Key, page.EncodingType, root), uploadId: UploadId }));
    return { uploads, ...(page.IsTruncated && uploads.length > 0 && { next: uploads[uploads.length - 1] }) };
  }

  /** Throws as S3 does, for `copyPart` to read. */
  async function copyByHand(upload: Upload & Numbers, number: number, { key, etag, offset, length }: PartSource): Promise<CopyPartOutcome> {
    if (length > COPY_BY_HAND_BYTES_MAX) {
      const message = `${resource}: this server copies no part that an upload can be completed with, and ${length} bytes are too many to send: copy at most ${COPY_BY_HAND_BYTES_MAX} at once`;
      throw callError("no-server-copy", message);
    }
    const { body } = await read(key, { Range: rangeOf(offset, length), IfMatch: etag });
    return body.length < length ? { kind: "sourceChanged" } : sendPart(upload, number, body);
  }

  async function sendPart(upload: Upload & Numbers, number: number, body: Uint8Array): Promise<{ readonly kind: "stored"; readonly etag: string }> {
    const { key, uploadId } = upload;
    const checksum = hasChecksums(upload) ? crc32Base64(body) : undefined;
    const digest = checksum !== undefined ? { ChecksumCRC32: checksum } : isChecked && { ContentMD5: hash("md5", body, "base64") };
    const part = { Bucket: bucket, Key: root + key, UploadId: uploadId, PartNumber: number, Body: body };
    const { ETag } = await client.send(new UploadPartCommand({ ...part, ...digest }));
    if (ETag === undefined) throw unreadable(resource, "a part without an ETag");
    return { kind: "stored", etag: checksum === undefined ? ETag : joinEtag(ETag, checksum) };
  }

  function hasChecksums({ gaps = false }: Numbers): boolean {
    return isChecked && !gaps;
  }

  async function hasChanged({ key, etag, offset, length }: PartSource): Promise<boolean> {
    const found = await head(key);
    return found.kind === "absent" || found.etag !== etag || found.size < offset + length;
  }

  const store: ObjectStore = {
    async createIfAbsent(key, body) {
      try {
        const { ETag } = await client.send(new PutObjectCommand({ Bucket: bucket, Key: root + key, Body: body, IfNoneMatch: "*", ChecksumAlgorithm: "CRC32" }));
        // Something else than S3 may say "200 OK" to anything: what was not stored must not be acknowledged (I1).
        if (ETag === undefined) throw unreadable(resource, "an object without an ETag");
        return { kind: "created" };
      } catch (error) {
        if (isTaken(error)) return { kind: "exists" };
        throw error;
      }
    },

    async get(key) {
      try {
        const { body } = await read(key);
        return { kind: "found", body, size: body.length };
      } catch (error) {
        if (awsErrorName(error) === "NoSuchKey") return { kind: "absent" };
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
        const { body, contentRange } = await read(key, { Range: rangeOf(offset, length) });
        return { kind: "found", body, size: sizeIn(contentRange) };
      } catch (error) {
        if (awsErrorName(error) === "NoSuchKey") return { kind: "absent" };
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
      if (page.IsTruncated === undefined) throw unreadable(resource, "no list");
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
      return { failed: refused.map(({ Key = root, Code, Message }) => ({ key: Key.slice(root.length), reason: `${Code}: ${Message}${lacking(Code)}` })) };
    },

    async createUpload(key, numbers = {}) {
      const { UploadId } = await client.send(
        new CreateMultipartUploadCommand({ Bucket: bucket, Key: root + key, ...(hasChecksums(numbers) && { ChecksumAlgorithm: "CRC32" }) }),
      );
      if (UploadId === undefined) throw unreadable(resource, "an upload without an id");
      return { uploadId: UploadId };
    },

    async uploadPart({ number, body, ...upload }) {
      checkPartNumber(number);
      try {
        return await sendPart(upload, number, body);
      } catch (error) {
        if (isGone(error)) return { kind: "noSuchUpload" };
        throw error;
      }
    },

    async copyPart({ number, source, ...upload }) {
      checkPartNumber(number);
      checkPartSource(source);
      const { key, uploadId } = upload;
      try {
        const { CopyPartResult } = await client.send(
          new UploadPartCopyCommand({
            Bucket: bucket,
            Key: root + key,
            UploadId: uploadId,
            PartNumber: number,
            CopySource: copySource(bucket, root + source.key),
            CopySourceIfMatch: source.etag,
            CopySourceRange: rangeOf(source.offset, source.length),
          }),
        );
        if (CopyPartResult?.ETag === undefined) throw unreadable(resource, "a copied part without an ETag");
        const { ETag, ChecksumCRC32 } = CopyPartResult;
        if (!hasChecksums(upload)) return { kind: "stored", etag: ETag };
        if (!isCrc32(ChecksumCRC32)) return await copyByHand(upload, number, source);
        return { kind: "stored", etag: joinEtag(ETag, ChecksumCRC32), crc32: crc32Of(ChecksumCRC32) };
      } catch (error) {
        if (isGone(error)) return { kind: "noSuchUpload" };
        if (awsErrorName(error) === "NoSuchKey" || isTaken(error)) return { kind: "sourceChanged" };
        // Of a range behind the source's end servers complain in several ways: the source itself tells whether it was that.
        if (COMPLAINTS.has(awsErrorName(error)) && (await hasChanged(source))) return { kind: "sourceChanged" };
        throw error;
      }
    },

    async completeUpload({ key, uploadId, parts, ...numbers }) {
      if (!areInOrder(parts, numbers)) return { kind: "invalidPart" };
      try {
        const { ETag } = await client.send(
          new CompleteMultipartUploadCommand({
            Bucket: bucket,
            Key: root + key,
            UploadId: uploadId,
            IfNoneMatch: "*",
            MultipartUpload: { Parts: parts.map(completedPart) },
          }),
        );
        if (ETag === undefined) throw unreadable(resource, "a completion without an ETag");
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
      if (after === undefined) return uploadsPage({ prefix, limit });
      try {
        return await uploadsPage({ prefix, limit, keyAfter: after.key, idAfter: after.uploadId });
      } catch (error) {
        // The upload to go on behind has ended meanwhile; and some servers never begin a page within a key.
        if (awsErrorName(error) !== "InvalidArgument") throw error;
      }
      const { uploads } = await uploadsPage({ prefix: after.key, limit: S3_LIST_PAGE_MAX });
      const ofKey = uploads.filter(({ key }) => key === after.key);
      const start = ofKey.findIndex(({ uploadId }) => uploadId === after.uploadId) + 1;
      const rest = ofKey.slice(start, start + limit);
      return rest.length > 0 ? { uploads: rest, next: rest[rest.length - 1] } : uploadsPage({ prefix, limit, keyAfter: after.key });
    },
  };

  return withFaults(store, resource);
}

/** S3 answers "access denied" for an object that is absent, to a caller that may not list: without the second right nothing is ever absent. */
const READING = "s3:GetObject on its objects, and s3:ListBucket on the bucket, without which S3 denies what is absent";
const UPLOADING = "s3:PutObject";
const COPYING = `${UPLOADING}, and ${READING}`;
const DELETING = "s3:DeleteObject";

/** S3 takes the call, and denies each of its keys. */
function lacking(code: string | undefined): string {
  return code === "AccessDenied" ? `; this needs ${DELETING}` : "";
}

function withFaults(store: ObjectStore, resource: string): ObjectStore {
  return {
    createIfAbsent: (key, body) => orAwsFault(resource, () => store.createIfAbsent(key, body), UPLOADING),
    get: (key) => orAwsFault(resource, () => store.get(key), READING),
    getRange: (key, range) => orAwsFault(resource, () => store.getRange(key, range), READING),
    head: (key) => orAwsFault(resource, () => store.head(key), READING),
    list: (request) => orAwsFault(resource, () => store.list(request), "s3:ListBucket"),
    deleteMany: (keys) => orAwsFault(resource, () => store.deleteMany(keys), DELETING),
    createUpload: (key, numbers) => orAwsFault(resource, () => store.createUpload(key, numbers), UPLOADING),
    uploadPart: (request) => orAwsFault(resource, () => store.uploadPart(request), UPLOADING),
    copyPart: (request) => orAwsFault(resource, () => store.copyPart(request), COPYING),
    completeUpload: (request) => orAwsFault(resource, () => store.completeUpload(request), UPLOADING),
    abortUpload: (upload) => orAwsFault(resource, () => store.abortUpload(upload), "s3:AbortMultipartUpload"),
    listUploads: (request) => orAwsFault(resource, () => store.listUploads(request), "s3:ListBucketMultipartUploads"),
  };
}

/** What a refused completion means to the port; undefined for a fault. */
function completeOutcome(error: unknown): CompleteOutcome | undefined {
  if (isTaken(error)) return { kind: "exists" };
  if (isGone(error)) return { kind: "noSuchUpload" };
  switch (awsErrorName(error)) {
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

function rangeOf(offset: number, length: number): string {
  return `bytes=${offset}-${Math.min(offset + length, Number.MAX_SAFE_INTEGER) - 1}`;
}

const COMPLAINTS = new Set(["InvalidRange", "InvalidArgument", "InvalidRequest"]);

/** A header's text, so the key is escaped as in a URL. */
function copySource(bucket: string, key: string): string {
  return `${bucket}/${key.split("/").map(encodeURIComponent).join("/")}`;
}

function isTaken(error: unknown): boolean {
  return awsErrorName(error) === "PreconditionFailed" || awsStatus(error) === 412;
}

/**
 * The upload is no more; or it was begun by a store that was told otherwise about checksums: begun with those of parts, it takes no
 * part without one, and the other way around. For this store it is as good as gone. Were that a fault, every later capture would
 * adopt it and fail.
 */
function isGone(error: unknown): boolean {
  const name = awsErrorName(error);
  return name === "NoSuchUpload" || (name === "InvalidRequest" && error instanceof Error && OTHER_CHECKSUMS.test(error.message));
}

/** "Checksum Type mismatch occurred, expected checksum Type: …" of a part, "The upload was created using a crc32 checksum. …" of a completion. */
const OTHER_CHECKSUMS = /^Checksum Type mismatch|^The upload was created using/i;

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

interface UploadsRequest {
  readonly prefix: string;
  readonly limit: number;
  readonly keyAfter?: string;
  readonly idAfter?: string;
}
