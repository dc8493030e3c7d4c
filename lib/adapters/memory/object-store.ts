// An object store in memory, for simulations and for users' own tests. Every call takes effect at once, before its
// promise is handed out, so that a simulator decides the order of effects by the order of calls. Bytes are copied at
// the border: neither side sees what the other does to its buffers. An object's ETag says which creation made it, so that
// the same bytes under the same key, made anew, have another one: as where S3 encrypts with KMS keys.

import { hash } from "node:crypto";
import { crc32 } from "node:zlib";
import { assert } from "../../model/assert.ts";
import { S3_DELETE_MANY_MAX, S3_LIST_PAGE_MAX } from "../../model/limits.ts";
import type { Numbers, ObjectStore, Upload, UploadedPart } from "../../ports/object-store.ts";
import { behind, compareByBytes } from "../byte-order.ts";
import { areInOrder, checkPartNumber, checkPartSource } from "../part-numbers.ts";

export interface MemoryUpload {
  readonly key: string;
  readonly parts: ReadonlyMap<number, { readonly etag: string; readonly body: Buffer }>;
}

export interface MemoryObjectStore extends ObjectStore {
  /** What is stored, by key. To be read only. */
  readonly objects: ReadonlyMap<string, Buffer>;
  /** The open uploads, by upload id. To be read only. */
  readonly uploads: ReadonlyMap<string, MemoryUpload>;
  /** Replaces an object's bytes by what `change` makes of a copy of them, as rot on a disk would. */
  damage(key: string, change: (body: Buffer) => Uint8Array): void;
}

interface OpenUpload {
  readonly key: string;
  readonly gaps: boolean;
  readonly parts: Map<number, { readonly etag: string; readonly body: Buffer }>;
}

export function memoryObjectStore(): MemoryObjectStore {
  const objects = new Map<string, Buffer>();
  const etags = new Map<string, string>();
  let objectsCreated = 0;
  const uploads = new Map<string, OpenUpload>();
  /** Keys of the uploads that were completed, by upload id: S3 answers a repeated completion as it did the first. */
  const completed = new Map<string, string>();
  let uploadsCreated = 0;

  function create(key: string, body: Buffer): void {
    objectsCreated += 1;
    objects.set(key, body);
    etags.set(key, `object-${String(objectsCreated).padStart(8, "0")}`);
  }

  function storePart(upload: OpenUpload, number: number, body: Buffer): { readonly kind: "stored"; readonly etag: string } {
    const etag = hash("sha256", body, "hex");
    upload.parts.set(number, { etag, body });
    return { kind: "stored", etag };
  }

  function uploadOf({ key, uploadId }: Upload): OpenUpload | undefined {
    const upload = uploads.get(uploadId);
    return upload?.key === key ? upload : undefined;
  }

  /** S3 compares the parts' checksums with what the upload was begun for: one that was begun otherwise is as good as gone. */
  function uploadFor(request: Upload & Numbers): OpenUpload | undefined {
    const upload = uploadOf(request);
    return upload?.gaps === (request.gaps ?? false) ? upload : undefined;
  }

  return {
    objects,
    uploads,

    damage(key, change) {
      const body = objects.get(key);
      assert(body !== undefined, `the object to damage exists: ${key}`);
      objects.set(key, Buffer.from(change(Buffer.from(body))));
    },

    async createIfAbsent(key, body) {
      if (objects.has(key)) return { kind: "exists" };
      create(key, Buffer.from(body));
      return { kind: "created" };
    },

    async get(key) {
      const body = objects.get(key);
      return body === undefined ? { kind: "absent" } : { kind: "found", body: Buffer.from(body), size: body.length };
    },

    async getRange(key, { offset, length }) {
      const body = objects.get(key);
      if (body === undefined) return { kind: "absent" };
      return { kind: "found", body: Buffer.from(body.subarray(offset, offset + length)), size: body.length };
    },

    async head(key) {
      const [body, etag] = [objects.get(key), etags.get(key)];
      return body === undefined || etag === undefined ? { kind: "absent" } : { kind: "found", size: body.length, etag };
    },

    async list({ prefix, after, limit = S3_LIST_PAGE_MAX }) {
      const keys = behind(
        [...objects.keys()].filter((key) => key.startsWith(prefix)),
        after,
      );
      const page = keys.slice(0, limit);
      const listed = page.map((key) => ({ key, size: objects.get(key)?.length ?? 0 }));
      return { objects: listed, ...(keys.length > limit && { next: page[page.length - 1] }) };
    },

    async deleteMany(keys) {
      assert(keys.length <= S3_DELETE_MANY_MAX, `at most ${S3_DELETE_MANY_MAX} objects are deleted by one call`);
      for (const key of keys) {
        objects.delete(key);
        etags.delete(key);
      }
      return { failed: [] };
    },

    async createUpload(key, { gaps = false } = {}) {
      uploadsCreated += 1;
      const uploadId = `upload-${String(uploadsCreated).padStart(8, "0")}`;
      uploads.set(uploadId, { key, gaps, parts: new Map() });
      return { uploadId };
    },

    async uploadPart({ number, body, ...request }) {
      checkPartNumber(number);
      const upload = uploadFor(request);
      if (upload === undefined) return { kind: "noSuchUpload" };
      return storePart(upload, number, Buffer.from(body));
    },

    async copyPart({ number, source, ...request }) {
      checkPartNumber(number);
      checkPartSource(source);
      const upload = uploadFor(request);
      if (upload === undefined) return { kind: "noSuchUpload" };
      const body = objects.get(source.key);
      const end = source.offset + source.length;
      if (body === undefined || etags.get(source.key) !== source.etag || end > body.length) return { kind: "sourceChanged" };
      const copied = Buffer.from(body.subarray(source.offset, end));
      return { ...storePart(upload, number, copied), ...(!upload.gaps && { crc32: crc32(copied) }) };
    },

    async completeUpload({ parts, ...request }) {
      const { key, uploadId } = request;
      const upload = uploadFor(request);
      if (upload === undefined) return { kind: completed.get(uploadId) === key ? "completed" : "noSuchUpload" };
      const bodies = bodiesOf(upload, parts);
      if (bodies === undefined) return { kind: "invalidPart" };
      if (objects.has(key)) return { kind: "exists" };
      create(key, Buffer.concat(bodies));
      uploads.delete(uploadId);
      completed.set(uploadId, key);
      return { kind: "completed" };
    },

    async abortUpload(upload) {
      if (uploadOf(upload) !== undefined) uploads.delete(upload.uploadId);
    },

    async listUploads({ prefix, after, limit = S3_LIST_PAGE_MAX }) {
      const open = [...uploads]
        .map(([uploadId, { key }]) => ({ key, uploadId }))
        .filter((upload) => upload.key.startsWith(prefix) && (after === undefined || compareUploads(upload, after) > 0))
        .sort(compareUploads);
      const page = open.slice(0, limit);
      return { uploads: page, ...(open.length > limit && { next: page[page.length - 1] }) };
    },
  };
}

function bodiesOf(upload: OpenUpload, parts: readonly UploadedPart[]): Buffer[] | undefined {
  if (!areInOrder(parts, upload)) return undefined;
  const bodies: Buffer[] = [];
  for (const { number, etag } of parts) {
    const part = upload.parts.get(number);
    if (part?.etag !== etag) return undefined;
    bodies.push(part.body);
  }
  return bodies;
}

function compareUploads(a: { readonly key: string; readonly uploadId: string }, b: { readonly key: string; readonly uploadId: string }): number {
  return compareByBytes(a.key, b.key) || compareByBytes(a.uploadId, b.uploadId);
}
