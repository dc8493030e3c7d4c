// What the core needs of an object store: S3's semantics, and no more than is used. Keys are made by lib/model/names.ts.
//
// Every call is safe to repeat. A call that got no answer, or a passing refusal, throws TidemarkError "retry": its
// effect is unknown. Expected answers are values. test/conformance/object-store.ts is the law book.

export interface ObjectStore {
  /** Creates the object, whole and durable before it answers; of any number of racing creators exactly one is told "created" (I2). */
  createIfAbsent(key: string, body: Uint8Array): Promise<{ readonly kind: "created" } | { readonly kind: "exists" }>;

  get(key: string): Promise<GetOutcome>;

  /** At most `length` bytes from `offset`; fewer only at the object's end, none when `offset` lies at or behind it. */
  getRange(key: string, range: { readonly offset: number; readonly length: number }): Promise<GetOutcome>;

  head(key: string): Promise<HeadOutcome>;

  /** One page of the objects whose keys start with `prefix`, in byte order of keys, behind `after`. */
  list(request: { readonly prefix: string; readonly after?: string; readonly limit?: number }): Promise<ObjectPage>;

  /** Deletes up to S3_DELETE_MANY_MAX objects; one that is absent counts as deleted. */
  deleteMany(keys: readonly string[]): Promise<{ readonly failed: readonly { readonly key: string; readonly reason: string }[] }>;

  /**
   * The numbers of its parts leave none out, unless it is begun for `gaps`: S3 takes gaps only where parts go without checksums.
   * Each call for such an upload and its parts says so again.
   */
  createUpload(key: string, numbers?: Numbers): Promise<{ readonly uploadId: string }>;

  /** Parts count from 1; a number sent again replaces the part. Once answered, the store has no use for `body` any more. */
  uploadPart(
    request: Upload & Numbers & { readonly number: number; readonly body: Uint8Array },
  ): Promise<{ readonly kind: "stored"; readonly etag: string } | { readonly kind: "noSuchUpload" }>;

  /**
   * Makes a part of a range of a stored object, server-side: no byte of it passes the caller. Otherwise as `uploadPart`.
   * S3 takes a range only of an object with more than S3_PART_BYTES_MIN bytes.
   */
  copyPart(request: Upload & Numbers & { readonly number: number; readonly source: PartSource }): Promise<CopyPartOutcome>;

  /**
   * Makes the object of the listed parts, in their order, only where no object has the key. Repeated, it may answer
   * `completed` again, even if the object is gone by then, and makes no second object: look at the object itself.
   */
  completeUpload(request: Upload & Numbers & { readonly parts: readonly UploadedPart[] }): Promise<CompleteOutcome>;

  /** Ends the upload and frees its parts; one that is gone counts as ended. */
  abortUpload(upload: Upload): Promise<void>;

  /** One page of the open uploads whose keys start with `prefix`, in byte order of keys. */
  listUploads(request: { readonly prefix: string; readonly after?: UploadCursor; readonly limit?: number }): Promise<UploadPage>;
}

/** `body` belongs to the caller. */
export type GetOutcome = { readonly kind: "found"; readonly body: Buffer; readonly size: number } | { readonly kind: "absent" };

/**
 * `etag` is opaque text: the same for an object for as long as it exists, and another one for other bytes under its key,
 * as far as the store can tell.
 */
export type HeadOutcome = { readonly kind: "found"; readonly size: number; readonly etag: string } | { readonly kind: "absent" };

export interface ObjectPage {
  readonly objects: readonly { readonly key: string; readonly size: number }[];
  /** Hand it in as `after` for the next page; absent on the last. */
  readonly next?: string;
}

/** The range of an object that a part is made of, from 1 to S3_PART_BYTES_MAX bytes; `etag` as `head` told it. */
export interface PartSource {
  readonly key: string;
  readonly etag: string;
  readonly offset: number;
  readonly length: number;
}

/**
 * `stored`: with the CRC-32 of the bytes that were copied, unsigned, if the store tells it. `sourceChanged`: the source is gone,
 * has another ETag, or ends before the range does.
 */
export type CopyPartOutcome =
  | { readonly kind: "stored"; readonly etag: string; readonly crc32?: number }
  | { readonly kind: "noSuchUpload" }
  | { readonly kind: "sourceChanged" };

export interface UploadedPart {
  readonly number: number;
  readonly etag: string;
}

/** `invalidPart`: a listed part is missing, out of order or has another ETag, or a number is left out that may not be. `exists`: the key is taken; the upload stays open. */
export type CompleteOutcome =
  | { readonly kind: "completed" }
  | { readonly kind: "exists" }
  | { readonly kind: "noSuchUpload" }
  | { readonly kind: "invalidPart" };

/** Which numbers an upload's parts have. */
export interface Numbers {
  readonly gaps?: boolean;
}

export interface Upload {
  readonly key: string;
  readonly uploadId: string;
}

/** The last upload of a page. */
export type UploadCursor = Upload;

export interface UploadPage {
  readonly uploads: readonly Upload[];
  readonly next?: UploadCursor;
}
