// The laws of parts that are copied from stored objects: part of those of an object store. Sources have more than 5 MiB,
// and so do parts wherever another follows, as S3 demands.

import { describe, expect } from "vitest";
import { S3_PART_BYTES_MIN } from "../../lib/model/limits.ts";
import type { CopyPartOutcome, Numbers, ObjectStore, PartSource, Upload, UploadedPart } from "../../lib/ports/object-store.ts";
import { type Law, range } from "./law.ts";
import { bodyOf, bytes, etagOf, pattern } from "./objects.ts";
import { openUploads, part, start } from "./uploads.ts";

const MIB = 1024 * 1024;
const SOURCE = "s/é +%20&=#'.parquet";
const BODY = pattern(13 * MIB + 77);

export function copyLaws(name: string, law: Law<ObjectStore>): void {
  describe(`${name} as an object store: copied parts`, () => {
    law("a copied part has the bytes of its range, be the source one body or an upload itself", async (store) => {
      await store.createIfAbsent(SOURCE, BODY);
      await uploadedWhole(store, "s/uploaded", BODY);
      for (const key of [SOURCE, "s/uploaded"]) {
        const upload = await start(store, `u/of/${key}`);
        const ranges = [
          [0, S3_PART_BYTES_MIN],
          [1_234_567, 6 * MIB + 1],
          [BODY.length - 6 * MIB, 6 * MIB],
          [7, 1],
        ] as const;
        const parts: UploadedPart[] = [];
        for (const [offset, length] of ranges) parts.push(await copied(store, upload, parts.length + 1, { key, offset, length }));
        expect(await store.completeUpload({ ...upload, parts })).toEqual({ kind: "completed" });
        const expected = Buffer.concat(ranges.map(([offset, length]) => BODY.subarray(offset, offset + length)));
        expect((await bodyOf(store, upload.key)).equals(expected)).toBe(true);
        expect((await bodyOf(store, key)).equals(BODY)).toBe(true);
      }
      expect(await openUploads(store, "", 10)).toEqual([]);
    });

    law("a part may be a whole object", async (store) => {
      await store.createIfAbsent(SOURCE, BODY);
      const upload = await start(store, "u/k");
      const parts = [await copied(store, upload, 1, { key: SOURCE, offset: 0, length: BODY.length })];
      expect(await store.completeUpload({ ...upload, parts })).toEqual({ kind: "completed" });
      expect((await bodyOf(store, "u/k")).equals(BODY)).toBe(true);
    });

    law("copied and uploaded parts make one object, whatever the order they came in", async (store) => {
      await store.createIfAbsent(SOURCE, BODY);
      const upload = await start(store, "u/k");
      const fresh = pattern(6 * MIB).reverse();
      const fourth = await part(store, upload, 4, bytes("tail"));
      const third = await copied(store, upload, 3, { key: SOURCE, offset: 3, length: S3_PART_BYTES_MIN });
      const second = await part(store, upload, 2, fresh);
      const first = await copied(store, upload, 1, { key: SOURCE, offset: 5 * MIB, length: 8 * MIB });
      expect(await store.completeUpload({ ...upload, parts: [first, second, third, fourth] })).toEqual({ kind: "completed" });
      const expected = Buffer.concat([BODY.subarray(5 * MIB, 13 * MIB), fresh, BODY.subarray(3, 3 + S3_PART_BYTES_MIN), bytes("tail")]);
      expect((await bodyOf(store, "u/k")).equals(expected)).toBe(true);
    });

    law("parts that are copied at once do not disturb each other", async (store) => {
      await store.createIfAbsent(SOURCE, BODY);
      const upload = await start(store, "u/k");
      const parts = await Promise.all(range(6).map((place) => copied(store, upload, place + 1, { key: SOURCE, offset: place * MIB, length: 6 * MIB })));
      expect(await store.completeUpload({ ...upload, parts })).toEqual({ kind: "completed" });
      const expected = Buffer.concat(range(6).map((place) => BODY.subarray(place * MIB, (place + 6) * MIB)));
      expect((await bodyOf(store, "u/k")).equals(expected)).toBe(true);
    });

    law("a copy replaces the part of its number, and is replaced by the next, copied or uploaded", async (store) => {
      await store.createIfAbsent(SOURCE, BODY);
      const upload = await start(store, "u/k");
      const sent = await part(store, upload, 1, bytes("sent"));
      const one = await copied(store, upload, 1, { key: SOURCE, offset: 0, length: 100 });
      const two = await copied(store, upload, 1, { key: SOURCE, offset: 1, length: 100 });
      expect(new Set([sent.etag, one.etag, two.etag]).size).toBe(3);
      for (const stale of [sent, one]) expect(await store.completeUpload({ ...upload, parts: [stale] })).toEqual({ kind: "invalidPart" });
      const last = await part(store, upload, 1, bytes("last"));
      expect(await store.completeUpload({ ...upload, parts: [two] })).toEqual({ kind: "invalidPart" });
      expect(await store.completeUpload({ ...upload, parts: [last] })).toEqual({ kind: "completed" });
      expect(await bodyOf(store, "u/k")).toEqual(bytes("last"));
    });

    law("an upload that was begun for gaps takes copied parts too", async (store) => {
      await store.createIfAbsent(SOURCE, BODY);
      const upload = { ...(await start(store, "u/k", { gaps: true })), gaps: true };
      const second = await copied(store, upload, 2, { key: SOURCE, offset: 3, length: S3_PART_BYTES_MIN });
      const seventh = await part(store, upload, 7, bytes("tail"));
      expect(await store.completeUpload({ ...upload, parts: [second, seventh] })).toEqual({ kind: "completed" });
      expect((await bodyOf(store, "u/k")).equals(Buffer.concat([BODY.subarray(3, 3 + S3_PART_BYTES_MIN), bytes("tail")]))).toBe(true);
    });

    law("a part that is copied again completes by its last ETag", async (store) => {
      await store.createIfAbsent(SOURCE, BODY);
      const upload = await start(store, "u/k");
      await copied(store, upload, 1, { key: SOURCE, offset: 9, length: 1_000 });
      const again = await copied(store, upload, 1, { key: SOURCE, offset: 9, length: 1_000 });
      expect(await store.completeUpload({ ...upload, parts: [again] })).toEqual({ kind: "completed" });
      expect(await bodyOf(store, "u/k")).toEqual(BODY.subarray(9, 1_009));
    });

    law("a source that is absent has changed; the upload stays open, without that part", async (store) => {
      await store.createIfAbsent(SOURCE, BODY);
      const upload = await start(store, "u/k");
      const etag = await etagOf(store, SOURCE);
      for (const key of ["s/absent", "u/k"]) {
        expect(await store.copyPart({ ...upload, number: 1, source: { key, etag, offset: 0, length: 100 } }), key).toEqual({ kind: "sourceChanged" });
      }
      expect(await store.completeUpload({ ...upload, parts: [{ number: 1, etag: (await part(store, upload, 2, bytes("other"))).etag }] })).toEqual({
        kind: "invalidPart",
      });
      const parts = [await copied(store, upload, 1, { key: SOURCE, offset: 0, length: 100 })];
      expect(await store.completeUpload({ ...upload, parts })).toEqual({ kind: "completed" });
    });

    law("another object under the source's key is no source; by its own ETag it is", async (store) => {
      await store.createIfAbsent(SOURCE, BODY);
      const upload = await start(store, "u/k");
      const source = { key: SOURCE, etag: await etagOf(store, SOURCE), offset: 5, length: 100 };
      await store.deleteMany([SOURCE]);
      const other = Buffer.from(BODY).reverse();
      await store.createIfAbsent(SOURCE, other);
      expect(await store.copyPart({ ...upload, number: 1, source })).toEqual({ kind: "sourceChanged" });
      const parts = [await copied(store, upload, 1, source)];
      expect(await store.completeUpload({ ...upload, parts })).toEqual({ kind: "completed" });
      expect(await bodyOf(store, "u/k")).toEqual(other.subarray(5, 105));
    });

    law("a source that ends before the range does has changed", async (store) => {
      await store.createIfAbsent(SOURCE, BODY);
      const upload = await start(store, "u/k");
      const etag = await etagOf(store, SOURCE);
      for (const [offset, length] of [
        [0, BODY.length + 1],
        [BODY.length - 5, 6],
        [BODY.length, 1],
        [2 * BODY.length, 10],
      ]) {
        const source = { key: SOURCE, etag, offset, length };
        expect(await store.copyPart({ ...upload, number: 1, source }), `${length} bytes from ${offset}`).toEqual({ kind: "sourceChanged" });
      }
    });

    law("a part that was copied stays when its source is deleted", async (store) => {
      await store.createIfAbsent(SOURCE, BODY);
      const upload = await start(store, "u/k");
      const first = await copied(store, upload, 1, { key: SOURCE, offset: 1, length: 6 * MIB });
      await store.deleteMany([SOURCE]);
      const second = await part(store, upload, 2, bytes("behind"));
      expect(await store.completeUpload({ ...upload, parts: [first, second] })).toEqual({ kind: "completed" });
      expect((await bodyOf(store, "u/k")).equals(Buffer.concat([BODY.subarray(1, 1 + 6 * MIB), bytes("behind")]))).toBe(true);
    });

    law("an upload that was aborted or completed, or is another key's, takes no copy", async (store) => {
      await store.createIfAbsent(SOURCE, BODY);
      const source = { key: SOURCE, etag: await etagOf(store, SOURCE), offset: 0, length: 100 };
      const [aborted, completed, open] = [await start(store, "u/aborted"), await start(store, "u/completed"), await start(store, "u/open")];
      await store.abortUpload(aborted);
      await store.completeUpload({ ...completed, parts: [await copied(store, completed, 1, source)] });
      for (const upload of [aborted, completed, { ...open, key: "u/other" }]) {
        expect(await store.copyPart({ ...upload, number: 1, source }), upload.key).toEqual({ kind: "noSuchUpload" });
      }
      expect(await openUploads(store, "", 10)).toEqual([open]);
    });
  });
}

/** Copies from the source as it is now. */
async function copied(store: ObjectStore, upload: Upload & Numbers, number: number, { key, offset, length }: Omit<PartSource, "etag">): Promise<UploadedPart> {
  const outcome: CopyPartOutcome = await store.copyPart({ ...upload, number, source: { key, etag: await etagOf(store, key), offset, length } });
  if (outcome.kind !== "stored") throw new Error(`part ${number} was not stored: ${outcome.kind}`);
  return { number, etag: outcome.etag };
}

async function uploadedWhole(store: ObjectStore, key: string, body: Buffer): Promise<void> {
  const upload = await start(store, key);
  const parts = [await part(store, upload, 1, body.subarray(0, 6 * MIB)), await part(store, upload, 2, body.subarray(6 * MIB))];
  await store.completeUpload({ ...upload, parts });
}
