// The law book of the ObjectStore port. Each store that claims the port runs it: `open` gives a store with nothing in it.
// Parts of uploads have 5 MiB and more wherever another follows, as S3 demands.

import { describe, expect, test } from "vitest";
import { S3_PART_BYTES_MIN } from "../../lib/model/limits.ts";
import type { ObjectStore, Upload, UploadedPart } from "../../lib/ports/object-store.ts";

export type OpenObjectStore = () => Promise<{ readonly store: ObjectStore; readonly dispose: () => Promise<void> }>;

const LONG_MS = 120_000;
const PAGES_MAX = 1_000;

export function objectStoreLaws(name: string, open: OpenObjectStore): void {
  function law(title: string, prove: (store: ObjectStore) => Promise<void>): void {
    test(title, { timeout: LONG_MS }, async () => {
      const { store, dispose } = await open();
      try {
        await prove(store);
      } finally {
        await dispose();
      }
    });
  }

  describe(`${name} as an object store: objects`, () => {
    law("what is created is what is read, by whole and by head", async (store) => {
      expect(await store.createIfAbsent("a/b/c.redo", bytes("hello"))).toEqual({ kind: "created" });
      expect(await store.get("a/b/c.redo")).toEqual({ kind: "found", body: bytes("hello"), size: 5 });
      expect(await store.head("a/b/c.redo")).toEqual({ kind: "found", size: 5 });
    });

    law("an absent object is absent, also where keys go on behind it", async (store) => {
      await store.createIfAbsent("a/b/c", bytes("x"));
      for (const key of ["a/b/d", "a/b", "a/b/c/d", "z"]) {
        expect(await store.get(key)).toEqual({ kind: "absent" });
        expect(await store.getRange(key, { offset: 0, length: 1 })).toEqual({ kind: "absent" });
        expect(await store.head(key)).toEqual({ kind: "absent" });
      }
    });

    law("a key that is taken keeps its first body", async (store) => {
      await store.createIfAbsent("k", bytes("first"));
      expect(await store.createIfAbsent("k", bytes("second"))).toEqual({ kind: "exists" });
      expect(await bodyOf(store, "k")).toEqual(bytes("first"));
    });

    law("a key that was deleted can be created again", async (store) => {
      await store.createIfAbsent("d/k", bytes("first"));
      await store.deleteMany(["d/k"]);
      expect(await store.createIfAbsent("d/k", bytes("second"))).toEqual({ kind: "created" });
      expect(await bodyOf(store, "d/k")).toEqual(bytes("second"));
    });

    law("of 16 racing creators exactly one is told created, and its body stands", async (store) => {
      for (let round = 0; round < 5; round++) {
        const key = `race/${round}/k`;
        const outcomes = await Promise.all(range(16).map((creator) => store.createIfAbsent(key, bytes(`creator ${creator}`))));
        const winners = range(16).filter((creator) => outcomes[creator].kind === "created");
        expect(winners).toHaveLength(1);
        expect(await bodyOf(store, key)).toEqual(bytes(`creator ${winners[0]}`));
      }
    });

    law("an object may be empty", async (store) => {
      expect(await store.createIfAbsent("empty", bytes(""))).toEqual({ kind: "created" });
      expect(await store.get("empty")).toEqual({ kind: "found", body: bytes(""), size: 0 });
      expect(await store.getRange("empty", { offset: 0, length: 10 })).toEqual({ kind: "found", body: bytes(""), size: 0 });
      expect(await store.createIfAbsent("empty", bytes("full"))).toEqual({ kind: "exists" });
      expect((await store.list({ prefix: "" })).objects).toEqual([{ key: "empty", size: 0 }]);
    });

    law("bodies are copied, not shared: neither side's changes reach the other", async (store) => {
      const body = bytes("original");
      await store.createIfAbsent("k", body);
      body.fill(0);
      const read = await bodyOf(store, "k");
      expect(read).toEqual(bytes("original"));
      read.fill(0);
      expect(await bodyOf(store, "k")).toEqual(bytes("original"));
    });

    law("a body that is a view of a larger buffer is stored alone", async (store) => {
      await store.createIfAbsent("k", new Uint8Array(bytes("0123456789").subarray(3, 6)));
      await store.createIfAbsent("l", bytes("0123456789").subarray(3, 6));
      expect(await bodyOf(store, "k")).toEqual(bytes("345"));
      expect(await bodyOf(store, "l")).toEqual(bytes("345"));
    });

    law("a range is cut off at the object's end, and holds nothing behind it", async (store) => {
      await store.createIfAbsent("k", bytes("0123456789"));
      const ranges: [number, number, string][] = [
        [0, 10, "0123456789"],
        [0, 1, "0"],
        [3, 4, "3456"],
        [9, 1, "9"],
        [8, 5, "89"],
        [0, 1_000, "0123456789"],
        [10, 1, ""],
        [11, 5, ""],
        [1_000, 1, ""],
        [4, 0, ""],
        [10, 0, ""],
      ];
      for (const [offset, length, expected] of ranges) {
        expect(await store.getRange("k", { offset, length }), `${length} bytes from ${offset}`).toEqual({ kind: "found", body: bytes(expected), size: 10 });
      }
    });
  });

  describe(`${name} as an object store: lists`, () => {
    const keys = [
      "a",
      "a-b/c",
      "a.b",
      "a/b",
      "a/b.c",
      "a/b/c",
      "a/b0",
      "a0",
      "b/.hidden",
      "b/0000000000000010.redo",
      "b/0000000000000009.redo",
      "b/_x",
      "b/z",
      "c",
      "t/0/i/redo/1",
      "t/1/i/redo/1",
      "t/10/i/redo/1",
    ]
      // A file system has no file where it has a directory of that name.
      .filter((key, _, all) => !all.some((other) => other.startsWith(`${key}/`)));
    const inOrder = [...keys].sort((a, b) => Buffer.compare(bytes(a), bytes(b)));

    law("keys are listed in byte order, with sizes", async (store) => {
      for (const key of keys) await store.createIfAbsent(key, bytes(key));
      expect(await store.list({ prefix: "" })).toEqual({ objects: inOrder.map((key) => ({ key, size: key.length })) });
    });

    law("pages of every size, put together, are the list", async (store) => {
      for (const key of keys) await store.createIfAbsent(key, bytes(key));
      for (let limit = 1; limit <= keys.length + 1; limit++) expect(await listedKeys(store, "", limit), `pages of ${limit}`).toEqual(inOrder);
    });

    law("a prefix may end anywhere in a name", async (store) => {
      for (const key of keys) await store.createIfAbsent(key, bytes(key));
      for (const prefix of ["", "a", "a/", "a/b", "a/b.", "b/", "b/0", "t/1", "t/1/", "t/1/i/redo/1", "t/1/i/redo/12", "nothing", "nothing/", "c", "c/"]) {
        for (const limit of [1, 2, 100]) expect(await listedKeys(store, prefix, limit), prefix).toEqual(inOrder.filter((key) => key.startsWith(prefix)));
      }
    });

    law("a list goes on behind any text, whether it is a key or not", async (store) => {
      for (const key of keys) await store.createIfAbsent(key, bytes(key));
      for (const after of [...keys, "", "0", "a/", "a/b", "a/b/", "a/c", "b", "b/0000000000000009", "t/1/i/redo/0", "t/1/i/redo/2", "zz"]) {
        const expected = inOrder.filter((key) => Buffer.compare(bytes(key), bytes(after)) > 0);
        if (after !== "")
          expect(
            (await store.list({ prefix: "", after })).objects.map(({ key }) => key),
            after,
          ).toEqual(expected);
        if (after !== "")
          expect(
            (await store.list({ prefix: "t/", after })).objects.map(({ key }) => key),
            after,
          ).toEqual(expected.filter((key) => key.startsWith("t/")));
      }
    });

    law("an empty store lists nothing", async (store) => {
      expect(await store.list({ prefix: "" })).toEqual({ objects: [] });
      expect(await store.list({ prefix: "x/y/" })).toEqual({ objects: [] });
    });

    law("objects that come and go between pages disturb no other", async (store) => {
      for (const key of ["p/a", "p/c", "p/e", "p/g"]) await store.createIfAbsent(key, bytes(""));
      const first = await store.list({ prefix: "p/", limit: 2 });
      expect(first.next).toBe("p/c");
      await store.deleteMany(["p/c", "p/e"]);
      await store.createIfAbsent("p/b", bytes(""));
      await store.createIfAbsent("p/f", bytes(""));
      const second = await store.list({ prefix: "p/", after: "p/c" });
      expect(second.objects.map(({ key }) => key)).toEqual(["p/f", "p/g"]);
    });
  });

  describe(`${name} as an object store: deletes`, () => {
    law("deleteMany deletes what is named and nothing else; what is absent counts as deleted", async (store) => {
      for (const key of ["x/1", "x/2", "x/3", "y/1"]) await store.createIfAbsent(key, bytes(key));
      expect(await store.deleteMany(["x/1", "x/3", "x/4", "x", "nothing/at/all"])).toEqual({ failed: [] });
      expect(await listedKeys(store, "", 10)).toEqual(["x/2", "y/1"]);
      expect(await store.deleteMany(["x/1", "x/3"])).toEqual({ failed: [] });
      expect(await store.deleteMany([])).toEqual({ failed: [] });
    });

    law("1,000 objects are deleted by one call", async (store) => {
      const keys = range(1_000).map((number) => `many/${String(number).padStart(4, "0")}`);
      for (let start = 0; start < keys.length; start += 50)
        await Promise.all(keys.slice(start, start + 50).map((key) => store.createIfAbsent(key, bytes(key))));
      expect(await listedKeys(store, "many/", 1_000)).toEqual(keys);
      expect(await store.deleteMany(keys)).toEqual({ failed: [] });
      expect(await listedKeys(store, "", 1_000)).toEqual([]);
    });

    law("creators next to deleters of the last neighbour never fail", async (store) => {
      await Promise.all(
        range(8).map(async (worker) => {
          for (let round = 0; round < 20; round++) {
            const key = `busy/${round % 3}/${worker}-${round}`;
            expect(await store.createIfAbsent(key, bytes(key))).toEqual({ kind: "created" });
            expect(await bodyOf(store, key)).toEqual(bytes(key));
            expect(await store.deleteMany([key])).toEqual({ failed: [] });
          }
        }),
      );
      expect(await listedKeys(store, "", 10)).toEqual([]);
    });
  });

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
      expect(await store.head("u/big")).toEqual({ kind: "found", size: whole.length });
      expect((await bodyOf(store, "u/big")).equals(whole)).toBe(true);
      const across = await store.getRange("u/big", { offset: partBytes - 5, length: 10 });
      expect(across).toEqual({ kind: "found", body: whole.subarray(partBytes - 5, partBytes + 5), size: whole.length });
      expect(await openUploads(store, "", 10)).toEqual([]);
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

    law("numbers may have gaps and come in any order; the list of parts decides", async (store) => {
      const [large, last] = [pattern(S3_PART_BYTES_MIN), bytes("last")];
      const upload = await start(store, "u/k");
      const ninth = await part(store, upload, 9, last);
      await part(store, upload, 5, bytes("left out"));
      const second = await part(store, upload, 2, large);
      expect(await store.completeUpload({ ...upload, parts: [second, ninth] })).toEqual({ kind: "completed" });
      expect((await bodyOf(store, "u/k")).equals(Buffer.concat([large, last]))).toBe(true);
    });

    law("a part that is missing, or listed out of order or with another's ETag, is invalid; the upload stays open", async (store) => {
      const upload = await start(store, "u/k");
      const first = await part(store, upload, 1, pattern(S3_PART_BYTES_MIN));
      const second = await part(store, upload, 2, bytes("second"));
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

    law("an upload that is completed again is gone, or finds its key taken", async (store) => {
      const upload = await start(store, "u/k");
      const parts = [await part(store, upload, 1, bytes("once"))];
      expect(await store.completeUpload({ ...upload, parts })).toEqual({ kind: "completed" });
      expect(["noSuchUpload", "exists"]).toContain((await store.completeUpload({ ...upload, parts })).kind);
      expect(await bodyOf(store, "u/k")).toEqual(bytes("once"));
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
        else expect([completed, found]).toEqual([{ kind: "noSuchUpload" }, { kind: "absent" }]);
        expect(await openUploads(store, "", 10)).toEqual([]);
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

async function start(store: ObjectStore, key: string): Promise<Upload> {
  return { key, ...(await store.createUpload(key)) };
}

async function part(store: ObjectStore, upload: Upload, number: number, body: Uint8Array): Promise<UploadedPart> {
  const outcome = await store.uploadPart({ ...upload, number, body });
  if (outcome.kind !== "stored") throw new Error(`part ${number} was not stored: ${outcome.kind}`);
  return { number, etag: outcome.etag };
}

async function bodyOf(store: ObjectStore, key: string): Promise<Buffer> {
  const outcome = await store.get(key);
  if (outcome.kind !== "found") throw new Error(`${key} is ${outcome.kind}`);
  return outcome.body;
}

async function listedKeys(store: ObjectStore, prefix: string, limit: number): Promise<string[]> {
  const keys: string[] = [];
  let after: string | undefined;
  for (let page = 0; page < PAGES_MAX; page++) {
    const { objects, next } = await store.list({ prefix, limit, ...(after !== undefined && { after }) });
    expect(objects.length).toBeLessThanOrEqual(limit);
    keys.push(...objects.map(({ key }) => key));
    if (next === undefined) return keys;
    after = next;
  }
  throw new Error("the list does not end");
}

async function openUploads(store: ObjectStore, prefix: string, limit: number): Promise<Upload[]> {
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

function bytes(text: string): Buffer {
  return Buffer.from(text);
}

/** Bytes that repeat at no power of two. */
function pattern(length: number): Buffer {
  return Buffer.alloc(length, Buffer.from(range(251).map((value) => value)));
}

function range(length: number): number[] {
  return Array.from({ length }, (_, place) => place);
}
