// The laws of multipart uploads: part of those of an object store.

import { describe, expect } from "vitest";
import { S3_PART_BYTES_MIN } from "../../lib/model/limits.ts";
import { release } from "../../lib/model/memory.ts";
import type { Numbers, ObjectStore, Upload, UploadedPart } from "../../lib/ports/object-store.ts";
import { type Law, range } from "./law.ts";
import { bodyOf, bytes, pattern } from "./objects.ts";

const PAGES_MAX = 1_000;

export function uploadLaws(name: string, law: Law<ObjectStore>): void {
  describe(`${name} as an object store: uploads`, () => {
    law("an upload of 20 MB in parts is one object, readable by ranges", async (store) => {
      const whole = pattern(20_000_000);
      const upload = await start(store, "u/big");
      const parts: UploadedPart[] = [];
      const partBytes = 7 * 1024 * 1024;
      for (let offset = 0, number = 1; offset < whole.length; offset += partBytes, number++)
        parts.push(await part(store, upload, number, whole.subarray(offset, offset + partBytes)));
      expect(await store.head("u/big")).toEqual({ kind: "absent" });
      expect(await store.completeUpload({ ...upload, parts })).toEqual({ kind: "completed" });
      expect(await store.head("u/big")).toEqual({ kind: "found", size: whole.length, etag: expect.any(String) });
      expect((await bodyOf(store, "u/big")).equals(whole)).toBe(true);
      const across = await store.getRange("u/big", { offset: partBytes - 5, length: 10 });
      expect(across).toEqual({ kind: "found", body: whole.subarray(partBytes - 5, partBytes + 5), size: whole.length });
      expect(await openUploads(store, "", 10)).toEqual([]);
    });

    law("a part's bytes are the caller's again once it is stored, and so is a body that was read", async (store) => {
      const whole = pattern(100_000);
      const sent = Buffer.from(whole);
      const upload = await start(store, "u/owned");
      const stored = await part(store, upload, 1, sent);
      release(sent);
      expect(await store.completeUpload({ ...upload, parts: [stored] })).toEqual({ kind: "completed" });
      release(await bodyOf(store, "u/owned"));
      const read = await store.getRange("u/owned", { offset: 0, length: whole.length });
      if (read.kind === "found") release(read.body);
      expect((await bodyOf(store, "u/owned")).equals(whole)).toBe(true);
    });

    law("an upload shows nothing and takes no key before it is complete", async (store) => {
      const upload = await start(store, "u/k");
      await part(store, upload, 1, bytes("part"));
      expect(await store.get("u/k")).toEqual({ kind: "absent" });
      expect((await store.list({ prefix: "" })).objects).toEqual([]);
      expect(await store.createIfAbsent("u/k", bytes("other"))).toEqual({ kind: "created" });
    });

    law("a part that is sent again replaces the one before", async (store) => {
      const upload = await start(store, "u/k");
      const first = await part(store, upload, 1, bytes("first"));
      const second = await part(store, upload, 1, bytes("second"));
      expect(second.etag).not.toBe(first.etag);
      expect(await store.completeUpload({ ...upload, parts: [first] })).toEqual({ kind: "invalidPart" });
      expect(await store.completeUpload({ ...upload, parts: [second] })).toEqual({ kind: "completed" });
      expect(await bodyOf(store, "u/k")).toEqual(bytes("second"));
    });

    law("a part sent again unchanged has the same ETag", async (store) => {
      const upload = await start(store, "u/k");
      expect(await part(store, upload, 1, bytes("same"))).toEqual(await part(store, upload, 1, bytes("same")));
    });

    law("numbers may come in any order, and have gaps where an upload is begun for them; the list of parts decides", async (store) => {
      const [large, last] = [pattern(S3_PART_BYTES_MIN), bytes("last")];
      const upload = { ...(await start(store, "u/k", { gaps: true })), gaps: true };
      const ninth = await part(store, upload, 9, last);
      await part(store, upload, 5, bytes("left out"));
      const second = await part(store, upload, 2, large);
      expect(await store.completeUpload({ ...upload, parts: [second, ninth] })).toEqual({ kind: "completed" });
      expect((await bodyOf(store, "u/k")).equals(Buffer.concat([large, last]))).toBe(true);
    });

    // S3 takes none beside checksums of parts, and says "InvalidPartOrder".
    law("a number that is left out is invalid in an upload that was not begun for gaps", async (store) => {
      const upload = await start(store, "u/k");
      const first = await part(store, upload, 1, pattern(S3_PART_BYTES_MIN));
      const third = await part(store, upload, 3, bytes("last"));
      for (const parts of [[first, third], [third]]) expect(await store.completeUpload({ ...upload, parts })).toEqual({ kind: "invalidPart" });
      expect(await store.head("u/k")).toEqual({ kind: "absent" });
      expect(await store.completeUpload({ ...upload, parts: [first] })).toEqual({ kind: "completed" });
    });

    law("a part that is missing, or listed out of order or with another's ETag, is invalid; the upload stays open", async (store) => {
      const upload = await start(store, "u/k");
      // Every part is large enough: of two faults at once, servers tell either.
      const first = await part(store, upload, 1, pattern(S3_PART_BYTES_MIN));
      const second = await part(store, upload, 2, pattern(S3_PART_BYTES_MIN + 1));
      for (const parts of [[{ number: 1, etag: second.etag }], [first, second, { number: 3, etag: second.etag }], [second, first]]) {
        expect(await store.completeUpload({ ...upload, parts })).toEqual({ kind: "invalidPart" });
      }
      expect(await store.head("u/k")).toEqual({ kind: "absent" });
      expect(await store.completeUpload({ ...upload, parts: [first, second] })).toEqual({ kind: "completed" });
    });

    law("completing never replaces an object, and leaves the upload open", async (store) => {
      await store.createIfAbsent("u/k", bytes("first"));
      const upload = await start(store, "u/k");
      const parts = [await part(store, upload, 1, bytes("second"))];
      expect(await store.completeUpload({ ...upload, parts })).toEqual({ kind: "exists" });
      expect(await bodyOf(store, "u/k")).toEqual(bytes("first"));
      expect(await openUploads(store, "", 10)).toEqual([upload]);
    });

    // S3 answers the same completion again with success: a lost reply is asked for once more.
    law("an upload that is completed again is complete, gone, or finds its key taken, and its object stays as it is", async (store) => {
      const upload = await start(store, "u/k");
      const parts = [await part(store, upload, 1, bytes("once"))];
      expect(await store.completeUpload({ ...upload, parts })).toEqual({ kind: "completed" });
      expect(["completed", "noSuchUpload", "exists"]).toContain((await store.completeUpload({ ...upload, parts })).kind);
      expect(await bodyOf(store, "u/k")).toEqual(bytes("once"));
      expect((await store.list({ prefix: "" })).objects).toEqual([{ key: "u/k", size: 4 }]);
      expect(await openUploads(store, "", 10)).toEqual([]);
    });

    law("an upload that was completed makes no second object, once its first is deleted", async (store) => {
      const upload = await start(store, "u/k");
      const parts = [await part(store, upload, 1, bytes("once"))];
      await store.completeUpload({ ...upload, parts });
      await store.deleteMany(["u/k"]);
      await store.completeUpload({ ...upload, parts });
      expect(await store.head("u/k")).toEqual({ kind: "absent" });
      expect(await store.uploadPart({ ...upload, number: 1, body: bytes("late") })).toEqual({ kind: "noSuchUpload" });
      expect(await openUploads(store, "", 10)).toEqual([]);
    });

    law("of 8 uploads that race for a key exactly one completes, and its bytes stand", async (store) => {
      const entrants = await Promise.all(
        range(8).map(async (entrant) => {
          const upload = await start(store, "u/race");
          return { ...upload, parts: [await part(store, upload, 1, bytes(`entrant ${entrant}`))] };
        }),
      );
      const outcomes = await Promise.all(entrants.map((entrant) => store.completeUpload(entrant)));
      const winners = range(8).filter((entrant) => outcomes[entrant].kind === "completed");
      expect(winners).toHaveLength(1);
      expect(await bodyOf(store, "u/race")).toEqual(bytes(`entrant ${winners[0]}`));
    });

    law("of an abort and a completion at once, either wins, and the object is whole or absent", async (store) => {
      for (let round = 0; round < 10; round++) {
        const upload = await start(store, `u/${round}`);
        const body = pattern(200_000);
        const parts = [await part(store, upload, 1, body)];
        const [completed] = await Promise.all([store.completeUpload({ ...upload, parts }), store.abortUpload(upload)]);
        const found = await store.get(upload.key);
        if (completed.kind === "completed") expect(found.kind === "found" && found.body.equals(body)).toBe(true);
        else expect(found).toEqual({ kind: "absent" });
        expect(await openUploads(store, "", 10)).toEqual([]);
        expect(["completed", "noSuchUpload"]).toContain(completed.kind);
      }
    });

    law("an aborted upload is gone for everybody, and may be aborted again", async (store) => {
      const upload = await start(store, "u/k");
      const parts = [await part(store, upload, 1, bytes("part"))];
      await store.abortUpload(upload);
      await store.abortUpload(upload);
      expect(await store.uploadPart({ ...upload, number: 2, body: bytes("late") })).toEqual({ kind: "noSuchUpload" });
      expect(await store.completeUpload({ ...upload, parts })).toEqual({ kind: "noSuchUpload" });
      expect(await openUploads(store, "", 10)).toEqual([]);
      expect(await store.head("u/k")).toEqual({ kind: "absent" });
    });

    law("several uploads of one key know nothing of each other", async (store) => {
      const [one, two] = [await start(store, "u/k"), await start(store, "u/k")];
      expect(one.uploadId).not.toBe(two.uploadId);
      await part(store, one, 1, bytes("one"));
      const parts = [await part(store, two, 1, bytes("two"))];
      await store.abortUpload(one);
      expect(await store.completeUpload({ ...two, parts })).toEqual({ kind: "completed" });
      expect(await bodyOf(store, "u/k")).toEqual(bytes("two"));
    });

    law("open uploads are listed by prefix, in byte order of keys, in pages of every size", async (store) => {
      const opened: Upload[] = [];
      for (const key of ["t/1/s/2", "t/0/s/1", "t/10/s/1", "t/0/s/1", "z-z/~1", "t/1.x/s"]) opened.push(await start(store, key));
      for (const prefix of ["", "t/", "t/0/s/1", "t/1", "nothing"]) {
        const expected = opened.filter(({ key }) => key.startsWith(prefix));
        for (const limit of [1, 2, 3, 5, 6, 7]) {
          const found = await openUploads(store, prefix, limit);
          expect(found.map(({ key }) => key)).toEqual(expected.map(({ key }) => key).sort((a, b) => Buffer.compare(bytes(a), bytes(b))));
          expect(new Set(found.map(({ uploadId }) => uploadId))).toEqual(new Set(expected.map(({ uploadId }) => uploadId)));
        }
      }
    });
  });
}

export async function start(store: ObjectStore, key: string, numbers?: Numbers): Promise<Upload> {
  return { key, ...(await store.createUpload(key, numbers)) };
}

export async function part(store: ObjectStore, upload: Upload & Numbers, number: number, body: Uint8Array): Promise<UploadedPart> {
  const outcome = await store.uploadPart({ ...upload, number, body });
  if (outcome.kind !== "stored") throw new Error(`part ${number} was not stored: ${outcome.kind}`);
  return { number, etag: outcome.etag };
}

export async function openUploads(store: ObjectStore, prefix: string, limit: number): Promise<Upload[]> {
  const uploads: Upload[] = [];
  let after: Upload | undefined;
  for (let page = 0; page < PAGES_MAX; page++) {
    const { uploads: found, next } = await store.listUploads({ prefix, limit, ...(after !== undefined && { after }) });
    expect(found.length).toBeLessThanOrEqual(limit);
    uploads.push(...found);
    if (next === undefined) return uploads;
    after = next;
  }
  throw new Error("the list does not end");
}
