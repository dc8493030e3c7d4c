// Objects for laws.

import type { ObjectStore } from "../../lib/ports/object-store.ts";
import { range } from "./law.ts";

export async function bodyOf(store: ObjectStore, key: string): Promise<Buffer> {
  const outcome = await store.get(key);
  if (outcome.kind !== "found") throw new Error(`${key} is ${outcome.kind}`);
  return outcome.body;
}

export async function etagOf(store: ObjectStore, key: string): Promise<string> {
  const outcome = await store.head(key);
  if (outcome.kind !== "found") throw new Error(`${key} is ${outcome.kind}`);
  return outcome.etag;
}

export function bytes(text: string): Buffer {
  return Buffer.from(text);
}

/** Bytes that repeat at no power of two. */
export function pattern(length: number): Buffer {
  return Buffer.alloc(length, Buffer.from(range(251).map((value) => value)));
}
