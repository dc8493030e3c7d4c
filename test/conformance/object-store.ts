// The law book of the ObjectStore port. Each store that claims the port runs it: `open` gives a store with nothing in it.
// Parts of uploads have 5 MiB and more wherever another follows, as S3 demands.

import { describe, expect } from "vitest";
import type { ObjectStore } from "../../lib/ports/object-store.ts";
import { type Deviation, lawsOver, type Open, range } from "./law.ts";
import { copyLaws } from "./copies.ts";
import { bodyOf, bytes, etagOf } from "./objects.ts";
import { uploadLaws } from "./uploads.ts";

const PAGES_MAX = 1_000;

export function objectStoreLaws(name: string, open: Open<ObjectStore>, deviations: readonly Deviation[] = []): void {
  const law = lawsOver(open, deviations);

  describe(`${name} as an object store: objects`, () => {
    law("what is created is what is read, by whole and by head", async (store) => {
      expect(await store.createIfAbsent("a/b/c.redo", bytes("hello"))).toEqual({ kind: "created" });
      expect(await store.get("a/b/c.redo")).toEqual({ kind: "found", body: bytes("hello"), size: 5 });
      expect(await store.head("a/b/c.redo")).toEqual({ kind: "found", size: 5, etag: expect.any(String) });
    });

    law("an object keeps its ETag while it exists; another one under its key has another", async (store) => {
      await store.createIfAbsent("k", bytes("first"));
      const etag = await etagOf(store, "k");
      await store.createIfAbsent("k", bytes("refused"));
      await store.createIfAbsent("l", bytes("neighbour"));
      await store.get("k");
      expect(await etagOf(store, "k")).toBe(etag);
      await store.deleteMany(["k"]);
      await store.createIfAbsent("k", bytes("the second"));
      expect(await etagOf(store, "k")).not.toBe(etag);
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

  uploadLaws(name, law);
  copyLaws(name, law);
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
