// The laws of queries: part of those of a checkpoint store.

import { describe, expect } from "vitest";
import type { Attributes, CheckpointStore, ItemKey } from "../../lib/ports/checkpoint-store.ts";
import { type Law, range } from "./law.ts";

const PAGES_MAX = 1_000;

export function queryLaws(name: string, law: Law<CheckpointStore>): void {
  describe(`${name} as a checkpoint store: queries`, () => {
    const sorts = [
      "control",
      "part#1",
      "part#10",
      "part#2",
      "snapshot#0000000000000009-e1",
      "snapshot#0000000000000010-e2",
      "snapshot#0000000000000100-e10",
      "tail",
      "~",
      "É",
      "\u{ffff}",
      "\u{1f30a}",
    ];
    const inOrder = [...sorts].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));

    async function fill(store: CheckpointStore): Promise<void> {
      for (const partition of ["p", "p/", "o", "q"]) for (const sort of sorts) await put(store, { partition, sort }, { own: sort, within: partition });
    }

    law("a partition is listed in byte order, up and down, in pages of every size", async (store) => {
      await fill(store);
      for (const descending of [false, true]) {
        const expected = descending ? [...inOrder].reverse() : inOrder;
        for (let limit = 1; limit <= sorts.length + 1; limit++) expect(await queried(store, { partition: "p", limit, descending })).toEqual(expected);
        expect(await queried(store, { partition: "p", descending })).toEqual(expected);
      }
    });

    law("a prefix may end anywhere, up and down, in pages", async (store) => {
      await fill(store);
      for (const sortPrefix of ["c", "part#", "part#1", "snapshot#", "snapshot#00000000000000", "x", "~", "\u{1f30a}", "control", "controls"]) {
        const expected = inOrder.filter((sort) => sort.startsWith(sortPrefix));
        for (const limit of [1, 2, 100]) {
          expect(await queried(store, { partition: "p", sortPrefix, limit }), sortPrefix).toEqual(expected);
          expect(await queried(store, { partition: "p", sortPrefix, limit, descending: true }), sortPrefix).toEqual([...expected].reverse());
        }
      }
    });

    law("a query goes on behind any text, with and without a prefix, up and down", async (store) => {
      await fill(store);
      for (const after of [...sorts, "a", "part#", "part#11", "snapshot#0000000000000050", "zz", "\u{10fffe}"]) {
        for (const sortPrefix of ["", "part#", "snapshot#", "t"]) {
          const matching = inOrder.filter((sort) => sort.startsWith(sortPrefix));
          const place = `${JSON.stringify(after)} within ${JSON.stringify(sortPrefix)}`;
          const compared = (sort: string): number => Buffer.compare(Buffer.from(sort), Buffer.from(after));
          expect(await queried(store, { partition: "p", sortPrefix, after }), place).toEqual(matching.filter((sort) => compared(sort) > 0));
          expect(await queried(store, { partition: "p", sortPrefix, after, descending: true }), place).toEqual(
            matching.filter((sort) => compared(sort) < 0).reverse(),
          );
        }
      }
    });

    law("a query goes on behind an item that was deleted meanwhile", async (store) => {
      await fill(store);
      const first = await store.query({ partition: "p", limit: 3 });
      expect(first.next).toBe(inOrder[2]);
      for (const sort of inOrder.slice(1, 4)) await store.write([{ item: { partition: "p", sort }, when: [], delete: true }]);
      expect(await queried(store, { partition: "p", after: inOrder[2], limit: 2 })).toEqual(inOrder.slice(4));
      expect(await queried(store, { partition: "p", after: inOrder[2], descending: true })).toEqual([inOrder[0]]);
    });

    law("a partition without items is an empty page", async (store) => {
      await fill(store);
      expect(await store.query({ partition: "nothing" })).toEqual({ items: [] });
    });
  });

  describe(`${name} as a checkpoint store: the dirty index`, () => {
    function tail(number: number): ItemKey {
      return { partition: `shard#t/${number}`, sort: "tail" };
    }

    law("only items whose attribute dirty has the value are found, in byte order of partitions, in pages of every size", async (store) => {
      for (const number of range(12)) await put(store, tail(number), number % 3 === 0 ? { number } : { number, dirty: number % 3 === 1 ? "dirty" : "other" });
      const expected = range(12)
        .filter((number) => number % 3 === 1)
        .map((number) => tail(number).partition)
        .sort();
      for (const limit of [1, 2, 3, 4, 5, 100])
        await eventually(async () => expect((await dirty(store, "dirty", limit)).map(({ partition }) => partition)).toEqual(expected));
      expect(await dirty(store, "clean", 10)).toEqual([]);
    });

    law("a walk goes on behind an item that has left the index meanwhile, or is gone", async (store) => {
      for (const number of range(6)) await put(store, tail(number), { dirty: "dirty" });
      await eventually(async () => expect(await dirty(store, "dirty", 100)).toHaveLength(6));
      await store.write([{ item: tail(2), when: [], set: {}, remove: ["dirty"] }]);
      await store.write([{ item: tail(3), when: [], delete: true }]);
      await eventually(async () => expect(await dirty(store, "dirty", 100)).toHaveLength(4));
      for (const number of [2, 3]) {
        const { keys } = await store.queryDirty({ value: "dirty", after: tail(number) });
        expect(keys).toEqual([tail(4), tail(5)]);
      }
    });

    law("an item's key, and nothing else of it, enters and leaves the index with its attribute", async (store) => {
      await put(store, tail(1), { n: 1 });
      await store.write([{ item: tail(1), when: [], set: { dirty: "dirty" } }]);
      await eventually(async () => expect(await dirty(store, "dirty", 10)).toEqual([tail(1)]));
      await store.write([{ item: tail(1), when: [], set: { n: 2 } }]);
      await eventually(async () => expect(await dirty(store, "dirty", 10)).toEqual([tail(1)]));
      await store.write([{ item: tail(1), when: [], set: { n: 3 }, remove: ["dirty"] }]);
      await eventually(async () => expect(await dirty(store, "dirty", 10)).toEqual([]));
      await put(store, tail(1), { dirty: "dirty" });
      await eventually(async () => expect(await dirty(store, "dirty", 10)).toHaveLength(1));
      await put(store, tail(1), { n: 4 });
      await eventually(async () => expect(await dirty(store, "dirty", 10)).toEqual([]));
      await put(store, tail(1), { dirty: "dirty" });
      await store.write([{ item: tail(1), when: [], delete: true }]);
      await eventually(async () => expect(await dirty(store, "dirty", 10)).toEqual([]));
    });
  });
}

export async function put(store: CheckpointStore, item: ItemKey, attributes: Attributes): Promise<void> {
  expect(await store.write([{ item, when: [], put: attributes }])).toEqual({ kind: "written" });
}

async function queried(store: CheckpointStore, request: Parameters<CheckpointStore["query"]>[0]): Promise<string[]> {
  const sorts: string[] = [];
  let cursor = request.after;
  for (let page = 0; page < PAGES_MAX; page++) {
    const { items, next } = await store.query({ ...request, ...(cursor !== undefined && { after: cursor }) });
    expect(items.length).toBeLessThanOrEqual(request.limit ?? Number.POSITIVE_INFINITY);
    for (const { key, attributes } of items) expect(attributes).toEqual({ own: key.sort, within: request.partition });
    sorts.push(...items.map(({ key }) => key.sort));
    if (next === undefined) return sorts;
    cursor = next;
  }
  throw new Error("the query does not end");
}

async function dirty(store: CheckpointStore, value: string, limit: number): Promise<ItemKey[]> {
  const found: ItemKey[] = [];
  let after: ItemKey | undefined;
  for (let page = 0; page < PAGES_MAX; page++) {
    const { keys, next } = await store.queryDirty({ value, limit, ...(after !== undefined && { after }) });
    expect(keys.length).toBeLessThanOrEqual(limit);
    found.push(...keys);
    if (next === undefined) return found;
    after = next;
  }
  throw new Error("the query does not end");
}

/** The index may lag behind. */
async function eventually(assertion: () => Promise<void>): Promise<void> {
  for (let attempt = 0; attempt < 50; attempt++) {
    try {
      return await assertion();
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  await assertion();
}
