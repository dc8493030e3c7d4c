// An object store in a directory, for any number of processes on one machine (I2).
//
//   objects/{key}                     the objects, one file each
//   uploads/{key, escaped}~{id}/      an open upload; in it {number}.part: SHA-256 of the part, then its bytes
//   tmp/                              files that are being written, and uploads that are being removed
//
// An object appears by link(2), whole and durable: its bytes are synced before, the directory after, and link fails
// where the name is taken, so that of any number of creators one wins. A killed process leaves temporary files only.
// Completing links from within the upload's directory and ending an upload renames that directory away, so the system
// decides which of the two comes first. Parts are checked when they are put together: one that a power cut lost or cut
// short is an `invalidPart`, so that storing a part needs no sync of directories.
//
// An object's ETag is its file's identity: inode, time of its last byte, size. It costs no reading; a file that came by a
// copy of the whole directory has another one, as a new object would.

import { hash, randomBytes } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { type FileHandle, link, open, readdir, rename, rm, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { crc32 } from "node:zlib";
import { assert } from "../../model/assert.ts";
import { messageOf, TidemarkError } from "../../model/errors.ts";
import { S3_DELETE_MANY_MAX, S3_LIST_PAGE_MAX } from "../../model/limits.ts";
import type { CompleteOutcome, CopyPartOutcome, ObjectStore, Upload, UploadedPart } from "../../ports/object-store.ts";
import { compareByBytes } from "../byte-order.ts";
import { areInOrder, checkPartNumber, checkPartSource } from "../part-numbers.ts";
import { directoriesBelow, makeDirectory } from "./directories.ts";
import { noLinks, orFault, systemCode } from "./faults.ts";
import { copyRange, readFrom } from "./file-ranges.ts";
import { isAbsence, objectPath, sizeOf, walkObjects } from "./object-paths.ts";
import { sweep, temporaryName, writeAll, writeDurably } from "./temporary-files.ts";

export const OBJECTS = "objects";
export const UPLOADS = "uploads";
export const TEMPORARY = "tmp";

// A page costs reading a directory, however short it is, so pages are long.
const LIST_PAGE_OBJECTS = 10 * S3_LIST_PAGE_MAX;
const PUBLISH_ATTEMPTS_MAX = 100;
const DIGEST_BYTES = 32;
const UPLOAD_ID = /^[0-9a-f]{32}$/;

type StorePartOutcome = Exclude<CopyPartOutcome, { readonly kind: "sourceChanged" }>;

/** The object store below `directory`, which holds the three directories above. */
export function localObjectStore(directory: string): ObjectStore {
  const objects = join(directory, OBJECTS);
  const uploads = join(directory, UPLOADS);
  const temporary = join(directory, TEMPORARY);
  const directories = directoriesBelow(objects);

  /** Links a durable file to an object's name. `sourceGone`: somebody took the file away before. */
  async function publish(source: string, target: string): Promise<"published" | "exists" | "sourceGone"> {
    const parent = dirname(target);
    for (let attempt = 0; attempt < PUBLISH_ATTEMPTS_MAX; attempt++) {
      await directories.ensure(parent);
      const linked = await tryLink(source, target);
      if (linked === "absent") {
        if ((await sizeOf(source)) === undefined) return "sourceGone";
        directories.forget(parent);
        continue;
      }
      // Also where the name is taken: what this call saw must not vanish by a power cut.
      await directories.sync(parent);
      return linked;
    }
    throw new TidemarkError("retry", "directory-contended", `${parent} is removed as often as it is made: call again`);
  }

  /** Takes an upload away in one step; what is left of it, a sweep can remove. */
  async function endUpload(upload: string): Promise<void> {
    const away = join(temporary, temporaryName());
    try {
      await rename(upload, away);
    } catch (error) {
      if (isAbsence(error)) return;
      throw error;
    }
    await rm(away, { recursive: true, force: true });
  }

  function uploadDirectory({ key, uploadId }: Upload): string | undefined {
    objectPath(objects, key);
    return UPLOAD_ID.test(uploadId) ? join(uploads, `${encodeURIComponent(key)}~${uploadId}`) : undefined;
  }

  /** Writes a part as a whole and renames it into its upload. `fill` writes what follows the digest's place, and gives the digest. */
  async function storePart(upload: string, number: number, fill: (file: FileHandle) => Promise<Buffer>): Promise<StorePartOutcome> {
    const source = join(upload, temporaryName());
    try {
      const digest = await writeDurably(source, async (file) => {
        await writeAll(file, Buffer.alloc(DIGEST_BYTES));
        const filled = await fill(file);
        await writeAll(file, filled, 0);
        return filled;
      });
      await rename(source, join(upload, partName(number)));
      return { kind: "stored", etag: digest.toString("hex") };
    } catch (error) {
      await rm(source, { force: true });
      if (isAbsence(error)) return { kind: "noSuchUpload" };
      throw error;
    }
  }

  const store: ObjectStore = {
    async createIfAbsent(key, body) {
      const target = objectPath(objects, key);
      if ((await sizeOf(target)) !== undefined) {
        await directories.ensure(dirname(target));
        await directories.sync(dirname(target));
        return { kind: "exists" };
      }
      const source = join(temporary, temporaryName());
      try {
        await writeDurably(source, (file) => writeAll(file, body));
        const outcome = await publish(source, target);
        if (outcome === "sourceGone") throw new TidemarkError("retry", "file-swept", `${source} was swept while it was written: call again`);
        return { kind: outcome === "published" ? "created" : "exists" };
      } finally {
        await rm(source, { force: true });
      }
    },

    async get(key) {
      return readObject(objectPath(objects, key), async (file, { size }) => ({ kind: "found", body: await readFrom(file, 0, size), size }));
    },

    async getRange(key, { offset, length }) {
      return readObject(objectPath(objects, key), async (file, { size }) => {
        const body = await readFrom(file, offset, Math.max(0, Math.min(length, size - offset)));
        return { kind: "found", body, size };
      });
    },

    async head(key) {
      return readObject(objectPath(objects, key), async (_, { size, etag }) => ({ kind: "found", size, etag }));
    },

    async list({ prefix, after, limit = LIST_PAGE_OBJECTS }) {
      const page: { key: string; size: number }[] = [];
      for await (const object of walkObjects(objects, prefix, after)) {
        if (page.length === limit) return { objects: page, next: page[limit - 1].key };
        page.push(object);
      }
      return { objects: page };
    },

    async deleteMany(keys) {
      assert(keys.length <= S3_DELETE_MANY_MAX, `at most ${S3_DELETE_MANY_MAX} objects are deleted by one call`);
      const failed: { key: string; reason: string }[] = [];
      const parents = new Set<string>();
      for (const path of keys.map((key) => ({ key, file: objectPath(objects, key) }))) {
        try {
          await unlink(path.file);
          parents.add(dirname(path.file));
        } catch (error) {
          if (!isAbsence(error)) failed.push({ key: path.key, reason: messageOf(error) });
        }
      }
      for (const parent of parents) {
        await directories.sync(parent);
        await directories.prune(parent);
      }
      return { failed };
    },

    async createUpload(key) {
      const uploadId = randomBytes(16).toString("hex");
      const upload = uploadDirectory({ key, uploadId });
      assert(upload !== undefined, "an upload id of our own is well-formed");
      await makeDirectory(upload);
      return { uploadId };
    },

    async uploadPart({ key, uploadId, number, body }) {
      checkPartNumber(number);
      const upload = uploadDirectory({ key, uploadId });
      if (upload === undefined) return { kind: "noSuchUpload" };
      return storePart(upload, number, async (file) => {
        await writeAll(file, body);
        return hash("sha256", body, "buffer");
      });
    },

    async copyPart({ key, uploadId, number, source }) {
      checkPartNumber(number);
      checkPartSource(source);
      const upload = uploadDirectory({ key, uploadId });
      if (upload === undefined) return { kind: "noSuchUpload" };
      const copied = await readObject(objectPath(objects, source.key), async (from, { size, etag }): Promise<CopyPartOutcome> => {
        if (etag !== source.etag || size < source.offset + source.length) return { kind: "sourceChanged" };
        let crc = 0;
        const stored = await storePart(upload, number, (file) =>
          copyRange(from, source, file, (chunk) => {
            crc = crc32(chunk, crc);
          }),
        );
        return stored.kind === "stored" ? { ...stored, crc32: crc } : stored;
      });
      return copied.kind === "absent" ? { kind: "sourceChanged" } : copied;
    },

    async completeUpload({ key, uploadId, parts, ...numbers }) {
      const upload = uploadDirectory({ key, uploadId });
      if (upload === undefined || !(await isDirectory(upload))) return { kind: "noSuchUpload" };
      if (!areInOrder(parts, numbers)) return { kind: "invalidPart" };
      const whole = join(upload, temporaryName());
      let outcome: CompleteOutcome;
      try {
        outcome = await complete(upload, whole, parts, objectPath(objects, key));
      } finally {
        await rm(whole, { force: true });
      }
      if (outcome.kind === "completed") await endUpload(upload);
      return outcome;
    },

    async abortUpload({ key, uploadId }) {
      const upload = uploadDirectory({ key, uploadId });
      if (upload !== undefined) await endUpload(upload);
    },

    async listUploads({ prefix, after, limit = S3_LIST_PAGE_MAX }) {
      const open: Upload[] = [];
      for (const name of await readdir(uploads)) {
        const upload = parseUpload(name);
        if (upload?.key.startsWith(prefix) && (after === undefined || compareUploads(upload, after) > 0)) open.push(upload);
      }
      open.sort(compareUploads);
      const page = open.slice(0, limit);
      return { uploads: page, ...(open.length > limit && { next: page[page.length - 1] }) };
    },
  };

  async function complete(upload: string, whole: string, parts: readonly UploadedPart[], target: string): Promise<CompleteOutcome> {
    try {
      const areValid = await writeDurably(whole, (file) => putTogether(file, upload, parts));
      if (!areValid) return { kind: "invalidPart" };
    } catch (error) {
      if (!isAbsence(error)) throw error;
      return { kind: (await isDirectory(upload)) ? "invalidPart" : "noSuchUpload" };
    }
    switch (await publish(whole, target)) {
      case "published":
        return { kind: "completed" };
      case "exists":
        return { kind: "exists" };
      case "sourceGone":
        return { kind: "noSuchUpload" };
    }
  }

  return withFaults(store, directory);
}

/** Removes what killed processes left behind. Safe at any time. */
export async function sweepObjectStore(directory: string): Promise<void> {
  await sweep(join(directory, TEMPORARY));
  for (const name of await readdir(join(directory, UPLOADS))) {
    try {
      await sweep(join(directory, UPLOADS, name));
    } catch (error) {
      if (!isAbsence(error)) throw error; // Ended meanwhile, or a file of somebody else's.
    }
  }
}

function withFaults(store: ObjectStore, directory: string): ObjectStore {
  return {
    createIfAbsent: (key, body) => orFault(directory, () => store.createIfAbsent(key, body)),
    get: (key) => orFault(directory, () => store.get(key)),
    getRange: (key, range) => orFault(directory, () => store.getRange(key, range)),
    head: (key) => orFault(directory, () => store.head(key)),
    list: (request) => orFault(directory, () => store.list(request)),
    deleteMany: (keys) => orFault(directory, () => store.deleteMany(keys)),
    createUpload: (key, numbers) => orFault(directory, () => store.createUpload(key, numbers)),
    uploadPart: (request) => orFault(directory, () => store.uploadPart(request)),
    copyPart: (request) => orFault(directory, () => store.copyPart(request)),
    completeUpload: (request) => orFault(directory, () => store.completeUpload(request)),
    abortUpload: (upload) => orFault(directory, () => store.abortUpload(upload)),
    listUploads: (request) => orFault(directory, () => store.listUploads(request)),
  };
}

async function tryLink(source: string, target: string): Promise<"published" | "exists" | "absent"> {
  try {
    await link(source, target);
    return "published";
  } catch (error) {
    if (systemCode(error) === "EEXIST") return "exists";
    if (systemCode(error) === "ENOENT") return "absent";
    // What Linux answers on a file system without links; both names are in directories that were just written to.
    if (systemCode(error) === "EPERM") throw noLinks(dirname(target), error);
    throw error;
  }
}

interface FoundFile {
  readonly size: number;
  readonly etag: string;
}

async function readObject<Outcome>(
  path: string,
  read: (file: FileHandle, found: FoundFile) => Promise<Outcome>,
): Promise<Outcome | { readonly kind: "absent" }> {
  let file: FileHandle;
  try {
    file = await open(path, "r");
  } catch (error) {
    if (isAbsence(error)) return { kind: "absent" };
    throw error;
  }
  try {
    const found = await file.stat({ bigint: true });
    return found.isFile() ? await read(file, { size: Number(found.size), etag: etagOf(found) }) : { kind: "absent" };
  } finally {
    await file.close();
  }
}

/** Neither the time of birth nor that of a change: the one is not told everywhere, the other is also that of a link. */
function etagOf({ ino, mtimeNs, size }: BigIntStats): string {
  return [ino, mtimeNs, size].map((part) => part.toString(16)).join("-");
}

/** Writes the listed parts one behind the other; false if one has another ETag, or bytes that its own does not fit. */
async function putTogether(file: FileHandle, upload: string, parts: readonly UploadedPart[]): Promise<boolean> {
  for (const { number, etag } of parts) {
    const part = await open(join(upload, partName(number)), "r");
    try {
      if (!(await appendPart(part, etag, file))) return false;
    } finally {
      await part.close();
    }
  }
  return true;
}

async function appendPart(part: FileHandle, etag: string, file: FileHandle): Promise<boolean> {
  if ((await readFrom(part, 0, DIGEST_BYTES)).toString("hex") !== etag) return false;
  const { size } = await part.stat();
  const digest = await copyRange(part, { offset: DIGEST_BYTES, length: size - DIGEST_BYTES }, file);
  return digest.toString("hex") === etag;
}

function partName(number: number): string {
  return `${String(number).padStart(5, "0")}.part`;
}

function parseUpload(name: string): Upload | undefined {
  const border = name.lastIndexOf("~");
  const uploadId = name.slice(border + 1);
  if (border < 0 || !UPLOAD_ID.test(uploadId)) return undefined;
  try {
    return { key: decodeURIComponent(name.slice(0, border)), uploadId };
  } catch {
    return undefined; // Not a name of ours.
  }
}

function compareUploads(a: Upload, b: Upload): number {
  return compareByBytes(a.key, b.key) || compareByBytes(a.uploadId, b.uploadId);
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (isAbsence(error)) return false;
    throw error;
  }
}
