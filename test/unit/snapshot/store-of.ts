// An object store that holds what a test gives it, and remembers the ranges that were asked for.

import type { ObjectStore } from "../../../lib/ports/object-store.ts";

export interface StoreOfObjects extends Pick<ObjectStore, "getRange" | "head"> {
  readonly ranges: { readonly offset: number; readonly length: number }[];
}

export function storeOf(objects: ReadonlyMap<string, Buffer>): StoreOfObjects {
  const ranges: { offset: number; length: number }[] = [];
  return {
    ranges,
    async getRange(key, { offset, length }) {
      const object = objects.get(key);
      if (object === undefined) return { kind: "absent" };
      ranges.push({ offset, length });
      return { kind: "found", body: Buffer.from(object.subarray(offset, offset + length)), size: object.length };
    },
    async head(key) {
      const object = objects.get(key);
      return object === undefined ? { kind: "absent" } : { kind: "found", size: object.length, etag: "e" };
    },
  };
}
